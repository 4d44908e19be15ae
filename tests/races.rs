//! What happens at the same time as a change of generations is not forgotten: a worker that is being forked serves in the
//! end, a question that waits gets its answer.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::proc::named;
use common::{Daemon, ECHO, Namespace, PATIENCE, eventually, has, is_root, signal, text};
use nix::sys::signal::Signal;

/// A reload that somebody waits for.
fn ask_reload(daemon: &Daemon) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.folder.path().join("run/control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn answer(mut stream: UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The children of main, as fast as it can be told.
fn young(main: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap();
    text.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Stops the next child of main as soon as it is there.
fn freeze_next(main: i32, before: &[i32]) -> i32 {
    let started = Instant::now();
    loop {
        if let Some(pid) = young(main).into_iter().find(|pid| !before.contains(pid)) {
            signal(pid, Signal::SIGSTOP);
            return pid;
        }
        assert!(started.elapsed() < PATIENCE, "main has forked nobody");
    }
}

#[test]
fn a_reload_that_waits_is_answered_when_the_daemon_stops() {
    let daemon = Daemon::prepare(ECHO);
    daemon.run_ok(&["start", "--set", "daemon.shutdown_timeout=20s"]);
    let main = daemon.pid();
    // Until a worker of a new generation was stopped before it was ready, so that the reload cannot end.
    let (frozen, first) = eventually("a reload that hangs", || {
        let before = young(main);
        let mut asked = ask_reload(&daemon);
        let frozen = freeze_next(main, &before);
        asked.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        if asked.read(&mut [0; 1]).is_err() {
            asked.set_read_timeout(Some(PATIENCE)).unwrap();
            return Some((frozen, asked));
        }
        signal(frozen, Signal::SIGCONT);
        None
    });
    let asked = daemon.log().matches("reload asked for").count();
    let second = ask_reload(&daemon);
    eventually("the second question", || {
        (daemon.log().matches("reload asked for").count() > asked).then_some(())
    });
    signal(main, Signal::SIGTERM);
    let began = Instant::now();
    daemon.wait_log(&["DAEMON_STOPPING"]);
    signal(frozen, Signal::SIGCONT);
    for stream in [first, second] {
        let text = answer(stream);
        assert!(text.contains("422") && text.contains("the daemon is stopping"), "{text}");
    }
    daemon.wait_log(&["DAEMON_STOPPED"]);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(!daemon.log().contains("WORKER_KILLED"), "{}", daemon.log());
}

#[test]
fn a_worker_that_is_forked_again_while_an_interface_changes_serves() {
    let test = "a_worker_that_is_forked_again_while_an_interface_changes_serves";
    if !is_root(test) || !has("nc", test) {
        return;
    }
    let (server, client) = (Namespace::new(), Namespace::new());
    server.join("eth9", &client, "eth9");
    server.address("eth9", "10.0.9.1/24");
    let daemon = Daemon::start_in(
        &server,
        "tcp: {address: 127.0.0.1, port: 0}
udp: {enabled: false}
dhcp: {interfaces: [eth9], subnets: {lan: {network: 10.0.9.0/24, pools: {main: {range: 10.0.9.10-10.0.9.20}}}}}
",
    );
    let (main, port) = (daemon.pid(), daemon.endpoint("tcp").port().to_string());
    let frozen = eventually("a worker stopped before it was ready", || {
        let tcp = eventually("the tcp worker", || named(main, "tcp").pop());
        let before = young(main);
        signal(tcp, Signal::SIGKILL);
        let frozen = freeze_next(main, &before);
        std::thread::sleep(Duration::from_millis(200));
        let started = format!("pid={frozen}");
        if !daemon.log().lines().any(|line| line.contains("WORKER_STARTED") && line.contains(&started)) {
            return Some(frozen);
        }
        signal(frozen, Signal::SIGCONT);
        None
    });
    server.address("eth9", "10.0.9.2/24");
    daemon.wait_log(&["interfaces have changed", "is in force"]);
    signal(frozen, Signal::SIGCONT);
    let started = format!("pid={frozen}");
    daemon.wait_log(&["WORKER_STARTED tcp", &started]);
    let echo = format!("printf hello | nc -N -w 5 127.0.0.1 {port}");
    let output = server.command("sh").args(["-c", &echo]).output().unwrap();
    assert_eq!(text(&output), "hello");
}
