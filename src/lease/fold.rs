//! Folds the log into `leases` and `lease_history`, then prunes it. Called by the keeper, a slice at a time.
//!
//! A plan is a range of the log, read whole and sorted by address. Each slice of neighbouring addresses is a short
//! transaction of its own, so that no packet waits for long; `folded_to` moves when all slices are done. A crash between
//! slices does no harm: a row is applied only where it is newer than what `leases` has, and the history is written in the
//! same transaction.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension, params};

use super::record::Packed;
use super::rows::{self, signed};
use super::schema::{FOLD_LEASE, FOLD_OPEN, LOG_PART};
use super::sqlite::SqliteStore;
use super::store::{LeaseStore, RowRef, StoreError};
use super::types::{LeaseEvent, LeaseState, Timestamp};

/// Most rows of the log in one plan: about 150 bytes of memory each.
pub(super) const PLAN_ROWS: u64 = 32_768;

/// Folded rows that stay in the log for other processes to catch up from; who is further behind reads everything anew.
const KEPT_ROWS: u64 = 10_000;

/// Not fewer rows are pruned at once: each step costs a transaction.
const FEWEST_PRUNED: u64 = 500;

/// How many rows a transaction of the keeper takes: as many as fit into the time that it may hold the lock.
#[derive(Debug)]
pub(super) struct Portion {
    rows: usize,
    least: usize,
    most: usize,
}

impl Portion {
    /// Of a fold.
    pub(super) fn of_folding() -> Self {
        Self { rows: 32, least: 8, most: 4_096 }
    }

    /// Of a pruning.
    pub(super) fn of_pruning() -> Self {
        Self { rows: 500, least: 100, most: 8_192 }
    }

    /// So many took so long, and should take `aim`; the next will be nearer to it.
    fn learn(&mut self, rows: usize, took: Duration, aim: Duration) {
        let micros = |time: Duration| usize::try_from(time.as_micros()).unwrap_or(usize::MAX).max(1);
        let fitting = rows.saturating_mul(micros(aim)) / micros(took);
        let fitting = fitting.clamp(rows / 4, rows * 2);
        // A short rest of a plan says nothing of more rows.
        if fitting < rows || rows >= self.rows {
            self.rows = fitting.clamp(self.least, self.most);
        }
    }
}

/// A range of the log being folded.
#[derive(Debug)]
pub(super) struct Plan {
    rows: Vec<FoldRow>,
    done: usize,
    to: u64,
    newest: Timestamp,
}

#[derive(Debug)]
struct FoldRow {
    seq: u64,
    at: Timestamp,
    starts: Timestamp,
    expires: Timestamp,
    client: Packed,
    subnet: Arc<str>,
    pool: Arc<str>,
    address: Ipv4Addr,
    event: LeaseEvent,
    state: LeaseState,
    declines: u8,
}

impl FoldRow {
    fn as_row(&self) -> RowRef<'_> {
        RowRef {
            seq: self.seq,
            at: self.at,
            event: self.event,
            address: self.address,
            subnet: &self.subnet,
            pool: &self.pool,
            state: self.state,
            starts: self.starts,
            expires: self.expires,
            declines: self.declines,
            client: self.client.unpack(),
        }
    }
}

/// What `leases` has of an address.
#[derive(Debug, Clone, Copy)]
struct Folded {
    seq: u64,
    grant: Option<i64>,
    state: LeaseState,
    expires: Timestamp,
}

