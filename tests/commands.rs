//! The commands: their exit codes, what they say, and how the daemon gets on with a service manager.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output, Stdio};

use common::proc::{all_gone, family, named};
use common::traffic::Connection;
use common::{ALL, BINARY, Daemon, ECHO, eventually, is_alive, signal, text};
use nix::sys::signal::Signal;
use serde_json::Value;

#[track_caller]
fn code(output: &Output, wanted: i32) -> String {
    assert_eq!(output.status.code(), Some(wanted), "{}", text(output));
    text(output)
}

#[test]
fn each_outcome_has_its_exit_code() {
    let daemon = Daemon::prepare(ECHO);
    assert_eq!(code(&daemon.run(&["status"]), 3), "not running\n");
    assert_eq!(code(&daemon.run(&["status", "--json"]), 3), "{\"running\": false}\n");
    assert_eq!(code(&daemon.run(&["stop"]), 0), "not running\n");
    assert!(code(&daemon.run(&["reload"]), 1).contains("not running"));
    code(&daemon.run(&["probe"]), 1);
    for usage in [&[][..], &["strat"], &["start", "--nonsense"], &["stop", "--timeout", "soon"], &["leases"]]
    {
        let said = code(&daemon.run(usage), 2);
        assert!(said.contains("Usage") || said.contains("error:"), "{said}");
    }
    code(&daemon.run(&["start"]), 0);
    code(&daemon.run(&["status"]), 0);
    code(&daemon.run(&["reload"]), 0);
    code(&daemon.run(&["probe"]), 0);
    assert!(code(&daemon.run(&["start"]), 1).contains(&format!("PID {}", daemon.pid())));
    assert_eq!(code(&daemon.run(&["stop"]), 0), "stopped\n");
    assert_eq!(code(&daemon.run(&["status"]), 3), "not running\n");
}

