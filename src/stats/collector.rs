//! `StatsCollector`: takes one snapshot a second and hands it to whoever shows figures. It reads the shared memory, which the
//! processes write without asking anybody, and looks at processes and files; it writes the history alone.
//!
//! It lives in the api process while that serves. Nobody else needs it: what happens is counted all the same.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use daemon_utils::clock;

use super::files::{self, FilePlace};
use super::histogram::{Histogram, Words};
use super::processes::{self, ProcessName};
use super::rates;
use super::shared::{Occupant, Shared};
use super::snapshot::{PoolSnapshot, Snapshot};

/// Between two snapshots.
pub const TICK: Duration = Duration::from_secs(1);
/// Over which recent quantiles are taken.
const RECENT: Duration = Duration::from_secs(60);

/// What a daemon has that its figures are about.
#[derive(Debug)]
pub struct Subject {
    /// Its pools.
    pub pools: Vec<PoolPlace>,
    /// Its files.
    pub files: Vec<FilePlace>,
    /// PID of main.
    pub main: i32,
    /// All names that its processes may have; main's is the first.
    pub names: Vec<ProcessName>,
    /// What a worker is called.
    pub name_of: fn(&Occupant) -> Option<ProcessName>,
}

/// A pool, and where its figures stand in the shared memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPlace {
    /// Its subnet's name.
    pub subnet: String,
    /// Its name.
    pub pool: String,
    /// Its place among all.
    pub index: usize,
}

/// Takes the snapshots.
#[derive(Debug)]
pub struct StatsCollector {
    shared: Shared,
    subject: Subject,
    latest: Mutex<Option<Arc<Snapshot>>>,
}

impl StatsCollector {
    /// A collector that has taken no snapshot yet.
    pub fn new(shared: Shared, subject: Subject) -> Self {
        Self { shared, subject, latest: Mutex::default() }
    }

    /// Takes a snapshot and remembers its figures; to be called every [`TICK`].
    pub fn tick(&self) -> Arc<Snapshot> {
        let snapshot = Arc::new(self.take());
        let history = self.shared.history();
        history.push(snapshot.boot_time, &snapshot.counters, &snapshot.histograms);
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// The snapshot of the last tick; before the first one it is taken now.
    pub fn latest(&self) -> Arc<Snapshot> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        latest.unwrap_or_else(|| self.tick())
    }

    fn take(&self) -> Snapshot {
        let (shared, history) = (self.shared, self.shared.history());
        let now = clock::boot_time();
        let mut snapshot = Snapshot::take(shared);
        snapshot.boot_time = now;
        snapshot.time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        snapshot.rates = rates::rates(history, now, &snapshot.counters);
        if let Some(past) = history.before(now, RECENT) {
            let pairs = snapshot.histograms.iter().zip(&past.histograms);
            snapshot.last_minute = pairs.map(|(now, then)| difference(now, then)).collect();
        }
        snapshot.pools = self.subject.pools.iter().filter_map(|place| self.pool(place, now)).collect();
        snapshot.processes =
            processes::look(shared, self.subject.main, &self.subject.names, self.subject.name_of);
        snapshot.files = self.subject.files.iter().map(files::look).collect();
        snapshot
    }

    fn pool(&self, place: &PoolPlace, now: Duration) -> Option<PoolSnapshot> {
        let figures = self.shared.pool(place.index)?;
        let name = hash(&[place.subnet.as_bytes(), place.pool.as_bytes(), &figures.addresses.to_le_bytes()]);
        let exhaustion = self.shared.history().exhaustion(place.index, name, figures.available(), now);
        // A pool without addresses was never any use: it does not run out.
        let exhaustion = exhaustion.filter(|_| figures.addresses > 0);
        Some(PoolSnapshot { subnet: place.subnet.clone(), pool: place.pool.clone(), figures, exhaustion })
    }
}

fn difference(now: &Words, then: &Words) -> Words {
    let mut more = [0; Histogram::WORDS];
    for ((more, now), then) in more.iter_mut().zip(now).zip(then) {
        *more = now.saturating_sub(*then);
    }
    more
}

/// FNV-1a over the parts and their ends; never zero, which stands for nothing.
fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Counter, PoolFigures};

    fn collector(shared: Shared) -> StatsCollector {
        let pid = i32::try_from(std::process::id()).unwrap();
        let pools = vec![PoolPlace { subnet: "lan".into(), pool: "main".into(), index: 0 }];
        let names = vec![ProcessName { number: 0, name: "main".into() }];
        let files = Vec::new();
        StatsCollector::new(shared, Subject { pools, files, main: pid, names, name_of: |_| None })
    }

    #[test]
    fn everybody_sees_the_same_figures_until_the_next_tick() {
        let shared = Shared::create(0).unwrap();
        let collector = collector(shared);
        let first = collector.latest();
        shared.slot(1).count(Counter::AckOut);
        assert!(Arc::ptr_eq(&first, &collector.latest()));
        assert_eq!(collector.latest().counter(Counter::AckOut), 0);
        collector.tick();
        assert_eq!(collector.latest().counter(Counter::AckOut), 1);
    }

    #[test]
    fn full_pool_is_exhausted_and_one_without_addresses_never_is() {
        let shared = Shared::create(0).unwrap();
        let collector = collector(shared);
        assert_eq!(collector.tick().pools[0].exhaustion, None);
        let figures = PoolFigures { addresses: 2, free: 0, leases: [1, 0, 0, 1, 0] };
        shared.set_pool(0, &figures);
        assert_eq!(collector.tick().pools[0].exhaustion, Some(Duration::ZERO));
        shared.set_pool(0, &PoolFigures { leases: [1, 1, 0, 0, 0], ..figures });
        assert_eq!(collector.tick().pools[0].exhaustion, None);
    }
}
