//! A daemon is found, and told apart, whatever has become of its files.

mod common;

use std::fs;
use std::process::Stdio;

use common::{Daemon, ECHO, is_alive, text};

#[test]
fn daemon_whose_pid_file_is_gone_or_overwritten_is_stopped_all_the_same() {
    for spoil in
        [|path: &std::path::Path| fs::remove_file(path), |path: &std::path::Path| fs::write(path, "hello 1")]
    {
        let daemon = Daemon::start(ECHO);
        let main = daemon.pid();
        spoil(&daemon.pid_file()).unwrap();
        let again = daemon.run(&["start"]);
        assert_eq!(again.status.code(), Some(1));
        assert!(text(&again).contains(&main.to_string()), "{}", text(&again));
        assert!(daemon.run_ok(&["stop"]).contains("stopped"));
        assert!(!is_alive(main));
    }
}

#[test]
fn file_that_is_no_yaml_any_more_does_not_keep_the_daemon_from_being_found() {
    let daemon = Daemon::start(ECHO);
    let main = daemon.pid();
    daemon.write_config("tcp:\n\tport: 1\n");
    assert!(daemon.run_ok(&["status"]).contains(&main.to_string()));
    let refused = daemon.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("Configuration refused"), "{}", text(&refused));
    assert!(daemon.run_ok(&["stop"]).contains("stopped"));
}

#[test]
fn reload_with_another_file_or_a_value_is_refused() {
    let daemon = Daemon::start(ECHO);
    let other = daemon.folder.path().join("other.yaml");
    fs::copy(&daemon.config, &other).unwrap();
    let refused = daemon.run(&["reload", "-c", &other.display().to_string()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("was started with"), "{}", text(&refused));
    let refused = daemon.run(&["reload", "--set", "tcp.max_clients=3"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("no effect on a reload"), "{}", text(&refused));
    assert_eq!(daemon.status()["generation"], 1);
}

#[test]
fn command_whose_reader_has_gone_tells_the_truth_by_its_exit_code() {
    let daemon = Daemon::prepare(ECHO);
    for args in [&["start"][..], &["status"], &["check"], &["probe"], &["stop"]] {
        let mut child = daemon.command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
    }
}
