//! `leases list`.

use clap::Args;

use super::sheet::{self, LookArgs};
use super::{Done, bytes, unknown_subnet};
use crate::config::Config;
use crate::lease::{LeaseState, LeaseView, Reader, Search, Times};

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
    #[arg(long, value_name = "HEX", value_parser = super::hex)]
    client_id: Option<String>,
    /// Only leases of this host name; * stands for any text
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
}

/// Rows read at a time, so that a large lease file needs no large memory.
const PAGE: usize = 1000;
const HEADS: [&str; 9] =
    ["ip", "mac", "client_id", "hostname", "subnet", "pool", "state", "starts", "expires"];

pub(super) fn run(config: &Config, args: &ListArgs) -> Done {
    let mut search = Search {
        state: args.state.as_deref().and_then(LeaseState::from_name),
        subnet: args.subnet.clone(),
        mac: args.mac.as_deref().map(bytes),
        client_id: args.client_id.as_deref().map(bytes),
        hostname: args.hostname.clone(),
        limit: PAGE,
        ..Search::default()
    };
    let path = &config.dhcp.store.path;
    let mut reader = Reader::open(path)?;
    // Read before anything is written, so that a failure leaves no half of an answer.
    let mut found = search.run(&reader)?;
    if let (true, Some(name)) = (found.leases.is_empty() && found.next.is_none(), &args.subnet)
        && !config.dhcp.subnets.iter().any(|subnet| subnet.name.as_str() == name)
    {
        return Err(unknown_subnet(config, name));
    }
    let mut sheet = sheet::open(&args.look, &HEADS, "lease")?;
    loop {
        // The reader of a pipe takes as long as it likes.
        let bookmark = reader.close();
        for lease in &found.leases {
            sheet.row(&cells(&LeaseView::new(lease, found.times, Times::local)))?;
        }
        if found.next.is_none() {
            return Ok(sheet.end()?);
        }
        search.after = found.next;
        reader = Reader::reopen(path, bookmark)?;
        found = search.run(&reader)?;
    }
}

fn cells(lease: &LeaseView) -> [&str; HEADS.len()] {
    [
        &lease.ip,
        &lease.mac,
        &lease.client_id,
        &lease.hostname,
        &lease.subnet,
        &lease.pool,
        &lease.state,
        &lease.starts,
        &lease.expires,
    ]
}
