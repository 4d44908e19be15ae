//! How often each event is logged: a token bucket per event, in memory that all processes share, so that the limit is
//! the daemon's and not each process's. The [`sender`](super::sender) asks before it formats anything, so what is
//! suppressed costs neither the log socket nor a disk. Knows no event; the caller names them.
//!
//! Lock-free. A bucket is kept as the moment at which it will be full again (the "theoretical arrival time" of the
//! generic cell rate algorithm, ITU-T I.371); beside it stands how many records were suppressed since the last one that
//! passed. A process that dies takes no count with it.
//!
//! ```text
//! event 0: bucket 0: | full again, µs | suppressed |  bucket 1: …  bucket WAYS-1     event 1: …
//! ```
//! Records of one event that give a `reason` have a bucket for each reason (two reasons may share one), so that a flood
//! for one reason does not hide the others.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Words of shared memory that the buckets of one event take.
pub const WORDS_PER_EVENT: usize = WAYS * 2;

/// Buckets of one event.
const WAYS: usize = 32;
/// So much time's worth of records passes at once.
const BURST: Duration = Duration::from_secs(60);
/// A bucket that nobody has used for so long is quiet: what it suppressed is reported.
const QUIET: Duration = Duration::from_secs(1);
/// Processes that read the clock at different moments do not disagree by more than this.
const SLACK: u64 = 10_000_000;
/// Races for one bucket that are lost in a row before a record is let through.
const ATTEMPTS: usize = 8;

/// How many records pass in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    records: u32,
    per: Duration,
}

impl Rate {
    /// So many in this time; none of them is 0.
    pub const fn new(records: u32, per: Duration) -> Option<Self> {
        if records == 0 || per.is_zero() { None } else { Some(Self { records, per }) }
    }

    /// What passes in the long run, in a time.
    pub fn in_time(self, time: Duration) -> f64 {
        f64::from(self.records) * time.as_secs_f64() / self.per.as_secs_f64()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            3600 => "h",
            _ => return write!(f, "{}/{:?}", self.records, self.per),
        };
        write!(f, "{}/{unit}", self.records)
    }
}

/// As it is written: `100/s`.
impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The limits of all events.
#[derive(Debug, Clone)]
pub struct Limits {
    events: HashMap<&'static str, (usize, Option<Pace>)>,
    table: &'static [AtomicU64],
}

/// A rate in the units of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// Microseconds in which one record is regained.
    interval: u64,
    /// How far ahead a bucket may be and still give a record: the burst less one.
    ahead: u64,
}

impl Pace {
    fn of(rate: Rate) -> Self {
        let interval = (micros(rate.per) / u64::from(rate.records)).max(1);
        Self { interval, ahead: micros(BURST).saturating_sub(interval) }
    }
}

/// One bucket of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    full_again: &'static AtomicU64,
    suppressed: &'static AtomicU64,
    pace: Pace,
}

impl Bucket {
    /// Asks for a record, at this time since boot.
    pub(super) fn ask(self, at: Duration) -> Verdict {
        if take(self.full_again, self.pace, micros(at)) {
            // Most records find nothing there: no need to write.
            let before = if self.suppressed.load(Relaxed) > 0 { self.suppressed.swap(0, Relaxed) } else { 0 };
            Verdict::Pass(before)
        } else {
            self.suppressed.fetch_add(1, Relaxed);
            Verdict::Suppress
        }
    }

    /// Gives back a count that could not be reported.
    pub(super) fn give_back(self, count: u64) {
        self.suppressed.fetch_add(count, Relaxed);
    }
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is logged; so many like it were suppressed since the last one.
    Pass(u64),
    /// It is suppressed, and counted.
    Suppress,
}

/// Records of an event that were suppressed and not reported yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suppressed {
    /// The event.
    pub event: &'static str,
    /// How many.
    pub count: u64,
}

