//! `leases list`: reads the lease file itself, so it works whether the daemon runs or not.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};

use super::{Invocation, Outcome, table};
use crate::lease::reader::{self, LeaseRow, ListFilter};
use crate::lease::{LeaseState, StoreError};

/// Which leases, and how they are shown.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// As JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV, also on a terminal
    #[arg(long)]
    csv: bool,
    /// Only leases in this state
    #[arg(long, value_name = "STATE", value_parser = LeaseState::ALL.map(LeaseState::name))]
    state: Option<String>,
    /// Only leases of this subnet
    #[arg(long, value_name = "NAME")]
    subnet: Option<String>,
    /// Only leases of this hardware address
    #[arg(long, value_name = "MAC")]
    mac: Option<String>,
    /// Only leases of this client-id, hex with colons
    #[arg(long, value_name = "HEX")]
    client_id: Option<String>,
    /// Only leases of this host name
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
}

/// Rows read at a time, so that a large lease file needs no large memory.
const PAGE: usize = 1000;
const HEADS: [&str; 9] =
    ["ip", "mac", "client_id", "hostname", "subnet", "pool", "state", "starts", "expires"];

pub(super) fn list(invocation: &Invocation, args: &ListArgs) -> Outcome {
    let config = invocation.manager()?.load_leniently().map_err(|report| report.to_string())?;
    let mut filter = ListFilter {
        state: args.state.clone(),
        subnet: args.subnet.clone(),
        mac: args.mac.clone(),
        client_id: args.client_id.clone(),
        hostname: args.hostname.clone(),
        limit: Some(PAGE),
        ..ListFilter::default()
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut sheet: Box<dyn Sheet> = if args.json {
        Box::new(Json { first: true })
    } else if args.csv || !io::stdout().is_terminal() {
        Box::new(Csv)
    } else {
        Box::new(Shown { table: table::new(&HEADS), rows: 0 })
    };
    let mut write = || -> Result<(), Failure> {
        sheet.begin(&mut out)?;
        loop {
            let rows = reader::list(&config.dhcp.store.path, &filter)?;
            for row in &rows {
                sheet.row(&mut out, &cells(row))?;
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE => filter.after = Some(last.address),
                _ => break,
            }
        }
        sheet.end(&mut out)?;
        Ok(out.flush()?)
    };
    match write() {
        // The reader of a pipe that has seen enough is no failure.
        Err(Failure::Write(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("could not write: {error}"))
        }
        Err(Failure::Read(error)) => Err(error.to_string()),
        Ok(()) | Err(Failure::Write(_)) => Ok(ExitCode::SUCCESS),
    }
}

enum Failure {
    Read(StoreError),
    Write(io::Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

type Cells<'a> = [&'a str; HEADS.len()];

fn cells(row: &LeaseRow) -> Cells<'_> {
    [
        &row.ip,
        &row.mac,
        &row.client_id,
        &row.hostname,
        &row.subnet,
        &row.pool,
        &row.state,
        &row.starts,
        &row.expires,
    ]
}

/// A way to show rows.
trait Sheet {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()>;
    fn row(&mut self, out: &mut dyn Write, cells: &Cells<'_>) -> io::Result<()>;
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

struct Json {
    first: bool,
}

impl Sheet for Json {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "[")
    }

    fn row(&mut self, out: &mut dyn Write, cells: &Cells<'_>) -> io::Result<()> {
        let fields = HEADS.iter().zip(cells);
        let object: Map<String, Value> =
            fields.map(|(head, cell)| ((*head).to_owned(), (*cell).into())).collect();
        let comma = if std::mem::take(&mut self.first) { "" } else { "," };
        write!(out, "{comma}\n  {}", Value::Object(object))
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n]")
    }
}

/// RFC 4180, with a header line.
struct Csv;

impl Sheet for Csv {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", HEADS.join(","))
    }

    fn row(&mut self, out: &mut dyn Write, cells: &Cells<'_>) -> io::Result<()> {
        let quoted: Vec<String> = cells.iter().map(|cell| quote(cell)).collect();
        writeln!(out, "{}", quoted.join(","))
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Names come from the network: a cell that a spreadsheet would take for a formula gets an apostrophe.
fn quote(value: &str) -> String {
    let formula = value.starts_with(['=', '+', '-', '@']);
    let value = if formula { format!("'{value}") } else { value.to_owned() };
    if value.contains([',', '"', '\n', '\r']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value }
}

struct Shown {
    table: comfy_table::Table,
    rows: usize,
}

impl Sheet for Shown {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn row(&mut self, _: &mut dyn Write, cells: &Cells<'_>) -> io::Result<()> {
        self.rows += 1;
        self.table.add_row(cells);
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}\n{} leases", self.table, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn cells_are_quoted_and_disarmed() {
        assert_eq!([quote("plain"), quote("a,\"b"), quote("=1+1")], ["plain", "\"a,\"\"b\"", "'=1+1"]);
    }
}
