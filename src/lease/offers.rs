//! The offers: which address is held for which client until when, in memory that all processes share. A DISCOVER
//! writes nothing to disk, yet no other worker offers the same address meanwhile, and any worker completes any offer.
//!
//! Lock-free: one 64-bit word an offer, changed by compare-and-swap. It is a courtesy, never the guard: whether an
//! address may be leased is decided in the store's transaction. A lost race refuses that address. A full bucket gives up the
//! offer that would end first: refusing instead would let whoever sends a DISCOVER under 131,072 names shut out everybody
//! else for a minute, and a client whose offer was given up still gets its address unless another was faster.
//!
//! ```text
//! word 0, 1   secret of the client hash, set once
//! word 2      number of the newest row of the log that a worker knows to be committed
//! word 8 …    the table: 2^14 buckets; the value is the client's hash, never zero
//! then        hints: 2^17 words, client → address
//! ```

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::hash::{shared_secret, sip13};
use super::table;
use super::types::{ClientKey, Timestamp};

/// Words of shared memory that the offers take (2 MiB).
pub const OFFER_WORDS: usize = HEADER + Table::WORDS + HINTS;

/// Longest hold of an offer, in seconds.
pub const MAX_HOLD_SECS: u32 = table::MAX_SECS;

const HEADER: usize = 8;
const HINTS: usize = 1 << 17;

type Table = table::Table<14>;

/// The offers over their region of shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Offers {
    table: Table,
    hints: &'static [AtomicU64],
    key: (u64, u64),
    newest: &'static AtomicU64,
}

/// For whom an address is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// For nobody.
    Nobody,
    /// For the client that was asked about.
    This,
    /// For another client.
    Another,
}

impl Offers {
    /// Takes its place in a region that was zero when it was made; the first to come sets the secret.
    ///
    /// # Panics
    /// Where the region is smaller than [`OFFER_WORDS`], as which main has made it.
    pub fn new(region: &'static [AtomicU64]) -> Self {
        let (header, rest) = region.split_at(HEADER);
        let (table, rest) = rest.split_at(Table::WORDS);
        let key = (shared_secret(&header[0]), shared_secret(&header[1]));
        Self { table: Table::new(table), hints: &rest[..HINTS], key, newest: &header[2] }
    }

    /// Row `seq` of the log is committed: to be said before anybody is told of what it grants.
    pub(super) fn committed(&self, seq: u64) {
        if self.newest.load(SeqCst) < seq {
            self.newest.fetch_max(seq, SeqCst);
        }
    }

