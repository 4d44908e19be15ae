//! `SipHash-1-3`, the one hash of the lease layer: under a fixed key where the result must be the same after every
//! restart (which address a client is first tried on), under a secret one where a hostile client must not be able to
//! choose it (the offers, the index by client). The standard library promises no stable algorithm.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// 64 bits of `data` under the key (`k0`, `k1`).
pub fn sip13(k0: u64, k1: u64, data: &[u8]) -> u64 {
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        absorb(&mut state, u64::from_le_bytes(*word));
    }
    // The last word carries the length, so that a run of zeros is no fixed point.
    let length = (data.len() as u64) << 56;
    absorb(&mut state, little_endian(rest) | length);
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

/// A key nobody outside this process knows, from the operating system by way of the standard library.
pub(super) fn secret() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0x6563_686f_u64)
}

/// A key that all processes share, in a word of shared memory that was zero when it was made: the first to come sets it.
pub fn shared_secret(word: &AtomicU64) -> u64 {
    let mine = secret() | 1;
    match word.compare_exchange(0, mine, SeqCst, SeqCst) {
        Ok(_) => mine,
        Err(theirs) => theirs,
    }
}

fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    state[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// Of less than 8 bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_algorithm() {
        // The standard library's hasher is SipHash-1-3 under a key of zeros, over exactly the bytes written.
        use std::hash::Hasher;
        for length in 0..40_u8 {
            let data: Vec<u8> = (0..length).collect();
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write(&data);
            assert_eq!(sip13(0, 0, &data), hasher.finish(), "{length} bytes");
        }
    }

    #[test]
    fn keys_change_the_result() {
        assert_ne!(sip13(1, 0, b"x"), sip13(0, 1, b"x"));
    }
}
