//! Reads leases for people and commands, on a running and on a stopped daemon, without changing or creating any file.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::ops::{ControlFlow, RangeInclusive};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

pub use crate::config::with_colons as colons;

use super::prepare::clock_of;
use super::rows::{clean, decode};
use super::schema::{APPLICATION_ID, VERSION, lease_columns};
use super::sqlite::{from_sqlite, resolved, wal_path};
use super::store::{RowRef, StoreError};
use super::types::{Lease, LeaseEvent, LeaseState, Timestamp};
use super::unfolded::{Newest, Unfolded};
use super::when::Times;

/// A lease as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The lease.
    pub lease: Lease,
    /// How often in a row the address was declined.
    pub declines: u8,
}

/// One consistent look at the lease file.
#[derive(Debug)]
pub struct Reader {
    pub(super) connection: Connection,
    path: PathBuf,
    /// The present of that look.
    pub times: Times,
    unfolded: RefCell<Unfolded>,
}

/// What is taken along from one look to the next, so that a long list does not begin anew with each page.
#[derive(Debug)]
pub struct Bookmark {
    file: Option<(u64, u64)>,
    unfolded: Unfolded,
}

impl Reader {
    /// Opens the file; what is committed later is not seen.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = open(path)?;
        let wrong = |error| from_sqlite("read", path, error);
        // One transaction: the keeper must not fold between the two tables.
        connection.execute_batch("BEGIN").map_err(wrong)?;
        let times = times(&connection).map_err(wrong)?;
        Ok(Self { connection, path: path.to_owned(), times, unfolded: RefCell::default() })
    }

    /// Ends the look, for nobody knows how long the reader of a page takes: one that lasts keeps the write-ahead log from
    /// shrinking.
    pub fn close(self) -> Bookmark {
        Bookmark { file: identity(&self.path), unfolded: self.unfolded.into_inner() }
    }

    /// As [`Self::open`], for the next page of a list.
    pub fn reopen(path: &Path, bookmark: Bookmark) -> Result<Self, StoreError> {
        let reader = Self::open(path)?;
        // Of another file nothing is known.
        if bookmark.file.is_some() && bookmark.file == identity(path) {
            reader.unfolded.replace(bookmark.unfolded);
        }
        Ok(reader)
    }

    /// The lease of an address, current or last.
    pub fn lease(&self, address: Ipv4Addr) -> Result<Option<Recorded>, StoreError> {
        let tail = concat!(
            "SELECT seq, at, event, ",
            lease_columns!(),
            " FROM lease_log WHERE seq > ?1 AND address = ?2 ORDER BY seq DESC LIMIT 1"
        );
        let folded = concat!("SELECT seq, 0, NULL, ", lease_columns!(), " FROM leases WHERE address = ?1");
        let number = u32::from(address);
        let read = || {
            let found = |row: &Row<'_>| decode(row).map(|row| (row.event, recorded(&row)));
            let folded_to = meta(&self.connection, "folded_to")?;
            match self.connection.query_row(tail, params![folded_to, number], found).optional()? {
                Some((event, lease)) => Ok((event != LeaseEvent::Deleted).then_some(lease)),
                None => {
                    Ok(self.connection.query_row(folded, [number], found).optional()?.map(|(_, lease)| lease))
                }
            }
        };
        read().map_err(|error| self.error(error))
    }

    pub(super) fn error(&self, error: rusqlite::Error) -> StoreError {
        from_sqlite("read", &self.path, error)
    }

    /// Leases by address, at most `limit`, only those above `after`.
    pub fn page(&self, after: Option<Ipv4Addr>, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let mut list = Vec::new();
        if limit == 0 {
            return Ok(list);
        }
        let mut take = |row: &RowRef<'_>| {
            list.push(recorded(row));
            if list.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.walk(behind(after), Ipv4Addr::BROADCAST, &mut take)?;
        Ok(list)
    }
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// The first address of a page.
pub(super) fn behind(after: Option<Ipv4Addr>) -> u64 {
    after.map_or(0, |after| u64::from(u32::from(after)) + 1)
}

