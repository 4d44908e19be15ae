//! `start --recover`: makes a sound lease file of what can be read of a damaged one, and sets the damaged one aside. Run
//! in the child that also [prepares](super::prepare()) the file, before anything is served.
//!
//! ```text
//! FILE, FILE-wal → copies → every row that a page still gives → FILE.recovering → check → FILE.recovered
//!                  FILE, FILE-wal → FILE.damaged-TIME, …-wal; FILE.recovered → FILE
//! ```
//!
//! Until `FILE.recovered` is whole and on disk the damaged file is only read. From then on the exchange can be taken up
//! again at any point, which [`finish`] does before each start: a crash in between loses nothing.

mod salvage;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::config::model::Durability;

use super::lock::WriteLock;
use super::prepare::{PATIENCE, check_table, prepare, sync_folder};
use super::rows;
use super::schema::{ALL_LEASES, LOG_AFTER, VERSION};
use super::sqlite::{from_sqlite, wal_path};
use super::store::StoreError;
use salvage::salvage;

/// What was saved of a damaged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Why it had to be.
    pub reason: String,
    /// Leases saved, by address, and rows of the log, which may tell newer ones.
    pub leases: u64,
    /// Rows of the log saved.
    pub log: u64,
    /// Rows of the history saved.
    pub history: u64,
    /// Places that could not be read; what stood there is lost.
    pub unreadable: u64,
    /// Where the damaged file is now.
    pub aside: PathBuf,
}

impl std::fmt::Display for Recovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reason, leases, log, history, unreadable, aside } = self;
        let lost = if *unreadable == 0 {
            "nothing was unreadable".to_owned()
        } else {
            format!("unreadable places: {unreadable}")
        };
        write!(
            f,
            "{reason}\na new lease file was made of what could be read: {leases} leases, {log} rows of the log, {history} of \
             the history; {lost}\nthe damaged file is kept as \"{}\"",
            aside.display()
        )
    }
}

/// Makes the lease file ready as [`prepare`] does; where it is damaged, or of a later version, from what can be read of
/// it. None where it was sound. Errors: what has nothing to do with damage, and a file of another program, which is left
/// alone.
pub fn recover(path: &Path, durability: Durability) -> Result<Option<Recovered>, StoreError> {
    let reason = match prepare(path, durability).and_then(|()| check_closely(path)) {
        Ok(()) => return Ok(None),
        Err(error @ (StoreError::Damaged { .. } | StoreError::Later { .. } | StoreError::Sqlite { .. })) => {
            error.to_string().lines().next().unwrap_or_default().to_owned()
        }
        Err(error) => return Err(error),
    };
    let mut lock = WriteLock::open(path)?;
    lock.acquire(PATIENCE)?;
    let mut recovered = build(path, durability)?;
    recovered.reason = reason;
    recovered.aside = exchange(path)?;
    lock.release();
    prepare(path, durability)?;
    Ok(Some(recovered))
}

/// Takes up an exchange that a crash has interrupted.
pub(super) fn finish(path: &Path) -> Result<(), StoreError> {
    if with_end(path, ".recovered").exists() { exchange(path).map(drop) } else { Ok(()) }
}

/// Builds the new file beside the damaged one.
fn build(path: &Path, durability: Durability) -> Result<Recovered, StoreError> {
    let io = |source| StoreError::Io { what: "recover", path: path.to_owned(), source };
    let (copy, new) = (with_end(path, ".reading"), with_end(path, ".recovering"));
    let scraps = [&copy, &new]
        .into_iter()
        .flat_map(|base| ["", "-wal", "-shm", "-lock"].map(|end| with_end(base, end)));
    let scraps: Vec<PathBuf> = scraps.collect();
    let clear = || scraps.iter().try_for_each(|scrap| absent(fs::remove_file(scrap)).map_err(io));
    clear()?;
    // Opening a file may change it: its write-ahead log is read, and written back. So a copy is opened.
    fs::copy(path, &copy).map_err(io)?;
    absent(fs::copy(wal_path(path), wal_path(&copy)).map(drop)).map_err(io)?;
    prepare(&new, durability)?;
    let target = Connection::open_with_flags(&new, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(|error| from_sqlite("recover", path, error))?;
    let saved = fill(&target, &copy).map_err(|error| from_sqlite("recover", path, error))?;
    // One file without a write-ahead log, which can change places by one rename.
    target
        .pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0))
        .map_err(|error| from_sqlite("recover", path, error))?;
    drop(target);
    File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
    fs::rename(&new, with_end(path, ".recovered")).map_err(io)?;
    sync_folder(path).map_err(io)?;
    clear()?;
    Ok(saved)
}

