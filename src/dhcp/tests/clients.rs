//! What one client gets and another does not: classes, hosts, rapid commit, BOOTP, subnet selection, auto-configuration.

use serde_json::json;

use super::exchange::{Server, mac};
use super::world::{Sent, class, ip, options, pool};
use crate::config::model::*;
use crate::dhcp::{Destination, Outcome, ReplyKind, Silence, What};
use crate::protocol::tests::wire::Wire;

fn vendor(pattern: &str) -> Condition {
    Condition::Field(Field::VendorClass, vec![pattern.parse().unwrap()])
}

fn host(name: &str, last: u8, address: Option<&str>) -> Host {
    Host {
        name: name.into(),
        macs: vec![vec![2, 0, 0, 0, 0, last]],
        client_id: None,
        circuit_id: None,
        remote_id: None,
        ip: address.map(ip),
        hostname: None,
        lease_time: None,
        boot: Boot::default(),
        options: Options::new(),
    }
}

/// The subnet `lan` of the test configuration.
fn lan(config: &mut crate::config::Config) -> &mut Subnet {
    &mut config.dhcp.subnets[1]
}

fn bootp(last: u8) -> Sent {
    let mut sent = Sent::new(0);
    sent.bytes.truncate(240);
    mac(sent, last)
}

fn hours(hours: u64) -> LeaseTime {
    let time = std::time::Duration::from_secs(hours * 3600);
    LeaseTime { default: time, min: time, max: time }
}

fn secs(wire: &Wire) -> u32 {
    u32::from_be_bytes(wire.option(51).unwrap().try_into().unwrap())
}

#[test]
fn the_nearest_level_decides_on_terms_boot_fields_and_options() {
    let mut server = Server::with(|config| {
        let mut pxe = class("pxe", vendor("PXE*"));
        pxe.lease_time = Some(hours(2));
        pxe.boot =
            Boot { next_server: Some(ip("10.0.0.4")), boot_file: Some("pxe".into()), server_name: None };
        pxe.options = options(json!({"domain-name": "pxe.example", "tftp-server-name": "t"}));
        let mut later = class("uefi", vendor("*uefi"));
        later.boot.boot_file = Some("uefi".into());
        config.dhcp.classes = vec![pxe, later];
        let mut printer = host("printer", 9, Some("10.0.0.10"));
        printer.lease_time = Some(hours(3));
        printer.boot.next_server = Some(ip("10.0.0.5"));
        printer.hostname = Some("printer".into());
        lan(config).hosts = vec![printer];
    });
    let plain = server.reply(&mac(Sent::new(1), 1).option(55, &[15]), ReplyKind::Offer);
    assert_eq!(
        (secs(&plain), plain.siaddr, plain.option(15)),
        (3600, ip("0.0.0.0"), Some(b"example.org".to_vec()))
    );
    let pxe = mac(Sent::new(1), 2).option(60, b"PXEClient").option(55, &[15, 66]);
    let pxe = server.reply(&pxe, ReplyKind::Offer);
    assert_eq!((secs(&pxe), pxe.siaddr, &pxe.file[..]), (7200, ip("10.0.0.4"), &b"pxe"[..]));
    assert_eq!((pxe.option(15), pxe.option(66)), (Some(b"pxe.example".to_vec()), Some(b"t".to_vec())));
    let uefi = server.reply(&mac(Sent::new(1), 3).option(60, b"PXE uefi"), ReplyKind::Offer);
    assert_eq!((uefi.siaddr, &uefi.file[..]), (ip("10.0.0.4"), &b"uefi"[..]), "the later class lies above");
    let printer = mac(Sent::new(1), 9).option(60, b"PXE uefi").option(55, &[12, 15]);
    let printer = server.reply(&printer, ReplyKind::Offer);
    assert_eq!((printer.yiaddr, secs(&printer)), (ip("10.0.0.10"), 3 * 3600));
    assert_eq!((printer.siaddr, &printer.file[..]), (ip("10.0.0.5"), &b"uefi"[..]));
    assert_eq!(
        (printer.option(12), printer.option(15)),
        (Some(b"printer".to_vec()), Some(b"pxe.example".to_vec()))
    );
}

