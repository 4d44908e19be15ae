//! Forks, signals, descriptors, titles: what a child inherits and how it ends.

mod common;

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{DEADLINE, Done, descriptors, end_of, hear, in_child, status};
use daemon_utils::channel::Channel;
use daemon_utils::process::{
    Exit, PANICKED, Pid, Process, become_subreaper, brief, children, descendants, die_with_parent, keep_only,
    lifeline, reap, spawn, spawn_fast, wait,
};
use daemon_utils::signal::{Signal, Signals, ignore_in_worker, reset_inherited};
use daemon_utils::{shm, title};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, kill, raise};
use nix::unistd::{getpid, pause};

fn main() {
    let filter = common::filter();
    title::init();
    let tests = common::tests![
        child_ends_with_the_code_of_its_work,
        child_that_panics_yields_101,
        brief_child_that_panics_yields_101_with_and_without_an_unwinder,
        killed_child_is_told_by_its_signal,
        nobody_to_reap_is_no_error,
        signals_are_blocked_over_the_fork,
        early_sigterm_does_not_kill_a_worker,
        inherited_signal_state_is_reset,
        blocked_signals_are_read_from_the_descriptor,
        only_kept_descriptors_stay_open,
        descriptors_close_without_close_range_too,
        lifeline_tells_children_that_main_is_gone,
        child_dies_with_its_parent,
        child_whose_parent_is_gone_already_ends,
        orphans_come_to_the_subreaper,
        shared_words_are_shared_over_forks,
        title_shows_exactly_in_cmdline,
        environment_survives_the_title,
    ];
    common::run(tests, filter);
}

fn child_ends_with_the_code_of_its_work() -> Done {
    assert_eq!(end_of(spawn(|| 7).unwrap()), Exit::Code(7));
    assert_eq!(end_of(spawn_fast(|| 8).unwrap()), Exit::Code(8));
    let child = spawn(|| 9).unwrap();
    assert_eq!(wait(child).unwrap(), Exit::Code(9));
    assert_eq!(wait(child).unwrap_err().raw_os_error(), Some(libc::ECHILD));
    Done::Passed
}

fn child_that_panics_yields_101() -> Done {
    let child = spawn(|| {
        std::panic::set_hook(Box::new(|_| {}));
        panic!("on purpose")
    });
    assert_eq!(end_of(child.unwrap()), Exit::Code(PANICKED));
    Done::Passed
}

fn brief_child_that_panics_yields_101_with_and_without_an_unwinder() -> Done {
    let end_of_panic = || wait(spawn_fast(|| panic!("on purpose")).unwrap()).unwrap();
    // In a child, since neither the hook nor the lighter forks can be taken back.
    let child = spawn(|| {
        std::panic::set_hook(Box::new(|_| {}));
        let unwound = end_of_panic();
        brief::lighten_forks();
        i32::from((unwound, end_of_panic()) != (Exit::Code(PANICKED), Exit::Code(PANICKED)))
    });
    assert_eq!(end_of(child.unwrap()), Exit::Code(0));
    Done::Passed
}

fn killed_child_is_told_by_its_signal() -> Done {
    // A real-time signal too, which has no name.
    for number in [libc::SIGKILL, libc::SIGRTMIN() + 5] {
        let main = getpid();
        let child = spawn(|| {
            reset_inherited();
            die_with_parent(main).unwrap();
            loop {
                pause();
            }
        })
        .unwrap();
        // SAFETY: signals a child of ours that nobody has reaped.
        unsafe { libc::kill(child.as_raw(), number) };
        assert_eq!(end_of(child), Exit::Signal(number));
    }
    Done::Passed
}

fn nobody_to_reap_is_no_error() -> Done {
    assert_eq!(reap().unwrap(), None);
    let (ours, theirs) = Channel::pair().unwrap();
    let child = spawn(|| {
        keep_only(&[theirs.as_fd()]).unwrap();
        i32::from(hear(&theirs).is_some())
    })
    .unwrap();
    assert_eq!(reap().unwrap(), None);
    assert_eq!(children(), [child]);
    drop(ours);
    drop(theirs);
    assert_eq!(end_of(child), Exit::Code(0));
    assert_eq!(children(), []);
    Done::Passed
}

fn signals_are_blocked_over_the_fork() -> Done {
    let before = SigSet::thread_get_mask().unwrap();
    in_child(|| {
        let mask = SigSet::thread_get_mask().unwrap();
        assert!(mask.contains(Signal::SIGTERM) && mask.contains(Signal::SIGCHLD));
        ignore_in_worker();
        assert_eq!(status("SigBlk"), "0000000000000000");
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGTSTP] {
            raise(signal).unwrap();
        }
    });
    assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    Done::Passed
}

