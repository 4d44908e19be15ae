//! One snapshot of all figures: whatever shows figures within a second shows the same.

use std::borrow::Cow;
use std::time::Duration;

use super::family::{Computed, Family};
use super::files::FileFigures;
use super::histogram::{Histogram, Words, number};
use super::metrics::{Counter, Gauge};
use super::processes::ProcessFigures;
use super::rates::Rate;
use super::shared::{POOL_STATES, PoolFigures, Shared};

/// All figures at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was taken, since 1970.
    pub time: Duration,
    /// The same by the boot-time clock.
    pub boot_time: Duration,
    /// Boot time at which the daemon became ready.
    pub started: Duration,
    /// Generation of the configuration in force.
    pub generation: u64,
    /// In the order of [`Counter::ALL`].
    pub counters: Vec<u64>,
    /// In the order of [`Gauge::ALL`].
    pub gauges: Vec<u64>,
    /// In the order of [`Histogram::ALL`].
    pub histograms: Vec<Words>,
    /// What [`histograms`](Self::histograms) took in within the last minute; empty where that is not known yet.
    pub last_minute: Vec<Words>,
    /// In the order of the configuration.
    pub pools: Vec<PoolSnapshot>,
    /// By name.
    pub processes: Vec<ProcessFigures>,
    /// Those that exist.
    pub files: Vec<FileFigures>,
    /// In the order of [`super::rates::RATES`].
    pub rates: Vec<Rate>,
    /// Boot time of the last commit of leases.
    pub last_commit: Option<Duration>,
    /// Boot time of the last reload, and whether it was applied.
    pub last_reload: Option<(Duration, bool)>,
}

/// One pool in a snapshot.
#[derive(Debug, Clone)]
pub struct PoolSnapshot {
    /// Its subnet's name.
    pub subnet: String,
    /// Its name.
    pub pool: String,
    /// Its figures.
    pub figures: PoolFigures,
    /// When it will have no available address; none where it does not shrink, or that is not known.
    pub exhaustion: Option<Duration>,
}

/// One figure with its labels.
#[derive(Debug)]
pub struct Sample<'a> {
    /// The family.
    pub family: Family,
    /// Names and values, in the order of the family.
    pub labels: Vec<(&'static str, Cow<'a, str>)>,
    /// The figure.
    pub figure: Figure<'a>,
}

/// The value of a sample.
#[derive(Debug, Clone, Copy)]
pub enum Figure<'a> {
    /// A whole number.
    Whole(u64),
    /// Any other, mostly seconds.
    Real(f64),
    /// Counts in buckets: since the start, and of the last minute where that is known.
    Buckets(Histogram, &'a Words, Option<&'a Words>),
}

impl Snapshot {
    /// Reads the shared memory. What comes from elsewhere is empty and added by the collector.
    pub fn take(shared: Shared) -> Self {
        Self {
            time: Duration::ZERO,
            boot_time: Duration::ZERO,
            started: shared.started(),
            generation: shared.generation(),
            counters: Counter::ALL.iter().map(|cell| shared.counter(*cell)).collect(),
            gauges: Gauge::ALL.iter().map(|cell| shared.gauge(*cell)).collect(),
            histograms: Histogram::ALL.iter().map(|histogram| shared.histogram(*histogram)).collect(),
            last_minute: Vec::new(),
            pools: Vec::new(),
            processes: Vec::new(),
            files: Vec::new(),
            rates: Vec::new(),
            last_commit: shared.last_commit(),
            last_reload: shared.last_reload(),
        }
    }

