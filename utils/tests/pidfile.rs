//! One daemon at a time, among many processes.

mod common;

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use common::{DEADLINE, Done, end_of, hear};
use daemon_utils::channel::Channel;
use daemon_utils::pidfile::{Holder, PidFile, PidFileError, holder};
use daemon_utils::process::{Exit, Pid, Process, die_with_parent, keep_only, reap, spawn};
use daemon_utils::shm;
use nix::unistd::{Uid, User, chown, getpid};

fn main() {
    let tests = common::tests![
        of_twenty_racing_starts_exactly_one_wins,
        starts_and_stops_in_turn_never_overlap,
        killed_holder_leaves_a_stale_file,
        worker_that_closed_its_copy_does_not_hold,
        file_of_another_user_is_replaced,
    ];
    common::run(tests, common::filter());
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.pid");
    (folder, path)
}

/// Waits for all of them, in any order.
fn ends_of(children: &[Pid]) -> Vec<Exit> {
    let held: Vec<Process> = children.iter().map(|&pid| Process::open(pid).unwrap()).collect();
    held.iter()
        .map(|process| {
            assert!(process.wait_gone(DEADLINE).unwrap());
            reap().unwrap().unwrap().1
        })
        .collect()
}

fn of_twenty_racing_starts_exactly_one_wins() -> Done {
    const WON: i32 = 10;
    for contents in [None, Some("1\n"), Some("garbage"), Some("")] {
        let (_folder, path) = folder();
        if let Some(contents) = contents {
            fs::write(&path, contents).unwrap();
        }
        let decided = shm::create("decided", 1).unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let racers: Vec<Pid> = (0..20)
            .map(|_| {
                spawn(|| {
                    keep_only(&[theirs.as_fd()]).unwrap();
                    // The end of the channel is the starting shot.
                    assert_eq!(hear(&theirs), None);
                    let outcome = PidFile::acquire(&path);
                    if let Ok(ours) = &outcome {
                        ours.write(getpid()).unwrap();
                    }
                    decided[0].fetch_add(1, Ordering::SeqCst);
                    match outcome {
                        Ok(_held) => {
                            // Holds it until everybody has tried.
                            while decided[0].load(Ordering::SeqCst) < 20 {
                                std::thread::yield_now();
                            }
                            WON
                        }
                        Err(PidFileError::Running { pid: Some(pid), .. }) => i32::from(pid.as_raw() <= 1),
                        Err(other) => panic!("{other}"),
                    }
                })
                .unwrap()
            })
            .collect();
        drop(theirs);
        drop(ours);
        let exits = ends_of(&racers);
        let won = exits.iter().filter(|&&exit| exit == Exit::Code(WON)).count();
        let lost = exits.iter().filter(|&&exit| exit == Exit::Code(0)).count();
        assert_eq!((won, lost), (1, 19), "{contents:?}: {exits:?}");
    }
    Done::Passed
}

fn starts_and_stops_in_turn_never_overlap() -> Done {
    let (_folder, path) = folder();
    let words = shm::create("inside", 2).unwrap();
    let racers: Vec<Pid> = (0..8)
        .map(|_| {
            spawn(|| {
                for _ in 0..300 {
                    match PidFile::acquire(&path) {
                        Ok(held) => {
                            assert_eq!(words[0].fetch_add(1, Ordering::SeqCst), 0, "two at a time");
                            held.write(getpid()).unwrap();
                            assert!(held.is_ours());
                            words[1].fetch_add(1, Ordering::SeqCst);
                            words[0].fetch_sub(1, Ordering::SeqCst);
                            held.remove().unwrap();
                        }
                        Err(PidFileError::Running { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                0
            })
            .unwrap()
        })
        .collect();
    assert_eq!(ends_of(&racers), [Exit::Code(0); 8]);
    assert!(words[1].load(Ordering::SeqCst) >= 300);
    assert_eq!(holder(&path).unwrap(), Holder::Nobody);
    Done::Passed
}

/// A child that holds the file and waits to be killed.
fn holding(path: &std::path::Path) -> Pid {
    let (ours, theirs) = Channel::pair().unwrap();
    let main = getpid();
    let child = spawn(|| {
        die_with_parent(main).unwrap();
        let held = PidFile::acquire(path).unwrap();
        held.write(getpid()).unwrap();
        theirs.send(b"held").unwrap();
        loop {
            nix::unistd::pause();
        }
    })
    .unwrap();
    assert_eq!(hear(&ours).as_deref(), Some("held"));
    child
}

fn killed_holder_leaves_a_stale_file() -> Done {
    let (_folder, path) = folder();
    let child = holding(&path);
    assert_eq!(holder(&path).unwrap(), Holder::Running(Some(child)));
    Process::open(child).unwrap().signal(daemon_utils::signal::Signal::SIGKILL).unwrap();
    assert_eq!(end_of(child), Exit::Signal(9));
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{child}\n"));
    assert_eq!(holder(&path).unwrap(), Holder::Stale);
    PidFile::acquire(&path).unwrap().remove().unwrap();
    Done::Passed
}

fn worker_that_closed_its_copy_does_not_hold() -> Done {
    let (_folder, path) = folder();
    let (ours, theirs) = Channel::pair().unwrap();
    let held = PidFile::acquire(&path).unwrap();
    held.write(getpid()).unwrap();
    let mut workers = Vec::new();
    for keep in [false, true] {
        let worker = spawn(|| {
            let mut kept = vec![theirs.as_fd()];
            kept.extend(keep.then(|| held.as_fd()));
            keep_only(&kept).unwrap();
            theirs.send(b"forked").unwrap();
            assert_eq!(hear(&theirs).as_deref(), Some("end"));
            0
        });
        workers.push(worker.unwrap());
        assert_eq!(hear(&ours).as_deref(), Some("forked"));
    }
    drop(held);
    // The second one has a copy, and with it the lock.
    assert_eq!(holder(&path).unwrap(), Holder::Running(Some(getpid())));
    Process::open(workers[1]).unwrap().signal(daemon_utils::signal::Signal::SIGKILL).unwrap();
    assert_eq!(end_of(workers[1]), Exit::Signal(9));
    assert_eq!(holder(&path).unwrap(), Holder::Stale);
    ours.send(b"end").unwrap();
    assert_eq!(end_of(workers[0]), Exit::Code(0));
    Done::Passed
}

fn file_of_another_user_is_replaced() -> Done {
    if !Uid::effective().is_root() {
        return Done::Skipped("needs root to give a file away");
    }
    let Some(nobody) = User::from_name("nobody").unwrap() else { return Done::Skipped("no user nobody") };
    let (_folder, path) = folder();
    fs::write(&path, "1\n").unwrap();
    chown(&path, Some(nobody.uid), Some(nobody.gid)).unwrap();
    let theirs = fs::File::open(&path).unwrap();
    let held = PidFile::acquire(&path).unwrap();
    held.write(getpid()).unwrap();
    assert_eq!(holder(&path).unwrap(), Holder::Running(Some(getpid())));
    assert_eq!(std::io::read_to_string(theirs).unwrap(), "1\n");
    Done::Passed
}
