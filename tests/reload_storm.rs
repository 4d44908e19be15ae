//! A storm of reloads by all ways at once with DHCP, TCP and UDP under load: nothing is lost and nothing is wrong.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;

use common::dhcp::Client;
use common::proc::{all_gone, family};
use common::traffic::Traffic;
use common::{ALL, BASE, Daemon, eventually};
use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use nix::sys::signal::Signal;

/// Reloads in all, and conversations with the DHCP service during them, each an exchange, a renewal and a release.
const RELOADS: u64 = 500;
const EXCHANGES: u64 = 20_000;
/// Clients of each thread, in turn: few, since each new generation of workers reads what they leave behind.
const CLIENTS: u32 = 100;
/// Rounds of the storm; in each the file is edited once and waited for, and the other ways take their turns.
const ROUNDS: u64 = 40;

/// The ways to reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Signal,
    Command,
    Post,
    Watcher,
}

/// The file of round `n`; domain name and lease time differ from round to round.
fn yaml(round: u64) -> String {
    let watch = BASE.replace("user: nobody}", "user: nobody, watch_config: true}");
    let quiet = watch.replace("log_level: DEBUG", "log_level: INFO, max_log_size: 1GiB");
    let options = format!(
        "interfaces: [lo]\n  lease_time: {}s\n  options: {{domain-name: r{round}.test}}\n  security: {{client_rate: null}}",
        600 + round
    );
    format!("{quiet}{}", ALL.replace("interfaces: [lo]", &options))
}

