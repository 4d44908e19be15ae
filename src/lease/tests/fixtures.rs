//! Addresses that nobody can ever lease, whichever level of the configuration names them.

use super::hosts::host;
use super::memory::MemoryStore;
use super::*;
use crate::config::model::{Class, Condition, Host};

#[test]
fn routers_and_servers_of_other_levels_are_never_given() {
    let routers = |address: &str| BTreeMap::from([("routers".to_owned(), serde_json::json!([address]))]);
    let mut lan =
        subnet("lan", "10.0.0.0/28", None, &[("main", "10.0.0.1-10.0.0.7"), ("rest", "10.0.0.8-10.0.0.9")]);
    lan.pools[1].options = routers("10.0.0.1");
    lan.hosts = vec![Host { options: routers("10.0.0.2"), ..host("phone", &[60], None) }];
    let mut other = subnet("other", "10.1.0.0/24", None, &[]);
    other.common.options = routers("10.0.0.3");
    other.common.server_id = Some(ip("10.0.0.4"));
    let class = Class {
        name: "phones".into(),
        order: 0,
        condition: Condition::All(Vec::new()),
        drop: false,
        lease_time: None,
        boot: Boot::default(),
        options: routers("10.0.0.5"),
    };
    let topology = Topology::lay_out(&common(), &[lan, other], &[class]);
    let mut engine = MemoryStore::default().manager(&topology, Offers::private());
    let mut given: Vec<_> = (0..10).filter_map(|n| engine.discover_at(START, n)).collect();
    given.sort_unstable();
    assert_eq!(given, [ip("10.0.0.6"), ip("10.0.0.7")]);
    let fixtures = (0..16).filter(|end| topology.is_fixture(Ipv4Addr::from(0x0a00_0000 + end)));
    assert_eq!(fixtures.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 15]);
}
