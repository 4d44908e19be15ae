//! What clients and relays name: option 82 and its sub-options (RFC 3046), option 81 (RFC 4702), the texts of a lease.
//!
//! The first byte chooses option 82 or option 81; bits 1 and 2 of it, whether there is a suffix and a host name.

use echo_daemon::lease::ShortBytes;
use echo_daemon::lease::hash::sip13;
use echo_daemon::protocol::{DhcpParser, code, encode, fqdn};

use super::{choice, is_raw};

/// See the top of this file.
pub fn run(data: &[u8]) {
    let Some((how, bytes)) = choice(data) else { return };
    if how & 1 == 0 {
        relay_information(bytes);
    } else {
        full_name(how, bytes);
    }
    // Whatever it is, as a text of a lease it comes back as it was, and is harmless where people see it.
    let short = ShortBytes::from(bytes.to_vec());
    assert_eq!(&*short, bytes);
    assert_eq!(sip13(1, 2, bytes), sip13(1, 2, &short));
}

/// The bytes of a request with one option.
fn request(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 240];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[236..].copy_from_slice(&[99, 130, 83, 99]);
    packet.extend([code::MESSAGE_TYPE, 1, 1]);
    encode::put(number, bytes, &mut packet);
    packet.push(255);
    packet
}

/// The sub-options as RFC 3046 §2.0 lays them out, up to the first that is broken.
fn sub_options(mut rest: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let [number, length, tail @ ..] = rest {
        let Some((data, tail)) = tail.split_at_checked(usize::from(*length)) else { break };
        found.push((*number, data));
        rest = tail;
    }
    found
}

fn relay_information(bytes: &[u8]) {
    let packet = request(code::RELAY_INFORMATION, bytes);
    let message = DhcpParser::parse(&packet).expect("it is a message, whatever the relay says");
    let Some(relay) = message.relay_information() else {
        assert!(bytes.is_empty(), "option 82 was lost");
        return;
    };
    assert_eq!(relay.bytes(), bytes);
    let expected = sub_options(bytes);
    for number in 0..=255 {
        let first = expected.iter().find(|(found, _)| *found == number).map(|(_, data)| *data);
        assert_eq!(relay.sub_option(number), first, "sub-option {number}");
    }
    assert!(relay.circuit_id().is_none_or(|id| !id.is_empty()));
    assert!(relay.remote_id().is_none_or(|id| !id.is_empty()));
    assert!(relay.link_selection().is_none_or(|address| !address.is_unspecified()));
    assert!(
        relay.server_id_override().is_none_or(|address| !address.is_unspecified() && !address.is_broadcast())
    );
}

fn full_name(how: u8, bytes: &[u8]) {
    let packet = request(code::FQDN, bytes);
    let message = DhcpParser::parse(&packet).expect("it is a message, whatever the client is called");
    if let Some(host) = message.hostname() {
        assert!(!host.is_empty() && host.len() <= bytes.len());
    }
    let suffix = (how & 2 != 0).then_some("example.org");
    let hostname = (how & 4 != 0).then_some("printer");
    let Some(answer) = fqdn::answer(bytes, suffix, hostname) else { return };
    let [flags, 255, 255, name @ ..] = answer.as_slice() else { panic!("{answer:?}") };
    let sent = bytes[0];
    // N is set, S is not, E as the client has it, O where S was asked for (RFC 4702 §4).
    assert_eq!(*flags, 0x08 | sent & 0x04 | (sent & 1) << 1);
    assert!(name.len() <= 255, "{} bytes are no name", name.len());
    if flags & 4 == 0 {
        let text = std::str::from_utf8(name).expect("a name in ASCII");
        assert!(!is_raw(text), "{text:?}");
    }
    // Who is told a name and sends it again is told the same.
    let again = fqdn::answer(&answer, suffix, hostname).expect("an answer is well-formed");
    assert_eq!(again.get(3..), answer.get(3..));
}
