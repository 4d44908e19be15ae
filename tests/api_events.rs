//! `GET /v1/events` on the real binary: every committed change is told once and in order, to all who follow, over reloads
//! and killed workers, and what cannot be told is counted.

mod common;

use common::dhcp::Client;
use common::http::{Events, get};
use common::lab::{self, LOOPBACK, dhcp_port};
use common::{Daemon, eventually};
use dhcproto::v4::{DhcpOption, MessageType};
use nix::sys::signal::Signal;
use rusqlite::Connection;

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn what_becomes_of_a_lease_is_told_in_order_whoever_does_it_and_whatever_is_logged() {
    let yaml = format!("{LOOPBACK}logging: {{log_file: log/echo-daemon.log, log_level: ERROR}}\n");
    let daemon = Daemon::prepare("");
    let base =
        common::BASE.lines().filter(|line| !line.starts_with("logging")).collect::<Vec<_>>().join("\n");
    std::fs::write(&daemon.config, format!("{base}\n{yaml}")).unwrap();
    daemon.run_ok(&["start"]);
    let mut events = Events::follow(&daemon, "?type=lease");
    let client = Client::new(7, dhcp_port(&daemon));
    let hostile = DhcpOption::Hostname("x\n\nevent: forged\r\ndata: {}\u{1b}".into());
    let offer = client.ask(&client.message(MessageType::Discover, std::slice::from_ref(&hostile))).unwrap();
    let wish = [
        hostile,
        DhcpOption::RequestedIpAddress(offer.yiaddr()),
        DhcpOption::ServerIdentifier(lab::server_id(&offer).unwrap()),
    ];
    let address = client.ask(&client.message(MessageType::Request, &wish)).unwrap().yiaddr();
    client.release(address);
    let told = events.next().unwrap();
    assert_eq!((told.event.as_str(), text(&told.data["type"])), ("DHCP_LEASE_GRANTED", "lease"));
    assert_eq!(text(&told.data["lease"]["ip"]), address.to_string());
    assert_eq!(text(&told.data["lease"]["hostname"]), "x\\x0a\\x0aevent: forged\\x0d\\x0adata: {}\\x1b");
    assert_eq!(text(&told.data["lease"]["state"]), "active");
    assert!(text(&told.data["time"]).ends_with('Z'));
    assert_eq!(events.next().unwrap().event, "DHCP_LEASE_RELEASED");
    // The commands, another process.
    let import = daemon.folder.path().join("in.csv");
    std::fs::write(&import, "ip,mac,expires\n10.77.0.50,00:11:22:33:44:55,never\n").unwrap();
    daemon.run_ok(&["leases", "import", import.to_str().unwrap()]);
    let told = events.next().unwrap();
    assert_eq!((told.event.as_str(), text(&told.data["lease"]["ip"])), ("DHCP_LEASE_GRANTED", "10.77.0.50"));
    std::fs::write(&import, "ip,mac,expires\n10.77.0.50,00:11:22:33:44:55,2037-01-01T00:00:00Z\n").unwrap();
    daemon.run_ok(&["leases", "import", import.to_str().unwrap()]);
    let told = events.next().unwrap();
    assert_eq!(
        (told.event.as_str(), text(&told.data["lease"]["expires"])),
        ("DHCP_LEASE_RENEWED", "2037-01-01T00:00:00Z")
    );
    daemon.run_ok(&["leases", "release", "10.77.0.50"]);
    assert_eq!(events.next().unwrap().event, "DHCP_LEASE_RELEASED");
}

#[test]
fn filters_choose_and_what_is_not_there_is_refused() {
    let daemon = Daemon::start(LOOPBACK);
    let mut released = Events::follow(&daemon, "?event=DHCP_LEASE_RELEASED&event=WORKER_DIED");
    let mut processes = Events::follow(&daemon, "?type=process");
    let client = Client::new(1, dhcp_port(&daemon));
    let address = client.lease();
    client.release(address);
    assert_eq!(released.next().unwrap().event, "DHCP_LEASE_RELEASED");
    let udp = daemon.worker("keeper");
    common::signal(udp, Signal::SIGKILL);
    let died = processes.next().unwrap();
    assert_eq!((died.event.as_str(), died.data["pid"].as_i64()), ("WORKER_DIED", Some(i64::from(udp))));
    assert_eq!(text(&died.data["level"]), "ERROR");
    assert!(text(&died.data["message"]).contains("keeper has died"), "{died:?}");
    let started = processes.next().unwrap();
    assert_eq!((started.event.as_str(), text(&started.data["type"])), ("WORKER_STARTED", "process"));
    assert_eq!(released.next().unwrap().event, "WORKER_DIED");
    for (query, said) in [
        ("?tpye=lease", "did you mean type?"),
        ("?type=leases", "lease, process"),
        ("?event=DHCP_LEASE_GRANTD", "DHCP_LEASE_GRANTED"),
    ] {
        let problem = get(&daemon, &format!("/v1/events{query}")).is_problem(400);
        assert!(text(&problem["detail"]).contains(said), "{problem}");
    }
    assert_eq!(Events::open(&daemon, "", "Last-Event-ID: x\r\n").err(), Some(400));
}

