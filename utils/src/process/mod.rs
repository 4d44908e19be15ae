//! Forks and their ends.
//!
//! Owns the one place where the project forks and the rules around it: signals blocked, one thread, a child
//! that never returns. It knows no kind of worker. Main calls [`spawn`] for its workers, the tcp worker
//! [`spawn_fast`] for each client.
//!
//! | file | owns |
//! |---|---|
//! | `brief` | the fork of a process that lives for milliseconds, and its system calls |
//! | `descriptors` | what a child keeps open, the lifeline |
//! | `family` | parents, children, descendants |
//! | `pidfd` | another process, held so that its number cannot be taken by a stranger |

pub mod brief;
mod descriptors;
mod family;
mod pidfd;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::ForkResult;
pub use nix::unistd::Pid;

pub use descriptors::{keep_only, keep_only_numbers, lifeline};
pub use family::{become_subreaper, children, descendants, die_with_parent, is_ending};
pub use pidfd::Process;

use crate::signal::AllBlocked;

/// Has this process, and what it forks, come after others where they want the processor at the same time (nice(2), by 10).
/// For good, unless it is privileged.
pub fn give_way() {
    const STEP: nix::libc::c_int = 10;
    // SAFETY: takes a number and changes nothing in memory. It cannot fail for a step upwards.
    unsafe { nix::libc::nice(STEP) };
}

/// Has the kernel kill this process, and what it forks, rather than others where memory runs out: by so many thousandths of all memory
/// (proc(5), `oom_score_adj`), beyond what it was born with. Without /proc nothing changes.
pub fn raise_oom_score(by: u16) {
    const PATH: &str = "/proc/self/oom_score_adj";
    const MOST: i32 = 1000;
    let born: Option<i32> = std::fs::read_to_string(PATH).ok().and_then(|text| text.trim().parse().ok());
    if let Some(born) = born {
        let _ = std::fs::write(PATH, born.saturating_add(by.into()).min(MOST).to_string());
    }
}

/// The exit code of a child whose work panicked: the one that Rust programs end with.
pub const PANICKED: i32 = 101;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by signal {number} ({signal})"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}

/// Forks. The child runs `work` and ends with its code by `_exit`; the parent gets its PID.
///
/// The child never comes back from here, not even by a panic (that is code [`PANICKED`]), so nothing that its
/// parent's stack owns is dropped in it, no exit handler runs and no output buffer is written twice. What `work`
/// owns *is* dropped, therefore after [`keep_only`] it must own no descriptor that was closed: borrow instead,
/// and leave main's structures alone.
///
/// Every signal is blocked in the child until `work` calls [`signal::ignore_in_worker`].
///
/// Errors: the process has more than one thread (another thread could hold a lock, such as the allocator's,
/// which nobody would ever release in the child), or fork(2) fails.
///
/// [`signal::ignore_in_worker`]: crate::signal::ignore_in_worker
pub fn spawn(work: impl FnOnce() -> i32) -> io::Result<Pid> {
    demand_one_thread()?;
    fork_into(work)
}

/// [`spawn`] for the path of one fork per TCP client, by the bare system call: see [`brief`].
///
/// The caller must know that its process has one thread (checked in debug builds only), and that no signal reaches its
/// handlers in the child: the mask stays as it is. A panic ends the child with [`PANICKED`] as well, without
/// unwinding after [`brief::lighten_forks`].
#[inline]
pub fn spawn_fast(work: impl FnOnce() -> i32) -> io::Result<Pid> {
    /// In the child, on the way out by a panic.
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            end(PANICKED)
        }
    }
    // A sandbox may hide /proc: not to know is no failure here.
    debug_assert!(threads().unwrap_or(1) == 1, "fork in a process with several threads");
    // SAFETY: the process has one thread, as the caller vouches, so the child has everything its parent had, in a
    // consistent state. Nothing here registers a handler by pthread_atfork(3), and `work` starts no thread.
    if let Some(child) = unsafe { brief::fork() }? {
        return Ok(child);
    }
    let _ends = Ends;
    let code = work();
    end(code)
}

