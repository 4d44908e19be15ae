//! What dhcproto 0.15 gets wrong, each fault pinned: the first half shows it, the second that we do better. When
//! an update of dhcproto mends one, its test says so.

use std::panic::catch_unwind;

use dhcproto::v4::{self, Decodable, Decoder, DhcpOption, Encodable, OptionCode, UnknownOption};

use super::wire::request;
use crate::protocol::{DhcpParser, Malformed};

fn decode(bytes: &[u8]) -> v4::Message {
    v4::Message::decode(&mut Decoder::new(bytes)).unwrap()
}

#[test]
fn a_wrong_cookie_is_accepted() {
    let mut bytes = request(&[53, 1, 1, 255]);
    bytes[236] = 0;
    assert!(decode(&bytes).opts().msg_type().is_some());
    assert_eq!(DhcpParser::parse(&bytes).unwrap_err(), Malformed::Cookie);
}

#[test]
fn a_long_hardware_address_panics_or_reads_beyond_its_field() {
    let mut bytes = request(&[53, 1, 1, 255]);
    bytes[2] = 17;
    let owned = decode(&bytes);
    assert!(catch_unwind(|| owned.chaddr().len()).is_err());
    assert_eq!(v4::borrowed::Message::new(&bytes).unwrap().chaddr().len(), 17);
    bytes[2] = 255;
    assert!(catch_unwind(|| v4::borrowed::Message::new(&bytes).unwrap().chaddr().len()).is_err());
    assert_eq!(DhcpParser::parse(&bytes).unwrap_err(), Malformed::HardwareLength);
}

#[test]
fn option_37_is_taken_for_23() {
    let bytes = request(&[53, 1, 1, 37, 1, 64, 255]);
    assert!(decode(&bytes).opts().get(OptionCode::DefaultTcpTtl).is_none());
    let message = DhcpParser::parse(&bytes).unwrap();
    assert_eq!((message.option(37), message.option(23)), (Some(&[64][..]), None));
}

#[test]
fn decoding_ends_silently_at_a_broken_option() {
    let bytes = request(&[53, 1, 3, 61, 9, 1]);
    assert!(decode(&bytes).opts().get(OptionCode::ClientIdentifier).is_none());
    assert_eq!(v4::borrowed::Message::new(&bytes).unwrap().opts().count(), 1);
    assert_eq!(DhcpParser::parse(&bytes).unwrap_err(), Malformed::OptionTruncated(61));
}

#[test]
fn a_value_that_does_not_decode_hides_all_behind_it() {
    // A host name that is no UTF-8.
    let bytes = request(&[12, 1, 0xff, 53, 1, 1, 255]);
    assert!(decode(&bytes).opts().msg_type().is_none());
    assert_eq!(DhcpParser::parse(&bytes).unwrap().hostname(), Some(&[0xff][..]));
}

#[test]
fn a_rapid_commit_with_bytes_panics_in_debug_builds() {
    let bytes = request(&[53, 1, 1, 80, 1, 1, 255]);
    assert_eq!(catch_unwind(|| decode(&bytes)).is_err(), cfg!(debug_assertions));
    assert!(DhcpParser::parse(&bytes).unwrap().option(80).is_some());
}

#[test]
fn pieces_that_are_not_neighbours_are_not_joined() {
    let bytes = request(&[61, 2, 1, 2, 53, 1, 1, 61, 1, 3, 255]);
    let options = decode(&bytes).opts().clone();
    assert_eq!(options.get(OptionCode::ClientIdentifier), Some(&DhcpOption::ClientIdentifier(vec![3])));
    assert_eq!(v4::borrowed::Message::new(&bytes).unwrap().opts().count(), 3);
    assert_eq!(DhcpParser::parse(&bytes).unwrap().client_id(), Some(&[1, 2, 3][..]));
}

#[test]
fn overloaded_fields_are_cut_at_their_first_nul() {
    let mut bytes = request(&[52, 1, 1, 53, 1, 1, 255]);
    bytes[108..116].copy_from_slice(&[12, 2, 0, b'x', 60, 1, b'v', 255]);
    assert_eq!(decode(&bytes).fname(), Some(&[12, 2, 0][..]));
    assert_eq!(v4::borrowed::Message::new(&bytes).unwrap().fname(), [12, 2]);
    assert_eq!(DhcpParser::parse(&bytes).unwrap().vendor_class(), Some(&b"v"[..]));
}

#[test]
fn encoding_sorts_options_and_drops_empty_ones() {
    let unknown = |code: u8, data: &[u8]| DhcpOption::Unknown(UnknownOption::new(code.into(), data.to_vec()));
    let mut options = v4::DhcpOptions::new();
    options.insert(unknown(54, &[10, 0, 0, 1]));
    options.insert(unknown(3, &[10, 0, 0, 1]));
    assert_eq!(options.to_vec().unwrap()[0], 3);
    assert_eq!(unknown(80, &[]).to_vec().unwrap(), b"");
    // Ours: see `order_is_kept_and_empty_options_are_written` beside this file.
}
