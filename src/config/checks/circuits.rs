//! A check of what depends on the circuit that a relay names (RFC 3046): without trusted relays anybody on a served
//! link can pose as one and name whatever circuit he likes (RFC 3046 §5).

use crate::config::model::{Dhcp, IdentifyBy};
use crate::config::section::Reader;

const RELAYS: &str = "dhcp.security.trusted_relays";

/// Warns once for each kind of thing that rests on circuits, where no relay is told from an impostor.
pub(super) fn check(dhcp: &Dhcp, reader: &Reader<'_>) {
    if !dhcp.enabled || !dhcp.security.trusted_relays.is_empty() || !reader.is_sound(RELAYS) {
        return;
    }
    for (key, what) in uses(dhcp, reader) {
        let reason = format!("{what}, and {RELAYS} is empty: any host on a link can pose as a relay");
        let hint = format!("list the addresses of your relays in {RELAYS}");
        reader.warning(&key, reason, Some(hint));
    }
}

fn uses(dhcp: &Dhcp, reader: &Reader<'_>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let by_circuit = |by: IdentifyBy| by == IdentifyBy::CircuitId;
    let clients = "clients are told apart by the circuit that a relay names".to_owned();
    if by_circuit(dhcp.common.identify_by) {
        found.push(("dhcp.identify_by".to_owned(), clients));
    } else if let Some(subnet) = dhcp.subnets.iter().find(|subnet| by_circuit(subnet.common.identify_by)) {
        found.push((format!("dhcp.subnets.{}.identify_by", subnet.name), clients));
    }
    if dhcp.security.max_leases_per_circuit > 0 {
        let what = "leases are limited by the circuit that a relay names".to_owned();
        found.push(("dhcp.security.max_leases_per_circuit".to_owned(), what));
    }
    let hosts = dhcp.subnets.iter().flat_map(|subnet| subnet.hosts.iter().map(move |host| (subnet, host)));
    let mut hosts = hosts.filter(|(_, host)| host.circuit_id.is_some());
    if let Some((subnet, host)) = hosts.next() {
        let key = format!("dhcp.subnets.{}.hosts.{}.circuit_id", subnet.name, host.name);
        let what = match hosts.count() {
            0 => format!("host {} is known by the circuit that a relay names", host.name),
            others => {
                format!("host {} and {others} more are known by circuits that a relay names", host.name)
            }
        };
        found.push((key, what));
    }
    found.retain(|(key, _)| reader.is_sound(key));
    found
}
