//! Option values for people: bytes → text, by the kind of the table. The reverse of the codec as far as it goes; bytes
//! that do not fit their kind are shown as hex digits. Used by `explain`.

use std::net::Ipv4Addr;

use super::names;
use super::table::{Kind, by_code};

/// The value of an option, in the words of the configuration where they are known.
pub fn show(code: u8, bytes: &[u8]) -> String {
    let kind = by_code(code).map_or(Kind::Opaque, |row| row.kind);
    by_kind(code, kind, bytes).unwrap_or_else(|| hex(bytes))
}

/// The name of an option, or `option-CODE`.
pub fn name(code: u8) -> String {
    by_code(code).map_or_else(|| format!("option-{code}"), |row| row.name.to_owned())
}

fn by_kind(code: u8, kind: Kind, bytes: &[u8]) -> Option<String> {
    match kind {
        Kind::Ip | Kind::IpList | Kind::IpListOrNone => addresses(bytes),
        Kind::IpPairs => each::<8>(bytes, |pair| addresses(pair).map(|pair| pair.replace(", ", " "))),
        Kind::Routes => routes(bytes),
        Kind::Text => text(bytes),
        Kind::Domains | Kind::PlainDomains | Kind::PlainDomain => {
            names::decode(bytes).map(|all| all.join(", "))
        }
        Kind::SipServers => match bytes.split_first()? {
            (0, rest) => names::decode(rest).map(|all| all.join(", ")),
            (1, rest) => addresses(rest),
            _ => None,
        },
        Kind::Bool => match bytes {
            [0] => Some("false".to_owned()),
            [1] => Some("true".to_owned()),
            _ => None,
        },
        Kind::U8 => each::<1>(bytes, |one| Some(one.first()?.to_string())),
        Kind::U16 | Kind::U16List => {
            each::<2>(bytes, |two| Some(u16::from_be_bytes(two.try_into().ok()?).to_string()))
        }
        Kind::U32 | Kind::Seconds => {
            each::<4>(bytes, |four| Some(u32::from_be_bytes(four.try_into().ok()?).to_string()))
        }
        Kind::I32 => each::<4>(bytes, |four| Some(i32::from_be_bytes(four.try_into().ok()?).to_string())),
        // Those that a reply carries.
        Kind::Owned(_) => match code {
            50 | 54 | 118 => addresses(bytes),
            51 | 58 | 59 => by_kind(code, Kind::Seconds, bytes),
            53 | 55 => Some(bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")),
            56 => text(bytes),
            _ => None,
        },
        Kind::SlpAgents => {
            let (flag, agents) = bytes.split_first()?;
            Some(format!(
                "{} {}",
                by_kind(code, Kind::Bool, &[*flag])?,
                addresses(agents)?.replace(", ", " ")
            ))
        }
        Kind::SlpScope => {
            let (flag, scopes) = bytes.split_first()?;
            let flag = by_kind(code, Kind::Bool, &[*flag])?;
            if scopes.is_empty() { Some(flag) } else { Some(format!("{flag} {}", text(scopes)?)) }
        }
        Kind::UriList
        | Kind::ServerLists
        | Kind::Opaque
        | Kind::SubOptions
        | Kind::VendorOptions
        | Kind::VendorClasses => None,
    }
}

/// Digits in pairs, as the configuration takes them.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("0x");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

fn addresses(bytes: &[u8]) -> Option<String> {
    each::<4>(bytes, |four| Some(Ipv4Addr::from(<[u8; 4]>::try_from(four).ok()?).to_string()))
}

fn each<const N: usize>(bytes: &[u8], one: impl Fn(&[u8]) -> Option<String>) -> Option<String> {
    let (items, rest) = bytes.as_chunks::<N>();
    if items.is_empty() || !rest.is_empty() {
        return None;
    }
    Some(items.iter().map(|item| one(item)).collect::<Option<Vec<_>>>()?.join(", "))
}

/// RFC 3442: the prefix length, as many bytes of the prefix as it covers, the router.
fn routes(bytes: &[u8]) -> Option<String> {
    let mut shown = Vec::new();
    let mut rest = bytes;
    while let Some((prefix, tail)) = rest.split_first().filter(|(prefix, _)| **prefix <= 32) {
        let (target, tail) = tail.split_at_checked(usize::from(prefix.div_ceil(8)))?;
        let (router, tail) = tail.split_first_chunk::<4>()?;
        let mut address = [0; 4];
        address.get_mut(..target.len())?.copy_from_slice(target);
        shown.push(format!("{}/{prefix} {}", Ipv4Addr::from(address), Ipv4Addr::from(*router)));
        rest = tail;
    }
    (rest.is_empty() && !shown.is_empty()).then(|| shown.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::options::OptionValue;

    fn shown(name: &str, value: Value) -> String {
        let option = OptionValue::from_config(name, &value).unwrap();
        show(option.code, &option.bytes)
    }

    #[test]
    fn values_are_shown_as_they_are_written() {
        assert_eq!(shown("routers", json!(["10.0.0.1", "10.0.0.2"])), "10.0.0.1, 10.0.0.2");
        assert_eq!(shown("domain-name", json!("example.org")), "example.org");
        assert_eq!(shown("interface-mtu", json!(1400)), "1400");
        assert_eq!(
            shown("classless-static-routes", json!(["10.1.0.0/16 10.0.0.1", "default 10.0.0.2"])),
            "10.1.0.0/16 10.0.0.1, 0.0.0.0/0 10.0.0.2"
        );
        assert_eq!(
            shown("domain-search", json!(["eng.example.org", "example.org"])),
            "eng.example.org, example.org"
        );
        assert_eq!(shown("option-224", json!({"hex": "0a0b"})), "0x0a0b");
        assert_eq!(shown("ip-forwarding", json!(true)), "true");
        assert_eq!(shown("slp-directory-agent", json!("true 10.0.0.1 10.0.0.2")), "true 10.0.0.1 10.0.0.2");
        assert_eq!(shown("slp-service-scope", json!("false A,B")), "false A,B");
        assert_eq!(shown("vendor-encapsulated-options", json!({"1": {"hex": "02"}})), "0x010102");
    }

    #[test]
    fn what_does_not_fit_its_kind_is_hex() {
        assert_eq!(show(3, &[1, 2, 3]), "0x010203");
        assert_eq!(show(12, b"a\x1bb"), "0x611b62");
        assert_eq!(show(121, &[33, 1]), "0x2101");
        assert_eq!(show(119, &[0xc0, 0]), "0xc000");
    }
}
