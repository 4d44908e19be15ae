//! The log of the real daemon: one record is one whole line in the documented form, from the process that spoke,
//! and none is lost: over rotations, reopened files, reloads, a killed logger, a full disk and a slow one.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, FixedOffset, Local};
use dhcproto::v4::{DhcpOption, MessageType};
use nix::sys::signal::Signal;

use common::dhcp::Client;
use common::log::{
    ALL, Line, dhcp_port, lines, log_file, peers, prepare, sorted, start, stop, visit, visits, whole_log,
};
use common::strace::Strace;
use common::{Daemon, ECHO, eventually, has, is_alive, is_root, text};

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

#[test]
fn slow_disk_holds_nobody_up_and_loses_no_line() {
    const TEST: &str = "slow_disk_holds_nobody_up_and_loses_no_line";
    if !has("strace", TEST) || !is_root(TEST) {
        return;
    }
    let daemon = start("log_level: INFO", ECHO);
    let server = daemon.endpoint("tcp");
    let to = daemon.folder.path().join("trace");
    // Each write takes ten minutes.
    let slow = ["-e", "trace=write,writev", "-e", "inject=write,writev:delay_enter=600000000"];
    let strace =
        Strace::attach(&[daemon.worker("logger")], &[&slow[..], &["-o", to.to_str().unwrap()]].concat());
    let visitors = visits(server, 4, 100);
    let written = peers(&lines(&daemon.log()), "TCP_CLIENT_CONNECTED").len();
    assert!(written < visitors.len(), "{written} lines are there: the disk was not slow");
    assert_eq!(daemon.status()["pid"], daemon.pid());
    strace.finish();
    eventually("all lines", || {
        let log = lines(&daemon.log());
        (peers(&log, "TCP_CLIENT_CONNECTED") == visitors
            && peers(&log, "TCP_CLIENT_DISCONNECTED") == visitors)
            .then_some(())
    });
    assert_eq!(log_dropped(&daemon), 0);
}

fn visit_or_not(server: SocketAddr) -> bool {
    !visit(server).is_empty()
}

/// `echo_daemon_log_dropped_total`, over the control socket.
fn log_dropped(daemon: &Daemon) -> usize {
    usize::try_from(common::echo::metric(daemon, "echo_daemon_log_dropped_total")).unwrap()
}
