//! Options in both directions: a value of a configuration → bytes → a packet → bytes → text; and any options field → a
//! message.
//!
//! The first byte chooses: a value in JSON for the option of the second byte; a map of options in JSON; raw bytes of an
//! option; a whole options field, laid down again by our own encoder under the limit of the second byte.

use std::net::Ipv4Addr;

use echo_daemon::protocol::encode::{self, Header, Op, Options};
use echo_daemon::protocol::options::{Setting, code_of, name, show, table};
use echo_daemon::protocol::{DhcpParser, HardwareAddress, code};
use serde_json::Value;

use super::{choice, is_raw};

/// See the top of this file.
pub fn run(data: &[u8]) {
    let Some((how, rest)) = choice(data) else { return };
    match how % 4 {
        0 => {
            let Some((number, json)) = choice(rest) else { return };
            if let Ok(value) = serde_json::from_slice(json) {
                setting(&name(number), &value);
                setting(&format!("option-{number}"), &value);
            }
        }
        1 => {
            let Ok(Value::Object(map)) = serde_json::from_slice(rest) else { return };
            map.iter().for_each(|(name, value)| setting(name, value));
        }
        2 => {
            let Some((number, bytes)) = choice(rest) else { return };
            assert!(!is_raw(&show(number, bytes)), "{:?}", show(number, bytes));
            through_a_packet(number, bytes);
        }
        _ => field(rest),
    }
}

/// What the configuration takes, the wire carries unchanged, and people can read it.
fn setting(name: &str, value: &Value) {
    match Setting::from_config(name, value) {
        Err(error) => assert!(!error.reason.is_empty()),
        Ok(Setting::Unset(number)) => assert!((1..255).contains(&number) && value.is_null()),
        Ok(Setting::Value(option)) => {
            assert!((1..255).contains(&option.code));
            let known = code_of(name).or_else(|| name.strip_prefix("option-")?.parse().ok());
            assert_eq!(known, Some(option.code));
            let row = table::by_code(option.code);
            assert!(
                !row.is_some_and(|row| matches!(row.kind, table::Kind::Owned(_))),
                "{name} is the server's own"
            );
            assert!(!is_raw(&show(option.code, &option.bytes)));
            through_a_packet(option.code, &option.bytes);
        }
    }
}

fn header(op: Op) -> Header<'static> {
    Header {
        op,
        xid: 0x0102_0304,
        secs: 0,
        flags: 0,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: Ipv4Addr::new(10, 0, 0, 100),
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: Ipv4Addr::UNSPECIFIED,
        hardware: HardwareAddress::new(1, &[2, 0, 0, 0, 0, 1]).unwrap(),
        server_name: &[],
        boot_file: &[],
    }
}

/// Options whose length the parser itself judges, and what the layout of a packet is made of.
fn is_special(number: u8) -> bool {
    matches!(
        number,
        0 | 255
            | code::OVERLOAD
            | code::MESSAGE_TYPE
            | code::REQUESTED_ADDRESS
            | code::LEASE_TIME
            | code::SERVER_ID
            | code::MAX_MESSAGE_SIZE
            | code::CLIENT_ID
    )
}

/// decode(encode(x)) = x, also in pieces of 255 bytes (RFC 3396).
fn through_a_packet(number: u8, bytes: &[u8]) {
    if is_special(number) {
        return;
    }
    let wanted = [(number, bytes)];
    let options = Options { required: &[(code::MESSAGE_TYPE, &[2])], wanted: &wanted, relay: None };
    let mut packet = Vec::new();
    let Ok(omitted) = encode::encode(&header(Op::Reply), &options, 65_000, &mut packet) else { return };
    let message = DhcpParser::parse_reply(&packet).expect("what we encode is a message");
    if omitted == 0 {
        assert_eq!(message.option(number), Some(bytes), "option {number}");
    } else {
        assert_eq!(message.option(number), None, "an option is there whole or not at all");
    }
}

/// Any options field: what the parser reads of it, our encoder writes, overloaded where it must be, and it is read the same.
fn field(rest: &[u8]) {
    let Some((size, options)) = choice(rest) else { return };
    let mut bytes = Vec::new();
    encode::encode(&header(Op::Request), &Options::default(), 65_000, &mut bytes).expect("it is small");
    bytes.truncate(240);
    bytes.extend_from_slice(options);
    let Ok(message) = DhcpParser::parse(&bytes) else { return };
    let _ = (message.hostname(), message.vendor_class(), message.user_class(), message.fqdn());
    let _ = (message.relay_information().map(|relay| relay.circuit_id()), message.subnet_selection());
    let _ = (message.architectures().count(), message.user_class_parts().count(), message.auto_configure());
    let read: Vec<(u8, Vec<u8>)> = message.options().map(|(code, data)| (code, data.to_vec())).collect();
    let wanted: Vec<(u8, &[u8])> = read
        .iter()
        .filter(|(code, _)| !matches!(*code, code::OVERLOAD | code::RELAY_INFORMATION))
        .map(|(code, data)| (*code, data.as_slice()))
        .collect();
    let relay = message.option(code::RELAY_INFORMATION);
    let again = Options { required: &[], wanted: &wanted, relay };
    let limit = 300 + usize::from(size) * 6;
    let mut packet = Vec::new();
    let Ok(omitted) = encode::encode(&header(Op::Request), &again, limit, &mut packet) else { return };
    let sent_back = DhcpParser::parse(&packet).expect("what we encode is a message");
    assert_eq!(sent_back.option(code::RELAY_INFORMATION), relay);
    let missing = wanted.iter().filter(|(code, data)| match sent_back.option(*code) {
        None => true,
        Some(found) => {
            assert_eq!(found, *data, "option {code}");
            false
        }
    });
    assert_eq!(missing.count(), omitted);
}
