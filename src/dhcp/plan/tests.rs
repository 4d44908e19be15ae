//! What the comparison says of leases: one test for each reason, and for what a client would notice.

use std::path::PathBuf;

use super::*;
use crate::config::model::IdentifyBy;
use crate::config::{ConfigManager, Sources};
use crate::lease::{Client, ClientKey, HardwareAddress, LeaseState, Timestamp};

/// `dhcp:` with these lines, indented by two, on interface eth0.
fn config(lines: &str) -> Arc<Config> {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("dhcp:\n  interfaces: [eth0]\n{lines}");
    std::fs::write(folder.path().join("c.yaml"), text).unwrap();
    let file = Some(PathBuf::from("c.yaml"));
    let sources = Sources { file, folder: folder.path().to_owned(), ..Sources::default() };
    let loaded = ConfigManager::new(sources).load();
    Arc::new(loaded.unwrap_or_else(|report| panic!("{report}")).config)
}

fn interfaces() -> Vec<InterfaceInfo> {
    let addresses = vec![(Ipv4Addr::new(10, 0, 0, 1), 24)];
    vec![InterfaceInfo { name: "eth0".to_owned(), index: 2, addresses, loopback: false }]
}

const LAN: &str =
    "  subnets:\n    lan:\n      network: 10.0.0.0/24\n      pools: {main: {range: 10.0.0.100-10.0.0.199}}\n";

fn lan(more: &str) -> Arc<Config> {
    config(&format!("{LAN}{more}"))
}

fn lease(last: u8) -> Lease {
    let hardware = HardwareAddress::new(1, &[0, 0x11, 0x22, 0x33, 0x44, last]).unwrap();
    let mut client = Client {
        key: ClientKey::from_bytes(&[]),
        hardware,
        client_id: None,
        hostname: Some(format!("host-{last}").into_bytes().into()),
        relay: None,
        circuit_id: None,
        remote_id: None,
        vendor_class: Some(b"PXEClient:Arch:00007"[..].into()),
    };
    client.key = client.identity(IdentifyBy::ClientId).unwrap();
    Lease {
        address: Ipv4Addr::new(10, 0, 0, last),
        client,
        subnet: "lan".into(),
        pool: "main".into(),
        state: LeaseState::Active,
        starts: Timestamp(1),
        expires: Timestamp(1000),
    }
}

fn plan(old: &Arc<Config>, new: &Arc<Config>, leases: &[Lease]) -> LeasePlan {
    let side = |config: &Arc<Config>| (Arc::clone(config), interfaces());
    let mut comparison = Comparison::new(side(old), side(new));
    for lease in leases {
        comparison.weigh(lease);
    }
    comparison.finish()
}

/// The reason for which one lease of .100 is lost, and the words for it.
#[track_caller]
fn loss(new: &Arc<Config>) -> (&'static str, String) {
    let plan = plan(&lan(""), new, &[lease(100)]);
    assert_eq!((plan.total, plan.lost.len(), plan.unaffected), (1, 1, 0), "{plan:?}");
    let group = &plan.lost[0];
    assert_eq!((group.subnet.as_str(), group.pool.as_str(), group.count), ("lan", "main", 1));
    assert_eq!(
        (group.examples[0].mac.as_str(), group.examples[0].hostname.as_str()),
        ("00:11:22:33:44:64", "host-100")
    );
    (group.reason, group.examples[0].detail.clone())
}

#[test]
fn same_configuration_leaves_every_lease_alone() {
    let plan = plan(&lan(""), &lan(""), &[lease(100), lease(101)]);
    assert_eq!((plan.total, plan.unaffected), (2, 2));
    assert!(plan.lost.is_empty() && plan.changed.is_empty() && plan.unserved.is_empty(), "{plan:?}");
    let room = Some(Room { addresses: 100, free: 98 });
    assert_eq!((plan.pools[0].old, plan.pools[0].new), (room, room));
}

#[test]
fn each_reason_for_a_lost_address_is_told() {
    let smaller = LAN.replace("10.0.0.100-", "10.0.0.101-");
    assert_eq!(loss(&config(&smaller)).0, "no-pool");
    assert_eq!(loss(&lan("      exclude: [10.0.0.100]\n")).0, "excluded");
    assert_eq!(loss(&lan("      options: {routers: [10.0.0.100]}\n")).0, "excluded");
    assert_eq!(loss(&config(&LAN.replace("10.0.0.", "10.0.1."))).0, "no-subnet");
    let reserved = lan("      hosts: {a: {mac: 00:aa:bb:cc:dd:ee, ip: 10.0.0.100}}\n");
    assert_eq!(loss(&reserved), ("reserved-for-another", "the address is reserved for lan.a".to_owned()));
    let moves = lan("      hosts: {a: {mac: 00:11:22:33:44:64, ip: 10.0.0.9}}\n");
    assert_eq!(loss(&moves), ("other-reservation", "10.0.0.9 is reserved for the client".to_owned()));
    assert_eq!(loss(&config(&format!("  security: {{deny: [\"00:11:*\"]}}\n{LAN}"))).0, "denied");
    assert_eq!(loss(&config(&format!("  security: {{allow: [\"00:aa:*\"]}}\n{LAN}"))).0, "not-allowed");
    let hosts = "      hosts: {a: {mac: 00:aa:bb:cc:dd:ee}}\n";
    assert_eq!(
        loss(&config(&format!("  security: {{unknown_clients: ignore}}\n{LAN}{hosts}"))).0,
        "unknown-client"
    );
    let class = "  classes: {pxe: {match: {vendor-class: \"PXE*\"}, drop: true}}\n";
    let dropped = ("class-drop", "class pxe is answered with silence".to_owned());
    assert_eq!(loss(&config(&format!("{class}{LAN}"))), dropped);
    let gated = LAN.replace("199}", "199, classes: [voip]}");
    let class = "  classes: {voip: {match: {vendor-class: phone}}}\n";
    let closed = ("pool-closed", "pool main is not open to the client".to_owned());
    assert_eq!(loss(&config(&format!("{class}{gated}"))), closed);
    assert_eq!(loss(&config(&format!("  enabled: false\n{LAN}"))).0, "dhcp-off");
}

