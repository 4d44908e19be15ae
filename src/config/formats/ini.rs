//! INI: sections are dotted paths, `[dhcp.subnets.lan.pools.main]`, and keys stand below them.
//!
//! ```ini
//! [tcp]
//! port = 8888                          ; comments begin with ; or #
//! address = 127.0.0.1, "::1"           # a list
//! [dhcp.classes.phones]
//! match.any = [{vendor-class: "snom*"}, {mac: "00:04:13:*"}]
//! ```
//!
//! A key may be a dotted path too. A value is nothing at all or `null`; a word, a number, `true`, `false` or text; a list
//! with commas between such; or, from a `{` or `[` on, whatever YAML can say between brackets, over several lines if need
//! be. Quotes make text of anything. So everything that YAML can say can be said, and nothing can be said twice.
//! Called by the sources; values are read in `values`.

mod values;

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::{Index, Lines, Mark, Parsed, SyntaxError, only_lines};

/// Parses the text of a configuration file. Errors: a line that is neither section, key nor comment; what is said twice.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut file = File {
        lines: Lines::new(text),
        text,
        tree: Dict::new(),
        index: Index::default(),
        said: BTreeMap::new(),
    };
    let mut section: Vec<String> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let end = end_of_line(text, at);
        let line = text.get(at..end).unwrap_or_default();
        let start = at + (line.len() - line.trim_start().len());
        match line.trim_start().chars().next() {
            None | Some('#' | ';') => at = end + 1,
            Some('[') => {
                section = file.section(start, end)?;
                at = end + 1;
            }
            Some(_) => at = file.entry(&section, start, end)? + 1,
        }
    }
    if file.said.is_empty() { Err(SyntaxError::empty_file()) } else { Ok((file.tree, file.index)) }
}

/// Parses the sections `daemon` and those within it, whatever stands around them.
pub(crate) fn parse_daemon_section(text: &str) -> Parsed {
    let mut inside = false;
    let section = only_lines(text, |line| {
        if let Some(header) = line.trim_start().strip_prefix('[') {
            let name = header.trim_start_matches([' ', '"']);
            inside = name.strip_prefix("daemon").is_some_and(|rest| rest.starts_with([']', '.', '"', ' ']));
        }
        inside
    });
    if section.trim().is_empty() { Ok((Dict::new(), Index::default())) } else { parse(&section) }
}

fn end_of_line(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |length| at + length)
}

/// A comment, which must stand alone or behind a space.
fn is_comment(text: &str) -> bool {
    text.is_empty() || text.starts_with(['#', ';'])
}

/// What was said at a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// A section that only others within it were named of.
    Around,
    Section,
    Value,
}

struct File<'t> {
    text: &'t str,
    lines: Lines<'t>,
    tree: Dict,
    index: Index,
    said: BTreeMap<String, (Said, Mark)>,
}

