//! `stats` and `stats --watch`: the figures for people.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::dhcp::Client;
use common::{ALL, Daemon, PATIENCE, eventually, text};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[test]
fn stats_shows_the_most_important_figures_on_one_screen() {
    let daemon = Daemon::start(ALL);
    Client::new(1, daemon.dhcp_port()).lease();
    let shown = eventually("a lease in the figures", || {
        let shown = daemon.run_ok(&["stats"]);
        shown.contains("leases: 1 active").then_some(shown)
    });
    for part in
        ["per second", "ACKs", "demo", "10481", "10480", "response", "commit", "dhcp 1", "leases_wal", "MiB"]
    {
        assert!(shown.contains(part), "no {part} in:\n{shown}");
    }
    assert!(shown.lines().count() <= 50 && shown.lines().all(|line| line.chars().count() <= 120), "{shown}");
    let json: Value = serde_json::from_str(&daemon.run_ok(&["stats", "--json"])).unwrap();
    assert_eq!(json["dhcp"]["leases"]["granted"], 1);
    assert_eq!(json["rates"]["grants"]["total"], 1);
}

#[test]
fn stats_of_a_stopped_daemon_says_so_with_exit_code_3() {
    let daemon = Daemon::prepare(ALL);
    for args in [&["stats"][..], &["stats", "--watch"], &["stats", "--json"]] {
        let output = daemon.run(args);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", text(&output));
        assert!(text(&output).contains("running"), "{}", text(&output));
    }
}

#[test]
fn watch_prints_one_table_after_the_other_until_it_is_interrupted() {
    let daemon = Daemon::start(ALL);
    let mut command = daemon.command(&["stats", "--watch", "--interval", "100ms"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut lines = lines.inspect(|line| assert!(!line.contains('\x1b'), "{line:?}"));
    // The second one knows the rates since the first.
    assert!(lines.any(|line| line.contains("last 1s")));
    assert!(lines.any(|line| line.contains("since last")));
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert!(lines.count() < 1_000);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn watch_ends_with_the_reader_and_with_the_daemon() {
    let daemon = Daemon::start(ALL);
    let mut child =
        daemon.command(&["stats", "--watch", "--interval", "100ms"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut child =
        daemon.command(&["stats", "--watch", "--interval", "100ms"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("since last")));
    daemon.run_ok(&["stop"]);
    assert!(lines.any(|line| line == "not running"));
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn watch_on_a_terminal_draws_anew_and_puts_the_terminal_back() {
    let daemon = Daemon::start(ALL);
    let pty = openpty(None, None).unwrap();
    let mut command = daemon.command(&["stats", "--watch", "--interval", "100ms"]);
    let mut child = command.stdout(Stdio::from(pty.slave)).spawn().unwrap();
    drop(command);
    let mut terminal = File::from(pty.master);
    let (mut shown, mut buffer) = (String::new(), [0; 4096]);
    let started = std::time::Instant::now();
    while shown.matches("\x1b[H").count() < 3 {
        assert!(started.elapsed() < PATIENCE, "{shown:?}");
        let length = terminal.read(&mut buffer).unwrap();
        shown += &String::from_utf8_lossy(&buffer[..length]);
    }
    assert!(shown.starts_with("\x1b[?1049h\x1b[?25l"), "{shown:?}");
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    // A terminal whose last writer has gone is an error (EIO).
    while let Ok(length) = terminal.read(&mut buffer) {
        shown += &String::from_utf8_lossy(&buffer[..length]);
    }
    assert!(shown.ends_with("\x1b[?25h\x1b[?1049l"), "{shown:?}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
