//! A lock-free table in shared memory: address → a small value, until a time. The offers and the probe results are two
//! of them; what a value means, and who may replace whose, is theirs.
//!
//! Buckets of 8 words of 64 bits. The bucket (`BITS` of them) and the tag together are the address, scrambled so that
//! neighbours spread; `until` is in seconds and wraps. Zero is empty, so a value is never zero.
//!
//! ```text
//! | tag 32 − BITS | until 14 | value 18 + BITS |
//! ```

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::types::Timestamp;

/// Longest time that an entry may last, in seconds. Far from the wrap of `until`, so that a word that was never swept is
/// not taken for a live one.
pub(super) const MAX_SECS: u32 = 3600;

const WAYS: usize = 8;
const UNTIL_BITS: u32 = 14;
const UNTIL_MASK: u64 = (1 << UNTIL_BITS) - 1;

/// A table of 2^`BITS` buckets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<const BITS: u32> {
    words: &'static [AtomicU64],
}

impl<const BITS: u32> Table<BITS> {
    /// Words of shared memory that it takes.
    pub(super) const WORDS: usize = WAYS << BITS;

    const VALUE_BITS: u32 = 18 + BITS;
    const VALUE_MASK: u64 = (1 << Self::VALUE_BITS) - 1;

    /// Over exactly [`Self::WORDS`] words.
    pub(super) fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// The words that an entry of `address` may stand in, and its tag there.
    pub(super) fn bucket(self, address: Ipv4Addr) -> (&'static [AtomicU64], u64) {
        let mixed = scramble(u32::from(address));
        let bucket = (mixed >> (32 - BITS)) as usize;
        let tag = u64::from(mixed & ((1 << (32 - BITS)) - 1));
        (self.words.get(bucket * WAYS..(bucket + 1) * WAYS).unwrap_or_default(), tag)
    }

    /// A word; `until` is brought to at least a second and at most [`MAX_SECS`] from now.
    pub(super) fn word(tag: u64, until: Timestamp, now: Timestamp, value: u64) -> u64 {
        let until = until.0.clamp(now.0 + 1, now.0 + u64::from(MAX_SECS));
        tag << (UNTIL_BITS + Self::VALUE_BITS)
            | (until & UNTIL_MASK) << Self::VALUE_BITS
            | value & Self::VALUE_MASK
    }

    pub(super) fn tag_of(word: u64) -> u64 {
        word >> (UNTIL_BITS + Self::VALUE_BITS)
    }

    pub(super) fn value_of(word: u64) -> u64 {
        word & Self::VALUE_MASK
    }

    /// How many seconds an entry has left; 0 where it has run out or there is none.
    pub(super) fn left(word: u64, now: Timestamp) -> u64 {
        let left = (word >> Self::VALUE_BITS & UNTIL_MASK).wrapping_sub(now.0) & UNTIL_MASK;
        if word == 0 || left > u64::from(MAX_SECS) { 0 } else { left }
    }

    pub(super) fn live(word: u64, now: Timestamp) -> bool {
        Self::left(word, now) > 0
    }

    /// The live words of an address; more than one only where processes met.
    pub(super) fn of(self, address: Ipv4Addr, now: Timestamp) -> impl Iterator<Item = u64> {
        let (bucket, tag) = self.bucket(address);
        let words = bucket.iter().map(|slot| slot.load(SeqCst));
        words.filter(move |word| Self::tag_of(*word) == tag && Self::live(*word, now))
    }

    /// Clears what ran out; to be called at least every two hours, for `until` wraps. Returns how many are live.
    pub(super) fn sweep(self, now: Timestamp) -> usize {
        let mut alive = 0;
        for slot in self.words {
            let word = slot.load(SeqCst);
            if Self::live(word, now) {
                alive += 1;
            } else if word != 0 {
                let _ = slot.compare_exchange(word, 0, SeqCst, SeqCst);
            }
        }
        alive
    }
}

/// A bijection, so that bucket and tag together are the whole address.
fn scramble(address: u32) -> u32 {
    let x = address.wrapping_mul(0x9e37_79b1);
    let x = x ^ x >> 15;
    x.wrapping_mul(0x85eb_ca77)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_what_it_is_made_of_and_never_seems_live_again_for_hours() {
        type Small = Table<12>;
        let now = Timestamp(1_700_000_000);
        let word = Small::word(0xf_ffff, now.plus(60), now, (1 << 30) - 1);
        assert_eq!((Small::tag_of(word), Small::value_of(word)), (0xf_ffff, (1 << 30) - 1));
        assert_eq!((Small::left(word, now), Small::left(word, now.plus(60))), (60, 0));
        let wrap = (1 << UNTIL_BITS) - MAX_SECS;
        assert!((60..wrap).all(|later| !Small::live(word, now.plus(later))));
        let longest = Small::word(1, Timestamp::NEVER, now, 1);
        assert_eq!(Small::left(longest, now), u64::from(MAX_SECS));
    }
}