#[test]
fn who_connects_again_after_a_reload_has_lost_nothing() {
    let daemon = Daemon::start(LOOPBACK);
    let port = dhcp_port(&daemon);
    let mut events = Events::follow(&daemon, "");
    let first = Client::new(1, port).lease();
    assert_eq!(text(&events.until("DHCP_LEASE_GRANTED").data["lease"]["ip"]), first.to_string());
    daemon.run_ok(&["reload"]);
    // The stream ends by itself, and whole: with the last chunk.
    let rest = events.drain();
    assert!(rest.iter().all(|told| told.event != "lost"), "{rest:?}");
    let meanwhile = Client::new(2, port).lease();
    daemon.run_ok(&["leases", "release", &first.to_string()]);
    let mut events = Events::resume(&daemon, "", &events.last_id);
    let mut reloaded = false;
    let mut leases = Vec::new();
    while leases.len() < 2 || !reloaded {
        let told = events.next().unwrap();
        reloaded |= told.event == "CONFIG_RELOADED";
        if text(&told.data["type"]) == "lease" {
            leases.push((told.event, text(&told.data["lease"]["ip"]).to_owned()));
        }
    }
    let wanted = [("DHCP_LEASE_GRANTED", meanwhile), ("DHCP_LEASE_RELEASED", first)];
    assert_eq!(leases, wanted.map(|(event, address)| (event.to_owned(), address.to_string())));
    // A refused one is told, too, and ends nothing.
    daemon.write_config("nonsense: 1\n");
    assert!(!daemon.run(&["reload"]).status.success());
    assert!(text(&events.until("CONFIG_REFUSED").data["message"]).contains("nonsense"));
    daemon.signal(Signal::SIGTERM);
    assert!(events.drain().iter().any(|told| told.event == "DAEMON_STOPPING"));
}

#[test]
fn what_is_gone_from_the_log_is_counted_as_lost() {
    let daemon = Daemon::start(LOOPBACK);
    let port = dhcp_port(&daemon);
    let start = Events::follow(&daemon, "").last_id;
    for n in 0..6 {
        Client::new(n, port).lease();
    }
    // As the keeper prunes, but sooner.
    eventually("the rows are folded", || {
        let file = Connection::open(daemon.leases()).unwrap();
        let folded: i64 =
            file.query_row("SELECT value FROM meta WHERE key = 'folded_to'", [], |row| row.get(0)).unwrap();
        (folded == 6).then(|| file.execute("DELETE FROM lease_log WHERE seq <= 4", []).unwrap())
    });
    let mut events = Events::resume(&daemon, "?type=lease", &start);
    let lost = events.next().unwrap();
    assert_eq!((lost.event.as_str(), lost.data["events"].as_u64()), ("lost", Some(4)));
    for _ in 0..2 {
        assert_eq!(events.next().unwrap().event, "DHCP_LEASE_GRANTED");
    }
}

#[test]
fn streams_are_bounded_and_a_place_is_free_when_its_client_leaves() {
    let daemon = Daemon::start(LOOPBACK);
    let mut streams: Vec<Events> = (0..16).map(|_| Events::follow(&daemon, "")).collect();
    let refused = get(&daemon, "/v1/events");
    refused.is_problem(503);
    assert_eq!(refused.fields["retry-after"], "30");
    // All of them hear, and other requests are served.
    let address = Client::new(1, dhcp_port(&daemon)).lease().to_string();
    for events in &mut streams {
        assert_eq!(text(&events.until("DHCP_LEASE_GRANTED").data["lease"]["ip"]), address);
    }
    streams.pop();
    eventually("a place is free", || Events::open(&daemon, "", "").ok());
}

#[test]
fn without_dhcp_processes_are_followed() {
    let daemon = Daemon::start(common::ECHO);
    let mut events = Events::follow(&daemon, "");
    common::signal(daemon.worker("udp"), Signal::SIGKILL);
    assert!(text(&events.until("WORKER_DIED").data["message"]).contains("udp has died"));
}

#[test]
fn many_leases_in_a_short_time_reach_who_reads_along() {
    let daemon = Daemon::start(&LOOPBACK.replace("10.77.0.100-10.77.0.199", "10.77.0.20-10.77.0.250"));
    let port = dhcp_port(&daemon);
    let mut events = Events::follow(&daemon, "?type=lease");
    let mut leased: Vec<String> = (0..200).map(|n| Client::new(n, port).lease().to_string()).collect();
    let mut told: Vec<String> = (0..200)
        .map(|_| {
            let told = events.next().unwrap();
            assert_eq!(told.event, "DHCP_LEASE_GRANTED");
            text(&told.data["lease"]["ip"]).to_owned()
        })
        .collect();
    assert_eq!(told, leased);
    told.sort();
    leased.sort();
    leased.dedup();
    assert_eq!(told, leased);
}
