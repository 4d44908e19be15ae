//! The way into the background, and the word from the daemon to the one who started it.
//!
//! [`sanitize`] is the first thing that `start` does, [`daemonize`] forks twice. The caller keeps its terminal
//! and waits for the verdict; the daemon, in a session of its own, reports once every worker serves.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::channel::{Channel, MAX_MESSAGE, Received};
use crate::process::{end, fork_checked, keep_only, wait_for};
use crate::signal::reset_inherited;
use crate::title::cut;
use crate::wait;

/// Files of the daemon: all for the owner, reading for the group, nothing for others.
const UMASK: Mode = Mode::from_bits_truncate(0o027);

/// How long the daemon tries to get its last word to a caller that does not read (a stopped one).
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

const READY: u8 = b'r';
const FAILED: u8 = b'f';
const WARNING: u8 = b'w';

const ENDED_EARLY: &str = "the daemon ended before it was ready";

/// Which process [`daemonize`] returned in.
#[derive(Debug)]
pub enum Side {
    /// The one that called it, with the terminal.
    Caller(Verdict),
    /// The daemon.
    Daemon(Report),
}

/// The caller's end: what becomes of the start.
#[derive(Debug)]
pub struct Verdict {
    channel: Channel,
}

/// The daemon's end: what it tells the caller. Dropped without a word (the daemon died), the caller learns that.
#[derive(Debug)]
pub struct Report {
    /// None in the foreground, where nobody waits.
    channel: Option<Channel>,
}

/// Repairs what a caller may have left behind: a closed 0, 1 or 2 becomes /dev/null, every descriptor above 2 is
/// closed, signals are as new, and so is the umask (one that takes the owner's own rights away would leave files that
/// nobody can use).
///
/// The first thing in `start`, before anything owns a descriptor (see [`keep_only`]).
pub fn sanitize() -> io::Result<()> {
    reset_inherited();
    umask(UMASK);
    loop {
        // The lowest free number comes out, so this fills 0, 1 and 2 in turn.
        let null = dev_null()?;
        if null.as_raw_fd() > libc::STDERR_FILENO {
            break;
        }
        let _stays_open: RawFd = null.into_raw_fd();
    }
    keep_only(&[])
}

/// Goes into the background: fork, setsid, fork; then, in the daemon alone, working directory "/", umask 027 and
/// the standard descriptors on /dev/null.
///
/// The process between the two is reaped here. A failure on the daemon's side is told to the caller's
/// [`Verdict`], and that process ends. Ctrl-C in the caller's terminal while it waits ends the caller alone: the
/// daemon is in another session and goes on.
///
/// Errors: more than one thread, or the fork fails.
pub fn daemonize() -> io::Result<Side> {
    let (ours, theirs) = Channel::pair()?;
    let report = Report { channel: Some(theirs) };
    let (side, _blocked) = fork_checked()?;
    match side {
        ForkResult::Parent { child } => {
            drop(report);
            wait_for(child)?;
            Ok(Side::Caller(Verdict { channel: ours }))
        }
        ForkResult::Child => {
            drop(ours);
            Ok(Side::Daemon(leave_caller(report)))
        }
    }
}

impl Verdict {
    /// Waits for the daemon's word, for ever without a timeout; its warnings are printed on standard error as they
    /// come. `Ok`: it is ready, with its words. `Err`: why it is not.
    pub fn wait(self, timeout: Option<Duration>) -> Result<String, String> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let length = match self.channel.receive(&mut buffer) {
                Ok(Received::Message(length)) => length,
                Ok(Received::Nothing) => {
                    self.wait_readable(deadline)?;
                    continue;
                }
                Ok(Received::Closed) => return Err(ENDED_EARLY.to_owned()),
                Err(error) => return Err(format!("could not hear from the daemon: {error}")),
            };
            let Some((kind, text)) = buffer[..length].split_first() else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            match *kind {
                READY => return Ok(text),
                FAILED => return Err(text),
                _warning => eprintln!("warning: {text}"),
            }
        }
    }

    fn wait_readable(&self, deadline: Option<Instant>) -> Result<(), String> {
        match wait::for_events(self.channel.as_fd(), PollFlags::POLLIN, deadline) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the daemon did not become ready in time".to_owned()),
            Err(error) => Err(format!("could not wait for the daemon: {error}")),
        }
    }
}

impl Report {
    /// The same without a caller, for `--foreground`: what fails and what warns is printed on standard error.
    pub fn foreground() -> Report {
        Report { channel: None }
    }

