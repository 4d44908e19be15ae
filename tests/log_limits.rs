//! Rate limits of events on the real daemon: a flood neither fills the log nor hides the rest, no count is lost, and an
//! ordinary busy moment loses no line.

mod common;

use std::net::UdpSocket;

use common::dhcp::Client;
use common::log::{ALL, Line, dhcp_port, lines, stop};
use common::{Daemon, eventually, text};

/// A daemon with these limits of its own, or with the table's.
fn daemon(limits: &str) -> Daemon {
    let daemon = Daemon::prepare("");
    let own = format!("log_level: DEBUG, rate_limits: {{{limits}}}}}\n");
    let base = common::BASE.replace("log_level: DEBUG}\n", &own);
    std::fs::write(&daemon.config, format!("{base}{ALL}")).unwrap();
    daemon
}

fn number(line: &Line, key: &str) -> u64 {
    line.field(key).map_or(0, |value| value.parse().unwrap())
}

/// How many records of an event were logged, and how many are told to have been suppressed.
fn count(log: &[Line], event: &str) -> (u64, u64) {
    let of = |line: &&Line| line.event() == event;
    let logged = log.iter().filter(of).count() as u64;
    let carried: u64 = log.iter().filter(of).map(|line| number(line, "suppressed")).sum();
    let reports =
        log.iter().filter(|l| l.event() == "LOG_EVENTS_SUPPRESSED" && l.field("name") == Some(event));
    (logged, carried + reports.map(|line| number(line, "count")).sum::<u64>())
}

/// Dropped packets, as the metrics count them.
fn dropped(daemon: &Daemon) -> u64 {
    let socket = daemon.folder.path().join("run/control.sock");
    let output = std::process::Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(socket)
        .arg("http://localhost/metrics")
        .output()
        .unwrap();
    let page = text(&output);
    let lines = page.lines().filter(|line| line.starts_with("echo_daemon_dhcp_dropped_total"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn flood_of_rubbish_is_limited_over_all_workers_and_every_packet_is_told_of() {
    const PACKETS: u64 = 3000;
    if !common::has("curl", "flood_of_rubbish_is_limited_over_all_workers_and_every_packet_is_told_of") {
        return;
    }
    let daemon = daemon("");
    daemon.run_ok(&["start"]);
    let port = dhcp_port(&daemon);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for sent in 1..=PACKETS {
        socket.send_to(b"rubbish", ("127.0.0.1", port)).unwrap();
        if sent % 250 == 0 {
            // Never more at once than the socket holds.
            eventually("the packets to be read", || (dropped(&daemon) >= sent).then_some(()));
        }
    }
    // Another event, and another reason of the same, are not hidden.
    Client::new(1, port).lease();
    socket.send_to(&[0xff; 400], ("127.0.0.1", port)).unwrap();
    daemon.wait_log(&["DHCP_LEASE_GRANTED"]);
    daemon.wait_log(&["DHCP_PACKET_DROPPED", "reason=not-a-request"]);
    let all = PACKETS + 1;
    eventually("all packets to be counted", || (dropped(&daemon) == all).then_some(()));
    stop(&daemon);
    let log = lines(&daemon.log());
    let (logged, suppressed) = count(&log, "DHCP_PACKET_DROPPED");
    assert_eq!(logged + suppressed, all, "a packet was not told of");
    assert!((60..300).contains(&logged), "{logged} lines of {all} packets");
    assert_eq!(log.last().unwrap().event(), "DAEMON_STOPPED", "the rest is told before the end");
}

#[test]
fn what_was_suppressed_is_told_when_the_flood_is_over() {
    let daemon = daemon("DHCP_PACKET_DROPPED: 1/h");
    daemon.run_ok(&["start"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..5 {
        socket.send_to(b"rubbish", ("127.0.0.1", dhcp_port(&daemon))).unwrap();
    }
    daemon.wait_log(&["DHCP_PACKET_DROPPED"]);
    // A higher rate makes room at once, and nobody else speaks: the logger tells.
    let file = std::fs::read_to_string(&daemon.config).unwrap();
    std::fs::write(&daemon.config, file.replace("1/h", "100/s")).unwrap();
    daemon.run_ok(&["reload"]);
    let line = daemon.wait_log(&["LOG_EVENTS_SUPPRESSED", "name=DHCP_PACKET_DROPPED"]);
    let line = Line::parse(&line).unwrap();
    assert_eq!((line.process.as_str(), line.level.as_str()), ("logger", "DEBUG"), "the level of the event");
    stop(&daemon);
    assert_eq!(count(&lines(&daemon.log()), "DHCP_PACKET_DROPPED").1, 4);
}

#[test]
fn busy_site_loses_no_line_of_its_leases_and_rest_is_told_at_the_end() {
    const CLIENTS: u64 = 300;
    let daemon = daemon("DHCP_LEASE_RENEWED: 1/h");
    daemon.run_ok(&["start"]);
    let port = dhcp_port(&daemon);
    for n in 0..u32::try_from(CLIENTS).unwrap() {
        let client = Client::new(n, port);
        let address = client.lease();
        if n < 10 {
            client.renew(address).unwrap();
        }
    }
    stop(&daemon);
    let log = lines(&daemon.log());
    assert_eq!(count(&log, "DHCP_LEASE_GRANTED"), (CLIENTS, 0));
    assert_eq!(count(&log, "DHCP_LEASE_RENEWED"), (1, 9), "told at the end at the latest");
}

#[test]
fn unknown_events_and_impossible_rates_are_refused_and_an_unknown_module_is_a_warning() {
    let daemon = daemon("DHCP_PACKET_DROPED: 1/s, STATS: often");
    let said = text(&daemon.run(&["check"]));
    for part in [
        "DHCP_PACKET_DROPED: there is no such event",
        "did you mean DHCP_PACKET_DROPPED?",
        "STATS: \"often\" is not a rate",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let modules = self::daemon("}, modules: {dhcpp: DEBUG, \"workers::tcpp\": INFO, dhcp: DEBUG");
    let output = modules.run(&["check"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for part in
        ["no module of echo-daemon is named \"dhcpp\"", "did you mean dhcp?", "did you mean workers::tcp?"]
    {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert_eq!(said.matches("no module").count(), 2, "{said}");
}
