//! A reload forks a new generation: nothing that is being served or asked for meanwhile is lost, and a configuration that
//! does not check out changes nothing.

mod common;

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};

use common::proc::{all_gone, descriptors, family, named};
use common::traffic::{Connection, Traffic, datagram};
use common::{ALL, Daemon, ECHO, children, eventually, freeze, is_alive, signal, state, text, title};
use nix::sys::signal::Signal;

/// How often a line of the log says this.
fn count(daemon: &Daemon, event: &str) -> usize {
    let event = format!(" {event} ");
    daemon.log().lines().filter(|line| line.contains(&event)).count()
}

#[test]
fn a_thousand_hangups_under_traffic_lose_nothing() {
    /// Signals between two waits for a reload: the kernel makes one of those that come while one is pending.
    const BURST: usize = 5;
    let daemon = Daemon::prepare(ALL);
    // One file, so that it can be followed.
    daemon.run_ok(&["start", "--set", "logging.max_log_size=1GiB", "--set", "logging.log_level=DEBUG"]);
    let main = daemon.pid();
    let (tcp, udp, port) = (daemon.endpoint("tcp"), daemon.endpoint("udp"), daemon.dhcp_port());
    // One reload first, so that both counts are of a daemon that has reloaded.
    daemon.run_ok(&["reload"]);
    // Main may just be closing what a reaped worker had: two looks that agree are the count at rest, or nearly so.
    let open = eventually("a count at rest", || {
        settled(main);
        let first = descriptors(main);
        settled(main);
        (first == descriptors(main)).then_some(first)
    });
    let traffic = Traffic::strict().lasting(tcp).lasting(tcp).tcp(tcp).udp(udp).dhcp(port);
    let mut log = Tail::of(&daemon);
    log.reloads();
    let mut reloads = 0;
    for _ in 0..1000 / BURST {
        for _ in 0..BURST {
            signal(main, Signal::SIGHUP);
        }
        reloads += eventually("a reload", || Some(log.reloads()).filter(|new| *new > 0));
    }
    let served = traffic.finish();
    println!("{reloads} reloads by 1000 signals; {served} conversations in the meantime");
    assert!(reloads >= 100, "{reloads} reloads");
    assert_eq!(
        count(&daemon, "CONFIG_REFUSED") + count(&daemon, "WORKER_DIED") + count(&daemon, "WORKER_KILLED"),
        0
    );
    daemon.run_ok(&["reload"]);
    // A last signal may be at work still.
    eventually("no more descriptors than before", || (descriptors(main).len() <= open.len()).then_some(()));
    settled(main);
    for pid in family(main) {
        assert_ne!(state(pid), Some('Z'));
    }
}

/// The log as it grows.
struct Tail {
    file: BufReader<File>,
}

impl Tail {
    fn of(daemon: &Daemon) -> Self {
        let path = daemon.folder.path().join("log/echo-daemon.log");
        Self { file: BufReader::new(File::open(path).unwrap()) }
    }

    /// Reloads since the last look.
    fn reloads(&mut self) -> usize {
        let mut new = String::new();
        // A last line that is not whole yet is counted by its beginning: the event stands there.
        self.file.read_to_string(&mut new).unwrap();
        new.matches(" CONFIG_RELOADED ").count()
    }
}

/// Waits until only the workers of the newest generation are left.
#[track_caller]
fn settled(main: i32) {
    eventually("one generation", || {
        let alive = children(main);
        if alive.iter().any(|pid| state(*pid).is_none_or(|state| state == 'Z')) {
            return None;
        }
        let names: Vec<String> = alive.into_iter().filter_map(title).collect();
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        (unique.len() == names.len()).then_some(())
    });
}

#[test]
fn reload_replaces_every_worker_and_keeps_main() {
    let daemon = Daemon::start(ALL);
    let main = daemon.pid();
    let before = family(main);
    assert_eq!(daemon.run_ok(&["reload"]), "reloaded: generation 2 is in force\n");
    assert_eq!(daemon.pid(), main);
    assert_eq!(daemon.status()["generation"], 2);
    all_gone(&before[1..]);
    assert_eq!(children(main).len(), before.len() - 1);
    daemon.wait_log(&["CONFIG_RELOADED", "generation=2"]);
}

