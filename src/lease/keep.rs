//! Housekeeping of the lease file, in bounded steps that never hold up a packet: ends what ran out, folds and prunes the
//! log, checkpoints the write-ahead log, trims the history, counts. One in the system, in the keeper process; its loop
//! is in `workers::keeper`. Nothing depends on it for safety: without it leases still run out, the file only grows.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::model::{Durability, HistoryLimits};

use super::clock::LeaseClock;
use super::engine::PoolGauge;
use super::expiry::{Ended, Expiries, ReservedGauge};
use super::fold::{Plan, prune};
use super::history::{Walk, too_large};
use super::pools::Topology;
use super::sqlite::{SqliteStore, wal_path};
use super::store::{CatchUp, LeaseStore, StoreError};
use super::types::Timestamp;

/// The log is folded when nothing was written for so long …
const IDLE: Duration = Duration::from_millis(300);

/// … or when it has so many rows that are not folded yet.
const LONG_LOG: u64 = 5_000;

/// Most leases ended in one transaction.
const EXPIRE_ROWS: usize = 256;

/// Between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);

/// A write-ahead log larger than this, in bytes, is cut under our lock.
const LARGE_WAL: u64 = 30 * 1024 * 1024;

/// Between two walks through the history.
const HISTORY_EVERY: Duration = Duration::from_secs(3600);

/// How long a truncating checkpoint may wait for readers.
const TRUNCATE_PATIENCE: Duration = Duration::from_millis(50);

/// The keeper of one lease file.
#[derive(Debug)]
pub struct Keeper {
    store: SqliteStore,
    clock: LeaseClock,
    expiries: Expiries,
    limits: HistoryLimits,
    /// Whether the leases have been read.
    read: bool,
    known: u64,
    folded_to: u64,
    plan: Option<Plan>,
    may_prune: bool,
    changed: Instant,
    checkpoint: Instant,
    walk: Walk,
    walking: bool,
    walked: Instant,
    skew_secs: i64,
}

/// What a step did.
#[derive(Debug, Default)]
pub struct Step {
    /// Leases that ran out and rests that are over, committed.
    pub ended: Vec<Ended>,
    /// Whether there is more to do at once; let the workers have the file for a moment first.
    pub more: bool,
}

impl Keeper {
    /// Opens the file and reads it. What the keeper writes is no promise to a client, so it does not wait for the disk.
    pub fn open(path: &Path, topology: Arc<Topology>, limits: HistoryLimits) -> Result<Self, StoreError> {
        let mut keeper = Self::open_unread(path, topology, limits)?;
        keeper.catch_up()?;
        Ok(keeper)
    }

    /// As [`Self::open`], but the first step reads the leases: at a million that takes a second of a processor, which
    /// the workers need to be ready to serve.
    pub fn open_unread(
        path: &Path,
        topology: Arc<Topology>,
        limits: HistoryLimits,
    ) -> Result<Self, StoreError> {
        let store = SqliteStore::open(path, Durability::Process)?;
        let clock = store.clock()?;
        let folded_to = u64::try_from(store.meta("folded_to")?).unwrap_or(0);
        let now = Instant::now();
        Ok(Self {
            store,
            clock,
            expiries: Expiries::new(topology),
            limits,
            read: false,
            known: 0,
            folded_to,
            plan: None,
            may_prune: true,
            changed: now,
            checkpoint: now,
            walk: Walk::new(limits),
            walking: true,
            walked: now,
            skew_secs: i64::MAX,
        })
    }

    /// Does the most urgent piece of work, a few milliseconds at most.
    pub fn step(&mut self) -> Result<Step, StoreError> {
        let (now, moment) = (self.clock.now(), Instant::now());
        let before = self.known;
        self.catch_up()?;
        if self.known != before {
            self.changed = moment;
        }
        let mut step = Step::default();
        if moment.duration_since(self.checkpoint) >= CHECKPOINT_EVERY {
            self.checkpoint = moment;
            self.check_point()?;
            self.note_skew()?;
        }
        if self.expiries.any_due(now) {
            step.ended = self.expire(now)?;
        }
        step.more = self.expiries.any_due(now);
        let unfolded = self.unfolded();
        let idle = moment.duration_since(self.changed) >= IDLE;
        if self.plan.is_some() || unfolded > LONG_LOG || (unfolded > 0 && idle) {
            step.more |= self.fold_step()?;
        } else if self.may_prune {
            self.may_prune = prune(&mut self.store, self.known)?;
            step.more |= self.may_prune;
        } else if idle {
            step.more |= self.walk_step(now, moment)?;
        }
        Ok(step)
    }

