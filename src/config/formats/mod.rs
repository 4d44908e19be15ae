//! The formats of a configuration file: text to tree, and where each key stands.
//!
//! One file per format; they know no key but `daemon`, and read no file. Called by the sources.

mod index;
mod ini;
mod json;
pub(super) mod yaml;

use std::path::Path;

use figment::value::Dict;

pub(super) use index::{Index, Lines, Mark};

/// A format, told by the ending of the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
    Ini,
}

/// The endings that are known.
const ENDINGS: [(&str, Format); 5] = [
    ("yaml", Format::Yaml),
    ("yml", Format::Yaml),
    ("json", Format::Json),
    ("ini", Format::Ini),
    ("conf", Format::Ini),
];

/// What a file says, and where.
pub(super) type Parsed = Result<(Dict, Index), SyntaxError>;

impl Format {
    /// The format of the file `name`. Errors: the reason why it cannot be told.
    pub(super) fn of(name: &Path) -> Result<Self, String> {
        let Some(ending) = name.extension().map(|ending| ending.to_string_lossy()) else {
            return Err("the file has no ending that tells its format".to_owned());
        };
        let known = ENDINGS.into_iter().find(|(known, _)| ending.eq_ignore_ascii_case(known));
        known.map(|(_, format)| format).ok_or_else(|| format!("files ending in .{ending} cannot be read"))
    }

    /// Parses the text of a file. Errors: anything but keys with values.
    pub(super) fn parse(self, text: &str) -> Parsed {
        match self {
            Self::Yaml => yaml::parse(text),
            Self::Json => json::parse(text),
            Self::Ini => ini::parse(text),
        }
    }

    /// Parses the section `daemon` alone, which is empty where it cannot be found. Errors: as `parse`, in that section.
    pub(super) fn parse_daemon_section(self, text: &str) -> Parsed {
        match self {
            Self::Yaml => yaml::parse_daemon_section(text),
            Self::Json => json::parse_daemon_section(text),
            Self::Ini => ini::parse_daemon_section(text),
        }
    }
}

/// Why a text is not a configuration in its format.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) at: Option<Mark>,
    pub(super) reason: String,
    pub(super) hint: Option<&'static str>,
}

impl SyntaxError {
    fn at(mark: Mark, reason: impl Into<String>) -> Self {
        Self { at: Some(mark), reason: reason.into(), hint: None }
    }

    fn with_hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    fn empty_file() -> Self {
        let hint = Some("examples to start from are config/config.yaml, config.json and config.ini");
        Self { at: None, reason: "the file is empty".to_owned(), hint }
    }
}

/// A key below a section.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The lines of `text` that `keep` wants, with empty ones in the place of the others, so that positions stay.
fn only_lines(text: &str, mut keep: impl FnMut(&str) -> bool) -> String {
    let lines = text.lines().map(|line| if keep(line) { line } else { "" });
    lines.collect::<Vec<_>>().join("\n")
}