#[test]
fn gated_pools_are_open_to_their_classes_only() {
    let mut server = Server::with(|config| {
        config.dhcp.classes = vec![class("phone", vendor("phone"))];
        let mut phones = pool("phones", "10.0.0.50-10.0.0.50");
        phones.classes = vec!["phone".into()];
        lan(config).pools = vec![phones];
    });
    assert_eq!(server.serve(&mac(Sent::new(1), 1)), Silence::NoPool.into(), "nothing is used up");
    let phone = mac(Sent::new(1), 2).option(60, b"phone");
    assert_eq!(server.reply(&phone, ReplyKind::Offer).yiaddr, ip("10.0.0.50"));
    // A request for an address behind the gate.
    let sneak = mac(Sent::new(3), 1).address(54, "10.0.0.1").address(50, "10.0.0.50");
    server.reply(&sneak, ReplyKind::Nak);
}

#[test]
fn a_dropped_class_gets_silence() {
    let mut server = Server::with(|config| {
        config.dhcp.classes = vec![Class { drop: true, ..class("bad", vendor("bad")) }];
    });
    assert_eq!(server.serve(&Sent::new(1).option(60, b"bad")), Silence::Class.into());
    server.reply(&Sent::new(1), ReplyKind::Offer);
}

#[test]
fn rapid_commit_is_granted_at_once_where_it_is_on() {
    let mut off = Server::with(|_| {});
    assert_eq!(off.reply(&Sent::new(1).option(80, &[]), ReplyKind::Offer).option(80), None);
    let mut on = Server::with(|config| config.dhcp.rapid_commit = true);
    assert_eq!(on.reply(&Sent::new(1), ReplyKind::Offer).option(80), None);
    let ack = on.reply(&Sent::new(1).option(80, &[]), ReplyKind::Ack);
    assert_eq!((ack.option(80), ack.option(53)), (Some(vec![]), Some(vec![5])));
    assert!(on.leases.lease_at(ack.yiaddr).is_some());
    // The client tries again: the same answer.
    assert_eq!(on.reply(&Sent::new(1).option(80, &[]), ReplyKind::Ack).yiaddr, ack.yiaddr);
}

#[test]
fn bootp_clients_get_an_address_for_the_longest_time_and_no_option_of_dhcp() {
    let mut server = Server::with(|_| {});
    let reply = server.reply(&bootp(1), ReplyKind::Bootp);
    assert_eq!(reply.yiaddr.octets()[..3], [10, 0, 0]);
    assert!(reply.codes().iter().all(|code| ![50, 51, 53, 54, 58, 59].contains(code)), "{:?}", reply.codes());
    assert_eq!(reply.option(1), Some(vec![255, 255, 255, 0]));
    let lease = server.leases.lease_at(reply.yiaddr).unwrap();
    assert_eq!(lease.expires.0 - lease.starts.0, 24 * 3600, "nobody tells it when to renew");
    assert_eq!(server.reply(&bootp(1), ReplyKind::Bootp).yiaddr, reply.yiaddr);
}

#[test]
fn bootp_can_be_kept_to_reservations_or_off() {
    let mut server = Server::with(|config| {
        config.dhcp.bootp = Bootp::Reserved;
        lan(config).hosts = vec![host("old", 1, Some("10.0.0.9"))];
    });
    assert_eq!(server.serve(&bootp(2)), Silence::Bootp.into());
    assert_eq!(server.reply(&bootp(1), ReplyKind::Bootp).yiaddr, ip("10.0.0.9"));
    let mut server = Server::with(|config| config.dhcp.bootp = Bootp::Off);
    assert_eq!(server.serve(&bootp(1)), Silence::Bootp.into());
}

