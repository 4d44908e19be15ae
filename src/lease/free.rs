//! Which addresses of a pool were never leased: a bitmap of three levels, so that the free address nearest to a
//! wanted one is found without a walk, however full the pool is. Owned by the cache.
//!
//! One bit an address, in chunks of 4096 that exist only once an address of theirs is taken: an empty pool of a
//! whole /8 costs 32 KiB. A bit that is set means taken.

const WORD: u64 = 64;
const CHUNK: u64 = WORD * WORD;

/// The free addresses of one pool, by their offset from its first address.
#[derive(Debug)]
pub(super) struct FreeIndex {
    size: u64,
    taken: u64,
    chunks: Vec<Option<Box<Chunk>>>,
    /// A bit for each chunk that has no free address left.
    full: Vec<u64>,
}

#[derive(Debug)]
struct Chunk {
    words: [u64; 64],
    /// A bit for each word without a free address.
    full: u64,
}

impl FreeIndex {
    /// All `size` addresses free.
    pub(super) fn new(size: u64) -> Self {
        let chunks = usize::try_from(size.div_ceil(CHUNK)).unwrap_or(usize::MAX);
        Self {
            size,
            taken: 0,
            chunks: std::iter::repeat_with(|| None).take(chunks).collect(),
            full: vec![0; chunks.div_ceil(64)],
        }
    }

    /// How many are free.
    pub(super) fn free(&self) -> u64 {
        self.size - self.taken
    }

    /// Marks one as taken; nothing happens if it is, or if it lies outside.
    pub(super) fn take(&mut self, offset: u64) {
        if offset >= self.size {
            return;
        }
        let (c, w, bit) = place(offset);
        let chunk = self.chunks[c].get_or_insert_with(|| Box::new(Chunk { words: [0; 64], full: 0 }));
        if chunk.words[w] & bit != 0 {
            return;
        }
        chunk.words[w] |= bit;
        self.taken += 1;
        if chunk.words[w] == u64::MAX {
            chunk.full |= 1 << w;
            if chunk.full == u64::MAX {
                self.full[c / 64] |= 1 << (c % 64);
            }
        }
    }

    /// Marks one as free again.
    pub(super) fn give_back(&mut self, offset: u64) {
        if offset >= self.size {
            return;
        }
        let (c, w, bit) = place(offset);
        let Some(chunk) = self.chunks[c].as_mut() else { return };
        if chunk.words[w] & bit == 0 {
            return;
        }
        chunk.words[w] &= !bit;
        chunk.full &= !(1 << w);
        self.full[c / 64] &= !(1 << (c % 64));
        self.taken -= 1;
    }

    /// The first free one at `from` or above.
    pub(super) fn next(&self, from: u64) -> Option<u64> {
        if from >= self.size {
            return None;
        }
        let c = (from / CHUNK) as usize;
        let found = self.next_in(c, from % CHUNK).map(|o| c as u64 * CHUNK + o).or_else(|| {
            let c = next_zero(&self.full, c + 1, self.chunks.len())?;
            self.next_in(c, 0).map(|o| c as u64 * CHUNK + o)
        });
        // Bits of the last chunk beyond the pool's end read as free.
        found.filter(|offset| *offset < self.size)
    }

    /// The last free one at `from` or below.
    pub(super) fn previous(&self, from: u64) -> Option<u64> {
        let from = from.min(self.size.checked_sub(1)?);
        let c = (from / CHUNK) as usize;
        self.previous_in(c, from % CHUNK).map(|o| c as u64 * CHUNK + o).or_else(|| {
            let c = previous_zero(&self.full, c.checked_sub(1)?)?;
            self.previous_in(c, CHUNK - 1).map(|o| c as u64 * CHUNK + o)
        })
    }

    fn next_in(&self, c: usize, offset: u64) -> Option<u64> {
        let Some(chunk) = &self.chunks[c] else { return Some(offset) };
        let w = offset / WORD;
        let here = !chunk.words[w as usize] & (u64::MAX << (offset % WORD));
        if here != 0 {
            return Some(w * WORD + u64::from(here.trailing_zeros()));
        }
        let above = u64::MAX.checked_shl(u32::try_from(w).ok()? + 1).unwrap_or(0) & !chunk.full;
        if above == 0 {
            return None;
        }
        let w = above.trailing_zeros();
        Some(u64::from(w) * WORD + u64::from((!chunk.words[w as usize]).trailing_zeros()))
    }

    fn previous_in(&self, c: usize, offset: u64) -> Option<u64> {
        let Some(chunk) = &self.chunks[c] else { return Some(offset) };
        let w = offset / WORD;
        let here = !chunk.words[w as usize] & (u64::MAX >> (WORD - 1 - offset % WORD));
        if here != 0 {
            return Some(w * WORD + u64::from(here.ilog2()));
        }
        let below = ((1_u64 << w) - 1) & !chunk.full;
        if below == 0 {
            return None;
        }
        let w = below.ilog2();
        Some(u64::from(w) * WORD + u64::from((!chunk.words[w as usize]).ilog2()))
    }
}

fn place(offset: u64) -> (usize, usize, u64) {
    ((offset / CHUNK) as usize, (offset % CHUNK / WORD) as usize, 1 << (offset % WORD))
}

fn next_zero(bits: &[u64], from: usize, end: usize) -> Option<usize> {
    let first = from / 64;
    for (i, word) in bits.iter().enumerate().skip(first) {
        let mask = if i == first { u64::MAX << (from % 64) } else { u64::MAX };
        let zeros = !word & mask;
        if zeros != 0 {
            return Some(i * 64 + zeros.trailing_zeros() as usize).filter(|i| *i < end);
        }
    }
    None
}

fn previous_zero(bits: &[u64], from: usize) -> Option<usize> {
    let first = from / 64;
    for i in (0..=first).rev() {
        let mask = if i == first { u64::MAX >> (63 - from % 64) } else { u64::MAX };
        let zeros = !bits[i] & mask;
        if zeros != 0 {
            return Some(i * 64 + 63 - zeros.leading_zeros() as usize);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn last_free_address_of_a_slash_16_is_found_from_both_sides() {
        let mut index = FreeIndex::new(65_536);
        for offset in (0..65_536).filter(|o| *o != 40_000) {
            index.take(offset);
        }
        assert_eq!((index.next(0), index.previous(65_535), index.free()), (Some(40_000), Some(40_000), 1));
        assert_eq!((index.next(40_001), index.previous(39_999)), (None, None));
    }

    #[test]
    fn an_empty_slash_8_is_small() {
        let index = FreeIndex::new(1 << 24);
        assert_eq!(index.next(12_345_678), Some(12_345_678));
        assert!(index.chunks.iter().all(Option::is_none) && index.chunks.len() == 4096);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(size in 1_u64..9000, steps in prop::collection::vec((any::<bool>(), 0_u64..9000), 0..400),
                             dense in any::<bool>(), probes in prop::collection::vec(0_u64..9000, 1..20)) {
            let mut index = FreeIndex::new(size);
            let mut model: BTreeSet<u64> = (0..size).collect();
            if dense {
                for offset in 0..size { index.take(offset); }
                model.clear();
            }
            for (take, offset) in steps {
                if take { index.take(offset); model.remove(&offset); }
                else { index.give_back(offset); if offset < size { model.insert(offset); } }
            }
            prop_assert_eq!(index.free(), model.len() as u64);
            for from in probes {
                prop_assert_eq!(index.next(from), model.range(from..).next().copied());
                prop_assert_eq!(index.previous(from), model.range(..=from).next_back().copied());
            }
        }
    }
}
