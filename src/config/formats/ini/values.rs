//! The values of an INI file: what stands behind `=`.
//!
//! Plain words become numbers, `true` and `false` only where they are written exactly as those are shown (`5`, not
//! `05`, `0x5` or `5.0`), so text that merely looks like a number to YAML stays text. Called by the INI reader.

use figment::value::{Empty, Num, Tag, Value};

use crate::config::formats::{Index, Lines, Mark, SyntaxError, yaml};

/// A value, and where it stands.
pub(super) struct Read {
    pub(super) value: Value,
    /// Where it begins; none where there is nothing.
    pub(super) at: Option<Mark>,
    /// Where the items of a list stand.
    pub(super) items: Vec<Mark>,
    /// Where the keys within a value in brackets stand, from its beginning on.
    pub(super) within: Option<Index>,
    /// Where its last line ends.
    pub(super) end: usize,
}

/// Reads the value that begins at `start`. Errors: quotes or brackets that are not closed, or hold what is no YAML.
pub(super) fn read(text: &str, start: usize, lines: &Lines<'_>) -> Result<Read, SyntaxError> {
    let end = super::end_of_line(text, start);
    let line = text.get(start..end).unwrap_or_default();
    let given = line.trim_start();
    let start = start + (line.len() - given.len());
    let mark = lines.mark(start);
    let spaced = line.len() > given.len();
    if given.is_empty() || (spaced && super::is_comment(given)) {
        let value = Value::Empty(Tag::Default, Empty::Unit);
        return Ok(Read { value, at: None, items: Vec::new(), within: None, end });
    }
    if given.starts_with(['{', '[']) {
        return brackets(text, start, lines);
    }
    let (mut items, commas) = items(given, |offset| lines.mark(start + offset))?;
    if commas == 0 && items.len() == 1 {
        let (value, _) = items.swap_remove(0);
        return Ok(Read { value, at: Some(mark), items: Vec::new(), within: None, end });
    }
    let (values, items): (Vec<Value>, Vec<Mark>) = items.into_iter().unzip();
    Ok(Read { value: Value::Array(Tag::Default, values), at: Some(mark), items, within: None, end })
}

/// The items of a line, and how many commas stand between and behind them.
fn items(line: &str, mark: impl Fn(usize) -> Mark) -> Result<(Vec<(Value, Mark)>, usize), SyntaxError> {
    let (mut items, mut commas, mut at) = (Vec::new(), 0, 0);
    loop {
        let rest = line.get(at..).unwrap_or_default();
        let given = rest.trim_start();
        let spaced = at == 0 || rest.len() > given.len();
        at += rest.len() - given.len();
        if given.is_empty() || (spaced && super::is_comment(given)) {
            // A comma at the end makes a list of one.
            return Ok((items, commas));
        }
        let (value, length) = if given.starts_with(['"', '\'']) {
            quoted(given, mark(at), |offset| mark(at + offset))?
        } else {
            let length = length_of_plain(given);
            (plain(given.get(..length).unwrap_or_default().trim_end()), length)
        };
        if length == 0 {
            let hint = "text that begins with a comma stands in quotes";
            return Err(SyntaxError::at(mark(at), "there is nothing before the comma").with_hint(hint));
        }
        items.push((value, mark(at)));
        at += length;
        match line.get(at..).unwrap_or_default().chars().next() {
            Some(',') => {
                at += 1;
                commas += 1;
            }
            _ => return Ok((items, commas)),
        }
    }
}

/// Up to a comma, or a comment behind a space.
fn length_of_plain(text: &str) -> usize {
    let mut spaced = false;
    for (at, letter) in text.char_indices() {
        if letter == ',' || (spaced && ['#', ';'].contains(&letter)) {
            return at;
        }
        spaced = letter.is_whitespace();
    }
    text.len()
}

/// A word or text without quotes.
fn plain(text: &str) -> Value {
    let tag = Tag::Default;
    match text {
        "null" => Value::Empty(tag, Empty::Unit),
        "true" => Value::Bool(tag, true),
        "false" => Value::Bool(tag, false),
        _ => match number(text) {
            Some(number) => Value::Num(tag, number),
            None => Value::String(tag, text.to_owned()),
        },
    }
}

