//! What lies where at the end of the shared memory: one row for each layer above the statistics that shares something.
//! Main makes the mapping with [`WORDS`] at its end; each worker takes the regions that it needs. Those who have nothing to do
//! with leases have no part in theirs ([`leave_leases`]).

use std::io;
use std::sync::atomic::AtomicU64;

use daemon_utils::log::limits::WORDS_PER_EVENT;
use daemon_utils::shm;

use crate::dhcp::quarantine::QUARANTINE_WORDS;
use crate::dhcp::rate::RATE_WORDS;
use crate::events::Event;
use crate::lease::{OFFER_WORDS, PROBE_WORDS};
use crate::stats::Shared;
use crate::stats::layout::Layout;

/// A part of the shared memory, zero when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// How often each event is logged ([`daemon_utils::log::Limits`]).
    LogLimits,
    /// Nothing. What comes after it begins on another page of memory.
    Before,
    /// Offered addresses ([`crate::lease::Offers`]).
    Offers,
    /// Who uses free addresses ([`crate::lease::Probes`]).
    Probes,
    /// How often each client is heard ([`crate::dhcp::rate::Rates`]).
    Rates,
    /// Packets that killed a worker ([`crate::dhcp::quarantine::Quarantine`]).
    Quarantine,
    /// Nothing. What comes before it ends on another page than the mapping.
    After,
}

/// The largest page of a kernel that the daemon runs on (64 KiB on some aarch64), in words.
const PAGE_WORDS: usize = 64 * 1024 / 8;

/// Words of all regions together.
pub const WORDS: usize = {
    let mut words = 0;
    let mut at = 0;
    while at < Region::ALL.len() {
        words += Region::ALL[at].words();
        at += 1;
    }
    words
};

impl Region {
    /// All of them, in their order in memory.
    pub const ALL: [Self; 7] = [
        Self::LogLimits,
        Self::Before,
        Self::Offers,
        Self::Probes,
        Self::Rates,
        Self::Quarantine,
        Self::After,
    ];

    /// What an upgrade in place knows it by, whatever its place.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LogLimits => "log-limits",
            Self::Before => "before-leases",
            Self::Offers => "offers",
            Self::Probes => "probes",
            Self::Rates => "rates",
            Self::Quarantine => "quarantine",
            Self::After => "after-leases",
        }
    }

    /// How many words it takes.
    pub const fn words(self) -> usize {
        match self {
            Self::LogLimits => Event::ALL.len() * WORDS_PER_EVENT,
            Self::Before | Self::After => PAGE_WORDS,
            Self::Offers => OFFER_WORDS,
            Self::Probes => PROBE_WORDS,
            Self::Rates => RATE_WORDS,
            Self::Quarantine => QUARANTINE_WORDS,
        }
    }

    /// Its words; none where the mapping was made without regions.
    pub fn of(self, shared: Shared) -> &'static [AtomicU64] {
        let before: usize =
            Self::ALL.iter().take_while(|region| **region != self).map(|region| region.words()).sum();
        shared.rest().get(before..before + self.words()).unwrap_or_default()
    }
}

/// Gives up this process's part in what concerns leases, for good, and that of its later children. For who parses what
/// strangers send and has no leases to care for: taken over, it can touch no offer, rate or quarantine.
pub fn leave_leases(shared: Shared) -> io::Result<()> {
    let before = Region::LogLimits.words();
    shm::unshare(shared.rest().get(before..).unwrap_or_default())
}

/// What lies where in the whole shared memory of this program.
pub fn layout() -> Layout {
    Layout::of_this_program(Region::ALL.map(|region| (region.name(), region.words())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_lie_side_by_side_and_fill_the_rest() {
        let shared = Shared::create(WORDS).unwrap();
        let mut end = shared.rest().as_ptr();
        for region in Region::ALL {
            let words = region.of(shared);
            assert_eq!(words.as_ptr(), end, "{region:?}");
            assert_eq!(words.len(), region.words());
            end = words.as_ptr_range().end;
        }
        assert_eq!(end, shared.rest().as_ptr_range().end);
    }
}