/// Copies what can be read. The rows come before the figures that say how far they are folded.
fn fill(target: &Connection, copy: &Path) -> rusqlite::Result<Recovered> {
    let mut saved = Recovered {
        reason: String::new(),
        leases: 0,
        log: 0,
        history: 0,
        unreadable: 0,
        aside: PathBuf::new(),
    };
    let Some(source) = open_damaged(copy) else {
        saved.unreadable = 1;
        return Ok(saved);
    };
    target.execute_batch("BEGIN IMMEDIATE")?;
    let addresses = (0, i64::from(u32::MAX));
    let tables = [
        ("leases", "address", addresses, &mut saved.leases),
        ("lease_log", "seq", (0, i64::MAX), &mut saved.log),
        ("lease_history", "address", addresses, &mut saved.history),
    ];
    for (table, key, range, count) in tables {
        let found = salvage(&source, target, table, key, range)?;
        *count = found.rows;
        saved.unreadable += found.unreadable;
    }
    // What is no lease (a bit that has flipped in a name, say) would keep every process from reading the others.
    for (table, key, sql) in [("leases", "address", ALL_LEASES), ("lease_log", "seq", LOG_AFTER)] {
        let wrong = undecodable(target, sql, if key == "address" { 3 } else { 0 })?;
        let count = if key == "address" { &mut saved.leases } else { &mut saved.log };
        *count = count.saturating_sub(wrong.len() as u64);
        saved.unreadable += wrong.len() as u64;
        for number in wrong {
            target.execute(&format!("DELETE FROM {table} WHERE {key} = ?1"), [number])?;
        }
    }
    copy_meta(&source, target)?;
    target.execute_batch("COMMIT")?;
    Ok(saved)
}

/// Opens a damaged file. Where its first page is what is damaged, the first page of a new file takes its place: it says
/// where each table begins, and that is the same in every file of one schema.
fn open_damaged(copy: &Path) -> Option<Connection> {
    let open = || {
        let source = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let find =
            "SELECT count(*) FROM sqlite_master WHERE name IN ('leases', 'lease_log', 'lease_history')";
        match source.query_row(find, [], |row| row.get::<_, i64>(0))? {
            0 => Err(rusqlite::Error::QueryReturnedNoRows),
            _ => Ok(source),
        }
    };
    open().or_else(|_| graft_first_page(copy).and_then(|()| open())).ok()
}

fn graft_first_page(copy: &Path) -> rusqlite::Result<()> {
    let wrong = |error: io::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let template = with_end(copy, "-new");
    let made = prepare(&template, Durability::Process).map_err(|error| wrong(io::Error::other(error)));
    let grafted = made.and_then(|()| {
        let model = Connection::open(&template)?;
        model.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0))?;
        let page: i64 = model.pragma_query_value(None, "page_size", |row| row.get(0))?;
        drop(model);
        let mut bytes = fs::read(&template).map_err(wrong)?;
        let page = usize::try_from(page).unwrap_or(bytes.len()).min(bytes.len());
        let mut damaged = fs::read(copy).map_err(wrong)?;
        if damaged.len() <= page {
            return Ok(());
        }
        // The file's size is believed rather than the header's, and its list of free pages forgotten (SQLite's file format,
        // offsets 28 and 32 to 39); 18 and 19 say that there may be a write-ahead log.
        bytes.truncate(page);
        if let Some(header) = bytes.get_mut(..100) {
            header[18..20].fill(2);
            header[28..40].fill(0);
        }
        damaged.splice(..page, bytes);
        fs::write(copy, damaged).map_err(wrong)
    });
    for end in ["", "-wal", "-shm", "-lock"] {
        absent(fs::remove_file(with_end(&template, end))).map_err(wrong)?;
    }
    grafted
}

