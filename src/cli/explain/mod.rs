//! `explain`: what a client would get and why, without a packet. Runs the server's own pipeline over a snapshot of the
//! leases; works whether the daemon runs or not and changes nothing.

mod question;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use daemon_utils::{clock, socket};

use super::leases::explained;
use super::{Invocation, Outcome, table};
use crate::config::Config;
use crate::dhcp::explain::Explanation;
use crate::dhcp::rate::Rates;
use crate::dhcp::{InterfaceInfo, Packet, Pipeline};
use crate::lease::{Access, EngineSettings, LeaseManager, Offers, Snapshot, Topology};
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
    if !config.dhcp.enabled {
        return Err("dhcp.enabled is false: no client gets anything".to_owned());
    }
    let interfaces = interfaces(&config)?;
    let heard = match &args.interface {
        Some(name) => interfaces.iter().find(|interface| interface.name == *name),
        None => interfaces.first(),
    };
    let Some(heard) = heard.cloned() else {
        let served = config.dhcp.interfaces.join(", ");
        return Err(format!("the interface is not there or not served\nhint: dhcp.interfaces: {served}"));
    };
    let bytes = question::packet(&args.mac, args.relay, &args.options)?;
    let explanation = explain(
        config,
        interfaces,
        &Packet {
            bytes: &bytes,
            interface: heard.index,
            from: question::sender(args.relay, heard.loopback),
            to: Some(Ipv4Addr::BROADCAST),
            at: clock::boot_time(),
        },
    )?;
    if args.json {
        say(&serde_json::to_string_pretty(&explanation).map_err(|error| error.to_string())?);
    } else {
        say(show(&explanation).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// Those that the daemon would serve now.
pub(in crate::cli) fn interfaces(config: &Config) -> Result<Vec<InterfaceInfo>, String> {
    let present = socket::interfaces().map_err(|error| format!("could not list the interfaces: {error}"))?;
    let served = config.dhcp.interfaces.iter();
    Ok(served.filter_map(|name| present.iter().find(|i| i.name == *name)).map(InterfaceInfo::from).collect())
}

fn explain(
    config: Config,
    interfaces: Vec<InterfaceInfo>,
    packet: &Packet<'_>,
) -> Result<Explanation, String> {
    let config = Arc::new(config);
    let topology = Topology::new(&config);
    // Where nothing was ever leased there is no file.
    let path = &config.dhcp.store.path;
    let snapshot = match path.try_exists() {
        Ok(false) => Snapshot::empty(),
        Ok(true) | Err(_) => Snapshot::open(path).map_err(|error| explained(&config, &error))?,
    };
    let now = snapshot.clock().map_err(|error| error.to_string())?.now();
    let own = interfaces.iter().flat_map(|interface| interface.addresses.iter().map(|(address, _)| *address));
    let settings = EngineSettings { reserved: own.collect(), ..EngineSettings::new(&config) };
    let mut leases = LeaseManager::open(Arc::clone(&topology), settings, snapshot, Offers::private())
        .map_err(|error| error.to_string())?;
    leases.begin(Access::Read, now).map_err(|error| error.to_string())?;
    let pipeline = Pipeline::new(config, topology, interfaces, Rates::default());
    let explanation = pipeline.explain(packet, &mut leases);
    leases.abort();
    Ok(explanation)
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
