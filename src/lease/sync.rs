//! The fsync that a lease waits for before it is acknowledged. SQLite would do it inside COMMIT, while the writer holds the
//! lock; here it comes after, so that others write meanwhile, and one fsync serves all that was committed before it.
//!
//! It syncs the write-ahead log as a whole. Whoever has built on rows that another process committed but has not synced
//! yet syncs them with its own, for they stand before them in the same file. Where the log was started anew in between, a
//! checkpoint has synced what stood in it before. docs/decisions/lease-sync.md has the whole argument.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::sqlite::wal_path;
use super::store::StoreError;

/// Syncs the write-ahead log of a lease file; made by its store, usable in another thread.
#[derive(Debug, Clone)]
pub struct Syncer {
    path: PathBuf,
    /// SQLite locks no byte of this file, so it does no harm that closing it gives up the process's locks on it
    /// (fcntl(2)).
    log: Arc<File>,
    failed: Arc<AtomicBool>,
}

impl Syncer {
    /// For the write-ahead log that a connection has open. Its name must survive a loss of power too.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC;
        let log = OpenOptions::new().read(true).write(true).custom_flags(flags).open(wal_path(path));
        let io =
            |source| StoreError::Io { what: "open the write-ahead log of", path: path.to_owned(), source };
        let log = log.map_err(io)?;
        super::prepare::sync_folder(path).map_err(io)?;
        Ok(Self { path: path.to_owned(), log: Arc::new(log), failed: Arc::new(AtomicBool::new(false)) })
    }

    /// Returns when everything that was committed before the call is on disk. After an error nothing of it may be
    /// acknowledged, and the store mends the log before it writes again.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.log.sync_data().map_err(|source| {
            self.failed.store(true, SeqCst);
            let path = self.path.clone();
            match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    StoreError::Full { path }
                }
                _ => StoreError::Io { what: "sync", path, source },
            }
        })
    }

    /// Whether a sync has failed since [`Self::mended`]: what was written may be in memory alone, and never reach the disk
    /// although the next fsync succeeds.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(SeqCst)
    }

    pub(super) fn mended(&self) {
        self.failed.store(false, SeqCst);
    }
}
