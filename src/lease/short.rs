//! Bytes that mostly are few: what a client says of itself. Up to 22 of them lie in the value, so that a packet takes no
//! memory for a usual client-id, name or circuit, and a copy costs next to nothing; more lie in a block of their own.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// The most bytes that lie in the value: so it takes three words.
const FEW: usize = 22;

/// Bytes, compared and hashed as a slice of them.
#[derive(Clone)]
pub struct ShortBytes(Held);

#[derive(Clone)]
enum Held {
    Few { length: u8, bytes: [u8; FEW] },
    Many(Box<[u8]>),
}

impl Deref for ShortBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            // The length is at most FEW, by construction.
            Held::Few { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Held::Many(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for ShortBytes {
    fn from(given: &[u8]) -> Self {
        let mut bytes = [0; FEW];
        match (bytes.get_mut(..given.len()), u8::try_from(given.len())) {
            (Some(few), Ok(length)) => {
                few.copy_from_slice(given);
                Self(Held::Few { length, bytes })
            }
            _ => Self(Held::Many(given.into())),
        }
    }
}

impl From<Vec<u8>> for ShortBytes {
    fn from(given: Vec<u8>) -> Self {
        if given.len() > FEW { Self(Held::Many(given.into())) } else { given.as_slice().into() }
    }
}

impl From<Box<[u8]>> for ShortBytes {
    fn from(given: Box<[u8]>) -> Self {
        given.into_vec().into()
    }
}

impl<const N: usize> From<[u8; N]> for ShortBytes {
    fn from(given: [u8; N]) -> Self {
        given.as_slice().into()
    }
}

impl Default for ShortBytes {
    fn default() -> Self {
        Self(Held::Few { length: 0, bytes: [0; FEW] })
    }
}

impl PartialEq for ShortBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ShortBytes {}

impl PartialOrd for ShortBytes {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShortBytes {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for ShortBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for ShortBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_however_they_are_held() {
        assert_eq!((size_of::<ShortBytes>(), size_of::<Option<ShortBytes>>()), (24, 24));
        for length in 0..60_u8 {
            let bytes: Vec<u8> = (0..length).collect();
            let short = ShortBytes::from(bytes.as_slice());
            assert_eq!(*short, *bytes);
            assert_eq!(short, ShortBytes::from(bytes.clone()));
            assert_eq!(
                short.clone().cmp(&bytes[..usize::from(length / 2)].into()),
                length.cmp(&(length / 2))
            );
        }
        assert!(ShortBytes::default().is_empty());
    }
}
