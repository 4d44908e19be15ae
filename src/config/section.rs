//! Reading a section key by key without stopping at the first error.
//!
//! A [`Section`] hands out typed values, takes the default where one is missing or wrong, and notes what was wrong.
//! It learns the known keys by being asked for them, so `finish` can name every key that nobody asked for.
//! Knows no key itself; used by the files that read one section each.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use super::leaf::{Fault, Leaf};
use super::places::Places;
use super::report::{Problem, Severity};
use super::{spelling, tree};

/// How alike two keys must be for one to be offered as what was meant (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// What all sections of one load share.
pub(super) struct Reader<'a> {
    tree: &'a Dict,
    places: &'a Places,
    base: &'a Path,
    problems: RefCell<Vec<Problem>>,
    wrong: RefCell<Wrong>,
}

/// Where errors are, so that asking costs as much as a key has parts, however many there are.
#[derive(Default)]
struct Wrong {
    /// The keys of errors.
    at: HashSet<String>,
    /// These and all sections around them.
    around: HashSet<String>,
}

impl Wrong {
    fn note(&mut self, key: &str) {
        for outer in itself_and_around(key) {
            if !self.around.insert(outer.to_owned()) {
                // What lies further out was noted with it.
                break;
            }
        }
        self.at.insert(key.to_owned());
    }

    fn touches(&self, key: &str) -> bool {
        self.around.contains(key) || itself_and_around(key).any(|outer| self.at.contains(outer))
    }
}

/// `a.b[0]`, `a.b`, `a`.
fn itself_and_around(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |inner| inner.get(..inner.rfind(['.', '['])?))
}

impl<'a> Reader<'a> {
    /// `base` is the folder that relative paths start from.
    pub(super) fn new(tree: &'a Dict, places: &'a Places, base: &'a Path) -> Self {
        Self { tree, places, base, problems: RefCell::default(), wrong: RefCell::default() }
    }

