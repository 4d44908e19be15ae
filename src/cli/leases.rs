//! `leases list`: reads the lease file itself, so it works whether the daemon runs or not.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Invocation, Outcome, table};
use crate::lease::{self, LeaseRow, ListFilter};

/// Which leases, and how they are shown.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// As JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV, also on a terminal
    #[arg(long)]
    csv: bool,
    /// Only leases in this state: active, expired, released, declined, conflict
    #[arg(long, value_name = "STATE", value_parser = ["active", "expired", "released", "declined", "conflict"])]
    state: Option<String>,
    /// Only leases of this subnet
    #[arg(long, value_name = "NAME")]
    subnet: Option<String>,
    /// Only leases of this hardware address
    #[arg(long, value_name = "MAC")]
    mac: Option<String>,
}

const HEADS: [&str; 9] = ["ip", "mac", "client_id", "hostname", "subnet", "pool", "state", "starts", "expires"];

pub(super) fn list(invocation: &Invocation, args: &ListArgs) -> Outcome {
    let config = invocation.manager()?.load_leniently().map_err(|report| report.to_string())?;
    let filter = ListFilter {
        state: args.state.clone(),
        subnet: args.subnet.clone(),
        mac: args.mac.as_ref().map(|mac| mac.to_ascii_lowercase().replace('-', ":")),
        ..ListFilter::default()
    };
    let rows = lease::list(&config.dhcp.store.path, &filter).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout().lock();
    let written = if args.json {
        let all: Vec<_> = rows.iter().map(|row| json!(fields(row).into_iter().collect::<std::collections::BTreeMap<_, _>>())).collect();
        writeln!(out, "{:#}", json!(all))
    } else if args.csv || !out.is_terminal() {
        csv(&mut out, &rows)
    } else {
        let mut shown = table::new(&["address", "hardware", "client-id", "host", "subnet", "pool", "state", "since", "until"]);
        for row in &rows {
            shown.add_row(fields(row).map(|(_, value)| value));
        }
        writeln!(out, "{shown}\n{} leases", rows.len())
    };
    match written {
        // The reader of a pipe that has seen enough is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("could not write: {error}")),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

fn fields(row: &LeaseRow) -> [(&'static str, String); 9] {
    let values = [
        row.ip.clone(),
        row.mac.clone(),
        row.client_id.clone(),
        row.hostname.clone(),
        row.subnet.clone(),
        row.pool.clone(),
        row.state.clone(),
        row.starts.clone(),
        row.expires.clone(),
    ];
    let mut values = values.into_iter();
    HEADS.map(|head| (head, values.next().unwrap_or_default()))
}

/// RFC 4180, with a header line. Names come from the network: a cell that a spreadsheet would take for a
/// formula gets an apostrophe.
fn csv(out: &mut impl Write, rows: &[LeaseRow]) -> std::io::Result<()> {
    writeln!(out, "{}", HEADS.join(","))?;
    for row in rows {
        let cells = fields(row).map(|(_, value)| cell(&value));
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

fn cell(value: &str) -> String {
    let formula = value.starts_with(['=', '+', '-', '@']);
    let value = if formula { format!("'{value}") } else { value.to_owned() };
    if value.contains([',', '"', '\n', '\r']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cells_are_quoted_and_disarmed() {
        assert_eq!([cell("plain"), cell("a,\"b"), cell("=1+1")], ["plain", "\"a,\"\"b\"", "'=1+1"]);
    }
}
