//! Signals as readable events, and the repair of what a caller left behind.
//!
//! No code of the project runs inside a signal handler: main blocks the signals it lives by and reads them
//! from a descriptor in its poll loop. Workers ignore what a terminal or an operator sends and obey main alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
pub use nix::sys::signal::Signal;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a worker ignores: everything that a terminal, a session or an operator sends to a whole group, and
/// SIGPIPE, since a closed connection is an error of `write`.
const IGNORED_IN_WORKERS: [Signal; 10] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGPIPE,
];

/// The signals of a blocked set, to be read in the poll loop (signalfd(2); non-blocking, close-on-exec).
///
/// The set stays blocked when this is dropped. A fork's child reads its own signals through an inherited
/// copy, not its parent's: let `process::keep_only` close it there.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the set in the calling thread, which must be the only one, and opens its descriptor.
    /// Dispositions go back to default first, since an ignored signal may be thrown away before it is read.
    pub fn block(signals: &[Signal]) -> io::Result<Signals> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        for &signal in signals {
            dispose(signal, SigHandler::SigDfl)?;
        }
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { fd })
    }

    /// The next signal that came, `None` if there is none. Several of one kind may have become one
    /// (signal(7)): after a SIGCHLD reap until nobody is left.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        loop {
            match self.fd.read_signal() {
                Ok(None) => return Ok(None),
                Ok(Some(info)) => {
                    // Only numbers of our own set arrive, and each of those is a `Signal`.
                    if let Some(signal) =
                        i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok())
                    {
                        return Ok(Some(signal));
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Undoes what a caller blocked or ignored: ignored signals back to default, SIGPIPE ignored, mask emptied.
///
/// Over exec(2) a caller can hand on "ignored" and "blocked" only; handlers of this program (the standard
/// library has one that reports a stack overflow) are left alone. So are the numbers below `SIGRTMIN` that the C
/// library keeps for its threads and sets up itself.
pub fn reset_inherited() {
    for signal in Signal::iterator() {
        if signal == Signal::SIGPIPE {
            // Cannot fail for a signal that may be caught (sigaction(2)).
            let _ = dispose(signal, SigHandler::SigIgn);
        } else if is_ignored(signal as libc::c_int) {
            let _ = dispose(signal, SigHandler::SigDfl);
        }
    }
    for number in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        if is_ignored(number) {
            // SAFETY: `number` is a valid signal and SIG_DFL installs no code.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
    empty_mask();
}

/// After a fork, in a worker: what main alone decides is ignored, SIGCHLD is at its default, and the mask,
/// which the fork left full, is emptied.
///
/// What arrived in between is thrown away by ignoring it first (sigaction(2)), so nothing kills the child here.
pub fn ignore_in_worker() {
    for signal in IGNORED_IN_WORKERS {
        // Cannot fail for signals that may be caught.
        let _ = dispose(signal, SigHandler::SigIgn);
    }
    let _ = dispose(Signal::SIGCHLD, SigHandler::SigDfl);
    empty_mask();
}

/// Every signal blocked until this is dropped: what surrounds a fork. A child that never returns keeps the
/// full mask.
#[derive(Debug)]
pub(crate) struct AllBlocked {
    before: SigSet,
}

impl AllBlocked {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(AllBlocked { before: SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)? })
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        // Fails for an unknown `how` only.
        let _ = self.before.thread_set_mask();
    }
}

fn empty_mask() {
    // Fails for an unknown `how` only.
    let _ = SigSet::empty().thread_set_mask();
}

fn dispose(signal: Signal, handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: callers pass SigDfl or SigIgn, so no code is installed that could run inside a handler.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

fn is_ignored(number: libc::c_int) -> bool {
    // SAFETY: an all-zero sigaction is a valid value of that C struct.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only reads the old one into `action`, which outlives the call.
    let result = unsafe { libc::sigaction(number, std::ptr::null(), &raw mut action) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}
