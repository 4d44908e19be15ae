//! Reads one configuration file: bytes, text, tree, and where each key stands.
//!
//! Owns every reason for which a file as a whole is refused; knows no key. Called by the sources. JSON and INI will
//! be told apart here by the ending of the name.

use std::io::{ErrorKind, Read};
use std::path::Path;

use figment::value::Dict;

use super::formats::{SyntaxError, yaml};
use super::places::FileText;
use super::report::{Place, Problem, Report};
use super::sources::{Extent, FILE_VARIABLE};
use super::spelling::{self, Alias};

/// Largest configuration file, in bytes; more is taken for a wrong path such as a device.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Reads the file `path`, which messages call `name`, or a part of it; the file is left alone where its `text` is given.
/// Errors: it cannot be opened, read or understood as a whole.
pub(super) fn read(
    name: &Path,
    path: &Path,
    text: Option<&str>,
    extent: Extent,
) -> Result<(Dict, FileText), Report> {
    check_ending(name)?;
    let text = text.map_or_else(|| read_text(name, path), |text| Ok(text.to_owned()))?;
    match extent {
        Extent::Whole => read_whole(name, &text),
        Extent::DaemonSection => read_daemon_section(name, &text),
    }
}

fn read_whole(name: &Path, text: &str) -> Result<(Dict, FileText), Report> {
    let mut dict = yaml::parse(text).map_err(|error| syntax_problem(name, text, error))?;
    let mut file = FileText::new(name.to_owned(), text, yaml::index(text));
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

/// Reads the `daemon` section alone, for commands that must find a daemon although the rest of the file is no YAML. A
/// file without one says what the defaults say.
fn read_daemon_section(name: &Path, text: &str) -> Result<(Dict, FileText), Report> {
    let belongs = |line: &str| line.is_empty() || line.starts_with([' ', '\t', '#']);
    let from = text.lines().skip_while(|line| !line.starts_with("daemon:"));
    let mut section: Vec<&str> = from.clone().take(1).collect();
    section.extend(from.skip(1).take_while(|line| belongs(line)));
    let section = section.join("\n");
    let dict = match section.as_str() {
        "" => Dict::new(),
        section => yaml::parse(section).map_err(|error| syntax_problem(name, section, error))?,
    };
    Ok((dict, FileText::new(name.to_owned(), &section, yaml::index(&section))))
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

fn check_ending(name: &Path) -> Result<(), Report> {
    let reason = match name.extension().map(|ending| ending.to_string_lossy()) {
        Some(ending) if ending == "yaml" || ending == "yml" => return Ok(()),
        Some(ending) => format!("files ending in .{ending} cannot be read in this version"),
        None => "the file has no ending that tells its format".to_owned(),
    };
    Err(Problem::of_file(name, reason).with_hint("name a file ending in .yaml or .yml").into())
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
    let file = std::fs::File::open(path).map_err(|error| failed("the file could not be opened", error))?;
    if file.metadata().is_ok_and(|data| data.is_dir()) {
        return Err(Problem::of_file(name, "this is a folder, not a file").into());
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed("the file could not be read", error))?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(Problem::of_file(name, format!("the file is larger than {FILE_MAX_BYTES} bytes")).into());
    }
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
