//! The log of the real daemon: one record is one whole line in the documented form, from the process that spoke,
//! and none is lost: over rotations, reopened files, reloads, a killed logger and a full disk.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, FixedOffset, Local};
use dhcproto::v4::{DhcpOption, MessageType};
use nix::sys::signal::Signal;
use serde_json::Value;

use common::dhcp::Client;
use common::{Daemon, ECHO, PATIENCE, eventually, is_alive, is_root, text};

/// DHCP on any port of loopback, beside both echo services.
const ALL: &str = "\
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
struct Line {
    time: DateTime<FixedOffset>,
    level: String,
    pid: i32,
    process: String,
    /// Event, message and fields.
    rest: String,
}

impl Line {
    /// `2026-11-21T12:00:00.123+01:00 INFO  [4711 dhcp 0] EVENT message key=value`, to the letter.
    fn parse(line: &str) -> Option<Self> {
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

    fn event(&self) -> &str {
        self.rest.split(' ').next().unwrap_or_default()
    }

    /// The value of a field.
    fn field(&self, key: &str) -> Option<&str> {
        self.rest.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }
}

/// The lines of a text, every one of which must have the documented form.
#[track_caller]
fn lines(text: &str) -> Vec<Line> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {:?}", text.lines().last());
    text.lines().map(|line| Line::parse(line).unwrap_or_else(|| panic!("not a log line: {line:?}"))).collect()
}

/// The peers of all records of one event, sorted. The kernel may give a port a second time, so they are counted.
#[track_caller]
fn peers(lines: &[Line], event: &str) -> Vec<String> {
    let peer = |line: &Line| line.field("peer").unwrap_or_else(|| panic!("no peer: {line:?}")).to_owned();
    sorted(lines.iter().filter(|line| line.event() == event).map(peer))
}

fn sorted(peers: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut peers: Vec<String> = peers.into_iter().collect();
    peers.sort_unstable();
    peers
}

// --- a daemon whose logging is the test's own ------------------------------------------------------------

/// Replaces the section `logging` of a daemon's file.
fn configure(daemon: &Daemon, logging: &str, rest: &str) {
    let own = format!("logging: {{log_file: log/echo-daemon.log, {logging}}}");
    let base = common::BASE.replace("logging: {log_file: log/echo-daemon.log, log_level: DEBUG}", &own);
    assert!(base.contains(&own), "the base has another section");
    fs::write(&daemon.config, format!("{base}{rest}")).unwrap();
}

fn prepare(logging: &str, rest: &str) -> Daemon {
    let daemon = Daemon::prepare("");
    configure(&daemon, logging, rest);
    daemon
}

fn start(logging: &str, rest: &str) -> Daemon {
    let daemon = prepare(logging, rest);
    daemon.run_ok(&["start"]);
    daemon
}

fn log_file(daemon: &Daemon) -> PathBuf {
    daemon.folder.path().join("log/echo-daemon.log")
}

/// Every log file in its folder, the oldest first, whatever its number.
fn whole_log(folder: &Path) -> String {
    let number = |path: &PathBuf| path.extension().and_then(|n| n.to_str()?.parse::<u32>().ok()).unwrap_or(0);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|path| std::cmp::Reverse(number(path)));
    files.into_iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// A TCP client that is echoed one byte and leaves; its address.
fn visit(server: SocketAddr) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let own = stream.local_addr().unwrap().to_string();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    own
}

/// Visits from several threads; all their addresses.
fn visits(server: SocketAddr, threads: usize, each: usize) -> Vec<String> {
    std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..threads)
            .map(|_| scope.spawn(move || (0..each).map(|_| visit(server)).collect::<Vec<_>>()))
            .collect();
        sorted(visitors.into_iter().flat_map(|visitor| visitor.join().unwrap()))
    })
}