    /// All is well: the caller ends with success and prints these words. In the foreground they are not printed.
    pub fn ready(self, words: &str) {
        self.last_word(READY, words);
    }

    /// The start failed: the caller prints the reason and ends with failure.
    pub fn failed(self, reason: &str) {
        if self.channel.is_none() {
            eprintln!("{reason}");
        }
        self.last_word(FAILED, reason);
    }

    /// Something that the caller should read while it waits. Lost if it does not read at all.
    pub fn warning(&mut self, text: &str) {
        match &self.channel {
            Some(channel) => {
                let _ = channel.send(&frame(WARNING, text));
            }
            None => eprintln!("warning: {text}"),
        }
    }

    /// A caller that is gone needs no word; one that is stopped gets a second.
    fn last_word(self, kind: u8, text: &str) {
        let Some(channel) = self.channel else { return };
        let message = frame(kind, text);
        let deadline = Instant::now() + LAST_WORD_TIMEOUT;
        while let Err(error) = channel.send(&message) {
            let full = error.kind() == io::ErrorKind::WouldBlock;
            if !full
                || !matches!(wait::for_events(channel.as_fd(), PollFlags::POLLOUT, Some(deadline)), Ok(true))
            {
                return;
            }
        }
    }
}

/// For keeping it over [`keep_only`]. In the foreground that is standard error, which is kept anyway.
impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.channel {
            Some(channel) => channel.as_fd(),
            // SAFETY: `sanitize` and the standard library's own start see to it that 2 is open, and nothing
            // of this project ever closes it.
            None => unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) },
        }
    }
}

/// In the first child: a new session, then the second fork, so that the daemon leads no session and can never
/// get a terminal by opening one (credentials(7)). Returns in the daemon.
fn leave_caller(report: Report) -> Report {
    let forked = setsid().map_err(io::Error::from).and_then(|_session| fork_checked());
    match forked {
        Ok((ForkResult::Parent { .. }, _blocked)) => end(0),
        Ok((ForkResult::Child, _blocked)) => match settle() {
            Ok(()) => report,
            Err(error) => give_up(report, &error),
        },
        Err(error) => give_up(report, &error),
    }
}

fn give_up(report: Report, error: &io::Error) -> ! {
    report.failed(&format!("could not go into the background: {error}"));
    end(1)
}

fn settle() -> io::Result<()> {
    chdir("/")?;
    umask(UMASK);
    let null = dev_null()?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    if null.as_raw_fd() <= libc::STDERR_FILENO {
        // It was one of the three all along: it stays open.
        let _stays_open: RawFd = null.into_raw_fd();
    }
    Ok(())
}

fn dev_null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null").map_err(|error| {
        let reason = format!("could not open \"/dev/null\": {error}");
        io::Error::new(error.kind(), reason)
    })
}

/// The kind, then the text, cut at a character so that it fits a message.
fn frame(kind: u8, text: &str) -> Vec<u8> {
    let text = cut(text, MAX_MESSAGE - 1);
    let mut message = Vec::with_capacity(1 + text.len());
    message.push(kind);
    message.extend_from_slice(text.as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> (Verdict, Report) {
        let (ours, theirs) = Channel::pair().unwrap();
        (Verdict { channel: ours }, Report { channel: Some(theirs) })
    }

    #[test]
    fn success_reaches_the_caller_after_warnings() {
        let (verdict, mut report) = both();
        report.warning("a warning that belongs on standard error");
        report.ready("serving");
        assert_eq!(verdict.wait(None), Ok("serving".to_owned()));
    }

    #[test]
    fn failure_keeps_its_lines() {
        let (verdict, report) = both();
        report.failed("no\nhint: yes");
        assert_eq!(verdict.wait(None), Err("no\nhint: yes".to_owned()));
    }

    #[test]
    fn silence_is_an_early_end() {
        let (verdict, report) = both();
        drop(report);
        assert_eq!(verdict.wait(None), Err(ENDED_EARLY.to_owned()));
    }

    #[test]
    fn waiting_has_an_end() {
        let (verdict, _report) = both();
        assert!(verdict.wait(Some(Duration::from_millis(1))).unwrap_err().contains("in time"));
    }

    #[test]
    fn caller_that_left_or_never_reads_holds_nobody_up() {
        let (verdict, mut report) = both();
        for _ in 0..1000 {
            report.warning(&"ä".repeat(MAX_MESSAGE));
        }
        drop(verdict);
        report.ready("nobody hears this");
    }
}
