//! Where each value of the merged configuration was said: file and line, or `--set`.
//!
//! Made by the sources, asked whenever a problem is found, and kept with the configuration so that higher layers
//! can say where an option of the wrong type stands.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::{Dict, Tag, Value};

use super::report::{Place, Problem, Severity};
use super::yaml::Index;

/// A configuration file as read: its name, its lines and where its keys stand.
#[derive(Debug, Clone)]
pub(super) struct FileText {
    name: PathBuf,
    lines: Vec<String>,
    pub(super) index: Index,
}

impl FileText {
    pub(super) fn new(name: PathBuf, text: &str, index: Index) -> Self {
        Self { name, lines: text.lines().map(str::to_owned).collect(), index }
    }

    /// An error at `key`, which this file holds.
    pub(super) fn problem(&self, key: &str, reason: String) -> Problem {
        let (place, text) = self.place(key);
        Problem { severity: Severity::Error, place, key: key.to_owned(), reason, hint: None, text }
    }

    fn place(&self, key: &str) -> (Place, Option<String>) {
        let mark = self.index.nearest(key);
        let text = mark.and_then(|mark| self.lines.get(mark.line.checked_sub(1)?).cloned());
        let (line, column) = (mark.map(|mark| mark.line), mark.map(|mark| mark.column));
        (Place::File { file: self.name.clone(), line, column }, text)
    }
}

/// The places of all keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    file: Option<FileText>,
    flags: Vec<String>,
    /// Which flag a value or a section came from last, by key; others are from the file.
    from_flag: BTreeMap<String, Origin>,
}

#[derive(Debug, Clone, Copy)]
struct Origin {
    flag: usize,
    section: bool,
}

impl Places {
    /// `layer_of` names the layer of a tag: 0 for the file, n + 1 for the n-th flag.
    pub(super) fn new(
        file: Option<FileText>,
        flags: Vec<String>,
        tree: &Dict,
        layer_of: impl Fn(Tag) -> Option<usize>,
    ) -> Self {
        let mut places = Self { file, flags, from_flag: BTreeMap::new() };
        places.note(tree, "", &layer_of);
        places
    }

    fn note(&mut self, dict: &Dict, path: &str, layer_of: &impl Fn(Tag) -> Option<usize>) {
        for (name, value) in dict {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let section = matches!(value, Value::Dict(..));
            if let Some(flag) = layer_of(value.tag()).and_then(|layer| layer.checked_sub(1)) {
                self.from_flag.insert(key.clone(), Origin { flag, section });
            }
            if let Value::Dict(_, inner) = value {
                self.note(inner, &key, layer_of);
            }
        }
    }

    /// A problem at `key`, or at the section around it where `key` is missing.
    pub(super) fn problem(
        &self,
        key: &str,
        severity: Severity,
        reason: String,
        hint: Option<String>,
    ) -> Problem {
        let (place, text) = self.place(key);
        Problem { severity, place, key: key.to_owned(), reason, hint, text }
    }

    /// Where the value of `key` was said.
    pub(super) fn origin(&self, key: &str) -> Place {
        self.place(key).0
    }

    fn place(&self, key: &str) -> (Place, Option<String>) {
        // The value itself, or the list that it is an item of, was given by a flag.
        let value = key.split_once('[').map_or(key, |(list, _)| list);
        if let Some(Origin { flag, section: false }) = self.from_flag.get(value) {
            return (self.flag(*flag), None);
        }
        let in_file = self.file.as_ref().map(|file| file.place(key));
        if let Some((Place::File { line: Some(_), .. }, _)) = &in_file
            && let Some(found) = in_file
        {
            return found;
        }
        match self.flag_around(key) {
            Some(flag) => (self.flag(flag), None),
            None => in_file.unwrap_or((Place::Default, None)),
        }
    }

    /// The flag that made the section around `key`. The outermost sections do not count: `--set dhcp.port=67` is not
    /// to blame for what else is missing in `dhcp`.
    fn flag_around(&self, key: &str) -> Option<usize> {
        let mut around = key;
        loop {
            if let Some(origin) = self.from_flag.get(around) {
                return Some(origin.flag);
            }
            around = &around[..around.rfind(['.', '['])?];
            if !around.contains('.') {
                return None;
            }
        }
    }

    fn flag(&self, index: usize) -> Place {
        Place::Set { index, flag: self.flags.get(index).cloned().unwrap_or_default() }
    }
}