#[test]
fn client_of_a_subnet_that_has_left_its_interface_is_not_reached() {
    let mut new = Config::clone(&lan(""));
    new.dhcp.interfaces.push("eth1".to_owned());
    new.dhcp.subnets[0].interface = Some("eth1".to_owned());
    assert_eq!(loss(&Arc::new(new)).0, "unreached");
}

#[test]
fn class_by_what_the_lease_remembers_opens_a_pool() {
    let gated = LAN.replace("199}", "199, classes: [pxe]}");
    let new = config(&format!("  classes: {{pxe: {{match: {{vendor-class: \"PXE*\"}}}}}}\n{gated}"));
    let plan = plan(&lan(""), &new, &[lease(100)]);
    assert_eq!((plan.unaffected, plan.blind.len()), (1, 0), "{plan:?}");
}

#[test]
fn classes_that_look_at_what_no_lease_remembers_are_named() {
    let new = config(&format!(
        "  classes: {{pxe: {{match: {{any: [{{architecture: 7}}, {{option: {{43: x}}}}]}}}}}}\n{LAN}"
    ));
    let plan = plan(&lan(""), &new, &[]);
    let looks_at = vec!["architecture".to_owned(), "option 43".to_owned()];
    assert_eq!(plan.blind, [Blind { class: "pxe".to_owned(), looks_at }]);
}

#[test]
fn changed_terms_are_counted_once_for_all_that_share_them() {
    let new = "      lease_time: 2h\n      boot_file: x.efi\n      options: {domain-name: example.net}\n";
    let leases: Vec<Lease> = (100..150).map(lease).collect();
    let plan = plan(&lan("      options: {domain-name: example.org}\n"), &lan(new), &leases);
    let [group] = plan.changed.as_slice() else { panic!("{plan:?}") };
    assert_eq!((group.count, group.examples.len(), plan.unaffected), (50, 3, 0));
    let changes: Vec<_> =
        group.changes.iter().map(|d| (d.name.as_str(), d.old.as_deref(), d.new.as_deref())).collect();
    assert_eq!(
        changes,
        [
            ("boot_file", None, Some("x.efi")),
            ("domain-name", Some("example.org"), Some("example.net")),
            ("lease_time", Some("1h (5m to 1d)"), Some("2h (5m to 1d)")),
        ]
    );
}

#[test]
fn lease_of_a_relayed_client_needs_its_relay() {
    let relayed = || {
        let mut lease = lease(100);
        lease.client.relay = Some(Ipv4Addr::new(192, 0, 2, 1));
        lease
    };
    let old = lan("      relays: [192.0.2.1]\n");
    assert_eq!(plan(&old, &old, &[relayed()]).unaffected, 1);
    assert_eq!(plan(&old, &lan(""), &[relayed()]).lost[0].reason, "unreached");
    let trusted = config(&format!(
        "  security: {{trusted_relays: [192.0.2.2]}}\n{LAN}      relays: [192.0.2.1, 192.0.2.2]\n"
    ));
    assert_eq!(plan(&old, &trusted, &[relayed()]).lost[0].reason, "untrusted-relay");
    // Where the relay chose the link by an option, nothing is known of it, and nothing is said.
    assert_eq!(plan(&lan(""), &lan(""), &[relayed()]).unaffected, 1);
}

#[test]
fn another_way_to_tell_clients_apart_ends_leases() {
    let mut by_id = lease(100);
    by_id.client.client_id = Some(b"box"[..].into());
    by_id.client.key = by_id.client.identity(IdentifyBy::ClientId).unwrap();
    let plan = plan(&lan(""), &lan("      identify_by: mac\n"), &[by_id, lease(101)]);
    assert_eq!((plan.lost[0].reason, plan.lost[0].count, plan.unaffected), ("identity", 1, 1), "{plan:?}");
}

#[test]
fn what_nobody_serves_now_is_not_the_changes_fault() {
    let plan = plan(&lan(""), &lan(""), &[lease(50)]);
    assert!(plan.lost.is_empty());
    assert_eq!((plan.unserved[0].reason, plan.unserved[0].count), ("no-pool", 1));
}

#[test]
fn free_addresses_are_counted_before_and_after() {
    let new = config(
        &LAN.replace("199}", "149}, more: {range: 10.0.0.150-10.0.0.160}")
            .replace("10.0.0.100-", "10.0.0.90-"),
    );
    let mut comparison =
        Comparison::new((lan("      exclude: [10.0.0.190-10.0.0.199]\n"), interfaces()), (new, interfaces()));
    for last in [100, 101, 155] {
        comparison.weigh(&lease(last));
    }
    comparison.rest(Ipv4Addr::new(10, 0, 0, 102));
    let plan = comparison.finish();
    let room = |addresses, free| Some(Room { addresses, free });
    let pools: Vec<_> = plan.pools.iter().map(|pool| (pool.pool.as_str(), pool.old, pool.new)).collect();
    assert_eq!(pools, [("main", room(90, 86), room(60, 57)), ("more", None, room(11, 10))]);
}