    /// The outermost section.
    pub(super) fn root(&'a self) -> Section<'a> {
        Section { reader: self, path: String::new(), dict: Some(self.tree), known: RefCell::default() }
    }

    /// Notes an error at `key`.
    pub(super) fn error(&self, key: &str, reason: impl Into<String>, hint: Option<String>) {
        let problem = self.places.problem(key, Severity::Error, reason.into(), hint);
        self.wrong.borrow_mut().note(key);
        self.problems.borrow_mut().push(problem);
    }

    /// Notes a warning at `key`.
    pub(super) fn warning(&self, key: &str, reason: impl Into<String>, hint: Option<String>) {
        let problem = self.places.problem(key, Severity::Warning, reason.into(), hint);
        self.problems.borrow_mut().push(problem);
    }

    /// Whether nothing is wrong at `key`, within it or around it: a default that stands in for a wrong value must not
    /// cause a second error.
    pub(super) fn is_sound(&self, key: &str) -> bool {
        !self.wrong.borrow().touches(key)
    }

    /// Whether a source says something at `key`.
    pub(super) fn is_said(&self, key: &str) -> bool {
        let mut dict = Some(self.tree);
        key.split('.').all(|word| match dict.and_then(|dict| dict.get(word)) {
            Some(value) => {
                dict = value.as_dict();
                true
            }
            None => false,
        })
    }

    /// Everything that was found.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// One section of the merged configuration.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    path: String,
    /// None where the section is missing or empty.
    dict: Option<&'a Dict>,
    known: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    /// The full dotted key of `key` in this section.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes an error at `key` of this section.
    pub(super) fn error(&self, key: &str, reason: impl Into<String>, hint: Option<String>) {
        self.reader.error(&self.key(key), reason, hint);
    }

    /// The reader, for checks beyond this section.
    pub(super) fn reader(&self) -> &'a Reader<'a> {
        self.reader
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.known.borrow_mut().insert(key.to_owned());
        self.dict?.get(key)
    }

    /// Notes under `key` what is wrong with a value.
    fn noted<T>(&self, key: &str, read: Result<T, Fault>) -> Option<T> {
        read.map_err(|Fault { reason, hint }| self.error(key, reason, hint)).ok()
    }

    /// The value of `key`; none if it is missing or wrong.
    pub(super) fn find<T: Leaf>(&self, key: &str) -> Option<T> {
        self.noted(key, T::read(self.value(key)?))
    }

    /// The value of `key`, or `default`.
    pub(super) fn get<T: Leaf>(&self, key: &str, default: T) -> T {
        self.find(key).unwrap_or(default)
    }

    /// The value of a key that must be there; `example` shows how to write it.
    pub(super) fn require<T: Leaf>(&self, key: &str, example: &str) -> Option<T> {
        if self.value(key).is_none() {
            self.error(key, "this must be given", Some(format!("for example {key}: {example}")));
            return None;
        }
        self.find(key)
    }

    /// The value of `key` within `range`, or `default`.
    pub(super) fn within<T: Leaf + PartialOrd>(
        &self,
        key: &str,
        default: T,
        range: std::ops::RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> T {
        let Some(value) = self.find(key) else { return default };
        if range.contains(&value) {
            return value;
        }
        let (least, most) = (show(range.start()), show(range.end()));
        self.error(key, format!("{} is out of range; it must be {least} to {most}", show(&value)), None);
        default
    }

    /// The value of a key where `null` means something too: `None` is missing (or wrong), `Some(None)` is `null`.
    #[allow(clippy::option_option, reason = "missing and null differ here: null hides an inherited value")]
    pub(super) fn nullable<T: Leaf>(&self, key: &str) -> Option<Option<T>> {
        match self.value(key)? {
            Value::Empty(..) => Some(None),
            value => self.noted(key, T::read(value)).map(Some),
        }
    }

    /// One value or a list of them, or `default`; wrong items are left out. Text is divided at commas, since some
    /// sources have nothing but text.
    pub(super) fn list<T: Leaf>(&self, key: &str, default: Vec<T>) -> Vec<T> {
        match self.value(key) {
            None => default,
            Some(Value::String(tag, text)) if text.contains(',') => {
                let parts = text.split(',').map(|part| Value::String(*tag, part.trim().to_owned()));
                self.items(key, &parts.collect::<Vec<_>>(), &T::read)
            }
            Some(_) => self.list_by(key, T::read),
        }
    }

    /// The same by a function of one's own, empty where the key is missing, for text that may hold commas.
    pub(super) fn list_by<T>(&self, key: &str, read: impl Fn(&Value) -> Result<T, Fault>) -> Vec<T> {
        match self.value(key) {
            None | Some(Value::Empty(..)) => Vec::new(),
            Some(Value::Array(_, items)) => self.items(key, items, &read),
            Some(single) => self.noted(key, read(single)).into_iter().collect(),
        }
    }

    fn items<T>(&self, key: &str, items: &[Value], read: &impl Fn(&Value) -> Result<T, Fault>) -> Vec<T> {
        let item = |(position, value)| self.noted(&format!("{key}[{position}]"), read(value));
        items.iter().enumerate().filter_map(item).collect()
    }

    /// A path, made absolute, or `default`, which `null` asks for too.
    pub(super) fn path(&self, key: &str, default: PathBuf) -> PathBuf {
        self.nullable_path(key).flatten().unwrap_or(default)
    }

    /// A path where `null` means something too.
    #[allow(clippy::option_option, reason = "as `nullable`")]
    pub(super) fn nullable_path(&self, key: &str) -> Option<Option<PathBuf>> {
        self.nullable::<PathBuf>(key).map(|path| path.map(|path| normal(&self.reader.base.join(path))))
    }

    /// The section `key` within this one; an empty one if it is missing.
    pub(super) fn child(&self, key: &str) -> Section<'a> {
        let dict = self.value(key).and_then(|value| self.dict_of(key, value));
        Section { reader: self.reader, path: self.key(key), dict, known: RefCell::default() }
    }

    fn dict_of(&self, key: &str, value: &'a Value) -> Option<&'a Dict> {
        match value {
            Value::Dict(_, dict) => Some(dict),
            Value::Empty(..) => None,
            other => {
                let reason = format!("{} is not a section", tree::describe(other));
                self.error(key, reason, Some("write its keys on lines of their own, indented".to_owned()));
                None
            }
        }
    }

    /// The sections in the list `key`; a single section is a list of one.
    pub(super) fn sections(&self, key: &str) -> Vec<Section<'a>> {
        let section = |key: &str, value| Section {
            reader: self.reader,
            path: self.key(key),
            dict: self.dict_of(key, value),
            known: RefCell::default(),
        };
        match self.value(key) {
            None | Some(Value::Empty(..)) => Vec::new(),
            Some(Value::Array(_, items)) => items
                .iter()
                .enumerate()
                .map(|(position, value)| section(&format!("{key}[{position}]"), value))
                .collect(),
            Some(single) => vec![section(key, single)],
        }
    }

    /// The keys that are given in this section.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.dict.into_iter().flat_map(Dict::keys).map(String::as_str)
    }

