//! The main figures are logged every `logging.stats_interval`, and never where it is 0.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use common::{Daemon, ECHO};

#[test]
fn stats_line_has_the_figures_of_the_moment() {
    let daemon = Daemon::prepare(ECHO);
    daemon.run_ok(&["start", "--set", "logging.stats_interval=1s"]);
    let mut client = TcpStream::connect(daemon.endpoint("tcp")).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let line = daemon.wait_log(&["STATS", "tcp_connections=1", "acks=0"]);
    assert!(line.contains(" api] STATS "), "{line}");
}

#[test]
fn figures_of_the_line_are_numbers_in_json() {
    let daemon = Daemon::prepare(ECHO);
    let json = daemon.folder.path().join("log/echo-daemon.json");
    let file = format!("logging.json.file={}", json.display());
    daemon.run_ok(&[
        "start",
        "--set",
        "logging.stats_interval=1s",
        "--set",
        "logging.json.enabled=true",
        "--set",
        &file,
    ]);
    let line = common::eventually("a STATS line", || {
        let text = std::fs::read_to_string(&json).ok()?;
        text.lines().find(|line| line.contains("\"STATS\"") && line.ends_with('}')).map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    for whole in [
        "discovers",
        "acks",
        "dropped",
        "tcp_connections",
        "memory_bytes",
        "log_dropped",
        "addresses_available",
    ] {
        assert!(line[whole].is_u64(), "{whole}: {line:#}");
    }
    for real in ["acks_per_second", "response_p99_ms", "commit_p99_ms"] {
        assert!(line[real].is_number(), "{real}: {line:#}");
    }
    assert!(line["memory_bytes"].as_u64() > Some(1_000_000), "{line:#}");
}

#[test]
fn without_an_interval_there_is_no_stats_line() {
    let daemon = Daemon::prepare(ECHO);
    daemon.run_ok(&["start", "--set", "logging.stats_interval=0"]);
    daemon.run_ok(&["stop"]);
    assert!(!daemon.log().contains(" STATS "));
}
