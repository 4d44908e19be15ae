//! Checks of relays: those that are trusted against those that subnets accept, and the other way round.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use crate::config::model::{Dhcp, Subnet};
use crate::config::network::Network;
use crate::config::section::Reader;

/// Checks `relays` of subnets and `trusted_relays`.
pub(super) fn check(dhcp: &Dhcp, reader: &Reader<'_>) {
    check_trusted(dhcp, reader);
    for subnet in &dhcp.subnets {
        check_listed(dhcp, subnet, reader);
    }
}

fn check_trusted(dhcp: &Dhcp, reader: &Reader<'_>) {
    const KEY: &str = "dhcp.security.trusted_relays";
    // Without subnets there is a warning already; a wrong subnet is not in the list.
    if dhcp.subnets.is_empty() || !reader.is_sound(KEY) || !reader.is_sound("dhcp.subnets") {
        return;
    }
    for (position, relays) in dhcp.security.trusted_relays.iter().enumerate() {
        let accepted = dhcp.subnets.iter().any(|subnet| accepts(subnet, *relays));
        if !accepted {
            let (one, it) = if relays.prefix() == 32 {
                (format!("the relay {}", relays.first()), "it")
            } else {
                (format!("a relay in {relays}"), "them")
            };
            let hint =
                format!("list {it} in the `relays` of a subnet; this key only narrows what subnets accept");
            reader.warning(&format!("{KEY}[{position}]"), format!("no subnet accepts {one}"), Some(hint));
        }
    }
}

/// Whether one of these relays is on the subnet.
fn accepts(subnet: &Subnet, relays: Network) -> bool {
    subnet.network.overlaps(relays) || subnet.relays.iter().any(|relay| relays.contains(*relay))
}

/// What a subnet lists under `relays`: each once, none that nobody listens to.
fn check_listed(dhcp: &Dhcp, subnet: &Subnet, reader: &Reader<'_>) {
    let list = format!("dhcp.subnets.{}.relays", subnet.name);
    // A wrong item was left out, so positions count only where there was none.
    if subnet.relays.is_empty() || !reader.is_sound(&list) {
        return;
    }
    let trusted = &dhcp.security.trusted_relays;
    let mut seen: HashSet<Ipv4Addr> = HashSet::new();
    for (position, relay) in subnet.relays.iter().enumerate() {
        let key = format!("{list}[{position}]");
        if !seen.insert(*relay) {
            reader.error(&key, format!("{relay} is listed twice"), Some("remove one of the two".to_owned()));
        } else if !trusted.is_empty()
            && reader.is_sound("dhcp.security.trusted_relays")
            && !trusted.iter().any(|network| network.contains(*relay))
        {
            let reason = format!("{relay} is none of dhcp.security.trusted_relays, so it gets no answer");
            let hint = "add it there, or remove it here".to_owned();
            reader.warning(&key, reason, Some(hint));
        }
    }
}
