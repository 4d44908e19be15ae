//! The log of a real daemon, taken apart: lines in the documented form, and a daemon whose section `logging` is the test's.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset};

use super::{Daemon, PATIENCE};

/// DHCP on any port of loopback, beside both echo services.
pub const ALL: &str = "\
tcp: {address: 127.0.0.1, port: 0, max_clients: 1000}
udp: {address: 127.0.0.1, port: 0}
dhcp:
  interfaces: [lo]
  port: 0
  conflict_check: {method: \"off\"}
  store: {durability: process}
  subnets:
    demo: {network: 127.0.0.0/8, interface: lo, pools: {main: {range: 127.100.0.10-127.100.7.250}}}
";

// --- the form of a line ----------------------------------------------------------------------------------

/// A line of the text log, taken apart.
#[derive(Debug, Clone)]
pub struct Line {
    pub time: DateTime<FixedOffset>,
    pub level: String,
    pub pid: i32,
    pub process: String,
    /// Event, message and fields.
    pub rest: String,
}

impl Line {
    /// `2026-11-21T12:00:00.123+01:00 INFO  [4711 dhcp 0] EVENT message key=value`, to the letter.
    pub fn parse(line: &str) -> Option<Self> {
        let (stamp, rest) = line.split_at_checked(29)?;
        let digits = stamp.bytes().zip("dddd-dd-ddTdd:dd:dd.ddd+dd:dd".bytes());
        let fits = digits.clone().all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            b'+' => byte == b'+' || byte == b'-',
            form => byte == form,
        });
        let time = fits.then(|| DateTime::parse_from_rfc3339(stamp).ok())??;
        let rest = rest.strip_prefix(' ')?;
        let (level, rest) = rest.split_at_checked(5)?;
        let known = ["ERROR", "WARN ", "INFO ", "DEBUG", "TRACE"].contains(&level);
        let (speaker, rest) = rest.strip_prefix(" [")?.split_once(']')?;
        let (pid, process) = speaker.split_once(' ')?;
        let rest = rest.strip_prefix(' ')?;
        let plain = !line.chars().any(char::is_control) && !rest.is_empty() && !process.is_empty();
        (known && plain).then(|| Self {
            time,
            level: level.trim_end().to_owned(),
            pid: pid.parse().unwrap_or_default(),
            process: process.to_owned(),
            rest: rest.to_owned(),
        })
    }

    pub fn event(&self) -> &str {
        self.rest.split(' ').next().unwrap_or_default()
    }

    /// The value of a field.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.rest.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }
}

/// The lines of a text, every one of which must have the documented form.
#[track_caller]
pub fn lines(text: &str) -> Vec<Line> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {:?}", text.lines().last());
    text.lines().map(|line| Line::parse(line).unwrap_or_else(|| panic!("not a log line: {line:?}"))).collect()
}

/// The peers of all records of one event, sorted. The kernel may give a port a second time, so they are counted.
#[track_caller]
pub fn peers(lines: &[Line], event: &str) -> Vec<String> {
    let peer = |line: &Line| line.field("peer").unwrap_or_else(|| panic!("no peer: {line:?}")).to_owned();
    sorted(lines.iter().filter(|line| line.event() == event).map(peer))
}

pub fn sorted(peers: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut peers: Vec<String> = peers.into_iter().collect();
    peers.sort_unstable();
    peers
}

// --- a daemon whose logging is the test's own ------------------------------------------------------------

/// Replaces the section `logging` of a daemon's file. Clients are not limited: their lines are what these tests count.
pub fn configure(daemon: &Daemon, logging: &str, rest: &str) {
    let own = format!(
        "logging: {{log_file: log/echo-daemon.log, rate_limits: {{TCP_CLIENT_CONNECTED: off, TCP_CLIENT_DISCONNECTED: off}}, {logging}}}"
    );
    let base = super::BASE.replace("logging: {log_file: log/echo-daemon.log, log_level: DEBUG}", &own);
    assert!(base.contains(&own), "the base has another section");
    fs::write(&daemon.config, format!("{base}{rest}")).unwrap();
}

pub fn prepare(logging: &str, rest: &str) -> Daemon {
    let daemon = Daemon::prepare("");
    configure(&daemon, logging, rest);
    daemon
}

pub fn start(logging: &str, rest: &str) -> Daemon {
    let daemon = prepare(logging, rest);
    daemon.run_ok(&["start"]);
    daemon
}

pub fn log_file(daemon: &Daemon) -> PathBuf {
    daemon.folder.path().join("log/echo-daemon.log")
}

/// Every log file in its folder, the oldest first, whatever its number.
pub fn whole_log(folder: &Path) -> String {
    let number = |path: &PathBuf| path.extension().and_then(|n| n.to_str()?.parse::<u32>().ok()).unwrap_or(0);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|path| std::cmp::Reverse(number(path)));
    files.into_iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// A TCP client that is echoed one byte and leaves; its address.
pub fn visit(server: SocketAddr) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let own = stream.local_addr().unwrap().to_string();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    own
}

/// Visits from several threads; all their addresses.
pub fn visits(server: SocketAddr, threads: usize, each: usize) -> Vec<String> {
    std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..threads)
            .map(|_| scope.spawn(move || (0..each).map(|_| visit(server)).collect::<Vec<_>>()))
            .collect();
        sorted(visitors.into_iter().flat_map(|visitor| visitor.join().unwrap()))
    })
}

pub fn dhcp_port(daemon: &Daemon) -> u16 {
    let status = daemon.status();
    let endpoints = status["endpoints"].as_array().unwrap();
    let dhcp = endpoints.iter().find(|endpoint| endpoint["service"] == "dhcp").unwrap();
    dhcp["address"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[track_caller]
pub fn stop(daemon: &Daemon) {
    daemon.run_ok(&["stop", "--timeout", "30s"]);
}