/// The figures of the damaged file that can be believed. Folding what is folded already does no harm; believing that
/// something is folded which is not would lose it.
fn copy_meta(source: &Connection, target: &Connection) -> rusqlite::Result<()> {
    let meta = |key: &str| {
        let read = source.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0));
        read.optional().ok().flatten()
    };
    for key in ["boot_id", "clock_offset", "clock_skew", "newest"] {
        let value: Option<rusqlite::types::Value> = meta(key);
        if let Some(value) = value {
            target.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", rusqlite::params![key, value])?;
        }
    }
    target.execute_batch(
        "UPDATE meta SET value = (SELECT count(*) FROM lease_history) WHERE key = 'history_rows';
         UPDATE meta SET value = coalesce((SELECT max(seq) FROM leases), 0) WHERE key = 'folded_to';
         UPDATE meta SET value = coalesce((SELECT min(seq) FROM lease_log) - 1,
             (SELECT value FROM meta WHERE key = 'folded_to')) WHERE key = 'pruned_to';",
    )
}

/// The keys, which stand in this column, of those rows that are no leases.
fn undecodable(connection: &Connection, sql: &str, key: usize) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows =
        if statement.parameter_count() == 0 { statement.query([])? } else { statement.query([-1])? };
    let mut wrong = Vec::new();
    while let Some(row) = rows.next()? {
        if rows::decode(row).is_err() {
            wrong.push(row.get(key)?);
        }
    }
    Ok(wrong)
}

/// What [`prepare`] does not look for: a file may have leases for every start and a damaged history, which the keeper cannot
/// go on with; and it may be a sound SQLite file and still have rows that are no leases.
fn check_closely(path: &Path) -> Result<(), StoreError> {
    let wrong = |error| from_sqlite("check", path, error);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(wrong)?;
    check_table(&connection, path, "lease_history")?;
    for (sql, key) in [(ALL_LEASES, 3), (LOG_AFTER, 0)] {
        if let Some(row) = undecodable(&connection, sql, key).map_err(wrong)?.first() {
            let reason = format!("row {row} is no lease of schema version {VERSION}");
            return Err(StoreError::Damaged { path: path.to_owned(), reason });
        }
    }
    Ok(())
}

/// Sets the damaged file aside and puts `FILE.recovered` in its place. Each step can be done again.
fn exchange(path: &Path) -> Result<PathBuf, StoreError> {
    let io = |source| StoreError::Io { what: "set aside the damaged", path: path.to_owned(), source };
    let time = chrono::Local::now().format("%Y%m%dT%H%M%S%3f");
    let aside = with_end(path, &format!(".damaged-{time}"));
    // Second names first: nothing of the old file is gone before the new one is in its place.
    absent(fs::hard_link(path, &aside)).map_err(io)?;
    absent(fs::hard_link(wal_path(path), wal_path(&aside))).map_err(io)?;
    sync_folder(path).map_err(io)?;
    // A write-ahead log beside another file than its own would be read into that.
    for end in ["-wal", "-shm"] {
        absent(fs::remove_file(with_end(path, end))).map_err(io)?;
    }
    sync_folder(path).map_err(io)?;
    fs::rename(with_end(path, ".recovered"), path).map_err(io)?;
    sync_folder(path).map_err(io)?;
    Ok(aside)
}

/// What is not there need not be copied or removed.
fn absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
