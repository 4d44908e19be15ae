//! The runner of the tests that fork: one thread, one test after the other, a line for each.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use daemon_utils::channel::{Channel, Received};
use daemon_utils::process::{Exit, Pid, Process, reap, spawn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Longer than anything takes on the slowest machine; only a broken test waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How a test that did not fail went.
pub(crate) enum Done {
    Passed,
    /// And why.
    Skipped(&'static str),
}

/// A name and what it names.
pub(crate) type Test = (&'static str, fn() -> Done);

/// The tests of a program, each under the name of its function.
macro_rules! tests {
    ($($test:ident),* $(,)?) => { &[$((stringify!($test), $test as fn() -> $crate::common::Done)),*] };
}
pub(crate) use tests;

/// Runs the tests whose names contain the first plain argument, and ends the program.
pub(crate) fn run(tests: &[Test], filter: Option<String>) -> ! {
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests {
        if filter.as_ref().is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        match catch_unwind(AssertUnwindSafe(test)) {
            Ok(Done::Passed) => {
                println!("ok {name}");
                passed += 1;
            }
            Ok(Done::Skipped(why)) => println!("skipped {name}: {why}"),
            Err(_) => {
                println!("FAILED {name}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0));
}

/// The first argument that is no flag. To be read before a title is set.
pub(crate) fn filter() -> Option<String> {
    std::env::args().skip(1).find(|argument| !argument.starts_with('-'))
}

/// Runs `work` in a child and passes if it ends without a panic.
pub(crate) fn in_child(work: impl FnOnce()) {
    let child = spawn(|| {
        work();
        0
    })
    .unwrap();
    assert_eq!(end_of(child), Exit::Code(0));
}

/// Waits for the end of a child.
pub(crate) fn end_of(child: Pid) -> Exit {
    let process = Process::open(child).unwrap();
    assert!(process.wait_gone(DEADLINE).unwrap(), "{child} does not end");
    let (pid, exit) = reap().unwrap().unwrap();
    assert_eq!(pid, child);
    exit
}

/// The next message, waited for; `None` at the end.
pub(crate) fn hear(channel: &Channel) -> Option<String> {
    use std::os::fd::AsFd;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match channel.receive(&mut buffer).unwrap() {
            Received::Message(length) => return Some(String::from_utf8(buffer[..length].to_vec()).unwrap()),
            Received::Closed => return None,
            Received::Nothing => {
                let timeout = PollTimeout::try_from(DEADLINE).unwrap();
                let ready = poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], timeout).unwrap();
                assert_eq!(ready, 1, "nobody speaks");
            }
        }
    }
}

/// The open descriptors of this process.
pub(crate) fn descriptors() -> BTreeSet<i32> {
    let listed: Vec<i32> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    // The listing's own one is closed by now.
    listed.into_iter().filter(|number| fs::read_link(format!("/proc/self/fd/{number}")).is_ok()).collect()
}

/// A line of `/proc/self/status`.
pub(crate) fn status(key: &str) -> String {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key}")).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}
