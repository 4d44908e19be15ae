//! `leases show IP`.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use clap::Args;
use serde_json::{Map, Value};

use super::super::{style, table};
use super::{Done, never_leased};
use crate::config::Config;
use crate::lease::reader::{colons, printable};
use crate::lease::{LeaseState, Reader, Recorded, Times};

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
    let fields = fields(&recorded, reader.times);
    let mut out = io::BufWriter::new(io::stdout());
    if args.json {
        let mut object: Map<String, Value> =
            fields.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
        let left = left_secs(&recorded, reader.times);
        object.insert("time_left_secs".to_owned(), left.into());
        object.insert("declines".to_owned(), recorded.declines.into());
        writeln!(out, "{:#}", Value::Object(object))?;
    } else {
        for (name, text) in fields.iter().filter(|(_, text)| !text.is_empty()) {
            let text = if *name == "state" { style::state(text) } else { style::plain(text) };
            writeln!(out, "{name:<13} {}", style::paint(&text, style::on_stdout()))?;
        }
    }
    Ok(out.flush()?)
}

fn fields(recorded: &Recorded, times: Times) -> Vec<(&'static str, String)> {
    let lease = &recorded.lease;
    let client = &lease.client;
    let hex = |bytes: &Option<Box<[u8]>>| bytes.as_deref().map(colons).unwrap_or_default();
    let text = |bytes: &Option<Box<[u8]>>| bytes.as_deref().map(printable).unwrap_or_default();
    let left = match left_secs(recorded, times) {
        Some(secs) => table::duration(secs),
        None => String::new(),
    };
    vec![
        ("ip", lease.address.to_string()),
        ("mac", client.hardware.to_string()),
        ("client_id", hex(&client.client_id)),
        ("hostname", text(&client.hostname)),
        ("subnet", lease.subnet.to_string()),
        ("pool", lease.pool.to_string()),
        ("state", lease.state_at(times.now).name().to_owned()),
        ("starts", times.local(lease.starts)),
        ("expires", times.local(lease.expires)),
        ("time_left", left),
        ("relay", client.relay.map(|relay| relay.to_string()).unwrap_or_default()),
        ("circuit_id", text_or_hex(client.circuit_id.as_deref())),
        ("remote_id", text_or_hex(client.remote_id.as_deref())),
        ("vendor_class", text(&client.vendor_class)),
        ("declines", if recorded.declines > 0 { recorded.declines.to_string() } else { String::new() }),
    ]
}

/// How long it lasts still; none for what has ended or never ends.
fn left_secs(recorded: &Recorded, times: Times) -> Option<u64> {
    let lease = &recorded.lease;
    match lease.state_at(times.now) {
        LeaseState::Active | LeaseState::Declined | LeaseState::Conflict => {
            times.wall(lease.expires)?;
            Some(lease.expires.0.saturating_sub(times.now.0))
        }
        LeaseState::Expired | LeaseState::Released => None,
    }
}

/// Relays put text or numbers into their sub-options, as they like.
fn text_or_hex(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return String::new() };
    let text = !bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if text { String::from_utf8_lossy(bytes).into_owned() } else { colons(bytes) }
}

#[cfg(test)]
mod tests {
    use super::text_or_hex;

    #[test]
    fn circuit_is_shown_as_text_where_it_is_text() {
        assert_eq!(text_or_hex(Some(b"eth0/1 vlan 7")), "eth0/1 vlan 7");
        assert_eq!(text_or_hex(Some(b"\0\x04ab")), "00:04:61:62");
        assert_eq!(text_or_hex(None), "");
    }
}
