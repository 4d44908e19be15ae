//! Checks of reservations against each other and against the subnet's own addresses.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use crate::config::identity::with_colons;
use crate::config::model::{Dhcp, Host, Options, Pool, Subnet};
use crate::config::network::AddressRange;
use crate::config::section::Reader;

/// Checks the hosts of all subnets.
pub(super) fn check(dhcp: &Dhcp, reader: &Reader<'_>) {
    check_addresses(dhcp, reader);
    check_identifiers(&dhcp.subnets, reader);
    for subnet in &dhcp.subnets {
        let taken = taken_of(subnet);
        for pool in &subnet.pools {
            check_pool(subnet, pool, &taken, reader);
        }
    }
}

fn key_of(subnet: &Subnet, host: &Host) -> String {
    format!("dhcp.subnets.{}.hosts.{}", subnet.name, host.name)
}

/// An address has one owner, and is none that somebody else has for certain. One of `exclude` may be reserved: that is
/// what keeps it out of the pools.
fn check_addresses(dhcp: &Dhcp, reader: &Reader<'_>) {
    let mut reserved: HashMap<Ipv4Addr, String> = HashMap::new();
    let routers = routers_of(dhcp);
    let servers: BTreeSet<Ipv4Addr> = dhcp
        .subnets
        .iter()
        .filter_map(|subnet| subnet.common.server_id)
        .chain(dhcp.common.server_id)
        .collect();
    for subnet in &dhcp.subnets {
        for host in &subnet.hosts {
            let key = format!("{}.ip", key_of(subnet, host));
            let Some(address) = host.ip.filter(|_| reader.is_sound(&key)) else { continue };
            if routers.contains(&address) {
                let hint = "its clients would have the address of their own router".to_owned();
                reader.error(&key, format!("{address} is a router of the subnet"), Some(hint));
            } else if servers.contains(&address) {
                let reason = format!("{address} is the server's own (server_id)");
                reader.error(&key, reason, Some("choose another address".to_owned()));
            } else if let Some(other) = reserved.get(&address) {
                let hint = "a host may list several macs, of which one uses the address at a time".to_owned();
                reader.error(&key, format!("{address} is reserved for {other} already"), Some(hint));
            } else {
                reserved.insert(address, format!("host {} of subnet {}", host.name, subnet.name));
            }
        }
    }
}

/// The routers that options name at any level. A host may be told that it is its own router: it then finds everything
/// on its link. Options are read by a higher layer, so whatever looks like an address under the option's name or number
/// counts.
fn routers_of(dhcp: &Dhcp) -> BTreeSet<Ipv4Addr> {
    let pools = dhcp.subnets.iter().flat_map(|subnet| &subnet.pools).map(|pool| &pool.options);
    let subnets = dhcp.subnets.iter().map(|subnet| &subnet.common.options);
    let classes = dhcp.classes.iter().map(|class| &class.options);
    let mut found = BTreeSet::new();
    for options in subnets.chain(pools).chain(classes).chain([&dhcp.common.options]) {
        collect_routers(options, &mut found);
    }
    for host in dhcp.subnets.iter().flat_map(|subnet| &subnet.hosts) {
        let mut named = BTreeSet::new();
        collect_routers(&host.options, &mut named);
        found.extend(named.into_iter().filter(|address| host.ip != Some(*address)));
    }
    found
}

fn collect_routers(options: &Options, found: &mut BTreeSet<Ipv4Addr>) {
    for value in routers_in(options) {
        addresses_in(value, found);
    }
}

fn routers_in(options: &Options) -> impl Iterator<Item = &serde_json::Value> {
    ["routers", "option-3"].into_iter().filter_map(|name| options.get(name))
}