/// A number that is shown as it is written.
fn number(text: &str) -> Option<Num> {
    fn exact<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
        text.parse().ok().filter(|number: &T| number.to_string() == text)
    }
    let digits = text.contains(|c: char| c.is_ascii_digit());
    exact::<u64>(text)
        .map(Num::U64)
        .or_else(|| exact::<i64>(text).map(Num::I64))
        .or_else(|| exact::<f64>(text).filter(|_| digits).map(Num::F64))
}

/// Text in quotes, which mean what they do in YAML; and its length with what follows, up to a comma or the end.
fn quoted(text: &str, start: Mark, mark: impl Fn(usize) -> Mark) -> Result<(Value, usize), SyntaxError> {
    let end = end_of_quotes(text).ok_or_else(|| SyntaxError::at(start, "the quote is not closed"))?;
    let value = yaml::value(text.get(..end).unwrap_or_default()).map_err(|error| within(error, start))?;
    let rest = text.get(end..).unwrap_or_default();
    let behind = rest.trim_start();
    let at = end + (rest.len() - behind.len());
    if behind.starts_with(',') || behind.is_empty() {
        return Ok((value, at));
    }
    if at > end && super::is_comment(behind) {
        return Ok((value, text.len()));
    }
    let hint = "put the whole text into the quotes; \\\" is a quote within \"…\"";
    Err(SyntaxError::at(mark(at), "text follows the closing quote").with_hint(hint))
}

/// The offset behind the closing quote of a text that begins with one.
fn end_of_quotes(text: &str) -> Option<usize> {
    let quote = text.bytes().next()?;
    let mut at = 1;
    while let Some(byte) = text.as_bytes().get(at) {
        if *byte == b'\\' && quote == b'"' {
            at += 1;
        } else if *byte == quote {
            // In single quotes, two of them are one.
            if quote == b'"' || text.as_bytes().get(at + 1) != Some(&quote) {
                return Some(at + 1);
            }
            at += 1;
        }
        at += 1;
    }
    None
}

fn within(error: SyntaxError, start: Mark) -> SyntaxError {
    let at = error.at.map_or(start, |mark| mark.behind(start));
    SyntaxError { at: Some(at), ..error }
}

/// A value in brackets, up to the end of the line in which the last one is closed.
fn brackets(text: &str, start: usize, lines: &Lines<'_>) -> Result<Read, SyntaxError> {
    let mark = lines.mark(start);
    let (given, length) = flow(text.get(start..).unwrap_or_default()).ok_or_else(|| {
        let open = text.get(start..).and_then(|rest| rest.chars().next()).unwrap_or('[');
        SyntaxError::at(mark, format!("the {open} that begins here is not closed"))
            .with_hint("text that begins with a bracket stands in quotes")
    })?;
    let behind = start + length;
    let end = super::end_of_line(text, behind);
    let rest = text.get(behind..end).unwrap_or_default();
    if !super::is_comment(rest.trim()) {
        let mark = lines.mark(end - rest.trim_start().len());
        return Err(SyntaxError::at(mark, "text follows the closing bracket"));
    }
    let value = yaml::value(&given).map_err(|error| within(error, mark))?;
    Ok(Read { value, at: Some(mark), items: Vec::new(), within: Some(yaml::index(&given)), end })
}

/// A value in brackets as YAML takes it, without comments and tabs, each replaced by spaces; and its length.
fn flow(text: &str) -> Option<(String, usize)> {
    let mut cleaned = String::new();
    let mut depth = 0_usize;
    // What came before: a space, and what else last.
    let (mut spaced, mut last) = (false, ',');
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let mut length = letter.len_utf8();
        match letter {
            '"' | '\'' if ['{', '[', ',', ':'].contains(&last) => {
                length = end_of_quotes(rest)?;
                cleaned.push_str(rest.get(..length)?);
            }
            '#' | ';' if spaced => {
                length = super::end_of_line(rest, 0);
                cleaned.extend(rest.get(..length)?.chars().map(|_| ' '));
            }
            '\t' => cleaned.push(' '),
            _ => cleaned.push(letter),
        }
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        rest = rest.get(length..)?;
        if depth == 0 {
            return Some((cleaned, text.len() - rest.len()));
        }
        spaced = letter.is_whitespace();
        if !spaced {
            last = letter;
        }
    }
    None
}