#[test]
fn bootp_client_that_knows_its_address_is_told_the_rest() {
    let mut server = Server::with(|config| lan(config).common.boot_file = Some("kernel".into()));
    let sent = bootp(1).ciaddr("10.0.0.77").unicast("10.0.0.77", "10.0.0.1");
    let reply = server.reply(&sent, ReplyKind::Bootp);
    assert_eq!((reply.yiaddr, &reply.file[..]), (ip("0.0.0.0"), &b"kernel"[..]));
    assert_eq!(server.serve(&bootp(1).ciaddr("10.0.0.77")), Silence::Stranger.into());
}

#[test]
fn a_client_may_choose_its_subnet_only_where_it_is_allowed_to() {
    let chosen = Sent::new(1).address(118, "10.9.0.0");
    let mut off = Server::with(|_| {});
    let offer = off.reply(&chosen, ReplyKind::Offer);
    assert_eq!((offer.yiaddr.octets()[1], offer.option(118)), (0, None));
    let mut on = Server::with(|config| config.dhcp.subnet_selection = true);
    let offer = on.reply(&chosen, ReplyKind::Offer);
    assert_eq!((offer.yiaddr.octets()[1], offer.option(118)), (9, Some(vec![10, 9, 0, 0])));
    assert_eq!(on.serve(&Sent::new(1).address(118, "8.8.8.8")), Silence::UnknownSubnet.into());
}

#[test]
fn a_client_without_an_address_is_told_whether_to_choose_one() {
    let full = |value: Option<u8>| {
        let mut server = Server::with(|config| {
            // Its only address is taken by an offer to another client.
            lan(config).pools = vec![pool("main", "10.0.0.100-10.0.0.100")];
            if let Some(value) = value {
                lan(config).common.options.insert("auto-config".into(), json!(value));
            }
        });
        server.reply(&mac(Sent::new(1), 77), ReplyKind::Offer);
        server
    };
    let asks = Sent::new(1).option(116, &[1]);
    let Outcome::Reply(reply) = full(Some(0)).serve(&asks) else { panic!() };
    assert_eq!((reply.to, reply.event.unwrap().what), (Destination::Broadcast { port: 68 }, What::Exhausted));
    let wire = Wire::read(&reply.bytes);
    assert_eq!((wire.yiaddr, wire.option(116), wire.option(51)), (ip("0.0.0.0"), Some(vec![0]), None));
    for (mut server, sent) in [(full(None), asks), (full(Some(0)), Sent::new(1))] {
        assert!(matches!(server.serve(&sent), Outcome::Silence { reason: Silence::Exhausted, .. }));
    }
}

#[test]
fn renewal_past_the_relay_keeps_its_class_and_its_circuit() {
    let port = || Condition::Field(Field::CircuitId, vec!["port*".parse().unwrap()]);
    let mut server = Server::with(|config| {
        config.dhcp.classes = vec![class("port", port())];
        config.dhcp.subnets[0].pools[0].classes = vec!["port".into()];
        config.dhcp.subnets[0].common.identify_by = IdentifyBy::CircuitId;
    });
    let relayed = |kind| Sent::new(kind).giaddr("10.9.0.1").option(82, b"\x01\x05port7");
    let offer = server.reply(&relayed(1), ReplyKind::Offer);
    let address = offer.yiaddr.to_string();
    let server_id = offer.option(54).unwrap();
    server.reply(&relayed(3).address(50, &address).option(54, &server_id), ReplyKind::Ack);
    let renewal = Sent::new(3).ciaddr(&address).unicast(&address, "10.0.0.1");
    assert_eq!(server.reply(&renewal, ReplyKind::Ack).yiaddr, offer.yiaddr);
    let lease = server.leases.lease_at(offer.yiaddr).unwrap();
    assert_eq!(lease.client.circuit_id.as_deref(), Some(&b"port7"[..]));
    assert_eq!(lease.client.relay, Some(ip("10.9.0.1")));
}

