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
fn without_an_interval_there_is_no_stats_line() {
    let daemon = Daemon::prepare(ECHO);
    daemon.run_ok(&["start", "--set", "logging.stats_interval=0"]);
    daemon.run_ok(&["stop"]);
    assert!(!daemon.log().contains(" STATS "));
}