    /// The full dotted key of this section itself.
    pub(super) fn here(&self) -> &str {
        &self.path
    }

    /// Whether `null` stands at `key`.
    pub(super) fn is_null(&self, key: &str) -> bool {
        self.dict.and_then(|dict| dict.get(key)).is_some_and(|value| matches!(value, Value::Empty(..)))
    }

    /// Whether `key` is a section that says something.
    pub(super) fn has(&self, key: &str) -> bool {
        self.dict.is_some_and(|dict| dict.contains_key(key))
    }

    /// The sections within the section `key`, by the names that the user gave them.
    pub(super) fn named(&self, key: &str) -> Vec<(String, Section<'a>)> {
        let parent = self.child(key);
        let mut named = Vec::new();
        for name in parent.dict.into_iter().flat_map(Dict::keys) {
            if is_name(name) {
                named.push((name.clone(), parent.child(name)));
            } else {
                let reason = format!("\"{}\" cannot be a name", name.escape_debug());
                let hint = "names are made of letters, digits, - and _, at most 63 of them";
                parent.error(name, reason, Some(hint.to_owned()));
            }
        }
        named
    }

    /// A map from names that the user chose to values of one type.
    pub(super) fn map<T: Leaf>(&self, key: &str) -> BTreeMap<String, T> {
        let parent = self.child(key);
        let names = parent.dict.into_iter().flat_map(Dict::keys);
        names.filter_map(|name| Some((name.clone(), parent.find(name)?))).collect()
    }

    /// A map whose values a higher layer reads.
    pub(super) fn raw(&self, key: &str) -> BTreeMap<String, serde_json::Value> {
        let parent = self.child(key);
        parent.dict.into_iter().flatten().map(|(name, value)| (name.clone(), tree::to_json(value))).collect()
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        for (name, _) in self.dict.into_iter().flatten().filter(|(name, _)| !known.contains(*name)) {
            self.error(name, "unknown key", hint_for(name, &known, &self.path));
        }
    }
}

/// The nearest known key, or all of them where none is near.
fn hint_for(name: &str, known: &BTreeSet<String>, path: &str) -> Option<String> {
    if let Some((section, key)) = name.split_once('.')
        && known.contains(section)
    {
        return Some(format!("a dot does not lead into a section: write {key} indented below {section}:"));
    }
    let mut candidates: Vec<&str> = known.iter().map(String::as_str).collect();
    candidates.extend(spelling::aliases_in(path).collect::<Vec<_>>());
    if let Some(near) = nearest(name, candidates.iter().copied()) {
        return Some(format!("did you mean {near}?"));
    }
    candidates.sort_unstable();
    (!candidates.is_empty()).then(|| format!("known here: {}", candidates.join(", ")))
}

/// The word that `name` was most likely meant to be.
pub(super) fn nearest<'w>(name: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let name = name.to_lowercase().replace('-', "_");
    words
        .map(|word| (strsim::jaro_winkler(&name, &word.to_lowercase().replace('-', "_")), word))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// Names stand in dotted keys, metrics and the lease file, so they are plain words.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=63).contains(&name.len()) && name.chars().all(plain)
}

/// `path` without `.` and doubled slashes. `..` stays: what it means depends on links.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}
