//! The probe results: which free addresses were found clear and which are used by somebody, in memory that all
//! processes share. Whoever reads an answer notes it here, so it counts for all workers; what is known outlives a crash
//! and a reload.
//!
//! A courtesy, never the guard: a bucket that is full forgets its oldest, and then an address is probed once more. Who
//! uses an address stands in the lease file too (state `conflict`); this only bridges the time until then.
//!
//! ```text
//! word 0, 1   secret of the hash, set once
//! word 8 …    64 words: a bit for each network (by hash) that relays were answered for
//! then        the table: 2^12 buckets; the value is 2 bits: asked, clear, used · 28 bits: hash of a hardware address
//! ```
//!
//! ```text
//! (nothing) ── ask ──▶ asked ── no answer in time ──▶ clear ── granted, or 10 minutes ──▶ (nothing)
//!                        └───────── answered ─────────▶ used ◀── answered later ── clear
//! ```

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::hash::{shared_secret, sip13};
use super::table;
use super::types::{HardwareAddress, Timestamp};

/// Words of shared memory that the probe results take (260 KiB).
pub const PROBE_WORDS: usize = HEADER + RELAYED + Table::WORDS;

/// So long the packet may take that goes on although nobody could be asked.
const PASSED_SECS: u32 = 2;
/// How long an address counts as clear, in seconds.
const CLEAR_SECS: u32 = 600;
/// With less left than this it is probed again.
const RENEW_SECS: u64 = 180;
/// How long an answer keeps an address from being offered, in seconds; the record in the lease file keeps it longer.
const USED_SECS: u32 = 60;
/// Likewise for one that somebody else was about to take.
const WANTED_SECS: u32 = 10;

const HEADER: usize = 8;
const RELAYED: usize = 64;
const HASH_BITS: u32 = 28;
const HASH_MASK: u64 = (1 << HASH_BITS) - 1;
/// More failures than this in a row mean that others are at work on the same address: theirs will do.
const ATTEMPTS: usize = 4;

type Table = table::Table<12>;

/// The probe results over their region of shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Probes {
    table: Table,
    relayed: &'static [AtomicU64],
    key: (u64, u64),
}

/// What is known of an address, as a client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Nothing yet; it may be asked for just now.
    Unknown,
    /// Nobody answered lately, or only this very client.
    Clear,
    /// Somebody else uses it, or is about to.
    Used,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// Nobody asked about this address.
    Unasked,
    /// It is the very host that asks for the address, or one that only looks for a free address itself.
    Harmless,
    /// Somebody uses the address: it belongs into the lease file.
    InUse,
}

/// What a word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Asked,
    Clear,
    Used,
}

impl Probes {
    /// Takes its place in a region that was zero when it was made; the first to come sets the secret.
    ///
    /// # Panics
    /// Where the region is smaller than [`PROBE_WORDS`], as which main has made it.
    pub fn new(region: &'static [AtomicU64]) -> Self {
        let (header, rest) = region.split_at(HEADER);
        let (relayed, rest) = rest.split_at(RELAYED);
        let key = (shared_secret(&header[0]), shared_secret(&header[1]));
        Self { table: Table::new(&rest[..Table::WORDS]), relayed, key }
    }

    /// Results of this process alone, in memory that is never given back: for tools and tests.
    pub fn private() -> Self {
        let region: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(PROBE_WORDS).collect();
        Self::new(Box::leak(region.into_boxed_slice()))
    }

    /// What a question about an address carries so that its answer is known: nobody else can make it up.
    pub fn token(&self, address: Ipv4Addr) -> u64 {
        sip13(self.key.1, self.key.0, &address.octets())
    }

    /// An address is asked for, by this client or ahead of time; an answer within `secs` counts. What is known already
    /// stays known meanwhile.
    pub fn ask(&self, address: Ipv4Addr, client: Option<&HardwareAddress>, secs: u32, now: Timestamp) {
        let (bucket, tag) = self.table.bucket(address);
        let word =
            |tag| Self::word(tag, Kind::Asked, client.map_or(0, |c| self.hash(c)), now.plus(secs), now);
        for _ in 0..ATTEMPTS {
            let Some((slot, seen)) = place(bucket, tag, now) else { return };
            let live = Table::live(seen, now) && Table::tag_of(seen) == tag;
            if live && kind(seen) != Some(Kind::Asked) {
                return;
            }
            if slot.compare_exchange(seen, word(tag), SeqCst, SeqCst).is_ok() {
                return;
            }
        }
    }

    /// Nobody answered in time. False where somebody has, or nobody was asked.
    pub fn clear(&self, address: Ipv4Addr, now: Timestamp) -> bool {
        self.change(address, now, |known, word| {
            let again = match known {
                Kind::Asked => true,
                // Probed again before it ran out.
                Kind::Clear => Table::left(word, now) <= RENEW_SECS,
                Kind::Used => false,
            };
            again.then_some((Kind::Clear, 0, CLEAR_SECS))
        })
        .is_some_and(|(known, _)| known != Kind::Used)
    }

