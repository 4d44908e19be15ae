//! Reservations: which client a host is, the address that is its own, and what becomes of an address that is reserved while
//! somebody else has it. On the real binary over loopback.

mod common;

use std::net::Ipv4Addr;

use common::octets::{ACK, NAK, OFFER, Question, Speaker, ip, loopback, serve, sub};
use common::{Daemon, text};

const HOSTS: &str = "
    lan:
      network: 10.77.0.0/24
      interface: lo
      exclude: [10.77.0.150]
      pools: {main: {range: 10.77.0.100-10.77.0.199}}
      hosts:
        outside: {mac: \"02:00:00:00:00:01\", ip: 10.77.0.10, hostname: outside}
        inside: {mac: \"02:00:00:00:00:02\", ip: 10.77.0.120}
        excluded: {mac: \"02:00:00:00:00:03\", ip: 10.77.0.150}
        laptop: {mac: [\"02:00:00:00:00:04\", \"02:00:00:00:00:05\"], ip: 10.77.0.11}
        by-hex: {client_id: \"ff:00:00:00:07:00:01\", ip: 10.77.0.12}
        nearby: {circuit_id: \"port 9\", ip: 10.77.0.14}
        by-text: {client_id: \"server-1\", ip: 10.77.0.13}
        dynamic: {mac: \"02:00:00:00:00:06\", hostname: dynamic}
    behind:
      network: 10.78.0.0/24
      pools: {main: {range: 10.78.0.100-10.78.0.199}}
      hosts:
        room: {circuit_id: \"port 7\", ip: 10.78.0.10}
        desk: {circuit_id: \"port 7\", remote_id: \"0x0a0b\", ip: 10.78.0.11}
        socket: {circuit_id: \"0x0102ff\", ip: 10.78.0.12}
        mac: {mac: \"02:00:00:00:00:01\", ip: 10.78.0.13}
";

fn start() -> (Daemon, Speaker) {
    serve(&loopback("", HOSTS))
}

/// A DISCOVER through the relay of `behind`, from this circuit and remote id.
fn from_circuit(n: u32, circuit: &[u8], remote: Option<&[u8]>) -> Question {
    let remote = remote.map_or(Vec::new(), |remote| sub(2, remote));
    Question::discover(n).relayed("10.78.0.1").with(82, &[sub(1, circuit), remote].concat())
}

fn last_octet(address: Ipv4Addr) -> u8 {
    address.octets()[3]
}

#[test]
fn reserved_address_goes_to_its_owner_in_a_pool_outside_of_it_and_among_the_excluded() {
    let (daemon, speaker) = start();
    for (n, address) in [(1, "10.77.0.10"), (2, "10.77.0.120"), (3, "10.77.0.150")] {
        let discover = Question::discover(n).asking(&[12]);
        let ack = speaker.lease(&discover);
        assert_eq!(ack.yiaddr(), ip(address));
        assert_eq!(ack.option(12), (n == 1).then(|| b"outside".to_vec()), "the host's name is option 12");
        let renewed = speaker.renew(&discover, ip(address));
        assert_eq!((renewed.kind(), renewed.yiaddr()), (Some(ACK), ip(address)));
        let reboot = speaker.ask(&Question::request(n).with_ip(50, ip(address)));
        assert_eq!((reboot.kind(), reboot.yiaddr()), (Some(ACK), ip(address)));
        daemon.wait_log(&["DHCP_LEASE_GRANTED", address]);
    }
}

#[test]
fn owner_gets_its_address_whatever_it_wishes_and_is_refused_another() {
    let (_daemon, speaker) = start();
    let offer = speaker.ask(&Question::discover(1).with_ip(50, ip("10.77.0.130")));
    assert_eq!(offer.yiaddr(), ip("10.77.0.10"));
    let other = Question::request(1).with_ip(50, ip("10.77.0.130")).with_ip(54, Ipv4Addr::LOCALHOST);
    assert_eq!(speaker.ask(&other).kind(), Some(NAK));
}

#[test]
fn reserved_address_is_never_given_to_others() {
    let (_daemon, speaker) = start();
    for (n, wish) in [(20, "10.77.0.120"), (21, "10.77.0.10"), (22, "10.77.0.150")] {
        let offer = speaker.ask(&Question::discover(n).with_ip(50, ip(wish)));
        assert_eq!(offer.kind(), Some(OFFER));
        assert_ne!(offer.yiaddr(), ip(wish));
        let select = Question::request(n).with_ip(50, ip(wish)).with_ip(54, Ipv4Addr::LOCALHOST);
        assert_eq!(speaker.ask(&select).kind(), Some(NAK), "{wish}");
    }
}

#[test]
fn host_is_found_by_its_client_identifier_whatever_its_hardware() {
    let (_daemon, speaker) = start();
    for n in [30, 31] {
        let by_hex = Question::discover(n).with(61, &[0xff, 0, 0, 0, 7, 0, 1]);
        let ack = speaker.lease(&by_hex);
        assert_eq!(ack.yiaddr(), ip("10.77.0.12"));
        assert_eq!(ack.option(61), Some(vec![0xff, 0, 0, 0, 7, 0, 1]), "RFC 6842");
    }
    assert_eq!(speaker.lease(&Question::discover(32).with(61, b"server-1")).yiaddr(), ip("10.77.0.13"));
    // Text behind type 0 is another identifier.
    let other = speaker.lease(&Question::discover(33).with(61, b"\0server-1"));
    assert!(last_octet(other.yiaddr()) >= 100);
    // Its identifier goes before its hardware address.
    assert_eq!(speaker.lease(&Question::discover(1).with(61, b"server-1")).yiaddr(), ip("10.77.0.13"));
}

#[test]
fn host_is_found_by_its_circuit_and_remote_id_through_a_relay_only() {
    let (_daemon, speaker) = start();
    for (n, circuit, remote, address) in [
        (40, &b"port 7"[..], None, "10.78.0.10"),
        (41, b"port 7", Some(&[10, 11][..]), "10.78.0.11"),
        (42, b"port 7", Some(b"another"), "10.78.0.10"),
        (43, &[1, 2, 255], None, "10.78.0.12"),
    ] {
        assert_eq!(speaker.ask(&from_circuit(n, circuit, remote)).yiaddr(), ip(address), "{circuit:?}");
    }
    let elsewhere = speaker.ask(&from_circuit(44, b"port 8", None));
    assert!(last_octet(elsewhere.yiaddr()) >= 100);
    // Whoever is plugged in there has the address.
    assert_eq!(speaker.lease(&from_circuit(46, b"port 7", None)).yiaddr(), ip("10.78.0.10"));
    // Anybody on our own link can write such an option.
    let forged = speaker.ask(&Question::discover(45).with(82, &sub(1, b"port 9")));
    assert!(last_octet(forged.yiaddr()) >= 100);
}

#[test]
fn one_hardware_address_may_be_a_host_on_each_link() {
    let (_daemon, speaker) = start();
    assert_eq!(speaker.lease(&Question::discover(1)).yiaddr(), ip("10.77.0.10"));
    let moved = Question::discover(1).relayed("10.78.0.1");
    assert_eq!(speaker.lease(&moved).yiaddr(), ip("10.78.0.13"));
}

#[test]
fn of_several_hardware_addresses_the_last_to_come_has_the_address() {
    let (_daemon, speaker) = start();
    let (cable, radio) = (Question::discover(4), Question::discover(5));
    assert_eq!(speaker.lease(&cable).yiaddr(), ip("10.77.0.11"));
    assert_eq!(speaker.lease(&radio).yiaddr(), ip("10.77.0.11"));
    assert_eq!(speaker.renew(&radio, ip("10.77.0.11")).kind(), Some(ACK));
    assert_eq!(speaker.lease(&cable).yiaddr(), ip("10.77.0.11"), "plugged in again");
}

#[test]
fn host_without_an_address_gets_one_of_the_pool_and_its_own_name() {
    let (_daemon, speaker) = start();
    let ack = speaker.lease(&Question::discover(6).asking(&[12]));
    assert!(last_octet(ack.yiaddr()) >= 100);
    assert_eq!(ack.text(12), "dynamic");
}

#[test]
fn address_reserved_while_another_has_it_moves_at_the_renewal_of_its_holder() {
    let subnet = |hosts: &str| {
        loopback(
            "",
            &format!(
                "    lan:\n      network: 10.77.0.0/24\n      interface: lo\n      pools: {{main: {{range: 10.77.0.100-10.77.0.199}}}}\n{hosts}"
            ),
        )
    };
    let daemon = Daemon::start(&subnet(""));
    let speaker = Speaker::new(&daemon);
    let (holder, owner) = (Question::discover(1), Question::discover(2));
    let held = speaker.lease(&holder).yiaddr();
    daemon
        .write_config(&subnet(&format!("      hosts: {{new: {{mac: \"02:00:00:00:00:02\", ip: {held}}}}}")));
    daemon.run_ok(&["reload"]);
    let meanwhile = speaker.lease(&owner).yiaddr();
    assert_ne!(meanwhile, held, "somebody uses it");
    let nak = speaker.renew(&holder, held);
    assert_eq!(nak.kind(), Some(NAK), "the holder has to go");
    let other = speaker.lease(&holder).yiaddr();
    assert_ne!(other, held);
    assert_eq!(speaker.renew(&owner, meanwhile).kind(), Some(NAK), "its own address is free now");
    assert_eq!(speaker.lease(&owner).yiaddr(), held);
}

#[test]
fn declined_reservation_rests_and_its_owner_gets_another_address() {
    let (daemon, speaker) = start();
    assert_eq!(speaker.lease(&Question::discover(2)).yiaddr(), ip("10.77.0.120"));
    let decline = Question::new(common::octets::DECLINE, 2).with_ip(50, ip("10.77.0.120"));
    speaker.assert_silent(&decline.with_ip(54, Ipv4Addr::LOCALHOST));
    daemon.wait_log(&["DHCP_LEASE_DECLINED", "10.77.0.120"]);
    assert_ne!(speaker.lease(&Question::discover(2)).yiaddr(), ip("10.77.0.120"));
}

#[test]
fn reservations_in_conflict_are_refused_by_check_with_their_keys() {
    for (hosts, words) in [
        (
            "a: {mac: \"02:00:00:00:00:01\", ip: 10.77.0.10}, b: {mac: \"02:00:00:00:00:02\", ip: 10.77.0.10}",
            "10.77.0.10",
        ),
        (
            "a: {mac: \"02:00:00:00:00:01\", ip: 10.77.0.10}, b: {mac: \"02:00:00:00:00:01\", ip: 10.77.0.11}",
            "02:00:00:00:00:01",
        ),
        ("a: {client_id: x1, ip: 10.77.0.10}, b: {client_id: \"0x7831\", ip: 10.77.0.11}", "client_id"),
        ("a: {circuit_id: x1, ip: 10.77.0.10}, b: {circuit_id: \"0x7831\", ip: 10.77.0.11}", "circuit_id"),
        ("b: {mac: \"02:00:00:00:00:01\", ip: 10.99.0.10}", "10.99.0.10"),
        ("b: {mac: \"02:00:00:00:00:01\", ip: 10.77.0.255}", "10.77.0.255"),
        ("b: {mac: \"02:00:00:00:00:01\", ip: 10.77.0.1}", "10.77.0.1"),
        ("b: {remote_id: \"0x01\", ip: 10.77.0.10}", "circuit_id"),
        ("b: {ip: 10.77.0.10}", "hosts.b"),
    ] {
        let yaml = loopback(
            "",
            &format!(
                "    lan: {{network: 10.77.0.0/24, interface: lo, options: {{routers: [10.77.0.1]}}, hosts: {{{hosts}}}}}"
            ),
        );
        let output = Daemon::prepare(&yaml).run(&["check"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{hosts}: {said}");
        assert!(said.contains(words) && said.contains("hosts.b"), "{hosts}: {said}");
    }
}