fn dhcp_port(daemon: &Daemon) -> u16 {
    let status = daemon.status();
    let endpoints = status["endpoints"].as_array().unwrap();
    let dhcp = endpoints.iter().find(|endpoint| endpoint["service"] == "dhcp").unwrap();
    dhcp["address"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[track_caller]
fn stop(daemon: &Daemon) {
    daemon.run_ok(&["stop", "--timeout", "30s"]);
}

// --- the line --------------------------------------------------------------------------------------------

#[test]
fn line_has_the_documented_form_with_time_pid_and_name_of_the_speaker() {
    let before = Local::now();
    let daemon = Daemon::start(ECHO);
    let server = daemon.endpoint("tcp");
    let (main, worker) = (daemon.pid(), daemon.worker("tcp"));
    let mut stream = TcpStream::connect(server).unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let client = common::children(worker);
    drop(stream);
    daemon.wait_log(&["TCP_CLIENT_DISCONNECTED", &peer]);
    stop(&daemon);
    let after = Local::now();
    let log = lines(&daemon.log());
    let millisecond = chrono::Duration::milliseconds(1);
    for line in &log {
        assert!(
            line.time >= before - millisecond && line.time <= after,
            "not the time of the test: {line:?}"
        );
        assert_eq!(line.time.offset(), before.offset(), "not local time: {line:?}");
    }
    let of =
        |event: &str| log.iter().find(|line| line.event() == event).unwrap_or_else(|| panic!("no {event}"));
    let connected = of("TCP_CLIENT_CONNECTED");
    assert_eq!(connected.rest, format!("TCP_CLIENT_CONNECTED client connected peer={peer}"));
    assert_eq!((connected.level.as_str(), connected.process.as_str()), ("INFO", "tcp"));
    assert_eq!(client, [connected.pid], "the PID is that of the client's own process");
    assert_eq!(of("TCP_CLIENT_DISCONNECTED").field("bytes"), Some("1"));
    let ready = of("DAEMON_READY");
    assert_eq!((ready.pid, ready.process.as_str()), (main, "main"));
    // Times of one speaker never go back.
    let mut last: BTreeMap<i32, DateTime<FixedOffset>> = BTreeMap::new();
    for line in &log {
        let before = last.insert(line.pid, line.time);
        assert!(before.is_none_or(|before| before <= line.time), "{line:?} comes after {before:?}");
    }
}

#[test]
fn dhcp_workers_speak_with_their_number_and_hostile_bytes_stay_out_of_the_log() {
    let daemon = Daemon::start(ALL);
    let port = dhcp_port(&daemon);
    let evil =
        "x\n2026-11-21T12:00:00.123+01:00 INFO  [1 main] DAEMON_STOPPED forged\u{1b}[2J\r\u{2028}\u{202e}";
    let client = Client::new(1, port);
    let options =
        [DhcpOption::Hostname(evil.to_owned()), DhcpOption::ClassIdentifier(evil.as_bytes().to_vec())];
    let mut options = options.to_vec();
    options.push(DhcpOption::ClientIdentifier(evil.as_bytes().to_vec()));
    let offer = client.ask(&client.message(MessageType::Discover, &options)).expect("no offer");
    let Some(DhcpOption::ServerIdentifier(server)) =
        offer.opts().get(dhcproto::v4::OptionCode::ServerIdentifier)
    else {
        panic!("no server identifier")
    };
    options.push(DhcpOption::RequestedIpAddress(offer.yiaddr()));
    options.push(DhcpOption::ServerIdentifier(*server));
    let ack = client.ask(&client.message(MessageType::Request, &options)).expect("no answer");
    assert_eq!(ack.opts().msg_type(), Some(MessageType::Ack));
    // What is no DHCP at all is logged as dropped.
    for rubbish in [&b"\n\n\x1b[31mrubbish"[..], &[0; 300], &[0xff; 1000]] {
        client.socket.send_to(rubbish, client.server).unwrap();
    }
    let granted = daemon.wait_log(&["DHCP_LEASE_GRANTED"]);
    // One line a second for each reason.
    eventually("dropped packets of two kinds", || {
        let log = daemon.log();
        ["reason=too-short", "reason=not-a-request"].iter().all(|reason| log.contains(reason)).then_some(())
    });
    stop(&daemon);
    let log = lines(&daemon.log());
    let granted = Line::parse(&granted).unwrap();
    assert!(["dhcp 0", "dhcp 1"].contains(&granted.process.as_str()), "{granted:?}");
    assert!(granted.field("mac").is_some() && granted.field("xid").is_some_and(|xid| xid.starts_with("0x")));
    assert!(granted.rest.starts_with("DHCP_LEASE_GRANTED leased 127.100."), "{granted:?}");
    assert_eq!(log.iter().filter(|line| line.event() == "DAEMON_STOPPED").count(), 1, "a line was forged");
}

#[test]
fn text_of_many_lines_and_control_characters_is_one_record_on_one_line() {
    let daemon = Daemon::start(ECHO);
    // The report of a bad file: several lines, and a key that would clear a terminal and forge a line.
    let evil = r#""\e[2Jx\n2026-11-21T12:00:00.123+01:00 INFO  [1 main] DAEMON_STOPPED forged": 1"#;
    daemon.write_config(&format!("{evil}\ntcp: {{prot: 1}}\ndhcp: {{enabled: false}}\n"));
    let refused = daemon.run(&["reload"]);
    assert!(!refused.status.success() && text(&refused).lines().count() > 4, "{}", text(&refused));
    daemon.write_config(ECHO);
    stop(&daemon);
    let log = lines(&daemon.log());
    let refusals: Vec<_> = log.iter().filter(|line| line.event() == "CONFIG_REFUSED").collect();
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].rest.contains("tcp.prot: unknown key\\n"), "{refusals:?}");
    assert_eq!(log.iter().filter(|line| line.event() == "DAEMON_STOPPED").count(), 1, "a line was forged");
}