    /// The highest number of a row that was [`Self::committed`]. What is granted by a row after it, no client knew of when
    /// this was called.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(SeqCst)
    }

    /// Offers of this process alone, in memory that is never given back: for tools and tests.
    pub fn private() -> Self {
        let region: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(OFFER_WORDS).collect();
        Self::new(Box::leak(region.into_boxed_slice()))
    }

    /// Holds `address` for `client` until `until` (at most [`MAX_HOLD_SECS`] from now); false if it is held for
    /// another. Where there is no room an older offer of another address makes it.
    pub fn claim(&self, address: Ipv4Addr, client: &ClientKey, until: Timestamp, now: Timestamp) -> bool {
        let hash = self.hash(client);
        let (bucket, tag) = self.table.bucket(address);
        let word = Table::word(tag, until, now, u64::from(hash));
        let Some(place) = bucket_place(bucket, tag, hash, now) else { return false };
        let Some(slot) = bucket.get(place.0) else { return false };
        if slot.compare_exchange(place.1, word, SeqCst, SeqCst).is_err() {
            return false;
        }
        // Another process may have put the same address into another place of the bucket meanwhile. Each looks after
        // it has written, so at least one sees the other, and whoever sees one steps back.
        let doubled = bucket.iter().enumerate().any(|(i, other)| {
            let seen = other.load(SeqCst);
            i != place.0 && Table::tag_of(seen) == tag && Table::live(seen, now) && client_of(seen) != hash
        });
        if doubled {
            let _ = slot.compare_exchange(word, 0, SeqCst, SeqCst);
            return false;
        }
        self.hint(hash).store(u64::from(hash) << 32 | u64::from(u32::from(address)), SeqCst);
        true
    }

    /// For whom an address is held, as `client` sees it.
    pub fn holder(&self, address: Ipv4Addr, client: &ClientKey, now: Timestamp) -> Holder {
        match self.holder_hash(address, now) {
            None => Holder::Nobody,
            Some(hash) if hash == self.hash(client) => Holder::This,
            Some(_) => Holder::Another,
        }
    }

    /// The address held for a client, where it can be told.
    pub fn held_for(&self, client: &ClientKey, now: Timestamp) -> Option<Ipv4Addr> {
        let hash = self.hash(client);
        let word = self.hint(hash).load(SeqCst);
        let address = Ipv4Addr::from(u32::try_from(word & u64::from(u32::MAX)).ok()?);
        (word >> 32 == u64::from(hash) && self.holder_hash(address, now) == Some(hash)).then_some(address)
    }

    /// Gives up the offer of an address, if it is this client's.
    pub fn release(&self, address: Ipv4Addr, client: &ClientKey) {
        let hash = self.hash(client);
        let (bucket, tag) = self.table.bucket(address);
        for slot in bucket {
            let word = slot.load(SeqCst);
            if word != 0 && Table::tag_of(word) == tag && client_of(word) == hash {
                let _ = slot.compare_exchange(word, 0, SeqCst, SeqCst);
            }
        }
    }

    /// Clears what ran out; to be called at least every two hours, for `until` wraps. Returns how many are live.
    pub fn sweep(&self, now: Timestamp) -> usize {
        self.table.sweep(now)
    }

    fn holder_hash(&self, address: Ipv4Addr, now: Timestamp) -> Option<u32> {
        self.table.of(address, now).next().map(client_of)
    }

    /// Never zero.
    fn hash(&self, client: &ClientKey) -> u32 {
        let hash = sip13(self.key.0, self.key.1, client.as_bytes());
        u32::try_from(hash >> 32).unwrap_or(1).max(1)
    }

    fn hint(&self, hash: u32) -> &'static AtomicU64 {
        // The region has exactly HINTS words, a power of two.
        &self.hints[hash as usize % HINTS]
    }
}

/// Where an offer of `tag` goes: its old place, else an unused one, else that of the offer with the least time left (a
/// grant's hold, which lasts for seconds only, before any other); with the word found there. None: held for another.
fn bucket_place(bucket: &[AtomicU64], tag: u64, hash: u32, now: Timestamp) -> Option<(usize, u64)> {
    let mut best: Option<(u64, usize, u64)> = None;
    for (i, slot) in bucket.iter().enumerate() {
        let word = slot.load(SeqCst);
        let left = Table::left(word, now);
        if left > 0 && Table::tag_of(word) == tag {
            return (client_of(word) == hash).then_some((i, word));
        }
        if best.is_none_or(|(least, ..)| left < least) {
            best = Some((left, i, word));
        }
    }
    best.map(|(_, i, word)| (i, word))
}

