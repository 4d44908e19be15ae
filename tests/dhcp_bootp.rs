//! BOOTP clients (RFC 951, RFC 1534) and rapid commit (RFC 4039): leases without the four messages. On the real binary over
//! loopback.

mod common;

use std::net::Ipv4Addr;

use common::Daemon;
use common::lab::query;
use common::octets::{ACK, INFORM, OFFER, Question, REQUEST, Speaker, ip, ips, loopback, serve};

const SUBNETS: &str = "
    lan:
      network: 10.77.0.0/24
      interface: lo
      options: {routers: [10.77.0.1]}
      pools: {main: {range: 10.77.0.100-10.77.0.199}}
      hosts:
        terminal: {mac: \"02:00:00:00:00:07\", ip: 10.77.0.7, boot_file: terminal.img, hostname: terminal}
        guest: {mac: \"02:00:00:00:00:08\"}
    behind:
      network: 10.78.0.0/24
      pools: {main: {range: 10.78.0.100-10.78.0.199}}
";

fn start(dhcp: &str) -> (Daemon, Speaker) {
    let common = "  options: {domain-name: example.org}\n  next_server: 10.77.0.9\n  boot_file: pxe.0\n";
    serve(&loopback(&format!("{common}{dhcp}"), SUBNETS))
}

#[test]
fn bootp_client_gets_an_address_in_one_packet_each_way() {
    let (daemon, speaker) = start("");
    let reply = speaker.ask(&Question::bootp(1));
    assert_eq!(reply.kind(), None, "RFC 1534 §2: no option that is DHCP's alone");
    assert_eq!(reply.bytes.len(), 300, "RFC 951 §3");
    assert!((100..200).contains(&reply.yiaddr().octets()[3]));
    assert_eq!((reply.siaddr(), reply.file()), (ip("10.77.0.9"), "pxe.0".into()));
    assert_eq!(
        (reply.option(1), reply.option(3)),
        (Some(ips(&["255.255.255.0"])), Some(ips(&["10.77.0.1"])))
    );
    for code in [50, 51, 52, 53, 54, 55, 56, 57, 58, 59] {
        assert_eq!(reply.option(code), None, "{code}");
    }
    assert_eq!(speaker.ask(&Question::bootp(1)).yiaddr(), reply.yiaddr(), "asked again, the same");
    daemon.wait_log(&["DHCP_LEASE_GRANTED", &reply.yiaddr().to_string()]);
    assert_eq!(
        query(&daemon, "SELECT ip, state FROM lease_list"),
        [[reply.yiaddr().to_string(), "active".to_owned()]]
    );
    // Nobody else gets it, and its owner is a DHCP client too (RFC 1534 §3).
    assert_ne!(speaker.ask(&Question::discover(2).with_ip(50, reply.yiaddr())).yiaddr(), reply.yiaddr());
    assert_eq!(speaker.lease(&Question::discover(1)).yiaddr(), reply.yiaddr());
}

#[test]
fn bootp_client_with_a_reservation_gets_it_and_its_boot_file() {
    for dhcp in ["", "  bootp: reserved"] {
        let (_daemon, speaker) = start(dhcp);
        let reply = speaker.ask(&Question::bootp(7));
        assert_eq!((reply.yiaddr(), reply.file()), (ip("10.77.0.7"), "terminal.img".into()));
        assert_eq!(reply.text(12), "terminal");
    }
}

#[test]
fn bootp_through_a_relay_is_answered_there() {
    let (_daemon, speaker) = start("");
    let reply = speaker.ask(&Question::bootp(1).relayed("10.78.0.1").field(3, &[3]));
    assert_eq!((reply.giaddr(), reply.bytes[3]), (ip("10.78.0.1"), 0), "hops is 0");
    assert_eq!(reply.yiaddr().octets()[..3], [10, 78, 0]);
}

#[test]
fn bootp_client_that_knows_its_address_is_told_the_rest() {
    let (daemon, speaker) = start("");
    let reply = speaker.ask(&Question::bootp(1).ciaddr(ip("10.77.0.50")));
    assert_eq!(
        (reply.kind(), reply.ciaddr(), reply.yiaddr()),
        (None, ip("10.77.0.50"), Ipv4Addr::UNSPECIFIED)
    );
    assert_eq!(reply.file(), "pxe.0");
    assert_eq!(query(&daemon, "SELECT ip FROM lease_list").len(), 0);
}

#[test]
fn bootp_can_be_kept_to_reservations_or_be_off() {
    let (_daemon, speaker) = start("  bootp: reserved");
    speaker.assert_silent(&Question::bootp(1));
    // A host without an address of its own has no reservation.
    speaker.assert_silent(&Question::bootp(8));
    assert_eq!(speaker.ask(&Question::bootp(7)).yiaddr(), ip("10.77.0.7"));
    drop(speaker);
    let (_daemon, speaker) = start("  bootp: \"off\"");
    speaker.assert_silent(&Question::bootp(7));
    assert_eq!(speaker.lease(&Question::discover(7)).yiaddr(), ip("10.77.0.7"), "DHCP is as ever");
}

#[test]
fn rapid_commit_grants_at_once_and_says_so() {
    let (daemon, speaker) = start("  rapid_commit: true");
    let ack = speaker.ask(&Question::discover(1).with(80, &[]));
    assert_eq!((ack.kind(), ack.option(80)), (Some(ACK), Some(vec![])));
    assert_eq!(ack.number(51), 3600);
    daemon.wait_log(&["DHCP_LEASE_GRANTED", &ack.yiaddr().to_string()]);
    assert_eq!(query(&daemon, "SELECT ip FROM lease_list"), [[ack.yiaddr().to_string()]]);
    let again = speaker.ask(&Question::discover(1).with(80, &[]));
    assert_eq!((again.kind(), again.yiaddr()), (Some(ACK), ack.yiaddr()));
    let renewed = speaker.renew(&Question::discover(1), ack.yiaddr());
    assert_eq!((renewed.kind(), renewed.option(80)), (Some(ACK), None));
    // Who does not ask for it is offered first.
    let offer = speaker.ask(&Question::discover(2));
    assert_eq!((offer.kind(), offer.option(80)), (Some(OFFER), None));
    // It belongs to a DISCOVER: elsewhere it says nothing.
    let inform = speaker.ask(&Question::new(INFORM, 3).ciaddr(ip("10.77.0.50")).with(80, &[]));
    assert_eq!(inform.option(80), None);
    speaker.assert_silent(&Question::new(REQUEST, 4).with(80, &[]));
}

#[test]
fn without_rapid_commit_everybody_is_offered_first() {
    let (daemon, speaker) = start("");
    let offer = speaker.ask(&Question::discover(1).with(80, &[]));
    assert_eq!((offer.kind(), offer.option(80)), (Some(OFFER), None));
    assert_eq!(query(&daemon, "SELECT ip FROM lease_list").len(), 0);
}
