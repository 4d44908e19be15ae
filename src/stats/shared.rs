//! The shared memory: one mapping of atomics, made by main before its first fork, bounded for ever.
//!
//! ```text
//! | header 16 | slot 0 | slot 1 | … | pools | recent errors | events of main | history | offers (lease layer) |
//! slot: | head 8: kind, index, pid, generation, started | counters | gauges | histograms |
//! ```
//!
//! A process adds to the counters of its own slot; the next worker in that slot goes on from there, so what a
//! dead process counted stays. Nothing here ever blocks or allocates.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use daemon_utils::{clock, shm};

use super::happened::{HAPPENED_WORDS, Happened};
use super::histogram::{Histogram, Words};
use super::history::{HISTORY_WORDS, History};
use super::metrics::{Counter, Gauge};
use super::notes::{NOTES_WORDS, Notes};

/// Processes that can be alive at one time: main, two generations of workers, and tcp workers of older
/// generations whose clients have not left yet.
pub const SLOTS: usize = 256;
/// Pools whose gauges are published.
pub const POOLS: usize = 1024;
/// Words of a pool: addresses, free ones, then leases by state.
const POOL_WORDS: usize = 8;
/// The lease states that are counted per pool, in the order of [`PoolFigures::leases`].
pub const POOL_STATES: [&str; 5] = ["active", "expired", "released", "declined", "conflict"];

pub(super) const HEADER: usize = 16;
pub(super) const SLOT_HEAD: usize = 8;
pub(super) const SLOT_WORDS: usize =
    SLOT_HEAD + Counter::COUNT + Gauge::COUNT + Histogram::ALL.len() * Histogram::WORDS;
pub(super) const SLOTS_AT: usize = HEADER;
pub(super) const POOLS_AT: usize = SLOTS_AT + SLOTS * SLOT_WORDS;
pub(super) const NOTES_AT: usize = POOLS_AT + POOLS * POOL_WORDS;
pub(super) const HAPPENED_AT: usize = NOTES_AT + NOTES_WORDS;
pub(super) const HISTORY_AT: usize = HAPPENED_AT + HAPPENED_WORDS;
pub(super) const REST_AT: usize = HISTORY_AT + HISTORY_WORDS;

/// The whole mapping; a handle that can be copied.
#[derive(Debug, Clone, Copy)]
pub struct Shared {
    words: &'static [AtomicU64],
}

impl Shared {
    /// Makes the mapping, with `extra` words at its end for the offers.
    pub fn create(extra: usize) -> io::Result<Self> {
        Self::create_kept(extra).map(|(shared, _fd)| shared)
    }

    /// The same with the descriptor, for handing the memory to a program that is executed in place.
    pub fn create_kept(extra: usize) -> io::Result<(Self, OwnedFd)> {
        let (words, fd) = shm::create_kept("echo-daemon", REST_AT + extra)?;
        let shared = Self { words };
        shared.happened().found(u64::try_from(clock::boot_time().as_nanos()).unwrap_or(u64::MAX));
        Ok((shared, fd))
    }

    /// Memory that was handed over, laid out as this program does it ([`Layout`](super::layout::Layout)); none where it is
    /// too short for that.
    pub fn of_words(words: &'static [AtomicU64], extra: usize) -> Option<Self> {
        (words.len() == REST_AT + extra).then_some(Self { words })
    }

