//! Where each value of the merged configuration was said: file and line, variable, flag, runtime API.
//!
//! Made by the merge, asked whenever a problem is found, and kept with the configuration so that higher layers
//! can say where an option of the wrong type stands.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::{Dict, Tag, Value};

use super::formats::Index;
use super::report::{Place, Problem, Severity};

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

    /// Where `key` stands, or the nearest section around it, with its line.
    fn place(&self, key: &str) -> (Place, Option<String>) {
        let mark = self.index.nearest(key);
        let text = mark.and_then(|mark| self.lines.get(mark.line.checked_sub(1)?).cloned());
        let (line, column) = (mark.map(|mark| mark.line), mark.map(|mark| mark.column));
        (Place::File { file: self.name.clone(), line, column }, text)
    }
}

/// Where the values of the lowest layer were said.
#[derive(Debug, Clone, Default)]
pub(super) enum Base {
    /// There is no such layer.
    #[default]
    None,
    /// In a file.
    File(FileText),
    /// Wherever it was noted before, by key: the values come from a cache. Sections have no entry of their own.
    Noted(BTreeMap<String, Place>),
}

impl Base {
    /// The place of `key` itself, with its line.
    fn exact(&self, key: &str) -> Option<(Place, Option<String>)> {
        match self {
            Self::None => None,
            Self::File(file) => file.index.has(key).then(|| file.place(key)),
            Self::Noted(noted) => {
                noted.get(key).or_else(|| first_below(noted, key)).map(|at| (at.clone(), None))
            }
        }
    }
}

fn first_below<'a, T>(map: &'a BTreeMap<String, T>, key: &str) -> Option<&'a T> {
    below(map, key).next().map(|(_, value)| value)
}

/// The entries for the keys within `key`.
fn below<'a, T>(
    map: &'a BTreeMap<String, T>,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a T)> + Clone {
    let prefix = format!("{key}.");
    map.range(prefix.clone()..).take_while(move |(name, _)| name.starts_with(&prefix))
}

/// The places of all keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    base: Base,
    above: Vec<Place>,
    /// Which layer a value came from, or a section last; 0 is the base.
    origins: BTreeMap<String, Origin>,
}

#[derive(Debug, Clone, Copy)]
struct Origin {
    layer: usize,
    section: bool,
}

impl Places {
    /// `layer_of` names the layer of a tag: 0 for the base, n + 1 for the n-th of `above`.
    pub(super) fn new(
        base: Base,
        above: Vec<Place>,
        tree: &Dict,
        layer_of: impl Fn(Tag) -> Option<usize>,
    ) -> Self {
        let mut places = Self { base, above, origins: BTreeMap::new() };
        places.note(tree, "", &layer_of);
        places
    }

    fn note(&mut self, dict: &Dict, path: &str, layer_of: &impl Fn(Tag) -> Option<usize>) {
        for (name, value) in dict {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let section = matches!(value, Value::Dict(_, inner) if !inner.is_empty());
            let layer = layer_of(value.tag()).unwrap_or_default();
            self.origins.insert(key.clone(), Origin { layer, section });
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

    /// The place of `key`, or of what is nearest around it.
    fn place(&self, key: &str) -> (Place, Option<String>) {
        // A list is one value: a layer that says it hides every item of the lower ones.
        if let Some((list, _)) = key.split_once('[')
            && let Some(place) = self.above_of(list)
        {
            return (place, None);
        }
        let mut around = key;
        loop {
            // The outermost sections do not count: `--set dhcp.port=67` is not to blame for what else is missing in
            // `dhcp`.
            let counts = around == key || around.contains('.');
            if let Some(place) = self.above_of(around).filter(|_| counts) {
                return (place, None);
            }
            if let Some(found) = self.base.exact(around) {
                return found;
            }
            match around.rfind(['.', '[']) {
                Some(end) => around = &around[..end],
                None => break,
            }
        }
        match &self.base {
            Base::File(file) => file.place(key),
            Base::None | Base::Noted(_) => (Place::Default, None),
        }
    }

    /// The layer over the base that said `key`: a value, or a section in which the base has no part.
    fn above_of(&self, key: &str) -> Option<Place> {
        let origin = self.origins.get(key)?;
        let mut values = below(&self.origins, key).filter(|(_, inner)| !inner.section);
        let shared = origin.section
            && (self.base.exact(key).is_some() || values.clone().any(|(_, value)| value.layer == 0))
            && values.any(|(_, value)| value.layer != origin.layer);
        self.above.get(origin.layer.checked_sub(1)?).filter(|_| !shared).cloned()
    }
}
