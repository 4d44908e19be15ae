//! What the readers tell about the keys that they ask for: the effective value of each, and what each may be.
//!
//! The readers of the sections are the one definition of the configuration: whatever they ask for is a key. So the
//! effective configuration and the schema are by-products of reading and cannot forget one. Knows no key but the
//! levels between which lease times are inherited. Filled by `section`; asked by the loader and by `schema`.

use std::cell::RefCell;

use figment::value::Dict;
use serde_json::{Map, Value as Json};

use super::document::Document;
use super::places::Places;
use super::report::Place;

/// Stands for a name of the user's choice among the words of a key.
pub(super) const ANY: &str = "*";

/// Maps from names of the user's choice to sections that inherit lease times from the section around the map.
const LEVELS: [&str; 4] = ["subnets", "pools", "hosts", "classes"];

/// A key and what it may be.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// From the outermost section inwards; [`ANY`] for a name of the user's choice.
    pub(super) words: Vec<String>,
    pub(super) shape: Shape,
}

/// What stands at a key.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// A section, whose keys have rows of their own, or a value in its place.
    Section { also: Option<Json> },
    /// Sections by names of the user's choice.
    Named,
    /// A value: the schema of what is accepted.
    Value { schema: Json, default: Option<Json>, required: bool },
}

/// What one run of the readers told.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Whether rows are noted; else values are.
    cataloguing: bool,
    rows: RefCell<Vec<Row>>,
    values: RefCell<Vec<(Vec<String>, Json)>>,
}

impl Book {
    /// A book for rows, to be filled by reading an empty configuration.
    pub(super) fn of_rows() -> Self {
        Self { cataloguing: true, ..Self::default() }
    }

    /// Whether rows are noted, so that each map of named sections must show one.
    pub(super) fn is_cataloguing(&self) -> bool {
        self.cataloguing
    }

    /// Notes what a key may be, in the place of what was noted before.
    pub(super) fn row(&self, words: impl FnOnce() -> Vec<String>, shape: impl FnOnce() -> Shape) {
        if !self.cataloguing {
            return;
        }
        let row = Row { words: words(), shape: shape() };
        let mut rows = self.rows.borrow_mut();
        match rows.iter_mut().find(|known| known.words == row.words) {
            Some(known) => *known = row,
            None => rows.push(row),
        }
    }

    /// Notes the default of a key that has a row.
    pub(super) fn default_of(&self, words: &[String], value: Json) {
        let mut rows = self.rows.borrow_mut();
        if let Some(Row { shape: Shape::Value { default, .. }, .. }) =
            rows.iter_mut().find(|row| row.words == words)
        {
            *default = Some(value);
        }
    }

    /// Notes a key's value in force; the last one counts.
    pub(super) fn value(&self, words: Vec<String>, value: Json) {
        if !self.cataloguing {
            self.values.borrow_mut().push((words, value));
        }
    }

    /// The rows, in the order in which the keys were asked for.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.rows.borrow().clone()
    }

    /// The effective configuration: every value in force, and where the sources said it.
    pub(super) fn document(&self, tree: &Dict, places: &Places) -> Document {
        let mut document = Document::default();
        for (words, value) in self.values.borrow().iter() {
            put(&mut document.values, words, value.clone());
            document.origins.insert(words.join("."), origin(words, tree, places));
        }
        document
    }
}

/// Where the sources said the value of a key.
fn origin(words: &[String], tree: &Dict, places: &Places) -> Place {
    if is_said(words, tree) {
        return places.origin(&words.join("."));
    }
    // Where a level says one of its lease times, the others are shown beside it, and come from above.
    let inherited = words.iter().any(|word| word == "lease_time");
    let level = words.iter().rposition(|word| LEVELS.contains(&word.as_str()));
    match level.filter(|_| inherited) {
        Some(level) => {
            let around: Vec<String> =
                words.iter().take(level).chain(words.iter().skip(level + 2)).cloned().collect();
            origin(&around, tree, places)
        }
        None => Place::Default,
    }
}

fn is_said(words: &[String], tree: &Dict) -> bool {
    let mut dict = Some(tree);
    words.iter().all(|word| match dict.and_then(|dict| dict.get(word)) {
        Some(value) => {
            dict = value.as_dict();
            true
        }
        None => false,
    })
}

fn put(map: &mut Map<String, Json>, words: &[String], value: Json) {
    match words {
        [] => {}
        [last] => {
            map.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = map.entry(first.clone()).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}
