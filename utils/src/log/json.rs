//! The JSON form of a record: one object on one line, for log shippers. Pure but for the time zone.

use std::fmt::Write;

use serde::Serializer as _;
use serde::ser::SerializeMap;

use super::frame::{Field, Record};
use super::text::{Clock, is_hostile};

const OWN_KEYS: [&str; 6] = ["time", "level", "pid", "process", "event", "message"];

/// Writes records as lines of JSON.
#[derive(Debug, Default)]
pub struct JsonFormat {
    clock: Clock,
    stamp: String,
}

impl JsonFormat {
    /// Appends the record's line, with its line feed.
    ///
    /// Keys: `time` (RFC 3339 with milliseconds and offset), `level`, `pid`, `process`, `event` (empty where
    /// there is none), `message`, then the fields in order. A field named like one of these gets a `_` behind.
    pub fn line(&mut self, record: &Record, out: &mut String) {
        self.stamp.clear();
        self.clock.stamp(record.time, &mut self.stamp);
        let start = out.len();
        let mut bytes = Vec::with_capacity(256);
        // Writing strings and numbers into memory cannot fail; were it to, the line would be left out whole.
        if object(record, &self.stamp, &mut bytes).is_err() {
            return;
        }
        match String::from_utf8(bytes) {
            // serde_json escapes C0 only. The others stand in strings, where an escape means the same.
            Ok(text) if text.contains(is_hostile) => text.chars().for_each(|c| {
                if is_hostile(c) {
                    // RFC 8259 §7: beyond the first plane as a surrogate pair.
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                } else {
                    out.push(c);
                }
            }),
            Ok(text) => out.push_str(&text),
            Err(_) => return,
        }
        debug_assert!(out.len() > start);
        out.push('\n');
    }
}

fn object(record: &Record, stamp: &str, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut serializer = serde_json::Serializer::new(bytes);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("time", stamp)?;
    map.serialize_entry("level", record.level.as_str())?;
    map.serialize_entry("pid", &record.pid)?;
    map.serialize_entry("process", &record.process)?;
    map.serialize_entry("event", &record.event)?;
    map.serialize_entry("message", &record.message)?;
    for (index, field) in record.fields.iter().enumerate() {
        // A key twice would make the object ambiguous (RFC 8259 §4): the first one counts.
        let repeated = record.fields.iter().take(index).any(|earlier| earlier.key == field.key);
        if repeated {
            continue;
        }
        if OWN_KEYS.contains(&field.key.as_ref()) {
            let renamed = format!("{}_", field.key);
            if !record.fields.iter().any(|other| other.key == renamed) {
                entry(&mut map, &renamed, field)?;
            }
        } else {
            entry(&mut map, &field.key, field)?;
        }
    }
    map.end()
}

fn entry<M: SerializeMap>(map: &mut M, key: &str, field: &Field) -> Result<(), M::Error> {
    if field.literal {
        // What claims to be a literal is checked: it may come from a process that was taken over.
        if let Ok(value @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) =
            serde_json::from_str(&field.value)
        {
            return map.serialize_entry(key, &value);
        }
    }
    map.serialize_entry(key, &field.value)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use log::Level;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn record(message: &str, fields: &[(&'static str, &str, bool)]) -> Record<'static> {
        Record {
            time: UNIX_EPOCH + Duration::from_millis(1_795_258_800_123),
            level: Level::Warn,
            pid: 7,
            process: "udp".into(),
            target: "x".into(),
            event: "STATS".into(),
            message: message.to_owned().into(),
            fields: fields
                .iter()
                .map(|&(key, value, literal)| Field {
                    key: key.into(),
                    value: value.to_owned().into(),
                    literal,
                })
                .collect(),
        }
    }

    fn parsed(record: &Record) -> (String, Value) {
        let mut line = String::new();
        JsonFormat::default().line(record, &mut line);
        let value = serde_json::from_str(&line).unwrap();
        (line, value)
    }

    #[test]
    fn object_has_the_documented_keys_and_types() {
        let (line, value) = parsed(&record("hello", &[("count", "12", true), ("peer", "a:1", false)]));
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        assert_eq!(value["level"], "WARN");
        assert_eq!(value["pid"], 7);
        assert_eq!(value["process"], "udp");
        assert_eq!(value["event"], "STATS");
        assert_eq!(value["message"], "hello");
        assert_eq!(value["count"], 12);
        assert_eq!(value["peer"], "a:1");
        let time = chrono::DateTime::parse_from_rfc3339(value["time"].as_str().unwrap()).unwrap();
        assert_eq!(time.timestamp_millis(), 1_795_258_800_123);
    }

    #[test]
    fn fields_never_hide_the_record_or_each_other() {
        let (line, value) = parsed(&record(
            "m",
            &[("pid", "1", true), ("a", "1", false), ("a", "2", false), ("b", "{}", true)],
        ));
        assert_eq!(value["pid"], 7);
        assert_eq!(value["pid_"], 1);
        assert_eq!(value["a"], "1");
        assert_eq!(value["b"], "{}");
        assert_eq!(line.matches("\"a\"").count(), 1);
    }

    #[test]
    fn hostile_characters_are_escaped_and_come_back() {
        let text = "a\u{1b}\u{9b}\u{200b}\u{202e}\u{2066}\u{e0041}b";
        let (line, value) = parsed(&record(text, &[("k", text, false)]));
        assert!(line.is_ascii() && !line.trim_end().contains(char::is_control), "{line}");
        assert_eq!((value["message"].as_str(), value["k"].as_str()), (Some(text), Some(text)));
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_no_control_character_stands_raw(message in any::<String>(), value in any::<String>()) {
            let (line, json) = parsed(&record(&message, &[("v", &value, false)]));
            prop_assert_eq!(json["message"].as_str().unwrap(), message);
            prop_assert_eq!(json["v"].as_str().unwrap(), value);
            prop_assert!(!line.trim_end_matches('\n').contains(is_hostile));
        }
    }
}
