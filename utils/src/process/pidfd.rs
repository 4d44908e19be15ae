//! Another process, held by a descriptor so that its number cannot pass to a stranger meanwhile (`pidfd_open(2)`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::wait;

/// A process that is signalled and waited for by descriptor. Needs Linux 5.3.
#[derive(Debug)]
pub struct Process {
    fd: OwnedFd,
}

impl Process {
    /// Holds the process that has this number now. Whether it is the one that is meant must be known by other
    /// means, such as the lock on a PID file, read again *after* this call. Errors: `ESRCH` where there is none.
    pub fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: plain numbers go in; the result is a new descriptor (close-on-exec) or -1.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        let number = RawFd::try_from(Errno::result(result)?).map_err(io::Error::other)?;
        // SAFETY: the call above has just made it and nobody else owns it.
        Ok(Process { fd: unsafe { OwnedFd::from_raw_fd(number) } })
    }

    /// Sends a signal. Errors: `ESRCH` if it has ended, `EPERM`.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let (fd, number) = (self.fd.as_raw_fd(), signal as libc::c_int);
        // SAFETY: `fd` is an open pidfd; a null siginfo means "as kill(2) fills it in".
        let result = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd, number, std::ptr::null::<libc::siginfo_t>(), 0)
        };
        Errno::result(result)?;
        Ok(())
    }

    /// Waits until it has ended: true; false when the timeout passes first. One that has ended counts as gone
    /// even before its parent reaps it.
    pub fn wait_gone(&self, timeout: Duration) -> io::Result<bool> {
        // A timeout beyond what the clock can tell means for ever.
        let deadline = Instant::now().checked_add(timeout);
        wait::for_events(self.fd.as_fd(), PollFlags::POLLIN, deadline)
    }
}

/// Readable once the process has ended.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_is_waited_for_and_one_that_ended_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::open(Pid::from_raw(i32::try_from(child.id()).unwrap())).unwrap();
        assert!(!process.wait_gone(Duration::from_millis(1)).unwrap());
        process.signal(Signal::SIGKILL).unwrap();
        assert!(process.wait_gone(Duration::MAX).unwrap());
        child.wait().unwrap();
        assert!(process.wait_gone(Duration::ZERO).unwrap());
        assert_eq!(process.signal(Signal::SIGTERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