#[test]
fn shutdown_order_shows_as_the_last_lines() {
    let daemon = Daemon::start(ECHO);
    let mut held = TcpStream::connect(daemon.endpoint("tcp")).unwrap();
    held.write_all(b"x").unwrap();
    held.read_exact(&mut [0]).unwrap();
    stop(&daemon);
    let log = lines(&daemon.log());
    let at = |event: &str| {
        log.iter().position(|line| line.event() == event).unwrap_or_else(|| panic!("no {event}"))
    };
    let last = |event: &str| log.iter().rposition(|line| line.event() == event).unwrap();
    assert!(at("DAEMON_STOPPING") < at("WORKER_STOPPED"));
    assert!(
        at("TCP_CLIENT_DISCONNECTED") < at("SOCKETS_CLOSED"),
        "clients are gone before the sockets close"
    );
    assert!(last("WORKER_STOPPED") < at("SOCKETS_CLOSED"));
    let tail: Vec<&str> = log.iter().rev().take(3).map(Line::event).collect();
    assert_eq!(tail, ["DAEMON_STOPPED", "PID_FILE_REMOVED", "SOCKETS_CLOSED"]);
    for name in ["tcp", "udp", "api"] {
        let ended =
            |line: &Line| line.event() == "WORKER_STOPPED" && line.rest.contains(&format!(" {name} of"));
        assert!(log.iter().any(ended), "{name} is not said to have ended");
    }
}

// --- nothing lost, nothing torn --------------------------------------------------------------------------

