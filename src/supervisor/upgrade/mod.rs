//! Upgrade in place: main executes the program on disk in its own place, with the same PID, sockets, shared memory and
//! children, and the new program forks a generation of workers as at a reload.
//!
//! ```text
//! try ── the program on disk, in a child, reads what it would be handed and says yes ──▶ execute
//! execute ── the new program takes over ──▶ forks its workers ── all ready ──▶ (over: upgraded)
//!    │            └── cannot ────────────┐        └── they cannot ──┐
//!    └── execve(2) fails ──▶ (over: the old one goes on)            ▼
//!                         the old program is executed again, as it was: (over: the old one goes on)
//! ```
//!
//! The workers of the old program read on until those of the new one are ready, whoever main is meanwhile; what arrives
//! in between waits in the sockets. docs/decisions/upgrade.md has the reasons.
//!
//! | file | owns |
//! |---|---|
//! | `program` | where the program is, and whether main may execute it |
//! | `handover` | what main hands over |
//! | `take_over` | how the new program becomes main |

mod handover;
pub(super) mod program;
mod take_over;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon_utils::channel::{Channel, MAX_MESSAGE, Received};
use daemon_utils::log::sender;
use daemon_utils::process::{self, Exit};
use daemon_utils::{handover as exec, signal, title};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, getpid};

use super::announce::announce;
use super::{Supervisor, Verdict, kill};
use crate::event;
use crate::stats::Counter;
use crate::stats::layout::Layout;
use handover::Packed;
use program::Seen;

pub use take_over::{TakeOver, take_over};

/// The hidden command by which main executes a program.
pub const COMMAND: &str = "take-over";

/// How long a program may take to say that it can take over. It reads a configuration and looks at the lease file.
const TRY_WITHIN: Duration = Duration::from_secs(20);

/// As much of what a tried program prints is kept, in bytes.
const MOST_SAID: usize = 2000;

/// How a tried program begins its verdict, on its standard output: the version that can take over, or why not. Whatever
/// else comes is what it prints.
const YES: u8 = 1;
const NO: u8 = 2;

/// A program that is being tried in a child.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) pid: Pid,
    channel: Channel,
    deadline: Instant,
    path: PathBuf,
    seen: Seen,
    asked_by: Vec<Pid>,
    /// What it printed.
    said: String,
    verdict: Option<Result<String, String>>,
    /// It has closed its end.
    deaf: bool,
}

/// The way back to the program before, until the workers of this one are in force.
#[derive(Debug)]
pub(super) struct Before {
    executable: OwnedFd,
    version: String,
    /// The memory that it laid out, where ours is another.
    memory: Option<(OwnedFd, Layout)>,
}

impl Attempt {
    /// Where what it says arrives.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Whether nothing more will arrive there.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// When [`Supervisor::look_at_attempt`] must be called at the latest.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reads what it has said.
    fn listen(&mut self) {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let length = match self.channel.receive(&mut buffer) {
                Ok(Received::Message(length)) => length,
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => {
                    self.deaf = true;
                    return;
                }
            };
            let message = buffer.get(..length).unwrap_or_default();
            let Some((first, rest)) = message.split_first() else { continue };
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            match *first {
                YES => self.verdict = Some(Ok(text(rest))),
                NO => self.verdict = Some(Err(text(rest))),
                _ if self.said.len() < MOST_SAID => self.said.push_str(&text(message)),
                _ => (),
            }
        }
    }

    /// What came of it; `exit`: how it ended.
    fn outcome(&self, exit: Exit) -> Verdict {
        match (&self.verdict, exit) {
            (Some(Ok(version)), Exit::Code(0)) => Ok(version.clone()),
            (Some(Err(reason)), _) => Err(format!("program {:?} cannot take over: {reason}", self.path)),
            (_, exit) => {
                let end = self.said.floor_char_boundary(MOST_SAID);
                let said = self.said[..end].trim();
                let said = if said.is_empty() { String::new() } else { format!(": {said}") };
                Err(format!("program {:?} cannot take over: it ended with {exit}{said}", self.path))
            }
        }
    }
}

/// What main opens only to hand it over.
struct Extras {
    executable: OwnedFd,
    writer: OwnedFd,
}

impl Extras {
    fn open(executable: OwnedFd) -> io::Result<Self> {
        let writer = sender::with_descriptor(|log| log.map(|log| log.try_clone_to_owned())).transpose()?;
        let writer = writer.ok_or_else(|| io::Error::other("there is no way to the logger"))?;
        Ok(Self { executable, writer })
    }