fn early_sigterm_does_not_kill_a_worker() -> Done {
    let (ours, theirs) = Channel::pair().unwrap();
    let child = spawn(|| {
        assert_eq!(hear(&theirs).as_deref(), Some("signalled"));
        assert_ne!(status("ShdPnd"), "0000000000000000");
        ignore_in_worker();
        0
    })
    .unwrap();
    kill(child, Signal::SIGTERM).unwrap();
    ours.send(b"signalled").unwrap();
    assert_eq!(end_of(child), Exit::Code(0));
    Done::Passed
}

fn inherited_signal_state_is_reset() -> Done {
    in_child(|| {
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
            // SAFETY: no handler is installed.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }.unwrap();
        }
        // SAFETY: no handler is installed.
        unsafe { libc::signal(libc::SIGRTMIN(), libc::SIG_IGN) };
        reset_inherited();
        assert_eq!(status("SigBlk"), "0000000000000000");
        // Numbers 32 and 33 belong to the C library's threads.
        let ignored = u64::from_str_radix(&status("SigIgn"), 16).unwrap() & !(0b11 << 31);
        assert_eq!(ignored, 1 << (libc::SIGPIPE - 1));
    });
    Done::Passed
}

fn blocked_signals_are_read_from_the_descriptor() -> Done {
    in_child(|| {
        reset_inherited();
        let signals = Signals::block(&[Signal::SIGTERM, Signal::SIGHUP]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        raise(Signal::SIGTERM).unwrap();
        raise(Signal::SIGTERM).unwrap();
        raise(Signal::SIGHUP).unwrap();
        let ready = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap();
        assert_eq!(ready, 1);
        let mut seen = [signals.next().unwrap().unwrap(), signals.next().unwrap().unwrap()];
        seen.sort_unstable();
        assert_eq!(seen, [Signal::SIGHUP, Signal::SIGTERM]);
        assert_eq!(signals.next().unwrap(), None);
    });
    Done::Passed
}

fn only_kept_descriptors_stay_open() -> Done {
    in_child(close_all_but_two);
    in_child(|| {
        // A number far out, and the standard ones named as well.
        let far = File::open("/dev/null").unwrap();
        // SAFETY: 900 is not open; the copy is closed by number alone.
        assert_eq!(unsafe { libc::dup2(far.as_raw_fd(), 900) }, 900);
        keep_only(&[far.as_fd(), std::io::stderr().as_fd(), far.as_fd()]).unwrap();
        assert_eq!(Vec::from_iter(descriptors()), [0, 1, 2, far.as_raw_fd()]);
    });
    Done::Passed
}

fn descriptors_close_without_close_range_too() -> Done {
    in_child(|| {
        deny_close_range();
        close_all_but_two();
    });
    Done::Passed
}

fn close_all_but_two() {
    let files: Vec<i32> = (0..6).map(|_| File::open("/dev/null").unwrap().into_raw_fd()).collect();
    // SAFETY: both are open until the end of this process and owned by nobody.
    let kept = [4, 1].map(|index: usize| unsafe { std::os::fd::BorrowedFd::borrow_raw(files[index]) });
    keep_only(&kept).unwrap();
    assert_eq!(Vec::from_iter(descriptors()), [0, 1, 2, files[1], files[4]]);
}

/// As on a kernel before 5.9: a seccomp filter answers `close_range(2)` with ENOSYS.
fn deny_close_range() {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let number = u32::try_from(libc::SYS_close_range).unwrap();
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    nix::sys::prctl::set_no_new_privs().unwrap();
    // SAFETY: the program and its filter outlive the call, which copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0);
}

fn lifeline_tells_children_that_main_is_gone() -> Done {
    let (read, write) = lifeline().unwrap();
    let child = spawn(|| {
        keep_only(&[read.as_fd()]).unwrap();
        let timeout = PollTimeout::try_from(DEADLINE).unwrap();
        let mut polled = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, timeout).unwrap(), 1);
        assert!(polled[0].revents().unwrap().contains(PollFlags::POLLHUP));
        0
    })
    .unwrap();
    let process = Process::open(child).unwrap();
    assert!(!process.wait_gone(Duration::from_millis(20)).unwrap());
    drop(write);
    assert_eq!(end_of(child), Exit::Code(0));
    Done::Passed
}

/// A child of ours, and a child of that one, which runs `grandchild`.
struct Family {
    child: Pid,
    grandchild: Pid,
    /// The grandchild, held.
    held: Process,
    /// Both end when this does, so a failed test leaves nobody behind.
    _channel: Channel,
}

