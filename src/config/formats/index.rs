//! Where each key of a file stands. Filled by the formats, asked by the places.

use std::collections::HashMap;

/// A position in a file, both counted from 1; the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Mark {
    /// This position of a text that begins at `start` of a larger one.
    pub(crate) fn behind(self, start: Self) -> Self {
        let column = if self.line == 1 { self.column + start.column - 1 } else { self.column };
        Self { line: self.line + start.line - 1, column }
    }
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

    /// Notes what `other` has, as keys within `section`.
    pub(crate) fn complete_below(&mut self, section: &str, other: Self) {
        for (key, mark) in other.marks {
            self.marks.entry(format!("{section}.{key}")).or_insert(mark);
        }
    }

    /// Notes what `other` has, the keys of a text that begins at `start` and is the value of `key`.
    pub(crate) fn complete_within(&mut self, key: &str, start: Mark, other: Self) {
        for (inner, mark) in other.marks {
            let separator = if inner.starts_with('[') { "" } else { "." };
            self.marks.entry(format!("{key}{separator}{inner}")).or_insert(mark.behind(start));
        }
    }

    /// Lets `key` be found where `written` stands.
    pub(crate) fn alias(&mut self, written: &str, key: &str) {
        if let Some(mark) = self.marks.get(written) {
            self.marks.insert(key.to_owned(), *mark);
        }
    }
}

/// Turns offsets in a text into positions.
pub(crate) struct Lines<'t> {
    text: &'t str,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The position of the byte `offset`.
    pub(crate) fn mark(&self, offset: usize) -> Mark {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        Mark { line, column: self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1 }
    }

    /// The position of the `column`-th byte of a line, both counted from 1, with the column in characters.
    pub(crate) fn of_bytes(&self, line: usize, column: usize) -> Mark {
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let mut offset = (start + column.saturating_sub(1)).min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        Mark { line, ..self.mark(offset.max(start)) }
    }
}
