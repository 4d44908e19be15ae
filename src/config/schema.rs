//! The JSON Schema of a configuration (draft 2020-12), and the order in which its keys are shown.
//!
//! Made of what the readers tell when they read nothing, and of the meanings in docs/configuration.md: no key is named
//! here. It accepts whatever the daemon accepts, and refuses what one value alone can do wrong; what two values do to
//! each other is beyond a schema and left to `check`.

use std::path::Path;

use figment::value::Dict;
use serde_json::{Map, Value as Json, json};

use super::catalogue::{ANY, Row, Shape};
use super::class::CONDITION;
use super::daemon::Paths;
use super::places::Places;
use super::section::{NAMES, Reader};
use super::sources::Sources;
use super::spelling;

/// The page whose tables say what each key means.
const PAGE: &str = include_str!("../../docs/configuration.md");

/// The schema. `definitions` must have `options`, the map of options, and what it refers to.
pub fn schema(definitions: Map<String, Json>) -> Json {
    let rows = rows();
    let meanings = Meanings::new();
    let mut schema = section(&rows, &meanings, &[]);
    let mut all = definitions;
    let conditions = rows.iter().find(|row| refers_to(&row.shape, CONDITION) && has_keys(&rows, &row.words));
    if let Some(row) = conditions {
        let mut condition = section(&rows, &meanings, &row.words);
        set(&mut condition, "type", "object".into());
        set(&mut condition, "minProperties", 1.into());
        all.insert(CONDITION.trim_start_matches("#/$defs/").to_owned(), condition);
    }
    set(&mut schema, "$schema", "https://json-schema.org/draft/2020-12/schema".into());
    set(&mut schema, "title", "Configuration of echo-daemon".into());
    set(&mut schema, "description", "TCP echo, UDP echo and DHCPv4 with leases in SQLite".into());
    set(&mut schema, "$defs", Json::Object(all));
    schema
}

/// Where a key stands in the documentation; those that it does not list come last.
pub(super) fn rank(meanings: &Meanings, words: &[String]) -> usize {
    meanings.position(words).unwrap_or(usize::MAX)
}

/// What the readers ask for where nothing is given, as root.
fn rows() -> Vec<Row> {
    let (tree, places) = (Dict::new(), Places::default());
    let reader = Reader::cataloguing(&tree, &places, Path::new("/"));
    super::read(&reader, &Paths::new(&Sources::default()));
    reader.rows()
}

fn set(schema: &mut Json, key: &str, value: Json) {
    if let Json::Object(schema) = schema {
        schema.insert(key.to_owned(), value);
    }
}

fn refers_to(shape: &Shape, target: &str) -> bool {
    matches!(shape, Shape::Value { schema, .. } if schema.get("$ref").is_some_and(|given| given == target))
}

fn has_keys(rows: &[Row], words: &[String]) -> bool {
    rows.iter().any(|row| row.words.len() == words.len() + 1 && row.words.starts_with(words))
}

/// The section whose key has these words. An empty one may be `null`, as `tcp:` with nothing behind it is.
fn section(rows: &[Row], meanings: &Meanings, words: &[String]) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for row in rows.iter().filter(|row| row.words.len() == words.len() + 1 && row.words.starts_with(words)) {
        let Some(key) = row.words.last() else { continue };
        let mut schema = match &row.shape {
            Shape::Section { also } => with_short_form(section(rows, meanings, &row.words), also.as_ref()),
            Shape::Named => {
                let inner: Vec<String> = row.words.iter().cloned().chain([ANY.to_owned()]).collect();
                json!({
                    "type": ["object", "null"],
                    "patternProperties": {NAMES: section(rows, meanings, &inner)},
                    "additionalProperties": false,
                })
            }
            Shape::Value { schema, default, required: must } => {
                if *must {
                    required.push(key.clone());
                }
                let mut schema = schema.clone();
                if let Some(default) = default {
                    set(&mut schema, "default", default.clone());
                }
                schema
            }
        };
        if let Some(meaning) = meanings.of(&row.words) {
            set(&mut schema, "description", meaning.into());
        }
        properties.insert(key.clone(), schema);
    }
    let mut schema = json!({"type": ["object", "null"], "additionalProperties": false});
    for (alias, key) in spelling::renamed_in(&words.join(".")) {
        if let Some(twin) = properties.get(key).cloned() {
            properties.insert(alias.to_owned(), twin);
            set(&mut schema, "not", json!({"required": [alias, key]}));
        }
    }
    set(&mut schema, "properties", Json::Object(properties));
    if !required.is_empty() {
        set(&mut schema, "required", required.into());
    }
    schema
}

/// The section, or a value in its place: the keywords of a schema look at the types that they are about only.
fn with_short_form(mut section: Json, also: Option<&Json>) -> Json {
    let Some(Json::Object(also)) = also else { return section };
    for (keyword, value) in also.iter().filter(|(keyword, _)| *keyword != "type") {
        set(&mut section, keyword, value.clone());
    }
    let mut types = vec![json!("object"), json!("null")];
    types.extend(also.get("type").and_then(Json::as_array).into_iter().flatten().cloned());
    set(&mut section, "type", types.into());
    section
}

/// The rows of the tables of [`PAGE`].
pub(super) struct Meanings {
    rows: Vec<Meaning>,
}

struct Meaning {
    words: Vec<String>,
    meaning: String,
    /// The table of sections tells no order.
    is_section: bool,
}

impl Meanings {
    /// Reads the tables, whose last column is the meaning and the one before it the range.
    pub(super) fn new() -> Self {
        let rows = PAGE.lines().filter_map(|line| {
            let cells: Vec<&str> =
                line.strip_prefix("| `")?.trim_end_matches('|').split(" | ").map(str::trim).collect();
            let key = cells.first()?.strip_suffix('`')?;
            let words = key.split('.').map(|word| if word == "NAME" { ANY } else { word }.to_owned());
            let meaning = cells.last()?.replace('`', "");
            Some(Meaning { words: words.collect(), meaning, is_section: cells.len() == 2 })
        });
        Self { rows: rows.collect() }
    }

    /// What a key means. Where a level has a key of a level above, the meaning stands there.
    fn of(&self, words: &[String]) -> Option<&str> {
        match self.rows.iter().find(|row| row.words == words) {
            Some(row) if !row.meaning.is_empty() => Some(&row.meaning),
            _ => self.of(&level_above(words)?),
        }
    }

    /// The first row at or below a key.
    fn position(&self, words: &[String]) -> Option<usize> {
        let generic = |known: &[String]| {
            known.len() >= words.len()
                && known.iter().zip(words).all(|(known, word)| known == ANY || known == word)
        };
        match self.rows.iter().position(|row| !row.is_section && generic(&row.words)) {
            // Its own keys come first, then those of the level above.
            None => Some(self.position(&level_above(words)?)? + self.rows.len()),
            found => found,
        }
    }
}

/// The same key of the outermost level: `dhcp.subnets.*.pools.*.boot_file` is `dhcp.boot_file` there.
fn level_above(words: &[String]) -> Option<Vec<String>> {
    let last =
        words.iter().rposition(|word| ["subnets", "pools", "hosts", "classes"].contains(&word.as_str()))?;
    let rest = words.get(last + 2..).filter(|rest| !rest.is_empty())?;
    Some(words.iter().take(last).chain(rest).cloned().collect())
}
