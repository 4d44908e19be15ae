//! What a careless caller hands on does no harm: descriptors, signals, closed standard descriptors, umask, working
//! directory, environment.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use common::proc::{descriptors, family, field};
use common::traffic::Connection;
use common::{ALL, BINARY, Daemon, ECHO, children, eventually, text, title};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};

/// `start` by a shell that first does this; `$D` is the daemon's folder.
fn start_after(daemon: &Daemon, script: &str) -> Output {
    start_with(daemon, script, &[])
}

fn start_with(daemon: &Daemon, script: &str, args: &[&str]) -> Output {
    Command::new("sh")
        .args(["-c", &format!("{script}\nexec \"$@\""), "sh", BINARY, "-c"])
        .arg(&daemon.config)
        .arg("start")
        .args(args)
        .env("D", daemon.folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn serves(daemon: &Daemon) {
    Connection::open(daemon.endpoint("tcp")).unwrap().ping(b"hello").unwrap();
    assert_eq!(fs::read_to_string(daemon.pid_file()).unwrap(), format!("{}\n", daemon.pid()));
    for line in daemon.log().lines() {
        assert!(line.contains(" ["), "torn line: {line:?}");
    }
    let main = daemon.pid();
    assert_eq!(title(main).as_deref(), Some("echo-daemon: main"));
    for pid in family(main) {
        let standard: Vec<_> = descriptors(pid).into_iter().filter(|(number, _)| *number <= 2).collect();
        if !common::is_alive(pid) {
            // A client's process that has ended meanwhile.
            continue;
        }
        assert_eq!(standard, [0, 1, 2].map(|number| (number, "/dev/null".to_owned())), "{:?}", title(pid));
    }
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, text(output));
}

#[test]
fn descriptors_above_two_are_closed_everywhere() {
    let daemon = Daemon::prepare(ALL);
    let (mut read, write) = pipe();
    // Without close-on-exec, the caller's end of a pipe is handed on.
    fcntl(&write, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let script =
        format!("exec 3>$D/three 7</etc/passwd 9>$D/nine; test -e /proc/self/fd/{}", write.as_raw_fd());
    succeeds(&start_after(&daemon, &script));
    drop(write);
    for pid in family(daemon.pid()) {
        let open = descriptors(pid);
        let foreign =
            |target: &str| ["/three", "/nine", "/etc/passwd"].iter().any(|end| target.ends_with(end));
        assert!(!open.iter().any(|(_, target)| foreign(target)), "{:?} holds {open:?}", title(pid));
    }
    // Nobody holds the pipe: whoever waits for its end is not held up.
    assert_eq!(read.read(&mut [0; 8]).unwrap(), 0);
    serves(&daemon);
}

fn pipe() -> (File, OwnedFd) {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    (File::from(read), write)
}

#[test]
fn callers_terminal_pipes_are_let_go() {
    // `output` returns only when the last process that holds stdout or stderr has closed it.
    let daemon = Daemon::prepare(ALL);
    succeeds(&daemon.run(&["start"]));
    serves(&daemon);
}

#[test]
fn ignored_signals_are_listened_to_again() {
    let daemon = Daemon::prepare(ECHO);
    succeeds(&start_after(&daemon, "trap '' TERM INT HUP QUIT CHLD USR1 USR2 PIPE ALRM TSTP"));
    serves(&daemon);
    let main = daemon.pid();
    let ignored = u64::from_str_radix(&field(main, "SigIgn"), 16).unwrap();
    assert_eq!(ignored & !bit(Signal::SIGPIPE) & !C_LIBRARYS_OWN, 0, "ignores {ignored:x}");
    let udp = common::proc::named(main, "udp");
    common::signal(udp[0], Signal::SIGKILL);
    common::proc::another(main, "udp", &udp);
    common::signal(main, Signal::SIGHUP);
    daemon.wait_log(&["CONFIG_RELOADED"]);
    let tree = family(main);
    common::signal(main, Signal::SIGTERM);
    common::proc::all_gone(&tree);
}

/// Signals 32 and 33, which the C library keeps for its threads (nptl(7)) and nobody sends.
const C_LIBRARYS_OWN: u64 = 0b11 << 31;

fn bit(signal: Signal) -> u64 {
    1 << (signal as u64 - 1)
}

#[test]
fn blocked_signals_are_listened_to_again() {
    let daemon = Daemon::prepare(ECHO);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A child inherits the mask of the thread that forks it.
            SigSet::all().thread_block().unwrap();
            let mask = Command::new("grep").args(["SigBlk", "/proc/self/status"]).output().unwrap();
            assert!(!text(&mask).contains("0000000000000000"), "the test blocks nothing: {}", text(&mask));
            succeeds(&daemon.run(&["start"]));
        });
    });
    serves(&daemon);
    let main = daemon.pid();
    for pid in children(main) {
        let blocked = u64::from_str_radix(&field(pid, "SigBlk"), 16).unwrap();
        assert_eq!(
            blocked & !bit(Signal::SIGCHLD) & !bit(Signal::SIGTERM),
            0,
            "{:?} blocks {blocked:x}",
            title(pid)
        );
    }
    let tree = family(main);
    common::signal(main, Signal::SIGTERM);
    common::proc::all_gone(&tree);
}

