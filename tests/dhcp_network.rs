//! DHCP on real links: network namespaces joined by veth pairs. What a client without an address gets on the wire,
//! where relayed replies go, several subnets on one interface, and interfaces that come, go and are renumbered.

mod common;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::cable::{Cable, broadcast, request};
use common::dhcp::Client;
use common::lab::{self, Sniffer, checksum, kind, server_id};
use common::{Daemon, eventually, is_root};
use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// One worker on `srv0`.
const LAN: &str = "
dhcp:
  interfaces: [srv0]
  workers: 1
  subnets:
    lan:
      network: 10.0.0.0/24
      options: {routers: [10.0.0.1]}
      pools: {main: {range: 10.0.0.100-10.0.0.199}}
";

/// DISCOVER to ACK with the broadcast flag set.
#[track_caller]
fn lease(client: &Client) -> Message {
    let offer =
        lab::until(client, &broadcast(client.message(MessageType::Discover, &[])), MessageType::Offer);
    lab::until(client, &broadcast(request(client, &offer)), MessageType::Ack)
}

fn ip(frame: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3])
}

/// Checks a raw reply on the wire; the message in it.
#[track_caller]
fn check_frame(frame: &[u8], mac: [u8; 6]) -> Message {
    assert_eq!(frame[..6], mac, "destination of the frame");
    let header = &frame[14..34];
    let udp = &frame[34..];
    let (total, length) = (u16::from_be_bytes([header[2], header[3]]), u16::from_be_bytes([udp[4], udp[5]]));
    assert_eq!(usize::from(length) + 20, usize::from(total));
    let udp = &udp[..usize::from(length)];
    assert_eq!(checksum(&[header]), 0, "IP checksum");
    assert_ne!([udp[6], udp[7]], [0, 0], "UDP checksum is left out");
    assert_eq!(checksum(&[&header[12..20], &[0, 17], &length.to_be_bytes(), udp]), 0, "UDP checksum");
    assert_eq!(ip(frame, 26), SERVER, "source address");
    assert_eq!(udp[..4], [0, 67, 0, 68], "ports");
    let message = lab::decode(&udp[8..]);
    assert_eq!(ip(frame, 30), message.yiaddr(), "destination address");
    message
}

#[test]
fn client_without_an_address_is_answered_in_raw_frames_without_arp() {
    if !is_root("client_without_an_address_is_answered_in_raw_frames_without_arp") {
        return;
    }
    let lab = Cable::new("10.0.0.1/24");
    let _daemon = lab.daemon(LAN);
    let client = lab.broadcaster(1);
    let wire = Sniffer::new(&lab.client);
    let (frame, before_offer) = wire.answer(&client, &client.message(MessageType::Discover, &[]));
    let offer = check_frame(&frame, client.mac);
    assert_eq!((kind(&offer), offer.xid()), (MessageType::Offer, client.xid));
    let (frame, before_ack) = wire.answer(&client, &request(&client, &offer));
    let ack = check_frame(&frame, client.mac);
    assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, offer.yiaddr()));
    // A probe of the conflict check has no sender address (RFC 5227 §2.1) and asks for nobody's Ethernet address.
    let is_question = |frame: &&Vec<u8>| frame[12..14] == [8, 6] && frame[28..32] != [0; 4];
    let asked = before_offer.iter().chain(&before_ack).find(is_question);
    assert_eq!(asked, None, "ARP was asked before the client had its address");
}

#[test]
fn broadcast_flag_is_answered_by_broadcast() {
    if !is_root("broadcast_flag_is_answered_by_broadcast") {
        return;
    }
    let lab = Cable::new("10.0.0.1/24");
    let _daemon = lab.daemon(LAN);
    let client = lab.broadcaster(1);
    let wire = Sniffer::new(&lab.client);
    let (frame, _) = wire.answer(&client, &broadcast(client.message(MessageType::Discover, &[])));
    assert_eq!(frame[..6], [0xff; 6]);
    assert_eq!((ip(&frame, 26), ip(&frame, 30)), (SERVER, Ipv4Addr::BROADCAST));
    assert_eq!(frame[34..38], [0, 67, 0, 68]);
    let offer = client.receive().expect("the client's own socket hears it");
    assert!(offer.flags().broadcast());
    // NAKs are broadcast in any case (RFC 2131 §4.1).
    let stray = [DhcpOption::RequestedIpAddress([192, 0, 2, 7].into())];
    let (frame, _) = wire.answer(&client, &client.message(MessageType::Request, &stray));
    assert_eq!((&frame[..6], ip(&frame, 30)), (&[0xff; 6][..], Ipv4Addr::BROADCAST));
    assert_eq!(kind(&client.receive().unwrap()), MessageType::Nak);
}