    /// All of it.
    pub(super) fn words(self) -> &'static [AtomicU64] {
        self.words
    }

    /// The words at the end, which the lease layer lays out.
    pub fn rest(self) -> &'static [AtomicU64] {
        self.words.get(REST_AT..).unwrap_or_default()
    }

    /// One process's slot, 0 (main) to `SLOTS` − 1; beyond that the last.
    pub fn slot(self, index: usize) -> Slot {
        let at = SLOTS_AT + index.min(SLOTS - 1) * SLOT_WORDS;
        Slot { words: self.words.get(at..at + SLOT_WORDS).unwrap_or_default() }
    }

    /// All slots.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        (0..SLOTS).map(move |index| self.slot(index))
    }

    /// A counter over all processes that ever ran.
    pub fn counter(self, counter: Counter) -> u64 {
        self.slots().map(|slot| slot.counter(counter)).sum()
    }

    /// A gauge over all processes.
    pub fn gauge(self, gauge: Gauge) -> u64 {
        self.slots().map(|slot| slot.gauge(gauge)).sum()
    }

    /// Bucket counts, the count beyond all bounds, and the sum, over all processes.
    pub fn histogram(self, histogram: Histogram) -> Words {
        let mut total = [0; Histogram::WORDS];
        for slot in self.slots() {
            for (sum, word) in total.iter_mut().zip(slot.histogram_words(histogram)) {
                *sum += word.load(Relaxed);
            }
        }
        total
    }

    /// The figures of one pool, by its place among all pools of the configuration; none beyond [`POOLS`].
    pub fn pool(self, index: usize) -> Option<PoolFigures> {
        let words = self.pool_words(index)?;
        let word = |at: usize| words[at].load(Relaxed);
        Some(PoolFigures {
            addresses: word(0),
            free: word(1),
            leases: std::array::from_fn(|at| word(2 + at)),
        })
    }

    /// Publishes the figures of one pool; ignored beyond [`POOLS`].
    pub fn set_pool(self, index: usize, figures: &PoolFigures) {
        if let Some(words) = self.pool_words(index) {
            words[0].store(figures.addresses, Relaxed);
            words[1].store(figures.free, Relaxed);
            for (word, count) in words[2..].iter().zip(figures.leases) {
                word.store(count, Relaxed);
            }
        }
    }

    /// The recent errors.
    pub fn notes(self) -> Notes {
        Notes::new(self.words.get(NOTES_AT..HAPPENED_AT).unwrap_or_default())
    }

    /// The last events of main.
    pub fn happened(self) -> Happened {
        Happened::new(self.words.get(HAPPENED_AT..HISTORY_AT).unwrap_or_default())
    }

    /// What the figures were a moment ago.
    pub fn history(self) -> History {
        History::new(self.words.get(HISTORY_AT..REST_AT).unwrap_or_default())
    }

    /// Boot time of the last commit of leases.
    pub fn last_commit(self) -> Option<Duration> {
        moment(self.header(2).load(Relaxed))
    }

    /// Says that leases were committed at this boot time.
    pub fn committed(self, at: Duration) {
        self.header(2).store(millis(at), Relaxed);
    }

    /// Boot time of the last reload, and whether it was applied.
    pub fn last_reload(self) -> Option<(Duration, bool)> {
        let at = moment(self.header(3).load(Relaxed))?;
        Some((at, self.header(4).load(Relaxed) != 0))
    }

    /// Says that a reload was applied or refused; main's alone.
    pub fn reloaded(self, at: Duration, applied: bool) {
        self.header(4).store(applied.into(), Relaxed);
        self.header(3).store(millis(at), Relaxed);
    }

    /// Generation of the configuration in force, from 1.
    pub fn generation(self) -> u64 {
        self.header(0).load(Relaxed)
    }

    /// Says which generation is in force; main's alone.
    pub fn set_generation(self, generation: u64) {
        self.header(0).store(generation, Relaxed);
    }

    /// Boot time at which the daemon became ready.
    pub fn started(self) -> Duration {
        Duration::from_millis(self.header(1).load(Relaxed))
    }

    /// Says when the daemon became ready; main's alone.
    pub fn set_started(self, boot_time: Duration) {
        self.header(1).store(millis(boot_time), Relaxed);
    }

    fn pool_words(self, index: usize) -> Option<&'static [AtomicU64]> {
        let at = POOLS_AT + index * POOL_WORDS;
        (index < POOLS).then(|| self.words.get(at..at + POOL_WORDS)).flatten()
    }

    fn header(self, index: usize) -> &'static AtomicU64 {
        &self.words[index]
    }
}

/// What is known of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolFigures {
    /// Addresses that it could give out.
    pub addresses: u64,
    /// Addresses that no client holds or is remembered for.
    pub free: u64,
    /// Leases by state, in the order of [`POOL_STATES`].
    pub leases: [u64; 5],
}

impl PoolFigures {
    /// Addresses that a new client could get now: free ones and those of leases that ended.
    pub fn available(&self) -> u64 {
        let [active, _expired, _released, declined, conflict] = self.leases;
        self.addresses.saturating_sub(active + declined + conflict)
    }
}

/// One process's part of the shared memory; a handle that can be copied.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    words: &'static [AtomicU64],
}

/// What a slot says of the process in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupant {
    /// Number of the worker kind (supervisor's table), from 0.
    pub kind: u64,
    /// Which of several workers of the kind.
    pub index: u64,
    /// Process ID.
    pub pid: i32,
    /// Generation that it was born in.
    pub generation: u64,
    /// Boot time at which it was forked.
    pub started: Duration,
}

