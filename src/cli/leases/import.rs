//! `leases import FILE`: reads the file, checks every row, and writes all of them in one transaction.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::super::progress::Progress;
use super::super::say_json;
use super::{Done, Failure, kea, write};
use crate::config::Config;
use crate::config::model::IdentifyBy;
use crate::lease::transfer::{self, COLUMNS, Cells};
use crate::lease::{Access, ImportRow, Times, Topology};
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated, with a header line
    Csv,
    /// An array of objects
    Json,
}

/// Mistakes shown at most.
const SHOWN: usize = 20;

pub(super) fn run(config: &Config, args: &ImportArgs) -> Done {
    let file = args.file.display();
    let bytes = read(&args.file).map_err(|error| refused(format!("could not read \"{file}\": {error}")))?;
    let format = args.format.unwrap_or_else(|| guess(&args.file, &bytes));
    let (word, rows) = match format {
        Format::Csv => ("line", from_csv(&bytes)),
        Format::Json => ("entry", from_json(&bytes)),
    };
    let rows = rows.map_err(|mistake| refused(format!("\"{file}\": {mistake}\nnothing was imported")))?;
    write::become_owner(config)?;
    let (mut leases, times) = write::open(config)?;
    let mut progress = Progress::new("imported");
    // Read before anything is locked: a large file takes its time, and the daemon's workers wait meanwhile.
    let rows = understand(config, rows, times, &mut progress)
        .map_err(|mistakes| refused(report(&file, word, &mistakes)))?;
    leases.begin(Access::Write, times.now)?;
    let done = leases.import(rows, word).map_err(|refusals| {
        let mistakes = refusals.into_iter().map(|(place, refusal)| (place, refusal.to_string())).collect();
        refused(report(&file, word, &mistakes))
    })?;
    leases.commit()?;
    progress.finish();
    if args.json {
        let counts = json!({ "imported": done.new, "updated": done.updated, "unchanged": done.unchanged });
        return say_json(&counts).map_err(refused);
    }
    say(&format!("imported {}, updated {}, unchanged {}", done.new, done.updated, done.unchanged));
    Ok(())
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

/// A row as text: its place in the file, and its cells or what is wrong with it.
pub(super) type Draft = (u64, Result<Cells, String>);

/// What is wrong with the rows, by their places.
type Mistakes = Vec<(u64, String)>;

fn from_csv(bytes: &[u8]) -> Result<Vec<Draft>, String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let heads = reader.headers().map_err(|error| format!("line 1: {}", csv_mistake(&error)))?.clone();
    let heads: Vec<String> = heads.iter().map(|head| head.trim().to_ascii_lowercase()).collect();
    if kea::is_header(&heads) {
        return Ok(kea::read(reader, &heads));
    }
    let places = places(&heads)?;
    let mut rows = Vec::new();
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(rows),
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
                    Err(format!("{} cells under {} heads", record.len(), places.len()))
                };
                rows.push((line, row));
            }
            Err(error) => {
                let line = error.position().map_or(line, csv::Position::line);
                rows.push((line, Err(csv_mistake(&error))));
                if error.is_io_error() {
                    return Ok(rows);
                }
            }
        }
    }
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
        let place = column(head)?;
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

fn column(name: &str) -> Result<usize, String> {
    COLUMNS.iter().position(|column| *column == name).ok_or_else(|| {
        let near = COLUMNS
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        let near = near.filter(|column| strsim::jaro_winkler(column, name) > 0.8);
        let hint = near.map_or_else(|| COLUMNS.join(", "), |column| (*column).to_owned());
        format!("unknown column {name:?}; hint: {hint}")
    })
}

fn from_json(bytes: &[u8]) -> Result<Vec<Draft>, String> {
    let rows: Vec<Value> =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not an array of objects: {error}"))?;
    let row = |(number, row): (u64, Value)| match row {
        Value::Object(fields) => (number, object(fields)),
        _ => (number, Err("it is not an object".to_owned())),
    };
    Ok((1..).zip(rows).map(row).collect())
}

fn object(fields: Map<String, Value>) -> Result<Cells, String> {
    let mut cells = Cells::default();
    for (name, value) in fields {
        let place = column(&name)?;
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(format!("{name} is neither text nor a number"));
            }
        };
        if let Some(cell) = cells.get_mut(place) {
            *cell = text;
        }
    }
    Ok(cells)
}

fn understand(
    config: &Config,
    rows: Vec<Draft>,
    times: Times,
    progress: &mut Progress,
) -> Result<Vec<ImportRow>, Mistakes> {
    let topology = Topology::new(config);
    let by_subnet: HashMap<u16, IdentifyBy> =
        (0..).zip(&config.dhcp.subnets).map(|(place, subnet)| (place, subnet.common.identify_by)).collect();
    let identify_by = |address: Ipv4Addr| {
        let subnet = topology.subnet_of(address).and_then(|subnet| by_subnet.get(&subnet.0));
        subnet.copied().unwrap_or(config.dhcp.common.identify_by)
    };
    let mut good = Vec::with_capacity(rows.len());
    let mut mistakes = Mistakes::new();
    for (place, row) in rows {
        progress.add(1);
        let read = row.and_then(|cells| {
            let recorded = transfer::read(&cells, times, &identify_by).map_err(|error| error.to_string())?;
            Ok(ImportRow { place, recorded, undated: transfer::is_undated(&cells) })
        });
        match read {
            Ok(row) => good.push(row),
            Err(mistake) => mistakes.push((place, mistake)),
        }
    }
    if mistakes.is_empty() { Ok(good) } else { Err(mistakes) }
}

fn report(file: &dyn std::fmt::Display, word: &str, mistakes: &Mistakes) -> String {
    let mut lines: Vec<String> = mistakes
        .iter()
        .take(SHOWN)
        .map(|(place, mistake)| format!("\"{file}\", {word} {place}: {mistake}"))
        .collect();
    if mistakes.len() > SHOWN {
        lines.push(format!("… and {} more", mistakes.len() - SHOWN));
    }
    lines.push("nothing was imported".to_owned());
    lines.join("\n")
}
