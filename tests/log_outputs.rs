//! The outputs of the log on the real daemon: JSON lines, console, syslog, each with its own level, changed by a reload.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use chrono::DateTime;
use nix::sys::signal::Signal;
use serde_json::Value;

use common::dhcp::Client;
use common::log::{
    ALL, configure, dhcp_port, lines, log_file, peers, prepare, sorted, start, stop, visit, visits,
};
use common::{ECHO, PATIENCE, eventually, text};

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
    assert!(of("TCP_CLIENT_DISCONNECTED").iter().all(|o| o["bytes"] == 1 && o["level"] == "INFO"));
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
