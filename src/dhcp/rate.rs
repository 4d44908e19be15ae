//! How often each client is heard: a token bucket per client, in memory that all workers share. Knows no message and no
//! clock; the security stage asks it.
//!
//! Lock-free: one 64-bit word a client, changed by compare-and-swap. A bucket is kept as the moment at which it will be full
//! again (the "theoretical arrival time" of the generic cell rate algorithm, ITU-T I.371), so an idle client and an
//! unknown one are the same, and nothing has to be swept.
//!
//! ```text
//! word 0, 1   secret of the client hash, set once        a word of the table:
//! word 8 …    table: 2^13 rows of 8 words                63      44 43                      0
//!                                                        | tag 20  | full again: 1/16 ms    |
//! ```
//! The table is bounded. Where a row is full, the client that has been idle longest gives way, so a flood of invented
//! clients pushes out its own kind, and whoever is pushed out merely starts anew: this fails open.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::config::model::ClientRate;
use crate::lease::hash::{shared_secret, sip13};

/// Words of shared memory that the rates take (512 KiB).
pub const RATE_WORDS: usize = HEADER + (WAYS << ROW_BITS);

const HEADER: usize = 8;
const WAYS: usize = 8;
const ROW_BITS: u32 = 13;
/// 2^44 sixteenths of a millisecond are 34 years since boot.
const TIME_BITS: u32 = 44;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const TICK_NANOS: u64 = 62_500;
const TICKS_PER_SECOND: u64 = 1_000_000_000 / TICK_NANOS;
/// Workers that read the clock at different moments do not disagree by more than this: 10 s.
const SLACK: u64 = 10 * 16_000;
/// Races for one word that are lost in a row before a packet is let through.
const ATTEMPTS: usize = 8;

/// The buckets of all clients over their region of shared memory. The default has none and limits nobody: for dry runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    table: &'static [AtomicU64],
    key: (u64, u64),
}

/// A limit in the units of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Time in which one packet is regained.
    interval: u64,
    /// How far ahead a bucket may be and still give a packet: the burst less one.
    ahead: u64,
}

impl Limit {
    /// A client may send `packets` at once, and regains as many in `per`. A rate above 16,000 a second is no limit.
    pub fn new(rate: &ClientRate) -> Self {
        let interval = ticks(rate.per) / u64::from(rate.packets.max(1));
        Self { interval, ahead: interval.saturating_mul(u64::from(rate.packets.saturating_sub(1))) }
    }
}

impl Rates {
    /// Takes its place in a region of [`RATE_WORDS`] that was zero when it was made. A smaller one limits nobody.
    pub fn new(region: &'static [AtomicU64]) -> Self {
        let Some(([first, second, ..], rest)) = region.split_first_chunk::<HEADER>() else {
            return Self::default();
        };
        let table = rest.get(..WAYS << ROW_BITS).unwrap_or_default();
        Self { table, key: (shared_secret(first), shared_secret(second)) }
    }

    /// Rates of this process alone, in memory that is never given back: for tests.
    #[cfg(test)]
    pub(super) fn private() -> Self {
        let region: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(RATE_WORDS).collect();
        Self::new(Box::leak(region.into_boxed_slice()))
    }

    /// Whether nobody, in any worker, has said this for so long: for complaints that all workers share. Without a region it
    /// is always so.
    pub fn may_say(&self, what: &[u8], every: Duration, at: Duration) -> bool {
        // No relay has this number.
        self.take(self.hash(u64::MAX, what), &Limit { interval: ticks(every), ahead: 0 }, at)
    }

    /// A number for a client, which nobody outside can choose or foresee.
    pub(super) fn hash(&self, of: u64, identity: &[u8]) -> u64 {
        sip13(self.key.0 ^ of, self.key.1, identity)
    }

