//! Folds the log into `leases` and `lease_history`, then prunes it. Called by the keeper, a slice at a time.
//!
//! A plan is a range of the log sorted by address. Each slice of neighbouring addresses is a short transaction of its own,
//! so that no packet waits for long; `folded_to` moves when all slices are done. A crash between slices does no harm: a
//! row is applied only where it is newer than what `leases` has, and the history is written in the same transaction.

use rusqlite::{OptionalExtension, params};

use super::rows::signed;
use super::schema::lease_columns;
use super::sqlite::SqliteStore;
use super::store::{LeaseStore, StoreError};
use super::types::{LeaseEvent, LeaseState};

/// Most rows of the log in one plan: 48 bytes of memory each.
const PLAN_ROWS: usize = 32_768;

/// Most rows in one slice; sorted, they take a few milliseconds.
const SLICE_ROWS: usize = 400;

/// Folded rows that stay in the log for other processes to catch up from; who is further behind reads everything anew.
const KEPT_ROWS: u64 = 10_000;

/// Most rows pruned in one step.
const PRUNED_ROWS: u64 = 2_000;

/// A range of the log being folded.
#[derive(Debug)]
pub(super) struct Plan {
    rows: Vec<FoldRow>,
    done: usize,
    to: u64,
    newest: i64,
}

#[derive(Debug, Clone, Copy)]
struct FoldRow {
    address: u32,
    seq: i64,
    at: i64,
    event: LeaseEvent,
    state: LeaseState,
    expires: i64,
}

/// What `leases` has of an address.
#[derive(Debug, Clone, Copy)]
struct Folded {
    seq: i64,
    grant: Option<i64>,
    state: LeaseState,
    expires: i64,
}

