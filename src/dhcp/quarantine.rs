//! Packets that killed a worker. A panic costs one packet and is caught where it happens; what ends the process cannot be:
//! a fault in a library, a stack that overflows. So each worker shows in shared memory which packet it has in hand; when
//! it dies of a signal, main takes that packet down here, and for ten minutes no worker handles one like it again. Not for ever:
//! a fault may have had nothing to do with the packet that was in hand, and its client must get its lease some day.
//!
//! ```text
//! word 0, 1   secret of the fingerprint, set once
//! word 2      packets taken down so far
//! word 8 …    of the last 32: fingerprint, never zero; until when it counts, in seconds since boot
//! then        64 hands: PID of the worker or 0, length of the packet or 0, its first 1,024 bytes
//! ```
//! A client that repeats itself changes xid and secs (RFC 2131 §2), so the fingerprint has the length in their place. The memory is
//! that of one run of the daemon: a start begins without any.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use crate::lease::hash::{shared_secret, sip13};

/// Words of shared memory that the quarantine takes (66 KiB).
pub const QUARANTINE_WORDS: usize = HEADER + KNOWN * ENTRY + HANDS * HAND;

const HEADER: usize = 8;
const KNOWN: usize = 32;
const ENTRY: usize = 2;
/// How long a packet is not handled.
const LASTS: Duration = Duration::from_mins(10);
const HANDS: usize = 64;
/// Bytes of a packet that are kept, and count.
const BYTES: usize = 1024;
const HAND: usize = 2 + BYTES / 8;
/// xid and secs of a message (RFC 2131 §2).
const CHANGING: std::ops::Range<usize> = 4..10;

/// The quarantine over its region of shared memory. The default has none and knows no packet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quarantine {
    key: (u64, u64),
    count: Option<&'static AtomicU64>,
    known: &'static [AtomicU64],
    hands: &'static [AtomicU64],
}

/// Where one worker shows which packet it handles. The default shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hand(&'static [AtomicU64]);

impl Quarantine {
    /// Takes its place in a region of [`QUARANTINE_WORDS`] that was zero when it was made. A smaller one knows nothing.
    pub fn new(region: &'static [AtomicU64]) -> Self {
        let Some(([first, second, count, ..], rest)) = region.split_first_chunk::<HEADER>() else {
            return Self::default();
        };
        let Some((known, hands)) = rest.split_at_checked(KNOWN * ENTRY) else { return Self::default() };
        Self { key: (shared_secret(first), shared_secret(second)), count: Some(count), known, hands }
    }

    /// The hand of the worker with this PID: a free one; one that shows nothing where none is left.
    pub fn hand(&self, pid: i32) -> Hand {
        let free = |hand: &&[AtomicU64]| {
            hand.first().is_some_and(|owner| owner.compare_exchange(0, word(pid), SeqCst, SeqCst).is_ok())
        };
        self.hands.chunks_exact(HAND).find(free).map(Hand).unwrap_or_default()
    }

    /// Whether a packet like this one killed a worker lately; `now` is the time since boot.
    pub fn holds(&self, packet: &[u8], now: Duration) -> bool {
        // The places are filled from the first one on.
        if self.known.first().is_none_or(|first| first.load(Relaxed) == 0) {
            return false;
        }
        let fingerprint = self.fingerprint(packet, packet.len());
        self.known
            .as_chunks::<ENTRY>()
            .0
            .iter()
            .any(|[known, until]| known.load(Relaxed) == fingerprint && now.as_secs() < until.load(Relaxed))
    }

    /// Main's: frees the hand of a worker that is gone. Where the packet in it is to `blame`, packets like it are not handled
    /// for ten minutes from `now`, the time since boot; its first bytes are returned.
    pub fn bury(&self, pid: i32, blame: bool, now: Duration) -> Option<Vec<u8>> {
        let owned = |hand: &&[AtomicU64]| hand.first().is_some_and(|owner| owner.load(SeqCst) == word(pid));
        let hand = Hand(self.hands.chunks_exact(HAND).find(owned)?);
        let shown = hand.shown().filter(|_| blame);
        hand.lay_down();
        if let Some(owner) = hand.0.first() {
            owner.store(0, SeqCst);
        }
        let (length, packet) = shown?;
        let place = self.count?.fetch_add(1, SeqCst) % KNOWN as u64;
        let [known, until] = self.known.as_chunks::<ENTRY>().0.get(usize::try_from(place).unwrap_or(0))?;
        until.store((now + LASTS).as_secs(), SeqCst);
        known.store(self.fingerprint(&packet, length), SeqCst);
        Some(packet)
    }

    /// Of the first bytes of a packet of this length in all. Never zero.
    fn fingerprint(&self, packet: &[u8], length: usize) -> u64 {
        let mut bytes = [0; BYTES];
        let packet = packet.get(..BYTES).unwrap_or(packet);
        bytes[..packet.len()].copy_from_slice(packet);
        bytes[CHANGING].fill(0);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        bytes[CHANGING.start..][..4].copy_from_slice(&length.to_be_bytes());
        sip13(self.key.0, self.key.1, &bytes).max(1)
    }
}