fn addresses_in(value: &serde_json::Value, found: &mut BTreeSet<Ipv4Addr>) {
    match value {
        serde_json::Value::String(text) => {
            found.extend(text.split([',', ' ']).filter_map(|part| part.parse::<Ipv4Addr>().ok()));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| addresses_in(item, found)),
        serde_json::Value::Object(entries) => entries.values().for_each(|entry| addresses_in(entry, found)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// What a packet is compared with, to find its host.
#[derive(PartialEq, Eq, Hash)]
enum Identifier<'a> {
    Mac(&'a [u8]),
    ClientId(&'a [u8]),
    Circuit(&'a [u8], Option<&'a [u8]>),
}

/// Whose each identifier on one link is: the names of the host and of its subnet.
type Owners<'a> = HashMap<Identifier<'a>, (&'a str, &'a str)>;

/// One identifier, one host on each link. On another link the same client may have another reservation.
fn check_identifiers(subnets: &[Subnet], reader: &Reader<'_>) {
    let mut links: HashMap<(bool, &str), Owners<'_>> = HashMap::new();
    for subnet in subnets {
        let shared = subnet.shared_network.as_deref();
        let known = links.entry((shared.is_some(), shared.unwrap_or(&subnet.name))).or_default();
        for host in &subnet.hosts {
            for (key, shown, identifier) in identifiers(host) {
                let Some((other_host, other_subnet)) = known.get(&identifier) else {
                    known.insert(identifier, (&host.name, &subnet.name));
                    continue;
                };
                // Twice within one host is that host's own mistake and was noted there.
                let key = format!("{}.{key}", key_of(subnet, host));
                if !reader.is_sound(&key) {
                    continue;
                }
                let (place, hint) = if *other_subnet == subnet.name {
                    (String::new(), None)
                } else {
                    let shared = format!("both subnets share the link {}", shared.unwrap_or_default());
                    (format!(" of subnet {other_subnet}"), Some(shared))
                };
                reader.error(&key, format!("{shown} belongs to host {other_host}{place} already"), hint);
            }
        }
    }
}

/// The identifiers of a host, each with its key and as it is shown.
fn identifiers(host: &Host) -> Vec<(String, String, Identifier<'_>)> {
    let several = host.macs.len() > 1;
    let key = |position| if several { format!("mac[{position}]") } else { "mac".to_owned() };
    let macs = host.macs.iter().enumerate();
    let mut all: Vec<_> =
        macs.map(|(position, bytes)| (key(position), with_colons(bytes), Identifier::Mac(bytes))).collect();
    if let Some(id) = &host.client_id {
        all.push(("client_id".to_owned(), "this client_id".to_owned(), Identifier::ClientId(id)));
    }
    if let Some(circuit) = &host.circuit_id {
        let remote = host.remote_id.as_deref();
        let shown = if remote.is_some() { "this circuit_id with this remote_id" } else { "this circuit_id" };
        all.push(("circuit_id".to_owned(), shown.to_owned(), Identifier::Circuit(circuit, remote)));
    }
    all
}

/// What reservations and exclusions take, in order; what touches is one range.
fn taken_of(subnet: &Subnet) -> Vec<AddressRange> {
    let hosts = subnet.hosts.iter().filter_map(|host| AddressRange::new(host.ip?, host.ip?));
    let mut all: Vec<AddressRange> = hosts.chain(subnet.exclude.iter().copied()).collect();
    all.sort_unstable();
    let mut taken: Vec<AddressRange> = Vec::with_capacity(all.len());
    for range in all {
        let touches =
            |last: &AddressRange| u32::from(range.first()) <= u32::from(last.last()).saturating_add(1);
        match taken.last_mut().filter(|last| touches(last)) {
            Some(last) => *last = last.through(range.last()),
            None => taken.push(range),
        }
    }
    taken
}

/// Warns where reservations and exclusions leave nothing of a pool.
fn check_pool(subnet: &Subnet, pool: &Pool, taken: &[AddressRange], reader: &Reader<'_>) {
    let key = format!("dhcp.subnets.{}.pools.{}.range", subnet.name, pool.name);
    let covering = taken.partition_point(|range| range.last() < pool.range.last());
    let covered = taken.get(covering).is_some_and(|range| range.first() <= pool.range.first());
    if covered && reader.is_sound(&key) {
        let reason = format!("every address of {} is reserved or excluded", pool.range);
        let hint = "clients without a reservation get nothing from this pool".to_owned();
        reader.warning(&key, reason, Some(hint));
    }
}