#[test]
fn client_with_an_address_renews_by_unicast_and_rebinds_by_broadcast() {
    if !is_root("client_with_an_address_renews_by_unicast_and_rebinds_by_broadcast") {
        return;
    }
    let lab = Cable::new("10.0.0.1/24");
    let daemon = lab.daemon(LAN);
    let mut client = lab.broadcaster(1);
    let address = lease(&client).yiaddr();
    lab.client.address("cli0", &format!("{address}/24"));
    for to in [SERVER, Ipv4Addr::BROADCAST] {
        drop(client);
        client = lab.at(1, "cli0", address, to);
        let wire = Sniffer::new(&lab.client);
        let mut message = client.message(MessageType::Request, &[]);
        message.set_ciaddr(address);
        let (frame, _) = wire.answer(&client, &message);
        let ack = client.receive().expect("the client's own socket hears it");
        assert_eq!((kind(&ack), ack.yiaddr(), ack.ciaddr()), (MessageType::Ack, address, address));
        assert_eq!(ip(&frame, 30), address, "to ciaddr, whichever way it was asked");
    }
    // A client that says its address gets its parameters there.
    let mut inform = client.message(MessageType::Inform, &[]);
    inform.set_ciaddr(address);
    let ack = lab::until(&client, &inform, MessageType::Ack);
    assert_eq!(ack.yiaddr(), Ipv4Addr::UNSPECIFIED);
    let mut release = client.message(MessageType::Release, &[DhcpOption::ServerIdentifier(SERVER)]);
    release.set_ciaddr(address);
    client.send(&release);
    daemon.wait_log(&["DHCP_LEASE_RELEASED", &address.to_string()]);
}

#[test]
fn relayed_replies_go_to_the_relay_at_the_server_port() {
    if !is_root("relayed_replies_go_to_the_relay_at_the_server_port") {
        return;
    }
    let lab = Cable::new("10.0.0.1/24");
    // The relay: 10.0.0.2 on the server's link, 10.78.0.1 on the clients'.
    lab.client.address("cli0", "10.0.0.2/24");
    // A longer prefix on lo would make every address of the subnet its own, which answers pings.
    lab.client.address("lo", "10.78.0.1/32");
    lab.server.sh("ip", &["route", "add", "10.78.0.0/24", "via", "10.0.0.2"]);
    let _daemon = lab.daemon(
        &LAN.replace("  subnets:", "  subnets:\n    behind: {network: 10.78.0.0/24, relays: [10.0.0.2], pools: {main: {range: 10.78.0.10-10.78.0.99}}}"),
    );
    for (n, relay) in [(1, Ipv4Addr::new(10, 78, 0, 1)), (2, Ipv4Addr::new(10, 0, 0, 2))] {
        let mut client = Client::new(n, 67);
        // Sent from another port than the reply must go to.
        client.socket = lab::within(&lab.client, || std::net::UdpSocket::bind((relay, 1067)).unwrap());
        client.server = SocketAddrV4::new(SERVER, 67);
        let ear = lab::within(&lab.client, || std::net::UdpSocket::bind((relay, 67)).unwrap());
        ear.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let ask = |message: &Message| {
            let mut message = message.clone();
            message.set_giaddr(relay).set_hops(1);
            (0..5).find_map(|_| {
                client.send(&message);
                lab::receive(&ear)
            })
        };
        let offer = ask(&client.message(MessageType::Discover, &[])).expect("no offer at the relay");
        assert_eq!((kind(&offer), offer.giaddr()), (MessageType::Offer, relay));
        assert_eq!(offer.yiaddr().octets()[..3], [10, 78, 0]);
        assert_eq!(server_id(&offer), Some(SERVER), "the address that the relay reached");
        let ack = ask(&request(&client, &offer)).expect("no ack at the relay");
        assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, offer.yiaddr()));
        let stray = [DhcpOption::RequestedIpAddress([192, 0, 2, 7].into())];
        let nak = ask(&client.message(MessageType::Request, &stray)).expect("no nak at the relay");
        assert_eq!((kind(&nak), nak.flags().broadcast()), (MessageType::Nak, true));
    }
}

