//! Reads `dhcp.security`: who is heard, and how often.

use std::net::Ipv4Addr;
use std::time::Duration;

use figment::value::Value;
use serde_json::Value as Json;

use super::address::{IPV4, Unicast};
use super::field::{MacPattern, fits_macs};
use super::leaf::{Fault, Leaf, text, text_of};
use super::model::{ClientRate, Security, UnknownClients};
use super::network::Network;
use super::pattern::Pattern;
use super::section::Section;
use super::units::show_duration;

/// The limit where nothing is said: a client that boots by PXE and tries twice stays far below.
const RATE: ClientRate = ClientRate { packets: 20, per: Duration::from_secs(10) };

/// Reads `dhcp.security`.
pub(super) fn read(section: &Section<'_>) -> Security {
    let security = Security {
        allow: patterns(section, "allow"),
        deny: patterns(section, "deny"),
        unknown_clients: section.get("unknown_clients", UnknownClients::Allow),
        trusted_relays: section
            .list("trusted_relays", Vec::new())
            .into_iter()
            .map(|Relays(network)| network)
            .collect(),
        client_rate: client_rate(section),
        max_leases_per_circuit: section.get("max_leases_per_circuit", 0),
    };
    section.finish();
    security
}

fn patterns(section: &Section<'_>, key: &str) -> Vec<Pattern> {
    let read: Vec<Pattern> =
        section.list(key, Vec::new()).into_iter().map(|MacPattern(pattern)| pattern).collect();
    for pattern in read.iter().filter(|pattern| !fits_macs(pattern, 6..=6)) {
        let reason = format!("\"{pattern}\" fits no hardware address of 6 bytes, as Ethernet and Wi-Fi have");
        let hint = format!("write \"{pattern}:*\" for all that begin so");
        let all = section.key(key);
        section.reader().warning(&all, reason, fits_macs(pattern, 1..=5).then_some(hint));
    }
    read
}

/// `null` is no limit; a key that is left out has its default.
fn client_rate(section: &Section<'_>) -> Option<ClientRate> {
    if section.is_null("client_rate") {
        section.child("client_rate");
        section.show("client_rate", Json::Null);
        return None;
    }
    let rate = section.child("client_rate");
    let times = Duration::from_secs(1)..=Duration::from_secs(3_600);
    let read = ClientRate {
        packets: rate.within("packets", RATE.packets, 1..=1_000_000, u32::to_string),
        per: rate.within("per", RATE.per, times, |d| show_duration(*d)),
    };
    rate.finish();
    Some(read)
}

/// The address of one relay, or a prefix of them.
struct Relays(Network);

impl Leaf for Relays {
    fn read(value: &Value) -> Result<Self, Fault> {
        let given = text(value).unwrap_or_default();
        if given.contains('/') {
            return Network::read(value).map(Self);
        }
        if given.parse::<Ipv4Addr>().is_err() {
            return Err(Fault::is_not(value, "an address such as 10.0.0.1 or a network such as 10.0.0.0/24"));
        }
        Unicast::read(value).map(|Unicast(address)| Self(Network::containing(address, 32)))
    }

    fn schema() -> Json {
        text_of(&format!("{IPV4}(?:/(?:3[0-2]|[12]?[0-9]))?"))
    }

    fn show(&self) -> Json {
        let one = self.0.prefix() == 32;
        if one { self.0.first().to_string().into() } else { self.0.to_string().into() }
    }
}