    /// What a counter stands at.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters.get(counter as usize).copied().unwrap_or_default()
    }

    /// What a gauge stands at.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges.get(gauge as usize).copied().unwrap_or_default()
    }

    /// A moment of the boot-time clock in seconds since 1970, as the wall clock counts now.
    pub fn since_1970(&self, boot_time: Duration) -> f64 {
        self.time.saturating_sub(self.boot_time.saturating_sub(boot_time)).as_secs_f64()
    }

    /// Every figure with its family and labels.
    pub fn samples(&self) -> Vec<Sample<'_>> {
        let mut all = Vec::new();
        let mut put = |family, labels: &[(&'static str, &'static str)], figure| {
            let labels = labels.iter().map(|(name, value)| (*name, Cow::Borrowed(*value))).collect();
            all.push(Sample { family, labels, figure });
        };
        for (cell, value) in Counter::ALL.iter().zip(&self.counters) {
            put(cell.metric(), cell.labels(), Figure::Whole(*value));
        }
        for (cell, value) in Gauge::ALL.iter().zip(&self.gauges) {
            put(cell.metric(), cell.labels(), Figure::Whole(*value));
        }
        let recent = self.last_minute.iter().map(Some).chain(std::iter::repeat(None));
        for ((histogram, words), recent) in Histogram::ALL.iter().zip(&self.histograms).zip(recent) {
            put(histogram.metric(), histogram.labels(), Figure::Buckets(*histogram, words, recent));
        }
        self.add_pools(&mut all);
        self.add_processes(&mut all);
        for file in &self.files {
            let mut put =
                |what, bytes: Option<u64>| add(&mut all, what, &[file.file], bytes.map(Figure::Whole));
            put(Computed::FileSize, file.size_bytes);
            put(Computed::FilesystemFree, file.filesystem_free_bytes);
            put(Computed::FilesystemSize, file.filesystem_size_bytes);
        }
        self.add_times(&mut all);
        all
    }

    fn add_pools<'a>(&'a self, all: &mut Vec<Sample<'a>>) {
        for pool in &self.pools {
            let place = [pool.subnet.as_str(), pool.pool.as_str()];
            for (state, count) in POOL_STATES.into_iter().zip(pool.figures.leases) {
                add(all, Computed::Leases, &[place[0], place[1], state], Some(Figure::Whole(count)));
            }
            add(all, Computed::PoolAddresses, &place, Some(Figure::Whole(pool.figures.addresses)));
            add(all, Computed::PoolFree, &place, Some(Figure::Whole(pool.figures.free)));
            add(all, Computed::PoolAvailable, &place, Some(Figure::Whole(pool.figures.available())));
            let exhaustion = pool.exhaustion.map(|left| Figure::Real(left.as_secs_f64()));
            add(all, Computed::PoolExhaustion, &place, exhaustion);
        }
    }

    fn add_processes<'a>(&'a self, all: &mut Vec<Sample<'a>>) {
        for process in &self.processes {
            let mut put = |what, figure| add(all, what, &[process.name.as_str()], figure);
            put(Computed::ProcessCpu, Some(Figure::Real(process.cpu.as_secs_f64())));
            put(Computed::ProcessCount, Some(Figure::Whole(process.count)));
            put(Computed::ProcessMemory, process.resident_bytes.map(Figure::Whole));
            put(Computed::ProcessDescriptors, process.open_fds.map(Figure::Whole));
            put(Computed::ProcessStart, process.started.map(|at| Figure::Real(self.since_1970(at))));
        }
    }

    fn add_times<'a>(&'a self, all: &mut Vec<Sample<'a>>) {
        let at = |moment| Figure::Real(self.since_1970(moment));
        let mut put = |what, figure| add(all, what, &[], figure);
        put(Computed::LastCommit, self.last_commit.map(at));
        put(Computed::Generation, Some(Figure::Whole(self.generation)));
        put(Computed::ReloadTime, self.last_reload.map(|(moment, _)| at(moment)));
        put(Computed::ReloadSuccessful, self.last_reload.map(|(_, applied)| Figure::Whole(applied.into())));
        put(Computed::StartTime, Some(at(self.started)));
        put(Computed::SnapshotTime, Some(Figure::Real(self.time.as_secs_f64())));
        add(all, Computed::BuildInfo, &[env!("CARGO_PKG_VERSION")], Some(Figure::Whole(1)));
    }
}

impl Figure<'_> {
    /// As a floating-point number; a histogram has none.
    pub(super) fn real(self) -> f64 {
        match self {
            Self::Whole(value) => number(value),
            Self::Real(value) => value,
            Self::Buckets(..) => 0.0,
        }
    }
}

fn add<'a>(all: &mut Vec<Sample<'a>>, what: Computed, labels: &[&'a str], figure: Option<Figure<'a>>) {
    let Some(figure) = figure else { return };
    let family = what.family();
    let names = family.labels.names().into_iter();
    let labels = names.zip(labels.iter().map(|value| Cow::Borrowed(*value))).collect();
    all.push(Sample { family, labels, figure });
}
