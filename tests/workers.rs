//! Several DHCP worker processes share sockets, offers and one lease file: no address is leased twice, whoever dies.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::crowd::{Crowd, Step, in_file};
use common::dhcp::Client;
use common::echo::metric;
use common::lab::{self, LOOPBACK, dhcp_port, dhcp_workers, kind, lines};
use common::strace::Strace;
use common::{Daemon, PATIENCE, eventually, has, is_alive, signal};
use dhcproto::v4::{DhcpOption, MessageType};
use nix::sys::signal::Signal;

/// A pool for a crowd.
fn crowd() -> String {
    LOOPBACK.replace("10.77.0.0/24", "10.77.0.0/20").replace("10.77.0.199", "10.77.7.255")
}

/// PIDs that granted leases, by the log.
fn granters(daemon: &Daemon) -> BTreeSet<i32> {
    let log = daemon.log();
    let granted = log.lines().filter(|line| line.contains("DHCP_LEASE_GRANTED"));
    granted.map(|line| line.split(['[', ' ']).find_map(|word| word.parse().ok()).unwrap()).collect()
}

#[test]
fn two_workers_serve_a_crowd_and_lease_no_address_twice() {
    let daemon = Daemon::start(&crowd());
    let workers = dhcp_workers(&daemon, 2);
    let mut crowd = Crowd::new(dhcp_port(&daemon), 300);
    crowd.lease(|_| ());
    assert_eq!(crowd.leases(), in_file(&daemon));
    eventually("both workers have granted leases", || {
        (granters(&daemon) == workers.iter().copied().collect()).then_some(())
    });
}

#[test]
fn worker_that_is_killed_in_the_middle_loses_nothing() {
    let daemon = Daemon::start(&crowd());
    let workers = dhcp_workers(&daemon, 2);
    let mut crowd = Crowd::new(dhcp_port(&daemon), 400);
    let mut victims = workers.into_iter();
    let mut next = 100;
    crowd.lease(|leased| {
        if leased >= next {
            if let Some(victim) = victims.next() {
                signal(victim, Signal::SIGKILL);
            }
            next += 100;
        }
    });
    assert_eq!(crowd.leases(), in_file(&daemon));
    assert_eq!(lines(&daemon, &["WORKER_DIED", "dhcp"]), 2);
    for (client, step) in crowd.clients.iter().zip(&crowd.steps).take(20) {
        let Step::Leased(address) = step else { panic!("a client has no lease") };
        client.socket.set_nonblocking(false).unwrap();
        client.socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        assert_eq!(client.renew(*address).map(|answer| kind(&answer)), Some(MessageType::Ack));
    }
}

#[test]
fn full_pool_is_said_once_and_serves_again_after_a_release() {
    let more = "port: 0\n  workers: 1";
    let yaml = LOOPBACK.replace("port: 0", more).replace("10.77.0.199", "10.77.0.119");
    let daemon = Daemon::start(&yaml);
    let port = dhcp_port(&daemon);
    let clients: Vec<Client> = (1..=40).map(|n| Client::new(n, port)).collect();
    let leased: Vec<Ipv4Addr> = clients[..20].iter().map(Client::lease).collect();
    assert_eq!(leased.iter().collect::<BTreeSet<_>>().len(), 20);
    for client in &clients[20..] {
        lab::assert_silent(client, &client.message(MessageType::Discover, &[]));
    }
    daemon.wait_log(&["DHCP_POOL_EXHAUSTED", "subnet=lan"]);
    assert_eq!(lines(&daemon, &["DHCP_POOL_EXHAUSTED"]), 1);
    clients[3].release(leased[3]);
    daemon.wait_log(&["DHCP_LEASE_RELEASED"]);
    assert_eq!(clients[30].lease(), leased[3]);
    lab::assert_silent(&clients[31], &clients[31].message(MessageType::Discover, &[]));
    // Who holds a lease is served as ever.
    assert_eq!(clients[0].lease(), leased[0]);
}