#[test]
fn file_with_a_mistake_changes_nothing_and_says_why() {
    let daemon = Daemon::start(ECHO);
    let (main, address) = (daemon.pid(), daemon.endpoint("tcp"));
    let before = family(main);
    for (yaml, words) in [
        ("tcp: {prot: 9}\n", &["tcp.prot", "hint"][..]),
        ("tcp: {port: 99999}\nudp: {buffer_size: -1}\n", &["tcp.port", "udp.buffer_size"]),
        ("tcp: [\n", &["config.yaml"]),
    ] {
        daemon.write_config(yaml);
        let output = daemon.run(&["reload"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} in {said}");
        daemon.wait_log(&["CONFIG_REFUSED", words[0]]);
        assert_eq!(family(main), before, "another worker");
        Connection::open(address).unwrap().ping(b"hello").unwrap();
    }
    // A signal says it in the log.
    let refused = count(&daemon, "CONFIG_REFUSED");
    fs::remove_file(&daemon.config).unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("refusal", || (count(&daemon, "CONFIG_REFUSED") == refused + 1).then_some(()));
    assert_eq!(family(main), before);
    daemon.write_config(ECHO);
    daemon.run_ok(&["reload"]);
}

#[test]
fn key_that_needs_a_restart_is_refused_by_name() {
    let daemon = Daemon::start(ALL);
    let before = family(daemon.pid());
    let base = fs::read_to_string(&daemon.config).unwrap();
    for (key, from, to) in [
        ("daemon.pid_file", "run/echo-daemon.pid", "run/other.pid"),
        ("daemon.state_dir", "state_dir: state", "state_dir: elsewhere"),
        ("daemon.user", "user: nobody", "user: daemon"),
    ] {
        fs::write(&daemon.config, base.replace(from, to)).unwrap();
        daemon.signal(Signal::SIGHUP);
        let line = daemon.wait_log(&["CONFIG_REFUSED", key]);
        assert!(line.contains("cannot change while the daemon runs"), "{line}");
    }
    fs::write(&daemon.config, base.replace("user: nobody", "user: daemon")).unwrap();
    let output = daemon.run(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("daemon.user") && text(&output).contains("hint: echo-daemon restart"),
        "{}",
        text(&output)
    );
    fs::write(&daemon.config, base).unwrap();
    assert_eq!(family(daemon.pid()), before);
}

#[test]
fn port_that_is_taken_refuses_the_reload_and_the_old_one_is_served() {
    let daemon = Daemon::start(ECHO);
    let address = daemon.endpoint("tcp");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    daemon.write_config(&ECHO.replace(
        "tcp: {address: 127.0.0.1, port: 0}",
        &format!("tcp: {{address: 127.0.0.1, port: {port}}}"),
    ));
    let before = family(daemon.pid());
    let output = daemon.run(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains(&format!("127.0.0.1:{port}")), "{}", text(&output));
    assert_eq!(family(daemon.pid()), before);
    Connection::open(address).unwrap().ping(b"hello").unwrap();
}

#[test]
fn ports_addresses_and_services_change_and_clients_of_the_old_generation_stay() {
    let daemon = Daemon::start(ECHO);
    let main = daemon.pid();
    let (old_tcp, old_udp) = (daemon.endpoint("tcp"), daemon.endpoint("udp"));
    let mut client = Connection::open(old_tcp).unwrap();
    client.ping(b"before").unwrap();
    let old_worker = named(main, "tcp")[0];
    daemon.write_config(
        "tcp: {address: 127.0.0.2, port: 0, max_clients: 2}\nudp: {enabled: false}\ndhcp: {enabled: false}\n",
    );
    daemon.run_ok(&["reload"]);
    let tcp = daemon.endpoint("tcp");
    assert_eq!(tcp.ip().to_string(), "127.0.0.2");
    Connection::open(tcp).unwrap().ping(b"new address").unwrap();
    assert!(TcpStream::connect(old_tcp).is_err(), "the old port is still open");
    assert!(named(main, "udp").is_empty());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(old_udp).unwrap();
    let _ = socket.send(b"anybody?");
    assert!(socket.recv(&mut [0; 8]).is_err(), "the old UDP port is still open");
    // The client of the old generation is served, and holds one of the new two places.
    client.ping(b"after").unwrap();
    assert!(is_alive(old_worker));
    eventually("one client is left", || (daemon.status()["tcp_clients"] == 1).then_some(()));
    drop(client);
    all_gone(&[old_worker]);
    // And back.
    daemon.write_config(ECHO);
    daemon.run_ok(&["reload"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    datagram(&socket, daemon.endpoint("udp"), 1).unwrap();
}

#[test]
fn several_callers_each_get_a_verdict() {
    let daemon = Daemon::start(ECHO);
    let callers: Vec<_> = (0..10)
        .map(|_| daemon.command(&["reload"]).stdout(std::process::Stdio::piped()).spawn().unwrap())
        .collect();
    for caller in callers {
        let output = caller.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("is in force"), "{}", text(&output));
    }
}

#[test]
fn worker_that_hangs_does_not_hold_the_reload_up() {
    let daemon = Daemon::prepare(ALL);
    daemon.run_ok(&["start", "--set", "daemon.shutdown_timeout=500ms"]);
    let udp = named(daemon.pid(), "udp")[0];
    freeze(udp);
    daemon.run_ok(&["reload"]);
    all_gone(&[udp]);
    daemon.wait_log(&["WORKER_KILLED", "udp of generation 1"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    datagram(&socket, daemon.endpoint("udp"), 1).unwrap();
}

#[test]
fn worker_that_is_slow_to_leave_is_replaced_but_not_killed() {
    let daemon = Daemon::prepare(ALL);
    daemon.run_ok(&["start", "--set", "daemon.shutdown_timeout=1s"]);
    let old = named(daemon.pid(), "dhcp 0")[0];
    freeze(old);
    daemon.run_ok(&["reload"]);
    // The new generation serves although the old worker has not said that it is done, and so does the next one.
    let client = common::dhcp::Client::new(1, daemon.dhcp_port());
    client.lease();
    daemon.run_ok(&["reload"]);
    client.lease();
    signal(old, Signal::SIGCONT);
    all_gone(&[old]);
    daemon.wait_log(&["WORKER_STOPPED", "dhcp 0 of generation 1", "exit code 0"]);
    assert_eq!(count(&daemon, "WORKER_KILLED"), 0);
}
