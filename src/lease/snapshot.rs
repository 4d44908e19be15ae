//! The leases as they are at one moment, read once, for a dry run: a [`LeaseStore`] that never writes. Changes no file
//! and creates none, whether the daemon runs or not.

use std::path::Path;

use rusqlite::Connection;

use super::clock::LeaseClock;
use super::prepare::clock_of;
use super::reader::{self, meta};
use super::schema::{ALL_LEASES, LOG_AFTER};
use super::sqlite::{each, from_sqlite};
use super::store::{CatchUp, LeaseStore, LogRow, Sink, StoreError};

/// All leases of a file, or none.
#[derive(Debug)]
pub struct Snapshot {
    file: Option<(Connection, std::path::PathBuf)>,
}

impl Snapshot {
    /// Of the lease file at `path`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { file: Some((reader::open(path)?, path.to_owned())) })
    }

    /// Of a server that never leased anything.
    pub fn empty() -> Self {
        Self { file: None }
    }

    /// The clock that its times are of.
    pub fn clock(&self) -> Result<LeaseClock, StoreError> {
        match &self.file {
            Some((connection, path)) => {
                // Of a machine that has started again since: the clock that the next start of the daemon will fix.
                let clock = clock_of(connection).map(|(clock, _)| clock);
                clock.map_err(|error| from_sqlite("read", path, error))
            }
            None => Ok(LeaseClock::start(super::Timestamp(0))),
        }
    }
}

impl LeaseStore for Snapshot {
    fn load(&mut self, sink: &mut Sink<'_>) -> Result<u64, StoreError> {
        let Some((connection, path)) = &self.file else { return Ok(0) };
        let mut read = || {
            // One transaction: the keeper must not fold between the two tables.
            connection.execute_batch("BEGIN")?;
            each(connection, ALL_LEASES, None, sink)?;
            let folded_to = meta(connection, "folded_to")?;
            let last = each(connection, LOG_AFTER, Some(folded_to), sink)?;
            connection.execute_batch("ROLLBACK")?;
            Ok(last.unwrap_or(u64::try_from(folded_to).unwrap_or(0)))
        };
        read().map_err(|error| from_sqlite("read", path, error))
    }

    fn catch_up(&mut self, known: u64, _: &mut Sink<'_>) -> Result<CatchUp, StoreError> {
        Ok(CatchUp::Current(known))
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        Err(StoreError::NotWriting)
    }

    fn append(&mut self, _: &[LogRow]) -> Result<(), StoreError> {
        Err(StoreError::NotWriting)
    }

    fn commit_unsynced(&mut self) -> Result<(), StoreError> {
        Err(StoreError::NotWriting)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Err(StoreError::NotWriting)
    }

    fn rollback(&mut self) {}
}
