//! Housekeeping of the lease file, in bounded steps that never hold up a packet: ends what ran out, folds and prunes the
//! log, checkpoints the write-ahead log, trims the history, counts. One in the system, in the keeper process; its loop
//! is in `workers::keeper`. Nothing depends on it for safety: without it leases still run out, the file only grows.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Row};

use crate::config::model::{Durability, HistoryLimits};

use super::clock::LeaseClock;
use super::engine::PoolGauge;
use super::expiry::{Ended, Expiries, ReservedGauge};
use super::fold::{PLAN_ROWS, Plan, Portion, prune};
use super::history::{Walk, too_large};
use super::pools::Topology;
use super::sqlite::SqliteStore;
use super::store::{CatchUp, LeaseStore, StoreError};
use super::types::Timestamp;

/// The log is folded when nothing was written for so long …
const IDLE: Duration = Duration::from_millis(300);

/// … or when it has so many rows that are not folded yet. While others write, slowly …
const LONG_LOG: u64 = 5_000;

/// … up to this length (about 50 MiB), from where on it is as important as what they do.
const HUGE_LOG: u64 = 500_000;

/// How long a transaction of the keeper's should take while others write: they wait meanwhile.
const HOLD: Duration = Duration::from_millis(1);

/// Likewise while nobody writes.
const HOLD_WHEN_IDLE: Duration = Duration::from_millis(10);

/// While others write the keeper rests so many times as long as it has worked: on a small machine they share a processor.
const REST: u32 = 8;

/// Between two steps in any case: room for the workers.
const BREATH: Duration = Duration::from_millis(2);

/// Between two looks at the file when there is nothing to do.
const TICK: Duration = Duration::from_millis(250);

/// Most leases ended in one transaction.
const EXPIRE_ROWS: usize = 256;

/// Between two checkpoints, where anything is written. The shorter, the less each has to write to the disk at once.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(100);

/// A write-ahead log with more pages than this (4 MiB) is brought to its end under our lock, so that it starts anew.
const LARGE_WAL: u64 = 1024;

/// Between two walks through the history.
const HISTORY_EVERY: Duration = Duration::from_secs(3600);

