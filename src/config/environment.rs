//! Values in the environment: `ECHO_DAEMON__TCP__PORT=9000`.
//!
//! Two underscores stand between keys. Case does not matter, and `_` stands for `-` too, so a name of a variable alone
//! does not tell which key is meant: the sources below decide, by the keys that they have. Called by the sources.

use std::collections::BTreeMap;
use std::ffi::OsString;

use figment::value::{Dict, Value};

use super::formats::yaml;
use super::report::{Place, Problem, Severity};
use super::{spelling, tree};

/// What our variables begin with, in any case. `ECHO_DAEMON_CONFIG` is none of them.
const PREFIX: &str = "ECHO_DAEMON__";

/// Sections whose own keys have `-` where those of others have `_`: names of options, and what a class looks at.
const DASHED: [&str; 2] = ["options", "match"];

/// What the environment says.
#[derive(Default)]
pub(super) struct Environment {
    /// Each variable, in the order of their names: `TCP` before `TCP__PORT`, so what is said closer to a value wins.
    pub(super) layers: Vec<(Place, Dict)>,
    /// Variables that cannot be understood.
    pub(super) problems: Vec<Problem>,
}

/// Reads the variables that are ours; `below` is what the sources below say.
pub(super) fn read(environment: &BTreeMap<String, OsString>, below: &Dict) -> Environment {
    let mut read = Environment::default();
    let mut said: BTreeMap<String, &str> = BTreeMap::new();
    for (variable, value) in environment {
        let Some(name) = strip_prefix(variable) else { continue };
        let place = Place::Environment { variable: variable.clone() };
        let understood = words(name, below).and_then(|words| Ok((words, value_of(value)?)));
        let twin = |key: &str| {
            (
                format!("${} says the same key", said.get(key).copied().unwrap_or_default()),
                "keep one of the two",
            )
        };
        let checked = understood
            .map(|(words, value)| dict_of(words, value))
            .and_then(|(key, dict)| if said.contains_key(&key) { Err(twin(&key)) } else { Ok((key, dict)) });
        match checked {
            Ok((key, dict)) => {
                said.insert(key, variable);
                read.layers.push((place, dict));
            }
            Err((reason, hint)) => read.problems.push(Problem {
                severity: Severity::Error,
                place,
                key: String::new(),
                reason,
                hint: Some(hint.to_owned()),
                text: None,
            }),
        }
    }
    read
}

/// Why a variable is refused, and a hint.
type Refusal = (String, &'static str);

fn strip_prefix(variable: &str) -> Option<&str> {
    let (start, name) = variable.split_at_checked(PREFIX.len())?;
    start.eq_ignore_ascii_case(PREFIX).then_some(name)
}

fn value_of(value: &OsString) -> Result<Value, Refusal> {
    let quoted = "the value is YAML: text with characters that mean something there needs quotes";
    let text = value.to_str().ok_or_else(|| ("the value is not UTF-8 text".to_owned(), quoted))?;
    yaml::value(text).map_err(|error| (format!("the value cannot be read: {}", error.reason), quoted))
}

/// The keys that a name leads through.
fn words(name: &str, below: &Dict) -> Result<Vec<String>, Refusal> {
    let mut dict = Some(below);
    let mut words: Vec<String> = Vec::new();
    for written in name.split("__") {
        if written.is_empty() || written.starts_with('_') || written.ends_with('_') {
            let hint = "two underscores stand between keys: ECHO_DAEMON__TCP__PORT=9000";
            return Err(("the name is not a key".to_owned(), hint));
        }
        let word = match one_of(written, dict)? {
            Some(known) => known.to_owned(),
            None => guess(written, &words),
        };
        dict = dict.and_then(|dict| dict.get(&word)).and_then(Value::as_dict);
        words.push(word);
    }
    Ok(words)
}

/// The key of `dict` that `written` stands for: the one with underscores, should there be a second one.
fn one_of<'a>(written: &str, dict: Option<&'a Dict>) -> Result<Option<&'a str>, Refusal> {
    let plain = |word: &str| word.to_lowercase().replace('-', "_");
    let meant = plain(written);
    let mut fitting = dict.into_iter().flat_map(Dict::keys).filter(|key| plain(key) == meant);
    match (fitting.next(), fitting.next()) {
        (Some(first), Some(second)) => match [first, second].into_iter().find(|key| **key == written) {
            Some(exact) => Ok(Some(exact)),
            None => Err((
                format!("{written} may be {first} or {second}"),
                "set the one that is meant in the file, or with --set",
            )),
        },
        (only, _) => Ok(only.map(String::as_str)),
    }
}

/// A key that no source below has, by where it stands.
fn guess(written: &str, around: &[String]) -> String {
    let word = written.to_lowercase();
    // Names that users choose stand right below these, so `dhcp.subnets.options` is a subnet.
    let named = |at: usize| {
        at.checked_sub(1)
            .and_then(|at| around.get(at))
            .is_some_and(|section| ["subnets", "pools", "hosts", "classes"].contains(&section.as_str()))
    };
    let dashed =
        around.iter().enumerate().any(|(at, section)| DASHED.contains(&section.as_str()) && !named(at));
    if dashed { word.replace('_', "-") } else { word }
}

/// The dotted key, and the tree of a single value.
fn dict_of(words: Vec<String>, value: Value) -> (String, Dict) {
    let mut key = words.join(".");
    let mut dict = tree::nested(words.into_iter(), value).into_dict().unwrap_or_default();
    if let Some(alias) = spelling::rename_aliases(&mut dict).pop() {
        key = alias.key;
    }
    spelling::spell_out_lease_times(&mut dict);
    (key, dict)
}