impl Hand {
    /// Shows the packet that is going to be handled.
    pub fn take(&self, packet: &[u8]) {
        let Some((length, place)) = self.0.get(1..).and_then(<[_]>::split_first) else { return };
        let whole = packet.len() as u64;
        let packet = packet.get(..BYTES).unwrap_or(packet);
        // Nobody else reads while this process lives, and what it has written is there when it has died.
        length.store(0, Relaxed);
        let (words, rest) = packet.as_chunks::<8>();
        for (slot, bytes) in place.iter().zip(words) {
            slot.store(u64::from_le_bytes(*bytes), Relaxed);
        }
        if let (Some(slot), false) = (place.get(words.len()), rest.is_empty()) {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            slot.store(u64::from_le_bytes(bytes), Relaxed);
        }
        length.store(whole, SeqCst);
    }

    /// It was handled.
    pub fn lay_down(&self) {
        if let Some(length) = self.0.get(1) {
            length.store(0, SeqCst);
        }
    }

    /// The length of the packet, and the bytes of it that are kept.
    fn shown(&self) -> Option<(usize, Vec<u8>)> {
        let (length, place) = self.0.get(1..)?.split_first()?;
        let length = usize::try_from(length.load(SeqCst)).ok().filter(|length| *length > 0)?;
        let bytes = place.iter().flat_map(|word| word.load(Relaxed).to_le_bytes());
        Some((length, bytes.take(length).collect()))
    }
}

fn word(pid: i32) -> u64 {
    u64::from(pid.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn region() -> &'static [AtomicU64] {
        let words: Vec<AtomicU64> =
            std::iter::repeat_with(AtomicU64::default).take(QUARANTINE_WORDS).collect();
        Box::leak(words.into_boxed_slice())
    }

    /// A message of this length whose xid and secs are `changing`.
    fn packet(length: usize, changing: u8) -> Vec<u8> {
        let mut packet: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
        packet[CHANGING].fill(changing);
        packet
    }

    #[test]
    fn packet_in_the_hand_of_a_dead_worker_is_known_with_any_xid() {
        let quarantine = Quarantine::new(region());
        for length in [241, 300, 1024, 1500] {
            let hand = quarantine.hand(7);
            assert!(!quarantine.holds(&packet(length, 1), NOW));
            hand.take(&packet(length, 1));
            assert_eq!(quarantine.bury(7, true, NOW).unwrap(), packet(length, 1)[..length.min(BYTES)]);
            assert!(
                quarantine.holds(&packet(length, 2), NOW) && !quarantine.holds(&packet(length - 1, 1), NOW)
            );
            assert!(quarantine.holds(&packet(length, 2), NOW + Duration::from_secs(599)));
            assert!(!quarantine.holds(&packet(length, 2), NOW + LASTS), "it gets another chance");
        }
    }

    #[test]
    fn worker_that_had_nothing_in_hand_or_was_killed_by_others_blames_no_packet() {
        let quarantine = Quarantine::new(region());
        let hand = quarantine.hand(7);
        hand.take(&packet(300, 1));
        hand.lay_down();
        assert_eq!(quarantine.bury(7, true, NOW), None);
        quarantine.hand(8).take(&packet(300, 1));
        assert_eq!(quarantine.bury(8, false, NOW), None);
        assert_eq!(quarantine.bury(9, true, NOW), None, "no worker of ours");
        assert!(!quarantine.holds(&packet(300, 1), NOW));
    }

    #[test]
    fn hands_are_given_back_and_a_worker_without_one_works_all_the_same() {
        let quarantine = Quarantine::new(region());
        let workers = 1..=i32::try_from(HANDS).unwrap();
        for pid in workers.clone() {
            let _ = quarantine.hand(pid);
        }
        quarantine.hand(1000).take(&packet(300, 1));
        assert_eq!(quarantine.bury(1000, true, NOW), None);
        for pid in workers {
            assert_eq!(quarantine.bury(pid, false, NOW), None);
        }
        quarantine.hand(1000).take(&packet(300, 1));
        assert!(quarantine.bury(1000, true, NOW).is_some());
        Quarantine::default().hand(1).take(&packet(300, 1));
        assert!(!Quarantine::default().holds(&packet(300, 1), NOW));
    }

    #[test]
    fn the_oldest_give_way() {
        let quarantine = Quarantine::new(region());
        for n in 0..=KNOWN {
            quarantine.hand(7).take(&packet(300 + n, 1));
            assert!(quarantine.bury(7, true, NOW).is_some());
        }
        assert!(!quarantine.holds(&packet(300, 1), NOW));
        assert!(quarantine.holds(&packet(301, 1), NOW) && quarantine.holds(&packet(300 + KNOWN, 1), NOW));
    }
}