/// One child that has ended, without waiting. `None`: no child has ended, or there is none.
pub fn reap() -> io::Result<Option<(Pid, Exit)>> {
    match wait_status(Pid::from_raw(-1), libc::WNOHANG) {
        Ok(None) | Err(Errno::ECHILD) => Ok(None),
        Ok(ended) => Ok(ended),
        Err(error) => Err(error.into()),
    }
}

/// Waits for the end of this one child, however long it takes: only for children that end on their own soon.
/// Errors: `ECHILD` if it is no child of this process or was reaped already.
pub fn wait(child: Pid) -> io::Result<Exit> {
    match wait_status(child, 0)? {
        Some((_, exit)) => Ok(exit),
        // waitpid(2) gives nobody under WNOHANG alone.
        None => Err(Errno::ECHILD.into()),
    }
}

/// [`wait`] for the end alone. Where SIGCHLD is ignored the kernel reaps the child itself and says that there is
/// none (waitpid(2)): it has ended all the same.
pub(crate) fn wait_for(child: Pid) -> io::Result<()> {
    match wait_status(child, 0) {
        Ok(_) | Err(Errno::ECHILD) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// fork(2) with every signal blocked and one thread. The child returns too: callers are [`spawn`]'s body and
/// the double fork of `daemon`, which accounts for everything on its stack.
pub(crate) fn fork_checked() -> io::Result<(ForkResult, AllBlocked)> {
    demand_one_thread()?;
    fork_blocked()
}

fn fork_into(work: impl FnOnce() -> i32) -> io::Result<Pid> {
    let (side, _blocked) = fork_blocked()?;
    match side {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
                // A payload's destructor may panic again, outside of the net.
                std::mem::forget(payload);
                PANICKED
            });
            end(code)
        }
    }
}

fn fork_blocked() -> io::Result<(ForkResult, AllBlocked)> {
    let blocked = AllBlocked::new()?;
    // SAFETY: the process has one thread (the callers check), so the child has everything its parent had, in a
    // consistent state, and may run any code.
    let side = unsafe { nix::unistd::fork() }?;
    Ok((side, blocked))
}

/// Ends the process at once: no destructor, no exit handler, no buffer written.
#[inline]
pub(crate) fn end(code: i32) -> ! {
    brief::exit(code)
}

fn wait_status(child: Pid, flags: libc::c_int) -> Result<Option<(Pid, Exit)>, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for the write and outlives the call. Not nix's waitpid, which loses a
        // child that a real-time signal ended.
        match unsafe { libc::waitpid(child.as_raw(), &raw mut status, flags) } {
            0 => return Ok(None),
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return Err(Errno::last()),
            pid if libc::WIFEXITED(status) => {
                return Ok(Some((Pid::from_raw(pid), Exit::Code(libc::WEXITSTATUS(status)))));
            }
            pid if libc::WIFSIGNALED(status) => {
                return Ok(Some((Pid::from_raw(pid), Exit::Signal(libc::WTERMSIG(status)))));
            }
            // Stopped or continued: not asked for (waitpid(2)), and not an end.
            _ => {}
        }
    }
}

fn demand_one_thread() -> io::Result<()> {
    match threads()? {
        1 => Ok(()),
        count => Err(io::Error::other(format!("cannot fork: the process has {count} threads"))),
    }
}

/// How many threads this process has (`proc_pid_status(5)`).
fn threads() -> io::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| {
        let reason = format!("could not count threads in \"/proc/self/status\": {error}");
        io::Error::new(error.kind(), reason)
    })?;
    let count = status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
    count.ok_or_else(|| io::Error::other("\"/proc/self/status\" does not tell the number of threads"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_read_as_a_person_says_them() {
        assert_eq!(Exit::Code(1).to_string(), "exit code 1");
        assert_eq!(Exit::Signal(9).to_string(), "killed by signal 9 (SIGKILL)");
        assert_eq!(Exit::Signal(40).to_string(), "killed by signal 40");
    }

    #[test]
    fn fork_is_refused_with_several_threads() {
        std::thread::scope(|scope| {
            // The second thread lives until `stop` is dropped.
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || stopped.recv());
            let error = spawn(|| 0).unwrap_err();
            assert!(error.to_string().contains("threads"), "{error}");
            drop(stop);
        });
    }
}
