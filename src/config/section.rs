//! Reading a section key by key without stopping at the first error.
//!
//! A [`Section`] hands out typed values, takes the default where one is missing or wrong, and notes what was wrong.
//! It learns the known keys by being asked for them, so `finish` can name every key that nobody asked for, and the
//! `catalogue` learns each key's value in force and what it may be. Knows no key itself; used by the files that read one
//! section each.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};
use serde_json::{Value as Json, json};

use super::catalogue::{ANY, Book, Row, Shape};
use super::document::Document;
use super::leaf::{Fault, Leaf, list_of, or_null};
use super::places::Places;
use super::report::{Problem, Severity};
use super::sound::Wrong;
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
    book: Book,
}

impl<'a> Reader<'a> {
    /// `base` is the folder that relative paths start from.
    pub(super) fn new(tree: &'a Dict, places: &'a Places, base: &'a Path) -> Self {
        Self {
            tree,
            places,
            base,
            problems: RefCell::default(),
            wrong: RefCell::default(),
            book: Book::default(),
        }
    }

    /// The same, to learn what every key may be. `tree` is empty: each map of named sections shows one.
    pub(super) fn cataloguing(tree: &'a Dict, places: &'a Places, base: &'a Path) -> Self {
        Self { book: Book::of_rows(), ..Self::new(tree, places, base) }
    }

