//! The lease clock: seconds that run with `CLOCK_BOOTTIME` (`clock_gettime(2)`), so that a step of the wall clock neither
//! ends nor prolongs a lease, and that count on while the machine sleeps. The one place that reads the time for leases.
//!
//! Lease time = boot time + offset. The offset is fixed once a boot and kept in the lease file; it makes lease time equal to
//! the wall clock at that moment, but never less than any time already in the file (a machine without a battery clock
//! starts in 1970).

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use super::types::Timestamp;

/// The clock of one lease file, in one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseClock {
    offset_secs: i64,
}

impl LeaseClock {
    /// The clock of an open lease file.
    pub fn open(store: &super::SqliteStore) -> Result<Self, super::StoreError> {
        store.clock()
    }

    /// With the offset that the lease file keeps.
    pub fn new(offset_secs: i64) -> Self {
        Self { offset_secs }
    }

    /// For a new boot: follows the wall clock, but never before `newest`.
    pub fn start(newest: Timestamp) -> Self {
        let newest = i64::try_from(newest.0).unwrap_or(i64::MAX);
        Self { offset_secs: wall_secs().max(newest) - boot_secs() }
    }

    /// Lease time less boot time.
    pub fn offset_secs(self) -> i64 {
        self.offset_secs
    }

    /// The time now.
    pub fn now(self) -> Timestamp {
        Timestamp(u64::try_from(boot_secs().saturating_add(self.offset_secs)).unwrap_or(0))
    }

    /// Lease time less wall time now: what to take off a [`Timestamp`] to show it to people.
    pub fn skew_secs(self) -> i64 {
        i64::try_from(self.now().0).unwrap_or(i64::MAX) - wall_secs()
    }
}

/// Identity of this boot (random(4)); empty where /proc does not tell.
pub(super) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

fn boot_secs() -> i64 {
    // CLOCK_BOOTTIME exists since Linux 2.6.39; the monotonic clock differs only by the time asleep.
    let clocks = [ClockId::CLOCK_BOOTTIME, ClockId::CLOCK_MONOTONIC];
    clocks.into_iter().find_map(|clock| clock_gettime(clock).ok()).map_or(0, |time| time.tv_sec())
}

fn wall_secs() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
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
        assert!(LeaseClock::start(Timestamp(0)).skew_secs().abs() <= 1);
    }
}
