//! Checks between sections: what is right by itself and wrong together.
//!
//! Runs after every section was read, on the typed configuration; notes problems, changes nothing. A check is
//! skipped where one of its keys is wrong already, since a default stands there then. Reservations and what chooses
//! clients have files of their own.

mod circuits;
mod clients;
mod hosts;
mod relays;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::model::{Config, ConflictMethod, Dhcp, Subnet};
use super::section::Reader;

/// Checks the whole configuration.
pub(super) fn check(config: &Config, reader: &Reader<'_>) {
    check_listeners(config, reader);
    check_paths(config, reader);
    check_interfaces(&config.dhcp, reader);
    check_holds(&config.dhcp, reader);
    check_subnets(&config.dhcp.subnets, reader);
    check_identities(&config.dhcp.subnets, reader);
    for subnet in &config.dhcp.subnets {
        check_pools(subnet, reader);
    }
    hosts::check(&config.dhcp, reader);
    clients::check(&config.dhcp, reader);
    relays::check(&config.dhcp, reader);
    circuits::check(&config.dhcp, reader);
}

/// One address that a service listens on.
struct Listener {
    key: &'static str,
    protocol: &'static str,
    address: IpAddr,
    port: u16,
}

fn listeners(config: &Config) -> Vec<Listener> {
    let mut all = Vec::new();
    if config.tcp.enabled {
        let one = |address: &IpAddr| Listener {
            key: "tcp.port",
            protocol: "TCP",
            address: *address,
            port: config.tcp.port,
        };
        all.extend(config.tcp.address.iter().map(one));
    }
    if config.udp.enabled {
        let one = |address: &IpAddr| Listener {
            key: "udp.udp_port",
            protocol: "UDP",
            address: *address,
            port: config.udp.udp_port,
        };
        all.extend(config.udp.address.iter().map(one));
    }
    if let Some(listen) = config.api.listen {
        all.push(Listener { key: "api.listen", protocol: "TCP", address: listen.ip(), port: listen.port() });
    }
    if config.dhcp.enabled {
        // One socket for each interface, bound to no address: broadcasts must reach it.
        let address = Ipv4Addr::UNSPECIFIED.into();
        all.push(Listener { key: "dhcp.port", protocol: "UDP", address, port: config.dhcp.port });
    }
    all
}

fn check_listeners(config: &Config, reader: &Reader<'_>) {
    for (section, enabled, addresses) in
        [("tcp", config.tcp.enabled, &config.tcp.address), ("udp", config.udp.enabled, &config.udp.address)]
    {
        let key = format!("{section}.address");
        if enabled && addresses.is_empty() && reader.is_sound(&key) {
            let hint = format!("name an address such as 127.0.0.1, or set {section}.enabled to false");
            reader.error(&key, "there is no address to listen on", Some(hint));
        }
    }
    let all = listeners(config);
    for (position, one) in all.iter().enumerate() {
        for other in &all[..position] {
            let clash = one.key != other.key
                && one.protocol == other.protocol
                && one.port == other.port
                && one.port != 0
                && meet(one.address, other.address);
            if clash && reader.is_sound(one.key) && reader.is_sound(other.key) {
                // Blame what somebody wrote rather than a default.
                let written = reader.is_said(one.key) || !reader.is_said(other.key);
                let (key, taker) = if written { (one.key, other.key) } else { (other.key, one.key) };
                let reason = format!("{} port {} is taken by {taker} already", one.protocol, one.port);
                reader.error(key, reason, Some("choose another port".to_owned()));
            }
        }
    }
}

/// Whether sockets on the two addresses get in each other's way. IPv6 sockets serve IPv6 alone.
fn meet(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4() && (one == other || one.is_unspecified() || other.is_unspecified())
}

fn check_paths(config: &Config, reader: &Reader<'_>) {
    let mut used: Vec<(&str, &PathBuf)> = vec![
        ("daemon.pid_file", &config.daemon.pid_file),
        ("daemon.control_socket", &config.daemon.control_socket),
        ("daemon.state_dir", &config.daemon.state_dir),
        ("logging.log_file", &config.logging.log_file),
        ("dhcp.store.path", &config.dhcp.store.path),
    ];
    if config.logging.json.enabled {
        used.push(("logging.json.file", &config.logging.json.file));
    }
    if let Some(token) = &config.api.token_file {
        used.push(("api.token_file", token));
    }
    for (position, (key, path)) in used.iter().enumerate() {
        if let Some((other, _)) = used[..position].iter().find(|(_, taken)| taken == path)
            && reader.is_sound(key)
            && reader.is_sound(other)
        {
            reader.error(key, format!("{} is used for {other} already", path.display()), None);
        }
    }
}