#[test]
fn many_processes_lose_and_tear_no_line_over_many_rotations() {
    const CLIENTS: u32 = 120;
    let daemon = start("log_level: DEBUG, max_log_size: 4096, backup_count: 1000", ALL);
    let (server, port) = (daemon.endpoint("tcp"), dhcp_port(&daemon));
    let (visitors, leased) = std::thread::scope(|scope| {
        let leases: Vec<_> = (0..3)
            .map(|thread| {
                scope.spawn(move || {
                    let mine = (0..CLIENTS).filter(|n| n % 3 == thread);
                    mine.map(|n| Client::new(n, port).lease().to_string()).collect::<Vec<_>>()
                })
            })
            .collect();
        let visitors = visits(server, 4, 100);
        (visitors, leases.into_iter().flat_map(|t| t.join().unwrap()).collect::<HashSet<_>>())
    });
    stop(&daemon);
    let folder = daemon.folder.path().join("log");
    let log = lines(&whole_log(&folder));
    assert_eq!(peers(&log, "TCP_CLIENT_CONNECTED"), visitors);
    assert_eq!(peers(&log, "TCP_CLIENT_DISCONNECTED"), visitors);
    let granted = |line: &&Line| line.event() == "DHCP_LEASE_GRANTED";
    let words = |line: &Line| line.rest.split(' ').nth(2).unwrap().to_owned();
    let granted: HashSet<String> = log.iter().filter(granted).map(words).collect();
    assert_eq!(granted, leased);
    assert!(!log.iter().any(|line| line.event().starts_with("LOG_")), "something was dropped");
    // Whole files with rising numbers, each rotated as soon as it was longer than the limit.
    let files = fs::read_dir(&folder).unwrap().count();
    assert!(files > 10, "{files} files");
    for n in 1..files {
        let path = folder.join(format!("echo-daemon.log.{n}"));
        let data = fs::metadata(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!((4097..4096 + 1024).contains(&data.len()), "{path:?} has {} bytes", data.len());
        assert_eq!(data.permissions().mode() & 0o777, 0o640);
    }
}

#[test]
fn no_more_than_backup_count_old_files_are_kept() {
    let daemon = start("log_level: DEBUG, max_log_size: 1000, backup_count: 2", ECHO);
    visits(daemon.endpoint("tcp"), 2, 20);
    stop(&daemon);
    let mut names: Vec<_> = fs::read_dir(daemon.folder.path().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // The last line may just have been rotated away.
    names.retain(|name| name != "echo-daemon.log");
    assert_eq!(names, ["echo-daemon.log.1", "echo-daemon.log.2"]);
    assert!(daemon.log().contains("DAEMON_STOPPED"));
}

#[test]
fn sigusr1_reopens_after_a_rename_and_loses_nothing() {
    let daemon = Daemon::start(ECHO);
    let server = daemon.endpoint("tcp");
    let (path, moved) = (log_file(&daemon), daemon.folder.path().join("moved.log"));
    let visitors = std::thread::scope(|scope| {
        let visitors = scope.spawn(|| visits(server, 3, 60));
        daemon.wait_log(&["TCP_CLIENT_CONNECTED"]);
        fs::rename(&path, &moved).unwrap();
        common::signal(daemon.pid(), Signal::SIGUSR1);
        visitors.join().unwrap()
    });
    let last = visit(server);
    eventually("a line in the new file", || {
        fs::read_to_string(&path)
            .unwrap_or_default()
            .contains(&format!("DISCONNECTED client disconnected peer={last}"))
            .then_some(())
    });
    stop(&daemon);
    let (old, new) = (fs::read_to_string(&moved).unwrap(), fs::read_to_string(&path).unwrap());
    assert!(new.contains("LOG_REOPENED") && !old.contains("LOG_REOPENED"));
    let log = lines(&format!("{old}{new}"));
    let all = sorted(visitors.into_iter().chain([last]));
    assert_eq!(peers(&log, "TCP_CLIENT_CONNECTED"), all);
    assert_eq!(peers(&log, "TCP_CLIENT_DISCONNECTED"), all);
}

#[test]
fn reloads_during_heavy_logging_lose_and_double_nothing() {
    let daemon = start("log_level: DEBUG, max_log_size: 20000, backup_count: 1000", ECHO);
    let server = daemon.endpoint("tcp");
    let over = AtomicBool::new(false);
    let visitors = std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        seen.push(visit(server));
                    }
                    seen
                })
            })
            .collect();
        for _ in 0..6 {
            daemon.run_ok(&["reload"]);
        }
        over.store(true, Ordering::Relaxed);
        visitors.into_iter().flat_map(|visitor| visitor.join().unwrap()).collect::<Vec<_>>()
    });
    stop(&daemon);
    let log = lines(&whole_log(&daemon.folder.path().join("log")));
    // The kernel may give a port a second time: counted, not compared as a set.
    let count = |event: &str| log.iter().filter(|line| line.event() == event).count();
    for event in ["TCP_CLIENT_CONNECTED", "TCP_CLIENT_DISCONNECTED"] {
        let mut said = BTreeMap::<&str, Vec<&Line>>::new();
        for line in log.iter().filter(|line| line.event() == event) {
            said.entry(line.field("peer").unwrap()).or_default().push(line);
        }
        said.retain(|peer, lines| lines.len() != visitors.iter().filter(|visitor| visitor == peer).count());
        assert!(said.is_empty() && count(event) == visitors.len(), "{event}: {said:#?}");
    }
    assert_eq!(count("CONFIG_RELOADED"), 6);
    assert_eq!(count("LOG_RECORDS_DROPPED"), 0);
}

