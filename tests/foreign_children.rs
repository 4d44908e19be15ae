//! A script that ends in `exec echo-daemon start --foreground` leaves its own children to main, such as the reader of its
//! standard error. They are no clients: a stop neither waits for them nor ends them.

mod common;

use std::process::{Command, Stdio};

use common::{BINARY, Daemon, ECHO, PATIENCE, eventually, is_alive, signal};
use nix::sys::signal::Signal;

#[test]
fn children_from_before_the_daemon_outlive_it() {
    let daemon = Daemon::prepare(ECHO);
    let pid_file = daemon.folder.path().join("stranger");
    // As deaf as a shell that waits for a child of its own.
    let script = format!(
        "(trap '' TERM; sleep 1000) & echo $! >{}; exec {BINARY} -c {} start --foreground --set daemon.shutdown_timeout=20s",
        pid_file.display(),
        daemon.config.display()
    );
    let mut main = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    daemon.wait_log(&["DAEMON_READY"]);
    let stranger: i32 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    // A dead tcp worker makes main count the clients that it left behind.
    signal(daemon.worker("tcp"), Signal::SIGKILL);
    daemon.wait_log(&["WORKER_STARTED", "tcp", "generation 1"]);
    assert_eq!(daemon.status()["tcp_clients"], 0);
    let began = std::time::Instant::now();
    signal(daemon.pid(), Signal::SIGTERM);
    let status = eventually("the end of main", || main.try_wait().unwrap());
    let (took, alive) = (began.elapsed(), is_alive(stranger));
    for pid in common::children(stranger).into_iter().chain([stranger]).filter(|pid| is_alive(*pid)) {
        signal(pid, Signal::SIGKILL);
    }
    assert!(alive, "main has ended a process that is none of its own");
    assert!(status.success() && took < PATIENCE / 2, "{status} after {took:?}");
}
