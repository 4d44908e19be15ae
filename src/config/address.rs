//! Addresses, networks and interface names as values: what they accept, and in which words they refuse.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use figment::value::Value;
use serde_json::{Value as Json, json};

use super::leaf::{Fault, Leaf, parsed, text, text_of, trimmed};
use super::mistyped;
use super::network::{AddressRange, Network, NetworkError};

/// An IPv4 address as a pattern.
pub(super) const IPV4: &str =
    "(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";

/// The same of one host: its first byte is 1 to 223.
pub(super) const UNICAST: &str =
    "(?:22[0-3]|2[01][0-9]|1[0-9]{2}|[1-9][0-9]?)(?:\\.(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}";

/// An IPv6 address, but for the rules of what may be left out.
const IPV6: &str = "[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*";

impl Leaf for IpAddr {
    fn read(value: &Value) -> Result<Self, Fault> {
        let wrong = |fault: Fault| match text(value).as_deref() {
            Some("localhost") => fault.with_hint("localhost is 127.0.0.1 and ::1"),
            Some("*") => fault.with_hint("every address is 0.0.0.0 and ::"),
            Some(given) => hinted(fault, mistyped::address(given)),
            None => fault,
        };
        parsed(value, "an IP address").map_err(wrong)
    }

    fn schema() -> Json {
        text_of(&format!("{IPV4}|{IPV6}"))
    }

    fn show(&self) -> Json {
        self.to_string().into()
    }
}

impl Leaf for SocketAddr {
    fn read(value: &Value) -> Result<Self, Fault> {
        parsed(value, "an address with a port, such as 127.0.0.1:9167 or [::1]:9167")
    }

    fn schema() -> Json {
        text_of(&format!("(?:{IPV4}|\\[{IPV6}(?:%[0-9]+)?\\]):[0-9]{{1,5}}"))
    }

    fn show(&self) -> Json {
        self.to_string().into()
    }
}

fn hinted(fault: Fault, hint: Option<String>) -> Fault {
    Fault { hint, ..fault }
}

/// An IPv4 address that one host can have.
pub(super) struct Unicast(pub(super) Ipv4Addr);

impl Leaf for Unicast {
    fn read(value: &Value) -> Result<Self, Fault> {
        let address: Ipv4Addr = parsed(value, "an IPv4 address")
            .map_err(|fault| hinted(fault, text(value).and_then(|given| mistyped::address(&given))))?;
        if is_unicast(address) {
            Ok(Self(address))
        } else {
            Err(Fault::new(format!("{address} is not the address of one host")))
        }
    }

    fn schema() -> Json {
        text_of(UNICAST)
    }

    fn show(&self) -> Json {
        self.0.to_string().into()
    }
}

/// Whether one host can have `address`: not in 0.0.0.0/8 (RFC 1122 §3.2.1.3), 224.0.0.0/4 or 240.0.0.0/4.
pub(super) fn is_unicast(address: Ipv4Addr) -> bool {
    (1..224).contains(&address.octets()[0])
}

impl Leaf for Network {
    fn read(value: &Value) -> Result<Self, Fault> {
        let given = text(value).ok_or_else(|| Fault::is_not(value, "a network such as 10.0.0.0/24"))?;
        given.parse().map_err(|error: NetworkError| {
            let fault = Fault::new(error.to_string());
            match error {
                NetworkError::HostBits { canonical, .. } => fault.with_hint(format!("write {canonical}")),
                NetworkError::NotANetwork(_) | NetworkError::NotARange(_) | NetworkError::Backwards(_) => {
                    hinted(fault, mistyped::network(&given))
                }
            }
        })
    }

    fn schema() -> Json {
        text_of(&format!("{IPV4}/(?:3[0-2]|[12]?[0-9])"))
    }

    fn show(&self) -> Json {
        self.to_string().into()
    }
}

impl Leaf for AddressRange {
    fn read(value: &Value) -> Result<Self, Fault> {
        let given =
            text(value).ok_or_else(|| Fault::is_not(value, "a range such as 10.0.0.100-10.0.0.199"))?;
        given
            .parse()
            .map_err(|error: NetworkError| hinted(Fault::new(error.to_string()), mistyped::range(&given)))
    }

    fn schema() -> Json {
        text_of(&format!("{IPV4}(?:\\s*-\\s*{IPV4})?"))
    }

    fn show(&self) -> Json {
        self.to_string().into()
    }
}

/// The name of a network interface: at most 15 bytes (`IFNAMSIZ` − 1, netdevice(7)).
pub(super) struct InterfaceName(pub(super) String);

impl Leaf for InterfaceName {
    fn read(value: &Value) -> Result<Self, Fault> {
        let name = text(value).unwrap_or_default();
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if name.is_empty() || name.len() > 15 || name.contains(odd) || name == "." || name == ".." {
            return Err(Fault::is_not(value, "an interface name (1 to 15 bytes, no / : or space)"));
        }
        Ok(Self(name))
    }

    fn schema() -> Json {
        json!({"type": ["string", "number", "boolean"], "pattern": trimmed("[^/:\\s]{1,15}")})
    }

    fn show(&self) -> Json {
        self.0.show()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: Leaf>(value: &str) -> Fault {
        T::read(&value.into()).err().unwrap()
    }

    #[test]
    fn only_the_address_of_one_host_is_unicast() {
        assert!(Unicast::read(&"127.0.0.1".into()).is_ok());
        for wrong in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1"] {
            assert_eq!(refusal::<Unicast>(wrong).reason, format!("{wrong} is not the address of one host"));
        }
    }

    #[test]
    fn interface_names_are_short_and_plain() {
        for wrong in ["", "a/b", "a b", "abcdefghijklmnop", ".."] {
            assert!(refusal::<InterfaceName>(wrong).reason.contains("interface name"), "{wrong}");
        }
        assert_eq!(InterfaceName::read(&"eth0.100".into()).unwrap().0, "eth0.100");
    }

    #[test]
    fn usual_slips_get_a_hint() {
        assert_eq!(refusal::<IpAddr>("*").hint.unwrap(), "every address is 0.0.0.0 and ::");
        assert_eq!(refusal::<Network>("10.0.0.1/24").hint.unwrap(), "write 10.0.0.0/24");
    }
}
