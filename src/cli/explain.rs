//! `explain`: what a client would get and why, without a packet. Runs the server's own pipeline over a snapshot of the
//! leases; works whether the daemon runs or not and changes nothing.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::leases::explained;
use super::{Invocation, Outcome, style, table};
use crate::dhcp::explain::Explanation;
use crate::dhcp::{DryRunError, Knowledge, Question, dry_run, question, served_interfaces};
use crate::lease::Offers;
use crate::supervisor::{say, settings};

/// The client that is asked about.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Its hardware address
    #[arg(long, value_name = "MAC", value_parser = question::mac)]
    mac: question::Mac,
    /// The relay (giaddr) that it comes through
    #[arg(long, value_name = "IP")]
    relay: Option<Ipv4Addr>,
    /// The interface that it is heard on; else the first of dhcp.interfaces that is there
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// An option that it sends, by number or name: 60=PXEClient, 61=0x01aabb, 82=0x0105706f727437; may be repeated
    #[arg(long = "option", value_name = "CODE=VALUE", value_parser = question::option)]
    options: Vec<question::Sent>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(invocation: &Invocation, args: &ExplainArgs) -> Outcome {
    let config = settings::load(&invocation.manager()?).map_err(|report| report.to_string())?.config;
    let question = Question {
        mac: args.mac,
        relay: args.relay,
        interface: args.interface.clone(),
        options: args.options.clone(),
    };
    let config = Arc::new(config);
    let knowledge = Knowledge { offers: Offers::private(), probes: None };
    let interfaces =
        served_interfaces(&config).map_err(|error| format!("could not list the interfaces: {error}"))?;
    let explained_or_not = dry_run(Arc::clone(&config), interfaces, &question, knowledge);
    let explanation = explained_or_not.map_err(|error| match error {
        DryRunError::Store(error) => explained(&config, &error),
        other => other.to_string(),
    })?;
    if args.json {
        say(&serde_json::to_string_pretty(&explanation).map_err(|error| error.to_string())?);
    } else {
        style::say(show(&explanation).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn show(told: &Explanation) -> String {
    let mut facts = table::plain();
    let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let mut fact = |name: &str, value: String| {
        facts.add_row([name, &value]);
    };
    let outcome = match &told.reason {
        Some(reason) => format!("{} ({reason})", told.outcome),
        None => told.outcome.clone(),
    };
    fact("outcome", outcome);
    if let Some(interface) = &told.interface {
        fact("interface", interface.clone());
        fact("link", list(&told.link));
        fact("classes", list(&told.classes));
        fact(
            "reservation",
            match (&told.host, told.reserved) {
                (Some(host), Some(address)) => format!("{host} ({address})"),
                (Some(host), None) => format!("{host} (no address of its own)"),
                (None, _) => "none".to_owned(),
            },
        );
        fact("open pools", list(&told.pools));
    }
    if let Some(address) = told.address {
        fact("address", address.to_string());
        fact("subnet", told.subnet.clone().unwrap_or_default());
        fact("pool", told.pool.clone().unwrap_or_else(|| "none: reserved".to_owned()));
    }
    let boot = [
        ("next server", told.next_server.map(|address| address.to_string())),
        ("server name", told.server_name.clone()),
        ("boot file", told.boot_file.clone()),
        ("reply goes to", told.reply_to.clone()),
    ];
    for (name, value) in boot {
        if let Some(value) = value {
            fact(name, value);
        }
    }
    let mut text = format!("{facts}\n");
    if told.reason.as_deref() == Some("unknown-subnet") {
        text += "\nhint: no subnet is attached there, holds the relay's address or lists it under relays\n";
    }
    if !told.options.is_empty() {
        let mut options = table::new(&["option", "name", "value", "origin", "sent"]);
        for option in &told.options {
            let sent = option.unsent.map_or_else(|| "yes".to_owned(), |reason| format!("no: {reason}"));
            options.add_row([&option.code.to_string(), &option.name, &option.value, &option.origin, &sent]);
        }
        text += &format!("\n{options}\n");
    }
    text
}
