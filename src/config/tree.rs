//! Untyped values: from a parsed document to the tree that is merged, and words for what a value is.
//!
//! Knows no key and no default. Used by the sources, which fill the tree, and by the leaf types, which read it.

use figment::value::{Dict, Empty, Num, Tag, Value};

/// The tree of a YAML document. Keys become text (`224: x` is the key `224`).
///
/// Errors: a key that is itself a list or a section, and tags of one's own (`!secret x`), neither of which can be
/// said in the other sources.
pub(super) fn from_yaml(value: serde_yaml::Value) -> Result<Value, String> {
    let tag = Tag::Default;
    Ok(match value {
        serde_yaml::Value::Null => Value::Empty(tag, Empty::Unit),
        serde_yaml::Value::Bool(value) => Value::Bool(tag, value),
        serde_yaml::Value::Number(number) => Value::Num(tag, from_number(&number)),
        serde_yaml::Value::String(text) => Value::String(tag, text),
        serde_yaml::Value::Sequence(items) => {
            Value::Array(tag, items.into_iter().map(from_yaml).collect::<Result<_, _>>()?)
        }
        serde_yaml::Value::Mapping(entries) => {
            let mut dict = Dict::new();
            for (key, value) in entries {
                dict.insert(key_text(&key)?, from_yaml(value)?);
            }
            Value::Dict(tag, dict)
        }
        serde_yaml::Value::Tagged(tagged) => {
            return Err(format!("the tag {} means nothing here", tagged.tag));
        }
    })
}

fn from_number(number: &serde_yaml::Number) -> Num {
    if let Some(value) = number.as_u64() {
        Num::U64(value)
    } else if let Some(value) = number.as_i64() {
        Num::I64(value)
    } else {
        Num::F64(number.as_f64().unwrap_or(f64::NAN))
    }
}

fn key_text(key: &serde_yaml::Value) -> Result<String, String> {
    match key {
        serde_yaml::Value::String(text) => Ok(text.clone()),
        serde_yaml::Value::Number(number) => Ok(number.to_string()),
        serde_yaml::Value::Bool(value) => Ok(value.to_string()),
        serde_yaml::Value::Null => Ok("null".to_owned()),
        _ => Err("a key must be a word".to_owned()),
    }
}

/// `value` at the end of a path of keys.
pub(super) fn nested<W: Into<String>>(words: impl DoubleEndedIterator<Item = W>, value: Value) -> Value {
    words.rev().fold(value, |value, word| Value::from(Dict::from([(word.into(), value)])))
}

/// The tree of a JSON document.
pub(super) fn from_json(value: &serde_json::Value) -> Value {
    let tag = Tag::Default;
    match value {
        serde_json::Value::Null => Value::Empty(tag, Empty::Unit),
        serde_json::Value::Bool(value) => Value::Bool(tag, *value),
        serde_json::Value::Number(number) => Value::Num(tag, from_json_number(number)),
        serde_json::Value::String(text) => Value::String(tag, text.clone()),
        serde_json::Value::Array(items) => Value::Array(tag, items.iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => Value::Dict(tag, dict_of_json(entries)),
    }
}

/// The tree of a JSON object.
pub(super) fn dict_of_json(entries: &serde_json::Map<String, serde_json::Value>) -> Dict {
    entries.iter().map(|(key, value)| (key.clone(), from_json(value))).collect()
}

fn from_json_number(number: &serde_json::Number) -> Num {
    if let Some(value) = number.as_u64() {
        Num::U64(value)
    } else if let Some(value) = number.as_i64() {
        Num::I64(value)
    } else {
        Num::F64(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// The value as JSON, for options, whose types a higher layer knows.
pub(super) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(_, text) => text.clone().into(),
        Value::Char(_, letter) => letter.to_string().into(),
        Value::Bool(_, value) => (*value).into(),
        Value::Num(_, number) => number_to_json(*number),
        Value::Empty(..) => serde_json::Value::Null,
        Value::Dict(_, dict) => dict.iter().map(|(key, value)| (key.clone(), to_json(value))).collect(),
        Value::Array(_, items) => items.iter().map(to_json).collect(),
    }
}

fn number_to_json(number: Num) -> serde_json::Value {
    if let Some(value) = number.to_u128().and_then(|value| u64::try_from(value).ok()) {
        value.into()
    } else if let Some(value) = number.to_i128().and_then(|value| i64::try_from(value).ok()) {
        value.into()
    } else {
        number.to_f64().into()
    }
}

/// The value in words, for a message: `70000`, `"abc"`, `a list`.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("\"{}\"", text.escape_debug()),
        Value::Char(_, letter) => format!("\"{}\"", letter.escape_debug()),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => number_to_json(*number).to_string(),
        Value::Empty(..) => "null".to_owned(),
        Value::Dict(..) => "a section".to_owned(),
        Value::Array(..) => "a list".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Dict {
        let Value::Dict(_, dict) = from_yaml(serde_yaml::from_str(text).unwrap()).unwrap() else {
            panic!("no map")
        };
        dict
    }

    #[test]
    fn json_keeps_types_and_order_of_lists() {
        let tree = tree("{a: [1, -2, 1.5, true, null, text], 224: x}");
        let json = to_json(&Value::from(tree));
        assert_eq!(json, serde_json::json!({"a": [1, -2, 1.5, true, null, "text"], "224": "x"}));
    }
}
