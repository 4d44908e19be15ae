//! Where each key of a file stands. Filled by the formats, asked by the places.

use std::collections::HashMap;

/// A position in a file, both counted from 1; the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The positions of all keys of a file, dotted as everywhere: `tcp.port`, `tcp.address[1]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    marks: HashMap<String, Mark>,
}

impl Index {
    /// Whether the file has `key` itself.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.marks.contains_key(key)
    }

    /// The position of `key`, or of the nearest section around it that is in the file.
    pub(crate) fn nearest(&self, key: &str) -> Option<Mark> {
        let mut key = key;
        loop {
            if let Some(mark) = self.marks.get(key) {
                return Some(*mark);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }

    /// Notes that `key` stands at `mark`.
    pub(crate) fn set(&mut self, key: String, mark: Mark) {
        self.marks.insert(key, mark);
    }

    /// Notes what `other` has, where nothing is noted yet.
    pub(crate) fn complete(&mut self, other: Self) {
        for (key, mark) in other.marks {
            self.marks.entry(key).or_insert(mark);
        }
    }

    /// Lets `key` be found where `written` stands.
    pub(crate) fn alias(&mut self, written: &str, key: &str) {
        if let Some(mark) = self.marks.get(written) {
            self.marks.insert(key.to_owned(), *mark);
        }
    }
}
