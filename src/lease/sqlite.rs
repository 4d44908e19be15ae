//! The lease file as a [`LeaseStore`]: SQLite in WAL mode, one connection a process, opened after its fork (an SQLite
//! connection must not be carried over a fork). Made ready by [`super::prepare()`]; this only opens it.
//!
//! A write transaction takes our own lock, makes sure that the file at the path is still the one we have open, and then
//! SQLite's write lock. Where the durability is `power-loss`, the fsync of the write-ahead log comes after COMMIT and after
//! the lock was given up ([`super::sync`]).
//! Workers never checkpoint: the keeper does.

use std::fs::Metadata;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::config::model::Durability;

use super::clock::LeaseClock;
use super::lock::WriteLock;
use super::rows;
use super::schema::{ALL_LEASES, APPEND, APPLICATION_ID, LEASE_OF, LOG_AFTER, LOG_OF, VERSION};
use super::store::{CatchUp, LeaseStore, LogRow, Sink, StoreError};
use super::sync::Syncer;
use super::when::Times;

/// How long a writer waits for its turn, unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// How long SQLite waits for a foreign writer (an administrator's `sqlite3`, a backup), who knows nothing of our lock.
const FOREIGN_PATIENCE: Duration = Duration::from_millis(500);

/// The write-ahead log is cut back to this size when a checkpoint starts it anew, in bytes.
const JOURNAL_LIMIT: i64 = 16 * 1024 * 1024;

/// An open lease file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: Connection,
    lock: WriteLock,
    /// The lease file and its write-ahead log, as opened.
    files: [FileId; 2],
    data_version: Option<i64>,
    patience: Duration,
    /// None where a lease need not survive a loss of power.
    syncer: Option<Syncer>,
}

/// Device and inode.
type FileId = Option<(u64, u64)>;

