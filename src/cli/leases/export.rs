//! `leases export`: lossless, a page at a time.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::super::progress::Progress;
use super::{Done, Failure, become_owner, sheet};
use crate::config::Config;
use crate::lease::{Reader, StoreError, transfer};

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// Where to; standard output if there is none
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// As JSON; else as CSV
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV
    #[arg(long)]
    csv: bool,
}

const PAGE: usize = 1000;

pub(super) fn run(config: &Config, args: &ExportArgs) -> Done {
    let path = &config.dhcp.store.path;
    // Before the file is made, so that what fails most leaves none.
    File::open(path).map_err(|source| StoreError::Io { what: "open", path: path.clone(), source })?;
    let out: Box<dyn Write> = match &args.file {
        Some(file) => Box::new(io::BufWriter::new(File::create(file).map_err(|error| {
            Failure::Refused(format!("could not create \"{}\": {error}", file.display()))
        })?)),
        None => Box::new(io::BufWriter::new(io::stdout())),
    };
    become_owner(config).map_err(Failure::Refused)?;
    let mut reader = Reader::open(path)?;
    let named = args.file.as_ref().and_then(|file| file.extension()).is_some_and(|end| end == "json");
    let mut sheet = if args.json || (named && !args.csv) {
        sheet::json(out, &transfer::COLUMNS)?
    } else {
        sheet::csv(out, &transfer::COLUMNS)?
    };
    let mut progress = Progress::new("exported");
    let mut after = None;
    loop {
        let page = reader.page(after, PAGE)?;
        let times = reader.times;
        // The reader of a pipe takes as long as it likes.
        let bookmark = reader.close();
        for recorded in &page {
            let cells = transfer::write(recorded, times);
            sheet.row(&cells.each_ref().map(String::as_str))?;
        }
        progress.add(page.len());
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.lease.address),
            _ => break,
        }
        reader = Reader::reopen(path, bookmark)?;
    }
    sheet.end()?;
    progress.finish();
    Ok(())
}
