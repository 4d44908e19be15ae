//! Checks of what chooses clients, against what there is to choose: the classes of pools, interfaces that classes
//! name, unknown clients.

use std::collections::HashSet;

use crate::config::model::{Class, Condition, Dhcp, Field, Subnet, UnknownClients};
use crate::config::pattern::Pattern;
use crate::config::section::{Reader, nearest};

/// Checks classes, relays and reservations against those who name them.
pub(super) fn check(dhcp: &Dhcp, reader: &Reader<'_>) {
    let names: HashSet<&str> = dhcp.classes.iter().map(|class| class.name.as_str()).collect();
    for subnet in &dhcp.subnets {
        check_pool_classes(subnet, &names, reader);
    }
    check_interface_patterns(dhcp, reader);
    check_unknown_clients(dhcp, reader);
}

fn check_pool_classes(subnet: &Subnet, classes: &HashSet<&str>, reader: &Reader<'_>) {
    for pool in &subnet.pools {
        let list = format!("dhcp.subnets.{}.pools.{}.classes", subnet.name, pool.name);
        // A wrong item was left out, so positions count only where there was none.
        if !reader.is_sound(&list) {
            continue;
        }
        for (position, name) in pool.classes.iter().enumerate() {
            let known = classes.contains(name.as_str());
            // A class whose name is wrong is not there, and that was said already.
            if known || !reader.is_sound(&format!("dhcp.classes.{name}")) {
                continue;
            }
            let hint = match nearest(name, classes.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => "describe it under dhcp.classes".to_owned(),
            };
            let reason = format!("there is no class \"{}\"", name.escape_debug());
            reader.error(&format!("{list}[{position}]"), reason, Some(hint));
        }
    }
}

/// A class may look at the interface that a message came in by; one that is not served never is.
fn check_interface_patterns(dhcp: &Dhcp, reader: &Reader<'_>) {
    if !dhcp.enabled || dhcp.interfaces.is_empty() || !reader.is_sound("dhcp.interfaces") {
        return;
    }
    for class in &dhcp.classes {
        let mut patterns = Vec::new();
        interface_patterns(&class.condition, &mut patterns);
        let served = |pattern: &Pattern| dhcp.interfaces.iter().any(|name| pattern.fits(name.as_bytes()));
        for pattern in patterns.into_iter().filter(|pattern| !served(pattern)) {
            let key = key_of_interface(class, reader);
            if reader.is_sound(&key) {
                let reason =
                    format!("\"{pattern}\" fits none of dhcp.interfaces, so no client comes in there");
                let hint = format!("served are {}", dhcp.interfaces.join(", "));
                reader.warning(&key, reason, Some(hint));
            }
        }
    }
}

fn interface_patterns<'c>(condition: &'c Condition, found: &mut Vec<&'c Pattern>) {
    match condition {
        Condition::All(inner) | Condition::Any(inner) => {
            for condition in inner {
                interface_patterns(condition, found);
            }
        }
        Condition::Not(inner) => interface_patterns(inner, found),
        Condition::Field(Field::Interface, patterns) => found.extend(patterns),
        Condition::Field(..) => {}
    }
}

fn key_of_interface(class: &Class, reader: &Reader<'_>) -> String {
    let whole = format!("dhcp.classes.{}.match", class.name);
    let direct = format!("{whole}.interface");
    if reader.is_said(&direct) { direct } else { whole }
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
