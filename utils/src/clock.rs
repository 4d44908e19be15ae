//! The clock that leases age by.
//!
//! It only reads. Everything that needs the time of boot calls it here, so that the rest stays pure.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since the machine booted, suspended time included (`CLOCK_BOOTTIME`, `clock_gettime(2)`).
///
/// It never steps back and no step of the wall clock moves it. All processes of one machine (and time
/// namespace) read the same value, so it may be compared across them, but not across a boot.
pub fn boot_time() -> Duration {
    // The kernel has had this clock since 2.6.39. Where a sandbox denies it, the monotonic clock
    // differs by the time spent suspended alone.
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC));
    // clock_gettime(2) fails for an unknown clock or a bad address only: neither is possible here.
    now.map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_runs_forward() {
        let first = boot_time();
        assert!(first > Duration::ZERO);
        assert!(boot_time() >= first);
    }
}
