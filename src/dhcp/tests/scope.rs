//! Which link a message came from.

use super::world::{Script, Sent, config, ip, pipeline, pool, run, silence, subnet};
use crate::config::Config;
use crate::dhcp::{Outcome, Silence};

/// The pools that the engine is asked to choose from; "none" where the subnet is unknown.
fn pools(change: impl FnOnce(&mut Config), sent: &Sent) -> String {
    let mut script = Script::default();
    match run(&pipeline(change), sent, &mut script) {
        Outcome::Silence { reason: Silence::UnknownSubnet, .. } => "none".into(),
        _ => script.asked.join("; ").split_once('[').unwrap().1.split_once(']').unwrap().0.into(),
    }
}

#[test]
fn a_local_client_belongs_to_the_subnet_of_the_interfaces_address() {
    assert_eq!(pools(|_| {}, &Sent::new(1)), "1");
}

#[test]
fn a_named_interface_goes_before_addresses() {
    let named = |config: &mut Config| {
        config.dhcp.subnets[0].interface = Some("eth0".into());
        config.dhcp.subnets[1].interface = Some("eth1".into());
    };
    assert_eq!(pools(named, &Sent::new(1)), "0");
    assert_eq!(pools(|config| config.dhcp.subnets[1].interface = Some("eth1".into()), &Sent::new(1)), "none");
}

#[test]
fn a_relay_is_known_by_its_prefix_or_by_the_list() {
    assert_eq!(pools(|_| {}, &Sent::new(1).giaddr("10.9.0.1")), "0");
    assert_eq!(pools(|_| {}, &Sent::new(1).giaddr("172.16.0.9")), "0");
    assert_eq!(pools(|_| {}, &Sent::new(1).giaddr("172.16.0.10")), "none");
}

#[test]
fn link_selection_goes_before_giaddr_and_only_from_a_known_relay() {
    let select = |address: &str| {
        let option = [&[5, 4][..], &ip(address).octets()].concat();
        Sent::new(1).option(82, &option)
    };
    assert_eq!(pools(|_| {}, &select("10.0.0.0").giaddr("172.16.0.9")), "1");
    assert_eq!(pools(|_| {}, &select("10.77.0.0").giaddr("172.16.0.9")), "none");
    assert_eq!(pools(|_| {}, &select("10.0.0.0").giaddr("172.16.0.10")), "none");
    // Without a relay the sub-option is whatever the client made up.
    assert_eq!(pools(|_| {}, &select("10.9.0.0")), "1");
}

#[test]
fn a_shared_network_opens_all_its_pools_its_own_first() {
    let share = |config: &mut Config| {
        config.dhcp.subnets[0].shared_network = Some("campus".into());
        config.dhcp.subnets[1].shared_network = Some("campus".into());
    };
    assert_eq!(pools(share, &Sent::new(1)), "1, 0");
    assert_eq!(pools(share, &Sent::new(1).giaddr("10.9.0.1")), "0, 1");
}

#[test]
fn of_two_subnets_on_an_interface_the_one_that_the_client_names_serves_it() {
    let two = |config: &mut Config| {
        config.dhcp.subnets.push(subnet("test", "192.0.2.0/24", vec![pool("main", "192.0.2.10-192.0.2.20")]));
    };
    assert_eq!(pools(two, &Sent::new(1)), "1");
    assert_eq!(pools(two, &Sent::new(1).address(50, "192.0.2.10")), "2");
    assert_eq!(pools(two, &Sent::new(3).ciaddr("192.0.2.10")), "2");
    assert_eq!(pools(two, &Sent::new(3).address(50, "192.0.2.10")), "2");
}

#[test]
fn a_renewal_through_a_router_belongs_to_the_clients_subnet() {
    let renewal = Sent::new(3).ciaddr("10.9.0.100").unicast("10.9.0.100", "10.0.0.1");
    assert_eq!(pools(|_| {}, &renewal), "0");
    let untold = Sent { to: None, ..renewal };
    assert_eq!(pools(|_| {}, &untold), "0");
}

#[test]
fn a_broadcast_with_a_foreign_address_is_judged_on_the_link_that_it_came_by() {
    // A client that has moved here must be told so, not served as if it were still there.
    assert_eq!(pools(|_| {}, &Sent::new(3).ciaddr("10.9.0.100")), "1");
    assert_eq!(pools(|_| {}, &Sent::new(3).address(50, "10.9.0.100")), "1");
}

#[test]
fn unknown_interfaces_and_links_are_silence() {
    let pipeline = pipeline(|_| {});
    let elsewhere = Sent { interface: 99, ..Sent::new(1) };
    assert_eq!(silence(&pipeline, &elsewhere), Silence::UnknownInterface);
    assert_eq!(silence(&pipeline, &Sent::new(1).on_loopback()), Silence::UnknownSubnet);
    assert_eq!(config().dhcp.subnets.len(), 2);
}