#[test]
fn killed_logger_is_replaced_and_what_was_said_meanwhile_is_kept() {
    let daemon = Daemon::start(ECHO);
    let server = daemon.endpoint("tcp");
    let mut visitors = Vec::new();
    for _ in 0..3 {
        let logger = daemon.worker("logger");
        let last = visit(server);
        daemon.wait_log(&["TCP_CLIENT_DISCONNECTED", &format!("peer={last} ")]);
        visitors.push(last);
        common::signal(logger, Signal::SIGKILL);
        visitors.extend(visits(server, 2, 15));
        eventually("a new logger", || {
            let status = daemon.status();
            let mut processes = status["processes"].as_array().unwrap().iter();
            processes.any(|p| p["name"] == "logger" && p["pid"] != logger).then_some(())
        });
    }
    stop(&daemon);
    let log = lines(&daemon.log());
    let visitors = sorted(visitors);
    assert_eq!(peers(&log, "TCP_CLIENT_CONNECTED"), visitors);
    assert_eq!(peers(&log, "TCP_CLIENT_DISCONNECTED"), visitors);
    let died = log.iter().filter(|line| line.event() == "WORKER_DIED" && line.rest.contains("logger"));
    assert_eq!(died.count(), 3);
}

#[test]
fn full_disk_costs_log_lines_only_and_they_are_counted_and_reported() {
    if !is_root("full_disk_costs_log_lines_only_and_they_are_counted_and_reported") {
        return;
    }
    // A disk of 1 MB that the daemon alone sees.
    let daemon = prepare("log_level: INFO, max_log_size: 10MiB", ECHO);
    let folder = daemon.folder.path().join("log");
    fs::create_dir(&folder).unwrap();
    let script = "mount -t tmpfs -o size=1m,mode=755 tmpfs \"$1\" && shift && exec \"$@\"";
    let started = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(&folder)
        .args([common::BINARY, "-c"])
        .arg(&daemon.config)
        .arg("start")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(started.status.success(), "{}", text(&started));
    let seen = PathBuf::from(format!("/proc/{}/root", daemon.pid())).join(folder.strip_prefix("/").unwrap());
    let server = daemon.endpoint("tcp");
    let mut visitors = visits(server, 2, 5);
    fs::write(seen.join("filler"), vec![0; 2 << 20]).expect_err("the disk is not full");
    // The disk's last page may have room for some lines yet: enough are said to fill it.
    visitors.extend(visits(server, 3, 60));
    eventually("an echo while the disk is full", || (visit_or_not(server)).then_some(()));
    let one_more = 1;
    let dropped =
        eventually("drops are counted", || Some(log_dropped(&daemon)).filter(|dropped| *dropped > 10));
    fs::remove_file(seen.join("filler")).unwrap();
    let report = eventually("the report in the log", || {
        let log = fs::read_to_string(seen.join("echo-daemon.log")).unwrap();
        log.lines().find(|line| line.contains("LOG_RECORDS_DROPPED")).map(str::to_owned)
    });
    visitors.extend(visits(server, 2, 5));
    let last = visit(server);
    eventually("the last line", || {
        let log = fs::read_to_string(seen.join("echo-daemon.log")).unwrap();
        log.contains(&format!("client disconnected peer={last}")).then_some(())
    });
    let log = lines(&fs::read_to_string(seen.join("echo-daemon.log")).unwrap());
    let count = |event: &str| log.iter().filter(|line| line.event() == event).count();
    let said = 2 * (visitors.len() + one_more + 1);
    let lost = said - count("TCP_CLIENT_CONNECTED") - count("TCP_CLIENT_DISCONNECTED");
    let reports = log.iter().filter(|line| line.event() == "LOG_RECORDS_DROPPED");
    let reported: usize = reports.map(|line| line.field("count").unwrap().parse::<usize>().unwrap()).sum();
    // The logger's own complaint may be among what was lost.
    assert!((lost..=lost + 5).contains(&reported), "{lost} lines lost, {reported} reported: {report}");
    assert!(lost > 10 && dropped > 10 && log_dropped(&daemon) >= lost, "{lost} lost, {dropped} counted");
    assert!(is_alive(daemon.worker("logger")));
}

