//! Reads one `--set KEY=VALUE`: a dotted key and a value in YAML. Called by the sources.

use figment::value::{Dict, Value};

use super::formats::yaml;
use super::{spelling, tree};

/// What a flag says. Errors: the reason, and a hint.
pub(super) fn read(flag: &str) -> Result<Dict, (String, Option<String>)> {
    let example = || Some("write --set tcp.port=9000".to_owned());
    let (key, text) = flag.split_once('=').ok_or_else(|| ("no value is given".to_owned(), example()))?;
    let words: Vec<&str> = key.trim().split('.').collect();
    if words.iter().any(|word| word.is_empty()) {
        return Err((format!("\"{key}\" is not a key"), example()));
    }
    let value = yaml::value(text).map_err(|error| {
        let quoted = "text with characters that mean something in YAML needs quotes: KEY='\"VALUE\"'";
        (format!("the value cannot be read: {}", error.reason), Some(quoted.to_owned()))
    })?;
    let Value::Dict(_, mut dict) = tree::nested(words.into_iter(), value) else {
        return Err(("no key is given".to_owned(), example()));
    };
    // A flag says one thing, so an alias cannot meet its twin here.
    spelling::rename_aliases(&mut dict);
    spelling::spell_out_lease_times(&mut dict);
    Ok(dict)
}