impl Limits {
    /// The limits of these events; none: every record passes. `table` has [`WORDS_PER_EVENT`] words for each, all zero
    /// when it was made; the order of the events is the same in all processes that share it. A smaller table limits
    /// nothing.
    pub fn new(
        events: impl Iterator<Item = (&'static str, Option<Rate>)>,
        table: &'static [AtomicU64],
    ) -> Self {
        let events = events.enumerate().map(|(place, (event, rate))| (event, (place, rate.map(Pace::of))));
        Self { events: events.collect(), table }
    }

    /// The same table with another rate for one event.
    #[cfg(test)]
    pub(super) fn with_rate(mut self, event: &'static str, rate: Option<Rate>) -> Self {
        if let Some((_, pace)) = self.events.get_mut(event) {
            *pace = rate.map(Pace::of);
        }
        self
    }

    /// Asks for a record of an event, at this time since boot.
    pub fn ask(&self, event: &str, reason: &str, at: Duration) -> Verdict {
        self.bucket_of(event, reason).map_or(Verdict::Pass(0), |bucket| bucket.ask(at))
    }

    /// Gives back a count that could not be reported.
    pub fn give_back(&self, event: &str, reason: &str, count: u64) {
        if let Some((place, _)) = self.events.get(event)
            && let Some([_, suppressed]) = self.bucket(*place, way(reason))
        {
            suppressed.fetch_add(count, Relaxed);
        }
    }

    /// The bucket of an event and reason, to be asked often; none where every record passes.
    pub(super) fn bucket_of(&self, event: &str, reason: &str) -> Option<Bucket> {
        let (place, pace) = self.events.get(event)?;
        let [full_again, suppressed] = self.bucket(*place, way(reason))?;
        Some(Bucket { full_again, suppressed, pace: (*pace)? })
    }

    /// Takes the counts of all buckets that nobody uses any more, to be reported; with no time, of all buckets.
    pub fn take_quiet(&self, at: Option<Duration>) -> Vec<Suppressed> {
        let mut found = Vec::new();
        for (event, (place, pace)) in &self.events {
            let mut count = 0_u64;
            for way in 0..WAYS {
                let Some([bucket, suppressed]) = self.bucket(*place, way) else { break };
                if suppressed.load(Relaxed) == 0 {
                    continue;
                }
                if at.is_none_or(|at| is_quiet(bucket.load(Relaxed), *pace, micros(at))) {
                    count += suppressed.swap(0, Relaxed);
                }
            }
            if count > 0 {
                found.push((*place, Suppressed { event, count }));
            }
        }
        found.sort_unstable_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, suppressed)| suppressed).collect()
    }

    /// The same at this moment.
    pub fn take_quiet_now(&self) -> Vec<Suppressed> {
        self.take_quiet(Some(super::sender::monotonic()))
    }

    fn bucket(&self, place: usize, way: usize) -> Option<[&'static AtomicU64; 2]> {
        let at = place.checked_mul(WAYS)?.checked_add(way)?.checked_mul(2)?;
        Some([self.table.get(at)?, self.table.get(at + 1)?])
    }
}

/// Takes a record from a bucket; false where it is empty.
fn take(bucket: &AtomicU64, pace: Pace, now: u64) -> bool {
    for _ in 0..ATTEMPTS {
        let word = bucket.load(Relaxed);
        let full_again = match word.saturating_sub(now) {
            left if left <= pace.ahead => now + left,
            left if left <= pace.ahead.saturating_add(pace.interval).saturating_add(SLACK) => return false,
            // This rate never leads so far ahead: it was lower, and nothing is held back for what was then.
            _ => now.saturating_add(pace.ahead),
        };
        let next = full_again.saturating_add(pace.interval);
        if bucket.compare_exchange(word, next, Relaxed, Relaxed).is_ok() {
            return true;
        }
    }
    true
}

/// Whether a bucket has had room for a while, so that nobody asks.
fn is_quiet(full_again: u64, pace: Option<Pace>, now: u64) -> bool {
    let Some(pace) = pace else { return true };
    let left = full_again.saturating_sub(now);
    // One that leads further ahead than this rate ever does was filled by a lower one: it has room.
    let has_room = now.saturating_add(pace.ahead) >= full_again.saturating_add(micros(QUIET));
    has_room || left > pace.ahead.saturating_add(pace.interval).saturating_add(SLACK)
}

