//! JSON (RFC 8259): parsing by `serde_json`; where each key stands by a walk over the text that it accepted.
//!
//! The walk also finds keys that stand twice, which `serde_json` would let pass: the last one would win, silently.
//! Called by the sources.

use figment::value::{Dict, Value};

use super::{Index, Lines, Mark, Parsed, SyntaxError, join};
use crate::config::tree;

/// Parses the text of a configuration file. Errors: anything but one object, or a key that stands twice in a section.
pub(crate) fn parse(text: &str) -> Parsed {
    if text.trim().is_empty() {
        return Err(SyntaxError::empty_file());
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| syntax_error(text, &error))?;
    finish(text, 0, &value)
}

/// Parses the object that is the value of the key `daemon`, whatever stands around it.
pub(crate) fn parse_daemon_section(text: &str) -> Parsed {
    let Some(start) = daemon_section(text) else { return Ok((Dict::new(), Index::default())) };
    let rest = text.get(start..).unwrap_or_default();
    let Some(Ok(value)) = serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>().next()
    else {
        let mark = Lines::new(text).mark(start);
        return Err(SyntaxError::at(mark, "the section daemon cannot be read"));
    };
    let (dict, found) = finish(text, start, &value)?;
    let mut index = Index::default();
    index.complete_below("daemon", found);
    Ok((Dict::from([("daemon".to_owned(), Value::from(dict))]), index))
}

/// The tree of an object that stands at `start` of the text.
fn finish(text: &str, start: usize, value: &serde_json::Value) -> Parsed {
    let serde_json::Value::Object(entries) = value else {
        let reason =
            format!("the file holds {}, not keys with values", tree::describe(&tree::from_json(value)));
        let hint = Some("a configuration begins with a key such as {\"tcp\": {");
        return Err(SyntaxError { at: None, reason, hint });
    };
    let mut walk = Walk { text, lines: Lines::new(text), at: start, index: Index::default(), twice: None };
    // None where the text ends too early, which serde_json has seen already.
    let _ = walk.value("");
    match walk.twice {
        Some((mark, key)) => {
            Err(SyntaxError::at(mark, format!("the key {key} stands twice in this section"))
                .with_hint("keep one of the two"))
        }
        None => Ok((tree::dict_of_json(entries), walk.index)),
    }
}

fn syntax_error(text: &str, error: &serde_json::Error) -> SyntaxError {
    let full = error.to_string();
    // serde_json ends its message with the position, which is shown in front here.
    let reason = full.split(" at line ").next().unwrap_or(&full).to_owned();
    let mark = Lines::new(text).of_bytes(error.line(), error.column());
    let line = text.lines().nth(mark.line.saturating_sub(1)).unwrap_or_default().trim_start();
    let hint = if line.starts_with("//") || line.starts_with("/*") || line.starts_with('#') {
        Some("JSON has no comments; YAML and INI have")
    } else if reason.contains("trailing comma") {
        Some("no comma goes behind the last entry")
    } else if reason.contains("key must be a string") || (reason == "expected value" && line.contains('\'')) {
        Some("keys and texts stand in double quotes")
    } else if reason.starts_with("EOF") {
        Some("a bracket or a quote is not closed")
    } else {
        None
    };
    SyntaxError { at: Some(mark), reason, hint }
}

/// Where the object behind the key `daemon` begins: in the outermost object, else wherever there is one.
fn daemon_section(text: &str) -> Option<usize> {
    let (mut depth, mut first, mut at) = (0_usize, None, 0);
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let end = end_of_string(text, at)?;
                let object = (text.get(at..end)? == "\"daemon\"").then(|| object_behind(text, end)).flatten();
                if depth == 1 && object.is_some() {
                    return object;
                }
                first = first.or(object);
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    first
}

/// Where an object begins behind `: `.
fn object_behind(text: &str, end: usize) -> Option<usize> {
    let rest = text.get(end..)?;
    let behind = rest.trim_start().strip_prefix(':')?.trim_start();
    behind.starts_with('{').then_some(text.len() - behind.len())
}

/// The offset behind the string that begins at `start`.
fn end_of_string(text: &str, start: usize) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(start + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A walk over JSON that is in order; nested no deeper than `serde_json` goes (128).
struct Walk<'t> {
    text: &'t str,
    lines: Lines<'t>,
    at: usize,
    index: Index,
    /// The first key that stands twice.
    twice: Option<(Mark, String)>,
}