/// One request over the control socket; the answer's body. Not by the command, which would take most of the machine.
fn ask(daemon: &Daemon, request: &str) -> Option<String> {
    let mut stream = UnixStream::connect(daemon.folder.path().join("run/control.sock")).unwrap();
    let more = "Host: localhost\r\nContent-Length: 0\r\nConnection: close";
    stream.write_all(format!("{request} HTTP/1.1\r\n{more}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    Some(body.to_owned())
}

fn generation(daemon: &Daemon) -> u64 {
    // A connection that the api process of the old generation had not accepted yet is asked for again, as clients do.
    let body = eventually("the status", || ask(daemon, "GET /v1/status"));
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    status["generation"].as_u64().unwrap()
}

fn reload(daemon: &Daemon, way: Way, round: u64) {
    let before = generation(daemon);
    match way {
        Way::Signal => daemon.signal(Signal::SIGHUP),
        Way::Command => drop(daemon.run_ok(&["reload"])),
        Way::Post => drop(ask(daemon, "POST /v1/reload").expect("a verdict")),
        Way::Watcher => fs::write(&daemon.config, yaml(round)).unwrap(),
    }
    eventually("the new generation", || (generation(daemon) > before).then_some(()));
    assert_eq!(generation(daemon), before + 1, "{way:?}: one wish, one reload");
}

/// What every client of the storm sees of the others.
#[derive(Default)]
struct Leased {
    now: Mutex<HashSet<Ipv4Addr>>,
}

/// One exchange, asked once: an offer, the lease of what was offered with the terms of one configuration, a renewal that
/// keeps it, a release.
fn exchange(port: u16, number: u32, leased: &Leased) -> Result<(), String> {
    let client = Client::new(number, port);
    client.socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let ask = |what: &str, wanted: MessageType, message: &Message| {
        client.send(message);
        let answer = client.receive().ok_or(format!("no answer to {what}"))?;
        match answer.opts().msg_type() {
            Some(kind) if kind == wanted => Ok(answer),
            other => Err(format!("{other:?} to {what}")),
        }
    };
    let offer = ask("DISCOVER", MessageType::Offer, &client.message(MessageType::Discover, &[]))?;
    let Some(DhcpOption::ServerIdentifier(server)) = offer.opts().get(OptionCode::ServerIdentifier) else {
        return Err("offer without server identifier".to_owned());
    };
    let address = offer.yiaddr();
    let wish = [DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(*server)];
    let ack = ask("REQUEST", MessageType::Ack, &client.message(MessageType::Request, &wish))?;
    if ack.yiaddr() != address || !leased.now.lock().unwrap().insert(address) {
        return Err(format!("{address} was offered, {} leased, perhaps to two", ack.yiaddr()));
    }
    let terms = of_one_round(&ack)?;
    let mut renewal = client.message(MessageType::Request, &[]);
    renewal.set_ciaddr(address);
    let renewed = ask("renewal", MessageType::Ack, &renewal)?;
    if renewed.yiaddr() != address || of_one_round(&renewed)? < terms {
        return Err(format!("renewal of {address}: {renewed:?} after {ack:?}"));
    }
    // Gone from the list before anybody else can have it.
    leased.now.lock().unwrap().remove(&address);
    client.release(address);
    Ok(())
}

/// The round whose configuration made this answer: all of it must be of that one.
fn of_one_round(ack: &Message) -> Result<u32, String> {
    let name = match ack.opts().get(OptionCode::DomainName) {
        Some(DhcpOption::DomainName(name)) => name.clone(),
        other => return Err(format!("domain name {other:?}")),
    };
    let time = match ack.opts().get(OptionCode::AddressLeaseTime) {
        Some(DhcpOption::AddressLeaseTime(time)) => *time,
        other => return Err(format!("lease time {other:?}")),
    };
    let round = time.checked_sub(600).ok_or(format!("lease time {time}"))?;
    let fits = name.trim_end_matches('.') == format!("r{round}.test");
    if fits { Ok(round) } else { Err(format!("{name} with a lease time of {time}")) }
}

#[test]
fn five_hundred_reloads_by_all_ways_lose_nothing_in_twenty_thousand_exchanges() {
    let daemon = Daemon::prepare("");
    fs::write(&daemon.config, yaml(0)).unwrap();
    daemon.run_ok(&["start"]);
    let (tcp, udp, port) = (daemon.endpoint("tcp"), daemon.endpoint("udp"), daemon.dhcp_port());
    let leased = Arc::new(Leased::default());
    let others = Traffic::strict().resting(Duration::from_millis(5)).lasting(tcp).tcp(tcp).udp(udp);
    // They leave some of the machine to the reloads, or these would be few among many.
    let mut exchanges = Traffic::strict().resting(Duration::from_millis(5));
    for thread in 0..4 {
        let (leased, mut numbers) = (Arc::clone(&leased), (0..CLIENTS).cycle());
        exchanges.run(move || {
            let number = numbers.next().unwrap_or_default();
            exchange(port, 1_000_000 + thread * CLIENTS + number, &leased)
        });
    }
    let mut done: BTreeMap<Way, u64> = BTreeMap::new();
    for round in 1..=ROUNDS {
        let turns = (RELOADS / ROUNDS).div_ceil(3);
        for way in
            [Way::Signal, Way::Command, Way::Post].repeat(turns as usize).into_iter().chain([Way::Watcher])
        {
            reload(&daemon, way, round);
            *done.entry(way).or_default() += 1;
        }
        // The exchanges keep step, or most of them would have no reload to meet.
        while exchanges.rounds() < EXCHANGES * round / ROUNDS {
            let before = exchanges.rounds();
            eventually("an exchange", || (exchanges.rounds() > before).then_some(()));
        }
    }
    assert!(done.values().sum::<u64>() >= RELOADS);
    let (exchanged, others) = (exchanges.finish(), others.finish());
    println!("{done:?}: {exchanged} exchanges, {others} conversations with the echo services");
    let log = daemon.log();
    for event in ["CONFIG_REFUSED", "WORKER_DIED", "WORKER_FAILED", "DHCP_NAK_SENT", "DHCP_LEASE_DECLINED"] {
        assert!(!log.contains(event), "{event}: {}", log.lines().find(|line| line.contains(event)).unwrap());
    }
    assert_eq!(generation(&daemon), 1 + done.values().sum::<u64>());
    let all = family(daemon.pid());
    daemon.run_ok(&["stop"]);
    all_gone(&all);
}