fn family(grandchild: impl FnOnce(Pid)) -> Family {
    become_subreaper().unwrap();
    let (ours, theirs) = Channel::pair().unwrap();
    let child = spawn(|| {
        keep_only(&[theirs.as_fd()]).unwrap();
        let (parent, channel) = (getpid(), &theirs);
        spawn(move || {
            grandchild(parent);
            channel.send(getpid().to_string().as_bytes()).unwrap();
            i32::from(hear(channel).is_some())
        })
        .unwrap();
        i32::from(hear(channel).is_some())
    })
    .unwrap();
    let grandchild = Pid::from_raw(hear(&ours).unwrap().parse().unwrap());
    Family { child, grandchild, held: Process::open(grandchild).unwrap(), _channel: ours }
}

fn child_dies_with_its_parent() -> Done {
    let Family { child, grandchild, held, _channel } = family(|parent| die_with_parent(parent).unwrap());
    assert_eq!(descendants(getpid()), [child, grandchild]);
    kill(child, Signal::SIGKILL).unwrap();
    assert!(held.wait_gone(DEADLINE).unwrap());
    assert!(Process::open(child).unwrap().wait_gone(DEADLINE).unwrap());
    let mut ended = [reap().unwrap().unwrap(), reap().unwrap().unwrap()];
    ended.sort_unstable_by_key(|(pid, _)| *pid != child);
    assert_eq!(ended, [(child, Exit::Signal(9)), (grandchild, Exit::Signal(9))]);
    Done::Passed
}

fn child_whose_parent_is_gone_already_ends() -> Done {
    let child = spawn(|| {
        die_with_parent(getpid()).unwrap();
        0
    });
    assert_eq!(end_of(child.unwrap()), Exit::Code(1));
    Done::Passed
}

fn orphans_come_to_the_subreaper() -> Done {
    let Family { child, grandchild, held, _channel } = family(|_| {});
    assert_eq!(children(), [child]);
    kill(child, Signal::SIGKILL).unwrap();
    assert_eq!(end_of(child), Exit::Signal(9));
    assert_eq!(children(), [grandchild]);
    held.signal(Signal::SIGKILL).unwrap();
    assert_eq!(end_of(grandchild), Exit::Signal(9));
    assert_eq!(descendants(getpid()), []);
    Done::Passed
}

fn shared_words_are_shared_over_forks() -> Done {
    let words = shm::create("test", 4).unwrap();
    let workers: Vec<Pid> = (0..4)
        .map(|_| {
            spawn(|| {
                for _ in 0..10_000 {
                    words[3].fetch_add(1, Ordering::Relaxed);
                }
                0
            })
            .unwrap()
        })
        .collect();
    for pid in workers {
        assert!(Process::open(pid).unwrap().wait_gone(DEADLINE).unwrap());
        assert!(reap().unwrap().is_some());
    }
    assert_eq!(words[3].load(Ordering::Relaxed), 40_000);
    Done::Passed
}

fn title_shows_exactly_in_cmdline() -> Done {
    let before = fs::read("/proc/self/cmdline").unwrap();
    let environment = fs::read("/proc/self/environ").unwrap().len();
    let room = before.len() + environment - 1;
    in_child(|| {
        // Shorter than the old command line, as long, longer, and again short.
        for length in [1, 11, before.len() - 2, before.len() - 1, before.len(), before.len() + 5, 3] {
            let text = "x".repeat(length);
            title::set(&text);
            assert_eq!(fs::read("/proc/self/cmdline").unwrap(), format!("{text}\0").as_bytes());
        }
        title::set(&"y".repeat(100_000));
        let shown = fs::read("/proc/self/cmdline").unwrap();
        let text = shown.strip_suffix(b"\0").unwrap_or(&shown);
        assert_eq!(text.len(), room.min(4095));
        assert!(text.iter().all(|&byte| byte == b'y'));
    });
    // A child's title is its own.
    assert_eq!(fs::read("/proc/self/cmdline").unwrap(), before);
    Done::Passed
}

fn environment_survives_the_title() -> Done {
    let before: Vec<_> = std::env::vars_os().collect();
    assert!(!before.is_empty());
    in_child(|| {
        title::set(&"z".repeat(100_000));
        assert_eq!(std::env::vars_os().collect::<Vec<_>>(), before);
        // SAFETY: one thread.
        unsafe { std::env::set_var("ECHO_DAEMON_TEST", "1") };
        assert_eq!(std::env::var("ECHO_DAEMON_TEST").as_deref(), Ok("1"));
        assert_eq!(std::env::vars_os().count(), before.len() + 1);
    });
    Done::Passed
}
