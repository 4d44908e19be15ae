//! The conflict check on real links: an address that somebody uses without a lease is found by ARP or by ICMP echo, is not
//! offered, and rests; what nobody uses is known before a client asks for it.

mod common;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::cable::{Cable, broadcast, request};
use common::dhcp::Client;
use common::echo::{metric, wait_metric};
use common::lab::{self, NO_ECHO, Sniffer, kind};
use common::{Daemon, eventually, is_root};
use dhcproto::v4::{DhcpOption, Message, MessageType};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PARKED: &str = "echo_daemon_dhcp_parked_total";
const CONFLICTS: &str = r#"echo_daemon_dhcp_lease_events_total{event="conflict"}"#;

/// A pool so large that most of it is not probed ahead: `squatted` in it is no point of the grid.
const LARGE: &str = "
dhcp:
  interfaces: [srv0]
  workers: 2
  subnets:
    lan: {network: 10.0.0.0/16, pools: {main: {range: 10.0.1.0-10.0.255.250}}}
";
const SQUATTED: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 77);

/// A pool that is probed whole.
const SMALL: &str = "
dhcp:
  interfaces: [srv0]
  workers: 2
  subnets:
    lan: {network: 10.0.0.0/16, pools: {main: {range: 10.0.0.100-10.0.0.119}}}
";

