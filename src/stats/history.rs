//! What the figures were a moment ago, in shared memory: so rates and recent quantiles go on over a reload and over the
//! death of the api process. One process writes at a time: the api process that serves.
//!
//! ```text
//! ring:  | next | entry 0 … 63: time in ms (0: being written) | counters | histograms |
//! trend of a pool: | name | since | time | available | speed |
//! cpu:   | used by each process name | slot: PID, used |
//! ```

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release};
use std::time::Duration;

use super::histogram::{Histogram, Words, number};
use super::metrics::Counter;
use super::shared::{POOLS, SLOTS};

const ENTRIES: usize = 64;
const ENTRY_WORDS: usize = 1 + Counter::COUNT + Histogram::ALL.len() * Histogram::WORDS;
const RING_WORDS: usize = 1 + ENTRIES * ENTRY_WORDS;
const TREND_WORDS: usize = 5;
const TRENDS_AT: usize = RING_WORDS;
const CPU_AT: usize = TRENDS_AT + POOLS * TREND_WORDS;
const CPU_SLOTS_AT: usize = CPU_AT + PROCESS_NAMES;

/// Process names whose CPU time is kept.
pub const PROCESS_NAMES: usize = 64;
/// Words that all of this takes in the shared memory.
pub(super) const HISTORY_WORDS: usize = CPU_SLOTS_AT + 2 * SLOTS;

/// A pool's trend looks back for about so long; what is older counts less and less.
const TREND: Duration = Duration::from_secs(300);
/// So long a pool must have been seen before its trend says anything.
const TREND_FROM: Duration = Duration::from_secs(60);
/// A pool that shrinks more slowly than by one address in this time does not shrink.
const SLOWEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Ticks come a little early or late.
const SLACK: Duration = Duration::from_millis(100);

/// The history; a handle that can be copied.
#[derive(Debug, Clone, Copy)]
pub struct History {
    words: &'static [AtomicU64],
}

/// The figures at a moment of the past.
#[derive(Debug, Clone)]
pub struct Past {
    /// How long ago.
    pub age: Duration,
    /// In the order of [`Counter::ALL`].
    pub counters: Vec<u64>,
    /// In the order of [`Histogram::ALL`].
    pub histograms: Vec<Words>,
}

impl History {
    pub(super) fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// Remembers the figures of this moment (boot time).
    pub fn push(self, now: Duration, counters: &[u64], histograms: &[Words]) {
        let Some(next) = self.words.first() else { return };
        let number = next.load(Relaxed);
        let Some((time, rest)) = self.entry(number).split_first() else { return };
        // Whoever dies here leaves an entry without a time.
        time.store(0, Release);
        for (word, value) in rest.iter().zip(counters.iter().chain(histograms.iter().flatten())) {
            word.store(*value, Relaxed);
        }
        time.store(millis(now), Release);
        next.store(number + 1, Release);
    }

    /// The youngest figures that are at least so old; none where there are none of about that age.
    pub fn before(self, now: Duration, age: Duration) -> Option<Past> {
        let now = millis(now);
        let (least, most) = (millis(age.saturating_sub(SLACK)), 2 * millis(age) + 1000);
        let entries = (0..ENTRIES as u64).map(|number| self.entry(number));
        let aged = entries.filter_map(|entry| {
            let time = entry.first()?.load(Relaxed);
            let age = now.checked_sub(time).filter(|_| time > 0)?;
            (least..=most).contains(&age).then_some((age, entry))
        });
        let (age, entry) = aged.min_by_key(|(age, _)| *age)?;
        let word = |word: &AtomicU64| word.load(Relaxed);
        let (counters, histograms) = entry.get(1..)?.split_at_checked(Counter::COUNT)?;
        let histograms = histograms.chunks_exact(Histogram::WORDS);
        Some(Past {
            age: Duration::from_millis(age),
            counters: counters.iter().map(word).collect(),
            histograms: histograms
                .map(|words| std::array::from_fn(|at| words.get(at).map_or(0, word)))
                .collect(),
        })
    }

