//! `leases import FILE`: reads the file, checks every row, and writes all of them in one transaction.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::super::progress::Progress;
use super::super::say_json;
use super::{Done, Failure, become_owner, kea, write};
use crate::config::Config;
use crate::lease::Access;
use crate::lease::draft::{self, Draft, Flaw};
use crate::lease::transfer::Cells;
use crate::supervisor::say;

/// Some two million leases. What never ends, such as a device, is no file of leases.
const MOST_BYTES: u64 = 512 * 1024 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its format; else told by its name or its first character
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The outcome as JSON
    #[arg(long)]
    json: bool,
}

/// What a file of leases may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated, with a header line
    Csv,
    /// An array of objects
    Json,
}

impl Format {
    /// What messages call the place of a row.
    pub fn word(self) -> &'static str {
        match self {
            Self::Csv => "line",
            Self::Json => "entry",
        }
    }
}

/// Mistakes shown at most.
const SHOWN: usize = 20;

pub(super) fn run(config: &Config, args: &ImportArgs) -> Done {
    let file = args.file.display();
    let bytes = read(&args.file).map_err(|error| refused(format!("could not read \"{file}\": {error}")))?;
    let format = args.format.unwrap_or_else(|| guess(&args.file, &bytes));
    let word = format.word();
    let rows = rows(format, &bytes)
        .map_err(|mistake| refused(format!("\"{file}\": {mistake}\nnothing was imported")))?;
    become_owner(config).map_err(refused)?;
    let (mut leases, times) = write::open(config)?;
    let mut progress = Progress::new("imported");
    // Read before anything is locked: a large file takes its time, and the daemon's workers wait meanwhile.
    let drafts = rows.inspect(|_| progress.add(1));
    let rows = draft::understand(config, drafts, times)
        .map_err(|mistakes| refused(report(&file, word, &mistakes)))?;
    leases.begin(Access::Write, times.now)?;
    let done = leases.import(rows, word).map_err(|refusals| {
        let mistakes =
            refusals.into_iter().map(|(place, refusal)| (place, refusal.to_string().into())).collect();
        refused(report(&file, word, &mistakes))
    })?;
    leases.commit()?;
    drop(progress);
    if args.json {
        let counts = json!({ "imported": done.new, "updated": done.updated, "unchanged": done.unchanged });
        return say_json(&counts).map_err(refused);
    }
    say(&format!("imported {}, updated {}, unchanged {}", done.new, done.updated, done.unchanged));
    Ok(())
}

/// The rows of a file by their places, each as text or as what is wrong with it. Errors: what is wrong with the file as a
/// whole.
pub fn rows(format: Format, bytes: &[u8]) -> Result<Drafts<'_>, String> {
    match format {
        Format::Csv => from_csv(bytes),
        Format::Json => from_json(bytes),
    }
}

fn refused(reason: String) -> Failure {
    Failure::Refused(reason)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it has more than 512 MiB; import it in parts",
        ));
    }
    // A byte order mark, as spreadsheets write it.
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(bytes)
}

fn guess(path: &Path, bytes: &[u8]) -> Format {
    let named = path.extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase);
    match named.as_deref() {
        Some("json") => Format::Json,
        Some("csv") => Format::Csv,
        _ if bytes.trim_ascii_start().first() == Some(&b'[') => Format::Json,
        _ => Format::Csv,
    }
}

/// What is wrong with the rows, by their places.
type Mistakes = Vec<(u64, Flaw)>;

/// Row after row: the text of a million leases takes half a gigabyte.
pub type Drafts<'a> = Box<dyn Iterator<Item = Draft> + 'a>;

fn from_csv(bytes: &[u8]) -> Result<Drafts<'_>, String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let heads = reader.headers().map_err(|error| format!("line 1: {}", csv_mistake(&error)))?.clone();
    let heads: Vec<String> = heads.iter().map(|head| head.trim().to_ascii_lowercase()).collect();
    if kea::is_header(&heads) {
        return Ok(Box::new(kea::read(reader, &heads).into_iter()));
    }
    let places = places(&heads)?;
    let mut record = csv::StringRecord::new();
    let mut over = false;
    Ok(Box::new(std::iter::from_fn(move || {
        let line = reader.position().line();
        if over {
            return None;
        }
        match reader.read_record(&mut record) {
            Ok(false) => None,
            Ok(true) => {
                let line = record.position().map_or(line, csv::Position::line);
                let row = if record.len() == places.len() {
                    let mut cells = Cells::default();
                    for (place, text) in places.iter().zip(&record) {
                        if let Some(cell) = cells.get_mut(*place) {
                            text.clone_into(cell);
                        }
                    }
                    Ok(cells)
                } else {
                    Err(vec![format!("{} cells under {} heads", record.len(), places.len()).into()])
                };
                Some((line, row))
            }
            Err(error) => {
                let line = error.position().map_or(line, csv::Position::line);
                over = error.is_io_error();
                Some((line, Err(vec![csv_mistake(&error).into()])))
            }
        }
    })))
}

fn csv_mistake(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// Which column each head names.
fn places(heads: &[String]) -> Result<Vec<usize>, String> {
    let mut places = Vec::new();
    for head in heads {
        let place = draft::column(head)?;
        if places.contains(&place) {
            return Err(format!("line 1: the column {head} stands there twice"));
        }
        places.push(place);
    }
    let there = |name: &str| heads.iter().any(|head| head == name);
    if !there("ip") || !there("expires") || !(there("mac") || there("client_id")) {
        return Err("line 1: there must be a header with ip, expires, and mac or client_id".to_owned());
    }
    Ok(places)
}

fn from_json(bytes: &[u8]) -> Result<Drafts<'_>, String> {
    let rows: Vec<Value> =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not an array of objects: {error}"))?;
    let row = |(number, row): (u64, Value)| match row {
        Value::Object(fields) => (number, draft::object(fields)),
        _ => (number, Err(vec!["it is not an object".to_owned().into()])),
    };
    Ok(Box::new((1..).zip(rows).map(row)))
}

fn report(file: &dyn std::fmt::Display, word: &str, mistakes: &Mistakes) -> String {
    let mut lines: Vec<String> = mistakes
        .iter()
        .take(SHOWN)
        .map(|(place, flaw)| format!("\"{file}\", {word} {place}: {}", flaw.reason))
        .collect();
    if mistakes.len() > SHOWN {
        lines.push(format!("… and {} more", mistakes.len() - SHOWN));
    }
    lines.push("nothing was imported".to_owned());
    lines.join("\n")
}