impl Reader {
    /// Visits every lease from `first` to `last` in the order of addresses, folded or not, until told to stop. What the log
    /// says of an address hides the folded row.
    pub(super) fn walk(
        &self,
        first: u64,
        last: Ipv4Addr,
        visit: &mut dyn FnMut(&RowRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let last = u32::from(last);
        // Behind the last address there is nothing.
        let Some(first) = u32::try_from(first).ok().filter(|first| *first <= last) else { return Ok(()) };
        let mut unfolded = self.unfolded.borrow_mut();
        let merged = unfolded
            .follow(&self.connection, (first, last))
            .and_then(|()| merge(&self.connection, unfolded.between(first, last), first..=last, visit));
        merged.map_err(|error| self.error(error))
    }
}

fn merge(
    connection: &Connection,
    newest: &[Newest],
    addresses: RangeInclusive<u32>,
    visit: &mut dyn FnMut(&RowRef<'_>) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut newest = newest.iter().peekable();
    let mut by_seq = connection.prepare(concat!(
        "SELECT seq, at, event, ",
        lease_columns!(),
        " FROM lease_log WHERE seq = ?1"
    ))?;
    let mut logged = |row: &Newest, visit: &mut dyn FnMut(&RowRef<'_>) -> ControlFlow<()>| {
        if row.deleted {
            return Ok(ControlFlow::Continue(()));
        }
        by_seq.query_row([row.seq], |row| decode(row).map(|row| visit(&row)))
    };
    let sql = concat!(
        "SELECT seq, 0, NULL, ",
        lease_columns!(),
        " FROM leases WHERE address BETWEEN ?1 AND ?2 ORDER BY address"
    );
    let mut statement = connection.prepare(sql)?;
    let mut folded = statement.query([addresses.start(), addresses.end()])?;
    while let Some(row) = folded.next()? {
        let row = decode(row)?;
        let address = u32::from(row.address);
        while let Some(before) = newest.next_if(|newest| newest.address < address) {
            if logged(before, visit)?.is_break() {
                return Ok(());
            }
        }
        let visited = match newest.next_if(|newest| newest.address == address) {
            Some(newer) => logged(newer, visit)?,
            None => visit(&row),
        };
        if visited.is_break() {
            return Ok(());
        }
    }
    for behind in newest {
        if logged(behind, visit)?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// The present as the view `lease_list` has it, so that both show the same.
fn times(connection: &Connection) -> rusqlite::Result<Times> {
    let (clock, fixed) = clock_of(connection)?;
    let skew_secs = if fixed { meta(connection, "clock_skew")? } else { clock.skew_secs() };
    Ok(Times { now: clock.now(), skew_secs })
}

pub(super) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<i64> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
}

pub(super) fn recorded(row: &RowRef<'_>) -> Recorded {
    let lease = Lease {
        address: row.address,
        client: row.client.to_client(),
        subnet: row.subnet.into(),
        pool: row.pool.into(),
        state: row.state,
        starts: row.starts,
        expires: row.expires,
    };
    Recorded { lease, declines: row.declines }
}

impl Lease {
    /// The state now: a lease that ran out has expired, whether the keeper has written so or not.
    pub fn state_at(&self, now: Timestamp) -> LeaseState {
        state_at(self.state, self.expires, now)
    }
}

pub(super) fn state_at(state: LeaseState, expires: Timestamp, now: Timestamp) -> LeaseState {
    if state == LeaseState::Active && expires < now { LeaseState::Expired } else { state }
}

/// Text that may be shown anywhere: what is not printable, and the backslash itself, is written `\\xNN`.
pub fn printable(bytes: &[u8]) -> String {
    clean(bytes).into_owned()
}

/// Opens for reading only. SQLite would create its shared memory file where a write-ahead log is expected; a file that
/// nobody has open has neither of the two after a clean stop, and is read as the immutable file that it then is.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let wrong = |error| from_sqlite("open", path, error);
    let file = resolved(path)?;
    std::fs::metadata(&file).map_err(|source| StoreError::Io {
        what: "open",
        path: path.to_owned(),
        source,
    })?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let idle = !wal_path(&file).exists();
    let connection = if idle {
        Connection::open_with_flags(immutable_uri(&file), flags | OpenFlags::SQLITE_OPEN_URI)
            .map_err(wrong)?
    } else {
        Connection::open_with_flags(&file, flags).map_err(wrong)?
    };
    connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(wrong)?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(wrong);
    let found = pragma("user_version")?;
    if pragma("application_id")? != APPLICATION_ID {
        let reason = "it was not made by this program".to_owned();
        return Err(StoreError::Foreign { path: path.to_owned(), reason });
    }
    if found > VERSION {
        return Err(StoreError::Later { path: path.to_owned(), found, known: VERSION });
    }
    Ok(connection)
}

fn immutable_uri(path: &Path) -> std::ffi::OsString {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        // Writing to a string cannot fail.
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                write!(uri, "{}", char::from(*byte))
            }
            other => write!(uri, "%{other:02X}"),
        };
    }
    uri.push_str("?immutable=1");
    uri.into()
}
