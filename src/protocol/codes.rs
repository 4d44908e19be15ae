//! A set of option codes: 256 bits. Plain data; used by the parser for what a packet holds and by the options manager for
//! what a level says.

/// Option codes, 0 to 255.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Codes([u64; 4]);

impl Codes {
    /// False where it was in the set already.
    pub fn insert(&mut self, code: u8) -> bool {
        let (word, bit) = Self::place(code);
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// Takes a code out.
    pub fn remove(&mut self, code: u8) {
        let (word, bit) = Self::place(code);
        self.0[word] &= !bit;
    }

    /// Whether a code is in the set.
    pub fn contains(&self, code: u8) -> bool {
        let (word, bit) = Self::place(code);
        self.0[word] & bit != 0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// Whether nothing is in both of them.
    pub fn is_disjoint(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(a, b)| a & b == 0)
    }

    /// What is in either of them.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// Rising.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..4_u8).zip(self.0).flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                // Below 64 in a word that is not zero.
                let bit = u8::try_from(bits.trailing_zeros()).ok().filter(|bit| *bit < 64)?;
                bits &= bits - 1;
                Some(word * 64 + bit)
            })
        })
    }

    /// The word is below 4 for every code.
    fn place(code: u8) -> (usize, u64) {
        (usize::from(code / 64), 1 << (code % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_out_once_and_in_order() {
        let mut codes = Codes::default();
        assert!(codes.is_empty());
        for code in [255, 0, 63, 64, 128, 3, 3] {
            codes.insert(code);
        }
        assert!(!codes.insert(64) && codes.insert(1));
        codes.remove(128);
        assert_eq!(codes.iter().collect::<Vec<_>>(), [0, 1, 3, 63, 64, 255]);
        assert!(codes.contains(255) && !codes.contains(128));
        let mut other = Codes::default();
        other.insert(128);
        assert!(codes.is_disjoint(other) && !codes.union(other).is_disjoint(other));
    }
}