impl SqliteStore {
    /// Opens a lease file that [`super::prepare()`] has made ready.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let lock = WriteLock::open(path)?;
        let connection = connect(path, durability)?;
        let mut store = Self {
            path: path.to_owned(),
            connection,
            lock,
            files: [None; 2],
            data_version: None,
            patience: PATIENCE,
            syncer: None,
        };
        let version = store.pragma("user_version")?;
        if store.pragma("application_id")? != APPLICATION_ID || version < 1 {
            let reason = "it was not made by this program".to_owned();
            return Err(StoreError::Foreign { path: store.path, reason });
        }
        if version > VERSION {
            return Err(StoreError::Later { path: store.path, found: version, known: VERSION });
        }
        // Reading the version has opened the write-ahead log.
        store.files = file_ids(path);
        if durability == Durability::PowerLoss {
            store.syncer = Some(Syncer::open(path)?);
            // SQLite still syncs what a checkpoint and a new start of the log need.
            let normal = store.connection.pragma_update(None, "synchronous", "NORMAL");
            normal.map_err(|error| store.error("open", error))?;
        }
        Ok(store)
    }

    /// What makes commits durable; none where they need not survive a loss of power.
    pub fn syncer(&self) -> Option<Syncer> {
        self.syncer.clone()
    }

    /// The clock that this file's times are of.
    pub fn clock(&self) -> Result<LeaseClock, StoreError> {
        Ok(LeaseClock::new(self.meta("clock_offset")?))
    }

    /// The present, and how far it is from the wall clock, as lists show it.
    pub fn times(&self) -> Result<Times, StoreError> {
        Ok(Times { now: self.clock()?.now(), skew_secs: self.meta("clock_skew")? })
    }

    /// The lease file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file at the path is still the one that is open.
    pub fn verify(&self) -> Result<(), StoreError> {
        if self.files[0].is_some() && file_ids(&self.path) == self.files {
            Ok(())
        } else {
            Err(StoreError::Gone { path: self.path.clone() })
        }
    }

    /// Waits no longer than this for its turn to write.
    pub fn set_patience(&mut self, patience: Duration) -> Result<(), StoreError> {
        self.patience = patience;
        self.connection.busy_timeout(patience.min(FOREIGN_PATIENCE)).map_err(|e| self.error("open", e))
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A whole number of the table `meta`; 0 where it is missing.
    pub(super) fn meta(&self, key: &str) -> Result<i64, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
            statement.query_row([key], |row| row.get::<_, i64>(0)).optional()
        };
        read().map(Option::unwrap_or_default).map_err(|error| self.error("read", error))
    }

    pub(super) fn set_meta(&self, key: &str, value: i64) -> Result<(), StoreError> {
        let write = || {
            let mut statement =
                self.connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
            statement.execute(rusqlite::params![key, value])
        };
        write().map(drop).map_err(|error| self.error("write", error))
    }

    pub(super) fn run(&self, what: &'static str, sql: &str) -> Result<(), StoreError> {
        let run = || self.connection.prepare_cached(sql)?.execute([]);
        run().map(drop).map_err(|error| self.error(what, error))
    }

    pub(super) fn error(&self, what: &'static str, error: rusqlite::Error) -> StoreError {
        from_sqlite(what, &self.path, error)
    }

    /// Runs `work` under our lock, outside of any transaction.
    pub(super) fn locked<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.lock.acquire(self.patience)?;
        let result = work(&self.connection);
        self.lock.release();
        result.map_err(|error| self.error("check-point", error))
    }

    pub(super) fn schema_version(&self) -> Result<i64, StoreError> {
        self.pragma("user_version")
    }

    /// After a failed sync the kernel takes what it could not write for written. So everything is brought from the log into
    /// the lease file, which writes it once more, and the log is started anew, before anything is built on it.
    fn mend(&self) -> Result<(), StoreError> {
        let Some(syncer) = self.syncer.as_ref().filter(|syncer| syncer.has_failed()) else { return Ok(()) };
        let busy =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
        if busy.map_err(|error| self.error("check-point", error))? {
            return Err(StoreError::Busy { path: self.path.clone() });
        }
        syncer.mended();
        Ok(())
    }

    fn pragma(&self, name: &str) -> Result<i64, StoreError> {
        let value = self.connection.pragma_query_value(None, name, |row| row.get(0));
        value.map_err(|error| self.error("read", error))
    }

    fn version_now(&self) -> Result<i64, StoreError> {
        let read = || self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0));
        read().map_err(|error| self.error("read", error))
    }

    /// As [`LeaseStore::load`], but only what is about these addresses, which are looked up one by one.
    pub(super) fn load_of(
        &mut self,
        addresses: impl Iterator<Item = Ipv4Addr>,
        sink: &mut Sink<'_>,
    ) -> Result<u64, StoreError> {
        self.at_one_moment(|store| {
            let connection = &store.connection;
            let folded_to = store.meta("folded_to")?;
            for address in addresses {
                let mut of = |sql, parameters: &[i64]| -> rusqlite::Result<()> {
                    let mut statement = connection.prepare_cached(sql)?;
                    let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
                    while let Some(row) = rows.next()? {
                        sink(rows::decode(row)?);
                    }
                    Ok(())
                };
                let address = i64::from(u32::from(address));
                of(LEASE_OF, &[address])
                    .and_then(|()| of(LOG_OF, &[address, folded_to]))
                    .map_err(|error| store.error("read", error))?;
            }
            let newest = || connection.query_row("SELECT max(seq) FROM lease_log", [], |row| row.get(0));
            let newest: Option<i64> = newest().map_err(|error| store.error("read", error))?;
            Ok(u64::try_from(newest.unwrap_or(0).max(folded_to)).unwrap_or(0))
        })
    }

    /// Reads in one transaction, so that the keeper does not fold between the two tables. Within a write transaction (a gap
    /// was found there) it is in one already.
    fn at_one_moment(
        &mut self,
        read: impl FnOnce(&Self) -> Result<u64, StoreError>,
    ) -> Result<u64, StoreError> {
        let own = self.connection.is_autocommit();
        if own {
            self.run("read", "BEGIN")?;
        }
        let result = read(self);
        let version = self.version_now();
        if own {
            // Nothing was written.
            let _ = self.run("read", "ROLLBACK");
        }
        let seq = result?;
        self.data_version = Some(version?);
        Ok(seq)
    }

    fn load_all(&self, sink: &mut Sink<'_>) -> Result<u64, StoreError> {
        self.each(ALL_LEASES, None, sink)?;
        let folded_to = self.meta("folded_to")?;
        let last = self.each(LOG_AFTER, Some(folded_to), sink)?;
        Ok(last.unwrap_or(u64::try_from(folded_to).unwrap_or(0)))
    }

    fn each(&self, sql: &str, after: Option<i64>, sink: &mut Sink<'_>) -> Result<Option<u64>, StoreError> {
        each(&self.connection, sql, after, sink).map_err(|error| self.error("read", error))
    }
}