#[test]
fn several_subnets_share_an_interface() {
    if !is_root("several_subnets_share_an_interface") {
        return;
    }
    let lab = Cable::new("10.0.0.1/24");
    lab.server.address("srv0", "10.1.0.1/24");
    let daemon = lab.daemon(
        "
dhcp:
  interfaces: [srv0]
  workers: 1
  options: {domain-name: example.org}
  subnets:
    first:
      network: 10.0.0.0/24
      shared_network: campus
      options: {routers: [10.0.0.1]}
      pools: {low: {range: 10.0.0.100-10.0.0.101}, high: {range: 10.0.0.200-10.0.0.200}}
    second:
      network: 10.1.0.0/24
      shared_network: campus
      options: {routers: [10.1.0.1]}
      pools: {main: {range: 10.1.0.100-10.1.0.101}}
",
    );
    let mut leased = Vec::new();
    for n in 1..=5 {
        let ack = lease(&lab.broadcaster(n));
        let Some(DhcpOption::Router(routers)) = ack.opts().get(OptionCode::Router) else {
            panic!("no router in {ack:?}");
        };
        let [a, b, c, _] = ack.yiaddr().octets();
        assert_eq!(routers, &[Ipv4Addr::new(a, b, c, 1)], "each subnet with its own options");
        assert_eq!(server_id(&ack), Some(Ipv4Addr::new(a, b, c, 1)));
        leased.push(ack.yiaddr());
    }
    assert!(
        leased[..3].iter().all(|address| address.octets()[1] == 0),
        "the first subnet fills first: {leased:?}"
    );
    assert!(leased[3..].iter().all(|address| address.octets()[1] == 1), "then the next one: {leased:?}");
    let rows = "SELECT subnet, pool, count(*) FROM lease_list GROUP BY 1, 2 ORDER BY 1, 2";
    let wanted = [["first", "high", "1"], ["first", "low", "2"], ["second", "main", "2"]];
    assert_eq!(lab::query(&daemon, rows), wanted);
}

#[test]
fn subnets_of_their_own_on_one_interface_are_chosen_by_the_address() {
    if !is_root("subnets_of_their_own_on_one_interface_are_chosen_by_the_address") {
        return;
    }
    let lab = Cable::new("10.0.0.1/24");
    lab.server.address("srv0", "10.1.0.1/24");
    let second =
        "  subnets:\n    other: {network: 10.1.0.0/24, pools: {main: {range: 10.1.0.100-10.1.0.101}}}";
    let _daemon = lab.daemon(&LAN.replace("  subnets:", second));
    let client = lab.broadcaster(1);
    assert_eq!(lease(&client).yiaddr().octets()[1], 0, "a new client gets an address of the first subnet");
    drop(client);
    let client = lab.broadcaster(2);
    let wish = [DhcpOption::RequestedIpAddress([10, 1, 0, 100].into())];
    let offer =
        lab::until(&client, &broadcast(client.message(MessageType::Discover, &wish)), MessageType::Offer);
    assert_eq!(offer.yiaddr(), Ipv4Addr::new(10, 1, 0, 100));
    let ack = lab::until(&client, &broadcast(request(&client, &offer)), MessageType::Ack);
    assert_eq!(server_id(&ack), Some([10, 1, 0, 1].into()));
}

#[test]
fn addresses_of_the_server_are_never_leased() {
    if !is_root("addresses_of_the_server_are_never_leased") {
        return;
    }
    let lab = Cable::new("10.0.0.1/24");
    lab.server.address("srv0", "10.0.0.3/24");
    let yaml = LAN
        .replace("options: {routers: [10.0.0.1]}", "")
        .replace("10.0.0.100-10.0.0.199", "10.0.0.1-10.0.0.4");
    let daemon = lab.daemon(&yaml);
    let first = lease(&lab.broadcaster(1)).yiaddr();
    let second = lease(&lab.broadcaster(2)).yiaddr();
    let mut leased = [first.octets()[3], second.octets()[3]];
    leased.sort_unstable();
    assert_eq!(leased, [2, 4]);
    let third = lab.broadcaster(3);
    let wish = [DhcpOption::RequestedIpAddress([10, 0, 0, 3].into())];
    third.send(&broadcast(third.message(MessageType::Discover, &wish)));
    daemon.wait_log(&["DHCP_POOL_EXHAUSTED"]);
}

