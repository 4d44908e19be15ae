//! Reads one configuration file: bytes, text, tree, and where each key stands.
//!
//! Owns every reason for which a file as a whole is refused; knows no key. Called by the sources.

use std::io::ErrorKind;
use std::path::Path;

use daemon_utils::state_file;
use figment::value::Dict;

use super::formats::{Format, SyntaxError};
use super::places::FileText;
use super::report::{Place, Problem, Report};
use super::sources::{Extent, FILE_VARIABLE};
use super::spelling::{self, Alias};

/// Largest configuration file, in bytes; more is taken for a wrong path such as a device.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the file `path`, which messages call `name`, or a part of it; the file is left alone where its `text` is given.
/// Errors: it cannot be opened, read or understood as a whole.
pub(super) fn read(
    name: &Path,
    path: &Path,
    text: Option<&str>,
    extent: Extent,
) -> Result<(Dict, FileText), Report> {
    let format = Format::of(name).map_err(|reason| {
        let hint = "name a file ending in .yaml, .yml, .json, .ini or .conf";
        Report::from(Problem::of_file(name, reason).with_hint(hint))
    })?;
    let text = text.map_or_else(|| read_text(name, path), |text| Ok(text.to_owned()))?;
    let parsed = match extent {
        Extent::Whole => format.parse(&text),
        Extent::DaemonSection => format.parse_daemon_section(&text),
    };
    let (mut dict, index) = parsed.map_err(|error| syntax_problem(name, &text, error))?;
    let mut file = FileText::new(name.to_owned(), &text, index);
    let mut twins = Vec::new();
    for Alias { written, key, doubled } in spelling::rename_aliases(&mut dict) {
        if doubled {
            let problem = file.problem(&written, format!("{key} says the same thing and is given too"));
            twins.push(problem.with_hint("keep one of the two"));
        } else {
            file.index.alias(&written, &key);
        }
    }
    if !twins.is_empty() {
        return Err(Report::new(twins));
    }
    spelling::spell_out_lease_times(&mut dict);
    Ok((dict, file))
}

fn syntax_problem(name: &Path, text: &str, error: SyntaxError) -> Problem {
    let mut problem = Problem::of_file(name, error.reason);
    if let Some(mark) = error.at {
        problem.place = Place::File { file: name.into(), line: Some(mark.line), column: Some(mark.column) };
        problem.text = text.lines().nth(mark.line.saturating_sub(1)).map(str::to_owned);
    }
    problem.hint = error.hint.map(str::to_owned);
    problem
}

fn read_text(name: &Path, path: &Path) -> Result<String, Report> {
    let failed = |what: &str, error: std::io::Error| {
        let problem = Problem::of_file(name, format!("{what}: {}", plain(&error)));
        if error.kind() == ErrorKind::NotFound {
            return problem
                .with_hint(format!("name the configuration file with -c FILE or in ${FILE_VARIABLE}"));
        }
        problem
    };
    let mut bytes = state_file::read_regular(path, FILE_MAX_BYTES + 1).map_err(|error| {
        if error.kind() == ErrorKind::InvalidData {
            return Problem::of_file(name, error.to_string().replacen("it is", "this is", 1));
        }
        failed("the file could not be read", error)
    })?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(Problem::of_file(name, format!("the file is larger than {FILE_MAX_BYTES} bytes")).into());
    }
    // Some editors put a byte order mark in front.
    let marked = bytes.starts_with(BYTE_ORDER_MARK);
    let bytes = if marked { bytes.split_off(BYTE_ORDER_MARK.len()) } else { bytes };
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        let mut problem = Problem::of_file(name, "the file is not UTF-8 text");
        problem.place = Place::File { file: name.into(), line: Some(line), column: None };
        problem.with_hint("save it as UTF-8").into()
    })
}

/// The reason without the number that the standard library adds.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
