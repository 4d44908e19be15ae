//! Reads the section `dhcp`; its classes, its security and its subnets have files of their own.

use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;

use super::address::InterfaceName;
use super::common::Level;
use super::identity::DomainName;
use super::leaf::{Leaf, Port};
use super::model::{
    Bootp, ConflictCheck, ConflictMethod, DeclineHold, Dhcp, Durability, Fqdn, HistoryLimits, Store,
};
use super::section::Section;
use super::units::{Size, show_duration};
use super::{class, security, subnet};

/// Reads `dhcp`; `state_dir` is where a relative path of the lease file starts.
pub(super) fn read(section: Section<'_>, state_dir: &Path) -> Dhcp {
    let level = Level::read(&section, &Level::built_in());
    level.show_unsaid(&section);
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
        conflict_check: conflict_check(section.child("conflict_check")),
        rapid_commit: section.get("rapid_commit", false),
        subnet_selection: section.get("subnet_selection", false),
        bootp: section.get("bootp", Bootp::Dynamic),
        fqdn: fqdn(section.child("fqdn")),
        security: security::read(&section.child("security")),
        store: store(section.child("store"), state_dir),
        classes: class::read_all(&section, level.times),
        subnets: subnet::read_all(&section, &level),
        common: level.common,
    };
    section.finish();
    dhcp
}

fn conflict_check(section: Section<'_>) -> ConflictCheck {
    // Less is no time for an answer; with more, a client has given up before its offer comes (RFC 2131 §4.1: it
    // sends again after 4 s, then 8 s).
    let times = Duration::from_millis(10)..=Duration::from_secs(5);
    let check = ConflictCheck {
        method: section.get("method", ConflictMethod::Auto),
        timeout: section.within("timeout", Duration::from_millis(150), times, |d| show_duration(*d)),
    };
    section.finish();
    check
}

fn fqdn(section: Section<'_>) -> Fqdn {
    let fqdn = Fqdn { suffix: section.nullable::<DomainName>("suffix").flatten().map(|name| name.0) };
    section.fallback("suffix", Json::Null);
    section.finish();
    fqdn
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
            section.show("max", read.max.show());
        }
    }
    section.finish();
    read
}

fn store(section: Section<'_>, state_dir: &Path) -> Store {
    let history = section.child("history");
    let file = section.nullable::<std::path::PathBuf>("path").flatten().unwrap_or_else(|| "leases.db".into());
    section.fallback("path", "leases.db".into());
    let path = state_dir.join(file);
    section.show("path", path.show());
    let store = Store {
        path,
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
