//! The values that the runtime API has set: kept by main in the state folder, laid over every other source.
//!
//! Owns what such a value may be. Main believes nothing that the api process sends, nor a file that anybody else could
//! have written: whoever took over the api process must gain nothing by an overlay. So `daemon` and `api` and every path
//! of the server's own files are out of its reach. The rest is what the API is for. Used by
//! [`ConfigManager`](super::ConfigManager), by the supervisor and by the control API.

use std::io::ErrorKind;
use std::path::Path;

use daemon_utils::state_file;
use figment::value::Dict;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::document::Document;
use super::report::{Place, Problem, Report, Severity};
use super::{Finding, spelling, tree};

/// What nobody sets at run time. A section stands for all its keys; the others are paths on the server.
///
/// `dhcp.store.durability` and `.history` are not among them: they guard leases and their history from accidents, and
/// the api process may end leases by itself. Nor are ports and interfaces: what is served is the API's business.
/// How much of the log is kept is out of reach because the log tells who used the API.
const FORBIDDEN: [&str; 8] = [
    "api",
    "daemon",
    "dhcp.store.path",
    "logging.backup_count",
    "logging.json.file",
    "logging.log_file",
    "logging.max_log_size",
    "logging.syslog.address",
];

/// Largest overlay as text, in bytes: some 5000 hosts.
const MAX_BYTES: usize = 1 << 20;

/// Deepest nesting. What is deepest by its nature is a condition of a class within others.
const MAX_DEPTH: usize = 32;

/// The values that the runtime API has set, over every other source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Overlay {
    values: Map<String, Value>,
}

impl Overlay {
    /// Its name in `daemon.state_dir`.
    pub const FILE: &str = "overlay.json";

    /// The values, keyed as in a configuration file. No key has the value `null`.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Reads the text of an overlay. Errors: it is no JSON object, is too large or too deep, or sets what nobody sets
    /// at run time.
    pub fn parse(text: &[u8]) -> Result<Self, Report> {
        if text.len() > MAX_BYTES {
            return Err(too_large().into());
        }
        let values = serde_json::from_slice(text)
            .map_err(|error| Report::from(problem("", format!("this is no JSON object: {error}"))))?;
        Self::of(values)
    }

    /// As pretty JSON, which [`parse`](Self::parse) reads.
    pub fn to_text(&self) -> String {
        format!("{:#}\n", Value::Object(self.values.clone()))
    }

    /// The overlay after a merge patch (RFC 7396). `null` takes a key out of it, so that the other sources count again.
    ///
    /// `below` is what those say. Errors: the patch sets what nobody sets at run time; it takes out a key that only
    /// another source says; the result is too large or too deep.
    pub fn patched(&self, patch: &Value, below: &Document) -> Result<Self, Report> {
        let Value::Object(patch) = patch else {
            return Err(problem("", "a patch is a JSON object".to_owned()).into());
        };
        // Before anything walks through it.
        check_depth(patch)?;
        let patch = spelled(patch)?;
        let mut problems = forbidden(&patch);
        let mut values = self.values.clone();
        merge(&mut values, &patch, "", below, &mut problems);
        if !problems.is_empty() {
            return Err(Report::new(problems));
        }
        let patched = Self::of(values)?;
        if patched.to_text().len() > MAX_BYTES { Err(too_large().into()) } else { Ok(patched) }
    }

    /// Reads the overlay in `state_dir`; an empty one where there is none. Errors: somebody else could have written it,
    /// it cannot be read, or as for [`parse`](Self::parse).
    pub(super) fn read(state_dir: &Path) -> Result<Self, Unreadable> {
        let path = state_dir.join(Self::FILE);
        let of_file = |problem: Problem| Problem {
            place: Place::File { file: path.clone(), line: None, column: None },
            ..problem
        };
        match state_file::read_owned(&path, MAX_BYTES as u64) {
            Ok(None) => Ok(Self::default()),
            Ok(Some(text)) => Self::parse(&text).map_err(|report| {
                let problems = report.problems.into_iter().map(of_file);
                let hint = "take the file away to go back to the other sources";
                Unreadable::Wrong(Report::new(problems.map(|problem| problem.with_hint(hint)).collect()))
            }),
            // What nobody could have written but somebody who is not to be believed sets nothing, and stops nothing.
            Err(error) => {
                let reason =
                    format!("the values that the runtime API has set ({}) are left out: {error}", Self::FILE);
                let problem = problem("", reason);
                let hint = match error.kind() {
                    ErrorKind::PermissionDenied => "run this as root, or as the daemon's user",
                    _ => "look at who put it there, then take it away",
                };
                Err(Unreadable::LeftOut(Box::new(of_file(problem.with_hint(hint)))))
            }
        }
    }

    /// Writes it to `state_dir`; the commands of others may read it. Errors: it could not be written; then the old one
    /// still counts.
    pub fn write(&self, state_dir: &Path) -> std::io::Result<()> {
        state_file::replace(&state_dir.join(Self::FILE), self.to_text().as_bytes(), 0o644)
    }

    /// The values as a layer over the other sources.
    pub(super) fn dict(&self) -> Dict {
        tree::dict_of_json(&self.values)
    }

    /// Values that hide what the configuration file says, for a warning: whoever edits the file would wonder.
    pub(super) fn hidden(&self, below: &Document) -> Vec<Finding> {
        let mut values = Vec::new();
        leaves(&self.values, "", &mut values);
        let hides = |(key, value): (String, &Value)| {
            let (said_at, said) = said_at_or_around(below, &key)?;
            let place @ Place::File { .. } = below.place_of(&said_at)? else { return None };
            if said == value {
                return None;
            }
            let reason = format!("the runtime API has set it to {value}, which hides {said} in {place}");
            Some((key, reason, Some("PATCH /v1/config with null for it goes back to the file".to_owned())))
        };
        values.into_iter().filter_map(hides).collect()
    }