fn visit_or_not(server: SocketAddr) -> bool {
    !visit(server).is_empty()
}

/// `echo_daemon_log_dropped_total`, over the control socket.
fn log_dropped(daemon: &Daemon) -> usize {
    usize::try_from(common::echo::metric(daemon, "echo_daemon_log_dropped_total")).unwrap()
}

// --- outputs ---------------------------------------------------------------------------------------------

#[test]
fn json_lines_parse_and_carry_what_the_text_says() {
    let daemon =
        start("log_level: INFO, json: {enabled: true, file: log/echo-daemon.json, level: DEBUG}", ALL);
    let server = daemon.endpoint("tcp");
    let visitors = visits(server, 2, 10);
    let leased = Client::new(7, dhcp_port(&daemon)).lease().to_string();
    daemon.wait_log(&["DHCP_LEASE_GRANTED", &leased]);
    stop(&daemon);
    let text = lines(&daemon.log());
    let json = fs::read_to_string(daemon.folder.path().join("log/echo-daemon.json")).unwrap();
    assert!(json.ends_with('\n'));
    let objects: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    for object in &objects {
        let fields = ["time", "level", "process", "event", "message"];
        assert!(fields.iter().all(|key| object[key].is_string()) && object["pid"].is_u64(), "{object}");
        DateTime::parse_from_rfc3339(object["time"].as_str().unwrap()).unwrap();
    }
    let of = |event: &str| objects.iter().filter(|o| o["event"] == event).cloned().collect::<Vec<_>>();
    let connected = sorted(of("TCP_CLIENT_CONNECTED").iter().map(|o| o["peer"].as_str().unwrap().to_owned()));
    assert_eq!(connected, visitors);
    assert!(of("TCP_CLIENT_DISCONNECTED").iter().all(|o| o["bytes"] == "1" && o["level"] == "INFO"));
    assert!(objects.iter().any(|o| o["level"] == "DEBUG"), "its own level");
    assert!(!text.iter().any(|line| line.level == "DEBUG"), "the file's level");
    assert_eq!(of("DHCP_LEASE_GRANTED")[0]["message"], format!("leased {leased}"));
    let more_than_debug = objects.iter().filter(|o| o["level"] != "DEBUG").count();
    assert_eq!(more_than_debug, text.len(), "both outputs have the same records");
}