#[test]
fn crowd_of_forty_shares_a_pool_of_twenty() {
    let daemon = Daemon::start(&LOOPBACK.replace("10.77.0.199", "10.77.0.119"));
    let mut crowd = Crowd::new(dhcp_port(&daemon), 40);
    let started = Instant::now();
    let (mut leased, mut asked) = (0, Instant::now());
    (0..40).for_each(|n| crowd.ask(n));
    // The others' questions are all dropped when the counter says so.
    while leased < 20 || lines(&daemon, &["DHCP_POOL_EXHAUSTED"]) == 0 {
        leased += crowd.hear();
        if asked.elapsed() > Duration::from_millis(300) {
            asked = Instant::now();
            (0..40).for_each(|n| crowd.ask(n));
        }
        assert!(started.elapsed() < PATIENCE, "{leased} leases");
    }
    let addresses: BTreeSet<Ipv4Addr> = crowd
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Leased(address) => Some(*address),
            Step::Discover | Step::Request(_) => None,
        })
        .collect();
    assert_eq!((leased, addresses.len()), (20, 20));
    assert_eq!(in_file(&daemon).into_keys().collect::<BTreeSet<_>>(), addresses);
    assert!(
        !crowd.steps.iter().any(|step| matches!(step, Step::Request(_))),
        "an offer that nobody can keep"
    );
}

#[test]
fn offer_outlives_every_worker_and_a_reload() {
    let daemon = Daemon::start(LOOPBACK);
    let port = dhcp_port(&daemon);
    let (first, second) = (Client::new(1, port), Client::new(2, port));
    let (offer, other) = (first.discover().expect("no offer"), second.discover().expect("no offer"));
    for worker in dhcp_workers(&daemon, 2) {
        signal(worker, Signal::SIGKILL);
        eventually("the worker is gone", || (!is_alive(worker)).then_some(()));
    }
    // A third client may not take what is held for the first.
    let third = Client::new(3, port);
    let wish = [DhcpOption::RequestedIpAddress(offer.yiaddr())];
    let third_offer = lab::until(&third, &third.message(MessageType::Discover, &wish), MessageType::Offer);
    assert_ne!(third_offer.yiaddr(), offer.yiaddr());
    let ack = first.select(&offer).expect("no ack after the workers died");
    assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, offer.yiaddr()));
    daemon.run_ok(&["reload"]);
    let fourth = Client::new(4, port);
    let wish = [DhcpOption::RequestedIpAddress(other.yiaddr())];
    let fourth_offer = fourth.ask(&fourth.message(MessageType::Discover, &wish)).expect("no offer");
    assert_ne!(fourth_offer.yiaddr(), other.yiaddr());
    let ack = second.select(&other).expect("no ack after the reload");
    assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, other.yiaddr()));
}

#[test]
fn lease_outlives_the_death_of_every_process_and_a_restart() {
    let daemon = Daemon::start(LOOPBACK);
    let client = Client::new(1, dhcp_port(&daemon));
    let leased = client.lease();
    for name in ["dhcp 0", "dhcp 1", "keeper", "api", "logger"] {
        let pid = daemon.worker(name);
        signal(pid, Signal::SIGKILL);
        eventually("the process is forked again", || {
            let status = daemon.run(&["status", "--json"]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
            let processes = status["processes"].as_array()?.clone();
            processes.iter().any(|p| p["name"] == name && p["pid"] != pid).then_some(())
        });
        assert_eq!(
            client.renew(leased).map(|answer| kind(&answer)),
            Some(MessageType::Ack),
            "without {name}"
        );
    }
    let main = daemon.pid();
    let tree = common::children(main);
    signal(main, Signal::SIGKILL);
    eventually("the whole tree is gone", || (!tree.iter().any(|pid| is_alive(*pid))).then_some(()));
    for round in ["after SIGKILL of main", "after a stop"] {
        daemon.run_ok(&["start"]);
        let client = Client::new(1, dhcp_port(&daemon));
        let ack = client.renew(leased).expect(round);
        assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, leased), "{round}");
        let stranger = Client::new(2, dhcp_port(&daemon));
        let nak = stranger.renew(leased).expect(round);
        assert_eq!(kind(&nak), MessageType::Nak, "{round}");
        daemon.run_ok(&["stop"]);
    }
}

