//! Writes a configuration as YAML: sections indented, every value on one line, where wanted with its origin behind it.
//!
//! What is written is read as the same configuration again, whatever text stands in it. Used by `config show`.

use serde_json::{Map, Value as Json};

use super::document::Document;
use super::report::Place;
use super::schema::{Meanings, rank};

/// Where the comments with origins begin, in characters.
const COMMENTS_AT: usize = 44;

impl Document {
    /// The configuration as YAML, in the order of the documentation; with `origins`, a comment behind each value
    /// tells where it was said.
    pub fn to_yaml(&self, origins: bool) -> String {
        let mut page = Page { document: self, origins, meanings: Meanings::new(), text: String::new() };
        page.section(&self.values, &mut Vec::new());
        page.text
    }
}

struct Page<'a> {
    document: &'a Document,
    origins: bool,
    meanings: Meanings,
    text: String,
}

impl Page<'_> {
    fn section(&mut self, section: &Map<String, Json>, words: &mut Vec<String>) {
        let mut keys: Vec<(usize, &String, &Json)> = Vec::new();
        for (key, value) in section {
            words.push(key.clone());
            keys.push((rank(&self.meanings, words), key, value));
            words.pop();
        }
        keys.sort_by_key(|(rank, ..)| *rank);
        for (_, key, value) in keys {
            let indent = "  ".repeat(words.len());
            words.push(key.clone());
            let origin = self.document.origins.get(&words.join("."));
            match value {
                Json::Object(inner) if origin.is_none() && !inner.is_empty() => {
                    self.text += &format!("{indent}{}:\n", scalar(key));
                    self.section(inner, words);
                }
                value => {
                    let line = format!("{indent}{}: {}", scalar(key), flow(value));
                    match origin.filter(|_| self.origins) {
                        Some(origin) => self.text += &format!("{line:COMMENTS_AT$}  # {}\n", comment(origin)),
                        None => self.text += &format!("{line}\n"),
                    }
                }
            }
            words.pop();
        }
    }
}

fn comment(origin: &Place) -> String {
    let text = match origin {
        Place::Default => "default".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() || is_break(c) { '\u{fffd}' } else { c }).collect()
}

/// A value on one line.
fn flow(value: &Json) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => scalar(text),
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{}: {}", scalar(key), flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Text as YAML, in quotes wherever some reader of YAML might take it for something else.
pub fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            c if c.is_control() || is_break(c) => quoted += &format!("\\U{:08X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Line and paragraph separators, marks of byte order, and what YAML does not allow (YAML 1.2.2 §5.1).
fn is_break(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether text means itself without quotes, also in YAML 1.1 with its `yes`, `0b1`, `1_000` and `12:30:45`.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    let number_like = text.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(allowed)
        && !text.ends_with(':')
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
        && (!number_like || is_plain_number_like(text))
}

/// What begins like a number and is plain all the same: durations, sizes, addresses, networks, ranges, ports.
fn is_plain_number_like(text: &str) -> bool {
    let dots = text.matches('.').count();
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let quantity = ["w", "d", "h", "m", "s", "ms", "us", "MiB", "GiB"].contains(&unit);
    quantity || (dots >= 3 && text.chars().all(|c| c.is_ascii_digit() || "./-:".contains(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_could_be_something_else_stands_in_quotes() {
        for plain in
            ["abc", "5m", "150ms", "1GiB", "10.0.0.0/24", "10.0.0.1-10.0.0.9", "127.0.0.1:9167", "/a/b.c"]
        {
            assert_eq!(scalar(plain), plain);
        }
        for quoted in [
            "",
            " ",
            "~",
            "null",
            "Yes",
            "OFF",
            "1",
            "0x0a",
            "0b1",
            "0o7",
            "1_0",
            "1e3",
            ".5",
            "-1",
            "00:11:22",
            "::1",
            "2026-11-22",
            "12:30:45",
            "a: b",
            "a #b",
            "#",
            "- a",
            "*",
            "&a",
            "!x",
            "%",
            "@",
            "`",
            "a,b",
            "[",
            "{",
            "'",
            "a:",
            "é",
            "1.5.2",
        ] {
            assert!(scalar(quoted).starts_with('"'), "{quoted}");
        }
    }

    #[test]
    fn any_text_is_read_as_itself() {
        let hostile =
            "\u{0}\u{7}\t\n\r\u{1b}\u{7f}\u{85}\u{a0}\u{2028}\u{feff}\u{fffe}é\"\\'#: {}[],&*!|>%@`";
        let all: Vec<String> = hostile.chars().map(String::from).chain([hostile.to_owned()]).collect();
        for text in all {
            let yaml = format!("[{}, {{{}: 1}}]", scalar(&text), scalar(&text));
            let read: Json = serde_yaml::from_str(&yaml).unwrap_or_else(|error| panic!("{error}: {yaml:?}"));
            assert_eq!(read, serde_json::json!([text, {text: 1}]));
        }
    }

    #[test]
    fn origins_stand_behind_the_values_and_break_no_line() {
        let mut document = Document::default();
        document.values.insert("tcp".to_owned(), serde_json::json!({"port": 9000, "enabled": true}));
        let flag = "tcp.port=\n9000".to_owned();
        document.origins.insert("tcp.port".to_owned(), Place::Set { index: 0, flag });
        document.origins.insert("tcp.enabled".to_owned(), Place::Default);
        assert_eq!(
            document.to_yaml(true),
            "tcp:\n  enabled: true                               # default\n\
             \x20 port: 9000                                  # --set tcp.port=\u{fffd}9000\n"
        );
        assert_eq!(document.to_yaml(false), "tcp:\n  enabled: true\n  port: 9000\n");
    }
}