#[test]
fn closed_standard_descriptors_are_no_trap() {
    for script in ["exec 0<&-", "exec 1>&-", "exec 2>&-", "exec 0<&- 1>&- 2>&-"] {
        let daemon = Daemon::prepare(ALL);
        succeeds(&start_after(&daemon, script));
        serves(&daemon);
        daemon.run_ok(&["reload"]);
        serves(&daemon);
        daemon.run_ok(&["stop"]);
    }
}

#[test]
fn odd_umask_and_folder_do_no_harm() {
    for mask in ["0777", "0", "0277"] {
        let daemon = Daemon::prepare(ALL);
        let there = daemon.folder.path().join("there");
        fs::create_dir(&there).unwrap();
        succeeds(&start_after(&daemon, &format!("cd $D/there; umask {mask}")));
        serves(&daemon);
        assert_eq!(field(daemon.pid(), "Umask"), "0027");
        fs::remove_dir(&there).unwrap();
        let mode =
            |path: &str| fs::metadata(daemon.folder.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("run/echo-daemon.pid"), 0o644, "umask {mask}");
        assert_eq!(mode("run/control.sock"), 0o660, "umask {mask}");
        assert_eq!(mode("state"), 0o750, "umask {mask}");
        assert_eq!(mode("state/leases.db"), 0o640, "umask {mask}");
        assert_eq!(mode("log/echo-daemon.log"), 0o640, "umask {mask}");
        daemon.run_ok(&["stop"]);
    }
}

#[test]
fn folder_that_is_gone_does_no_harm() {
    let daemon = Daemon::prepare(ECHO);
    succeeds(&start_after(&daemon, "mkdir $D/gone; cd $D/gone; rmdir $D/gone"));
    serves(&daemon);
}

#[test]
fn foreground_is_repaired_too() {
    let daemon = Daemon::prepare(ECHO);
    let mut child = Command::new("sh")
        .args([
            "-c",
            "umask 0777; trap '' TERM INT HUP CHLD; exec 0<&- 5</etc/passwd; exec \"$@\"",
            "sh",
            BINARY,
            "-c",
        ])
        .arg(&daemon.config)
        .args(["start", "--foreground"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    daemon.wait_log(&["DAEMON_READY"]);
    let main = child.id().cast_signed();
    assert!(!descriptors(main).iter().any(|(_, target)| target.ends_with("passwd")));
    common::signal(main, Signal::SIGINT);
    assert!(child.wait().unwrap().success());
}

#[test]
fn empty_and_huge_environments_do_no_harm() {
    for script in ["exec env -i \"$@\"", "export X=$(printf %100000d 7); exec \"$@\""] {
        let daemon = Daemon::prepare(ECHO);
        succeeds(&start_after(&daemon, script));
        eventually("title", || (title(daemon.pid()).as_deref() == Some("echo-daemon: main")).then_some(()));
        serves(&daemon);
    }
}