fn client_of(word: u64) -> u32 {
    // The value has 32 bits.
    u32::try_from(Table::value_of(word)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u32) -> ClientKey {
        ClientKey::by_client_id(&n.to_be_bytes())
    }

    const NOW: Timestamp = Timestamp(1_700_000_000);
    const LATER: Timestamp = Timestamp(NOW.0 + 60);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    #[test]
    fn an_offer_holds_until_its_time_and_only_for_its_client() {
        let offers = Offers::private();
        assert!(offers.claim(ADDRESS, &client(1), LATER, NOW));
        assert!(!offers.claim(ADDRESS, &client(2), LATER, NOW));
        assert!(offers.claim(ADDRESS, &client(1), LATER, NOW), "again by the same client");
        assert_eq!(offers.holder(ADDRESS, &client(2), NOW), Holder::Another);
        assert_eq!(offers.held_for(&client(1), NOW), Some(ADDRESS));
        assert_eq!(offers.holder(ADDRESS, &client(2), LATER), Holder::Nobody);
        assert!(offers.claim(ADDRESS, &client(2), LATER.plus(60), LATER));
        assert_eq!(offers.held_for(&client(1), LATER), None);
    }

    #[test]
    fn release_counts_only_from_the_client_itself() {
        let offers = Offers::private();
        assert!(offers.claim(ADDRESS, &client(1), LATER, NOW));
        offers.release(ADDRESS, &client(2));
        assert_eq!(offers.holder(ADDRESS, &client(1), NOW), Holder::This);
        offers.release(ADDRESS, &client(1));
        assert_eq!(offers.holder(ADDRESS, &client(1), NOW), Holder::Nobody);
    }

    #[test]
    fn a_second_view_of_the_region_sees_the_same_offers() {
        let region: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(OFFER_WORDS).collect();
        let region: &'static [AtomicU64] = Box::leak(region.into_boxed_slice());
        let (one, two) = (Offers::new(region), Offers::new(region));
        assert!(one.claim(ADDRESS, &client(1), LATER, NOW));
        assert_eq!(two.held_for(&client(1), NOW), Some(ADDRESS));
    }

    #[test]
    fn sweep_clears_what_ran_out_before_it_could_wrap() {
        let offers = Offers::private();
        assert!(offers.claim(ADDRESS, &client(1), LATER, NOW));
        assert_eq!(offers.sweep(NOW), 1);
        assert_eq!(offers.sweep(LATER), 0);
        assert_eq!(offers.holder(ADDRESS, &client(1), Timestamp(LATER.0 + (1 << 14) - 10)), Holder::Nobody);
    }

    #[test]
    fn addresses_do_not_stand_for_one_another() {
        let offers = Offers::private();
        for n in 0..60_000_u32 {
            let address = Ipv4Addr::from(0x0a00_0000 + n);
            assert!(offers.claim(address, &client(n), LATER, NOW));
            assert_eq!(offers.holder(address, &client(n), NOW), Holder::This);
        }
        let others = (0..60_000_u32)
            .filter(|n| offers.holder(Ipv4Addr::from(0x0b00_0000 + n), &client(*n), NOW) != Holder::Nobody);
        assert_eq!(others.count(), 0);
    }

    #[test]
    fn full_table_refuses_nobody_and_gives_up_what_ends_first() {
        let offers = Offers::private();
        let address = |n: u32| Ipv4Addr::from(0x0a00_0000 + n);
        let held = |range: std::ops::Range<u32>| {
            range.filter(|n| offers.holder(address(*n), &client(*n), NOW) == Holder::This).count()
        };
        let granted = 0..u32::try_from(Table::WORDS).unwrap();
        // As after a second of grants at a rate that no disk sustains.
        for n in granted.clone() {
            assert!(offers.claim(address(n), &client(n), NOW.plus(3), NOW));
        }
        let offered = granted.end..granted.end + 20_000;
        for n in offered.clone() {
            assert!(offers.claim(address(n), &client(n), LATER, NOW), "{n}");
            assert_eq!(offers.holder(address(n), &client(n), NOW), Holder::This);
            assert!(!offers.claim(address(n), &client(n + 1), LATER, NOW), "still guarded");
        }
        // All but what met eight younger ones in its bucket.
        assert!(held(offered.clone()) > 19_980, "{} of 20,000", held(offered));
        assert!(held(granted) > 80_000);
    }

    #[test]
    fn threads_that_race_for_addresses_never_both_win() {
        let offers = Offers::private();
        let start = std::sync::Barrier::new(4);
        let won: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|n| {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        let mine = |a: &u32| offers.claim(Ipv4Addr::from(*a), &client(n), LATER, NOW);
                        (0..20_000_u32).filter(mine).collect()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let mut all: Vec<u32> = won.into_iter().flatten().collect();
        let before = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), before);
    }
}
