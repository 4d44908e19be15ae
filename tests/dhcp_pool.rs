//! A pool and its edges: as many clients as addresses at once, one more, and every address that a pool can begin or end with;
//! with one worker, two and four.

mod common;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use common::crowd::{Crowd, Step, in_file};
use common::dhcp::Client;
use common::echo::{metric, wait_metric};
use common::lab::{self, NO_ECHO, assert_silent, dhcp_port, kind, lines};
use common::{Daemon, eventually};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};

const EXHAUSTED: &str = "echo_daemon_dhcp_dropped_total{reason=\"exhausted\"}";

/// DHCP on loopback with this many workers and these subnets.
fn yaml(workers: usize, subnets: &str) -> String {
    format!(
        "{NO_ECHO}dhcp:
  interfaces: [lo]
  port: 0
  workers: {workers}
  conflict_check: {{method: off}}
  security: {{client_rate: null}}
  subnets:
{subnets}
"
    )
}

const TWO_HUNDRED: &str =
    "    lan: {network: 10.77.0.0/24, interface: lo, pools: {main: {range: 10.77.0.10-10.77.0.209}}}";

/// 200 clients at once in a pool of 200, then another one.
#[track_caller]
fn two_hundred(workers: usize) {
    let daemon = Daemon::start(&yaml(workers, TWO_HUNDRED));
    let port = dhcp_port(&daemon);
    let mut crowd = Crowd::new(port, 200);
    crowd.lease(|_| ());
    let leases = crowd.leases();
    assert_eq!(leases.len(), 200);
    assert_eq!(leases, in_file(&daemon));
    assert_eq!(lines(&daemon, &["DHCP_POOL_EXHAUSTED"]), 0);
    // Whichever worker gets it, and however often it asks: nothing comes back, and one line says why.
    let last = Client::new(201, port);
    let mut dropped = metric(&daemon, EXHAUSTED);
    for _ in 0..4 * workers {
        dropped += 1;
        last.send(&last.message(MessageType::Discover, &[]));
        wait_metric(&daemon, EXHAUSTED, dropped);
    }
    last.socket.set_nonblocking(true).unwrap();
    assert_eq!(lab::receive(&last.socket), None);
    last.socket.set_nonblocking(false).unwrap();
    daemon.wait_log(&["DHCP_POOL_EXHAUSTED", "subnet=lan"]);
    assert_eq!(lines(&daemon, &["DHCP_POOL_EXHAUSTED"]), 1, "{}", daemon.log());
    // Who has a lease is served as ever.
    let holder = &crowd.clients[100];
    holder.socket.set_nonblocking(false).unwrap();
    holder.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let Step::Leased(address) = crowd.steps[100] else { panic!("a client has no lease") };
    assert_eq!(holder.renew(address).map(|answer| kind(&answer)), Some(MessageType::Ack));
    holder.release(address);
    daemon.wait_log(&["DHCP_LEASE_RELEASED", &address.to_string()]);
    assert_eq!(last.lease(), address);
    assert_eq!(lines(&daemon, &["DHCP_POOL_EXHAUSTED"]), 1);
    assert_eq!(lines(&daemon, &["WORKER_DIED"]), 0);
}

#[test]
fn two_hundred_clients_share_a_pool_of_two_hundred_with_one_worker() {
    two_hundred(1);
}

#[test]
fn two_hundred_clients_share_a_pool_of_two_hundred_with_two_workers() {
    two_hundred(2);
}

#[test]
fn two_hundred_clients_share_a_pool_of_two_hundred_with_four_workers() {
    two_hundred(4);
}

/// All leases that `clients` clients get, the first of them numbered `from`.
#[track_caller]
fn lease_all(port: u16, from: u32, clients: u32) -> BTreeSet<Ipv4Addr> {
    let leased: BTreeSet<Ipv4Addr> = (from..from + clients).map(|n| Client::new(n, port).lease()).collect();
    assert_eq!(leased.len(), clients as usize, "{leased:?}");
    leased
}

fn addresses(texts: &[&str]) -> BTreeSet<Ipv4Addr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn smallest_subnets_lease_what_they_have() {
    // In a /31 both addresses are hosts (RFC 3021); in a /30 the two in the middle are.
    for (network, range, wanted) in [
        ("10.77.0.0/30", "10.77.0.1-10.77.0.2", vec!["10.77.0.1", "10.77.0.2"]),
        ("10.77.0.4/31", "10.77.0.4-10.77.0.5", vec!["10.77.0.4", "10.77.0.5"]),
    ] {
        let subnet =
            format!("    tiny: {{network: {network}, interface: lo, pools: {{main: {{range: {range}}}}}}}");
        let daemon = Daemon::start(&yaml(1, &subnet));
        let port = dhcp_port(&daemon);
        assert_eq!(lease_all(port, 1, 2), addresses(&wanted), "{network}");
        let third = Client::new(3, port);
        assert_silent(&third, &third.message(MessageType::Discover, &[]));
    }
}

