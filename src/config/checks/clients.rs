//! Checks of what chooses clients, against what there is to choose: the classes of pools, trusted relays, unknown
//! clients.

use crate::config::model::{Class, Dhcp, Subnet, UnknownClients};
use crate::config::network::Network;
use crate::config::section::{Reader, nearest};

/// Checks classes, relays and reservations against those who name them.
pub(super) fn check(dhcp: &Dhcp, reader: &Reader<'_>) {
    for subnet in &dhcp.subnets {
        check_pool_classes(subnet, &dhcp.classes, reader);
    }
    check_relays(dhcp, reader);
    check_unknown_clients(dhcp, reader);
}

fn check_pool_classes(subnet: &Subnet, classes: &[Class], reader: &Reader<'_>) {
    for pool in &subnet.pools {
        let list = format!("dhcp.subnets.{}.pools.{}.classes", subnet.name, pool.name);
        // A wrong item was left out, so positions count only where there was none.
        if !reader.is_sound(&list) {
            continue;
        }
        for (position, name) in pool.classes.iter().enumerate() {
            let known = classes.iter().any(|class| class.name == *name);
            // A class whose name is wrong is not there, and that was said already.
            if known || !reader.is_sound(&format!("dhcp.classes.{name}")) {
                continue;
            }
            let hint = match nearest(name, classes.iter().map(|class| class.name.as_str())) {
                Some(near) => format!("did you mean {near}?"),
                None => "describe it under dhcp.classes".to_owned(),
            };
            let reason = format!("there is no class \"{}\"", name.escape_debug());
            reader.error(&format!("{list}[{position}]"), reason, Some(hint));
        }
    }
}

fn check_relays(dhcp: &Dhcp, reader: &Reader<'_>) {
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

fn check_unknown_clients(dhcp: &Dhcp, reader: &Reader<'_>) {
    let no_host = dhcp.subnets.iter().all(|subnet| subnet.hosts.is_empty());
    if dhcp.security.unknown_clients == UnknownClients::Ignore
        && dhcp.enabled
        && no_host
        && reader.is_sound("dhcp.subnets")
    {
        let hint = "describe the clients under dhcp.subnets.NAME.hosts".to_owned();
        let reason = "only clients with a reservation are answered, and there is no reservation";
        reader.warning("dhcp.security.unknown_clients", reason, Some(hint));
    }
}
