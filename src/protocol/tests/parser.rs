//! The parser: every reason to refuse, every rule of reading.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::wire::request;
use crate::protocol::{DhcpParser, Malformed, MessageType};

fn refusal(bytes: &[u8]) -> Malformed {
    DhcpParser::parse(bytes).unwrap_err()
}

fn with(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn each_broken_frame_has_its_own_reason() {
    let good = request(&[53, 1, 1, 255]);
    assert!(DhcpParser::parse(&good).is_ok());
    assert_eq!(refusal(&[]), Malformed::TooShort);
    assert_eq!(refusal(&good[..239]), Malformed::TooShort);
    assert_eq!(refusal(&with(good.clone(), 0, &[2])), Malformed::NotARequest);
    assert_eq!(refusal(&with(good.clone(), 2, &[17])), Malformed::HardwareLength);
    assert_eq!(refusal(&with(good.clone(), 2, &[255])), Malformed::HardwareLength);
    assert_eq!(refusal(&with(good, 239, &[0])), Malformed::Cookie);
    assert_eq!(refusal(&request(&[53, 1, 1, 12])), Malformed::OptionTruncated(12));
    assert_eq!(refusal(&request(&[53, 1, 1, 12, 9, 1])), Malformed::OptionTruncated(12));
}

#[test]
fn a_message_without_a_type_is_bootp_in_both_directions() {
    for options in [&[][..], &[255, 53, 1, 1], &[12, 1, b'x', 255]] {
        let bytes = request(options);
        assert_eq!(DhcpParser::parse(&bytes).unwrap().kind(), MessageType::Bootp);
        let reply = with(bytes, 0, &[2]);
        assert_eq!(refusal(&reply), Malformed::NotARequest);
        assert_eq!(DhcpParser::parse_reply(&reply).unwrap().kind(), MessageType::Bootp);
    }
    // Type 0 is unassigned; it does not make BOOTP.
    assert_eq!(DhcpParser::parse(&request(&[53, 1, 0])).unwrap().kind(), MessageType::Other(0));
}

#[test]
fn options_that_decide_must_have_their_length() {
    for (option, code) in [
        (&[53, 0][..], 53),
        (&[53, 2, 1, 1], 53),
        (&[53, 1, 3, 50, 3, 1, 2, 3], 50),
        (&[53, 1, 3, 54, 5, 1, 2, 3, 4, 5], 54),
        (&[53, 1, 3, 51, 2, 1, 2], 51),
        (&[53, 1, 3, 57, 1, 2], 57),
        (&[53, 1, 3, 52, 2, 1, 1], 52),
    ] {
        assert_eq!(refusal(&request(option)), Malformed::OptionLength(code));
    }
    let long_id = [&[53, 1, 1, 61, 255][..], &[7; 255], &[61, 1, 7]].concat();
    assert_eq!(refusal(&request(&long_id)), Malformed::OptionLength(61));
}

#[test]
fn an_options_field_without_an_end_is_read() {
    let bytes = request(&[0, 0, 53, 1, 1, 0]);
    assert_eq!(DhcpParser::parse(&bytes).unwrap().kind(), MessageType::Discover);
}

#[test]
fn fields_are_read() {
    let mut bytes = request(&[
        53, 1, 3, 50, 4, 10, 0, 0, 9, 51, 4, 0, 0, 14, 16, 54, 4, 10, 0, 0, 1, 55, 2, 3, 1, 57, 2, 5, 220,
        60, 2, b'v', b'c', 61, 2, 1, 2, 12, 4, b'b', b'o', b'x', 0, 77, 1, b'u', 82, 6, 1, 1, 9, 2, 1, 8,
        255,
    ]);
    bytes[8..12].copy_from_slice(&[0, 5, 0x80, 1]);
    bytes[12..16].copy_from_slice(&[10, 0, 0, 7]);
    bytes[24..28].copy_from_slice(&[10, 0, 0, 2]);
    let message = DhcpParser::parse(&bytes).unwrap();
    assert_eq!(message.kind(), MessageType::Request);
    assert_eq!((message.xid(), message.secs(), message.flags()), (0x0102_0304, 5, 0x8001));
    assert!(message.broadcast());
    assert_eq!(message.ciaddr(), Ipv4Addr::new(10, 0, 0, 7));
    assert_eq!(message.relay(), Some(Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!(message.hardware().to_string(), "02:00:00:00:00:01");
    assert_eq!(message.requested_address(), Some(Ipv4Addr::new(10, 0, 0, 9)));
    assert_eq!(message.lease_time_secs(), Some(3600));
    assert_eq!(message.server_id(), Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(message.parameter_request_list(), Some(&[3, 1][..]));
    assert_eq!(message.max_message_bytes(), Some(1500));
    assert_eq!(message.vendor_class(), Some(&b"vc"[..]));
    assert_eq!(message.client_id(), Some(&[1, 2][..]));
    assert_eq!(message.hostname(), Some(&b"box"[..]));
    assert_eq!(message.user_class(), Some(&b"u"[..]));
    let relay = message.relay_information().unwrap();
    assert_eq!((relay.circuit_id(), relay.remote_id()), (Some(&[9][..]), Some(&[8][..])));
}

#[test]
fn empty_client_id_and_zero_address_count_as_absent() {
    let bytes = request(&[53, 1, 1, 61, 0, 50, 4, 0, 0, 0, 0]);
    let message = DhcpParser::parse(&bytes).unwrap();
    assert_eq!((message.client_id(), message.requested_address()), (None, None));
}

#[test]
fn host_part_of_the_full_name_stands_in_for_the_hostname() {
    let bytes = request(&[53, 1, 1, 81, 8, 0, 0, 0, b'p', b'c', b'.', b'x', b'y']);
    assert_eq!(DhcpParser::parse(&bytes).unwrap().hostname(), Some(&b"pc"[..]));
}

#[test]
fn pieces_of_a_long_option_are_joined_wherever_they_stand() {
    let bytes = request(&[12, 2, b'a', b'b', 53, 1, 1, 12, 1, b'c', 255]);
    let message = DhcpParser::parse(&bytes).unwrap();
    assert_eq!(message.hostname(), Some(&b"abc"[..]));
    assert_eq!(message.options().map(|(code, _)| code).collect::<Vec<_>>(), [12, 53]);
}

#[test]
fn every_code_many_times_over_is_joined() {
    let pieces: Vec<u8> = (0..20_000_u16).flat_map(|i| [(i % 250 + 1).to_be_bytes()[1], 1, 7]).collect();
    let without_the_deciding: Vec<u8> =
        pieces.chunks(3).filter(|piece| !(50..=61).contains(&piece[0])).flatten().copied().collect();
    let bytes = request(&[&[53, 1, 1][..], &without_the_deciding].concat());
    let message = DhcpParser::parse(&bytes).unwrap();
    assert_eq!(message.options().count(), 239);
    assert!(message.options().all(|(code, data)| code == 53 || data == [7; 80]));
}

#[test]
fn overloaded_fields_are_read_file_first() {
    let mut bytes = request(&[12, 1, b'a', 52, 1, 3, 53, 1, 1, 255]);
    bytes[44..51].copy_from_slice(&[12, 1, b'c', 60, 1, b'v', 255]);
    bytes[108..115].copy_from_slice(&[0, 12, 1, b'b', 77, 0, 255]);
    let message = DhcpParser::parse(&bytes).unwrap();
    assert_eq!(message.hostname(), Some(&b"abc"[..]));
    assert_eq!(message.vendor_class(), Some(&b"v"[..]));
    assert_eq!(message.user_class(), Some(&b""[..]));
}

#[test]
fn only_the_field_that_is_overloaded_is_read() {
    for (value, sname, file) in
        [(1, false, true), (2, true, false), (3, true, true), (0, false, false), (4, false, false)]
    {
        let mut bytes = request(&[52, 1, value, 53, 1, 1, 255]);
        bytes[44..48].copy_from_slice(&[60, 1, b's', 255]);
        bytes[108..112].copy_from_slice(&[12, 1, b'f', 255]);
        let message = DhcpParser::parse(&bytes).unwrap();
        assert_eq!(message.vendor_class().is_some(), sname, "overload {value}");
        assert_eq!(message.hostname().is_some(), file, "overload {value}");
    }
}

#[test]
fn a_broken_overloaded_field_is_refused() {
    let mut bytes = request(&[52, 1, 2, 53, 1, 1, 255]);
    bytes[106..108].copy_from_slice(&[12, 1]);
    assert_eq!(refusal(&bytes), Malformed::OverloadTruncated(12));
}

#[test]
fn a_message_type_in_an_overloaded_field_counts() {
    let mut bytes = request(&[52, 1, 1, 255]);
    bytes[108..112].copy_from_slice(&[53, 1, 7, 255]);
    assert_eq!(DhcpParser::parse(&bytes).unwrap().kind(), MessageType::Release);
}

#[test]
fn sixteen_bytes_of_hardware_address_and_none_are_fine() {
    let good = request(&[53, 1, 1]);
    assert_eq!(DhcpParser::parse(&with(good.clone(), 2, &[16])).unwrap().hardware().bytes().len(), 16);
    assert_eq!(DhcpParser::parse(&with(good, 2, &[0])).unwrap().hardware().bytes().len(), 0);
}

/// Everything that the pipeline reads of a message.
pub(super) fn read_all(bytes: &[u8]) {
    for parsed in [DhcpParser::parse(bytes), DhcpParser::parse_reply(bytes)] {
        let Ok(message) = parsed else { continue };
        let _ = (message.user_class_parts().count(), message.architectures().count());
        let _ = super::super::fqdn::answer(message.fqdn().unwrap_or_default(), Some("x.org"), None);
        let _ = (message.hostname(), message.client_id(), message.max_message_bytes(), message.user_class());
        let _ = (
            message.ciaddr(),
            message.yiaddr(),
            message.siaddr(),
            message.relay(),
            message.lease_time_secs(),
        );
        if let Some(relay) = message.relay_information() {
            let _ =
                (relay.circuit_id(), relay.remote_id(), relay.link_selection(), relay.server_id_override());
        }
        let kind = message.option(53).map(<[u8]>::len);
        assert_eq!(kind, (message.kind() != MessageType::Bootp).then_some(1));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        read_all(&bytes);
    }

    #[test]
    fn random_options_and_fields_never_panic(
        op in 1_u8..=2,
        hlen in 0_u8..=17,
        fields in proptest::collection::vec(any::<u8>(), 192),
        options in proptest::collection::vec(prop_oneof![any::<u8>(), Just(52), Just(53), Just(82), 0_u8..4], 0..400),
    ) {
        let mut bytes = request(&[&[53, 1, 1, 52, 1, 3][..], &options].concat());
        bytes[0] = op;
        bytes[2] = hlen;
        bytes[44..236].copy_from_slice(&fields);
        read_all(&bytes);
    }
}
