//! The PID file: its lock says whether a daemon runs, never the number in it. Of many starts at once exactly one
//! wins.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Output, Stdio};

use common::proc::{all_gone, family};
use common::{Daemon, ECHO, has, is_alive, is_root, signal, text};
use nix::sys::signal::Signal;

/// A daemon that has not been started, with this in its PID file.
fn with_pid_file(contents: &str) -> Daemon {
    let daemon = Daemon::prepare(ECHO);
    fs::create_dir(daemon.folder.path().join("run")).unwrap();
    fs::write(daemon.pid_file(), contents).unwrap();
    daemon
}

#[track_caller]
fn refused(output: &Output, reason: &str) {
    let words = text(output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(reason), "{reason:?} in {words}");
}

#[test]
fn file_without_a_daemon_is_replaced_whatever_is_in_it() {
    for contents in
        ["", "2147483646\n", "not a number\n", "-1\n", "0\n", "\u{0}\u{0}\u{0}", &"9".repeat(100_000)]
    {
        let daemon = with_pid_file(contents);
        let output = daemon.run(&["stop"]);
        assert_eq!((output.status.code(), text(&output).trim()), (Some(0), "not running"), "{contents:?}");
        assert_eq!(daemon.run(&["status"]).status.code(), Some(3));
        daemon.run_ok(&["start"]);
        assert!(is_alive(daemon.pid()));
        let found = fs::metadata(daemon.pid_file()).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_to_string(daemon.pid_file()).unwrap(), format!("{}\n", daemon.pid()));
        assert!(daemon.run_ok(&["stop"]).contains("stopped"));
    }
}