    /// Who answered answers for everything: as if nobody had.
    pub fn disregard(&self, address: Ipv4Addr, now: Timestamp) {
        self.change(address, now, |known, _| (known == Kind::Used).then_some((Kind::Clear, 0, CLEAR_SECS)));
    }

    /// Nobody could be asked: the packet that waits goes on, and nothing is known for longer than that.
    pub fn pass(&self, address: Ipv4Addr, now: Timestamp) {
        self.change(address, now, |known, _| (known == Kind::Asked).then_some((Kind::Clear, 0, PASSED_SECS)));
    }

    /// Somebody with this hardware address, where it is known, answered for an address, or announced it; `wants`: it
    /// does not use it yet. Counts only where somebody has asked lately.
    pub fn answered(
        &self,
        address: Ipv4Addr,
        by: Option<&HardwareAddress>,
        wants: bool,
        now: Timestamp,
    ) -> Answered {
        let by = by.map_or(0, |by| self.hash(by));
        let secs = if wants { WANTED_SECS } else { USED_SECS };
        match self.change(address, now, |known, _| (known != Kind::Used).then_some((Kind::Used, by, secs))) {
            None | Some((Kind::Used, _)) => Answered::Unasked,
            Some((Kind::Asked, asker)) if asker != 0 && asker == by => Answered::Harmless,
            Some((Kind::Asked | Kind::Clear, _)) if wants => Answered::Harmless,
            Some((Kind::Asked | Kind::Clear, _)) => Answered::InUse,
        }
    }

    /// What is known of an address, as this client sees it.
    pub fn find(&self, address: Ipv4Addr, client: &HardwareAddress, now: Timestamp) -> Finding {
        match self.known(address, now) {
            None => Finding::Unknown,
            Some(word) => match kind(word) {
                Some(Kind::Clear) => Finding::Clear,
                Some(Kind::Used) if hash_of(word) == self.hash(client) => Finding::Clear,
                Some(Kind::Used) => Finding::Used,
                Some(Kind::Asked) | None => Finding::Unknown,
            },
        }
    }

    /// Whether an address that nobody has asked for yet should be probed ahead of time.
    pub fn is_stale(&self, address: Ipv4Addr, now: Timestamp) -> bool {
        self.known(address, now)
            .is_none_or(|word| kind(word) == Some(Kind::Clear) && Table::left(word, now) <= RENEW_SECS)
    }

    /// The address has a holder now: what was found before says nothing any more.
    pub fn forget(&self, address: Ipv4Addr) {
        let (bucket, tag) = self.table.bucket(address);
        for slot in bucket {
            let word = slot.load(SeqCst);
            if word != 0 && Table::tag_of(word) == tag {
                let _ = slot.compare_exchange(word, 0, SeqCst, SeqCst);
            }
        }
    }

    /// A relay of the network that begins with this address was answered: pings find their way there.
    pub fn note_relayed(&self, network: Ipv4Addr) {
        if let Some((word, bit)) = self.relayed_bit(network)
            && word.load(SeqCst) & bit == 0
        {
            word.fetch_or(bit, SeqCst);
        }
    }

    /// Whether [`Self::note_relayed`] was told so, in whatever process.
    pub fn is_relayed(&self, network: Ipv4Addr) -> bool {
        self.relayed_bit(network).is_some_and(|(word, bit)| word.load(SeqCst) & bit != 0)
    }

    /// Clears what ran out; to be called at least every two hours.
    pub fn sweep(&self, now: Timestamp) {
        self.table.sweep(now);
    }

    /// Replaces what is known of an address by what `next` says (kind, hash, seconds), if it says anything. What was
    /// known before, and the hash with it; none where nothing was.
    fn change(
        &self,
        address: Ipv4Addr,
        now: Timestamp,
        next: impl Fn(Kind, u64) -> Option<(Kind, u64, u32)>,
    ) -> Option<(Kind, u64)> {
        let (bucket, tag) = self.table.bucket(address);
        for _ in 0..ATTEMPTS {
            let (slot, seen) = place(bucket, tag, now)?;
            if !Table::live(seen, now) || Table::tag_of(seen) != tag {
                return None;
            }
            let known = (kind(seen)?, hash_of(seen));
            let Some((to, hash, secs)) = next(known.0, seen) else { return Some(known) };
            let word = Self::word(tag, to, hash, now.plus(secs), now);
            if slot.compare_exchange(seen, word, SeqCst, SeqCst).is_ok() {
                return Some(known);
            }
        }
        None
    }

    fn known(&self, address: Ipv4Addr, now: Timestamp) -> Option<u64> {
        self.table.of(address, now).max_by_key(|word| kind(*word))
    }

