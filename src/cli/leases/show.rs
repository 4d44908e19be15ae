//! `leases show IP`.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use clap::Args;

use super::super::{style, table};
use super::{Done, never_leased};
use crate::config::Config;
use crate::lease::{LeaseView, Reader, Times};

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The address
    #[arg(value_name = "IP")]
    address: Ipv4Addr,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, args: &ShowArgs) -> Done {
    let reader = Reader::open(&config.dhcp.store.path)?;
    let recorded = reader.lease(args.address)?.ok_or_else(|| never_leased(args.address))?;
    let view = LeaseView::new(&recorded, reader.times, Times::local);
    let left = view.time_left_secs.map(table::duration).unwrap_or_default();
    let mut out = io::BufWriter::new(io::stdout());
    if args.json {
        let mut object = serde_json::to_value(&view).map_err(io::Error::from)?;
        object["time_left"] = left.into();
        writeln!(out, "{object:#}")?;
    } else {
        for (name, text) in fields(&view, &left).into_iter().filter(|(_, text)| !text.is_empty()) {
            let text = if name == "state" { style::state(&text) } else { style::plain(&text) };
            writeln!(out, "{name:<13} {}", style::paint(&text, style::on_stdout()))?;
        }
    }
    Ok(out.flush()?)
}

fn fields(view: &LeaseView, left: &str) -> [(&'static str, String); 15] {
    let declines = if view.declines > 0 { view.declines.to_string() } else { String::new() };
    let text = |text: &str| text.to_owned();
    [
        ("ip", text(&view.ip)),
        ("mac", text(&view.mac)),
        ("client_id", text(&view.client_id)),
        ("hostname", text(&view.hostname)),
        ("subnet", text(&view.subnet)),
        ("pool", text(&view.pool)),
        ("state", text(&view.state)),
        ("starts", text(&view.starts)),
        ("expires", text(&view.expires)),
        ("time_left", text(left)),
        ("relay", text(&view.relay)),
        ("circuit_id", text(&view.circuit_id)),
        ("remote_id", text(&view.remote_id)),
        ("vendor_class", text(&view.vendor_class)),
        ("declines", declines),
    ]
}