impl Walk<'_> {
    fn value(&mut self, path: &str) -> Option<()> {
        match self.next()? {
            b'{' => self.entries(b'}', |walk| walk.entry(path)),
            b'[' => {
                let mut position = 0;
                self.entries(b']', |walk| {
                    let path = format!("{path}[{position}]");
                    position += 1;
                    walk.next()?;
                    walk.index.set(path.clone(), walk.lines.mark(walk.at));
                    walk.value(&path)
                })
            }
            b'"' => {
                self.at = end_of_string(self.text, self.at)?;
                Some(())
            }
            _ => {
                let rest = self.text.get(self.at..)?;
                let ends = |c: char| c.is_ascii_whitespace() || [',', ']', '}'].contains(&c);
                self.at += rest.find(ends).unwrap_or(rest.len());
                Some(())
            }
        }
    }

    /// Everything between an opening bracket, which is next, and `end`.
    fn entries(&mut self, end: u8, mut entry: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        while self.next()? != end {
            entry(self)?;
            if self.next()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Some(())
    }

    fn entry(&mut self, path: &str) -> Option<()> {
        self.next()?;
        let (start, end) = (self.at, end_of_string(self.text, self.at)?);
        let written = self.text.get(start..end)?;
        let name: String = serde_json::from_str(written).ok()?;
        let key = join(path, &name);
        let key_mark = self.lines.mark(start);
        if self.index.has(&key) && self.twice.is_none() {
            self.twice = Some((key_mark, written.to_owned()));
        }
        self.at = end;
        self.next()?;
        // The colon.
        self.at += 1;
        // A section is found at its key, a value at the value itself, which may stand lower.
        let bare = !matches!(self.next()?, b'{' | b'[' | b'n');
        self.index.set(key.clone(), if bare { self.lines.mark(self.at) } else { key_mark });
        self.value(&key)
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, key: &str) -> (usize, usize) {
        let (_, index) = parse(text).unwrap();
        index.nearest(key).map(|mark| (mark.line, mark.column)).unwrap_or_default()
    }

    fn refusal(text: &str) -> (usize, usize, String, &'static str) {
        let error = parse(text).unwrap_err();
        let mark = error.at.unwrap_or(Mark { line: 0, column: 0 });
        (mark.line, mark.column, error.reason, error.hint.unwrap_or_default())
    }

    #[test]
    fn every_key_is_found() {
        let text = "{\n\t\"tcp\": {\"port\": 1, \"address\": [\n\t\"a\", {\"x\": {}}]},\n \"ü\\u0041\\\"\":\n  null, \"z\": 5}";
        assert_eq!(place(text, "tcp"), (2, 2));
        assert_eq!(place(text, "tcp.port"), (2, 18));
        assert_eq!(place(text, "tcp.address"), (2, 21));
        assert_eq!(place(text, "tcp.address[0]"), (3, 2));
        assert_eq!(place(text, "tcp.address[1].x"), (3, 8));
        assert_eq!(place(text, "üA\""), (4, 2));
        assert_eq!(place(text, "z"), (5, 14));
        assert_eq!(place(text, "tcp.missing"), (2, 2), "the section around a missing key");
    }

    #[test]
    fn key_that_stands_twice_is_refused_at_its_second_place() {
        let hint = "keep one of the two";
        let expected = (2, 19, "the key \"port\" stands twice in this section".to_owned(), hint);
        assert_eq!(refusal("{\"tcp\":\n {\"port\": 1, \"a\": \"port\", \"port\": 2}}").0, 2);
        assert_eq!(refusal("{\"tcp\":\n {\"port\": {\"x\":1},\"port\": 2}}"), expected);
        assert_eq!(refusal("{\"a\\u0062\": 1, \"ab\": 2}").2, "the key \"ab\" stands twice in this section");
        assert!(parse("{\"a\": {\"x\": 1}, \"b\": {\"x\": 1}}").is_ok());
    }

    #[test]
    fn mistakes_have_their_place_and_a_hint() {
        let comments = "JSON has no comments; YAML and INI have";
        assert_eq!(refusal("{\n  // no\n  \"a\": 1}"), (2, 3, "key must be a string".into(), comments));
        assert_eq!(
            refusal("{\"ä\": 1,}"),
            (1, 9, "trailing comma".into(), "no comma goes behind the last entry")
        );
        assert_eq!(refusal("{\"a\": 1").3, "a bracket or a quote is not closed");
        assert_eq!(refusal("{'a': 1}").3, "keys and texts stand in double quotes");
        assert_eq!(refusal("[1]").2, "the file holds a list, not keys with values");
        assert_eq!(refusal(" \n").2, "the file is empty");
        let deep = format!("{{\"a\": {}", "[".repeat(100_000));
        assert!(refusal(&deep).2.contains("recursion limit"));
    }

    #[test]
    fn daemon_section_is_found_in_a_broken_file() {
        let text = "{\"x\": {\"daemon\": {\"no\": 1}},\n \"facility\": \"daemon\", \"daemon\": {\"user\": \"me\"},\n \"tcp\": oops";
        let (dict, index) = parse_daemon_section(text).unwrap();
        let said = tree::to_json(&Value::from(dict));
        assert_eq!(said, serde_json::json!({"daemon": {"user": "me"}}));
        assert_eq!(index.nearest("daemon.user").map(|mark| mark.line), Some(2));
        assert!(parse_daemon_section("{\"a\" 1").unwrap().0.is_empty());
        assert!(parse_daemon_section("{\"daemon\": {\"user\" 1}}").is_err());
    }
}