    fn of_this_program() -> io::Result<Self> {
        Self::open(File::open("/proc/self/exe")?.into())
    }
}

impl Supervisor {
    /// Tries the program on disk; the rest follows when it has ended.
    pub(super) fn begin_upgrade(&mut self, asked_by: Vec<Pid>) {
        self.notify_reloading();
        let name = self.program.as_deref().unwrap_or(Path::new("")).to_owned();
        announce!(self.shared, UpgradeStarted; "upgrade from version {}: {name:?} is tried", env!("CARGO_PKG_VERSION"));
        match self.try_program(asked_by.clone()) {
            Ok(attempt) => self.attempt = Some(attempt),
            Err(reason) => self.finish_upgrade(asked_by, Err(reason)),
        }
    }

    fn try_program(&self, asked_by: Vec<Pid>) -> Result<Attempt, String> {
        let path = self.program.clone().ok_or("where the program of this daemon stands could not be told")?;
        let seen = program::look(&path)?;
        let prepare = || -> io::Result<(Pid, Channel)> {
            let extras = Extras::of_this_program()?;
            let packed = self.pack(&extras, path.clone(), &asked_by)?;
            let state = exec::document(&packed.text()?)?;
            let (ours, theirs) = Channel::pair()?;
            let main = getpid();
            let arguments = arguments(&path, &state, &["--try"]);
            let pid = process::spawn(|| live_as_trial(main, &path, &arguments, &packed, &state, &theirs))?;
            Ok((pid, ours))
        };
        let (pid, channel) = prepare().map_err(|error| format!("could not try program {path:?}: {error}"))?;
        let deadline = Instant::now() + TRY_WITHIN;
        Ok(Attempt {
            pid,
            channel,
            deadline,
            path,
            seen,
            asked_by,
            said: String::new(),
            verdict: None,
            deaf: false,
        })
    }

    /// Hears what a tried program says, and ends one that takes too long. Called in each turn of the loop.
    pub(super) fn look_at_attempt(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.listen();
        if Instant::now() >= attempt.deadline {
            // Its end is noticed by the reaping.
            kill(attempt.pid);
            let words = format!("it was tried for {} s and did not end", TRY_WITHIN.as_secs());
            attempt.verdict = Some(Err(words));
            attempt.deadline += TRY_WITHIN;
        }
    }

    /// The tried program has ended: it takes over, or all stays as it is.
    pub(super) fn conclude_attempt(&mut self, exit: Exit) {
        let Some(mut attempt) = self.attempt.take() else { return };
        attempt.listen();
        let reason = match attempt.outcome(exit) {
            Ok(version) => {
                log::debug!("program {:?} of version {version} is executed", attempt.path);
                // Comes back only if it could not be executed.
                self.execute_program(&attempt).unwrap_err()
            }
            Err(reason) => reason,
        };
        self.finish_upgrade(attempt.asked_by, Err(reason));
    }

    fn execute_program(&mut self, attempt: &Attempt) -> Result<std::convert::Infallible, String> {
        let path = &attempt.path;
        if program::look(path)? != attempt.seen {
            return Err(format!("program {path:?} has changed since it was tried\nhint: upgrade again"));
        }
        self.follow_old_workers();
        let failed = |error: io::Error| format!("could not execute program {path:?}: {error}");
        let extras = Extras::of_this_program().map_err(failed)?;
        let packed = self.pack(&extras, path.clone(), &attempt.asked_by).map_err(failed)?;
        let back = extras.executable.as_raw_fd().to_string();
        Err(failed(hand_over(path, path, packed, &["--back", &back])))
    }

    /// How an upgrade ended: tells everybody.
    pub(super) fn finish_upgrade(&mut self, asked_by: Vec<Pid>, verdict: Verdict) {
        let verdict = match verdict {
            Err(reason) if self.before.is_some() => Err(self.go_back(reason, &asked_by)),
            verdict => verdict,
        };
        let verdict = verdict.map(|words| {
            let from = self.before.take().map_or_else(String::new, |before| before.version);
            format!("version {} runs in the place of {from}: {words}", env!("CARGO_PKG_VERSION"))
        });
        match &verdict {
            Ok(words) => {
                self.shared.slot(0).count(Counter::UpgradeApplied);
                self.keep_running();
                announce!(self.shared, Upgraded, generation = self.generation; "upgraded: {words}");
            }
            Err(why) => {
                self.shared.slot(0).count(Counter::UpgradeFailed);
                announce!(self.shared, UpgradeFailed; "upgrade failed, the program that ran before goes on: {why}");
            }
        }
        if !self.is_stopping() {
            self.watch_as_configured();
            self.notify_ready();
        }
        for pid in asked_by {
            self.tell_verdict(pid, &verdict);
        }
    }

