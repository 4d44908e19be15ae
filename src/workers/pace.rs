//! How often a worker tries again and how often it says so: a back-off after failures, a limit for log lines.
//!
//! Pure: the caller gives the time. Used by the loops of the workers.

use std::time::{Duration, Instant};

/// The pause after a first failure.
const SHORTEST: Duration = Duration::from_millis(100);
/// The pause that repeated failures grow to.
const LONGEST: Duration = Duration::from_secs(1);
/// The least time between two log lines of one kind that the network can cause at will.
const QUIET: Duration = Duration::from_secs(1);

/// Pauses between attempts: 100 ms after the first failure, twice as long after each further one, 1 s at most.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pause: Option<Duration>,
    until: Option<Instant>,
}

impl Backoff {
    /// Takes note of a failure. True for the first since the last success: the one to log.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let first = self.pause.is_none();
        let pause = self.pause.map_or(SHORTEST, |pause| (pause * 2).min(LONGEST));
        self.pause = Some(pause);
        self.until = now.checked_add(pause);
        first
    }

    /// Takes note of a success: the next failure starts from the shortest pause.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// What is left of the pause; none where an attempt may be made.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }
}

/// Lets one event a second through and counts the others.
#[derive(Debug, Default)]
pub(super) struct Limit {
    last: Option<Instant>,
    suppressed: u64,
}

impl Limit {
    /// Whether to log this event; if so, how many like it were passed over since the last line.
    pub(super) fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < QUIET) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Lets so many events a second through and counts the others.
#[derive(Debug, Default)]
pub(super) struct Quota {
    second: Option<Instant>,
    used: u32,
    suppressed: u64,
}

impl Quota {
    /// Whether to log this event, of `most` in one second; if so, how many like it were passed over since the last line.
    pub(super) fn allow(&mut self, most: u32, now: Instant) -> Option<u64> {
        if self.second.is_none_or(|second| now.saturating_duration_since(second) >= QUIET) {
            (self.second, self.used) = (Some(now), 0);
        }
        if self.used >= most {
            self.suppressed += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_up_to_a_second_and_starts_again_after_a_success() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            backoff.failed(now);
            pauses.push(backoff.left(now).unwrap().as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        backoff.succeeded();
        assert_eq!(backoff.left(now), None);
        assert!(backoff.failed(now), "a first failure is logged");
        assert!(!backoff.failed(now), "the ones after it are not");
        assert_eq!(backoff.left(now + LONGEST), None);
    }

    #[test]
    fn one_line_a_second_tells_how_many_were_passed_over() {
        let now = Instant::now();
        let mut limit = Limit::default();
        assert_eq!(limit.allow(now), Some(0));
        assert_eq!(limit.allow(now), None);
        assert_eq!(limit.allow(now + QUIET / 2), None);
        assert_eq!(limit.allow(now + QUIET), Some(2));
    }

    #[test]
    fn a_quota_is_used_up_and_comes_back_with_the_next_second() {
        let now = Instant::now();
        let mut quota = Quota::default();
        assert_eq!([quota.allow(2, now), quota.allow(2, now), quota.allow(2, now)], [Some(0), Some(0), None]);
        assert_eq!(quota.allow(2, now + QUIET), Some(1));
    }
}
