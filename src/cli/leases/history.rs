//! `leases history`.

use std::net::Ipv4Addr;

use clap::Args;

use super::Done;
use super::sheet::{self, LookArgs};
use crate::config::Config;
use crate::lease::{PastFilter, past, when};

#[derive(Debug, Args)]
pub(in crate::cli) struct HistoryArgs {
    /// Only of this address
    #[arg(value_name = "IP")]
    address: Option<Ipv4Addr>,
    /// Only who held it then: 2026-11-01T12:00 (local time), 2026-11-01T11:00:00Z, 2026-11-01 (its first second)
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<i64>,
    /// Only of this hardware address
    #[arg(long, value_name = "MAC", value_parser = super::mac)]
    mac: Option<String>,
    #[command(flatten)]
    look: LookArgs,
}

const HEADS: [&str; 9] = ["ip", "mac", "client_id", "hostname", "subnet", "pool", "starts", "ends", "ended"];

pub(super) fn run(config: &Config, args: &HistoryArgs) -> Done {
    let mut filter =
        PastFilter { address: args.address, mac: args.mac.clone(), at: args.at, after: None, rows: None };
    let mut page = past(&config.dhcp.store.path, &filter)?;
    let mut sheet = sheet::open(&args.look, &HEADS, "interval")?;
    loop {
        for held in &page.intervals {
            sheet.row(&[
                &held.address.to_string(),
                &held.mac,
                &held.client_id,
                &held.hostname,
                &held.subnet,
                &held.pool,
                &page.times.local(held.starts),
                &page.times.local(held.ends),
                &held.ended,
            ])?;
        }
        let Some(next) = page.next else { break };
        filter.after = Some(next);
        page = past(&config.dhcp.store.path, &filter)?;
    }
    Ok(sheet.end()?)
}

fn time(text: &str) -> Result<i64, String> {
    when::parse(text).ok_or_else(|| {
        "no such time; write 2026-11-01T12:00 or 2026-11-01T12:00:05 (local), 2026-11-01T11:00:00Z, 2026-11-01"
            .to_owned()
    })
}