fn check_interfaces(dhcp: &Dhcp, reader: &Reader<'_>) {
    const KEY: &str = "dhcp.interfaces";
    if !reader.is_sound(KEY) {
        return;
    }
    for (position, name) in dhcp.interfaces.iter().enumerate() {
        if dhcp.interfaces[..position].contains(name) {
            reader.error(&format!("{KEY}[{position}]"), format!("{name} is listed twice"), None);
        }
    }
    if !dhcp.enabled {
        return;
    }
    if dhcp.interfaces.is_empty() {
        let hint = "name the interfaces to serve, such as [eth0], or set dhcp.enabled to false".to_owned();
        reader.error(KEY, "there is no interface to serve", Some(hint));
        return;
    }
    if dhcp.subnets.is_empty() && reader.is_sound("dhcp.subnets") {
        let hint = "describe a subnet under dhcp.subnets, or set dhcp.enabled to false".to_owned();
        reader.warning("dhcp.subnets", "there is no subnet, so no client gets an address", Some(hint));
    }
    for subnet in &dhcp.subnets {
        if let Some(name) = subnet.interface.as_ref().filter(|name| !dhcp.interfaces.contains(name)) {
            let key = format!("dhcp.subnets.{}.interface", subnet.name);
            reader.error(&key, format!("{name} is not served"), Some(format!("add {name} to {KEY}")));
        }
    }
}

fn check_subnets(subnets: &[Subnet], reader: &Reader<'_>) {
    let ends = |subnet: &Subnet| (subnet.network.first(), subnet.network.last());
    for (other, one) in overlaps(subnets, ends) {
        let key = format!("dhcp.subnets.{}.network", one.name);
        let reason = format!("{} overlaps subnet {} ({})", one.network, other.name, other.network);
        reader.error(&key, reason, None);
    }
}

/// Those that overlap one before, in the order of their addresses: pairs, of which the second comes later in `all`.
/// Each is held against the one that reaches furthest so far, so thousands take no longer than their sorting.
fn overlaps<T>(all: &[T], ends: impl Fn(&T) -> (Ipv4Addr, Ipv4Addr)) -> Vec<(&T, &T)> {
    let mut order: Vec<(usize, &T)> = all.iter().enumerate().collect();
    order.sort_by_key(|(place, one)| (ends(one), *place));
    let mut pairs = Vec::new();
    let mut furthest: Option<(usize, &T)> = None;
    for (place, one) in order {
        if let Some((before, other)) = furthest.filter(|(_, other)| ends(other).1 >= ends(one).0) {
            pairs.push(if before < place { (other, one) } else { (one, other) });
        }
        if furthest.is_none_or(|(_, other)| ends(other).1 < ends(one).1) {
            furthest = Some((place, one));
        }
    }
    pairs
}

/// An offer must outlast the probe of its address: the client is answered only after that.
fn check_holds(dhcp: &Dhcp, reader: &Reader<'_>) {
    const HOLD: &str = "dhcp.offer_hold";
    const TIMEOUT: &str = "dhcp.conflict_check.timeout";
    let (hold, check) = (dhcp.offer_hold, dhcp.conflict_check);
    if check.method == ConflictMethod::Off
        || hold > check.timeout
        || !reader.is_sound(HOLD)
        || !reader.is_sound(TIMEOUT)
    {
        return;
    }
    // Blame what somebody wrote rather than a default.
    let (key, reason) = if reader.is_said(HOLD) || !reader.is_said(TIMEOUT) {
        (HOLD, format!("{hold:?} is not longer than {TIMEOUT} ({:?})", check.timeout))
    } else {
        (TIMEOUT, format!("{:?} is not shorter than {HOLD} ({hold:?})", check.timeout))
    };
    let hint = "the offer would be over before the address has been probed".to_owned();
    reader.error(key, reason, Some(hint));
}

/// A client has one identity on a link, whichever of the link's subnets it is served from.
fn check_identities(subnets: &[Subnet], reader: &Reader<'_>) {
    let key = |subnet: &Subnet| format!("dhcp.subnets.{}.identify_by", subnet.name);
    let mut firsts: HashMap<&str, &Subnet> = HashMap::new();
    for one in subnets {
        let Some(shared) = &one.shared_network else { continue };
        let Some(first) = firsts.get(shared.as_str()) else {
            firsts.insert(shared, one);
            continue;
        };
        if first.common.identify_by == one.common.identify_by
            || [*first, one].iter().any(|subnet| !reader.is_sound(&key(subnet)))
        {
            continue;
        }
        // Blame what somebody wrote rather than what a subnet inherits.
        let written = reader.is_said(&key(one)) || !reader.is_said(&key(first));
        let (blamed, other) = if written { (one, *first) } else { (*first, one) };
        let (is, there) = (blamed.common.identify_by, other.common.identify_by);
        let reason =
            format!("{is} differs from {there} of subnet {}, which shares the link {shared}", other.name);
        let hint = "make it the same for all subnets of the shared network".to_owned();
        reader.error(&key(blamed), reason, Some(hint));
    }
}

fn check_pools(subnet: &Subnet, reader: &Reader<'_>) {
    for (other, one) in overlaps(&subnet.pools, |pool| (pool.range.first(), pool.range.last())) {
        let key = format!("dhcp.subnets.{}.pools.{}.range", subnet.name, one.name);
        let reason = format!("{} overlaps pool {} ({})", one.range, other.name, other.range);
        reader.error(&key, reason, None);
    }
}