/// Hands over the rows of a query; returns the number of the last one.
pub(super) fn each(
    connection: &Connection,
    sql: &str,
    after: Option<i64>,
    sink: &mut Sink<'_>,
) -> rusqlite::Result<Option<u64>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = match after {
        Some(seq) => statement.query([seq])?,
        None => statement.query([])?,
    };
    let mut last = None;
    while let Some(row) = rows.next()? {
        let row = rows::decode(row)?;
        last = Some(row.seq);
        sink(row);
    }
    Ok(last)
}

impl LeaseStore for SqliteStore {
    fn load(&mut self, sink: &mut Sink<'_>) -> Result<u64, StoreError> {
        self.at_one_moment(|store| store.load_all(sink))
    }

    fn catch_up(&mut self, known: u64, sink: &mut Sink<'_>) -> Result<CatchUp, StoreError> {
        let version = self.version_now()?;
        if self.data_version == Some(version) && known > 0 {
            return Ok(CatchUp::Current(known));
        }
        // Numbers have no gaps and the newest rows are never pruned, so the first one shows whether any is missing.
        let mut gap = false;
        let mut expected = known + 1;
        let last = self.each(LOG_AFTER, Some(rows::signed(known)), &mut |row| {
            gap |= row.seq != expected;
            expected = row.seq + 1;
            if !gap {
                sink(row);
            }
        })?;
        if gap || (last.is_none() && u64::try_from(self.meta("folded_to")?).unwrap_or(0) > known) {
            return Ok(CatchUp::Gap);
        }
        self.data_version = Some(version);
        Ok(CatchUp::Current(last.unwrap_or(known)))
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.lock.acquire(self.patience)?;
        let begun =
            self.verify().and_then(|()| self.mend()).and_then(|()| self.run("lock", "BEGIN IMMEDIATE"));
        if begun.is_err() {
            self.lock.release();
        }
        begun
    }

    fn append(&mut self, batch: &[LogRow]) -> Result<(), StoreError> {
        let write = || {
            let mut statement = self.connection.prepare_cached(APPEND)?;
            batch.iter().try_for_each(|row| rows::append(&mut statement, &row.as_row()))
        };
        write().map_err(|error| self.error("write", error))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.syncer.as_ref().map_or(Ok(()), Syncer::sync)
    }

    fn commit_unsynced(&mut self) -> Result<(), StoreError> {
        // What is written into a file that nobody will find again must not be acknowledged.
        let result = self.verify().and_then(|()| self.run("write", "COMMIT"));
        if result.is_err() {
            self.rollback();
        } else {
            self.lock.release();
        }
        result
    }

    fn rollback(&mut self) {
        if !self.connection.is_autocommit() {
            // After some errors SQLite has rolled back by itself; then this one says so.
            let _ = self.run("roll back", "ROLLBACK");
        }
        self.lock.release();
    }
}

/// Opens the file with the settings that every writer has.
pub(super) fn connect(path: &Path, durability: Durability) -> Result<Connection, StoreError> {
    let wrong = |error| from_sqlite("open", path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let connection = Connection::open_with_flags(resolved(path)?, flags).map_err(wrong)?;
    connection.busy_timeout(FOREIGN_PATIENCE).map_err(wrong)?;
    connection.set_prepared_statement_cache_capacity(64);
    let synchronous = match durability {
        Durability::PowerLoss => "FULL",
        Durability::Process => "NORMAL",
    };
    let settings = [("synchronous", synchronous), ("trusted_schema", "OFF"), ("temp_store", "MEMORY")];
    for (name, value) in settings {
        connection.pragma_update(None, name, value).map_err(wrong)?;
    }
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(wrong)?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_LIMIT).map_err(wrong)?;
    Ok(connection)
}

/// The path with links in its folders resolved, for SQLite refuses any; a link at its end stays one.
pub(super) fn resolved(path: &Path) -> Result<PathBuf, StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let io = |source| StoreError::Io { what: "open", path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| io(std::io::ErrorKind::InvalidFilename.into()))?;
    Ok(folder.canonicalize().map_err(io)?.join(name))
}

/// Sorts SQLite's errors into what a caller can act on.
pub(super) fn from_sqlite(what: &'static str, path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged { path, reason: source.to_string() }
        }
        _ => StoreError::Sqlite { what, path, source },
    }
}

fn file_ids(path: &Path) -> [FileId; 2] {
    let id = |path: &Path| {
        let of = |data: Metadata| (data.dev(), data.ino());
        std::fs::symlink_metadata(path).ok().map(of)
    };
    [id(path), id(&wal_path(path))]
}

/// The write-ahead log of a lease file.
pub(super) fn wal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
