//! The way into the background: what the daemon finds itself in, and what its caller hears.

mod common;

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::time::Duration;

use common::{DEADLINE, Done, descriptors, end_of, hear, in_child, status};
use daemon_utils::channel::Channel;
use daemon_utils::daemon::{Report, Side, daemonize, sanitize};
use daemon_utils::process::{Exit, Pid, Process, become_subreaper, children, keep_only, reap, spawn};
use daemon_utils::signal::{Signal, reset_inherited};
use nix::sys::signal::{SigSet, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getpid, getsid};

fn main() {
    let tests = common::tests![
        daemon_is_detached_from_its_caller,
        reason_of_a_failed_start_reaches_the_caller,
        daemon_that_dies_early_is_noticed,
        waiting_for_a_silent_daemon_has_an_end,
        killed_caller_leaves_the_daemon_alone,
        closed_standard_descriptors_become_dev_null,
        open_standard_descriptors_stay,
        inherited_descriptors_and_signals_are_cleaned,
    ];
    common::run(tests, common::filter());
}

/// Calls `daemonize` in a child and gives the verdict of what `daemon` does there.
fn verdict_of(daemon: impl FnOnce(Report), timeout: Option<Duration>) -> Result<String, String> {
    // The daemon becomes our child when its caller ends.
    become_subreaper().unwrap();
    let (ours, theirs) = Channel::pair().unwrap();
    let caller = spawn(|| {
        reset_inherited();
        match daemonize().unwrap() {
            Side::Daemon(report) => daemon(report),
            Side::Caller(verdict) => {
                let words = match verdict.wait(timeout) {
                    Ok(words) => format!("+{words}"),
                    Err(reason) => format!("-{reason}"),
                };
                assert_eq!(children(), [], "the process in between was not reaped");
                theirs.send(words.as_bytes()).unwrap();
            }
        }
        0
    })
    .unwrap();
    let words = hear(&ours).unwrap();
    let mut ended = Vec::new();
    for _ in [caller, caller] {
        let pid = children()[0];
        ended.push((Process::open(pid).unwrap().wait_gone(DEADLINE).unwrap(), reap().unwrap().unwrap().1));
    }
    assert_eq!(ended, [(true, Exit::Code(0)); 2]);
    match words.split_at(1) {
        ("+", words) => Ok(words.to_owned()),
        (_, reason) => Err(reason.to_owned()),
    }
}

fn daemon_is_detached_from_its_caller() -> Done {
    let session = getsid(None).unwrap();
    // A terminal's group and another mask than the daemon's.
    umask(Mode::from_bits_truncate(0o077));
    let folder = std::env::current_dir().unwrap();
    let told = verdict_of(
        |report| {
            let own = getsid(None).unwrap();
            let cwd = fs::read_link("/proc/self/cwd").unwrap();
            let std: Vec<_> =
                (0..3).map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap()).collect();
            let mask = umask(Mode::empty());
            let leader = own == getpid();
            let blocked = status("SigBlk");
            let terminal = File::open("/dev/tty").is_ok();
            let same = own == session;
            report.ready(&format!("{same} {leader} {terminal} {} {std:?} {mask:?} {blocked}", cwd.display()));
        },
        None,
    );
    let null = "\"/dev/null\"";
    let mask = Mode::from_bits_truncate(0o027);
    let wanted = format!("false false false / [{null}, {null}, {null}] {mask:?} 0000000000000000");
    assert_eq!(told, Ok(wanted));
    // Only the daemon changed.
    assert_eq!(std::env::current_dir().unwrap(), folder);
    assert_eq!(umask(Mode::from_bits_truncate(0o022)), Mode::from_bits_truncate(0o077));
    Done::Passed
}

fn reason_of_a_failed_start_reaches_the_caller() -> Done {
    let reason = "port 67 is taken\nhint: stop the other server";
    assert_eq!(verdict_of(|report| report.failed(reason), Some(DEADLINE)), Err(reason.to_owned()));
    Done::Passed
}

fn daemon_that_dies_early_is_noticed() -> Done {
    let told = verdict_of(drop, None);
    assert_eq!(told, Err("the daemon ended before it was ready".to_owned()));
    Done::Passed
}

fn waiting_for_a_silent_daemon_has_an_end() -> Done {
    let (ours, theirs) = Channel::pair().unwrap();
    let listener = &theirs;
    let told = verdict_of(
        |report| {
            // The caller has given up when it lets go of its end.
            assert_eq!(hear(listener).as_deref(), Some("end"));
            report.ready("too late");
        },
        {
            ours.send(b"end").unwrap();
            Some(Duration::ZERO)
        },
    );
    // Whoever is first, waiting ends; both answers are right.
    assert!(told == Ok("too late".to_owned()) || told.unwrap_err().contains("in time"));
    Done::Passed
}

fn killed_caller_leaves_the_daemon_alone() -> Done {
    become_subreaper().unwrap();
    let (ours, theirs) = Channel::pair().unwrap();
    let caller = spawn(|| {
        reset_inherited();
        match daemonize().unwrap() {
            Side::Daemon(report) => {
                keep_only(&[report.as_fd(), theirs.as_fd()]).unwrap();
                theirs.send(getpid().to_string().as_bytes()).unwrap();
                assert_eq!(hear(&theirs).as_deref(), Some("go on"));
                // Nobody hears it, and that is no harm.
                report.ready("ready");
                theirs.send(b"alive").unwrap();
            }
            Side::Caller(verdict) => drop(verdict.wait(None)),
        }
        0
    })
    .unwrap();
    drop(theirs);
    let daemon = Pid::from_raw(hear(&ours).unwrap().parse().unwrap());
    kill(caller, Signal::SIGINT).unwrap();
    assert_eq!(end_of(caller), Exit::Signal(libc::SIGINT));
    ours.send(b"go on").unwrap();
    assert_eq!(hear(&ours).as_deref(), Some("alive"));
    assert_eq!(end_of(daemon), Exit::Code(0));
    Done::Passed
}

fn closed_standard_descriptors_become_dev_null() -> Done {
    for closed in [&[0][..], &[1], &[2], &[0, 1, 2], &[0, 2]] {
        in_child(|| {
            for &number in closed {
                // SAFETY: what is printed from here on may go nowhere; nobody owns these numbers.
                unsafe { libc::close(number) };
            }
            sanitize().unwrap();
            assert_eq!(Vec::from_iter(descriptors()), [0, 1, 2]);
            for number in closed {
                let target = fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
                assert_eq!(target.to_str(), Some("/dev/null"));
            }
        });
    }
    Done::Passed
}

fn open_standard_descriptors_stay() -> Done {
    in_child(|| {
        let targets = || [0, 1, 2].map(|number| fs::read_link(format!("/proc/self/fd/{number}")).unwrap());
        let before = targets();
        sanitize().unwrap();
        assert_eq!(targets(), before);
    });
    Done::Passed
}

fn inherited_descriptors_and_signals_are_cleaned() -> Done {
    in_child(|| {
        for _ in 0..20 {
            // Not close-on-exec and without an owner, as a caller would leave it.
            let number = File::open("/dev/null").unwrap().into_raw_fd();
            // SAFETY: the number is open.
            assert!(unsafe { libc::dup2(number, number + 100) } > 2);
        }
        SigSet::all().thread_block().unwrap();
        sanitize().unwrap();
        assert_eq!(Vec::from_iter(descriptors()), [0, 1, 2]);
        assert_eq!(status("SigBlk"), "0000000000000000");
        assert!(std::io::stderr().as_raw_fd() == 2);
    });
    Done::Passed
}
