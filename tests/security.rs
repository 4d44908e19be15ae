//! Who is heard: each rule of `dhcp.security` on the real binary, with its counters and its line in the log.

mod common;

use std::net::Ipv4Addr;

use common::dhcp::Client;
use common::echo::{metric, wait_metric};
use common::lab::{dhcp_port, kind};
use common::{Daemon, eventually};
use dhcproto::v4::relay::{RelayAgentInformation, RelayInfo};
use dhcproto::v4::{DhcpOption, Message, MessageType};

/// DHCP on loopback under these rules; two workers, as by default.
fn guarded(security: &str) -> Daemon {
    Daemon::start(&configuration(security))
}

fn configuration(security: &str) -> String {
    format!(
        "
tcp: {{enabled: false}}
udp: {{enabled: false}}
dhcp:
  interfaces: [lo]
  port: 0
  conflict_check: {{method: \"off\"}}
  security: {security}
  subnets:
    lan:
      network: 10.77.0.0/24
      interface: lo
      pools: {{main: {{range: 10.77.0.100-10.77.0.199}}}}
      hosts:
        printer: {{mac: \"02:00:00:00:00:07\", ip: 10.77.0.10}}
"
    )
}

fn dropped(reason: &str) -> String {
    format!("echo_daemon_dhcp_dropped_total{{reason=\"{reason}\"}}")
}

fn security_event(event: &str) -> String {
    format!("echo_daemon_security_events_total{{event=\"{event}\"}}")
}

/// Sends, and waits until the message has been counted as dropped for this reason: each message has one outcome.
#[track_caller]
fn assert_dropped(daemon: &Daemon, client: &Client, message: &Message, reason: &str, event: &str) {
    let (reason, event) = (dropped(reason), security_event(event));
    let before = (metric(daemon, &reason), metric(daemon, &event));
    client.send(message);
    wait_metric(daemon, &reason, before.0 + 1);
    wait_metric(daemon, &event, before.1 + 1);
}

fn discover(client: &Client) -> Message {
    client.message(MessageType::Discover, &[])
}

/// A message as a relay with this address passes it on, from a circuit.
fn relayed(mut message: Message, relay: &str, circuit: &str) -> Message {
    let mut information = RelayAgentInformation::default();
    information.insert(RelayInfo::AgentCircuitId(circuit.as_bytes().to_vec()));
    message.opts_mut().insert(DhcpOption::RelayAgentInformation(information));
    message.set_giaddr(relay.parse::<Ipv4Addr>().unwrap()).set_hops(1);
    message
}

#[test]
fn denied_clients_are_not_heard() {
    let daemon = guarded("{deny: [\"02:00:00:00:00:01\", \"02:00:00:00:FF:*\"]}");
    let port = dhcp_port(&daemon);
    for n in [1, 0xff02] {
        let client = Client::new(n, port);
        assert_dropped(&daemon, &client, &discover(&client), "denied", "denied");
    }
    daemon.wait_log(&["DHCP_CLIENT_DENIED", "mac=02:00:00:00:00:01"]);
    Client::new(2, port).lease();
}

#[test]
fn clients_outside_the_allowed_ones_are_not_heard() {
    let daemon = guarded("{allow: [\"02:00:00:00:00:*\"], deny: [\"02:00:00:00:00:03\"]}");
    let port = dhcp_port(&daemon);
    let other = Client::new(0x100, port);
    assert_dropped(&daemon, &other, &discover(&other), "not-allowed", "not_allowed");
    daemon.wait_log(&["DHCP_CLIENT_NOT_ALLOWED", "mac=02:00:00:00:01:00"]);
    let denied = Client::new(3, port);
    assert_dropped(&daemon, &denied, &discover(&denied), "denied", "denied");
    Client::new(2, port).lease();
}

#[test]
fn unknown_clients_are_ignored_where_the_configuration_says_so() {
    let daemon = guarded("{unknown_clients: ignore}");
    let port = dhcp_port(&daemon);
    let unknown = Client::new(1, port);
    assert_dropped(&daemon, &unknown, &discover(&unknown), "unknown-host", "unknown_client");
    daemon.wait_log(&["DHCP_CLIENT_UNKNOWN", "mac=02:00:00:00:00:01"]);
    assert_eq!(Client::new(7, port).lease(), Ipv4Addr::new(10, 77, 0, 10));
}

#[test]
fn relays_that_are_not_trusted_are_not_heard() {
    let daemon = guarded("{trusted_relays: [10.77.0.2, 10.77.0.16/28]}");
    let port = dhcp_port(&daemon);
    for (n, relay) in [(1, "10.77.0.2"), (2, "10.77.0.31")] {
        let client = Client::new(n, port);
        let offer = client.ask(&relayed(discover(&client), relay, "a")).expect("no offer");
        assert_eq!(kind(&offer), MessageType::Offer);
    }
    let client = Client::new(3, port);
    let message = relayed(discover(&client), "10.77.0.32", "a");
    assert_dropped(&daemon, &client, &message, "untrusted-relay", "untrusted_relay");
    daemon.wait_log(&["DHCP_RELAY_UNTRUSTED", "address=10.77.0.32"]);
    client.lease();
}

#[test]
fn a_client_that_sends_too_much_is_limited_over_all_workers_and_reloads_and_harms_no_other() {
    let daemon = guarded("{client_rate: {packets: 5, per: 1h}}");
    let port = dhcp_port(&daemon);
    let loud = Client::new(1, port);
    (0..50).for_each(|_| loud.send(&discover(&loud)));
    wait_metric(&daemon, &dropped("rate-limited"), 45);
    wait_metric(&daemon, &security_event("rate_limited"), 45);
    wait_metric(&daemon, "echo_daemon_dhcp_messages_total{type=\"offer\",direction=\"out\"}", 5);
    daemon.wait_log(&["DHCP_CLIENT_RATE_LIMITED", "mac=02:00:00:00:00:01"]);
    Client::new(2, port).lease();
    daemon.run_ok(&["reload"]);
    assert_dropped(&daemon, &loud, &discover(&loud), "rate-limited", "rate_limited");
}

#[test]
fn a_limited_client_that_tries_again_is_served() {
    let daemon = guarded("{client_rate: {packets: 3, per: 3s}}");
    let mut client = Client::new(1, dhcp_port(&daemon));
    (0..20).for_each(|_| client.send(&discover(&client)));
    wait_metric(&daemon, &dropped("rate-limited"), 17);
    client.xid += 1;
    client.socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    eventually("an offer", || client.discover());
}

#[test]
fn a_circuit_has_no_more_leases_than_it_may() {
    let daemon = guarded("{max_leases_per_circuit: 2}");
    let port = dhcp_port(&daemon);
    let ask = |client: &Client, kind: MessageType, options: &[DhcpOption], circuit: &str| {
        client.ask(&relayed(client.message(kind, options), "10.77.0.2", circuit)).expect("no answer")
    };
    let lease = |n: u32, circuit: &str| {
        let client = Client::new(n, port);
        let offer = ask(&client, MessageType::Discover, &[], circuit);
        let wish = [
            DhcpOption::RequestedIpAddress(offer.yiaddr()),
            DhcpOption::ServerIdentifier(Ipv4Addr::LOCALHOST),
        ];
        let ack = ask(&client, MessageType::Request, &wish, circuit);
        assert_eq!(kind(&ack), MessageType::Ack);
        ack.yiaddr()
    };
    let first = lease(1, "a");
    lease(2, "a");
    let third = Client::new(3, port);
    let message = relayed(discover(&third), "10.77.0.2", "a");
    assert_dropped(&daemon, &third, &message, "circuit-full", "circuit_full");
    daemon.wait_log(&["DHCP_CIRCUIT_FULL", "mac=02:00:00:00:00:03"]);
    // Nor by asking for a free address straight away.
    let wish = third.message(
        MessageType::Request,
        &[
            DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 77, 0, 180)),
            DhcpOption::ServerIdentifier(Ipv4Addr::LOCALHOST),
        ],
    );
    assert_dropped(&daemon, &third, &relayed(wish, "10.77.0.2", "a"), "circuit-full", "circuit_full");
    lease(4, "b");
    assert_eq!(lease(1, "a"), first, "who has a lease there keeps it");
    Client::new(1, port).release(first);
    daemon.wait_log(&["DHCP_LEASE_RELEASED", &first.to_string()]);
    lease(3, "a");
}

#[test]
fn addresses_that_no_host_can_have_count_as_spoofed() {
    let daemon = guarded("{}");
    let client = Client::new(1, dhcp_port(&daemon));
    let message = relayed(discover(&client), "255.255.255.255", "a");
    assert_dropped(&daemon, &client, &message, "relay-address", "spoofed_address");
    daemon.wait_log(&["DHCP_ADDRESS_SPOOFED", "address=255.255.255.255"]);
    client.lease();
}