#[test]
fn foreground_logs_to_stderr_as_well_as_to_the_file() {
    let daemon = prepare("log_level: INFO", ECHO);
    let errors = daemon.folder.path().join("stderr");
    let mut main = daemon
        .command(&["start", "--foreground"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let pid = i32::try_from(main.id()).unwrap();
    eventually("DAEMON_READY", || {
        fs::read_to_string(log_file(&daemon)).ok()?.contains("DAEMON_READY").then_some(())
    });
    let peer = visit(daemon.endpoint("tcp"));
    daemon.wait_log(&["TCP_CLIENT_DISCONNECTED", &peer]);
    common::signal(pid, Signal::SIGINT);
    assert!(main.wait().unwrap().success());
    let console = fs::read_to_string(&errors).unwrap();
    assert!(!console.contains('\u{1b}'), "colours belong to a terminal only");
    assert_eq!(
        lines(&console).iter().map(|l| &l.rest).collect::<Vec<_>>(),
        lines(&daemon.log()).iter().map(|l| &l.rest).collect::<Vec<_>>()
    );
    assert!(console.contains(&format!("TCP_CLIENT_CONNECTED client connected peer={peer}")));
    assert!(console.trim_end().ends_with("DAEMON_STOPPED stopped"));
}

#[test]
fn syslog_receives_rfc_3164_messages() {
    let daemon = prepare(
        "log_level: ERROR, syslog: {enabled: true, address: syslog.sock, facility: local3, level: INFO}",
        ECHO,
    );
    let path = daemon.folder.path().join("syslog.sock");
    // Addresses of syslog are absolute: a relative one is a mistake that `check` names.
    assert!(text(&daemon.run(&["check"])).contains("logging.syslog.address"));
    let logging = format!(
        "log_level: ERROR, syslog: {{enabled: true, address: \"{}\", facility: local3, level: INFO}}",
        path.display()
    );
    configure(&daemon, &logging, ECHO);
    let socket = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    daemon.run_ok(&["start"]);
    let peer = visit(daemon.endpoint("tcp"));
    let mut buffer = [0; 4096];
    let message = loop {
        let length = socket.recv(&mut buffer).unwrap();
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        // local3 is 19, info is 6.
        assert!(message.starts_with("<158>") || message.starts_with("<156>"), "{message:?}");
        assert!(length <= 1024 && !message.contains('\n'), "{message:?}");
        if message.contains("TCP_CLIENT_CONNECTED") {
            break message;
        }
    };
    let (head, body) = message.split_at(5 + 16);
    let stamp: Vec<&str> = head[5..].split_whitespace().collect();
    assert!(stamp.len() == 3 && stamp[0].len() == 3 && stamp[2].len() == 8, "Mmm dd hh:mm:ss: {message:?}");
    let (tag, rest) = body.split_once("]: ").unwrap();
    let pid: i32 = tag.strip_prefix("echo-daemon[").unwrap().parse().unwrap();
    assert!(pid > 1);
    assert_eq!(rest, format!("tcp: TCP_CLIENT_CONNECTED client connected peer={peer}"));
    assert_eq!(daemon.log(), "", "the file has a level of its own");
    // A syslog daemon that goes away does not hold up anything.
    drop(socket);
    fs::remove_file(&path).unwrap();
    visits(daemon.endpoint("tcp"), 2, 10);
    daemon.wait_log(&["LOG_OUTPUT_FAILED"]);
    stop(&daemon);
}

#[test]
fn log_file_that_is_a_symlink_is_refused_and_nothing_is_left() {
    let daemon = prepare("log_level: INFO", ECHO);
    fs::create_dir(daemon.folder.path().join("log")).unwrap();
    let target = daemon.folder.path().join("target");
    symlink(&target, log_file(&daemon)).unwrap();
    let refused = daemon.run(&["start"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    let said = text(&refused);
    assert!(said.contains("echo-daemon.log") && said.contains("symbolic link"), "{said}");
    assert!(!target.exists() && !daemon.pid_file().exists());
}

// --- levels ----------------------------------------------------------------------------------------------

#[test]
fn levels_hold_for_all_modules_but_those_that_have_their_own() {
    let daemon = start("log_level: ERROR, modules: {\"workers::tcp\": INFO}", ECHO);
    let peer = visit(daemon.endpoint("tcp"));
    daemon.wait_log(&["TCP_CLIENT_DISCONNECTED", &peer]);
    stop(&daemon);
    for line in lines(&daemon.log()) {
        assert!(line.event().starts_with("TCP_CLIENT_"), "{line:?}");
    }
}

#[test]
fn reload_changes_the_level() {
    let daemon = start("log_level: ERROR", ECHO);
    let server = daemon.endpoint("tcp");
    let quiet = visit(server);
    configure(&daemon, "log_level: DEBUG", ECHO);
    daemon.run_ok(&["reload"]);
    let loud = visit(server);
    daemon.wait_log(&["TCP_CLIENT_DISCONNECTED", &format!("peer={loud} ")]);
    configure(&daemon, "log_level: ERROR", ECHO);
    daemon.run_ok(&["reload"]);
    let quiet_again = visit(server);
    stop(&daemon);
    let log = daemon.log();
    let log = lines(&log);
    let connected = peers(&log, "TCP_CLIENT_CONNECTED");
    assert!(connected.contains(&loud), "{connected:?}");
    assert!(!connected.contains(&quiet) && !connected.contains(&quiet_again), "{connected:?}");
    assert!(log.iter().any(|line| line.event() == "CONFIG_RELOADED"));
    assert!(log.iter().all(|line| line.event() != "DAEMON_STOPPING"), "main is quiet again, too");
}
