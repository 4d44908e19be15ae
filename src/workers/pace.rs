//! How often a worker tries again: a back-off after failures.
//!
//! Pure: the caller gives the time. Used by the loops of the workers.

use std::time::{Duration, Instant};

/// The pause after a first failure.
const SHORTEST: Duration = Duration::from_millis(100);
/// The pause that repeated failures grow to.
const LONGEST: Duration = Duration::from_secs(1);

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
}
