//! `leases release IP`.

use std::net::Ipv4Addr;

use clap::Args;
use serde_json::json;

use super::super::say_json;
use super::{Done, Failure, never_leased, write};
use crate::config::Config;
use crate::lease::reader::printable;
use crate::lease::{Access, Freed, Lease, Times};
use crate::supervisor::say;

#[derive(Debug, Args)]
pub(in crate::cli) struct ReleaseArgs {
    /// The address
    #[arg(value_name = "IP")]
    address: Ipv4Addr,
    /// The outcome as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, args: &ReleaseArgs) -> Done {
    let (mut leases, times) = write::open(config)?;
    leases.begin(Access::Write, times.now)?;
    let freed = leases.free(args.address);
    let said = match &freed {
        Freed::Lease(lease) => {
            let expires = times.local(lease.expires);
            format!("released {}, leased to {} until {expires}", args.address, holder(lease))
        }
        Freed::Rest(lease) => format!(
            "ended the rest of {} ({}), which would have lasted until {}",
            args.address,
            lease.state.name(),
            times.local(lease.expires)
        ),
        Freed::NotHeld(None) => return Err(never_leased(args.address)),
        Freed::NotHeld(Some(last)) => return Err(Failure::Refused(over(last, times))),
    };
    leases.commit()?;
    if args.json {
        let outcome = json!({ "ip": args.address.to_string(), "released": true, "message": said });
        return say_json(&outcome).map_err(Failure::Refused);
    }
    say(&said);
    Ok(())
}

fn over(last: &Lease, times: Times) -> String {
    let (address, state) = (last.address, last.state_at(times.now).name());
    let expires = times.local(last.expires);
    if last.client.key.as_bytes().is_empty() {
        return format!("{address} is leased to nobody");
    }
    format!("{address} is leased to nobody: the lease of {} is {state} since {expires}", holder(last))
}

/// Who holds it, by all names.
fn holder(lease: &Lease) -> String {
    let client = &lease.client;
    let name = client.hostname.as_deref().map(|name| format!(" ({})", printable(name))).unwrap_or_default();
    match (client.hardware.bytes(), client.client_id.as_deref()) {
        ([], Some(id)) => format!("client-id {}{name}", crate::lease::reader::colons(id)),
        _ => format!("{}{name}", client.hardware),
    }
}