#[test]
fn zero_and_255_inside_a_wide_subnet_are_addresses_like_any_other() {
    let subnet =
        "    wide: {network: 10.77.2.0/23, interface: lo, pools: {main: {range: 10.77.2.254-10.77.3.1}}}";
    let daemon = Daemon::start(&yaml(2, subnet));
    let port = dhcp_port(&daemon);
    let wanted = addresses(&["10.77.2.254", "10.77.2.255", "10.77.3.0", "10.77.3.1"]);
    assert_eq!(lease_all(port, 1, 4), wanted);
    for (n, address) in (1..=4).map(|n| (n, Client::new(n, port).lease())) {
        let ack = Client::new(n, port).renew(address).expect("no answer to the renewal");
        assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, address));
        let mask = ack.opts().get(OptionCode::SubnetMask);
        assert_eq!(mask, Some(&DhcpOption::SubnetMask([255, 255, 254, 0].into())));
    }
}

#[test]
fn network_and_broadcast_address_are_never_leased() {
    // A pool that is the whole subnet, with its router, an exclusion and the addresses that no host can have.
    let subnet = "    lan:
      network: 10.77.0.0/29
      interface: lo
      options: {routers: [10.77.0.1]}
      exclude: [10.77.0.3, 10.77.0.5-10.77.0.5]
      pools: {main: {range: 10.77.0.0-10.77.0.7}}";
    let daemon = Daemon::prepare(&yaml(1, subnet));
    let output = daemon.run(&["start"]);
    if !output.status.success() {
        // Refusing such a pool is as good; the reason must be named.
        let words = common::text(&output);
        assert!(words.contains("10.77.0.0"), "{words}");
        daemon.write_config(&yaml(1, &subnet.replace("10.77.0.0-10.77.0.7", "10.77.0.1-10.77.0.6")));
        daemon.run_ok(&["start"]);
    }
    let port = dhcp_port(&daemon);
    assert_eq!(lease_all(port, 1, 3), addresses(&["10.77.0.2", "10.77.0.4", "10.77.0.6"]));
    let fourth = Client::new(4, port);
    for wish in [0, 1, 3, 5, 7] {
        let wish = [DhcpOption::RequestedIpAddress([10, 77, 0, wish].into())];
        assert_silent(&fourth, &fourth.message(MessageType::Discover, &wish));
    }
}

#[test]
fn whole_16_is_a_pool() {
    let subnet =
        "    campus: {network: 10.77.0.0/16, interface: lo, pools: {main: {range: 10.77.0.1-10.77.255.254}}}";
    let daemon = Daemon::start(&yaml(2, subnet));
    let port = dhcp_port(&daemon);
    let mut crowd = Crowd::new(port, 300);
    crowd.lease(|_| ());
    let leases = crowd.leases();
    assert_eq!(leases, in_file(&daemon));
    let thirds: BTreeSet<u8> = leases.keys().map(|address| address.octets()[2]).collect();
    assert!(thirds.len() > 100, "clients are spread over the pool: {thirds:?}");
    // Its first and its last address, and some in between.
    for (n, wish) in (1000..).zip(["10.77.0.1", "10.77.255.254", "10.77.127.255", "10.77.128.0"]) {
        let wish: Ipv4Addr = wish.parse().unwrap();
        let client = Client::new(n, port);
        let wanted = [DhcpOption::RequestedIpAddress(wish)];
        let offer = client.ask(&client.message(MessageType::Discover, &wanted)).expect("no offer");
        assert_eq!(offer.yiaddr(), wish);
        assert_eq!(client.select(&offer).map(|ack| kind(&ack)), Some(MessageType::Ack));
    }
}

#[test]
fn full_subnet_of_a_shared_network_lets_the_next_one_serve() {
    let subnets = "    first:
      network: 10.77.0.0/24
      interface: lo
      shared_network: campus
      exclude: [10.77.0.11]
      pools: {a: {range: 10.77.0.10-10.77.0.12}, b: {range: 10.77.0.20-10.77.0.20}}
    second:
      network: 10.78.0.0/24
      shared_network: campus
      pools: {a: {range: 10.78.0.10-10.78.0.11}}";
    let daemon = Daemon::start(&yaml(1, subnets));
    let port = dhcp_port(&daemon);
    let first = lease_all(port, 1, 3);
    assert_eq!(
        first,
        addresses(&["10.77.0.10", "10.77.0.12", "10.77.0.20"]),
        "one subnet is filled, pool by pool"
    );
    assert_eq!(lease_all(port, 4, 2), addresses(&["10.78.0.10", "10.78.0.11"]));
    let sixth = Client::new(6, port);
    assert_silent(&sixth, &sixth.message(MessageType::Discover, &[]));
    assert_eq!(
        eventually("the log", || Some(lines(&daemon, &["DHCP_POOL_EXHAUSTED"])).filter(|n| *n > 0)),
        1
    );
    // A lease of the second is renewed there, although the first has room again.
    let (holder, leaver) = (Client::new(4, port), Client::new(1, port));
    let (held, left) = (holder.lease(), leaver.lease());
    leaver.release(left);
    daemon.wait_log(&["DHCP_LEASE_RELEASED"]);
    let ack = holder.renew(held).expect("no answer to the renewal");
    assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, held));
    assert_eq!(sixth.lease(), left);
}
