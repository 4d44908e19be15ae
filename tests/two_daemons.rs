//! What is one daemon's is not taken by another: its leases, its control socket. And what was one user's is handed
//! to the next.

mod common;

use common::{Daemon, eventually, is_alive, is_root, text};

const DHCP: &str = "\
tcp: {enabled: false}
udp: {enabled: false}
dhcp:
  interfaces: [lo]
  port: 0
  subnets: {demo: {network: 127.0.0.0/8, pools: {main: {range: 127.100.0.10-127.100.0.20}}}}
";

fn serves(daemon: &Daemon) {
    assert!(daemon.run_ok(&["probe"]).contains("leased 127.100.0."));
}

#[test]
fn second_daemon_on_the_same_leases_is_refused() {
    let daemon = Daemon::start(DHCP);
    let paths = ["daemon.pid_file=run/other.pid", "daemon.control_socket=run/other.sock"];
    let output = daemon.run(&["start", "--set", paths[0], "--set", paths[1]]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains(&format!("already running with PID {}", daemon.pid())),
        "{}",
        text(&output)
    );
    assert!(!daemon.folder.path().join("run/other.pid").exists());
    serves(&daemon);
}

#[test]
fn second_daemon_does_not_take_the_control_socket() {
    let daemon = Daemon::start(DHCP);
    let paths = ["daemon.pid_file=run/other.pid", "daemon.state_dir=other-state"];
    let output = daemon.run(&["start", "--set", paths[0], "--set", paths[1]]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("another daemon listens"), "{}", text(&output));
    serves(&daemon);
}

#[test]
fn control_socket_that_a_killed_daemon_left_is_replaced() {
    let daemon = Daemon::start(DHCP);
    let main = daemon.pid();
    common::signal(main, nix::sys::signal::Signal::SIGKILL);
    eventually("the end of main", || (!is_alive(main)).then_some(()));
    daemon.run_ok(&["start"]);
    serves(&daemon);
}

#[test]
fn leases_of_the_user_that_stood_in_are_handed_to_the_one_that_is_wanted() {
    if !is_root("leases_of_the_user_that_stood_in_are_handed_to_the_one_that_is_wanted") {
        return;
    }
    let daemon = Daemon::start(DHCP);
    serves(&daemon);
    let leases = daemon.run_ok(&["leases", "list", "--csv"]);
    daemon.run_ok(&["stop"]);
    daemon.run_ok(&["start", "--set", "daemon.user=daemon"]);
    serves(&daemon);
    let now = daemon.run_ok(&["leases", "list", "--csv"]);
    // Address and hardware address: a release may have come in between.
    let names = |line: &str| line.split(',').take(2).collect::<Vec<_>>().join(",");
    assert!(leases.lines().all(|line| now.contains(&names(line))), "{leases}\n{now}");
}
