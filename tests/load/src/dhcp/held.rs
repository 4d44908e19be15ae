//! Which addresses the clients of this run hold: one bit each, so that a second holder is noticed at once.

/// Words of 64 bits for the 65,536 addresses of one /16.
const WORDS: usize = 1 << 10;

/// A set of IPv4 addresses. A /16 takes 8 KiB once one of its addresses is held.
pub(super) struct Held {
    sixteens: Vec<Option<Box<[u64; WORDS]>>>,
}

impl Held {
    pub(super) fn new() -> Self {
        Self { sixteens: vec![None; 1 << 16] }
    }

    /// Takes `address`. False where it is taken already.
    pub(super) fn take(&mut self, address: u32) -> bool {
        let Some(word) = self.word(address) else { return false };
        let bit = 1 << (address & 63);
        let free = *word & bit == 0;
        *word |= bit;
        free
    }

    /// Gives `address` back.
    pub(super) fn give(&mut self, address: u32) {
        if let Some(word) = self.word(address) {
            *word &= !(1 << (address & 63));
        }
    }

    /// Always there: an address has no more than these bits.
    fn word(&mut self, address: u32) -> Option<&mut u64> {
        let sixteen = self.sixteens.get_mut(usize::try_from(address >> 16).ok()?)?;
        let words = sixteen.get_or_insert_with(|| Box::new([0; WORDS]));
        words.get_mut(usize::try_from(address >> 6 & 1023).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_taken_once_until_it_is_given_back() {
        let mut held = Held::new();
        for address in [0, 1, 63, 64, 0x0a00_ffff, 0x0a01_0000, u32::MAX] {
            assert!(held.take(address), "{address:x}");
            assert!(!held.take(address), "{address:x}");
        }
        held.give(64);
        assert!(held.take(64));
        assert!(!held.take(63));
    }
}