/// The Ethernet address of the client's interface.
fn mac_of(cable: &Cable) -> [u8; 6] {
    let text = cable.client.sh("cat", &["/sys/class/net/cli0/address"]);
    let bytes: Vec<u8> = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn discover(client: &Client, wish: Option<Ipv4Addr>) -> Message {
    let wish: Vec<DhcpOption> = wish.map(DhcpOption::RequestedIpAddress).into_iter().collect();
    broadcast(client.message(MessageType::Discover, &wish))
}

#[track_caller]
fn offer(client: &Client, wish: Option<Ipv4Addr>) -> Ipv4Addr {
    lab::until(client, &discover(client, wish), MessageType::Offer).yiaddr()
}

#[track_caller]
fn lease(client: &Client) -> Ipv4Addr {
    let offer = lab::until(client, &discover(client, None), MessageType::Offer);
    let request = broadcast(request(client, &offer));
    lab::until(client, &request, MessageType::Ack).yiaddr()
}

/// (ip, mac) of the addresses that rest.
fn conflicts(daemon: &Daemon) -> Vec<(String, String)> {
    let rows = lab::query(daemon, "SELECT ip, ifnull(mac, '') FROM lease_list WHERE state = 'conflict'");
    rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

/// Probes that were sent: `arp` or `icmp`, for a `packet` or `ahead`.
fn probes(daemon: &Daemon, method: &str, when: &str) -> u64 {
    metric(daemon, &format!(r#"echo_daemon_dhcp_probes_total{{method="{method}",when="{when}"}}"#))
}

/// Waits until the answer or the silence of so many addresses is known.
#[track_caller]
fn wait_probed(daemon: &Daemon, count: u64) {
    let result = |result: &str| {
        metric(daemon, &format!(r#"echo_daemon_dhcp_probe_results_total{{result="{result}"}}"#))
    };
    eventually("the end of probing ahead", || (result("silent") + result("answered") >= count).then_some(()));
}

fn is_arp_probe(frame: &[u8]) -> bool {
    frame.len() >= 42 && frame[12..14] == [8, 6] && frame[28..32] == [0; 4]
}

#[test]
fn address_that_answers_arp_is_not_offered_and_rests_for_others_but_not_for_its_user() {
    if !is_root("address_that_answers_arp_is_not_offered_and_rests_for_others_but_not_for_its_user") {
        return;
    }
    let lab = Cable::new("10.0.0.1/16");
    lab.client.address("cli0", &format!("{SQUATTED}/16"));
    let daemon = lab.daemon(LARGE);
    let client = lab.broadcaster(1);
    let other = offer(&client, Some(SQUATTED));
    assert_ne!(other, SQUATTED);
    let mac = mac_of(&lab).map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!(conflicts(&daemon), [(SQUATTED.to_string(), mac.clone())]);
    daemon.wait_log(&["WARN", "DHCP_ADDRESS_CONFLICT", &SQUATTED.to_string(), &mac]);
    assert_eq!(metric(&daemon, CONFLICTS), 1);
    assert!(metric(&daemon, PARKED) >= 1 && probes(&daemon, "arp", "packet") >= 1);
    assert!(daemon.run_ok(&["leases", "list"]).contains("conflict"));
    // It rests for everybody else, without another probe.
    assert_ne!(offer(&lab.broadcaster(2), Some(SQUATTED)), SQUATTED);
    // The host that was found there comes to renew: its lease was lost, not its address.
    let mut host = lab.broadcaster(3);
    host.mac = mac_of(&lab);
    let mut renewal = broadcast(host.message(MessageType::Request, &[]));
    renewal.set_ciaddr(SQUATTED);
    assert_eq!(lab::until(&host, &renewal, MessageType::Ack).yiaddr(), SQUATTED);
    assert_eq!(conflicts(&daemon), []);
}

#[test]
fn address_that_nobody_answers_for_is_offered_as_wished() {
    if !is_root("address_that_nobody_answers_for_is_offered_as_wished") {
        return;
    }
    let lab = Cable::new("10.0.0.1/16");
    let daemon = lab.daemon(LARGE);
    let wire = Sniffer::new(&lab.client);
    assert_eq!(offer(&lab.broadcaster(1), Some(SQUATTED)), SQUATTED);
    let frames = std::iter::from_fn(|| wire.next());
    let asked = frames.filter(|frame| is_arp_probe(frame) && frame[38..42] == SQUATTED.octets());
    assert!(asked.count() >= 1, "it was asked for");
    assert_eq!((conflicts(&daemon), metric(&daemon, CONFLICTS)), (Vec::new(), 0));
}

#[test]
fn small_pool_is_probed_ahead_so_that_a_new_client_does_not_wait() {
    if !is_root("small_pool_is_probed_ahead_so_that_a_new_client_does_not_wait") {
        return;
    }
    let lab = Cable::new("10.0.0.1/16");
    lab.client.address("cli0", "10.0.0.105/16");
    let daemon = lab.daemon(SMALL);
    wait_probed(&daemon, 20);
    daemon.wait_log(&["DHCP_ADDRESS_CONFLICT", "10.0.0.105"]);
    let leased: Vec<Ipv4Addr> = (1..=19).map(|n| lease(&lab.broadcaster(n))).collect();
    assert!(!leased.contains(&Ipv4Addr::new(10, 0, 0, 105)), "{leased:?}");
    assert_eq!((metric(&daemon, PARKED), probes(&daemon, "arp", "packet")), (0, 0), "nobody had to wait");
    let last = lab.broadcaster(20);
    last.send(&discover(&last, None));
    daemon.wait_log(&["DHCP_POOL_EXHAUSTED"]);
}

#[test]
fn a_clients_own_answer_is_no_conflict() {
    if !is_root("a_clients_own_answer_is_no_conflict") {
        return;
    }
    let lab = Cable::new("10.0.0.1/16");
    lab.client.address("cli0", &format!("{SQUATTED}/16"));
    let daemon = lab.daemon(LARGE);
    let mut client = lab.broadcaster(1);
    client.mac = mac_of(&lab);
    assert_eq!(offer(&client, Some(SQUATTED)), SQUATTED);
    wait_metric(&daemon, r#"echo_daemon_dhcp_probe_results_total{result="harmless"}"#, 1);
    assert_eq!(conflicts(&daemon), []);
}

#[test]
fn address_beyond_a_relay_is_found_by_icmp() {
    if !is_root("address_beyond_a_relay_is_found_by_icmp") {
        return;
    }
    let lab = Cable::new("10.0.0.1/16");
    // The relay has 10.0.0.2 on the server's link and 10.78.0.1 on the clients', where somebody uses 10.78.0.50.
    let relay = Ipv4Addr::new(10, 78, 0, 1);
    lab.client.address("cli0", "10.0.0.2/16");
    lab.client.address("lo", "10.78.0.1/32");
    lab.client.address("lo", "10.78.0.50/32");
    lab.server.sh("ip", &["route", "add", "10.78.0.0/24", "via", "10.0.0.2"]);
    let daemon = lab.daemon(
        "
dhcp:
  interfaces: [srv0]
  workers: 2
  subnets:
    behind: {network: 10.78.0.0/24, pools: {main: {range: 10.78.0.50-10.78.0.51}}}
",
    );
    let ear = lab::within(&lab.client, || UdpSocket::bind((relay, 67)).unwrap());
    ear.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut client = Client::new(1, 67);
    client.socket = ear;
    client.server = SocketAddrV4::new(SERVER, 67);
    let mut message = client
        .message(MessageType::Discover, &[DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 78, 0, 50))]);
    message.set_giaddr(relay).set_hops(1);
    let offer = lab::until(&client, &message, MessageType::Offer);
    assert_eq!(offer.yiaddr(), Ipv4Addr::new(10, 78, 0, 51));
    assert_eq!(conflicts(&daemon), [("10.78.0.50".to_owned(), String::new())]);
    assert!(probes(&daemon, "icmp", "packet") >= 2);
    assert_eq!(probes(&daemon, "arp", "packet") + probes(&daemon, "arp", "ahead"), 0);
}

#[test]
fn switched_off_nothing_is_probed() {
    if !is_root("switched_off_nothing_is_probed") {
        return;
    }
    let lab = Cable::new("10.0.0.1/16");
    lab.client.address("cli0", &format!("{SQUATTED}/16"));
    let wire = Sniffer::new(&lab.client);
    let daemon = lab.daemon(&LARGE.replace("  workers: 2", "  conflict_check: {method: \"off\"}"));
    assert_eq!(offer(&lab.broadcaster(1), Some(SQUATTED)), SQUATTED);
    let frames: Vec<_> = std::iter::from_fn(|| wire.next()).collect();
    assert!(frames.iter().any(|frame| frame.len() > 42), "the wire is seen");
    assert_eq!(frames.iter().find(|frame| is_arp_probe(frame)), None);
    let sent = [("arp", "packet"), ("arp", "ahead"), ("icmp", "packet"), ("icmp", "ahead")];
    assert_eq!(sent.map(|(method, when)| probes(&daemon, method, when)), [0; 4]);
}

#[test]
fn packet_that_waits_is_answered_although_the_configuration_is_read_anew() {
    if !is_root("packet_that_waits_is_answered_although_the_configuration_is_read_anew") {
        return;
    }
    let lab = Cable::new("10.0.0.1/16");
    let daemon = lab.daemon(&LARGE.replace("  workers: 2", "  conflict_check: {timeout: 2s}"));
    let client = lab.broadcaster(1);
    // Until the wire carries frames: a new cable may lose the first ones.
    assert_eq!(offer(&client, Some(SQUATTED)), SQUATTED);
    let mut client = lab.broadcaster(2);
    client.xid ^= 0x55;
    client.send(&discover(&client, Some(Ipv4Addr::new(10, 0, 1, 78))));
    wait_metric(&daemon, PARKED, metric(&daemon, PARKED).max(2));
    daemon.run_ok(&["reload"]);
    let answer = client.receive().expect("the old worker answers before it leaves");
    assert_eq!((kind(&answer), answer.yiaddr()), (MessageType::Offer, Ipv4Addr::new(10, 0, 1, 78)));
}

#[test]
fn without_the_privilege_one_warning_says_that_nothing_is_checked() {
    let test = "without_the_privilege_one_warning_says_that_nothing_is_checked";
    if !is_root(test) || !common::has("setpriv", test) {
        return;
    }
    let lab = Cable::new("10.0.0.1/16");
    let daemon = Daemon::prepare(&format!("{NO_ECHO}{}", LARGE.replace("  workers: 2", "  port: 6767")));
    let folder = daemon.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    // The build folder may be root's alone.
    let binary = folder.join("echo-daemon");
    fs::copy(common::BINARY, &binary).unwrap();
    let start = lab
        .server
        .command("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(&binary)
        .arg("-c")
        .arg(&daemon.config)
        .arg("start")
        .output()
        .unwrap();
    assert!(start.status.success(), "{}", common::text(&start));
    daemon.wait_log(&["DAEMON_READY"]);
    assert_eq!(lab::lines(&daemon, &["WARN", "DAEMON_WARNING", "no conflict check"]), 1);
}
