//! Syslog on the real daemon and a real rsyslogd, each with its own folder: over its local socket and over UDP, hostile
//! names, long messages, and a restart of rsyslogd meanwhile.

mod common;

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dhcproto::v4::{DhcpOption, MessageType};
use nix::sys::signal::Signal;

use common::dhcp::Client;
use common::log::{ALL, configure, dhcp_port, stop, visit};
use common::{Daemon, eventually, has, signal};

/// A rsyslogd that writes `priority|facility|severity|tag|message` to a file.
struct Rsyslog {
    process: Child,
    out: PathBuf,
}

impl Rsyslog {
    fn start(folder: &Path, input: &str) -> Self {
        let (config, out) = (folder.join("rsyslog.conf"), folder.join("syslog.out"));
        let text = format!(
            "global(workDirectory=\"{0}\")\n{input}\n\
             template(name=\"t\" type=\"string\" string=\"%pri%|%syslogfacility-text%|%syslogseverity-text%|%syslogtag%|%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{1}\" template=\"t\")\n",
            folder.display(),
            out.display()
        );
        fs::write(&config, text).unwrap();
        let process = Command::new("/usr/sbin/rsyslogd")
            .args(["-n", "-f"])
            .arg(&config)
            .arg("-i")
            .arg(folder.join("rsyslog.pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, out }
    }

    fn text(&self) -> String {
        fs::read(&self.out).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    #[track_caller]
    fn wait(&self, parts: &[&str]) -> String {
        eventually(&format!("{parts:?} in syslog: {}", self.text()), || {
            let text = self.text();
            text.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        })
    }

    fn stop(&mut self) {
        signal(i32::try_from(self.process.id()).unwrap(), Signal::SIGTERM);
        self.process.wait().unwrap();
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn local(folder: &Path) -> String {
    let socket = folder.join("dev-log");
    format!(
        "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         input(type=\"imuxsock\" socket=\"{}\" useSysTimeStamp=\"off\" useSpecialParser=\"on\" rateLimit.interval=\"0\")",
        socket.display()
    )
}

fn logging(address: &str) -> String {
    format!(
        "log_level: DEBUG, syslog: {{enabled: true, address: \"{address}\", facility: local3, level: DEBUG}}"
    )
}

/// A name that would forge a line, steer a terminal, turn the text around and hide in it.
const EVIL: &str = "x\n<11>forged\u{1b}[2J\r\u{85}\u{2028}\u{202e}\u{2066}\u{200b}";

#[test]
fn local_rsyslog_gets_every_record_with_facility_and_severity_and_its_restart_holds_up_nothing() {
    if !has(
        "rsyslogd",
        "local_rsyslog_gets_every_record_with_facility_and_severity_and_its_restart_holds_up_nothing",
    ) {
        return;
    }
    let daemon = Daemon::prepare("");
    let folder = daemon.folder.path().to_owned();
    let address = folder.join("dev-log");
    configure(&daemon, &logging(address.to_str().unwrap()), ALL);
    let mut rsyslog = Rsyslog::start(&folder, &local(&folder));
    eventually("the socket of rsyslogd", || address.exists().then_some(()));
    daemon.run_ok(&["start"]);
    let server = daemon.endpoint("tcp");
    let peer = visit(server);
    let line = rsyslog.wait(&["TCP_CLIENT_CONNECTED", &peer]);
    // local3 is 19, info 6: RFC 3164 §4.1.1.
    assert!(line.starts_with("158|local3|info|echo-daemon["), "{line}");
    assert!(line.contains("| tcp: TCP_CLIENT_CONNECTED client connected peer="), "{line}");

    // Hostile names and a message that is too long for RFC 3164.
    let client = Client::new(1, dhcp_port(&daemon));
    let offer = client.ask(&client.message(MessageType::Discover, &[DhcpOption::Hostname(EVIL.to_owned())]));
    client.select(&offer.unwrap()).unwrap();
    rsyslog.wait(&["DHCP_LEASE_GRANTED"]);
    let good = fs::read_to_string(&daemon.config).unwrap();
    fs::write(&daemon.config, format!("{good}\n{}: 1\n", "long".repeat(1000))).unwrap();
    assert!(!daemon.run(&["reload"]).status.success());
    fs::write(&daemon.config, good).unwrap();
    let long = rsyslog.wait(&["CONFIG_REFUSED"]);
    assert!(long.starts_with("155|local3|err|") && long.len() < 1200 && long.contains(['…', '#']), "{long}");

    // rsyslogd restarts; the daemon serves on, and what did not get there is counted and told when it is back.
    rsyslog.stop();
    fs::remove_file(&address).ok();
    for _ in 0..20 {
        visit(server);
    }
    daemon.wait_log(&["LOG_OUTPUT_FAILED", "output=syslog"]);
    let before = rsyslog.text();
    rsyslog = Rsyslog::start(&folder, &local(&folder));
    eventually("the socket of rsyslogd", || address.exists().then_some(()));
    let again = eventually("a record after the restart", || {
        let peer = visit(server);
        let text = rsyslog.text();
        (text.len() > before.len() && text.contains("LOG_RECORDS_DROPPED")).then_some(peer)
    });
    rsyslog.wait(&["TCP_CLIENT_CONNECTED", &again]);
    let told = rsyslog.wait(&["LOG_RECORDS_DROPPED", "output=syslog"]);
    assert!(told.starts_with("156|local3|warning|"), "{told}");
    stop(&daemon);
    rsyslog.wait(&["DAEMON_STOPPED"]);
    for line in rsyslog.text().lines() {
        assert!(line.contains("|local3|") && !line.chars().any(char::is_control), "{line:?}");
        assert!(!line.contains(['\u{202e}', '\u{2066}', '\u{200b}', '\u{2028}']), "{line:?}");
    }
}

#[test]
fn rsyslog_gets_records_over_udp_too() {
    if !has("rsyslogd", "rsyslog_gets_records_over_udp_too") {
        return;
    }
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let daemon = Daemon::prepare("");
    let folder = daemon.folder.path().to_owned();
    configure(&daemon, &logging(&format!("udp://127.0.0.1:{port}")), ALL);
    let input =
        format!("module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")");
    let rsyslog = Rsyslog::start(&folder, &input);
    eventually("rsyslogd", || UdpSocket::bind(("127.0.0.1", port)).is_err().then_some(()));
    daemon.run_ok(&["start"]);
    let peer = visit(daemon.endpoint("tcp"));
    let line = rsyslog.wait(&["TCP_CLIENT_CONNECTED", &peer]);
    assert!(line.starts_with("158|local3|info|echo-daemon["), "{line}");
    stop(&daemon);
}

#[test]
fn shipped_sample_for_rsyslog_is_valid_and_reads_the_json_log() {
    if !has("rsyslogd", "shipped_sample_for_rsyslog_is_valid_and_reads_the_json_log") {
        return;
    }
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/log-shipping/rsyslog.conf");
    let daemon = Daemon::prepare("");
    let folder = daemon.folder.path().to_owned();
    configure(&daemon, "log_level: INFO, json: {enabled: true, file: log/echo-daemon.json}", ALL);
    let out = folder.join("events.out");
    let text = fs::read_to_string(&sample)
        .unwrap()
        .replace("/var/log/echo-daemon.json", folder.join("log/echo-daemon.json").to_str().unwrap())
        .replace("/var/log/echo-daemon-events.log", out.to_str().unwrap());
    let config = folder.join("sample.conf");
    fs::write(&config, format!("global(workDirectory=\"{}\")\n{text}", folder.display())).unwrap();
    let check = Command::new("/usr/sbin/rsyslogd").arg("-N1").arg("-f").arg(&config).output().unwrap();
    assert!(check.status.success(), "{}", common::text(&check));
    daemon.run_ok(&["start"]);
    let process = Command::new("/usr/sbin/rsyslogd")
        .args(["-n", "-f"])
        .arg(&config)
        .arg("-i")
        .arg(folder.join("rsyslog.pid"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let rsyslog = Rsyslog { process, out };
    let leased = Client::new(9, dhcp_port(&daemon)).lease().to_string();
    let line = rsyslog.wait(&["DHCP_LEASE_GRANTED", &leased]);
    assert!(line.contains("mac=02:00:00:00:00:09") && line.contains("subnet=demo"), "{line}");
    stop(&daemon);
}