    /// Takes a packet from the bucket of a client, at this time since boot; false where it is empty.
    ///
    /// What is refused costs nothing, so a client that never pauses is still heard at its rate.
    pub(super) fn take(&self, client: u64, limit: &Limit, at: Duration) -> bool {
        let now = ticks(at) & TIME_MASK;
        let (row, tag) = self.row(client);
        for _ in 0..ATTEMPTS {
            let Some((slot, word)) = find(row, tag) else { return true };
            let known = if tag_of(word) == tag { word & TIME_MASK } else { 0 };
            let full_again = match known.saturating_sub(now) {
                left if left <= limit.ahead => now + left,
                left if left <= limit.ahead.saturating_add(limit.interval).saturating_add(SLACK) => {
                    return false;
                }
                // This limit never leads so far ahead: it was wider, and nobody is locked out for what was then.
                _ => now.saturating_add(limit.ahead),
            };
            let next = tag << TIME_BITS | full_again.saturating_add(limit.interval).min(TIME_MASK);
            if slot.compare_exchange(word, next, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
        true
    }

    fn row(&self, client: u64) -> (&'static [AtomicU64], u64) {
        // Different bits of the hash: at most 2^13 rows, 2^20 tags.
        let at = usize::try_from(client & ((1 << ROW_BITS) - 1)).unwrap_or(0) * WAYS;
        (self.table.get(at..at + WAYS).unwrap_or_default(), client >> TIME_BITS)
    }
}

/// The client's own place in a row, else the one that has been idle longest, with the word found there.
fn find(row: &'static [AtomicU64], tag: u64) -> Option<(&'static AtomicU64, u64)> {
    let words = || row.iter().map(|slot| (slot, slot.load(Relaxed)));
    let own = words().find(|(_, word)| *word != 0 && tag_of(*word) == tag);
    own.or_else(|| words().min_by_key(|(_, word)| word & TIME_MASK))
}

fn tag_of(word: u64) -> u64 {
    word >> TIME_BITS
}

fn ticks(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(TICKS_PER_SECOND)
        .saturating_add(u64::from(time.subsec_nanos()) / TICK_NANOS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000_000);

    fn limit(packets: u32, secs: u64) -> Limit {
        Limit::new(&ClientRate { packets, per: Duration::from_secs(secs) })
    }

    fn taken(rates: &Rates, client: u64, limit: &Limit, at: Duration, tries: usize) -> usize {
        (0..tries).filter(|_| rates.take(client, limit, at)).count()
    }

    #[test]
    fn a_client_may_burst_and_regains_its_packets() {
        let (rates, limit) = (Rates::private(), limit(20, 10));
        let client = rates.hash(0, b"one");
        assert_eq!(taken(&rates, client, &limit, START, 100), 20);
        let later = |millis| START + Duration::from_millis(millis);
        assert_eq!(taken(&rates, client, &limit, later(499), 100), 0);
        assert_eq!(taken(&rates, client, &limit, later(500), 100), 1);
        assert_eq!(taken(&rates, client, &limit, later(2_000), 100), 3);
        assert_eq!(taken(&rates, client, &limit, later(12_000), 100), 20, "all of them after a whole pause");
    }

    #[test]
    fn a_client_that_never_pauses_is_still_heard_at_its_rate() {
        let (rates, limit) = (Rates::private(), limit(20, 10));
        let client = rates.hash(0, b"one");
        let heard = (0..60_000).filter(|ms| rates.take(client, &limit, START + Duration::from_millis(*ms)));
        // The burst, and two a second for a minute less the last moment.
        assert_eq!(heard.count(), 20 + 119);
    }

    #[test]
    fn one_packet_is_a_limit_too() {
        let (rates, limit) = (Rates::private(), limit(1, 1));
        let client = rates.hash(0, b"one");
        assert_eq!(taken(&rates, client, &limit, START, 5), 1);
        assert_eq!(taken(&rates, client, &limit, START + Duration::from_secs(1), 5), 1);
    }

    #[test]
    fn all_views_of_a_region_share_the_buckets() {
        let region: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(RATE_WORDS).collect();
        let region: &'static [AtomicU64] = Box::leak(region.into_boxed_slice());
        let (one, two, limit) = (Rates::new(region), Rates::new(region), limit(10, 10));
        assert_eq!(one.hash(0, b"a"), two.hash(0, b"a"));
        let client = one.hash(0, b"a");
        assert_eq!(taken(&one, client, &limit, START, 7) + taken(&two, client, &limit, START, 7), 10);
    }

    #[test]
    fn a_tightened_limit_does_not_lock_anybody_out_for_the_old_time() {
        let (rates, wide, tight) = (Rates::private(), limit(10, 36_000), limit(10, 10));
        let client = rates.hash(0, b"one");
        assert_eq!(taken(&rates, client, &wide, START, 20), 10);
        assert_eq!(taken(&rates, client, &tight, START, 20), 1, "as after a burst");
        assert_eq!(taken(&rates, client, &tight, START + Duration::from_secs(1), 20), 1);
    }

    #[test]
    fn a_flood_of_one_client_leaves_the_others_alone() {
        let (rates, limit) = (Rates::private(), limit(20, 10));
        let loud = rates.hash(0, b"loud");
        taken(&rates, loud, &limit, START, 100_000);
        for quiet in 0..1_000_u64 {
            assert_eq!(taken(&rates, rates.hash(0, &quiet.to_be_bytes()), &limit, START, 20), 20, "{quiet}");
        }
    }

    #[test]
    fn a_flood_of_invented_clients_blocks_nobody() {
        let (rates, limit) = (Rates::private(), limit(20, 10));
        for invented in 0..1_000_000_u64 {
            let at = START + Duration::from_micros(invented);
            assert!(rates.take(rates.hash(1, &invented.to_be_bytes()), &limit, at), "{invented}");
        }
        for honest in 0..100_u64 {
            let client = rates.hash(0, &honest.to_be_bytes());
            assert!(taken(&rates, client, &limit, START + Duration::from_secs(1), 20) >= 19, "{honest}");
        }
    }

    #[test]
    fn a_loud_client_does_not_hide_among_invented_ones() {
        let (rates, limit) = (Rates::private(), limit(20, 10));
        let loud = rates.hash(0, b"loud");
        assert_eq!(taken(&rates, loud, &limit, START, 100), 20);
        // The whole table is filled over once: those who sent one packet go first.
        for invented in 0..200_000_u64 {
            rates.take(rates.hash(1, &invented.to_be_bytes()), &limit, START);
        }
        assert_eq!(taken(&rates, loud, &limit, START, 100), 0);
    }

    #[test]
    fn what_one_worker_has_said_the_others_do_not_repeat() {
        let region: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(RATE_WORDS).collect();
        let region: &'static [AtomicU64] = Box::leak(region.into_boxed_slice());
        let (one, two, minute) = (Rates::new(region), Rates::new(region), Duration::from_secs(60));
        assert!(one.may_say(b"lan", minute, START));
        assert!(!two.may_say(b"lan", minute, START + Duration::from_secs(59)));
        assert!(two.may_say(b"dmz", minute, START));
        assert!(two.may_say(b"lan", minute, START + minute));
    }

    #[test]
    fn without_a_region_nobody_is_limited() {
        assert_eq!(taken(&Rates::default(), 1, &limit(1, 10), START, 50), 50);
    }

    #[test]
    fn threads_that_race_take_no_more_than_the_burst() {
        let (rates, limit) = (Rates::private(), limit(1_000, 10));
        let client = rates.hash(0, b"one");
        let heard: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(move || (0..1_000).filter(|_| rates.take(client, &limit, START)).count())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // A race that is lost eight times in a row lets a packet through; that hardly ever happens.
        assert!((1_000..1_100).contains(&heard), "{heard}");
    }
}
