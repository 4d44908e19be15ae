//! Follows the log of the lease file: what became of leases, in its order, whoever wrote it. For those who want to know at
//! once; the workers have a way of their own. Reads only, a bounded number of rows at a time.

use std::path::Path;

use rusqlite::params;

use crate::config::model::Durability;

use super::reader::recorded;
use super::rows::{decode, signed};
use super::schema::lease_columns;
use super::sqlite::SqliteStore;
use super::store::StoreError;
use super::types::LeaseEvent;
use super::view::LeaseView;
use super::when::Times;

/// An open log.
#[derive(Debug)]
pub struct Follower {
    store: SqliteStore,
    seen: Option<i64>,
}

/// One row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its number.
    pub seq: u64,
    /// When it was written, RFC 3339 in UTC.
    pub at: String,
    /// What happened.
    pub event: LeaseEvent,
    /// The lease since then, its times in UTC.
    pub lease: LeaseView,
}

/// Rows that follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stretch {
    /// Rows before them that are gone from the log: pruned before they were read.
    pub missed: u64,
    /// The rows; none: there are no more now.
    pub rows: Vec<Logged>,
}

impl Follower {
    /// Opens the log of a lease file that is ready.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Nothing is written.
        Ok(Self { store: SqliteStore::open(path, Durability::Process)?, seen: None })
    }

    /// Number of the newest row that is committed.
    pub fn newest(&self) -> Result<u64, StoreError> {
        let sql = "SELECT max(coalesce((SELECT max(seq) FROM lease_log), 0), \
                   (SELECT value FROM meta WHERE key = 'folded_to'))";
        let read = || self.store.connection().prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
        read().map(|seq| u64::try_from(seq).unwrap_or(0)).map_err(|error| self.store.error("read", error))
    }

    /// Whether anything was committed since the last call; true at the first. Errors: the file was replaced, too.
    pub fn has_changed(&mut self) -> Result<bool, StoreError> {
        self.store.verify()?;
        let read = || {
            let mut statement = self.store.connection().prepare_cached("PRAGMA data_version")?;
            statement.query_row([], |row| row.get::<_, i64>(0))
        };
        let version = Some(read().map_err(|error| self.store.error("read", error))?);
        let changed = version != self.seen;
        self.seen = version;
        Ok(changed)
    }

    /// Has the next [`Self::has_changed`] say so in any case.
    pub fn look_again(&mut self) {
        self.seen = None;
    }

    /// The rows after number `known`, at most so many.
    pub fn after(&self, known: u64, most: usize) -> Result<Stretch, StoreError> {
        let sql = concat!(
            "SELECT seq, at, event, ",
            lease_columns!(),
            " FROM lease_log WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        );
        let times = self.store.times()?;
        let read = || {
            let mut statement = self.store.connection().prepare_cached(sql)?;
            let rows = statement.query_map(params![signed(known), signed(most as u64)], |row| {
                let row = decode(row)?;
                Ok(Logged {
                    seq: row.seq,
                    at: times.utc(row.at),
                    event: row.event,
                    lease: LeaseView::new(&recorded(&row), times, Times::utc),
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<Logged>>>()
        };
        let rows = read().map_err(|error| self.store.error("read", error))?;
        // Numbers have no gaps.
        let missed = rows.first().map_or(0, |first| first.seq.saturating_sub(known + 1));
        Ok(Stretch { missed, rows })
    }
}
