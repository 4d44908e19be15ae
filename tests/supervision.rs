//! A worker that dies is replaced, with a back-off; what had queued up meanwhile is served; nobody else notices.

mod common;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use common::dhcp::Client;
use common::proc::{all_gone, another, family, field, named};
use common::traffic::{Connection, Traffic};
use common::{ALL, Daemon, ECHO, children, eventually, freeze, signal, state};
use dhcproto::v4::MessageType;
use nix::sys::signal::Signal;

/// Every worker, by its name in `ps`.
const WORKERS: [&str; 7] = ["logger", "tcp", "udp", "dhcp 0", "dhcp 1", "keeper", "api"];

#[track_caller]
fn no_zombies(main: i32) {
    for pid in family(main) {
        eventually("reaping", || (state(pid) != Some('Z')).then_some(()));
    }
}

/// Restarts of a worker, by `status`. Tried again while the api process itself is being replaced.
#[track_caller]
fn restarts(daemon: &Daemon, name: &str) -> u64 {
    eventually("status", || {
        let output = daemon.run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let processes = status["processes"].as_array()?;
        processes.iter().find(|process| process["name"] == name)?["restarts"].as_u64()
    })
}

#[test]
fn each_worker_killed_in_turn_under_traffic_is_replaced() {
    let daemon = Daemon::start(ALL);
    let main = daemon.pid();
    let (tcp, udp, port) = (daemon.endpoint("tcp"), daemon.endpoint("udp"), daemon.dhcp_port());
    // Connections that are there stay; what a killed worker had in its hands is asked for again, as clients do.
    let lasting = Traffic::strict().lasting(tcp).lasting(tcp);
    let others = Traffic::patient().tcp(tcp).udp(udp).dhcp(port).dhcp(port);
    for name in WORKERS {
        let before = named(main, name);
        let rounds = others.rounds();
        signal(before[0], Signal::SIGKILL);
        let line = daemon.wait_log(&["WORKER_DIED", &format!("{name} has died"), "SIGKILL"]);
        assert!(line.contains(" ERROR "), "{line}");
        // By the log: a client that its dead worker had just forked still has the worker's name.
        eventually("another worker", || {
            let ready = format!(" WORKER_STARTED {name} of generation 1 is ready");
            let log = daemon.log();
            (log.lines().filter(|line| line.contains(&ready)).count() == 2).then_some(())
        });
        eventually("traffic", || (others.rounds() > rounds + 10).then_some(()));
        assert_eq!(restarts(&daemon, name), if name == "dhcp 1" { 2 } else { 1 }, "{name}");
    }
    assert_eq!(daemon.pid(), main);
    others.finish();
    lasting.finish();
    no_zombies(main);
    eventually("workers alone", || (children(main).len() == WORKERS.len()).then_some(()));
    assert!(daemon.run_ok(&["status"]).contains("WORKER_DIED"));
}

#[test]
fn what_queued_up_for_a_dead_worker_is_served() {
    let daemon = Daemon::start(ALL);
    let main = daemon.pid();
    let (tcp, udp, port) = (daemon.endpoint("tcp"), daemon.endpoint("udp"), daemon.dhcp_port());
    let victims: Vec<i32> =
        ["tcp", "udp", "dhcp 0", "dhcp 1"].into_iter().map(|name| named(main, name)[0]).collect();
    for pid in &victims {
        freeze(*pid);
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    for number in 0..100_u8 {
        socket.send_to(&[number], udp).unwrap();
    }
    let mut connections: Vec<Connection> = (0..10).map(|_| Connection::open(tcp).unwrap()).collect();
    let clients: Vec<Client> = (1..=20).map(|n| Client::new(n, port)).collect();
    for client in &clients {
        client.socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
        client.send(&client.message(MessageType::Discover, &[]));
    }
    for pid in &victims {
        signal(*pid, Signal::SIGKILL);
    }
    let mut echoed: Vec<u8> = (0..100)
        .map(|_| {
            let mut byte = [0];
            socket.recv(&mut byte).unwrap();
            byte[0]
        })
        .collect();
    echoed.sort_unstable();
    assert!((0..100).eq(echoed));
    for connection in &mut connections {
        connection.ping(b"waited").unwrap();
    }
    for client in &clients {
        assert_eq!(client.receive().expect("no offer").opts().msg_type(), Some(MessageType::Offer));
    }
}

#[test]
fn worker_that_dies_again_and_again_is_forked_with_growing_pauses_while_others_serve() {
    let daemon = Daemon::start(ECHO);
    let main = daemon.pid();
    let mut connection = Connection::open(daemon.endpoint("tcp")).unwrap();
    let mut killed = Vec::new();
    for _ in 0..7 {
        let pid = another(main, "udp", &killed);
        killed.push(pid);
        signal(pid, Signal::SIGKILL);
        connection.ping(b"the others serve").unwrap();
        Connection::open(daemon.endpoint("tcp")).unwrap().ping(b"new ones too").unwrap();
    }
    another(main, "udp", &killed);
    let log = daemon.log();
    let pauses: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("WORKER_DIED"))
        .filter_map(|line| line.split_once("forked again in ")?.1.split_once(" ms").map(|(pause, _)| pause))
        .collect();
    assert_eq!(pauses, ["0", "20", "40", "80", "160", "320", "640"]);
    assert_eq!(restarts(&daemon, "udp"), 7);
    assert_eq!(restarts(&daemon, "tcp"), 0);
    no_zombies(main);
}

