//! Encoding, checked against an independent decoder.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::wire::Wire;
use crate::protocol::encode::{Header, LEAST_BYTES, Op, Options, encode};
use crate::protocol::{DhcpParser, HardwareAddress, MessageType};

const LIMIT: usize = 548;

fn header() -> Header<'static> {
    Header {
        op: Op::Reply,
        xid: 0xdead_beef,
        secs: 0,
        flags: 0x8000,
        ciaddr: Ipv4Addr::new(10, 0, 0, 1),
        yiaddr: Ipv4Addr::new(10, 0, 0, 2),
        siaddr: Ipv4Addr::new(10, 0, 0, 3),
        giaddr: Ipv4Addr::new(10, 0, 0, 4),
        hardware: HardwareAddress::new(1, &[1, 2, 3, 4, 5, 6]).unwrap(),
        server_name: b"server",
        boot_file: b"file",
    }
}

fn written(header: &Header<'_>, options: &Options<'_>, limit: usize) -> (Vec<u8>, usize) {
    let mut out = vec![1; 7];
    let omitted = encode(header, options, limit, &mut out).unwrap();
    (out, omitted)
}

#[test]
fn header_stands_where_rfc_2131_puts_it() {
    let (bytes, _) = written(&header(), &Options::default(), LIMIT);
    let wire = Wire::read(&bytes);
    assert_eq!((wire.op, wire.htype, wire.hlen, wire.hops), (2, 1, 6, 0));
    assert_eq!((wire.xid, wire.secs, wire.flags), (0xdead_beef, 0, 0x8000));
    let addresses = [wire.ciaddr, wire.yiaddr, wire.siaddr, wire.giaddr].map(|address| address.octets()[3]);
    assert_eq!(addresses, [1, 2, 3, 4]);
    assert_eq!(wire.chaddr, [1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((wire.sname, wire.file), (b"server".to_vec(), b"file".to_vec()));
    assert_eq!(bytes.len(), 300);
}

#[test]
fn long_names_are_cut_so_that_a_nul_ends_them() {
    let header = Header { server_name: &[b'x'; 70], boot_file: &[b'y'; 200], ..header() };
    let wire = Wire::read(&written(&header, &Options::default(), LIMIT).0);
    assert_eq!((wire.sname.len(), wire.file.len()), (63, 127));
}

#[test]
fn order_is_kept_and_empty_options_are_written() {
    let options = Options {
        required: &[(53, &[2]), (54, &[10, 0, 0, 1]), (80, &[])],
        wanted: &[(6, &[1, 1, 1, 1]), (3, &[2, 2, 2, 2])],
        relay: Some(&[1, 1, 9]),
    };
    let wire = Wire::read(&written(&header(), &options, LIMIT).0);
    assert_eq!(wire.codes(), [53, 54, 80, 6, 3, 82]);
    assert_eq!(wire.option(80), Some(vec![]));
}

#[test]
fn long_options_are_split_and_join_again() {
    let long: Vec<u8> = (0..=255).chain(0..=255).collect();
    let options = Options { required: &[(53, &[2])], wanted: &[(43, &long)], relay: Some(&long) };
    let wire = Wire::read(&written(&header(), &options, 1472).0);
    assert_eq!(wire.codes(), [53, 43, 43, 43, 82, 82, 82]);
    assert_eq!((wire.option(43), wire.option(82)), (Some(long.clone()), Some(long)));
}

#[test]
fn what_does_not_fit_is_left_out_and_counted() {
    let large = [7; 250];
    let options = Options {
        required: &[(53, &[2])],
        wanted: &[(3, &[1, 1, 1, 1]), (43, &large), (60, &large), (15, b"x.org")],
        relay: Some(&[1, 2, 3, 4]),
    };
    let (bytes, omitted) = written(&header(), &options, LIMIT);
    assert!(bytes.len() <= LIMIT, "{}", bytes.len());
    assert_eq!((Wire::read(&bytes).codes(), omitted), (vec![53, 3, 43, 15, 82], 1));
    let (_, omitted) = written(&header(), &options, 1472);
    assert_eq!(omitted, 0);
}

#[test]
fn a_reply_fills_its_limit_to_the_byte() {
    // 240 header, 3 for option 53, 1 for the end: 304 are left, in two options of 2 + 150 each.
    let half = [7; 150];
    let options = Options { required: &[(53, &[2])], wanted: &[(43, &half), (60, &half)], relay: None };
    let (bytes, omitted) = written(&header(), &options, LIMIT);
    assert_eq!((bytes.len(), omitted), (548, 0));
    assert_eq!(written(&header(), &options, LIMIT - 1).1, 1);
}

#[test]
fn relay_information_takes_no_room_from_the_client_but_the_frame_holds_both() {
    let long = [1; 300];
    let options = Options { required: &[(53, &[5])], wanted: &[(43, &[7; 250])], relay: Some(&long) };
    let (bytes, omitted) = written(&header(), &options, LIMIT);
    assert_eq!((bytes.len(), omitted), (240 + 3 + 252 + 304 + 1, 0));
    assert_eq!(written(&header(), &options, 400).1, 1);
    let full = Options { wanted: &[(43, &[7; 250]), (60, &[7; 1000])], ..options };
    let (bytes, omitted) = written(&header(), &full, 1472);
    assert_eq!((bytes.len() <= 1472, omitted), (true, 1));
}

#[test]
fn required_options_and_the_relay_stay_whatever_the_limit() {
    let long = [1; 400];
    let options =
        Options { required: &[(53, &[5]), (61, &long)], wanted: &[(3, &[0; 4])], relay: Some(&long) };
    let (bytes, omitted) = written(&header(), &options, LIMIT);
    assert_eq!((Wire::read(&bytes).codes(), omitted), (vec![53, 61, 61, 82, 82], 1));
}

fn bare() -> Header<'static> {
    Header { server_name: b"", boot_file: b"", ..header() }
}

/// RFC 2132 §9.3, RFC 2131 §4.1.
#[test]
fn what_finds_no_room_moves_to_file_and_then_to_sname() {
    let (large, medium, small) = ([1; 250], [2; 100], [3; 50]);
    let options = Options {
        required: &[(53, &[2]), (54, &[10, 0, 0, 1])],
        wanted: &[(43, &large), (119, &medium), (15, &small), (3, &[10, 0, 0, 1])],
        relay: Some(&[1, 1, 9]),
    };
    let (bytes, omitted) = written(&bare(), &options, LIMIT);
    let wire = Wire::read(&bytes);
    assert_eq!(omitted, 0);
    assert_eq!(wire.codes(), [53, 54, 52, 43, 3, 82, 119, 15]);
    assert_eq!(wire.option(52), Some(vec![3]));
    assert_eq!((bytes[108], bytes[108 + 102], bytes[44], bytes[44 + 52]), (119, 255, 15, 255));
    let message = DhcpParser::parse_reply(&bytes).unwrap();
    assert_eq!((message.option(119), message.option(15)), (Some(&medium[..]), Some(&small[..])));
}

#[test]
fn boot_fields_stay_and_lesser_options_go() {
    let (large, medium) = ([1; 250], [2; 100]);
    let options =
        Options { required: &[(53, &[2])], wanted: &[(43, &large), (119, &medium), (15, b"x")], relay: None };
    let named = Header { server_name: b"tftp", ..bare() };
    let wire = Wire::read(&written(&named, &options, LIMIT - 44).0);
    assert_eq!((wire.codes(), wire.option(52)), (vec![53, 52, 43, 15, 119], Some(vec![1])));
    assert_eq!(wire.sname, b"tftp");
    let booting = Header { boot_file: b"ipxe.efi", ..bare() };
    let (bytes, omitted) = written(&booting, &options, LIMIT - 44);
    let wire = Wire::read(&bytes);
    assert_eq!((wire.codes(), omitted), (vec![53, 43, 15], 1), "too long for sname");
    assert_eq!(wire.file, b"ipxe.efi");
}

#[test]
fn an_option_that_has_to_be_divided_is_never_overloaded() {
    let options = Options { required: &[(53, &[2])], wanted: &[(43, &[1; 400]), (15, b"x")], relay: None };
    let (bytes, omitted) = written(&bare(), &options, LIMIT);
    assert_eq!((Wire::read(&bytes).codes(), omitted), (vec![53, 15], 1));
}

/// RFC 951 §3: 64 bytes of vendor area, the cookie among them; no option of DHCP's own.
#[test]
fn a_bootp_reply_is_300_bytes_and_knows_no_overload() {
    let wanted: [(u8, &[u8]); 4] =
        [(1, &[255, 255, 255, 0]), (3, &[10, 0, 0, 1]), (15, &[b'x'; 46]), (12, &[b'y'; 45])];
    let options = Options { required: &[], wanted: &wanted, relay: None };
    let (bytes, omitted) = written(&bare(), &options, LEAST_BYTES);
    assert_eq!((bytes.len(), omitted), (LEAST_BYTES, 1));
    assert_eq!(Wire::read(&bytes).codes(), [1, 3, 12]);
    assert_eq!(DhcpParser::parse_reply(&bytes).unwrap().kind(), MessageType::Bootp);
    let (bytes, omitted) = written(&bare(), &options, LIMIT);
    assert_eq!((bytes.len() > LEAST_BYTES, omitted), (true, 0));
}

proptest! {
    #[test]
    fn no_option_is_lost_but_those_counted_whatever_the_limit(
        limit in 300_usize..1472,
        named: bool,
        booting: bool,
        relay in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        options in proptest::collection::btree_map(
            (1_u8..=254).prop_filter("the server's own", |code| !(50..=61).contains(code) && *code != 82),
            proptest::collection::vec(any::<u8>(), 0..300),
            0..40,
        ),
    ) {
        let header = Header {
            server_name: if named { b"server" } else { b"" },
            boot_file: if booting { b"file" } else { b"" },
            ..header()
        };
        let wanted: Vec<(u8, &[u8])> = options.iter().map(|(code, data)| (*code, data.as_slice())).collect();
        let given = Options { required: &[(53, &[5])], wanted: &wanted, relay: relay.as_deref() };
        let (bytes, omitted) = written(&header, &given, limit);
        let relayed = relay.as_ref().map_or(0, |relay| relay.len() + 2);
        prop_assert!(bytes.len() <= (limit.max(300) + relayed).min(1472), "{} bytes", bytes.len());
        let message = DhcpParser::parse_reply(&bytes).unwrap();
        let mut read: Vec<(u8, &[u8])> =
            message.options().filter(|(code, _)| !matches!(code, 52 | 53 | 82)).collect();
        prop_assert!(read.iter().all(|option| wanted.contains(option)));
        read.sort_unstable();
        read.dedup_by_key(|option| option.0);
        prop_assert_eq!(read.len() + omitted, wanted.len());
        prop_assert_eq!(message.option(82), relay.as_deref());
        let wire = Wire::read(&bytes);
        prop_assert_eq!((wire.sname.is_empty(), wire.file.is_empty()), (!named, !booting));
        let relay_at = bytes.len().min(240) + wire.options.iter().take_while(|(code, _)| *code != 82).map(|(_, data)| data.len() + 2).sum::<usize>();
        prop_assert!(relay.is_none_or(|relay| bytes[relay_at + 2 + relay.len()] == 255), "82 is not the last");
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same(
        xid: u32,
        flags: u16,
        addresses: [[u8; 4]; 4],
        chaddr in proptest::collection::vec(any::<u8>(), 0..=16),
        options in proptest::collection::btree_map(
            (1_u8..=254).prop_filter("deciding options have fixed lengths", |code| !(50..=61).contains(code) && *code != 82),
            proptest::collection::vec(any::<u8>(), 0..600),
            0..8,
        ),
    ) {
        let [ciaddr, yiaddr, siaddr, giaddr] = addresses.map(Ipv4Addr::from);
        let hardware = HardwareAddress::new(1, &chaddr).unwrap();
        let header = Header { xid, flags, ciaddr, yiaddr, siaddr, giaddr, hardware, ..header() };
        let wanted: Vec<(u8, &[u8])> = options.iter().map(|(code, data)| (*code, data.as_slice())).collect();
        let options = Options { required: &[(53, &[5])], wanted: &wanted, relay: Some(&[1, 0]) };
        let (bytes, omitted) = written(&header, &options, usize::MAX);
        prop_assert_eq!(omitted, 0);

        let message = DhcpParser::parse_reply(&bytes).unwrap();
        prop_assert_eq!((message.xid(), message.flags()), (xid, flags));
        prop_assert_eq!((message.ciaddr(), message.yiaddr(), message.siaddr()), (ciaddr, yiaddr, siaddr));
        prop_assert_eq!(message.relay().unwrap_or(Ipv4Addr::UNSPECIFIED), giaddr);
        prop_assert_eq!(message.hardware(), &hardware);
        let read: Vec<(u8, &[u8])> = message.options().collect();
        let mut sent: Vec<(u8, &[u8])> = vec![(53, &[5])];
        sent.extend(&wanted);
        sent.push((82, &[1, 0]));
        prop_assert_eq!(read, sent);
    }
}