impl Plan {
    /// Reads what is to be folded, so many rows at most; none if the log is folded whole.
    pub(super) fn read(store: &SqliteStore, most: u64) -> Result<Option<Self>, StoreError> {
        let folded_to = store.meta("folded_to")?;
        let mut rows: Vec<FoldRow> = Vec::new();
        let mut names: [Arc<str>; 2] = ["".into(), "".into()];
        let mut take = |row: &RowRef<'_>| {
            // The same ones again and again.
            for (name, new) in names.iter_mut().zip([row.subnet, row.pool]) {
                if **name != *new {
                    *name = new.into();
                }
            }
            rows.push(FoldRow {
                seq: row.seq,
                at: row.at,
                starts: row.starts,
                expires: row.expires,
                client: Packed::new(&row.client),
                subnet: Arc::clone(&names[0]),
                pool: Arc::clone(&names[1]),
                address: row.address,
                event: row.event,
                state: row.state,
                declines: row.declines,
            });
        };
        let mut read = || {
            let mut statement = store.connection().prepare_cached(LOG_PART)?;
            let mut found = statement.query(params![folded_to, signed(most)])?;
            while let Some(row) = found.next()? {
                take(&rows::decode(row)?);
            }
            Ok(())
        };
        read().map_err(|error| store.error("read", error))?;
        let Some(last) = rows.last() else { return Ok(None) };
        let to = last.seq;
        let newest = rows.iter().map(|row| row.at).max().unwrap_or_default();
        rows.sort_unstable_by_key(|row| (row.address, row.seq));
        Ok(Some(Self { rows, done: 0, to, newest }))
    }

    /// Its rows.
    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Applies the next slice, which should hold the lock no longer than `aim`; true when the plan is done.
    pub(super) fn step(
        &mut self,
        store: &mut SqliteStore,
        portion: &mut Portion,
        aim: Duration,
    ) -> Result<bool, StoreError> {
        let rest = self.rows.get(self.done..).unwrap_or_default();
        let mut length = 0;
        for group in rest.chunk_by(|a, b| a.address == b.address) {
            if length > 0 && length + group.len() > portion.rows {
                break;
            }
            length += group.len();
        }
        let slice = rest.get(..length).unwrap_or_default();
        let last = self.done + length == self.rows.len();
        store.begin()?;
        let began = Instant::now();
        let applied = apply(store, slice)
            .map_err(|error| store.error("fold", error))
            .and_then(|opened| self.account(store, opened, last));
        if let Err(error) = applied {
            store.rollback();
            return Err(error);
        }
        store.commit()?;
        portion.learn(length, began.elapsed(), aim);
        self.done += length;
        Ok(last)
    }

    fn account(&self, store: &SqliteStore, opened: i64, last: bool) -> Result<(), StoreError> {
        if opened > 0 {
            store.set_meta("history_rows", store.meta("history_rows")? + opened)?;
        }
        if last {
            store.set_meta("newest", signed(self.newest.0).max(store.meta("newest")?))?;
            // Two keepers overlap for a moment when one generation follows another.
            store.set_meta("folded_to", signed(self.to).max(store.meta("folded_to")?))?;
        }
        Ok(())
    }
}

/// Removes the oldest folded rows that nobody needs, in one transaction that should hold the lock no longer than `aim`;
/// false when no more are left.
pub(super) fn prune(
    store: &mut SqliteStore,
    last: u64,
    portion: &mut Portion,
    aim: Duration,
) -> Result<bool, StoreError> {
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    let pruned_to = number(store.meta("pruned_to")?);
    let target = number(store.meta("folded_to")?).min(last.saturating_sub(KEPT_ROWS));
    if target < pruned_to + FEWEST_PRUNED {
        return Ok(false);
    }
    let to = pruned_to + portion.rows as u64;
    // The rest goes too where it would be too little for another step.
    let to = if to + FEWEST_PRUNED > target { target } else { to };
    store.begin()?;
    let began = Instant::now();
    let pruned = store
        .connection()
        .prepare_cached("DELETE FROM lease_log WHERE seq <= ?1")
        .and_then(|mut statement| statement.execute([signed(to)]));
    let counted = pruned
        .map_err(|error| store.error("prune", error))
        .and_then(|rows| store.set_meta("pruned_to", signed(to)).map(|()| rows));
    let rows = match counted {
        Ok(rows) => rows,
        Err(error) => {
            store.rollback();
            return Err(error);
        }
    };
    store.commit()?;
    portion.learn(rows, began.elapsed(), aim);
    Ok(to < target)
}

/// Applies rows sorted by address and number; returns how many intervals the history has more.
fn apply(store: &SqliteStore, slice: &[FoldRow]) -> rusqlite::Result<i64> {
    let mut opened = 0;
    for group in slice.chunk_by(|a, b| a.address == b.address) {
        opened += apply_address(store, group)?;
    }
    Ok(opened)
}

