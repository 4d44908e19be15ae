//! Replies, byte by byte: header and options by RFC 2131 table 3, destination by §4.1.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use serde_json::json;

use super::world::{ETH0, LO, Script, Sent, ip, options, pipeline, reply, run};
use crate::config::model::{Boot, LeaseTime};
use crate::dhcp::{Destination, Outcome, Pipeline, Reply};
use crate::lease::{Answer, NakReason, Offered};
use crate::protocol::tests::wire::Wire;

fn selecting() -> Sent {
    Sent::new(3).address(54, "10.0.0.1").address(50, "10.0.0.100")
}

fn relayed(pipeline: &Pipeline, sent: &Sent) -> (Reply, Wire) {
    let mut script = Script { offered: Offered::Address(ip("10.9.0.100")), ..Script::default() };
    match run(pipeline, sent, &mut script) {
        Outcome::Reply(reply) => {
            let wire = Wire::read(&reply.bytes);
            (reply, wire)
        }
        other => panic!("{other:?}"),
    }
}

fn nak(sent: &Sent) -> (Reply, Wire) {
    let answer = Some(Answer::Nak(NakReason::WrongNetwork));
    match run(&pipeline(|_| {}), sent, &mut Script { answer, ..Script::default() }) {
        Outcome::Reply(reply) => {
            let wire = Wire::read(&reply.bytes);
            (reply, wire)
        }
        other => panic!("{other:?}"),
    }
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

#[test]
fn an_offer_has_what_table_3_demands() {
    let sent = Sent::new(1)
        .flags(0x0001)
        .field(3, &[4])
        .field(8, &[0, 9])
        .option(61, &[7, 7])
        .option(55, &[3, 1, 6]);
    let (reply, wire) = reply(&pipeline(|_| {}), &sent);
    assert_eq!((wire.op, wire.htype, wire.hlen, wire.hops), (2, 1, 6, 0));
    assert_eq!((wire.xid, wire.secs, wire.flags), (0x0102_0304, 0, 1));
    assert_eq!((wire.ciaddr, wire.yiaddr), (Ipv4Addr::UNSPECIFIED, ip("10.0.0.100")));
    assert_eq!((wire.siaddr, wire.giaddr), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
    assert_eq!(wire.chaddr[..6], MAC);
    assert_eq!(wire.codes(), [53, 54, 51, 58, 59, 61, 1, 3, 6]);
    assert_eq!(wire.option(53), Some(vec![2]));
    assert_eq!(wire.option(54), Some(vec![10, 0, 0, 1]));
    assert_eq!(wire.option(51), Some(3600_u32.to_be_bytes().to_vec()));
    assert_eq!(wire.option(58), Some(1800_u32.to_be_bytes().to_vec()));
    assert_eq!(wire.option(59), Some(3150_u32.to_be_bytes().to_vec()));
    assert_eq!(wire.option(61), Some(vec![7, 7]));
    assert_eq!((reply.interface, reply.from), (ETH0, ip("10.0.0.1")));
}

#[test]
fn a_client_without_an_identifier_gets_none_echoed() {
    let (_, wire) = reply(&pipeline(|_| {}), &Sent::new(1).option(55, &[1]));
    assert_eq!(wire.codes(), [53, 54, 51, 58, 59, 1]);
}

#[test]
fn an_ack_of_a_renewal_copies_ciaddr_and_goes_there() {
    let sent = Sent::new(3).ciaddr("10.0.0.100").unicast("10.0.0.100", "10.0.0.1");
    let (reply, wire) = reply(&pipeline(|_| {}), &sent);
    assert_eq!(wire.option(53), Some(vec![5]));
    assert_eq!((wire.ciaddr, wire.yiaddr), (ip("10.0.0.100"), ip("10.0.0.100")));
    assert_eq!(reply.to, Destination::Unicast(SocketAddrV4::new(ip("10.0.0.100"), 68)));
}

#[test]
fn a_client_without_an_address_is_reached_by_its_hardware_address() {
    let (reply, wire) = reply(&pipeline(|_| {}), &selecting());
    assert_eq!(wire.ciaddr, Ipv4Addr::UNSPECIFIED);
    let to = SocketAddrV4::new(ip("10.0.0.100"), 68);
    assert_eq!(reply.to, Destination::Hardware { mac: MAC, to });
}

#[test]
fn what_cannot_be_framed_is_broadcast() {
    let pipeline = pipeline(|_| {});
    for sent in [
        selecting().flags(0x8000),
        selecting().field(1, &[6]),
        selecting().field(2, &[8]),
        selecting().field(28, &[0xff; 6]),
        selecting().field(28, &[1, 0, 0]),
    ] {
        assert_eq!(reply(&pipeline, &sent).0.to, Destination::Broadcast { port: 68 });
    }
}

#[test]
fn a_relay_gets_the_reply_on_the_server_port_with_its_option_last() {
    let pipeline = pipeline(|_| {});
    let information = [9, 1, 5, 1, 2, 7, 7, 2, 9, 1];
    let sent = Sent::new(1).giaddr("10.9.0.1").option(82, &information).option(55, &[15, 1]);
    let (reply, wire) = relayed(&pipeline, &sent);
    assert_eq!(reply.to, Destination::Unicast(SocketAddrV4::new(ip("10.9.0.1"), 67)));
    assert_eq!(wire.giaddr, ip("10.9.0.1"));
    assert_eq!(wire.codes(), [53, 54, 51, 58, 59, 15, 1, 82]);
    assert_eq!(wire.option(82), Some(information.to_vec()));
}

#[test]
fn a_relay_may_choose_the_server_identifier() {
    let sent = Sent::new(1).giaddr("10.9.0.1").option(82, &[11, 4, 10, 9, 0, 1]);
    let pipeline = pipeline(|config| config.dhcp.subnets[0].common.server_id = Some(ip("10.9.0.53")));
    assert_eq!(relayed(&pipeline, &sent).1.option(54), Some(vec![10, 9, 0, 1]));
    let plain = Sent::new(1).giaddr("10.9.0.1");
    assert_eq!(relayed(&pipeline, &plain).1.option(54), Some(vec![10, 9, 0, 53]));
}

#[test]
fn the_address_that_was_reached_is_the_one_that_answers() {
    let pipeline = pipeline(|_| {});
    let renewal = Sent::new(3).ciaddr("10.0.0.100").giaddr("0.0.0.0");
    let plain = Sent::new(1).giaddr("10.9.0.1");
    for (asked, octets) in [("10.0.0.1", [10, 0, 0, 1]), ("192.0.2.1", [192, 0, 2, 1])] {
        let (relayed, wire) = relayed(&pipeline, &plain.clone().unicast("10.9.0.1", asked));
        assert_eq!((wire.option(54), relayed.from), (Some(octets.to_vec()), ip(asked)));
        let (renewed, wire) = reply(&pipeline, &renewal.clone().unicast("10.0.0.100", asked));
        assert_eq!((wire.option(54), renewed.from), (Some(octets.to_vec()), ip(asked)));
    }
}

#[test]
fn a_nak_has_only_what_table_3_allows_and_is_broadcast() {
    let sent =
        Sent::new(3).address(50, "10.0.0.100").option(61, &[7]).option(55, &[1, 3]).option(60, b"vendor");
    let (reply, wire) = nak(&sent);
    assert_eq!(wire.codes(), [53, 54, 56, 61]);
    assert_eq!(wire.option(53), Some(vec![6]));
    let zero = Ipv4Addr::UNSPECIFIED;
    assert_eq!((wire.ciaddr, wire.yiaddr, wire.siaddr), (zero, zero, zero));
    assert_eq!((wire.sname, wire.file), (vec![], vec![]));
    assert_eq!((reply.to, wire.flags), (Destination::Broadcast { port: 68 }, 0));
}

#[test]
fn a_nak_through_a_relay_has_the_broadcast_bit_and_the_relays_option() {
    let sent = Sent::new(3).address(50, "10.9.0.100").giaddr("10.9.0.1").option(82, &[1, 1, 7]);
    let (reply, wire) = nak(&sent);
    assert_eq!(reply.to, Destination::Unicast(SocketAddrV4::new(ip("10.9.0.1"), 67)));
    assert_eq!(wire.flags, 0x8000);
    assert_eq!(wire.codes(), [53, 54, 56, 82]);
}

#[test]
fn a_nak_of_a_renewal_is_broadcast_too() {
    let sent = Sent::new(3).ciaddr("10.0.0.100").unicast("10.0.0.100", "10.0.0.1");
    assert_eq!(nak(&sent).0.to, Destination::Broadcast { port: 68 });
}

#[test]
fn on_loopback_everything_goes_back_to_the_sender() {
    let on_lo = |config: &mut crate::config::Config| config.dhcp.subnets[1].interface = Some("lo".into());
    let pipeline = pipeline(on_lo);
    let sender = Destination::Unicast(SocketAddrV4::new(ip("127.0.0.1"), 40_000));
    for sent in [
        Sent::new(1),
        selecting().flags(0x8000),
        Sent::new(3).ciaddr("10.0.0.100"),
        Sent::new(1).giaddr("10.9.0.1"),
        Sent::new(8).ciaddr("10.0.0.7"),
        Sent::new(8),
    ] {
        let (reply, wire) = reply(&pipeline, &sent.on_loopback());
        assert_eq!((reply.to, reply.interface), (sender, LO));
        assert_eq!(wire.option(54), Some(vec![127, 0, 0, 1]));
    }
    let answer = Some(Answer::Nak(NakReason::HeldByAnother));
    let outcome = run(&pipeline, &selecting().address(54, "127.0.0.1").on_loopback(), &mut Script::default());
    assert!(matches!(outcome, Outcome::Silence { .. }), "two server identifiers joined are no address");
    let sent = Sent::new(3).address(50, "10.0.0.100").on_loopback();
    let Outcome::Reply(reply) = run(&pipeline, &sent, &mut Script { answer, ..Script::default() }) else {
        panic!()
    };
    assert_eq!(reply.to, sender);
}

#[test]
fn an_inform_gets_options_but_no_lease() {
    let pipeline = pipeline(|_| {});
    let sent = Sent::new(8).ciaddr("10.0.0.7").unicast("10.0.0.7", "10.0.0.1").option(55, &[51, 58, 3, 6]);
    let (to_ciaddr, wire) = reply(&pipeline, &sent);
    assert_eq!(to_ciaddr.to, Destination::Unicast(SocketAddrV4::new(ip("10.0.0.7"), 68)));
    assert_eq!((wire.ciaddr, wire.yiaddr), (ip("10.0.0.7"), Ipv4Addr::UNSPECIFIED));
    assert_eq!(wire.codes(), [53, 54, 3, 6]);
    assert_eq!(wire.option(53), Some(vec![5]));
    // A client behind a router, and one that forgot ciaddr.
    let far = Sent::new(8).ciaddr("10.9.0.7").unicast("10.9.0.7", "10.0.0.1");
    assert_eq!(reply(&pipeline, &far).0.to, Destination::Unicast(SocketAddrV4::new(ip("10.9.0.7"), 68)));
    let silent = Sent::new(8).unicast("10.0.0.8", "10.0.0.1");
    assert_eq!(reply(&pipeline, &silent).0.to, Destination::Unicast(SocketAddrV4::new(ip("10.0.0.8"), 68)));
}

#[test]
fn boot_fields_come_from_the_pool_else_from_the_subnet() {
    let pipeline = pipeline(|config| {
        let lan = &mut config.dhcp.subnets[1];
        lan.common.next_server = Some(ip("10.0.0.4"));
        lan.common.server_name = Some("boot".into());
        lan.common.boot_file = Some("subnet.img".into());
        lan.pools[0].boot = Boot { boot_file: Some("pool.img".into()), ..Boot::default() };
    });
    let (_, wire) = reply(&pipeline, &Sent::new(1));
    assert_eq!(
        (wire.siaddr, wire.sname, wire.file),
        (ip("10.0.0.4"), b"boot".to_vec(), b"pool.img".to_vec())
    );
}

fn granted(change: impl FnOnce(&mut LeaseTime), asked: Option<u32>) -> (Option<Vec<u8>>, usize) {
    let pipeline = pipeline(|config| change(&mut config.dhcp.subnets[1].common.lease_time));
    let sent = asked.map_or_else(selecting, |secs| selecting().option(51, &secs.to_be_bytes()));
    let (_, wire) = reply(&pipeline, &sent);
    (wire.option(51), wire.codes().iter().filter(|code| matches!(code, 58 | 59)).count())
}

#[test]
fn the_lease_time_asked_for_is_granted_within_the_limits() {
    let secs = |secs: u32| (Some(secs.to_be_bytes().to_vec()), 2);
    assert_eq!(granted(|_| {}, None), secs(3600));
    assert_eq!(granted(|_| {}, Some(1000)), secs(1000));
    assert_eq!(granted(|_| {}, Some(1)), secs(300));
    assert_eq!(granted(|_| {}, Some(1_000_000)), secs(86_400));
    assert_eq!(granted(|_| {}, Some(u32::MAX)), secs(86_400));
}

#[test]
fn infinity_is_granted_only_where_the_maximum_allows_and_has_no_renewal() {
    let endless = |time: &mut LeaseTime| time.max = Duration::from_secs(u32::MAX.into());
    assert_eq!(granted(endless, Some(u32::MAX)), (Some(vec![255; 4]), 0));
    assert_eq!(granted(endless, None).0, Some(3600_u32.to_be_bytes().to_vec()));
}

#[test]
fn a_pool_may_have_lease_times_of_its_own() {
    let day = Duration::from_secs(86_400);
    let pipeline = pipeline(|config| {
        config.dhcp.subnets[1].pools[0].lease_time = Some(LeaseTime { default: day, min: day, max: day });
    });
    assert_eq!(reply(&pipeline, &Sent::new(1)).1.option(51), Some(86_400_u32.to_be_bytes().to_vec()));
}

#[test]
fn a_reply_fits_576_bytes_unless_the_client_takes_more() {
    let pipeline = pipeline(|config| {
        let text = "x".repeat(200);
        config.dhcp.common.options =
            options(json!({"root-path": text, "merit-dump": text, "domain-name": text, "nis-domain": text}));
    });
    let sent = Sent::new(1).option(55, &[15, 17, 14, 40, 3]);
    let (small, wire) = reply(&pipeline, &sent);
    assert!(small.bytes.len() <= 548);
    assert_eq!((wire.codes(), small.omitted), (vec![53, 54, 51, 58, 59, 15, 3], 3));
    let (large, wire) = reply(&pipeline, &sent.option(57, &1500_u16.to_be_bytes()));
    assert_eq!((wire.codes(), large.omitted), (vec![53, 54, 51, 58, 59, 15, 17, 14, 40, 3], 0));
}