    /// Takes in how many addresses of a pool are available now, and says when none will be: none where that is not
    /// known yet, or the pool does not shrink. `name` tells pools apart, since a reload may change their order; another
    /// name or another size begins anew.
    pub fn exhaustion(self, index: usize, name: u64, available: u64, now: Duration) -> Option<Duration> {
        let at = TRENDS_AT + index * TREND_WORDS;
        let words = (index < POOLS).then(|| self.words.get(at..at + TREND_WORDS)).flatten()?;
        let [known, since, time, last, speed] = words else { return None };
        if known.load(Relaxed) != name {
            for (word, value) in words.iter().zip([name, millis(now), millis(now), available, 0f64.to_bits()])
            {
                word.store(value, Relaxed);
            }
            return (available == 0).then_some(Duration::ZERO);
        }
        let elapsed = now.saturating_sub(Duration::from_millis(time.load(Relaxed))).as_secs_f64();
        if elapsed > 0.0 {
            let now_speed = (number(last.load(Relaxed)) - number(available)) / elapsed;
            let weight = 1.0 - (-elapsed / TREND.as_secs_f64()).exp();
            let smooth = f64::from_bits(speed.load(Relaxed));
            speed.store((smooth + weight * (now_speed - smooth)).to_bits(), Relaxed);
            last.store(available, Relaxed);
            time.store(millis(now), Relaxed);
        }
        if available == 0 {
            return Some(Duration::ZERO);
        }
        let seen = now.saturating_sub(Duration::from_millis(since.load(Relaxed)));
        // It began at nothing: what is missing is put back.
        let whole = 1.0 - (-seen.as_secs_f64() / TREND.as_secs_f64()).exp();
        let speed = f64::from_bits(speed.load(Relaxed)) / whole;
        let shrinks = seen >= TREND_FROM && speed > 1.0 / SLOWEST.as_secs_f64();
        shrinks.then(|| Duration::try_from_secs_f64(number(available) / speed).ok()).flatten()
    }

    /// Takes in how much CPU time the process in a slot has used, in milliseconds, on the account of its name.
    pub fn used(self, slot: usize, pid: i32, name: usize, used_millis: u64) {
        let at = CPU_SLOTS_AT + 2 * slot;
        let (Some([last_pid, last]), Some(account)) =
            (self.words.get(at..at + 2), self.words.get(CPU_AT + name.min(PROCESS_NAMES - 1)))
        else {
            return;
        };
        let pid = u64::from(pid.unsigned_abs());
        let before = if last_pid.swap(pid, Relaxed) == pid { last.load(Relaxed) } else { 0 };
        account.fetch_add(used_millis.saturating_sub(before), Relaxed);
        last.store(used_millis, Relaxed);
    }

    /// The CPU time in milliseconds of all processes that ever had this name.
    pub fn used_by(self, name: usize) -> u64 {
        self.words.get(CPU_AT + name.min(PROCESS_NAMES - 1)).map_or(0, |word| word.load(Relaxed))
    }

    fn entry(self, number: u64) -> &'static [AtomicU64] {
        let index = usize::try_from(number % ENTRIES as u64).unwrap_or_default();
        let at = 1 + index * ENTRY_WORDS;
        self.words.get(at..at + ENTRY_WORDS).unwrap_or_default()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Shared;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(1_000 + secs)
    }

    #[test]
    fn past_is_known_once_it_was_seen_and_forgotten_when_it_is_too_old() {
        let history = Shared::create(0).unwrap().history();
        let mut counters = vec![0; Counter::COUNT];
        let histograms = vec![[7; Histogram::WORDS]; Histogram::ALL.len()];
        for second in 0..200 {
            counters[1] = 10 * second;
            history.push(secs(second), &counters, &histograms);
            let past = history.before(secs(second), Duration::from_secs(60));
            assert_eq!(past.is_some(), second >= 60);
        }
        let past = history.before(secs(200), Duration::from_secs(10)).unwrap();
        assert_eq!((past.age.as_secs(), past.counters[1], past.histograms[2][3]), (10, 1_900, 7));
        assert!(history.before(secs(400), Duration::from_secs(60)).is_none());
    }

    #[test]
    fn pool_that_shrinks_steadily_is_exhausted_when_its_addresses_are_used_up() {
        let history = Shared::create(0).unwrap().history();
        let mut exhaustion = None;
        for second in 0..600 {
            exhaustion = history.exhaustion(3, 42, 10_000 - 2 * second, secs(second));
            assert_eq!(exhaustion.is_some(), second >= 60, "after {second} s");
        }
        let left = exhaustion.unwrap().as_secs_f64();
        assert!((left - 4_401.0).abs() < 1.0, "{left}");
    }

    #[test]
    fn pool_that_does_not_shrink_has_no_end_and_a_full_one_is_at_it() {
        let history = Shared::create(0).unwrap().history();
        for second in 0..600 {
            assert_eq!(history.exhaustion(0, 1, 50, secs(second)), None);
        }
        assert_eq!(history.exhaustion(0, 1, 0, secs(600)), Some(Duration::ZERO));
        assert_eq!(history.exhaustion(0, 2, 10, secs(601)), None, "another pool begins anew");
    }

    #[test]
    fn cpu_time_of_a_name_goes_on_when_its_process_is_replaced() {
        let history = Shared::create(0).unwrap().history();
        for (slot, pid, used) in [(5, 100, 10), (5, 100, 30), (6, 101, 4), (5, 102, 1)] {
            history.used(slot, pid, 2, used);
        }
        assert_eq!(history.used_by(2), 35);
    }
}