    fn of(values: Map<String, Value>) -> Result<Self, Report> {
        check_depth(&values)?;
        let values = spelled(&values)?;
        let mut problems = forbidden(&values);
        nulls(&values, "", &mut problems);
        if problems.is_empty() { Ok(Self { values }) } else { Err(Report::new(problems)) }
    }
}

impl TryFrom<Map<String, Value>> for Overlay {
    type Error = Report;

    fn try_from(values: Map<String, Value>) -> Result<Self, Report> {
        Self::of(values)
    }
}

impl From<Overlay> for Map<String, Value> {
    fn from(overlay: Overlay) -> Self {
        overlay.values
    }
}

/// Why an overlay was not read.
pub(super) enum Unreadable {
    /// It cannot be read, or not believed: the other sources count alone.
    LeftOut(Box<Problem>),
    /// It is there and cannot be used.
    Wrong(Report),
}

fn problem(key: &str, reason: String) -> Problem {
    Problem {
        severity: Severity::Error,
        place: Place::Api,
        key: key.to_owned(),
        reason,
        hint: None,
        text: None,
    }
}

fn too_large() -> Problem {
    problem("", format!("an overlay is at most {MAX_BYTES} bytes"))
        .with_hint("what is that large belongs in the configuration file")
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The same values under the names that the program reads, as all sources are before they are merged.
fn spelled(values: &Map<String, Value>) -> Result<Map<String, Value>, Report> {
    let mut dict = tree::dict_of_json(values);
    for alias in spelling::rename_aliases(&mut dict) {
        if alias.doubled {
            let reason = format!("{} says the same thing and is given too", alias.key);
            return Err(problem(&alias.written, reason).with_hint("keep one of the two").into());
        }
    }
    spelling::spell_out_lease_times(&mut dict);
    Ok(dict.iter().map(|(key, value)| (key.clone(), tree::to_json(value))).collect())
}

/// An error for each key that nobody sets at run time, whatever its value.
fn forbidden(values: &Map<String, Value>) -> Vec<Problem> {
    let found = FORBIDDEN.into_iter().filter(|key| find(values, key).is_some());
    found
        .map(|key| {
            let hint =
                "it stands in the configuration file, or comes from the environment or a flag of start";
            problem(key, "this cannot be set at run time".to_owned()).with_hint(hint)
        })
        .collect()
}

fn find<'a>(values: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => values.get(key),
        Some((first, rest)) => find(values.get(first)?.as_object()?, rest),
    }
}

/// An error for each key without a value: it would hide what the other sources say, paths included.
fn nulls(values: &Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
    for (key, value) in values {
        let key = join(path, key);
        match value {
            Value::Null => problems.push(problem(&key, "an overlay holds no null".to_owned())),
            Value::Object(inner) => nulls(inner, &key, problems),
            _ => {}
        }
    }
}

/// Refuses what is nested too deep, without a call for each level.
fn check_depth(values: &Map<String, Value>) -> Result<(), Report> {
    let mut level: Vec<&Value> = values.values().collect();
    for _ in 0..MAX_DEPTH {
        level = level.into_iter().flat_map(inner).collect();
    }
    if level.is_empty() {
        return Ok(());
    }
    Err(problem("", format!("the values are nested deeper than {MAX_DEPTH} levels")).into())
}

/// Every value that is no section, by its key.
fn leaves<'a>(values: &'a Map<String, Value>, path: &str, found: &mut Vec<(String, &'a Value)>) {
    for (key, value) in values {
        let key = join(path, key);
        match value {
            Value::Object(inner) => leaves(inner, &key, found),
            _ => found.push((key, value)),
        }
    }
}

/// What another source says at `key`; or around it, where that is no section, such as `client_rate: null`.
fn said_at_or_around<'a>(below: &'a Document, key: &str) -> Option<(String, &'a Value)> {
    let mut at = key;
    loop {
        match below.value_of(at) {
            Some(Value::Object(_)) if at != key => return None,
            Some(said) => return Some((at.to_owned(), said)),
            None => at = &at[..at.rfind('.')?],
        }
    }
}

fn inner(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(entries) => entries.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// RFC 7396 §2, with an error for each key that a `null` would have to take out of another source.
fn merge(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    path: &str,
    below: &Document,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in patch {
        let key = join(path, name);
        match value {
            Value::Null if target.remove(name).is_some() => {}
            Value::Null => problems.extend(below.place_of(&key).map(|place| said_elsewhere(&key, place))),
            Value::Object(inner) => {
                let mut section = match target.remove(name) {
                    Some(Value::Object(section)) => section,
                    _ => Map::new(),
                };
                let had = section.len();
                merge(&mut section, inner, &key, below, problems);
                // A section that lost its last key, or never got one, is none; an empty one may be meant.
                if !section.is_empty() || (had == 0 && inner.is_empty()) {
                    target.insert(name.clone(), Value::Object(section));
                }
            }
            _ => {
                target.insert(name.clone(), value.clone());
            }
        }
    }
}

fn said_elsewhere(key: &str, place: &Place) -> Problem {
    let (reason, hint) = match place {
        Place::File { .. } => {
            (format!("this is said in {place}, not by the runtime API"), "edit it there, then reload")
        }
        Place::Set { .. } | Place::Environment { .. } => {
            (format!("this is said by {place}, not by the runtime API"), "start the daemon without it")
        }
        Place::Api | Place::Default => {
            ("this is not said by the runtime API".to_owned(), "leave it out of the patch")
        }
    };
    problem(key, reason).with_hint(hint)
}
