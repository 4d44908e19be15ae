//! The daemon starts with everything serving and stops with nothing left.

mod common;

use common::{Daemon, ECHO, is_alive, title};

#[test]
fn start_returns_when_all_serve_and_stop_when_all_are_gone() {
    let daemon = Daemon::start(ECHO);
    let main = daemon.pid();
    assert_eq!(title(main).as_deref(), Some("echo-daemon: main"));
    let workers = common::children(main);
    assert!(!workers.is_empty());
    assert!(daemon.run_ok(&["stop"]).contains("stopped"));
    assert!(!is_alive(main) && workers.iter().all(|pid| !is_alive(*pid)));
    assert!(!daemon.pid_file().exists());
}
