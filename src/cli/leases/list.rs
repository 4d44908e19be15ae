//! `leases list`.

use clap::Args;

use super::sheet::{self, LookArgs};
use super::{Done, unknown_subnet};
use crate::config::Config;
use crate::lease::LeaseState;
use crate::lease::reader::{self, LeaseRow, ListFilter};

/// Which leases, and how they are shown.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    look: LookArgs,
    /// Only leases in this state
    #[arg(long, value_name = "STATE", value_parser = LeaseState::ALL.map(LeaseState::name))]
    state: Option<String>,
    /// Only leases of this subnet
    #[arg(long, value_name = "NAME")]
    subnet: Option<String>,
    /// Only leases of this hardware address
    #[arg(long, value_name = "MAC", value_parser = super::mac)]
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

pub(super) fn run(config: &Config, args: &ListArgs) -> Done {
    let mut filter = ListFilter {
        state: args.state.clone(),
        subnet: args.subnet.clone(),
        mac: args.mac.clone(),
        client_id: args.client_id.clone(),
        hostname: args.hostname.clone(),
        limit: Some(PAGE),
        ..ListFilter::default()
    };
    // Read before anything is written, so that a failure leaves no half of an answer.
    let mut rows = reader::list(&config.dhcp.store.path, &filter)?;
    if let (true, Some(name)) = (rows.is_empty(), &args.subnet)
        && !config.dhcp.subnets.iter().any(|subnet| subnet.name.as_str() == name)
    {
        return Err(unknown_subnet(config, name));
    }
    let mut sheet = sheet::open(&args.look, &HEADS, "lease")?;
    loop {
        for row in &rows {
            sheet.row(&cells(row))?;
        }
        match rows.last() {
            Some(last) if rows.len() == PAGE => filter.after = Some(last.address),
            _ => break,
        }
        rows = reader::list(&config.dhcp.store.path, &filter)?;
    }
    Ok(sheet.end()?)
}

fn cells(row: &LeaseRow) -> [&str; HEADS.len()] {
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
