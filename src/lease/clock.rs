//! The lease clock: seconds that run with `CLOCK_BOOTTIME` (`clock_gettime(2)`), so that a step of the wall clock neither
//! ends nor prolongs a lease, and that count on while the machine sleeps. The one place that reads the time for leases.
//!
//! Lease time = boot time + offset. The offset is fixed once a boot and kept in the lease file; it makes lease time equal to
//! the wall clock at that moment, but never less than any time already in the file (a machine without a battery clock
//! starts in 1970).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use daemon_utils::clock;

use super::types::Timestamp;

/// The clock of one lease file, in one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseClock {
    /// In milliseconds, so that its seconds change when those of the wall clock did as it was fixed.
    offset_millis: i64,
}

impl LeaseClock {
    /// With the offset that the lease file keeps.
    pub fn new(offset_millis: i64) -> Self {
        Self { offset_millis }
    }

    /// For a new boot: follows the wall clock, but never before `newest`.
    pub fn start(newest: Timestamp) -> Self {
        let newest = i64::try_from(newest.0).unwrap_or(i64::MAX).saturating_mul(1000);
        Self { offset_millis: wall_millis().max(newest).saturating_sub(boot_millis()) }
    }

    /// Lease time less boot time, in milliseconds.
    pub fn offset_millis(self) -> i64 {
        self.offset_millis
    }

    /// The time now.
    pub fn now(self) -> Timestamp {
        Timestamp(u64::try_from(self.now_millis() / 1000).unwrap_or(0))
    }

    /// Lease time less wall time now, rounded: what to take off a [`Timestamp`] to show it to people.
    pub fn skew_secs(self) -> i64 {
        (self.now_millis() - wall_millis() + 500).div_euclid(1000)
    }

    fn now_millis(self) -> i64 {
        boot_millis().saturating_add(self.offset_millis)
    }
}

/// Identity of this boot (random(4)); empty where /proc does not tell.
pub(super) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

fn boot_millis() -> i64 {
    millis(clock::boot_time())
}

fn wall_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_boot_never_starts_before_what_the_file_knows() {
        let future = Timestamp(LeaseClock::start(Timestamp(0)).now().0 + 1_000_000);
        let clock = LeaseClock::start(future);
        assert!(clock.now() >= future && clock.skew_secs() >= 999_990);
    }

    #[test]
    fn without_history_lease_time_is_wall_time() {
        assert_eq!(LeaseClock::start(Timestamp(0)).skew_secs(), 0);
    }
}