#[test]
fn every_command_has_help_that_a_person_can_learn_from() {
    let help = |args: &[&str]| {
        let output = Command::new(BINARY).args(args).stdin(Stdio::null()).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", text(&output));
        code(&output, 0)
    };
    let main = help(&["--help"]);
    assert!(main.contains("Examples:") && main.contains("Exit codes:"), "{main}");
    for command in ["start", "stop", "restart", "reload", "status", "check", "probe", "leases"] {
        assert!(main.contains(&format!("  {command} ")), "{command} in {main}");
        let own = help(&[command, "--help"]);
        for part in ["Usage: echo-daemon", "--config <FILE>", "--set <KEY=VALUE>"] {
            assert!(own.contains(part), "{part} in the help of {command}: {own}");
        }
        assert!(!own.lines().next().unwrap_or_default().is_empty(), "{command} says nothing of itself");
        // Each flag is explained on its line or the next one.
        let lines: Vec<&str> = own.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with('-'))
        {
            let explained = line.trim().split("  ").filter(|part| !part.is_empty()).count() > 1;
            assert!(explained || lines.get(number + 1).is_some_and(|next| !next.trim().is_empty()), "{line}");
        }
    }
    assert!(help(&["leases", "list", "--help"]).contains("Usage: echo-daemon leases list"));
    assert!(help(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn status_tells_processes_ports_pools_and_errors() {
    let daemon = Daemon::start(ALL);
    let main = daemon.pid();
    let udp = named(main, "udp");
    signal(udp[0], Signal::SIGKILL);
    let udp = common::proc::another(main, "udp", &udp);
    let _client = Connection::open(daemon.endpoint("tcp")).unwrap();
    eventually("the client", || (daemon.status()["tcp_clients"] == 1).then_some(()));
    let shown = daemon.run_ok(&["status"]);
    let json = daemon.status();
    let (tcp, port) = (daemon.endpoint("tcp"), daemon.dhcp_port());
    for part in [
        &format!("is running, PID {main}"),
        "generation 1",
        &tcp.to_string(),
        &format!("lo port {port}"),
        "TCP clients: 1",
        "demo",
        "recent warnings and errors:",
        "WORKER_DIED",
    ] {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    assert_eq!(json["pid"], main);
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["uptime_secs"].is_u64());
    let processes = json["processes"].as_array().unwrap();
    let mut names: Vec<&str> = processes.iter().map(|process| process["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["api", "dhcp 0", "dhcp 1", "keeper", "logger", "main", "tcp", "udp"]);
    for process in processes {
        let (name, pid) = (process["name"].as_str().unwrap(), process["pid"].as_i64().unwrap());
        assert_eq!(common::title(i32::try_from(pid).unwrap()), Some(format!("echo-daemon: {name}")));
    }
    let of_udp = processes.iter().find(|process| process["name"] == "udp").unwrap();
    assert_eq!((&of_udp["pid"], &of_udp["restarts"]), (&Value::from(udp), &Value::from(1)));
    assert_eq!(json["pools"][0]["addresses"], 40 * 256 + 241);
    assert!(json["recent_errors"][0].as_str().unwrap().contains("WORKER_DIED"));
}

#[test]
fn status_of_a_daemon_that_does_not_answer_is_a_failure() {
    let daemon = Daemon::start(ECHO);
    fs::remove_file(daemon.folder.path().join("run/control.sock")).unwrap();
    let said = code(&daemon.run(&["status"]), 1);
    assert!(said.contains(&format!("running with PID {}", daemon.pid())), "{said}");
    assert_eq!(code(&daemon.run(&["stop"]), 0), "stopped\n");
}

#[test]
fn check_names_every_mistake_with_its_place() {
    let daemon = Daemon::prepare("tcp: {port: 70000}\nudp:\n  bufer_size: 1\ndhcp: {enabled: maybe}\n");
    let said = code(&daemon.run(&["check"]), 1);
    for part in [
        "config.yaml:4",
        "tcp.port",
        "config.yaml:6",
        "udp.bufer_size",
        "hint",
        "buffer_size",
        "dhcp.enabled",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let json: Value = serde_json::from_slice(&daemon.run(&["check", "--json"]).stdout).unwrap();
    let problems = json["problems"].as_array().unwrap();
    let keys: Vec<&str> = problems.iter().map(|problem| problem["key"].as_str().unwrap()).collect();
    for key in ["tcp.port", "udp.bufer_size", "dhcp.enabled"] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    assert!(problems.iter().all(|problem| problem["severity"] == "error" && problem["line"].is_u64()));
    let said = code(&daemon.run(&["check", "--set", "tcp.prot=1"]), 1);
    assert!(said.contains("--set"), "{said}");
    let good = Daemon::prepare(ALL);
    assert!(code(&good.run(&["check"]), 0).contains("no mistakes found"));
    assert!(!good.folder.path().join("state").exists(), "check makes no folders");
}

#[test]
fn set_wins_over_the_file_and_lasts_over_a_reload() {
    let daemon = Daemon::prepare(ECHO);
    daemon.run_ok(&["start", "--set", "tcp.address=127.0.0.3", "--set", "udp.enabled=false"]);
    for _ in 0..2 {
        assert_eq!(daemon.endpoint("tcp").ip().to_string(), "127.0.0.3");
        assert!(named(daemon.pid(), "udp").is_empty());
        daemon.run_ok(&["reload"]);
    }
}

#[test]
fn restart_starts_anew_and_keeps_a_daemon_whose_next_configuration_is_bad() {
    let daemon = Daemon::start(ECHO);
    let first = family(daemon.pid());
    daemon.run_ok(&["restart"]);
    all_gone(&first);
    let second = family(daemon.pid());
    daemon.write_config("tcp: {prot: 1}\n");
    let said = code(&daemon.run(&["restart"]), 1);
    assert!(said.contains("tcp.prot") && said.contains("nothing has changed"), "{said}");
    assert_eq!(family(daemon.pid()), second);
    daemon.write_config(ECHO);
    daemon.run_ok(&["stop"]);
    // Restarting what does not run starts it.
    daemon.run_ok(&["restart"]);
    assert!(is_alive(daemon.pid()));
}

/// A daemon in the foreground, its terminal in our hands.
fn foreground(daemon: &Daemon, notify: Option<&std::path::Path>) -> Child {
    let mut command = daemon.command(&["start", "--foreground"]);
    if let Some(path) = notify {
        command.env("NOTIFY_SOCKET", path);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn foreground_logs_to_the_terminal_and_ends_on_ctrl_c() {
    let daemon = Daemon::prepare(ECHO);
    let mut child = foreground(&daemon, None);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = lines.find(|line| line.as_ref().unwrap().contains("DAEMON_READY")).unwrap().unwrap();
    assert_eq!(daemon.pid(), child.id().cast_signed(), "it is main itself");
    Connection::open(daemon.endpoint("tcp")).unwrap().ping(b"hello").unwrap();
    signal(daemon.pid(), Signal::SIGINT);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let last = rest.last().unwrap();
    assert!(last.contains("DAEMON_STOPPED"), "{rest:?}");
    let log = daemon.log();
    assert!(log.contains(&ready) && log.contains(last), "the file has the same lines: {log}");
    assert!(!daemon.pid_file().exists());
}

#[test]
fn service_manager_is_told_of_every_step() {
    let daemon = Daemon::prepare(ECHO);
    let path = daemon.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let next = || {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("no word for the service manager");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut child = foreground(&daemon, Some(&path));
    assert!(next().lines().any(|line| line == "READY=1"));
    let main = daemon.pid();
    for (config, applied) in [(ECHO, true), ("tcp: {prot: 1}\n", false)] {
        daemon.write_config(config);
        signal(main, Signal::SIGHUP);
        let reloading = next();
        assert!(reloading.lines().any(|line| line == "RELOADING=1"), "{reloading}");
        assert!(reloading.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading}");
        assert!(next().lines().any(|line| line == "READY=1"));
        daemon.wait_log(&[if applied { "CONFIG_RELOADED" } else { "CONFIG_REFUSED" }]);
    }
    signal(main, Signal::SIGTERM);
    assert!(next().lines().any(|line| line == "STOPPING=1"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn daemonize_false_is_the_foreground() {
    let daemon = Daemon::prepare(ECHO);
    let mut child = daemon
        .command(&["start", "--set", "daemon.daemonize=false"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    daemon.wait_log(&["DAEMON_READY"]);
    assert_eq!(daemon.pid(), child.id().cast_signed());
    daemon.run_ok(&["stop"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn sigusr1_opens_the_log_anew() {
    let daemon = Daemon::start(ECHO);
    let (log, aside) =
        (daemon.folder.path().join("log/echo-daemon.log"), daemon.folder.path().join("log/aside"));
    fs::rename(&log, &aside).unwrap();
    daemon.signal(Signal::SIGUSR1);
    eventually("the new file", || log.exists().then_some(()));
    daemon.run_ok(&["reload"]);
    daemon.wait_log(&["CONFIG_RELOADED"]);
    assert!(!fs::read_to_string(&aside).unwrap().contains("CONFIG_RELOADED"));
}

#[test]
fn configuration_is_found_by_the_environment() {
    let daemon = Daemon::start(ECHO);
    let status = |variable: &str| {
        Command::new(BINARY).arg("status").env("ECHO_DAEMON_CONFIG", variable).output().unwrap()
    };
    assert!(code(&status(daemon.config.to_str().unwrap()), 0).contains(&daemon.pid().to_string()));
}
