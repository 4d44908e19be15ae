//! What became of processes, configurations and interfaces: the last events of main, kept in shared memory so that the
//! control API can tell whoever follows them.
//!
//! Main alone writes, anyone reads. Each entry carries a sequence number that is odd while the entry is being written, so a
//! reader never takes a half-written one; whoever is too late knows by the numbers how many he has missed.
//!
//! ```text
//! | head 2: events so far, identity of this ring | entry 0 | entry 1 | … |
//! entry: | sequence | event | Unix time in ms | PID | length of the text | text |
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use crate::events::Event;

/// Events that are kept.
const ENTRIES: usize = 256;
const ENTRY_WORDS: usize = 64;
const HEAD: usize = 2;
const ENTRY_HEAD: usize = 5;
const TEXT_BYTES: usize = (ENTRY_WORDS - ENTRY_HEAD) * 8;
/// Words that the ring takes in the shared memory.
pub(super) const HAPPENED_WORDS: usize = HEAD + ENTRIES * ENTRY_WORDS;

/// The ring; a handle that can be copied.
#[derive(Debug, Clone, Copy)]
pub struct Happened {
    words: &'static [AtomicU64],
}

/// One event of main.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEvent {
    /// Its number, from 1.
    pub number: u64,
    /// Which.
    pub event: Event,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The process that it is about, if it is about one.
    pub pid: Option<i32>,
    /// What the log says of it; text beyond 472 bytes is cut off.
    pub text: String,
}

impl Happened {
    pub(super) fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// Gives the ring its identity; once, by whoever made the memory.
    pub(super) fn found(self, identity: u64) {
        self.words[1].store(identity.max(1), Ordering::Relaxed);
    }

    /// What tells this ring from that of another start of the daemon; never zero.
    pub fn identity(self) -> u64 {
        self.words[1].load(Ordering::Relaxed)
    }

    /// Number of the newest event; 0: there was none.
    pub fn newest(self) -> u64 {
        self.words[0].load(Ordering::Acquire)
    }

    /// Adds an event; main's alone.
    pub fn push(self, event: Event, unix_ms: u64, pid: Option<i32>, text: &str) {
        let number = self.words[0].load(Ordering::Relaxed) + 1;
        let entry = self.entry(number);
        entry[0].store(2 * number - 1, Ordering::SeqCst);
        entry[1].store(event as u64, Ordering::Release);
        entry[2].store(unix_ms, Ordering::Release);
        entry[3].store(pid.map_or(0, |pid| u64::from(pid.unsigned_abs())), Ordering::Release);
        let bytes = &text.as_bytes()[..text.floor_char_boundary(TEXT_BYTES)];
        entry[4].store(bytes.len() as u64, Ordering::Release);
        for (word, chunk) in entry[ENTRY_HEAD..].iter().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(eight), Ordering::Release);
        }
        entry[0].store(2 * number, Ordering::SeqCst);
        self.words[0].store(number, Ordering::Release);
    }

    /// The event of a number; none where it was overwritten or has not happened yet.
    pub fn event(self, number: u64) -> Option<ProcessEvent> {
        let whole = number.checked_mul(2).filter(|sequence| *sequence > 0)?;
        let entry = self.entry(number);
        let word = |at: usize| entry[at].load(Ordering::Acquire);
        if word(0) != whole {
            return None;
        }
        let event = usize::try_from(word(1)).ok().and_then(|index| Event::ALL.get(index).copied());
        let unix_ms = word(2);
        let pid = i32::try_from(word(3)).ok().filter(|pid| *pid > 0);
        let length = usize::try_from(word(4)).ok()?.min(TEXT_BYTES);
        let mut bytes: Vec<u8> = (ENTRY_HEAD..ENTRY_WORDS).flat_map(|at| word(at).to_le_bytes()).collect();
        bytes.truncate(length);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (word(0) == whole).then_some(())?;
        Some(ProcessEvent { number, event: event?, unix_ms, pid, text })
    }

    /// The number of the oldest event that is still there.
    pub fn oldest(self) -> u64 {
        (self.newest() + 1).saturating_sub(ENTRIES as u64).max(1)
    }

    fn entry(self, number: u64) -> &'static [AtomicU64] {
        let index = usize::try_from(number % ENTRIES as u64).unwrap_or_default();
        let at = HEAD + index * ENTRY_WORDS;
        &self.words[at..at + ENTRY_WORDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Shared;

    #[test]
    fn events_are_read_back_and_the_oldest_go() {
        let happened = Shared::create(0).unwrap().happened();
        assert_eq!(
            (happened.newest(), happened.oldest(), happened.event(0), happened.event(1)),
            (0, 1, None, None)
        );
        for n in 1..=300_i32 {
            happened.push(Event::WorkerDied, 1000, Some(n), &format!("worker {n}"));
        }
        assert_eq!((happened.newest(), happened.oldest()), (300, 45));
        assert_eq!(happened.event(44), None);
        let oldest = happened.event(45).unwrap();
        assert_eq!(
            (oldest.event, oldest.pid, oldest.text.as_str()),
            (Event::WorkerDied, Some(45), "worker 45")
        );
        assert_eq!(happened.event(300).unwrap().number, 300);
        assert_eq!(happened.event(301), None);
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let happened = Shared::create(0).unwrap().happened();
        happened.push(Event::ConfigRefused, 5, None, &format!("x{}", "é".repeat(400)));
        let event = happened.event(1).unwrap();
        assert_eq!((event.unix_ms, event.pid, event.text), (5, None, format!("x{}", "é".repeat(235))));
    }

    #[test]
    fn each_ring_has_an_identity() {
        assert_ne!(Shared::create(0).unwrap().happened().identity(), 0);
    }
}