impl File<'_> {
    /// Reads the line of a section, which begins with its bracket; gives the path.
    fn section(&mut self, start: usize, end: usize) -> Result<Vec<String>, SyntaxError> {
        let mark = self.lines.mark(start);
        let line = self.text.get(start + 1..end).unwrap_or_default();
        let (path, length) = path(line, ']').map_err(|reason| {
            SyntaxError::at(mark, reason).with_hint("a section is written [dhcp.subnets.lan]")
        })?;
        let rest = line.get(length + 1..).unwrap_or_default();
        if !is_comment(rest.trim()) {
            let mark = self.lines.mark(end - rest.trim_start().len());
            return Err(
                SyntaxError::at(mark, "text follows the section's name").with_hint("begin a new line for it")
            );
        }
        self.say(&path, Said::Section, mark)?;
        self.insert(&path, Value::from(Dict::new()));
        Ok(path)
    }

    /// Reads the line of a key, which may go on below; gives the offset of its end.
    fn entry(&mut self, section: &[String], start: usize, end: usize) -> Result<usize, SyntaxError> {
        let mark = self.lines.mark(start);
        let line = self.text.get(start..end).unwrap_or_default();
        let (words, length) = path(line, '=').map_err(|reason| {
            SyntaxError::at(mark, reason)
                .with_hint("a value is written KEY = VALUE, a section [NAME], a comment # TEXT")
        })?;
        let path = [section, &words].concat();
        self.say(&path, Said::Value, mark)?;
        let value = values::read(self.text, start + length + 1, &self.lines)?;
        let key = path.join(".");
        self.index.set(key.clone(), value.at.unwrap_or(mark));
        for (position, mark) in value.items.into_iter().enumerate() {
            self.index.set(format!("{key}[{position}]"), mark);
        }
        if let (Some(within), Some(at)) = (value.within, value.at) {
            self.index.complete_within(&key, at, within);
        }
        self.insert(&path, value.value);
        Ok(value.end)
    }

    /// Notes that something is said at `path`. Errors: that was said before, or a section around it is a value.
    fn say(&mut self, path: &[String], what: Said, mark: Mark) -> Result<(), SyntaxError> {
        let twice = |key: &str, before: Mark| {
            let reason = format!("{key} has been given in line {} already", before.line);
            Err(SyntaxError::at(mark, reason).with_hint("keep one of the two"))
        };
        for length in 1..path.len() {
            let around = path.get(..length).unwrap_or_default().join(".");
            match self.said.get(&around) {
                Some((Said::Value, before)) => return twice(&around, *before),
                Some((Said::Section | Said::Around, _)) => {}
                None => {
                    self.index.set(around.clone(), mark);
                    self.said.insert(around, (Said::Around, mark));
                }
            }
        }
        let key = path.join(".");
        match self.said.get(&key) {
            Some((Said::Around, _)) if what == Said::Section => {}
            Some((_, before)) => return twice(&key, *before),
            None => {}
        }
        self.index.set(key.clone(), mark);
        self.said.insert(key, (what, mark));
        Ok(())
    }

    /// Puts a value into the tree; an empty section makes no difference to one that is there. The sections around it
    /// are no values, as `say` has seen.
    fn insert(&mut self, path: &[String], value: Value) {
        let Some((name, around)) = path.split_last() else { return };
        let mut dict = &mut self.tree;
        for word in around {
            let section = dict.entry(word.clone()).or_insert_with(|| Value::from(Dict::new()));
            let Value::Dict(_, inner) = section else { return };
            dict = inner;
        }
        match value {
            Value::Dict(_, ref inner) if inner.is_empty() => {
                dict.entry(name.clone()).or_insert(value);
            }
            value => {
                dict.insert(name.clone(), value);
            }
        }
    }
}

/// The words of a dotted path that ends with `end`, and where that is. A word in quotes may hold anything. Errors: the
/// reason.
fn path(line: &str, end: char) -> Result<(Vec<String>, usize), String> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        let rest = line.get(at..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start().len();
        let rest = rest.trim_start();
        at += blank;
        let word = if let Some(quote) = rest.chars().next().filter(|first| ['"', '\''].contains(first)) {
            let inner = rest.get(1..).unwrap_or_default();
            let length = inner.find(quote).ok_or("a quote is not closed")?;
            at += length + 2;
            inner.get(..length).unwrap_or_default()
        } else {
            let length = rest.find(['.', end]).unwrap_or(rest.len());
            at += length;
            rest.get(..length).unwrap_or_default().trim_end()
        };
        let behind = line.get(at..).unwrap_or_default();
        at += behind.len() - behind.trim_start().len();
        if word.is_empty() {
            return Err(format!(
                "there is no name before the {}",
                behind.trim_start().chars().next().unwrap_or(end)
            ));
        }
        words.push(word.to_owned());
        match behind.trim_start().chars().next() {
            Some('.') => at += 1,
            Some(other) if other == end => return Ok((words, at)),
            Some(_) => return Err("text follows the closing quote of a name".to_owned()),
            None => return Err(format!("there is no {end} in this line")),
        }
    }
}

#[cfg(test)]
mod tests;