#[test]
fn corpus_of_hostile_packets_kills_no_worker_and_stops_no_exchange() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if !corpus.exists() {
        eprintln!("skipped: {} is not there", corpus.display());
        return;
    }
    let daemon = Daemon::start(&crowd());
    let port = dhcp_port(&daemon);
    let workers = dhcp_workers(&daemon, 2);
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let packets: Vec<Vec<u8>> = files(&corpus).iter().flat_map(|path| packets_of(path)).collect();
    assert!(packets.len() > 100, "only {} packets", packets.len());
    for (n, packet) in (1..).zip(&packets) {
        // Raw, and as a client's would look: the right op, the magic cookie, a known type of hardware.
        for packet in [packet.clone(), dressed(packet)] {
            sender.send_to(&packet, server).unwrap();
        }
        let client = Client::new(n, port);
        let leased = client.lease();
        client.release(leased);
    }
    assert_eq!(metric(&daemon, "echo_daemon_worker_restarts_total{worker=\"dhcp\"}"), 0);
    assert_eq!(dhcp_workers(&daemon, 2), workers);
    assert_eq!(lines(&daemon, &["WORKER_DIED"]), 0);
    assert_eq!(lines(&daemon, &["DHCP_PACKET_PANICKED"]), 0);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.file_name().is_some_and(|name| name != "ORIGIN.txt") {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// The DHCP payloads of a capture, or the file itself; none longer than a datagram.
fn packets_of(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let cookie = [0x63, 0x82, 0x53, 0x63];
    let mut found: Vec<Vec<u8>> = Vec::new();
    if path.extension().is_some_and(|extension| extension.to_string_lossy().starts_with("pcap")) {
        let places = bytes.windows(4).enumerate().filter(|(_, window)| *window == cookie).map(|(at, _)| at);
        for at in places.filter(|at| *at >= 236) {
            found.push(bytes[at - 236..].iter().copied().take(1200).collect());
        }
    }
    found.push(bytes.into_iter().take(65_507).collect());
    found
}

fn dressed(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.len() >= 240 {
        packet[..3].copy_from_slice(&[1, 1, 6]);
        packet[24..28].fill(0);
        packet[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    }
    packet
}

#[test]
fn packet_that_kills_a_worker_is_logged_and_not_handled_again() {
    if !has("strace", "packet_that_kills_a_worker_is_logged_and_not_handled_again") {
        return;
    }
    let daemon = Daemon::start(&LOOPBACK.replace("interfaces: [lo]", "interfaces: [lo]\n  workers: 1"));
    let port = dhcp_port(&daemon);
    let killer = Client::new(0xdead, port);
    killer.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let offer = killer.discover().expect("no offer");
    // A fault of a library on the way of this packet, as far as the worker can tell.
    let worker = daemon.worker("dhcp 0");
    let fault =
        ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:signal=SIGSEGV", "-o", "/dev/null"];
    let strace = Strace::attach(&[worker], &fault);
    assert_eq!(killer.select(&offer), None);
    let line = daemon.wait_log(&["ERROR", "DHCP_PACKET_QUARANTINED", "02000000dead"]);
    assert!(line.contains("63825363"), "the whole packet: {line}");
    daemon.wait_log(&["WORKER_DIED", "dhcp 0"]);
    strace.finish();
    // The client asks again, as clients do: with another xid. Everybody else is served, and this one with other words.
    let mut again = Client::new(0xdead, port);
    again.xid = 77;
    again.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let dropped = "echo_daemon_dhcp_dropped_total{reason=\"quarantined\"}";
    eventually("the drop", || {
        assert_eq!(again.select(&offer), None);
        (metric(&daemon, dropped) > 0).then_some(())
    });
    Client::new(2, port).lease();
    assert_eq!(again.renew(offer.yiaddr()).map(|ack| kind(&ack)), Some(MessageType::Ack));
    assert_eq!(lines(&daemon, &["WORKER_DIED"]), 1);
}