fn apply_address(store: &SqliteStore, group: &[FoldRow]) -> rusqlite::Result<i64> {
    let Some(last) = group.last() else { return Ok(0) };
    let mut current = folded(store, last.address)?;
    let before = current.map_or(0, |current| current.seq);
    if last.seq <= before {
        return Ok(0);
    }
    let mut opened = 0;
    // Of several renewals only the last is written.
    let mut renewed = None;
    for row in group.iter().filter(|row| row.seq > before) {
        let open = current.filter(|current| current.state == LeaseState::Active);
        let end = |how: &str, ends: Timestamp| match open.and_then(|open| open.grant) {
            Some(grant) => end_interval(store, row.address, grant, how, ends),
            None => Ok(()),
        };
        let mut grant = current.and_then(|current| current.grant);
        match row.event {
            LeaseEvent::Renewed if open.is_some_and(|open| open.grant.is_some()) => {
                renewed = grant.map(|grant| (grant, row.expires));
            }
            LeaseEvent::Granted | LeaseEvent::Renewed => {
                match open {
                    Some(open) if open.expires <= row.at => end("expired", open.expires)?,
                    Some(_) => end("reassigned", row.at)?,
                    None => {}
                }
                opened += open_interval(store, row)?;
                grant = Some(signed(row.seq));
                renewed = None;
            }
            LeaseEvent::Expired => {
                end("expired", row.expires)?;
                renewed = None;
            }
            LeaseEvent::Released | LeaseEvent::Declined | LeaseEvent::Conflict | LeaseEvent::Deleted => {
                end(row.event.name(), row.at)?;
                renewed = None;
            }
            LeaseEvent::Recovered => grant = None,
        }
        current = (row.event != LeaseEvent::Deleted).then_some(Folded {
            seq: row.seq,
            grant,
            state: row.state,
            expires: row.expires,
        });
    }
    if let Some((grant, ends)) = renewed {
        end_interval(store, last.address, grant, "active", ends)?;
    }
    if let Some(current) = current {
        let mut statement = store.connection().prepare_cached(FOLD_LEASE)?;
        rows::bind(&mut statement, &last.as_row())?;
        statement.raw_bind_parameter(21, current.grant)?;
        statement.raw_execute()?;
    } else {
        let mut statement = store.connection().prepare_cached("DELETE FROM leases WHERE address = ?1")?;
        statement.execute([u32::from(last.address)])?;
    }
    Ok(opened)
}

fn folded(store: &SqliteStore, address: Ipv4Addr) -> rusqlite::Result<Option<Folded>> {
    let mut statement = store
        .connection()
        .prepare_cached("SELECT seq, grant_seq, state, expires FROM leases WHERE address = ?1")?;
    let read = statement.query_row([u32::from(address)], |row| {
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let state = LeaseState::from_number(row.get(2)?).ok_or(rusqlite::Error::InvalidQuery)?;
        let expires = Timestamp(number(row.get(3)?));
        Ok(Folded { seq: number(row.get(0)?), grant: row.get(1)?, state, expires })
    });
    read.optional()
}

fn open_interval(store: &SqliteStore, row: &FoldRow) -> rusqlite::Result<i64> {
    let mut statement = store.connection().prepare_cached(FOLD_OPEN)?;
    rows::bind(&mut statement, &row.as_row())?;
    statement.raw_bind_parameter(21, "active")?;
    statement.raw_execute().map(|rows| i64::from(rows > 0))
}

fn end_interval(
    store: &SqliteStore,
    address: Ipv4Addr,
    grant: i64,
    how: &str,
    ends: Timestamp,
) -> rusqlite::Result<()> {
    let mut statement = store.connection().prepare_cached(
        "UPDATE lease_history SET ends = ?3, ended = ?4 WHERE address = ?1 AND grant_seq = ?2",
    )?;
    statement.execute(params![u32::from(address), grant, signed(ends.0), how]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portion_follows_what_fits_into_the_time() {
        let (aim, ms) = (Duration::from_millis(1), Duration::from_millis);
        let mut portion = Portion::of_folding();
        portion.learn(32, Duration::from_micros(100), aim);
        assert_eq!(portion.rows, 64, "twice as many at most");
        portion.learn(5, Duration::from_micros(1), aim);
        assert_eq!(portion.rows, 64, "a short rest of a plan says nothing");
        portion.learn(64, ms(2), aim);
        assert_eq!(portion.rows, 32);
        (0..10).for_each(|_| portion.learn(portion.rows, ms(100), aim));
        assert_eq!(portion.rows, portion.least);
        (0..20).for_each(|_| portion.learn(portion.rows, Duration::ZERO, aim));
        assert_eq!(portion.rows, portion.most);
    }
}
