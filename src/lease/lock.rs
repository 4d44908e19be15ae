//! The writers' queue: a lock file beside the lease file, taken before `BEGIN IMMEDIATE`. SQLite's own busy handler
//! sleeps so long between tries that one of two writers can starve for a second; this one tries again soon.
//!
//! Two locks on the file (open file description locks, fcntl(2)), each a byte: the turn, then the right to write. Who
//! waits for the right to write holds the turn meanwhile, so a writer that has just finished cannot overtake it.
//!
//! It orders our own processes only. Safety never hangs on it: SQLite's write lock does that.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{self, off_t};

use super::store::StoreError;

/// To these the kernel adds its timer slack, 50 µs by default (prctl(2)).
const FIRST_WAIT: Duration = Duration::from_micros(20);
const LONGEST_WAIT: Duration = Duration::from_micros(100);

/// The bytes of the file that are locked; it has none.
const TURN: off_t = 0;
const WRITE: off_t = 1;

/// The lock file; not inherited in any sense: each process opens its own after its fork.
#[derive(Debug)]
pub(super) struct WriteLock {
    path: PathBuf,
    /// None only after a failure: closing the file gives up every lock on it.
    file: Option<File>,
    held: bool,
}

impl WriteLock {
    /// Opens (creates) `<lease file>-lock`.
    pub(super) fn open(lease_file: &Path) -> Result<Self, StoreError> {
        let mut name = lease_file.as_os_str().to_owned();
        name.push("-lock");
        let path = PathBuf::from(name);
        let file = Some(open(&path)?);
        Ok(Self { path, file, held: false })
    }

    /// Waits for the lock, `patience` at most.
    pub(super) fn acquire(&mut self, patience: Duration) -> Result<(), StoreError> {
        if self.held {
            return Ok(());
        }
        let deadline = Instant::now() + patience;
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        let waited = wait(&file, TURN, deadline).and_then(|()| {
            let waited = wait(&file, WRITE, deadline);
            set(&file, libc::F_UNLCK, TURN)?;
            waited
        });
        match waited {
            Ok(()) => {
                self.held = true;
                self.file = Some(file);
                Ok(())
            }
            Err(Errno::EAGAIN) => {
                self.file = Some(file);
                Err(StoreError::Busy { path: self.path.clone() })
            }
            Err(other) => {
                let path = self.path.clone();
                Err(StoreError::Io { what: "lock", path, source: other.into() })
            }
        }
    }

    /// Lets the next one in.
    pub(super) fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            // Where unlocking fails the descriptor is closed, which unlocks too.
            self.file = self.file.take().filter(|file| set(file, libc::F_UNLCK, WRITE).is_ok());
        }
    }
}

/// Errors: `EAGAIN` where the lock was not free until the deadline.
fn wait(file: &File, byte: off_t, deadline: Instant) -> Result<(), Errno> {
    let mut wait = FIRST_WAIT;
    loop {
        match set(file, libc::F_WRLCK, byte) {
            Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) if Instant::now() < deadline => {}
            Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => return Err(Errno::EAGAIN),
            result => return result,
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn set(file: &File, kind: i32, byte: off_t) -> Result<(), Errno> {
    let short = |number: i32| i16::try_from(number).map_err(|_| Errno::EINVAL);
    let lock = libc::flock {
        l_type: short(kind)?,
        l_whence: short(libc::SEEK_SET)?,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
}

fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
        .map_err(|source| StoreError::Io { what: "open the lock of", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn one_at_a_time_and_who_waits_goes_before_who_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("leases.db");
        let mut locks = [(); 3].map(|()| WriteLock::open(&file).unwrap());
        let [first, second, third] = &mut locks;
        first.acquire(AT_ONCE).unwrap();
        assert!(matches!(second.acquire(AT_ONCE), Err(StoreError::Busy { .. })));
        // As while it waits: it has the turn.
        set(second.file.as_ref().unwrap(), libc::F_WRLCK, TURN).unwrap();
        first.release();
        assert!(first.acquire(AT_ONCE).is_err() && third.acquire(AT_ONCE).is_err());
        second.acquire(AT_ONCE).unwrap();
        second.acquire(AT_ONCE).unwrap();
        assert!(third.acquire(AT_ONCE).is_err());
        second.release();
        third.acquire(AT_ONCE).unwrap();
        drop(locks);
        WriteLock::open(&file).unwrap().acquire(AT_ONCE).unwrap();
    }
}
