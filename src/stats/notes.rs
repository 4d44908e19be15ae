//! Recent errors: the last few lines of WARN and above, kept in shared memory so that `status` can show them.
//!
//! The logger writes, anyone reads. Each entry carries a sequence number that is odd while the entry is being
//! written, so a reader never takes a half-written one.

use std::sync::atomic::{AtomicU64, Ordering};

const ENTRIES: usize = 16;
const ENTRY_WORDS: usize = 64;
const TEXT_WORDS: usize = ENTRY_WORDS - 2;
/// Words that the notes take in the shared memory.
pub(super) const NOTES_WORDS: usize = 1 + ENTRIES * ENTRY_WORDS;

/// The ring of recent errors.
#[derive(Debug, Clone, Copy)]
pub struct Notes {
    words: &'static [AtomicU64],
}

impl Notes {
    pub(super) fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// Adds a line; text beyond 496 bytes is cut off.
    pub fn push(self, text: &str) {
        let number = self.words[0].fetch_add(1, Ordering::AcqRel);
        let entry = self.entry(number);
        let sequence = 2 * number + 2;
        entry[0].store(sequence - 1, Ordering::Release);
        let bytes = cut(text, TEXT_WORDS * 8).as_bytes();
        entry[1].store(bytes.len() as u64, Ordering::Release);
        for (word, chunk) in entry[2..].iter().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(eight), Ordering::Release);
        }
        entry[0].store(sequence, Ordering::Release);
    }

    /// The lines, oldest first.
    pub fn all(self) -> Vec<String> {
        let next = self.words[0].load(Ordering::Acquire);
        (next.saturating_sub(ENTRIES as u64)..next).filter_map(|number| self.read(number)).collect()
    }

    fn read(self, number: u64) -> Option<String> {
        let entry = self.entry(number);
        let sequence = 2 * number + 2;
        if entry[0].load(Ordering::Acquire) != sequence {
            return None;
        }
        let length = usize::try_from(entry[1].load(Ordering::Acquire)).ok()?.min(TEXT_WORDS * 8);
        let mut bytes: Vec<u8> =
            entry[2..].iter().flat_map(|word| word.load(Ordering::Acquire).to_le_bytes()).collect();
        bytes.truncate(length);
        (entry[0].load(Ordering::Acquire) == sequence).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn entry(self, number: u64) -> &'static [AtomicU64] {
        let index = usize::try_from(number % ENTRIES as u64).unwrap_or_default();
        let at = 1 + index * ENTRY_WORDS;
        &self.words[at..at + ENTRY_WORDS]
    }
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use crate::stats::Shared;

    #[test]
    fn the_last_sixteen_stay_in_order() {
        let notes = Shared::create(0).unwrap().notes();
        for i in 0..20 {
            notes.push(&format!("line {i}"));
        }
        let all = notes.all();
        assert_eq!(all.len(), 16);
        assert_eq!((all[0].as_str(), all[15].as_str()), ("line 4", "line 19"));
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let notes = Shared::create(0).unwrap().notes();
        notes.push(&"é".repeat(400));
        assert_eq!(notes.all(), ["é".repeat(248)]);
    }
}
