//! Whatever keeps the daemon from starting is printed where the user typed `start`, the exit code is 1, and nothing is
//! left behind: no process, no PID file, no control socket.
//!
//! This test program is a subreaper: a process that a failed start leaves behind becomes its child. So only one test
//! at a time has children.

mod common;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{ALL, Daemon, ECHO, eventually, text};
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `start` must fail with each of these words, and leave nothing. The words that were printed.
#[track_caller]
fn fails(daemon: &Daemon, args: &[&str], words: &[&str]) -> String {
    let all: Vec<&str> = ["start"].into_iter().chain(args.iter().copied()).collect();
    let output = daemon.run(&all);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(output.stdout.is_empty(), "{}", text(&output));
    for word in words {
        assert!(said.contains(word), "{word:?} in {said}");
    }
    // Main tells the reason as its last act; then it ends, and nobody else is left.
    eventually("end of every process", || match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Err(Errno::ECHILD) => Some(()),
        Ok(WaitStatus::StillAlive) => None,
        other => {
            assert!(other.is_ok(), "{other:?}");
            None
        }
    });
    assert!(!daemon.pid_file().exists(), "a PID file is left: {said}");
    assert!(!daemon.folder.path().join("run/control.sock").exists(), "a control socket is left: {said}");
    assert_eq!(daemon.run(&["status"]).status.code(), Some(3));
    said
}

#[test]
fn port_in_use() {
    let _alone = alone();
    let daemon = Daemon::prepare(ECHO);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    fails(
        &daemon,
        &["--set", &format!("tcp.port={port}")],
        &["TCP echo", &port.to_string(), "hint: another program"],
    );
    fails(&daemon, &["--set", &format!("api.listen=127.0.0.1:{port}")], &["control API", &port.to_string()]);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    fails(&daemon, &["--set", &format!("udp.udp_port={port}")], &["UDP echo", &port.to_string()]);
    fails(&daemon, &["--set", "tcp.address=203.0.113.77"], &["203.0.113.77", "hint: no interface"]);
    // In the foreground likewise.
    fails(&daemon, &["--foreground", "--set", &format!("udp.udp_port={port}")], &["UDP echo"]);
}

#[test]
fn log_that_cannot_be_written() {
    let _alone = alone();
    let daemon = Daemon::prepare(ECHO);
    fs::create_dir_all(daemon.folder.path().join("log/echo-daemon.log")).unwrap();
    fails(&daemon, &[], &["echo-daemon.log"]);
    fs::write(daemon.folder.path().join("file"), "").unwrap();
    let log = daemon.folder.path().join("file/echo-daemon.log");
    fails(&daemon, &["--set", &format!("logging.log_file={}", log.display())], &["file"]);
}

#[test]
fn mistakes_in_the_configuration_are_named_all_at_once() {
    let _alone = alone();
    let daemon = Daemon::prepare("tcp: {prot: 1}\nudp: {buffer_size: no}\ndhcp: {enabled: false}\n");
    fails(&daemon, &[], &["config.yaml", "tcp.prot", "port", "udp.buffer_size"]);
    fs::write(&daemon.config, "tcp: [\n").unwrap();
    fails_without_config(&daemon, &["config.yaml"]);
    fs::remove_file(&daemon.config).unwrap();
    fails_without_config(&daemon, &["config.yaml"]);
}

/// The same where not even `status` can read the file.
#[track_caller]
fn fails_without_config(daemon: &Daemon, words: &[&str]) {
    let output = daemon.run(&["start"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
}

#[test]
fn lease_file_that_is_no_database() {
    let _alone = alone();
    let daemon = Daemon::prepare(ALL);
    let state = daemon.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(daemon.leases(), "these are my notes, not leases\n".repeat(100)).unwrap();
    fs::set_permissions(daemon.leases(), fs::Permissions::from_mode(0o666)).unwrap();
    fails(&daemon, &[], &["leases.db"]);
    assert!(fs::read_to_string(daemon.leases()).unwrap().starts_with("these are my notes"));
}

#[test]
fn something_in_the_way_of_the_control_socket() {
    let _alone = alone();
    let daemon = Daemon::prepare(ECHO);
    let path = daemon.folder.path().join("other.sock");
    fs::write(&path, "a file of somebody").unwrap();
    fails(
        &daemon,
        &["--set", &format!("daemon.control_socket={}", path.display())],
        &["other.sock", "no socket"],
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file of somebody");
}

#[test]
fn token_file_that_is_missing() {
    let _alone = alone();
    let daemon = Daemon::prepare(ECHO);
    let token = daemon.folder.path().join("token");
    let flag = format!("api.token_file={}", token.display());
    fails(&daemon, &["--set", "api.listen=127.0.0.1:0", "--set", &flag], &["token"]);
}

#[test]
fn state_folder_that_the_workers_cannot_use() {
    if !common::is_root("state_folder_that_the_workers_cannot_use") {
        return;
    }
    let _alone = alone();
    let daemon = Daemon::prepare(ALL);
    let state = daemon.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    // Root's or nobody's would be handed over; a third user's is left alone.
    std::os::unix::fs::chown(&state, Some(12_345), Some(12_345)).unwrap();
    fails(&daemon, &[], &["state"]);
}

#[test]
fn worker_that_cannot_start_is_the_reason() {
    if !common::is_root("worker_that_cannot_start_is_the_reason") {
        return;
    }
    let _alone = alone();
    let daemon = Daemon::prepare(ALL);
    // Root with all its powers may write here; the logger, which has none, may not.
    let folder = daemon.folder.path().join("log");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    fails(&daemon, &[], &["logger could not start", "echo-daemon.log"]);
    fails(&daemon, &["--foreground"], &["logger could not start", "echo-daemon.log"]);
}

#[test]
fn unknown_interface_is_only_a_warning() {
    let _alone = alone();
    let daemon = Daemon::prepare(ALL);
    let output = daemon.run(&["start", "--set", "dhcp.interfaces=[lo, nosuch0]"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("interface nosuch0 is missing"), "{}", text(&output));
    daemon.wait_log(&["INTERFACE_DOWN", "nosuch0"]);
    daemon.run_ok(&["stop"]);
    let elsewhere = "dhcp.subnets.demo.interface=nosuch0";
    let output = daemon.run(&["start", "--set", "dhcp.interfaces=[nosuch0]", "--set", elsewhere]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn unknown_user_is_only_a_warning() {
    if !common::is_root("unknown_user_is_only_a_warning") {
        return;
    }
    let _alone = alone();
    let daemon = Daemon::prepare(ECHO);
    let output = daemon.run(&["start", "--set", "daemon.user=nobody-of-this-name"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("nobody-of-this-name"), "{}", text(&output));
    assert_eq!(
        common::proc::field(common::proc::named(daemon.pid(), "udp")[0], "Uid"),
        "65534 65534 65534 65534"
    );
}