impl Slot {
    /// Adds to a counter.
    pub fn add(self, counter: Counter, n: u64) {
        self.words[SLOT_HEAD + counter as usize].fetch_add(n, Relaxed);
    }

    /// Adds one to a counter.
    pub fn count(self, counter: Counter) {
        self.add(counter, 1);
    }

    /// What this slot has counted.
    pub fn counter(self, counter: Counter) -> u64 {
        self.words[SLOT_HEAD + counter as usize].load(Relaxed)
    }

    /// The counter's cell, for a component that knows nothing of the table.
    pub fn cell(self, counter: Counter) -> &'static AtomicU64 {
        &self.words[SLOT_HEAD + counter as usize]
    }

    /// Sets a gauge of this slot.
    pub fn set(self, gauge: Gauge, value: u64) {
        self.words[SLOT_HEAD + Counter::COUNT + gauge as usize].store(value, Relaxed);
    }

    /// What this slot says of a gauge.
    pub fn gauge(self, gauge: Gauge) -> u64 {
        self.words[SLOT_HEAD + Counter::COUNT + gauge as usize].load(Relaxed)
    }

    /// Takes a value into a histogram, in its stored unit.
    pub fn observe(self, histogram: Histogram, value: u64) {
        self.observe_many(histogram, value, 1);
    }

    /// Takes a duration into a histogram of seconds.
    pub fn observe_time(self, histogram: Histogram, time: Duration) {
        self.observe_times(histogram, time, 1);
    }

    /// The same so many times.
    pub fn observe_times(self, histogram: Histogram, time: Duration, count: u64) {
        self.observe_many(histogram, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), count);
    }

    fn observe_many(self, histogram: Histogram, value: u64, count: u64) {
        if count == 0 {
            return;
        }
        let words = self.histogram_words(histogram);
        let bucket = histogram.bounds().partition_point(|bound| *bound < value);
        words[bucket].fetch_add(count, Relaxed);
        words[Histogram::BUCKETS + 1].fetch_add(value.saturating_mul(count), Relaxed);
    }

    /// Writes who is in the slot; main's alone. The gauges of whoever was there before are forgotten.
    pub fn occupy(self, occupant: &Occupant) {
        for gauge in Gauge::ALL {
            self.set(*gauge, 0);
        }
        self.words[0].store(occupant.kind + 1, Relaxed);
        self.words[1].store(occupant.index, Relaxed);
        self.words[3].store(occupant.generation, Relaxed);
        self.words[4].store(millis(occupant.started), Relaxed);
        self.words[2].store(u64::from(occupant.pid.unsigned_abs()), Relaxed);
    }

    /// Marks the slot as empty; its counters stay.
    pub fn vacate(self) {
        for gauge in Gauge::ALL {
            self.set(*gauge, 0);
        }
        self.words[2].store(0, Relaxed);
        self.words[0].store(0, Relaxed);
    }

    /// Who is in the slot.
    pub fn occupant(self) -> Option<Occupant> {
        let word = |index: usize| self.words[index].load(Relaxed);
        let pid = i32::try_from(word(2)).ok().filter(|pid| *pid > 0)?;
        Some(Occupant {
            kind: word(0).checked_sub(1)?,
            index: word(1),
            pid,
            generation: word(3),
            started: Duration::from_millis(word(4)),
        })
    }

    fn histogram_words(self, histogram: Histogram) -> &'static [AtomicU64] {
        let at = SLOT_HEAD + Counter::COUNT + Gauge::COUNT + histogram as usize * Histogram::WORDS;
        &self.words[at..at + Histogram::WORDS]
    }
}

fn moment(millis: u64) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_outlive_the_process_in_a_slot_and_gauges_do_not() {
        let shared = Shared::create(0).unwrap();
        let slot = shared.slot(3);
        slot.add(Counter::AckOut, 5);
        slot.set(Gauge::TcpClients, 2);
        slot.vacate();
        shared.slot(4).count(Counter::AckOut);
        assert_eq!(shared.counter(Counter::AckOut), 6);
        assert_eq!(shared.gauge(Gauge::TcpClients), 0);
    }

    #[test]
    fn histogram_counts_each_value_in_one_bucket() {
        let shared = Shared::create(0).unwrap();
        for value in [1, 2, 64, 65] {
            shared.slot(1).observe(Histogram::DhcpBatch, value);
        }
        let words = shared.histogram(Histogram::DhcpBatch);
        assert_eq!(words[..=Histogram::BUCKETS].iter().sum::<u64>(), 4);
        assert_eq!((words[0], words[13], words[14], words[15]), (1, 1, 1, 132));
    }
}
