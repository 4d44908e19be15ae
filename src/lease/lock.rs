//! The writers' queue: a lock file beside the lease file, taken before `BEGIN IMMEDIATE`. SQLite's own busy handler
//! sleeps so long between tries that one of two writers can starve for a second; this one tries again soon.
//!
//! It orders our own processes only. Safety never hangs on it: SQLite's write lock does that.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::store::StoreError;

const FIRST_WAIT: Duration = Duration::from_micros(50);
const LONGEST_WAIT: Duration = Duration::from_millis(1);

/// The lock file; not inherited in any sense: each process opens its own after its fork.
#[derive(Debug)]
pub(super) struct WriteLock {
    path: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(File),
    Held(Flock<File>),
    /// Only between two steps, or after a failed one.
    Closed,
}

impl WriteLock {
    /// Opens (creates) `<lease file>-lock`.
    pub(super) fn open(lease_file: &Path) -> Result<Self, StoreError> {
        let mut name = lease_file.as_os_str().to_owned();
        name.push("-lock");
        let path = PathBuf::from(name);
        let file = open(&path)?;
        Ok(Self { path, state: State::Open(file) })
    }

    /// Waits for the lock, `patience` at most.
    pub(super) fn acquire(&mut self, patience: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + patience;
        let mut wait = FIRST_WAIT;
        loop {
            let file = match std::mem::replace(&mut self.state, State::Closed) {
                State::Open(file) => file,
                State::Held(held) => {
                    self.state = State::Held(held);
                    return Ok(());
                }
                State::Closed => open(&self.path)?,
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => {
                    self.state = State::Held(held);
                    return Ok(());
                }
                Err((file, errno)) => {
                    self.state = State::Open(file);
                    match errno {
                        Errno::EWOULDBLOCK | Errno::EINTR if Instant::now() < deadline => {}
                        Errno::EWOULDBLOCK | Errno::EINTR => {
                            return Err(StoreError::Busy { path: self.path.clone() });
                        }
                        other => {
                            let (what, path) = ("lock", self.path.clone());
                            return Err(StoreError::Io { what, path, source: other.into() });
                        }
                    }
                }
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Lets the next one in.
    pub(super) fn release(&mut self) {
        if let State::Held(held) = std::mem::replace(&mut self.state, State::Closed) {
            // Where unlocking fails the descriptor is closed, which unlocks too.
            self.state = held.unlock().map_or(State::Closed, State::Open);
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
        .open(path)
        .map_err(|source| StoreError::Io { what: "open the lock of", path: path.to_owned(), source })
}