/// The keeper of one lease file.
#[derive(Debug)]
pub struct Keeper {
    store: SqliteStore,
    file: Unclosed,
    clock: LeaseClock,
    expiries: Expiries,
    limits: HistoryLimits,
    /// Whether the leases have been read.
    read: bool,
    known: u64,
    folded_to: u64,
    plan: Option<Plan>,
    slice: Portion,
    may_prune: bool,
    pruning: Portion,
    changed: Instant,
    checkpoint: Instant,
    /// Pages of the write-ahead log when it was last brought to its end; it may have been read then.
    ended_wal: u64,
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
    /// Whether there is more to do.
    pub more: bool,
    /// How long to let the workers have the file before the next step.
    pub pause: Duration,
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
        let file = Unclosed::open(path)?;
        Ok(Self {
            store,
            file,
            clock,
            expiries: Expiries::new(topology),
            limits,
            read: false,
            known: 0,
            folded_to,
            plan: None,
            slice: Portion::of_folding(),
            may_prune: true,
            pruning: Portion::of_pruning(),
            changed: now,
            checkpoint: now,
            ended_wal: 0,
            walk: Walk::new(limits),
            walking: true,
            walked: now,
            skew_secs: i64::MAX,
        })
    }

    /// Does the most urgent piece of work, a few milliseconds at most, and holds the lock for about one.
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
        let idle = self.is_idle();
        if self.plan.is_some() {
            step.more |= self.fold_step()? || self.may_prune;
        } else if self.may_prune {
            // Before the next plan is begun: else a log that never gets shorter than LONG_LOG would keep every row.
            let aim = if idle { HOLD_WHEN_IDLE } else { HOLD };
            self.may_prune = prune(&mut self.store, self.known, &mut self.pruning, aim)?;
            step.more |= self.may_prune || unfolded > LONG_LOG;
        } else if unfolded > LONG_LOG || (unfolded > 0 && idle) {
            step.more |= self.fold_step()? || self.may_prune;
        } else {
            self.walk_step(now, moment)?;
        }
        step.pause = match (step.more, idle) {
            (false, true) => TICK,
            (false, false) => CHECKPOINT_EVERY,
            (true, true) => BREATH,
            (true, false) if unfolded > HUGE_LOG => moment.elapsed().clamp(BREATH, CHECKPOINT_EVERY),
            (true, false) => (moment.elapsed() * REST).clamp(BREATH, CHECKPOINT_EVERY),
        };
        Ok(step)
    }

    fn is_idle(&self) -> bool {
        self.changed.elapsed() >= IDLE
    }

    /// Folds everything and checkpoints: for an orderly end, and for tests. Bounded by what is in the log now.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        self.catch_up()?;
        while self.folded_to < self.known {
            self.fold_step()?;
        }
        self.check_point()
    }

    /// For a keeper that gives way to its successor: what it has begun is finished, or else a part of a long log is folded. So
    /// the log, which each new process reads, stays short where keepers live too briefly to come to it.
    pub fn leave(&mut self) -> Result<(), StoreError> {
        if self.plan.is_none() {
            self.plan = Plan::read(&self.store, LONG_LOG)?.filter(|plan| plan.len() == LONG_LOG);
        }
        while self.plan.is_some() {
            self.fold_step()?;
        }
        if self.read {
            self.may_prune = prune(&mut self.store, self.known, &mut self.pruning, HOLD_WHEN_IDLE)?;
        }
        Ok(())
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
            None => match Plan::read(&self.store, PLAN_ROWS)? {
                Some(plan) => plan,
                None => return Ok(false),
            },
        };
        // After an error the plan is dropped and made anew: folding twice is harmless.
        let aim = if self.is_idle() { HOLD_WHEN_IDLE } else { HOLD };
        if plan.step(&mut self.store, &mut self.slice, aim)? {
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

    /// A passive checkpoint disturbs nobody, but cannot come to an end while somebody writes all the time. So when the
    /// write-ahead log is large, it is brought to its end while the writers wait: there is little left to copy then, and
    /// the rest is on its way to the disk beforehand. The next writer starts the log anew, over the old one: a file that
    /// does not grow is written to the disk in little more than half the time.
    fn check_point(&mut self) -> Result<(), StoreError> {
        self.store.verify()?;
        let pages = checkpoint(self.store.connection()).map_err(|e| self.store.error("check-point", e))?;
        if pages > LARGE_WAL && pages != self.ended_wal {
            self.file.sync().map_err(|source| {
                let path = self.store.path().to_owned();
                StoreError::Io { what: "check-point", path, source }
            })?;
            // Where a reader is in the way nothing comes of it: the next one will find a gap.
            self.ended_wal = self.store.locked(checkpoint)?;
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

    fn walk_step(&mut self, now: Timestamp, moment: Instant) -> Result<(), StoreError> {
        if !self.walking {
            self.walking = moment.duration_since(self.walked) >= HISTORY_EVERY;
            return Ok(());
        }
        if self.walk.step(&mut self.store, now)? {
            self.walked = moment;
            self.walking = too_large(&self.store, &self.limits)?;
        }
        Ok(())
    }
}

/// Copies what it can without waiting for anybody; how many pages the write-ahead log had then.
fn checkpoint(connection: &Connection) -> rusqlite::Result<u64> {
    // −1 where another one is at work, as when one generation follows another.
    let pages = |row: &Row<'_>| row.get(1).map(|pages: i64| u64::try_from(pages).unwrap_or(0));
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], pages)
}

/// The lease file once more, for the sake of `fdatasync`. Never closed: closing any descriptor of a file gives up all
/// the locks that the process has on it (fcntl(2)), those of SQLite too. So one is left over when a keeper is dropped,
/// which is when its process ends.
#[derive(Debug)]
struct Unclosed(ManuallyDrop<File>);

impl Unclosed {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        file.map(|file| Self(ManuallyDrop::new(file))).map_err(|source| StoreError::Io {
            what: "open",
            path: path.to_owned(),
            source,
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
