//! Reads leases for people and commands, on a running and on a stopped daemon, without changing or creating any file.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

use super::clock::LeaseClock;
use super::rows::{clean, decode};
use super::schema::{APPLICATION_ID, LOG_AFTER, VERSION, lease_columns};
use super::sqlite::{from_sqlite, resolved, wal_path};
use super::store::{RowRef, StoreError};
use super::types::{LeaseEvent, LeaseState, Timestamp, hex_with_colons};

/// Which leases, in the order of their addresses; each condition that is there must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// In this state now, by name.
    pub state: Option<String>,
    /// Of the subnet of this name.
    pub subnet: Option<String>,
    /// Of this address.
    pub address: Option<Ipv4Addr>,
    /// With this hardware address, colons between the bytes; the case does not matter.
    pub mac: Option<String>,
    /// With this client-id, likewise.
    pub client_id: Option<String>,
    /// With this host name; the case does not matter.
    pub hostname: Option<String>,
    /// Only addresses above this one: the next page.
    pub after: Option<Ipv4Addr>,
    /// At most so many; none: all.
    pub limit: Option<usize>,
}

/// A lease for people: the columns of the view `lease_list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The address.
    pub address: Ipv4Addr,
    /// The address, dotted.
    pub ip: String,
    /// Hardware address with colons; empty where there is no client.
    pub mac: String,
    /// Client-id, hex with colons; empty if it sent none.
    pub client_id: String,
    /// Host name, clean text; empty if it sent none.
    pub hostname: String,
    /// Subnet.
    pub subnet: String,
    /// Pool.
    pub pool: String,
    /// Name of the state now.
    pub state: String,
    /// Since when, local time.
    pub starts: String,
    /// Until when, or when it ended, local time; `never`.
    pub expires: String,
}

/// Lists leases by address.
pub fn list(path: &Path, filter: &ListFilter) -> Result<Vec<LeaseRow>, StoreError> {
    let connection = open(path)?;
    let wrong = |error| from_sqlite("read", path, error);
    // One transaction: the keeper must not fold between the two tables.
    connection.execute_batch("BEGIN").map_err(wrong)?;
    read(&connection, filter).map_err(wrong)
}

fn read(connection: &Connection, filter: &ListFilter) -> rusqlite::Result<Vec<LeaseRow>> {
    let meta = |key: &str| {
        connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, i64>(0))
    };
    let clock = LeaseClock::new(meta("clock_offset")?);
    // As the view has it, so that both show the same.
    let shown = Shown { now: clock.now(), skew_secs: meta("clock_skew")? };
    let first = filter.after.map_or(0, |after| u64::from(u32::from(after)) + 1);
    let mut tail = BTreeMap::new();
    let mut log = connection.prepare(LOG_AFTER)?;
    let mut rows = log.query([meta("folded_to")?])?;
    while let Some(row) = rows.next()? {
        let row = decode(row)?;
        if u64::from(u32::from(row.address)) >= first {
            tail.insert(row.address, (row.event != LeaseEvent::Deleted).then(|| shown.row(&row)));
        }
    }
    let sql = concat!(
        "SELECT seq, 0, NULL, ",
        lease_columns!(),
        " FROM leases WHERE address >= ?1 ORDER BY address"
    );
    let mut statement = connection.prepare(sql)?;
    let mut folded = statement.query([i64::try_from(first).unwrap_or(i64::MAX)])?;
    let mut list = Vec::new();
    let mut tail = tail.into_iter().peekable();
    let mut next = take(&mut folded, shown)?;
    // Merges the two; what the log says of an address hides the folded row.
    while filter.limit.is_none_or(|limit| list.len() < limit) {
        let newer = match (tail.peek(), &next) {
            (None, None) => break,
            (Some((address, _)), Some(row)) => *address <= row.address,
            (Some(_), None) => true,
            (None, Some(_)) => false,
        };
        let row = if newer {
            let Some((address, row)) = tail.next() else { break };
            if next.as_ref().is_some_and(|row| row.address == address) {
                next = take(&mut folded, shown)?;
            }
            row
        } else {
            let row = next.take();
            next = take(&mut folded, shown)?;
            row
        };
        list.extend(row.filter(|row| filter.admits(row)));
    }
    Ok(list)
}

fn take(rows: &mut rusqlite::Rows<'_>, shown: Shown) -> rusqlite::Result<Option<LeaseRow>> {
    let convert = |row: &Row<'_>| decode(row).map(|row| shown.row(&row));
    rows.next()?.map(convert).transpose()
}

#[derive(Debug, Clone, Copy)]
struct Shown {
    now: Timestamp,
    skew_secs: i64,
}

impl Shown {
    fn row(self, row: &RowRef<'_>) -> LeaseRow {
        let ran_out = row.state == LeaseState::Active && row.expires < self.now;
        let state = if ran_out { LeaseState::Expired } else { row.state };
        let client = &row.client;
        LeaseRow {
            address: row.address,
            ip: row.address.to_string(),
            mac: colons(client.hardware.bytes()),
            client_id: client.client_id.map(colons).unwrap_or_default(),
            hostname: client.hostname.map(|name| clean(name).into_owned()).unwrap_or_default(),
            subnet: row.subnet.to_owned(),
            pool: row.pool.to_owned(),
            state: state.name().to_owned(),
            starts: self.local(row.starts),
            expires: if row.expires < Timestamp::NEVER {
                self.local(row.expires)
            } else {
                "never".to_owned()
            },
        }
    }

    fn local(self, time: Timestamp) -> String {
        let wall = i64::try_from(time.0).unwrap_or(i64::MAX).saturating_sub(self.skew_secs);
        let utc = chrono::DateTime::from_timestamp(wall, 0);
        utc.map(|utc| utc.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S").to_string())
            .unwrap_or_default()
    }
}

impl ListFilter {
    fn admits(&self, row: &LeaseRow) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|text| text.eq_ignore_ascii_case(value))
        };
        is(&self.state, &row.state)
            && self.subnet.as_ref().is_none_or(|subnet| *subnet == row.subnet)
            && self.address.is_none_or(|address| address == row.address)
            && is(&self.mac, &row.mac)
            && is(&self.client_id, &row.client_id)
            && is(&self.hostname, &row.hostname)
    }
}

fn colons(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    // Writing to a string cannot fail.
    let _ = hex_with_colons(bytes, &mut text);
    text
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