#[test]
fn the_full_name_is_answered_without_a_promise_of_dns_updates() {
    let mut server = Server::with(|config| {
        config.dhcp.fqdn.suffix = Some("example.org".into());
        lan(config).hosts = vec![Host { hostname: Some("printer".into()), ..host("p", 9, None) }];
    });
    // Flags S and E; the partial name "box" without its root label.
    let asks = |name: &[u8]| Sent::new(1).option(81, &[&[0b101, 0, 0], name].concat()).option(55, &[1]);
    let offer = server.reply(&asks(b"\x03box"), ReplyKind::Offer);
    let name = [&[0b1110, 255, 255][..], b"\x03box\x07example\x03org\0"].concat();
    assert_eq!(offer.option(81), Some(name));
    let printer = server.reply(&mac(asks(b""), 9), ReplyKind::Offer);
    assert!(printer.option(81).unwrap().ends_with(b"\x07printer\x07example\x03org\0"));
    assert_eq!(server.reply(&Sent::new(1).option(55, &[81]), ReplyKind::Offer).option(81), None);
}

#[test]
fn an_answer_never_goes_to_an_address_that_only_a_discover_names() {
    let mut server = Server::with(|config| config.dhcp.rapid_commit = true);
    let Outcome::Reply(reply) = server.serve(&Sent::new(1).option(80, &[]).ciaddr("203.0.113.9")) else {
        panic!()
    };
    assert!(matches!(reply.to, Destination::Hardware { .. }), "{:?}", reply.to);
    assert_eq!(Wire::read(&reply.bytes).ciaddr, ip("0.0.0.0"));
}

#[test]
fn networks_and_broadcast_addresses_are_neither_relays_nor_clients() {
    use crate::dhcp::security::Refusal;
    let mut server = Server::with(|_| {});
    let mut refused = |sent: &Sent| match server.serve(sent) {
        Outcome::Silence { reason: Silence::Refused(refusal), .. } => Some(refusal),
        _ => None,
    };
    for relay in ["10.0.0.255", "10.0.0.0", "10.9.0.255", "10.0.0.1"] {
        assert_eq!(refused(&Sent::new(1).giaddr(relay)), Some(Refusal::RelayAddress), "{relay}");
    }
    assert_eq!(refused(&Sent::new(1).giaddr("10.9.0.1")), None);
    let inform = Sent::new(8).ciaddr("10.0.0.255").unicast("10.0.0.255", "10.0.0.1");
    assert_eq!(refused(&inform), Some(Refusal::ClientAddress));
}

#[test]
fn a_relayed_inform_goes_to_the_client_only_if_the_address_is_its_own() {
    let mut server = Server::with(|_| {});
    let stranger = Sent::new(8).giaddr("10.9.0.1").ciaddr("10.9.0.88");
    let Outcome::Reply(reply) = server.serve(&stranger) else { panic!() };
    assert_eq!(reply.to, Destination::Unicast("10.9.0.1:67".parse().unwrap()));
    let take = Sent::new(3).giaddr("10.9.0.1").address(50, "10.9.0.150").address(54, "10.0.0.1");
    server.reply(&take, ReplyKind::Ack);
    let Outcome::Reply(reply) = server.serve(&Sent::new(8).giaddr("10.9.0.1").ciaddr("10.9.0.150")) else {
        panic!()
    };
    assert_eq!(reply.to, Destination::Unicast("10.9.0.150:68".parse().unwrap()));
}

#[test]
fn the_full_name_stands_where_it_was_asked_for() {
    let mut server = Server::with(|_| {});
    let asks = |list: &[u8]| Sent::new(1).option(81, b"\0\0\0box").option(55, list);
    let codes =
        |wire: Wire| wire.codes().into_iter().filter(|code| [6, 15, 81].contains(code)).collect::<Vec<_>>();
    assert_eq!(codes(server.reply(&asks(&[15, 81, 6]), ReplyKind::Offer)), [15, 81, 6]);
    assert_eq!(codes(server.reply(&asks(&[15, 6]), ReplyKind::Offer)), [81, 15, 6]);
}
