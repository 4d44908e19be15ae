//! Makes the lease file ready, before anything is served: run once by `start`, in a child with the workers' user, so that
//! what is wrong is said on the caller's terminal and every file belongs to that user.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use crate::config::model::Durability;

use super::clock::{LeaseClock, boot_id};
use super::lock::WriteLock;
use super::schema::{APPLICATION_ID, MIGRATIONS, VERSION};
use super::sqlite::{connect, from_sqlite};
use super::store::StoreError;
use super::types::Timestamp;

/// How long another process may hold the file meanwhile.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// As [`prepare`] for a file that is there: only where something is left to do, since the check of a large file holds up a
/// daemon that runs. A machine that has started again since needs a new clock; an older version's file a new schema.
pub fn prepare_if_needed(path: &Path, durability: Durability) -> Result<(), StoreError> {
    let store = super::SqliteStore::open(path, durability)?;
    let (_, fixed) = clock_of(store.connection()).map_err(|error| store.error("read", error))?;
    let current = store.schema_version()? == VERSION;
    drop(store);
    if fixed && current { Ok(()) } else { prepare(path, durability) }
}

/// Creates the file (and its folder) if it is missing, checks it, brings it to this program's schema, and fixes the lease
/// clock for this boot. A file that is not ours, damaged or of a later version is left as it is.
pub fn prepare(path: &Path, durability: Durability) -> Result<(), StoreError> {
    super::recover::finish(path)?;
    create(path)?;
    check_magic(path)?;
    let mut lock = WriteLock::open(path)?;
    lock.acquire(PATIENCE)?;
    let connection = connect(path, durability)?;
    let result = bring_up(&connection, path);
    drop(connection);
    lock.release();
    result
}

fn create(path: &Path) -> Result<(), StoreError> {
    let io = |what| move |source| StoreError::Io { what, path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(io("create the folder of"))?;
    }
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
        .open(path);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = std::fs::symlink_metadata(path).map_err(io("open"))?;
            if found.is_file() {
                return Ok(());
            }
            let reason = if found.is_symlink() { "it is a symbolic link" } else { "it is not a plain file" };
            Err(StoreError::Foreign { path: path.to_owned(), reason: reason.to_owned() })
        }
        Err(error) => Err(io("create")(error)),
    }
}

/// Makes what was created, renamed or removed in the file's folder survive a loss of power.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

/// An empty file is new; anything else must be SQLite.
fn check_magic(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { what: "read", path: path.to_owned(), source };
    let mut file =
        OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path).map_err(io)?;
    let mut start = Vec::with_capacity(MAGIC.len());
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start).map_err(io)?;
    if start.is_empty() || start == MAGIC {
        return Ok(());
    }
    Err(StoreError::Damaged {
        path: path.to_owned(),
        reason: "it does not begin like an SQLite file".to_owned(),
    })
}

fn bring_up(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let wrong = |what| move |error| from_sqlite(what, path, error);
    let read =
        |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(wrong("read"));
    let found = read("user_version")?;
    let application = read("application_id")?;
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(wrong("read"))?;
    let empty = found == 0 && application == 0 && objects == 0;
    if !empty && application != APPLICATION_ID {
        let reason = "it is the SQLite file of another program".to_owned();
        return Err(StoreError::Foreign { path: path.to_owned(), reason });
    }
    if found > VERSION {
        return Err(StoreError::Later { path: path.to_owned(), found, known: VERSION });
    }
    if !empty {
        // The history may be large and decides nothing, so it is left out.
        ["meta", "leases", "lease_log"].iter().try_for_each(|table| check_table(connection, path, table))?;
    }
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(wrong("switch to WAL mode the"))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let source = std::io::Error::other("its file system does not support WAL mode (shared memory)");
        return Err(StoreError::Io { what: "use", path: path.to_owned(), source });
    }
    connection.execute_batch("BEGIN IMMEDIATE").map_err(wrong("lock"))?;
    let changed = migrate(connection, found).and_then(|()| set_clock(connection));
    let result = changed.and_then(|()| connection.execute_batch("COMMIT"));
    if result.is_err() {
        // What made it fail is reported, not this.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result.map_err(wrong("migrate"))
}

/// Whether the pages of a table are sound. Errors: what is wrong with them.
pub(super) fn check_table(connection: &Connection, path: &Path, table: &str) -> Result<(), StoreError> {
    let check = format!("PRAGMA quick_check('{table}')");
    let verdict: String = connection
        .query_row(&check, [], |row| row.get(0))
        .map_err(|error| from_sqlite("check", path, error))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(StoreError::Damaged { path: path.to_owned(), reason: verdict })
}

fn migrate(connection: &Connection, found: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(found).unwrap_or(0);
    for step in MIGRATIONS.iter().skip(done) {
        connection.execute_batch(step)?;
    }
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)
}

fn set_clock(connection: &Connection) -> rusqlite::Result<()> {
    let set = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
    let (clock, _) = clock_of(connection)?;
    connection.execute(set, params!["boot_id", boot_id()])?;
    connection.execute(set, params!["clock_offset", clock.offset_millis()])?;
    connection.execute(set, params!["clock_skew", clock.skew_secs()])?;
    Ok(())
}

/// The clock of a lease file, and whether the file has it; if not, nobody has used the file since the machine started,
/// and this is the clock that the next one will fix.
pub(super) fn clock_of(connection: &Connection) -> rusqlite::Result<(LeaseClock, bool)> {
    let meta = |key: &str| {
        let read = "SELECT CAST(value AS TEXT) FROM meta WHERE key = ?1";
        connection.query_row(read, [key], |row| row.get::<_, String>(0)).optional()
    };
    let this_boot = boot_id();
    let kept = meta("clock_offset")?.and_then(|text| text.parse().ok());
    match kept {
        Some(offset) if !this_boot.is_empty() && meta("boot_id")?.as_deref() == Some(this_boot.as_str()) => {
            Ok((LeaseClock::new(offset), true))
        }
        _ => {
            let last = "SELECT max(coalesce((SELECT at FROM lease_log ORDER BY seq DESC LIMIT 1), 0), \
                        coalesce((SELECT value FROM meta WHERE key = 'newest'), 0))";
            let newest: i64 = connection.query_row(last, [], |row| row.get(0))?;
            Ok((LeaseClock::start(Timestamp(u64::try_from(newest).unwrap_or(0))), false))
        }
    }
}
