//! Keeps `lease_history` within its limits of age and size: a walk through the table in its own order, a few hundred
//! rows a step. The walk counts ended intervals by the hour they ended in, so that at its end it is known before which
//! hour the next walk must cut to bring the size under its limit.

use std::collections::BTreeMap;

use rusqlite::params;

use crate::config::model::HistoryLimits;

use super::rows::signed;
use super::sqlite::SqliteStore;
use super::store::{LeaseStore, StoreError};
use super::types::Timestamp;

const STEP_ROWS: usize = 500;

/// What an interval takes on disk, index and free room included, in bytes; measured with MAC, client-id and host name.
const ROW_BYTES: u64 = 160;

const HOUR_SECS: i64 = 3600;

/// One walk after another.
#[derive(Debug)]
pub(super) struct Walk {
    limits: HistoryLimits,
    place: (i64, i64),
    by_hour: BTreeMap<i64, u64>,
    rows: u64,
    /// Found by the last walk: what ended before goes for the sake of size.
    size_cut: i64,
}

impl Walk {
    pub(super) fn new(limits: HistoryLimits) -> Self {
        Self { limits, place: (-1, 0), by_hour: BTreeMap::new(), rows: 0, size_cut: i64::MIN }
    }

    /// Looks at the next rows; true when the walk is over.
    pub(super) fn step(&mut self, store: &mut SqliteStore, now: Timestamp) -> Result<bool, StoreError> {
        let rows = self.read(store)?;
        let keep = signed(self.limits.keep.as_secs());
        let cut = signed(now.0).saturating_sub(keep).max(self.size_cut);
        let old: Vec<(i64, i64)> =
            rows.iter().filter(|row| row.ended && row.ends < cut).map(|row| row.key).collect();
        for row in rows.iter().filter(|row| row.ended && row.ends >= cut) {
            *self.by_hour.entry(row.ends.div_euclid(HOUR_SECS)).or_default() += 1;
        }
        self.rows += (rows.len() - old.len()) as u64;
        if !old.is_empty() {
            delete(store, &old)?;
        }
        if let Some(last) = rows.last() {
            self.place = last.key;
        }
        let over = rows.len() < STEP_ROWS;
        if over {
            let size_cut = self.cut_for_size();
            *self = Self { size_cut, ..Self::new(self.limits) };
        }
        Ok(over)
    }

    fn cut_for_size(&self) -> i64 {
        let mut excess = self.rows.saturating_sub(self.limits.max_size / ROW_BYTES);
        for (hour, count) in &self.by_hour {
            if excess == 0 {
                return hour * HOUR_SECS;
            }
            excess = excess.saturating_sub(*count);
        }
        self.by_hour.last_key_value().map_or(i64::MIN, |(hour, _)| (hour + 1) * HOUR_SECS)
    }

    fn read(&self, store: &SqliteStore) -> Result<Vec<Interval>, StoreError> {
        let read = || {
            let mut statement = store.connection().prepare_cached(
                "SELECT address, grant_seq, ends, ended <> 'active' FROM lease_history \
                 WHERE (address, grant_seq) > (?1, ?2) ORDER BY address, grant_seq LIMIT ?3",
            )?;
            let rows = statement
                .query_map(params![self.place.0, self.place.1, signed(STEP_ROWS as u64)], |row| {
                    Ok(Interval { key: (row.get(0)?, row.get(1)?), ends: row.get(2)?, ended: row.get(3)? })
                })?;
            rows.collect::<rusqlite::Result<Vec<Interval>>>()
        };
        read().map_err(|error| store.error("read", error))
    }
}

/// Whether the history is larger than it may be.
pub(super) fn too_large(store: &SqliteStore, limits: &HistoryLimits) -> Result<bool, StoreError> {
    Ok(u64::try_from(store.meta("history_rows")?).unwrap_or(0) > limits.max_size / ROW_BYTES)
}

struct Interval {
    key: (i64, i64),
    ends: i64,
    ended: bool,
}

fn delete(store: &mut SqliteStore, keys: &[(i64, i64)]) -> Result<(), StoreError> {
    store.begin()?;
    let write = || {
        let sql = "DELETE FROM lease_history WHERE address = ?1 AND grant_seq = ?2 AND ended <> 'active'";
        let mut statement = store.connection().prepare_cached(sql)?;
        keys.iter().try_fold(0, |gone, key| Ok(gone + signed(statement.execute([key.0, key.1])? as u64)))
    };
    let written = write().map_err(|error| store.error("prune", error)).and_then(|gone| {
        let left = store.meta("history_rows")? - gone;
        store.set_meta("history_rows", left.max(0))
    });
    if let Err(error) = written {
        store.rollback();
        return Err(error);
    }
    store.commit()
}