    /// Folds everything and checkpoints: for an orderly end, and for tests. Bounded by what is in the log now.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        self.catch_up()?;
        while self.folded_to < self.known {
            self.fold_step()?;
        }
        self.check_point()
    }

    /// The clock of the file.
    pub fn clock(&self) -> LeaseClock {
        self.clock
    }

    /// Whether the leases have been read; until then there is nothing to tell of them.
    pub fn is_read(&self) -> bool {
        self.read
    }

    /// Rows of the log that are not folded yet.
    pub fn unfolded(&self) -> u64 {
        self.known.saturating_sub(self.folded_to)
    }

    /// Counts by pool.
    pub fn gauges(&self) -> Vec<PoolGauge> {
        self.expiries.gauges()
    }

    /// Counts of reserved addresses, by subnet.
    pub fn reserved_gauges(&self) -> Vec<ReservedGauge> {
        self.expiries.reserved_gauges()
    }

    /// Ends what has run out at `now`, in one transaction; what is due may be more.
    pub fn expire(&mut self, now: Timestamp) -> Result<Vec<Ended>, StoreError> {
        self.store.begin()?;
        // Only inside the transaction is it certain that nobody has renewed it meanwhile.
        let written =
            self.catch_up().and_then(|()| self.expiries.write(&self.store, self.known, now, EXPIRE_ROWS));
        let ended = match written {
            Ok(ended) => ended,
            Err(error) => {
                self.store.rollback();
                return Err(error);
            }
        };
        self.store.commit()?;
        self.expiries.settle(self.known, &ended);
        self.known += ended.len() as u64;
        Ok(ended)
    }

    /// Folds one slice; true if there is more to fold.
    pub fn fold_step(&mut self) -> Result<bool, StoreError> {
        let mut plan = match self.plan.take() {
            Some(plan) => plan,
            None => match Plan::read(&self.store)? {
                Some(plan) => plan,
                None => return Ok(false),
            },
        };
        // After an error the plan is dropped and made anew: folding twice is harmless.
        if plan.step(&mut self.store)? {
            self.folded_to = u64::try_from(self.store.meta("folded_to")?).unwrap_or(0);
            self.may_prune = true;
        } else {
            self.plan = Some(plan);
        }
        Ok(self.plan.is_some() || self.unfolded() > LONG_LOG)
    }

    fn catch_up(&mut self) -> Result<(), StoreError> {
        if !self.read {
            return self.load();
        }
        let expiries = &mut self.expiries;
        match self.store.catch_up(self.known, &mut |row| expiries.apply(&row))? {
            CatchUp::Current(seq) => self.known = seq,
            CatchUp::Gap => self.load()?,
        }
        Ok(())
    }

    /// Reads everything anew; after an error the next step tries again.
    fn load(&mut self) -> Result<(), StoreError> {
        (self.read, self.known) = (false, 0);
        self.expiries.clear();
        let expiries = &mut self.expiries;
        self.known = self.store.load(&mut |row| expiries.apply(&row))?;
        self.read = true;
        Ok(())
    }

    /// A passive checkpoint disturbs nobody, but cannot start the write-ahead log anew while somebody writes all the time;
    /// when it has grown large the writers wait for a truncating one.
    fn check_point(&mut self) -> Result<(), StoreError> {
        self.store.verify()?;
        let size = std::fs::metadata(wal_path(self.store.path())).map_or(0, |data| data.len());
        let used = checkpoint(&self.store, "PASSIVE")?;
        if size > LARGE_WAL && used > LARGE_WAL / 4096 {
            self.store.set_busy_timeout(TRUNCATE_PATIENCE)?;
            let truncated = self
                .store
                .locked(|connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
            self.store.set_busy_timeout(Duration::from_secs(2))?;
            // A reader in the way is no fault: the next one will find a gap.
            match truncated {
                Ok(()) | Err(StoreError::Busy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The view `lease_list` shows wall time by what is noted here.
    fn note_skew(&mut self) -> Result<(), StoreError> {
        let skew = self.clock.skew_secs();
        if skew.abs_diff(self.skew_secs) > 1 {
            self.store.begin()?;
            if let Err(error) = self.store.set_meta("clock_skew", skew) {
                self.store.rollback();
                return Err(error);
            }
            self.store.commit()?;
            self.skew_secs = skew;
        }
        Ok(())
    }

    fn walk_step(&mut self, now: Timestamp, moment: Instant) -> Result<bool, StoreError> {
        if !self.walking {
            self.walking = moment.duration_since(self.walked) >= HISTORY_EVERY;
            return Ok(false);
        }
        if self.walk.step(&mut self.store, now)? {
            self.walked = moment;
            self.walking = too_large(&self.store, &self.limits)?;
        }
        Ok(false)
    }
}

fn checkpoint(store: &SqliteStore, mode: &str) -> Result<u64, StoreError> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let pages = store.connection().query_row(&sql, [], |row| row.get::<_, i64>(1));
    pages.map(|pages| u64::try_from(pages).unwrap_or(0)).map_err(|error| store.error("check-point", error))
}