#[test]
fn tcp_worker_that_dies_takes_no_client_with_it() {
    let daemon = Daemon::start(
        "tcp: {address: 127.0.0.1, port: 0, max_clients: 6}\nudp: {enabled: false}\ndhcp: {enabled: false}\n",
    );
    let main = daemon.pid();
    let address = daemon.endpoint("tcp");
    let mut connections: Vec<Connection> = (0..5).map(|_| Connection::open(address).unwrap()).collect();
    for connection in &mut connections {
        connection.ping(b"before").unwrap();
    }
    let worker = named(main, "tcp");
    let clients = children(worker[0]);
    assert_eq!(clients.len(), 5);
    signal(worker[0], Signal::SIGKILL);
    let after = another(main, "tcp", &worker);
    for connection in &mut connections {
        connection.ping(b"after").unwrap();
    }
    for pid in &clients {
        assert_eq!(field(*pid, "PPid"), main.to_string(), "main adopts it");
    }
    // They keep their places: one is left.
    assert_eq!(daemon.status()["tcp_clients"], 5);
    let mut sixth = Connection::open(address).unwrap();
    sixth.ping(b"last place").unwrap();
    let mut seventh = Connection::open(address).unwrap();
    seventh.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(seventh.ping(b"waits").is_err());
    connections.truncate(4);
    seventh.stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let mut back = [0; 5];
    std::io::Read::read_exact(&mut seventh.stream, &mut back).unwrap();
    assert_eq!(&back, b"waits");
    drop(connections);
    all_gone(&clients);
    drop((sixth, seventh));
    eventually("no clients", || (daemon.status()["tcp_clients"] == 0).then_some(()));
    assert_eq!(children(main), family(main)[1..]);
    assert_eq!(named(main, "tcp"), [after]);
}

#[test]
fn lines_written_while_no_logger_runs_are_kept() {
    let daemon = Daemon::start(ECHO);
    let main = daemon.pid();
    let address = daemon.endpoint("tcp");
    let logger = named(main, "logger");
    freeze(logger[0]);
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut connection = Connection::open(address).unwrap();
        connection.ping(b"hello").unwrap();
        peers.push(connection.stream.local_addr().unwrap().to_string());
    }
    // It was stopped while it waited, so it has read none of them.
    signal(logger[0], Signal::SIGKILL);
    another(main, "logger", &logger);
    for peer in peers {
        daemon.wait_log(&["TCP_CLIENT_DISCONNECTED", &format!("peer={peer}")]);
    }
}

#[test]
fn workers_obey_main_alone() {
    let daemon = Daemon::start(ALL);
    let main = daemon.pid();
    let before = family(main);
    for pid in &before[1..] {
        for which in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGTSTP,
        ] {
            signal(*pid, which);
        }
    }
    Connection::open(daemon.endpoint("tcp")).unwrap().ping(b"hello").unwrap();
    assert_eq!(
        Client::new(1, daemon.dhcp_port()).discover().map(|offer| offer.opts().msg_type()),
        Some(Some(MessageType::Offer))
    );
    assert!(before.iter().all(|pid| common::is_alive(*pid) && state(*pid) != Some('T')));
    assert!(!daemon.log().contains("WORKER_DIED"));
}

/// nice(2) of a process (`proc_pid_stat(5)`, field 19).
fn niceness(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(16).unwrap().parse().unwrap()
}

#[test]
fn keeper_gives_way_to_those_whom_clients_wait_for() {
    let daemon = Daemon::start(ALL);
    let main = daemon.pid();
    let usual = niceness(main);
    for (name, more) in [("tcp", 0), ("udp", 0), ("dhcp 0", 0), ("api", 0), ("logger", 0), ("keeper", 10)] {
        assert_eq!(niceness(named(main, name)[0]), (usual + more).min(19), "{name}");
    }
}