#[test]
fn foreign_process_is_never_signalled() {
    let mut stranger = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let daemon = with_pid_file(&format!("{}\n", stranger.id()));
    for args in [&["stop"][..], &["stop", "--force", "--timeout", "0s"], &["status"], &["restart"], &["stop"]]
    {
        let output = daemon.run(args);
        assert!(stranger.try_wait().unwrap().is_none(), "{args:?} ended a stranger");
        assert!(!text(&output).contains(&stranger.id().to_string()), "{args:?}: {}", text(&output));
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn link_is_refused_and_its_target_left_alone() {
    let daemon = Daemon::prepare(ECHO);
    let target = daemon.folder.path().join("precious");
    fs::write(&target, "precious\n").unwrap();
    fs::create_dir(daemon.folder.path().join("run")).unwrap();
    symlink(&target, daemon.pid_file()).unwrap();
    let output = daemon.run(&["start"]);
    refused(&output, "is a symbolic link");
    assert!(text(&output).contains("hint: "));
    refused(&daemon.run(&["stop"]), "is a symbolic link");
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious\n");
    assert!(!daemon.folder.path().join("run/control.sock").exists());
    fs::remove_file(daemon.pid_file()).unwrap();
    symlink(daemon.folder.path().join("nowhere"), daemon.pid_file()).unwrap();
    refused(&daemon.run(&["start"]), "is a symbolic link");
    assert!(!daemon.folder.path().join("nowhere").exists());
}

#[test]
fn start_on_a_running_daemon_names_its_pid_and_changes_nothing() {
    let daemon = Daemon::start(ECHO);
    let (main, before) = (daemon.pid(), fs::metadata(daemon.pid_file()).unwrap());
    let tree = family(main);
    refused(&daemon.run(&["start"]), &format!("already running with PID {main}"));
    refused(&daemon.run(&["start", "--foreground"]), &format!("already running with PID {main}"));
    let after = fs::metadata(daemon.pid_file()).unwrap();
    assert_eq!((daemon.pid(), before.ino(), before.mtime()), (main, after.ino(), after.mtime()));
    assert_eq!(family(main), tree);
}

#[test]
fn a_killed_daemons_file_is_stale_at_once() {
    let daemon = Daemon::start(ECHO);
    let main = daemon.pid();
    let tree = family(main);
    signal(main, Signal::SIGKILL);
    common::proc::all_gone(&tree);
    assert_eq!(text(&daemon.run(&["stop"])).trim(), "not running");
    daemon.run_ok(&["start"]);
    assert_ne!(daemon.pid(), main);
}

/// A killed main leaves its file behind, and anybody who may read that may lock it.
#[test]
fn stranger_who_locks_a_stale_file_keeps_no_start_out() {
    const TEST: &str = "stranger_who_locks_a_stale_file_keeps_no_start_out";
    if !is_root(TEST) || !has("setpriv", TEST) || !has("python3", TEST) {
        return;
    }
    for lock in [
        "fcntl.flock(f, fcntl.LOCK_EX)",
        "fcntl.flock(f, fcntl.LOCK_SH)",
        // Open file description lock of the first byte, for reading.
        "fcntl.fcntl(f, 37, struct.pack('hhlll', fcntl.F_RDLCK, 0, 0, 1, 0))",
    ] {
        let daemon = Daemon::start(ECHO);
        let tree = family(daemon.pid());
        signal(daemon.pid(), Signal::SIGKILL);
        all_gone(&tree);
        fs::set_permissions(daemon.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(daemon.pid_file().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = format!(
            "import fcntl, struct, sys, time\nf = open(sys.argv[1])\n{lock}\nprint('locked', flush=True)\ntime.sleep(60)"
        );
        let mut stranger = Command::new("setpriv");
        stranger.args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
            &program,
        ]);
        let mut stranger = stranger.arg(daemon.pid_file()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(stranger.stdout.take().unwrap());
        said.read_line(&mut String::new()).unwrap();
        let output = daemon.run(&["stop"]);
        assert_eq!((output.status.code(), text(&output).trim()), (Some(0), "not running"), "{lock}");
        daemon.run_ok(&["start"]);
        assert_eq!(fs::read_to_string(daemon.pid_file()).unwrap(), format!("{}\n", daemon.pid()));
        assert!(daemon.run_ok(&["stop"]).contains("stopped"));
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}

#[test]
fn file_that_was_replaced_by_hand_is_not_removed() {
    let daemon = Daemon::start(ECHO);
    let main = daemon.pid();
    let tree = family(main);
    fs::remove_file(daemon.pid_file()).unwrap();
    fs::write(daemon.pid_file(), "somebody else's\n").unwrap();
    signal(main, Signal::SIGTERM);
    common::proc::all_gone(&tree);
    assert_eq!(fs::read_to_string(daemon.pid_file()).unwrap(), "somebody else's\n");
}

#[test]
fn daemon_whose_file_was_deleted_or_written_over_is_found_and_stopped() {
    let mut stranger = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    for contents in [None, Some(format!("{}\n", stranger.id())), Some("no number".to_owned())] {
        let daemon = Daemon::start(ECHO);
        let main = daemon.pid();
        match &contents {
            None => fs::remove_file(daemon.pid_file()).unwrap(),
            Some(contents) => fs::write(daemon.pid_file(), contents).unwrap(),
        }
        assert_eq!(daemon.status()["pid"], main, "{contents:?}");
        refused(&daemon.run(&["start"]), &format!("with PID {main}"));
        assert!(daemon.run_ok(&["stop"]).contains("stopped"), "{contents:?}");
        assert!(!is_alive(main), "{contents:?}");
    }
    assert!(stranger.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn of_twenty_racing_starts_exactly_one_wins() {
    for contents in [None, Some("1\n")] {
        let daemon = contents.map_or_else(|| Daemon::prepare(ECHO), with_pid_file);
        let start = || daemon.command(&["start"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let racing: Vec<_> = (0..20).map(|_| start().unwrap()).collect();
        let outputs: Vec<Output> =
            racing.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        let main = daemon.pid();
        let (won, lost): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| output.status.success());
        assert_eq!(won.len(), 1, "{:?}", outputs.iter().map(text).collect::<Vec<_>>());
        assert!(text(won[0]).contains(&format!("PID {main}")));
        for output in lost {
            refused(output, &format!("with PID {main}"));
        }
        assert_eq!(daemon.status()["pid"], main);
        daemon.run_ok(&["stop"]);
    }
}