#[test]
fn interface_that_comes_late_goes_and_returns_is_served_and_others_never_notice() {
    if !is_root("interface_that_comes_late_goes_and_returns_is_served_and_others_never_notice") {
        return;
    }
    let lab = Cable::new("10.0.0.1/24");
    let late = "  interfaces: [srv0, late0]\n  subnets:\n    late: {network: 10.5.0.0/24, pools: {main: {range: 10.5.0.100-10.5.0.199}}}";
    let yaml = LAN.replace("  interfaces: [srv0]\n", "").replace("  subnets:", late);
    let daemon = lab.daemon(&yaml);
    daemon.wait_log(&["WARN", "late0 is missing"]);
    let steady = lab.broadcaster(1);
    let address = lease(&steady).yiaddr();
    for round in 0..2 {
        lab.server.join("late0", &lab.client, "peer0");
        lab.server.address("late0", "10.5.0.1/24");
        wait_served(&daemon, "late0");
        let client = lab.at(10 + round, "peer0", Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        assert_eq!(lease(&client).yiaddr().octets()[..3], [10, 5, 0]);
        assert_eq!(lease(&steady).yiaddr(), address, "the other interface is undisturbed");
        lab.server.sh("ip", &["link", "del", "late0"]);
        wait_dropped(&daemon, "late0");
        assert_eq!(lease(&steady).yiaddr(), address);
    }
    assert_eq!(lab::lines(&daemon, &["WORKER_DIED"]), 0);
}

#[test]
fn no_request_is_lost_while_other_interfaces_come_and_go() {
    if !is_root("no_request_is_lost_while_other_interfaces_come_and_go") {
        return;
    }
    let lab = Cable::new("10.0.0.1/24");
    let late = "  interfaces: [srv0, late0]\n  security: {client_rate: null}\n  subnets:";
    let daemon = lab.daemon(&LAN.replace("  interfaces: [srv0]\n", "").replace("  subnets:", late));
    let client = lab.broadcaster(1);
    let address = lease(&client).yiaddr();
    drop(client);
    lab.client.address("cli0", &format!("{address}/24"));
    let mut client = lab.at(1, "cli0", address, SERVER);
    let over = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                client.xid += 1;
                let mut renewal = client.message(MessageType::Request, &[]);
                renewal.set_ciaddr(address);
                // Once only: nothing may be lost.
                client.send(&renewal);
                let answer = client.receive().unwrap_or_else(|| panic!("renewal {asked} was lost"));
                assert_eq!(kind(&answer), MessageType::Ack);
                asked += 1;
            }
            asked
        });
        for _ in 0..4 {
            if traffic.is_finished() {
                break;
            }
            lab.server.join("late0", &lab.client, "peer0");
            lab.server.address("late0", "10.5.0.1/24");
            wait_served(&daemon, "late0");
            lab.server.sh("ip", &["link", "del", "late0"]);
            wait_dropped(&daemon, "late0");
        }
        over.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    });
    assert!(asked > 20, "only {asked} renewals in all that time");
    assert!(daemon.status()["generation"].as_u64() >= Some(9), "{}", daemon.status());
}

#[test]
fn renumbered_interface_is_followed() {
    if !is_root("renumbered_interface_is_followed") {
        return;
    }
    let lab = Cable::new("10.0.0.1/24");
    let second =
        "  subnets:\n    next: {network: 10.6.0.0/24, pools: {main: {range: 10.6.0.100-10.6.0.199}}}";
    let daemon = lab.daemon(&LAN.replace("  subnets:", second));
    let client = lab.broadcaster(1);
    let old = lease(&client).yiaddr();
    assert_eq!(old.octets()[1], 0);
    lab.server.sh("ip", &["addr", "flush", "dev", "srv0"]);
    lab.server.address("srv0", "10.6.0.1/24");
    daemon.wait_log(&["INTERFACE_UP"]);
    let ack = eventually("a lease of the new network", || {
        let ack = lease(&client);
        (ack.yiaddr().octets()[1] == 6).then_some(ack)
    });
    assert_eq!(server_id(&ack), Some([10, 6, 0, 1].into()));
    let stale = client.message(MessageType::Request, &[DhcpOption::RequestedIpAddress(old)]);
    let nak = lab::until(&client, &broadcast(stale), MessageType::Nak);
    assert_eq!(server_id(&nak), Some([10, 6, 0, 1].into()), "the old network's address is refused");
}

/// Waits until a worker reads an interface's socket.
#[track_caller]
fn wait_served(daemon: &Daemon, interface: &str) {
    eventually(&format!("{interface} is served"), || {
        daemon.status()["endpoints"].to_string().contains(interface).then_some(())
    });
}

/// Waits until no worker does any more.
#[track_caller]
fn wait_dropped(daemon: &Daemon, interface: &str) {
    eventually(&format!("{interface} is dropped"), || {
        (!daemon.status()["endpoints"].to_string().contains(interface)).then_some(())
    });
}
