//! Reads `dhcp.subnets` and their pools (their hosts: `host`), with the checks that need one subnet only.

use super::address::{InterfaceName, Unicast, is_unicast};
use super::common::{GivenTimes, Level, boot};
use super::host;
use super::model::{Pool, Subnet};
use super::network::{AddressRange, Network};
use super::section::Section;

/// Largest pool. A free address costs memory, so this bounds what a slip of the pen can take.
const POOL_MAX: u64 = 1 << 24;

/// Reads every subnet; one without a valid network is left out after its errors were noted.
pub(super) fn read_all(dhcp: &Section<'_>, level: &Level) -> Vec<Subnet> {
    dhcp.named("subnets").into_iter().filter_map(|(name, section)| read(name, section, level)).collect()
}

fn read(name: String, section: Section<'_>, above: &Level) -> Option<Subnet> {
    let network = section.require::<Network>("network", "10.0.0.0/24");
    if let Some(network) = network {
        check_network(&section, network);
    }
    let level = Level::read(&section, above);
    let interface = section.nullable::<InterfaceName>("interface").flatten().map(|name| name.0);
    let relays = section.list("relays", Vec::new()).into_iter().map(|Unicast(address)| address).collect();
    let shared_network = section.nullable::<String>("shared_network").flatten();
    let exclude = section.list("exclude", Vec::new());
    // A wrong item was left out, so positions count only where there was none.
    if section.reader().is_sound(&section.key("exclude")) {
        for (position, range) in exclude.iter().enumerate() {
            check_exclude(&section, position, network, *range);
        }
    }
    let pools: Vec<Pool> = section
        .named("pools")
        .into_iter()
        .filter_map(|(name, pool)| read_pool(name, pool, network, level.times))
        .collect();
    let hosts = host::read_all(&section, network, level.times);
    section.finish();
    let network = network?;
    Some(Subnet {
        name,
        network,
        interface,
        relays,
        shared_network,
        common: level.common,
        exclude,
        pools,
        hosts,
    })
}

fn check_network(section: &Section<'_>, network: Network) {
    if network.prefix() == 0 || !is_unicast(network.first()) || !is_unicast(network.last()) {
        section.error("network", format!("{network} does not hold addresses of hosts alone"), None);
    }
}

fn check_exclude(section: &Section<'_>, position: usize, network: Option<Network>, range: AddressRange) {
    let Some(network) = network else { return };
    if !(network.contains(range.first()) && network.contains(range.last())) {
        let key = format!("exclude[{position}]");
        section.error(&key, format!("{range} is outside the subnet {network}"), None);
    }
}

fn read_pool(
    name: String,
    section: Section<'_>,
    network: Option<Network>,
    above: GivenTimes,
) -> Option<Pool> {
    let range = section.require::<AddressRange>("range", "10.0.0.100-10.0.0.199");
    if let (Some(range), Some(network)) = (range, network) {
        check_range(&section, range, network);
    }
    let lease_time = GivenTimes::own(&section, above);
    let classes = section.list("classes", Vec::new());
    let pool = range.map(|range| Pool {
        name,
        range,
        classes,
        lease_time,
        boot: boot(&section),
        options: section.raw("options"),
    });
    if pool.is_none() {
        // Its other keys are read for their errors.
        boot(&section);
        section.raw("options");
    }
    section.finish();
    pool
}

fn check_range(section: &Section<'_>, range: AddressRange, network: Network) {
    let hosts = host_range(network);
    if !network.contains(range.first()) || !network.contains(range.last()) {
        let hint = hosts.map(|hosts| format!("the subnet's hosts are {hosts}"));
        section.error("range", format!("{range} is outside the subnet {network}"), hint);
    } else if !network.is_host(range.first()) || !network.is_host(range.last()) {
        let own = if network.is_host(range.first()) { "broadcast" } else { "network" };
        let clipped = hosts.and_then(|hosts| {
            AddressRange::new(range.first().max(hosts.first()), range.last().min(hosts.last()))
        });
        let hint = clipped.map(|clipped| format!("write {clipped}"));
        section.error("range", format!("{range} takes in the {own} address of {network}"), hint);
    } else if range.size() > POOL_MAX {
        section.error("range", format!("{range} holds {} addresses; at most {POOL_MAX}", range.size()), None);
    }
}

/// The addresses that hosts of `network` may have.
pub(super) fn host_range(network: Network) -> Option<AddressRange> {
    if network.prefix() >= 31 {
        return AddressRange::new(network.first(), network.last());
    }
    let (first, last) = (u32::from(network.first()), u32::from(network.last()));
    AddressRange::new((first + 1).into(), (last - 1).into())
}