impl Plan {
    /// Reads what is to be folded; none if the log is folded whole.
    pub(super) fn read(store: &SqliteStore) -> Result<Option<Self>, StoreError> {
        let folded_to = store.meta("folded_to")?;
        let read = || {
            let mut statement = store.connection().prepare_cached(
                "SELECT address, seq, at, event, state, expires FROM lease_log WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )?;
            let rows = statement.query_map(params![folded_to, signed(PLAN_ROWS as u64)], |row| {
                let event = LeaseEvent::from_name(row.get_ref(3)?.as_str()?);
                let state = LeaseState::from_number(row.get(4)?);
                Ok(FoldRow {
                    address: row.get(0)?,
                    seq: row.get(1)?,
                    at: row.get(2)?,
                    event: event.ok_or(rusqlite::Error::InvalidQuery)?,
                    state: state.ok_or(rusqlite::Error::InvalidQuery)?,
                    expires: row.get(5)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<FoldRow>>>()
        };
        let mut rows = read().map_err(|error| store.error("read", error))?;
        let Some(last) = rows.last() else { return Ok(None) };
        let to = u64::try_from(last.seq).unwrap_or(0);
        let newest = rows.iter().map(|row| row.at).max().unwrap_or(0);
        rows.sort_unstable_by_key(|row| (row.address, row.seq));
        Ok(Some(Self { rows, done: 0, to, newest }))
    }

    /// Applies the next slice; true when the plan is done.
    pub(super) fn step(&mut self, store: &mut SqliteStore) -> Result<bool, StoreError> {
        let rest = self.rows.get(self.done..).unwrap_or_default();
        let mut length = 0;
        for group in rest.chunk_by(|a, b| a.address == b.address) {
            if length > 0 && length + group.len() > SLICE_ROWS {
                break;
            }
            length += group.len();
        }
        let slice = rest.get(..length).unwrap_or_default();
        let last = self.done + length == self.rows.len();
        store.begin()?;
        let applied = apply(store, slice)
            .map_err(|error| store.error("fold", error))
            .and_then(|opened| self.account(store, opened, last));
        if let Err(error) = applied {
            store.rollback();
            return Err(error);
        }
        store.commit()?;
        self.done += length;
        Ok(last)
    }

    fn account(&self, store: &SqliteStore, opened: i64, last: bool) -> Result<(), StoreError> {
        if opened > 0 {
            store.set_meta("history_rows", store.meta("history_rows")? + opened)?;
        }
        if last {
            store.set_meta("newest", self.newest.max(store.meta("newest")?))?;
            // Two keepers overlap for a moment when one generation follows another.
            store.set_meta("folded_to", signed(self.to).max(store.meta("folded_to")?))?;
        }
        Ok(())
    }
}

/// Removes the oldest folded rows that nobody needs, in one bounded step; false when there is none.
pub(super) fn prune(store: &mut SqliteStore, last: u64) -> Result<bool, StoreError> {
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    let pruned_to = number(store.meta("pruned_to")?);
    let target = number(store.meta("folded_to")?).min(last.saturating_sub(KEPT_ROWS));
    // Not for a handful: each step costs a transaction.
    if target < pruned_to + PRUNED_ROWS / 4 {
        return Ok(false);
    }
    let to = target.min(pruned_to + PRUNED_ROWS);
    store.begin()?;
    let pruned = store
        .connection()
        .prepare_cached("DELETE FROM lease_log WHERE seq <= ?1")
        .and_then(|mut statement| statement.execute([signed(to)]))
        .map_err(|error| store.error("prune", error))
        .and_then(|_| store.set_meta("pruned_to", signed(to)));
    if let Err(error) = pruned {
        store.rollback();
        return Err(error);
    }
    store.commit()?;
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
    for row in group.iter().filter(|row| row.seq > before) {
        let open = current.filter(|current| current.state == LeaseState::Active);
        let end = |how: &str, ends: i64| match open.and_then(|open| open.grant) {
            Some(grant) => end_interval(store, row.address, grant, how, ends),
            None => Ok(()),
        };
        let mut grant = current.and_then(|current| current.grant);
        match row.event {
            LeaseEvent::Renewed if open.is_some_and(|open| open.grant.is_some()) => {
                end("active", row.expires)?;
            }
            LeaseEvent::Granted | LeaseEvent::Renewed => {
                match open {
                    Some(open) if open.expires <= row.at => end("expired", open.expires)?,
                    Some(_) => end("reassigned", row.at)?,
                    None => {}
                }
                opened += open_interval(store, row.seq)?;
                grant = Some(row.seq);
            }
            LeaseEvent::Expired => end("expired", row.expires)?,
            LeaseEvent::Released | LeaseEvent::Declined | LeaseEvent::Conflict | LeaseEvent::Deleted => {
                end(row.event.name(), row.at)?;
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
    if let Some(current) = current {
        write_lease(store, last.seq, current.grant)?;
    } else {
        let mut statement = store.connection().prepare_cached("DELETE FROM leases WHERE address = ?1")?;
        statement.execute([last.address])?;
    }
    Ok(opened)
}

fn folded(store: &SqliteStore, address: u32) -> rusqlite::Result<Option<Folded>> {
    let mut statement = store
        .connection()
        .prepare_cached("SELECT seq, grant_seq, state, expires FROM leases WHERE address = ?1")?;
    let read = statement.query_row([address], |row| {
        let state = LeaseState::from_number(row.get(2)?).ok_or(rusqlite::Error::InvalidQuery)?;
        Ok(Folded { seq: row.get(0)?, grant: row.get(1)?, state, expires: row.get(3)? })
    });
    read.optional()
}

fn write_lease(store: &SqliteStore, seq: i64, grant: Option<i64>) -> rusqlite::Result<()> {
    let sql = concat!(
        "INSERT OR REPLACE INTO leases (seq, grant_seq, ",
        lease_columns!(),
        ") SELECT seq, ?2, ",
        lease_columns!(),
        " FROM lease_log WHERE seq = ?1"
    );
    store.connection().prepare_cached(sql)?.execute(params![seq, grant]).map(drop)
}

fn open_interval(store: &SqliteStore, seq: i64) -> rusqlite::Result<i64> {
    let mut statement = store.connection().prepare_cached(
        "INSERT OR IGNORE INTO lease_history (address, grant_seq, client, hw_type, mac, client_id, hostname, subnet, \
         pool, relay, circuit_id, remote_id, starts, ends, ended) SELECT address, seq, client, hw_type, mac, client_id, \
         hostname, subnet, pool, relay, circuit_id, remote_id, starts, expires, 'active' FROM lease_log WHERE seq = ?1",
    )?;
    statement.execute([seq]).map(|rows| i64::from(rows > 0))
}

fn end_interval(store: &SqliteStore, address: u32, grant: i64, how: &str, ends: i64) -> rusqlite::Result<()> {
    let mut statement = store.connection().prepare_cached(
        "UPDATE lease_history SET ends = ?3, ended = ?4 WHERE address = ?1 AND grant_seq = ?2",
    )?;
    statement.execute(params![address, grant, ends, how]).map(drop)
}