    /// Executes the program of before once more; its workers serve. Comes back with the reason only if that fails, too:
    /// then this program stays main over them.
    fn go_back(&mut self, reason: String, asked_by: &[Pid]) -> String {
        let Some(before) = self.before.take() else { return reason };
        log::warn!("the program of version {} is executed again: {reason}", before.version);
        self.follow_old_workers();
        let hand_back = || -> io::Result<io::Error> {
            let path = PathBuf::from(format!("/proc/self/fd/{}", before.executable.as_raw_fd()));
            let extras = Extras::open(before.executable.try_clone()?)?;
            let program = self.program.clone().unwrap_or_default();
            let mut packed = self.pack(&extras, program, asked_by)?;
            if let Some((memory, layout)) = &before.memory {
                packed.handover.memory = memory.as_raw_fd();
                packed.handover.layout = layout.clone();
                packed.kept.push(memory.as_fd());
            }
            packed.kept.push(before.executable.as_fd());
            Ok(hand_over(&path, Path::new("echo-daemon"), packed, &["--because", &reason]))
        };
        let error = hand_back().unwrap_or_else(|error| error);
        event!(DaemonWarning; "the program of version {} could not be executed again: {error}", before.version);
        reason
    }

    /// The daemon stops: nothing is tried, nothing is gone back to.
    pub(super) fn stop_upgrading(&mut self) {
        self.before = None;
        if let Some(attempt) = self.attempt.take() {
            kill(attempt.pid);
            self.finish_upgrade(attempt.asked_by, Err("the daemon is stopping".to_owned()));
        }
    }

    /// Takes over what workers of a version with another layout have counted in their own memory.
    pub(super) fn follow_old_workers(&mut self) {
        let Some((carried, last)) = &mut self.carried else { return };
        let (children, last) = (&self.children, *last);
        let old = |child: &super::Child| child.generation <= last;
        carried.follow(|slot| children.iter().any(|child| child.slot_index == slot && old(child)));
        if !children.iter().any(old) && !self.has_orphans {
            self.carried = None;
        }
    }
}

/// What a program is executed with.
fn arguments(name: &Path, state: &OwnedFd, more: &[&str]) -> Vec<OsString> {
    let state = state.as_raw_fd().to_string();
    let mut arguments: Vec<OsString> = vec![name.into(), COMMAND.into(), "--state".into(), state.into()];
    arguments.extend(more.iter().map(OsString::from));
    arguments
}

/// Executes a program with all that is packed. Comes back only with an error; then everything is as before.
fn hand_over(path: &Path, name: &Path, packed: Packed<'_>, more: &[&str]) -> io::Error {
    let execute = || -> io::Result<io::Error> {
        let state = exec::document(&packed.text()?)?;
        let arguments = arguments(name, &state, more);
        exec::keep_over_exec(state.as_fd(), true)?;
        for fd in &packed.kept {
            exec::keep_over_exec(*fd, true)?;
        }
        Ok(exec::execute(path, &arguments))
    };
    let error = execute().unwrap_or_else(|error| error);
    for fd in &packed.kept {
        // It worked the other way round.
        let _ = exec::keep_over_exec(*fd, false);
    }
    error
}

/// The child that tries a program: main's descriptors, but no signal, and an end with main.
fn live_as_trial(
    main: Pid,
    path: &Path,
    arguments: &[OsString],
    packed: &Packed<'_>,
    state: &OwnedFd,
    says: &Channel,
) -> i32 {
    signal::reset_inherited();
    title::set("echo-daemon: trial");
    let execute = || -> io::Result<io::Error> {
        process::die_with_parent(main)?;
        dup2_stdout(says)?;
        dup2_stderr(says)?;
        for fd in packed.kept.iter().copied().chain([state.as_fd()]) {
            exec::keep_over_exec(fd, true)?;
        }
        Ok(exec::execute(path, arguments))
    };
    let error = execute().unwrap_or_else(|error| error);
    let mut verdict = vec![NO];
    verdict.extend_from_slice(format!("could not execute it: {error}").as_bytes());
    // Main sees the end in any case.
    let _ = says.send(&verdict);
    1
}
