//! `GET /v1/explain` on the real binary: the words of the command `explain`, and what only the running daemon knows.

mod common;

use common::cable::{Cable, broadcast};
use common::dhcp::Client;
use common::http::get;
use common::lab::{self, LOOPBACK, dhcp_port};
use common::{Daemon, is_root};
use dhcproto::v4::{DhcpOption, MessageType};
use serde_json::Value;

#[test]
fn api_and_command_explain_alike() {
    let yaml = format!(
        "{LOOPBACK}      hosts: {{printer: {{mac: \"02:00:00:00:00:07\", ip: 10.77.0.7, boot_file: print.img}}}}\n"
    );
    let daemon = Daemon::start(&yaml);
    for (mac, options) in [
        ("02:00:00:00:00:07", &[][..]),
        ("02:00:00:00:00:08", &["host-name=box", "55=1,3,6"]),
        ("02-00-00-00-00-08", &["60=PXEClient", "61=0x01aabb"]),
    ] {
        let mut args = vec!["explain", "--json", "--mac", mac];
        args.extend(options.iter().flat_map(|option| ["--option", option]));
        let said: Value = serde_json::from_str(&daemon.run_ok(&args)).unwrap();
        let options: Vec<String> =
            options.iter().map(|option| format!("&option={}", option.replace('=', "%3D"))).collect();
        let options = options.concat();
        assert_eq!(get(&daemon, &format!("/v1/explain?mac={mac}{options}")).is(200), said);
    }
    let elsewhere = get(&daemon, "/v1/explain?mac=02:00:00:00:00:08&relay=10.99.0.1").is(200);
    assert_eq!((&elsewhere["outcome"], &elsewhere["reason"]), (&"silence".into(), &"unknown-subnet".into()));
}

#[test]
fn an_address_that_is_held_for_another_client_is_not_named_and_none_is_taken() {
    let yaml = LOOPBACK.replace("10.77.0.100-10.77.0.199", "10.77.0.100-10.77.0.101");
    let daemon = Daemon::start(&yaml);
    let port = dhcp_port(&daemon);
    let explain = |n: u8| get(&daemon, &format!("/v1/explain?mac=02:00:00:00:00:{n:02x}")).is(200);
    let address = |told: &Value| told["address"].as_str().map(str::to_owned);
    // Asked many times, nothing is held: both addresses can be had by others.
    for n in 50..60 {
        assert!(address(&explain(n)).is_some());
    }
    let one = Client::new(1, port);
    let offered = one.discover().unwrap().yiaddr().to_string();
    assert_eq!(address(&explain(1)), Some(offered.clone()), "its own offer");
    let left = address(&explain(2)).unwrap();
    assert_ne!(left, offered);
    let two = Client::new(2, port);
    assert_eq!(two.discover().unwrap().yiaddr().to_string(), left);
    let told = explain(3);
    assert_eq!((address(&told), told["outcome"].as_str()), (None, Some("silence")), "{told}");
    // The command reads the lease file alone, which knows no offers.
    let said: Value =
        serde_json::from_str(&daemon.run_ok(&["explain", "--json", "--mac", "02:00:00:00:00:03"])).unwrap();
    assert_eq!(said["outcome"], "offer");
}

#[test]
fn what_is_asked_wrongly_is_refused_and_said() {
    let daemon = Daemon::start(LOOPBACK);
    let mac = "mac=02:00:00:00:00:01";
    for (query, said) in [
        (String::new(), "mac is missing"),
        ("?mac=zz".to_owned(), "expected a hardware address"),
        (format!("?{mac}&relais=10.0.0.1"), "did you mean relay?"),
        (format!("?{mac}&relay=10.0.0"), "not an IPv4 address"),
        (format!("?{mac}&option=60"), "expected CODE=VALUE"),
        (format!("?{mac}&option=rooters%3Dx"), "routers"),
        (format!("?{mac}&option=53%3D1"), "DISCOVER"),
        (format!("?{mac}&interface=none0"), "not served"),
    ] {
        let problem = get(&daemon, &format!("/v1/explain{query}")).is_problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(said), "{query}: {problem}");
    }
}

#[test]
fn what_nobody_was_asked_about_counts_as_free_and_what_is_used_is_not_named() {
    if !is_root("what_nobody_was_asked_about_counts_as_free_and_what_is_used_is_not_named") {
        return;
    }
    let used = std::net::Ipv4Addr::new(10, 0, 1, 77);
    let lab = Cable::new("10.0.0.1/16");
    lab.client.address("cli0", &format!("{used}/16"));
    let pools = "dhcp: {interfaces: [srv0], subnets: {lan: {network: 10.0.0.0/16, pools: {main: {range: 10.0.1.0-10.0.255.250}}}}}\n";
    let daemon = lab.daemon(pools);
    let path = format!("/v1/explain?mac=02:00:00:00:00:01&option=50%3D{used}");
    let told = get(&daemon, &path).is(200);
    assert_eq!(
        (told["outcome"].as_str(), told["address"].as_str()),
        (Some("offer"), Some("10.0.1.77")),
        "{told}"
    );
    // A client asks for it, and somebody answers the probe.
    let client = lab.broadcaster(2);
    let discover = broadcast(client.message(MessageType::Discover, &[DhcpOption::RequestedIpAddress(used)]));
    assert_ne!(lab::until(&client, &discover, MessageType::Offer).yiaddr(), used);
    let told = get(&daemon, &path).is(200);
    assert_eq!(told["outcome"], "offer", "{told}");
    assert_ne!(told["address"], "10.0.1.77", "{told}");
}