/// The bucket of a reason: FNV-1a, since reasons are words of our own that nobody outside chooses.
fn way(reason: &str) -> usize {
    let hash = reason
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    usize::try_from((hash ^ (hash >> 32)) % WAYS as u64).unwrap_or(0)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn limits(rates: &[(&'static str, Option<Rate>)]) -> Limits {
        let words = rates.len() * WORDS_PER_EVENT;
        let table: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(words).collect();
        Limits::new(rates.iter().copied(), Box::leak(table.into_boxed_slice()))
    }

    fn passed(limits: &Limits, event: &str, at: Duration, tries: usize) -> usize {
        (0..tries).filter(|_| limits.ask(event, "", at) != Verdict::Suppress).count()
    }

    fn per_second(records: u32) -> Option<Rate> {
        Rate::new(records, SECOND)
    }

    #[test]
    fn a_minutes_worth_passes_at_once_and_then_the_rate() {
        let limits = limits(&[("A", per_second(10))]);
        assert_eq!(passed(&limits, "A", START, 10_000), 600);
        assert_eq!(passed(&limits, "A", START + SECOND, 10_000), 10);
        assert_eq!(passed(&limits, "A", START + SECOND * 200, 10_000), 600, "after a long pause");
    }

    #[test]
    fn every_suppressed_record_is_told_of_once() {
        let limits = limits(&[("A", per_second(1)), ("B", None)]);
        let (mut asked, mut logged, mut told) = (0, 0, 0);
        for millis in 0..100_000_u64 {
            asked += 1;
            if let Verdict::Pass(before) = limits.ask("A", "", START + Duration::from_millis(millis)) {
                logged += 1;
                told += before;
            }
        }
        let rest = limits.take_quiet(None);
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].event, "A");
        assert_eq!(logged + told + rest[0].count, asked);
        assert!((159..=160).contains(&logged), "{logged}");
        assert_eq!(limits.take_quiet(None), []);
    }

    #[test]
    fn counts_are_reported_when_the_flood_is_over_and_not_before() {
        let limits = limits(&[("A", per_second(1))]);
        passed(&limits, "A", START, 100);
        assert_eq!(limits.take_quiet(Some(START)), []);
        assert_eq!(limits.take_quiet(Some(START + SECOND)), [], "the next record may tell it");
        let later = START + SECOND * 2;
        assert_eq!(limits.take_quiet(Some(later)), [Suppressed { event: "A", count: 40 }]);
        assert_eq!(limits.take_quiet(Some(later)), []);
        limits.give_back("A", "", 40);
        assert_eq!(limits.ask("A", "", later), Verdict::Pass(40));
    }

    #[test]
    fn events_and_reasons_do_not_hide_each_other() {
        let limits = limits(&[("A", per_second(1)), ("B", per_second(1)), ("C", None)]);
        assert_eq!(passed(&limits, "A", START, 1000), 60);
        assert_eq!(limits.ask("B", "", START), Verdict::Pass(0));
        assert_ne!(way("malformed"), way(""), "else choose another word here");
        assert_eq!(limits.ask("A", "malformed", START), Verdict::Pass(0));
        assert_eq!(passed(&limits, "C", START, 100_000), 100_000);
        assert_eq!(passed(&limits, "UNKNOWN", START, 100_000), 100_000);
    }

    #[test]
    fn a_raised_rate_holds_at_once() {
        let slow = limits(&[("A", Rate::new(1, Duration::from_secs(3600)))]);
        assert_eq!(passed(&slow, "A", START, 10), 1);
        let fast = Limits::new([("A", per_second(100))].into_iter(), slow.table);
        assert_eq!(slow.take_quiet(Some(START)), [], "the next record may tell it");
        assert_eq!(fast.take_quiet(Some(START)).len(), 1);
        fast.give_back("A", "", 9);
        assert_eq!(fast.ask("A", "", START), Verdict::Pass(9));
        assert!(passed(&fast, "A", START + SECOND, 1000) >= 100);
    }

    #[test]
    fn a_table_that_is_too_small_limits_nothing() {
        let limits = Limits::new([("A", per_second(1))].into_iter(), &[]);
        assert_eq!(passed(&limits, "A", START, 1000), 1000);
    }

    #[test]
    fn rates_show_as_they_are_written() {
        let shown = |records, secs| Rate::new(records, Duration::from_secs(secs)).unwrap().to_string();
        assert_eq!([shown(100, 1), shown(3, 60), shown(5, 3600)], ["100/s", "3/m", "5/h"]);
        assert!(Rate::new(0, SECOND).is_none());
    }

    #[test]
    fn processes_that_race_get_no_more_than_the_burst_together() {
        let limits = limits(&[("A", per_second(10))]);
        let threads = 4;
        let logged: usize = std::thread::scope(|scope| {
            let asking: Vec<_> =
                (0..threads).map(|_| scope.spawn(|| passed(&limits, "A", START, 1000))).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // A race that is lost eight times in a row lets a record through; that hardly ever happens.
        assert!((600..650).contains(&logged), "{logged}");
    }
}
