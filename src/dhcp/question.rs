//! The DISCOVER of a client that is asked about, from texts: the flags of `explain`, the parameters of `GET /v1/explain`.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde_json::Value;

use crate::protocol::encode::{self, Header, Op, Options};
use crate::protocol::options::{OptionValue, ValueError, code_of};
use crate::protocol::{HardwareAddress, MessageType, code};

/// A hardware address.
#[derive(Debug, Clone, Copy)]
pub struct Mac(HardwareAddress);

/// An option that the client sends.
#[derive(Debug, Clone)]
pub struct Sent {
    code: u8,
    bytes: Vec<u8>,
}

/// `00:11:22:33:44:55`, with colons or dashes.
pub fn mac(text: &str) -> Result<Mac, String> {
    let wrong = || "expected a hardware address such as 00:11:22:33:44:55".to_owned();
    let bytes = text.split([':', '-']).map(|pair| {
        let plain = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        plain.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
    });
    let bytes: Vec<u8> = bytes.collect::<Option<_>>().ok_or_else(wrong)?;
    HardwareAddress::new(1, &bytes).map(Mac).ok_or_else(wrong)
}

/// `CODE=VALUE`: hex digits behind `0x`, a list of codes for option 55, else as the option's type has it, else text.
pub fn option(text: &str) -> Result<Sent, String> {
    let (name, value) = text.split_once('=').ok_or("expected CODE=VALUE")?;
    let number = name.parse::<u8>().ok().filter(|code| (1..255).contains(code));
    let code = number.or_else(|| code_of(name)).ok_or_else(|| unknown(name))?;
    let bytes = bytes_of(code, value).ok_or_else(|| format!("\"{value}\" is no value of option {code}"))?;
    match code {
        code::MESSAGE_TYPE => Err("the message is a DISCOVER".to_owned()),
        code::OVERLOAD => Err("option 52 belongs to the packet's layout".to_owned()),
        code => Ok(Sent { code, bytes }),
    }
}

fn unknown(name: &str) -> String {
    // The configuration's own words for it, with the nearest name.
    match OptionValue::from_config(name, &Value::Null) {
        Err(ValueError { reason, hint: Some(hint) }) => format!("{reason}; {hint}"),
        Err(ValueError { reason, hint: None }) => reason,
        Ok(_) => format!("\"{name}\" is not an option"),
    }
}

fn bytes_of(code: u8, value: &str) -> Option<Vec<u8>> {
    let given = Value::from(value);
    let raw = |format: &str, given: Value| {
        let map = Value::from(serde_json::Map::from_iter([(format.to_owned(), given)]));
        OptionValue::from_config("option-224", &map).ok().map(|option| option.bytes)
    };
    if value.starts_with("0x") {
        return raw("hex", given);
    }
    let items = || value.split(',').map(|item| Value::from(item.trim())).collect();
    match code {
        code::PARAMETER_REQUEST_LIST => raw("u8", items()),
        code::REQUESTED_ADDRESS | code::SERVER_ID | code::SUBNET_SELECTION => raw("ip", given),
        code::LEASE_TIME => raw("u32", given),
        code::MAX_MESSAGE_SIZE => raw("u16", given),
        code::RAPID_COMMIT => Some(Vec::new()),
        _ => {
            let typed = OptionValue::from_config(&format!("option-{code}"), &given);
            typed.ok().map(|option| option.bytes).or_else(|| raw("text", given))
        }
    }
}

/// The packet as it would arrive.
pub(super) fn packet(mac: &Mac, relay: Option<Ipv4Addr>, options: &[Sent]) -> Result<Vec<u8>, String> {
    let header = Header {
        op: Op::Request,
        xid: 0,
        secs: 0,
        flags: 0,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: relay.unwrap_or(Ipv4Addr::UNSPECIFIED),
        hardware: mac.0,
        server_name: &[],
        boot_file: &[],
    };
    let kind = [MessageType::Discover.number()];
    let mut required: Vec<(u8, &[u8])> = vec![(code::MESSAGE_TYPE, &kind)];
    required.extend(options.iter().map(|option| (option.code, option.bytes.as_slice())));
    let mut bytes = Vec::new();
    let all = Options { required: &required, wanted: &[], relay: None };
    encode::encode(&header, &all, usize::from(u16::MAX), &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Who sends it.
pub(super) fn sender(relay: Option<Ipv4Addr>, loopback: bool) -> SocketAddrV4 {
    match relay {
        Some(relay) => SocketAddrV4::new(relay, 67),
        None if loopback => SocketAddrV4::new(Ipv4Addr::LOCALHOST, 68),
        None => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_by_number_and_by_name() {
        let bytes = |text: &str| option(text).map(|sent| (sent.code, sent.bytes));
        assert_eq!(bytes("60=PXEClient"), Ok((60, b"PXEClient".to_vec())));
        assert_eq!(bytes("55=1,3, 6"), Ok((55, vec![1, 3, 6])));
        assert_eq!(bytes("82=0x0101ff"), Ok((82, vec![1, 1, 255])));
        assert_eq!(bytes("host-name=box"), Ok((12, b"box".to_vec())));
        assert_eq!(bytes("93=7"), Ok((93, vec![0, 7])));
        assert_eq!(bytes("50=10.0.0.7"), Ok((50, vec![10, 0, 0, 7])));
        assert!(bytes("rooters=x").unwrap_err().contains("routers"), "{:?}", bytes("rooters=x"));
        for wrong in ["60", "0=x", "255=x", "nonsense=1", "50=box", "53=1", "61=0xzz"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hardware_addresses_are_read_with_colons_or_dashes() {
        assert_eq!(mac("00:11:22:aa:BB:cc").unwrap().0.to_string(), "00:11:22:aa:bb:cc");
        assert_eq!(mac("00-11-22-aa-bb-cc").unwrap().0.to_string(), "00:11:22:aa:bb:cc");
        for wrong in ["", "00:11:2", "00:11:2g", "00:+1", "001122"] {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }
}