    fn word(tag: u64, kind: Kind, hash: u64, until: Timestamp, now: Timestamp) -> u64 {
        let kind: u64 = match kind {
            Kind::Asked => 1,
            Kind::Clear => 2,
            Kind::Used => 3,
        };
        Table::word(tag, until, now, kind << HASH_BITS | hash & HASH_MASK)
    }

    /// Never zero.
    fn hash(&self, hardware: &HardwareAddress) -> u64 {
        (sip13(self.key.0, self.key.1, hardware.bytes()) & HASH_MASK).max(1)
    }

    fn relayed_bit(&self, network: Ipv4Addr) -> Option<(&'static AtomicU64, u64)> {
        let hash = sip13(0, 0, &network.octets());
        Some((self.relayed.get((hash >> 6) as usize % RELAYED)?, 1 << (hash % 64)))
    }
}

/// The word of an address, the one that says most; else one that is unused; else the one that runs out first.
fn place(bucket: &[AtomicU64], tag: u64, now: Timestamp) -> Option<(&AtomicU64, u64)> {
    let rank = |word: u64| match Table::live(word, now) {
        true if Table::tag_of(word) == tag => (0, 3 - kind(word).map_or(0, |kind| kind as u64)),
        true => (2, Table::left(word, now)),
        false => (1, 0),
    };
    bucket.iter().map(|slot| (slot, slot.load(SeqCst))).min_by_key(|(_, word)| rank(*word))
}

fn kind(word: u64) -> Option<Kind> {
    match Table::value_of(word) >> HASH_BITS {
        1 => Some(Kind::Asked),
        2 => Some(Kind::Clear),
        3 => Some(Kind::Used),
        _ => None,
    }
}

