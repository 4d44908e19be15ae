//! The outputs of the log on the real daemon: JSON lines, console, syslog, each with its own level, changed by a reload.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::DateTime;
use dhcproto::v4::{DhcpOption, MessageType, OptionCode, UnknownOption};
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

/// A syslog daemon that takes everything, each message on a line, until it is asked for it.
struct Listener {
    path: std::path::PathBuf,
    over: Arc<AtomicBool>,
    reader: std::thread::JoinHandle<String>,
    _folder: tempfile::TempDir,
}

impl Listener {
    fn new() -> Self {
        let folder = common::folder();
        let path = folder.path().join("syslog.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&over);
        let reader = std::thread::spawn(move || {
            let (mut all, mut buffer) = (String::new(), [0; 4096]);
            loop {
                let last = ending.load(Ordering::Acquire);
                match socket.recv(&mut buffer) {
                    Ok(length) => {
                        all += str::from_utf8(&buffer[..length]).expect("syslog gets UTF-8");
                        all += " \n";
                    }
                    Err(_) if last => return all,
                    Err(_) => {}
                }
            }
        });
        Self { path, over, reader, _folder: folder }
    }

    fn all(self) -> String {
        self.over.store(true, Ordering::Release);
        self.reader.join().unwrap()
    }
}

/// Names that would forge a line, steer a terminal, turn the text around or hide in it, and what is no UTF-8.
const EVIL: &[u8] =
    b"x\n\"},{\"event\":\"forged\"}\x1b[2J\r\x7f\xc2\x9b31m\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa6\xe2\x80\x8b\xff\xfe\xc3";

#[test]
fn hostile_names_reach_no_output_raw() {
    let listener = Listener::new();
    let path = listener.path.clone();
    let daemon = prepare(
        &format!(
            "log_level: TRACE, json: {{enabled: true, file: log/echo-daemon.json, level: TRACE}}, \
             syslog: {{enabled: true, address: \"{}\", level: TRACE}}",
            path.display()
        ),
        ALL,
    );
    let errors = daemon.folder.path().join("console");
    let mut command = daemon.command(&["start", "--foreground"]);
    let mut main = command.stderr(fs::File::create(&errors).unwrap()).stdout(Stdio::null()).spawn().unwrap();
    daemon.wait_log(&["DAEMON_READY"]);
    let port = dhcp_port(&daemon);
    let client = Client::new(1, port);
    let codes = [12, 60, 61, 77, 81, 82, 43, 56].map(OptionCode::from);
    let evil: Vec<_> =
        codes.iter().map(|code| DhcpOption::Unknown(UnknownOption::new(*code, EVIL.to_vec()))).collect();
    for kind in [MessageType::Discover, MessageType::Inform, MessageType::Decline] {
        client.send(&client.message(kind, &evil));
    }
    client.socket.send_to(EVIL, client.server).unwrap();
    let honest = Client::new(2, port);
    let named = [DhcpOption::Hostname(String::from_utf8_lossy(EVIL).into_owned())];
    let offer = honest.ask(&honest.message(MessageType::Discover, &named)).unwrap();
    honest.select(&offer).unwrap();
    daemon.wait_log(&["DHCP_LEASE_GRANTED", "02:00:00:00:00:02"]);
    common::signal(daemon.pid(), Signal::SIGTERM);
    assert!(main.wait().unwrap().success());
    let syslog = listener.all();
    let read =
        |path: std::path::PathBuf| String::from_utf8(fs::read(path).unwrap()).expect("outputs are UTF-8");
    let outputs =
        [daemon.log(), read(daemon.folder.path().join("log/echo-daemon.json")), read(errors), syslog];
    for output in outputs {
        assert!(output.contains("DHCP_LEASE_GRANTED"), "{output}");
        assert!(!output.contains("event\":\"forged\""), "{output}");
        let raw = |c: char| (c.is_control() && c != '\n') || "\u{2028}\u{202e}\u{2066}\u{200b}".contains(c);
        assert_eq!(output.chars().find(|c| raw(*c)), None, "{output:?}");
    }
}

#[test]
fn every_output_has_a_level_of_its_own_and_a_reload_changes_each() {
    let listener = Listener::new();
    let path = listener.path.clone();
    let logging = |file: &str, json: &str, syslog: &str, modules: &str| {
        format!(
            "log_level: {file}, json: {{enabled: true, file: log/echo-daemon.json, level: {json}}}, \
             syslog: {{enabled: true, address: \"{}\", level: {syslog}}}, modules: {modules}",
            path.display()
        )
    };
    let daemon = start(&logging("ERROR", "INFO", "ERROR", "{}"), ECHO);
    let server = daemon.endpoint("tcp");
    let json_file = daemon.folder.path().join("log/echo-daemon.json");
    let json = || fs::read_to_string(&json_file).unwrap();
    let said = |text: &str, peer: &str| {
        text.contains(&format!("{peer}\"")) || text.contains(&format!("peer={peer} "))
    };
    let first = visit(server);
    eventually("a line in JSON", || said(&json(), &first).then_some(()));
    configure(&daemon, &logging("INFO", "ERROR", "INFO", "{}"), ECHO);
    daemon.run_ok(&["reload"]);
    let second = visit(server);
    daemon.wait_log(&["TCP_CLIENT_DISCONNECTED", &format!("peer={second} ")]);
    // A level of a module holds in every output, whatever its own is.
    configure(&daemon, &logging("INFO", "INFO", "INFO", "{\"workers::tcp\": ERROR}"), ECHO);
    daemon.run_ok(&["reload"]);
    let third = visit(server);
    stop(&daemon);
    let syslog = listener.all();
    let table = [&first, &second, &third]
        .map(|peer| [said(&daemon.log(), peer), said(&json(), peer), said(&syslog, peer)]);
    assert_eq!(table, [[false, true, false], [true, false, true], [false, false, false]]);
}
