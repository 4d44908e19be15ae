//! Problems found in a configuration, and how they are shown.
//!
//! Owns the wording around a problem (place, line, hint), not the reasons themselves. Made by every part of the
//! loader and, through
//! [`ConfigManager::load_with`](super::ConfigManager::load_with), by higher layers; printed by the commands.

use std::fmt;
use std::path::PathBuf;

use daemon_utils::log::harmless;
use serde::{Deserialize, Serialize};

/// Longest piece of an offending line that is shown, in characters.
const LINE_SHOWN: usize = 160;

/// How grave a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used, but an operator should look at it.
    Warning,
}

/// Where a value was said. The order is the order in which problems are printed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "lowercase")]
pub enum Place {
    /// In the configuration file.
    File {
        /// The file as it was named by the user.
        file: PathBuf,
        /// Line, counted from 1; none: the file as a whole.
        line: Option<usize>,
        /// Column in characters, counted from 1.
        column: Option<usize>,
    },
    /// On the command line, by `--set`.
    Set {
        /// Which `--set` it was, counted from 0.
        index: usize,
        /// What followed `--set`.
        flag: String,
    },
    /// In the environment.
    Environment {
        /// Name of the variable.
        variable: String,
    },
    /// In the overlay of the runtime API.
    Api,
    /// Nowhere: a built-in default, or a value that is missing.
    Default,
}

/// One thing that is wrong, or looks wrong, in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How grave it is.
    pub severity: Severity,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// The dotted key; empty where the problem belongs to no key.
    pub key: String,
    /// What is wrong: lower case, no full stop.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The offending line of the file.
    pub text: Option<String>,
}

impl Problem {
    /// A problem that belongs to no line and no key of a file, such as a file that cannot be opened.
    pub fn of_file(file: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: Place::File { file: file.into(), line: None, column: None },
            key: String::new(),
            reason: reason.into(),
            hint: None,
            text: None,
        }
    }

    /// The same problem with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same problem as a warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: Some(line), .. } => write!(f, "{}:{line}", file.display()),
            Self::File { file, line: None, .. } => write!(f, "{}", file.display()),
            Self::Set { flag, .. } => write!(f, "--set {flag}"),
            Self::Environment { variable } => write!(f, "${variable}"),
            Self::Api => f.write_str("runtime API"),
            Self::Default => f.write_str("built-in default"),
        }
    }
}

impl fmt::Display for Problem {
    /// Nothing in it steers a terminal, whatever the keys of a file or the names of variables hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", harmless(&self.place.to_string()))?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", harmless(&self.key))?;
        }
        f.write_str(&harmless(&self.reason))?;
        if let (Place::File { line: Some(line), .. }, Some(text)) = (&self.place, &self.text) {
            write!(f, "\n    {line} | {}", shown(text))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", harmless(hint))?;
        }
        Ok(())
    }
}

/// A line of the file, cut to a length that fits a terminal and without control characters.
fn shown(text: &str) -> String {
    let text = text.trim_end();
    let clean = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let mut line: String = text.chars().take(LINE_SHOWN).map(clean).collect();
    if text.chars().count() > LINE_SHOWN {
        line.push('…');
    }
    line
}

/// Every problem of a configuration that was refused, warnings included, in the order of their places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The problems; at least one is an error.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Sorts `problems` by place, then key, and leaves out repetitions.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (&a.place, &a.key).cmp(&(&b.place, &b.key)));
        problems.dedup();
        Self { problems }
    }
}

impl Report {
    /// The errors alone: why something was refused.
    #[must_use]
    pub fn errors(mut self) -> Self {
        self.problems.retain(|problem| problem.severity == Severity::Error);
        self
    }
}

impl From<Problem> for Report {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        let mut problem = Problem::of_file("a.yaml", "70000 is not a port").with_hint("choose another");
        problem.place = Place::File { file: "a.yaml".into(), line: Some(12), column: Some(3) };
        problem.key = "tcp.port".into();
        problem.text = Some("  port: 70000 ".into());
        problem
    }

    #[test]
    fn shows_place_key_reason_line_and_hint() {
        let expected =
            "a.yaml:12: tcp.port: 70000 is not a port\n    12 |   port: 70000\n  hint: choose another";
        assert_eq!(problem().to_string(), expected);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut bad = problem();
        bad.text = Some("x: \u{1b}[31m".into());
        bad.key = "\u{1b}]0;title\u{7}\u{202e}".into();
        bad.reason = "\u{9b}2J".into();
        assert!(!bad.to_string().contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{9b}']), "{bad}");
    }

    #[test]
    fn json_has_place_and_reason_side_by_side() {
        let json = serde_json::to_value(problem()).unwrap();
        assert_eq!(
            (&json["source"], &json["line"], &json["severity"]),
            (&"file".into(), &12.into(), &"error".into())
        );
    }

    #[test]
    fn sorts_by_place() {
        let mut later = problem();
        later.place = Place::Set { index: 0, flag: "tcp.port=1".into() };
        let report = Report::new(vec![later.clone(), problem()]);
        assert_eq!(report.problems, vec![problem(), later]);
    }
}