fn hash_of(word: u64) -> u64 {
    Table::value_of(word) & HASH_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn mac(n: u8) -> HardwareAddress {
        HardwareAddress::new(1, &[2, 0, 0, 0, 0, n]).unwrap()
    }

    #[test]
    fn silence_makes_an_asked_address_clear_for_ten_minutes() {
        let probes = Probes::private();
        assert!(!probes.clear(ADDRESS, NOW), "nobody asked");
        assert_eq!(probes.find(ADDRESS, &mac(1), NOW), Finding::Unknown);
        probes.ask(ADDRESS, Some(&mac(1)), 2, NOW);
        assert_eq!(probes.find(ADDRESS, &mac(1), NOW), Finding::Unknown);
        assert!(!probes.is_stale(ADDRESS, NOW), "asked just now");
        assert!(probes.clear(ADDRESS, NOW));
        assert_eq!(probes.find(ADDRESS, &mac(2), NOW.plus(599)), Finding::Clear);
        assert!(!probes.is_stale(ADDRESS, NOW.plus(300)) && probes.is_stale(ADDRESS, NOW.plus(430)));
        assert_eq!(probes.find(ADDRESS, &mac(2), NOW.plus(600)), Finding::Unknown);
    }

    #[test]
    fn an_answer_counts_for_everybody_but_the_host_that_gave_it() {
        let probes = Probes::private();
        assert_eq!(probes.answered(ADDRESS, Some(&mac(9)), false, NOW), Answered::Unasked);
        probes.ask(ADDRESS, Some(&mac(1)), 2, NOW);
        assert_eq!(probes.answered(ADDRESS, Some(&mac(9)), false, NOW), Answered::InUse);
        assert_eq!(probes.answered(ADDRESS, Some(&mac(9)), false, NOW), Answered::Unasked, "once is enough");
        assert!(!probes.clear(ADDRESS, NOW), "the end of the wait does not hide the answer");
        assert_eq!(probes.find(ADDRESS, &mac(1), NOW), Finding::Used);
        assert_eq!(probes.find(ADDRESS, &mac(9), NOW), Finding::Clear);
        assert_eq!(probes.find(ADDRESS, &mac(1), NOW.plus(60)), Finding::Unknown);
    }

    #[test]
    fn answer_of_the_client_itself_or_of_a_prober_is_no_conflict() {
        let probes = Probes::private();
        probes.ask(ADDRESS, Some(&mac(1)), 2, NOW);
        assert_eq!(probes.answered(ADDRESS, Some(&mac(1)), false, NOW), Answered::Harmless);
        assert_eq!(probes.find(ADDRESS, &mac(1), NOW), Finding::Clear);
        let other = Ipv4Addr::new(10, 0, 0, 8);
        probes.ask(other, Some(&mac(1)), 2, NOW);
        assert_eq!(probes.answered(other, Some(&mac(9)), true, NOW), Answered::Harmless);
        assert_eq!(probes.find(other, &mac(1), NOW), Finding::Used);
        assert_eq!(probes.find(other, &mac(1), NOW.plus(10)), Finding::Unknown);
    }

    #[test]
    fn a_clear_address_stays_so_while_it_is_asked_again_and_an_answer_ends_it() {
        let probes = Probes::private();
        probes.ask(ADDRESS, None, 2, NOW);
        probes.clear(ADDRESS, NOW);
        let later = NOW.plus(500);
        probes.ask(ADDRESS, None, 2, later);
        assert_eq!(probes.find(ADDRESS, &mac(1), later), Finding::Clear);
        assert!(probes.clear(ADDRESS, later));
        assert_eq!(probes.find(ADDRESS, &mac(1), later.plus(599)), Finding::Clear);
        assert_eq!(probes.answered(ADDRESS, None, false, later), Answered::InUse);
        assert_eq!(probes.find(ADDRESS, &mac(1), later), Finding::Used);
        probes.forget(ADDRESS);
        assert_eq!(probes.find(ADDRESS, &mac(1), later), Finding::Unknown);
    }

    #[test]
    fn an_answer_that_is_not_believed_leaves_the_address_clear() {
        let probes = Probes::private();
        probes.ask(ADDRESS, None, 2, NOW);
        assert_eq!(probes.answered(ADDRESS, Some(&mac(9)), false, NOW), Answered::InUse);
        probes.disregard(ADDRESS, NOW);
        assert_eq!(probes.find(ADDRESS, &mac(1), NOW), Finding::Clear);
    }

    #[test]
    fn what_nobody_could_be_asked_passes_for_a_moment_only() {
        let probes = Probes::private();
        probes.ask(ADDRESS, None, 2, NOW);
        probes.pass(ADDRESS, NOW);
        assert_eq!(probes.find(ADDRESS, &mac(1), NOW), Finding::Clear);
        assert!(probes.is_stale(ADDRESS, NOW));
        assert_eq!(probes.find(ADDRESS, &mac(1), NOW.plus(PASSED_SECS)), Finding::Unknown);
    }

    #[test]
    fn a_second_view_of_the_region_sees_the_same_results_and_tokens() {
        let region: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(PROBE_WORDS).collect();
        let region: &'static [AtomicU64] = Box::leak(region.into_boxed_slice());
        let (one, two) = (Probes::new(region), Probes::new(region));
        one.ask(ADDRESS, None, 2, NOW);
        assert_eq!(two.answered(ADDRESS, Some(&mac(9)), false, NOW), Answered::InUse);
        assert_eq!(one.find(ADDRESS, &mac(1), NOW), Finding::Used);
        assert_eq!(one.token(ADDRESS), two.token(ADDRESS));
        assert_ne!(one.token(ADDRESS), Probes::private().token(ADDRESS), "nobody else knows it");
        two.note_relayed(Ipv4Addr::new(10, 1, 0, 0));
        assert!(one.is_relayed(Ipv4Addr::new(10, 1, 0, 0)) && !one.is_relayed(ADDRESS));
    }

    #[test]
    fn more_results_than_there_is_room_for_forget_the_oldest_and_mix_none_up() {
        let probes = Probes::private();
        for n in 0..100_000_u32 {
            let address = Ipv4Addr::from(0x0a00_0000 + n);
            probes.ask(address, None, 2, NOW);
            assert!(probes.clear(address, NOW), "the latest is always there");
        }
        let others = (0..100_000_u32).map(|n| Ipv4Addr::from(0x0b00_0000 + n));
        assert_eq!(others.filter(|a| probes.find(*a, &mac(1), NOW) != Finding::Unknown).count(), 0);
        probes.sweep(NOW.plus(600));
        assert_eq!(probes.find(Ipv4Addr::from(0x0a00_0000 + 99_999), &mac(1), NOW), Finding::Unknown);
    }

    #[test]
    fn workers_that_race_never_turn_an_answer_into_silence() {
        let probes = Probes::private();
        let addresses = || (0..5_000_u32).map(|n| Ipv4Addr::from(0x0a00_0000 + n));
        addresses().for_each(|address| probes.ask(address, None, 2, NOW));
        let start = std::sync::Barrier::new(3);
        let found: usize = std::thread::scope(|scope| {
            let clearing = scope.spawn(|| {
                start.wait();
                for address in addresses() {
                    probes.clear(address, NOW);
                }
                0
            });
            let reading: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let in_use =
                            |a: &Ipv4Addr| probes.answered(*a, Some(&mac(9)), false, NOW) == Answered::InUse;
                        addresses().filter(in_use).count()
                    })
                })
                .collect();
            let found = reading.into_iter().map(|thread| thread.join().unwrap()).sum();
            clearing.join().unwrap();
            found
        });
        assert_eq!(found, 5_000, "each answer is reported by exactly one");
        assert!(addresses().all(|address| probes.find(address, &mac(1), NOW) == Finding::Used));
    }
}