    /// The outermost section.
    pub(super) fn root(&'a self) -> Section<'a> {
        Section {
            reader: self,
            path: String::new(),
            words: Vec::new(),
            quiet: false,
            dict: Some(self.tree),
            known: RefCell::default(),
        }
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

    /// The effective configuration, once all has been read.
    pub(super) fn effective(&self) -> Document {
        self.book.document(self.tree, self.places)
    }

    /// What every key may be, once all has been read.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.book.rows()
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
    /// The words of `path`; names of the user's choice may hold dots in some places.
    words: Vec<String>,
    /// Whether its keys are part of one value, which is shown as a whole.
    quiet: bool,
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

    fn words(&self, key: &str) -> Vec<String> {
        self.words.iter().cloned().chain([key.to_owned()]).collect()
    }

    /// Tells what the value of `key` may be, in the place of what its type says.
    pub(super) fn describe(&self, key: &str, schema: impl FnOnce() -> Json) {
        let value = || Shape::Value { schema: schema(), default: None, required: false };
        self.reader.book.row(|| self.words(key), value);
    }

    /// Likewise for a key that must be there.
    pub(super) fn describe_required(&self, key: &str, schema: impl FnOnce() -> Json) {
        let value = || Shape::Value { schema: schema(), default: None, required: true };
        self.reader.book.row(|| self.words(key), value);
    }

    /// Tells that a value may stand in the place of the section `key`.
    pub(super) fn describe_short_form(&self, key: &str, schema: impl FnOnce() -> Json) {
        self.reader.book.row(|| self.words(key), || Shape::Section { also: Some(schema()) });
    }

    fn describe_with(&self, key: &str, schema: impl FnOnce() -> Json, default: impl FnOnce() -> Json) {
        let value = || Shape::Value { schema: schema(), default: Some(default()), required: false };
        self.reader.book.row(|| self.words(key), value);
    }

    /// Tells the value of `key` in force.
    pub(super) fn show(&self, key: &str, value: Json) {
        if !self.quiet {
            self.reader.book.value(self.words(key), value);
        }
    }

    /// Tells what holds where `key` is left out, for keys that are not read with a default.
    pub(super) fn fallback(&self, key: &str, value: Json) {
        if self.reader.book.is_cataloguing() {
            self.reader.book.default_of(&self.words(key), value);
        } else if !self.has(key) {
            self.show(key, value);
        }
    }

    fn read<T: Leaf>(&self, key: &str) -> Option<T> {
        self.noted(key, T::read(self.value(key)?))
    }

    /// The value of `key`; none if it is missing or wrong.
    pub(super) fn find<T: Leaf>(&self, key: &str) -> Option<T> {
        self.describe(key, T::schema);
        self.read(key).inspect(|value: &T| self.show(key, value.show()))
    }

    /// The value of `key`, or `default`.
    pub(super) fn get<T: Leaf>(&self, key: &str, default: T) -> T {
        self.describe_with(key, T::schema, || default.show());
        let value = self.read(key).unwrap_or(default);
        self.show(key, value.show());
        value
    }

    /// The value of a key that must be there; `example` shows how to write it.
    pub(super) fn require<T: Leaf>(&self, key: &str, example: &str) -> Option<T> {
        self.describe_required(key, T::schema);
        if self.value(key).is_none() {
            self.error(key, "this must be given", Some(format!("for example {key}: {example}")));
            return None;
        }
        self.read(key).inspect(|value: &T| self.show(key, value.show()))
    }

    /// The value of `key` within `range`, or `default`.
    pub(super) fn within<T: Leaf + PartialOrd>(
        &self,
        key: &str,
        default: T,
        range: std::ops::RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> T {
        self.describe_with(key, || T::schema_within(&range), || default.show());
        let Some(value) = self.read(key).filter(|value| {
            let fits = range.contains(value);
            if !fits {
                let (least, most) = (show(range.start()), show(range.end()));
                let reason = format!("{} is out of range; it must be {least} to {most}", show(value));
                self.error(key, reason, None);
            }
            fits
        }) else {
            self.show(key, default.show());
            return default;
        };
        self.show(key, value.show());
        value
    }

    /// The value of a key where `null` means something too: `None` is missing (or wrong), `Some(None)` is `null`.
    #[allow(clippy::option_option, reason = "missing and null differ here: null hides an inherited value")]
    pub(super) fn nullable<T: Leaf>(&self, key: &str) -> Option<Option<T>> {
        self.describe(key, || or_null(T::schema()));
        let value = match self.value(key)? {
            Value::Empty(..) => None,
            value => Some(self.noted(key, T::read(value))?),
        };
        self.show(key, value.as_ref().map_or(Json::Null, T::show));
        Some(value)
    }

    /// One value or a list of them, or `default`; wrong items are left out. Text is divided at commas, since some
    /// sources have nothing but text.
    pub(super) fn list<T: Leaf>(&self, key: &str, default: Vec<T>) -> Vec<T> {
        let shown = |values: &[T]| Json::Array(values.iter().map(T::show).collect());
        self.describe_with(key, || or_null(list_of(T::schema(), true)), || shown(&default));
        let values = match self.value(key) {
            None => default,
            Some(Value::String(tag, text)) if text.contains(',') => {
                let parts = text.split(',').map(|part| Value::String(*tag, part.trim().to_owned()));
                self.items(key, &parts.collect::<Vec<_>>(), &T::read)
            }
            Some(value) => self.values(key, value, T::read),
        };
        self.show(key, shown(&values));
        values
    }

    /// The same by a function of one's own, empty where the key is missing, for text that may hold commas. `schema` is
    /// that of one value.
    pub(super) fn list_by<T>(
        &self,
        key: &str,
        schema: impl FnOnce() -> Json,
        read: impl Fn(&Value) -> Result<T, Fault>,
    ) -> Vec<T> {
        self.describe(key, || list_of(schema(), false));
        self.value(key).map(|value| self.values(key, value, read)).unwrap_or_default()
    }

    fn values<T>(&self, key: &str, value: &Value, read: impl Fn(&Value) -> Result<T, Fault>) -> Vec<T> {
        match value {
            Value::Empty(..) => Vec::new(),
            Value::Array(_, items) => self.items(key, items, &read),
            single => self.noted(key, read(single)).into_iter().collect(),
        }
    }

    fn items<T>(&self, key: &str, items: &[Value], read: &impl Fn(&Value) -> Result<T, Fault>) -> Vec<T> {
        let item = |(position, value)| self.noted(&format!("{key}[{position}]"), read(value));
        items.iter().enumerate().filter_map(item).collect()
    }

    /// A path, made absolute, or `default`, which `null` asks for too.
    pub(super) fn path(&self, key: &str, default: PathBuf) -> PathBuf {
        let path = self.nullable_path(key).flatten();
        self.describe_with(key, || or_null(PathBuf::schema()), || default.show());
        let path = path.unwrap_or(default);
        self.show(key, path.show());
        path
    }

    /// A path where `null` means something too.
    #[allow(clippy::option_option, reason = "as `nullable`")]
    pub(super) fn nullable_path(&self, key: &str) -> Option<Option<PathBuf>> {
        let path = self.nullable::<PathBuf>(key)?.map(|path| normal(&self.reader.base.join(path)));
        self.show(key, path.as_ref().map_or(Json::Null, Leaf::show));
        Some(path)
    }

    /// The section `key` within this one; an empty one if it is missing.
    pub(super) fn child(&self, key: &str) -> Section<'a> {
        self.reader.book.row(|| self.words(key), || Shape::Section { also: None });
        let dict = self.value(key).and_then(|value| self.dict_of(key, value));
        self.inner(key, dict)
    }

    /// The same where the section counts as one value, which is shown as it was said.
    pub(super) fn whole(&self, key: &str) -> Section<'a> {
        if let Some(value) = self.value(key) {
            self.show(key, tree::to_json(value));
        }
        Section { quiet: true, ..self.child(key) }
    }

    fn inner(&self, key: &str, dict: Option<&'a Dict>) -> Section<'a> {
        let (path, words) = (self.key(key), self.words(key));
        Section { reader: self.reader, path, words, quiet: self.quiet, dict, known: RefCell::default() }
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

    /// The sections in the list `key`; a single section is a list of one. `schema` is that of the list.
    pub(super) fn sections(&self, key: &str, schema: impl FnOnce() -> Json) -> Vec<Section<'a>> {
        self.describe(key, schema);
        let section = |key: &str, value| self.inner(key, self.dict_of(key, value));
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
        self.reader.book.row(|| self.words(key), || Shape::Named);
        if self.reader.book.is_cataloguing() {
            return vec![(ANY.to_owned(), parent.inner(ANY, None))];
        }
        if parent.keys().next().is_none() {
            self.show(key, Json::Object(serde_json::Map::new()));
        }
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
        let schema = || json!({"type": ["object", "null"], "additionalProperties": T::schema()});
        self.describe_with(key, schema, || json!({}));
        let names = parent.dict.into_iter().flat_map(Dict::keys);
        let map: BTreeMap<String, T> =
            names.filter_map(|name| Some((name.clone(), parent.read(name)?))).collect();
        self.show_each(key, map.iter().map(|(name, value)| (name, value.show())));
        map
    }

    /// A map whose values a higher layer reads. Its schema is the definition of the key's name, which that layer adds.
    pub(super) fn raw(&self, key: &str) -> BTreeMap<String, Json> {
        let parent = self.child(key);
        self.describe_with(key, || json!({"$ref": format!("#/$defs/{key}")}), || json!({}));
        let map: BTreeMap<String, Json> = parent
            .dict
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), tree::to_json(value)))
            .collect();
        self.show_each(key, map.iter().map(|(name, value)| (name, value.clone())));
        map
    }

    /// Shows the entries of the map `key`, each with an origin of its own.
    fn show_each<'k>(&self, key: &str, entries: impl ExactSizeIterator<Item = (&'k String, Json)>) {
        if entries.len() == 0 {
            self.show(key, json!({}));
        }
        let parent = self.inner(key, None);
        for (name, value) in entries {
            parent.show(name, value);
        }
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

/// What [`is_name`] accepts, as a pattern.
pub(super) const NAMES: &str = "^[A-Za-z0-9_-]{1,63}$";

/// Names stand in dotted keys, metrics and the lease file, so they are plain words.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=63).contains(&name.len()) && name.chars().all(plain)
}

/// `path` without `.` and doubled slashes. `..` stays: what it means depends on links.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}
