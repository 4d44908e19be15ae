//! Reads the section `dhcp`, but for its subnets.

use std::path::Path;
use std::time::Duration;

use super::address::InterfaceName;
use super::common::Level;
use super::leaf::Port;
use super::model::{
    Bootp, ConflictCheck, ConflictMethod, DeclineHold, Dhcp, Durability, Fqdn, HistoryLimits, Security,
    Store, UnknownClients,
};
use super::section::Section;
use super::subnet;
use super::units::{Size, show_duration};

/// Reads `dhcp`; `state_dir` is where a relative path of the lease file starts.
pub(super) fn read(section: Section<'_>, state_dir: &Path) -> Dhcp {
    let level = Level::read(&section, &Level::built_in());
    let holds = Duration::from_secs(1)..=Duration::from_secs(3_600);
    let dhcp = Dhcp {
        enabled: section.get("enabled", true),
        interfaces: section
            .list("interfaces", Vec::new())
            .into_iter()
            .map(|InterfaceName(name)| name)
            .collect(),
        port: section.get("port", Port(67)).0,
        workers: section.within("workers", 2, 1..=16, u16::to_string),
        authoritative: section.get("authoritative", true),
        offer_hold: section.within("offer_hold", Duration::from_secs(60), holds, |d| show_duration(*d)),
        decline_hold: decline_hold(section.child("decline_hold")),
        conflict_check: ConflictCheck { method: ConflictMethod::Off, timeout: Duration::from_millis(150) },
        rapid_commit: false,
        subnet_selection: false,
        bootp: Bootp::Dynamic,
        fqdn: Fqdn { suffix: None },
        security: Security {
            allow: Vec::new(),
            deny: Vec::new(),
            unknown_clients: UnknownClients::Allow,
            trusted_relays: Vec::new(),
            client_rate: None,
            max_leases_per_circuit: 0,
        },
        store: store(section.child("store"), state_dir),
        classes: Vec::new(),
        subnets: subnet::read_all(&section, &level),
        common: level.common,
    };
    let conflicts = section.child("conflict_check");
    // Without a method there is nothing to time; a wrong value is an error all the same.
    let _: Option<Duration> = conflicts.find("timeout");
    conflicts.finish();
    section.child("fqdn").finish();
    section.child("security").finish();
    section.finish();
    dhcp
}

fn decline_hold(section: Section<'_>) -> DeclineHold {
    let holds = Duration::from_secs(1)..=super::units::LONGEST;
    let hold = |key: &str, default: u64| {
        section.within(key, Duration::from_secs(default), holds.clone(), |d| show_duration(*d))
    };
    let mut read = DeclineHold { first: hold("first", 600), max: hold("max", 24 * 3_600) };
    if read.first > read.max {
        if section.has("max") {
            let (first, max) = (show_duration(read.first), show_duration(read.max));
            section.error("first", format!("first ({first}) is longer than max ({max})"), None);
        } else {
            read.max = read.first;
        }
    }
    section.finish();
    read
}

fn store(section: Section<'_>, state_dir: &Path) -> Store {
    let history = section.child("history");
    let file = section.nullable::<std::path::PathBuf>("path").flatten().unwrap_or_else(|| "leases.db".into());
    let store = Store {
        path: state_dir.join(file),
        durability: section.get("durability", Durability::PowerLoss),
        history: HistoryLimits {
            keep: history.get("keep", Duration::from_secs(90 * 24 * 3_600)),
            max_size: history.get("max_size", Size(1 << 30)).0,
        },
    };
    history.finish();
    section.finish();
    store
}
