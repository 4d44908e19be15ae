//! Inheritance and selection of options.

use serde_json::json;

use super::world::{FAR, LAN, config, options, pipeline};
use crate::dhcp::options::{OptionsManager, Origin};
use crate::lease::SubnetId;

#[test]
fn the_nearest_level_wins_option_by_option_and_is_remembered() {
    let mut config = config();
    let lan = &mut config.dhcp.subnets[1];
    lan.common.options.extend(options(json!({"domain-name": "lan.org", "ntp-servers": "10.0.0.5"})));
    lan.pools[0].options = options(json!({"ntp-servers": ["10.0.0.6"]}));
    let manager = OptionsManager::new(&config);
    let set = manager.of_pool(LAN).unwrap();
    let found = |code: u8| set.get(code).map(|option| (option.bytes.to_vec(), option.origin.clone()));
    assert_eq!(found(6), Some((vec![10, 0, 0, 2, 10, 0, 0, 3], Origin::Global)));
    assert_eq!(found(15), Some((b"lan.org".to_vec(), Origin::Subnet("lan".into()))));
    assert_eq!(found(42), Some((vec![10, 0, 0, 6], Origin::Pool("main".into()))));
    assert_eq!(found(1), Some((vec![255, 255, 255, 0], Origin::Derived)));
    assert_eq!(found(28), Some((vec![10, 0, 0, 255], Origin::Derived)));
    assert_eq!(manager.of_subnet(SubnetId(1)).unwrap().get(42).unwrap().bytes[3], 5);
    assert_eq!(manager.of_pool(FAR).unwrap().get(15).unwrap().origin, Origin::Global);
}

#[test]
fn derived_options_can_be_overridden_and_small_networks_have_no_broadcast() {
    let mut config = config();
    config.dhcp.subnets[1].common.options.extend(options(json!({"subnet-mask": "255.255.0.0"})));
    config.dhcp.subnets[0].network = "10.9.0.0/31".parse().unwrap();
    let manager = OptionsManager::new(&config);
    assert_eq!(manager.of_pool(LAN).unwrap().get(1).unwrap().bytes[..], [255, 255, 0, 0]);
    assert_eq!(manager.of_subnet(SubnetId(0)).unwrap().get(28), None);
}

fn selected(list: Option<&[u8]>) -> Vec<u8> {
    let pipeline = pipeline(|_| {});
    pipeline.options().of_pool(LAN).unwrap().select(list).iter().map(|(code, _)| *code).collect()
}

#[test]
fn what_is_asked_for_is_sent_in_the_order_asked_and_once() {
    assert_eq!(selected(Some(&[15, 6, 15, 99, 28])), [15, 6, 28]);
    assert!(selected(Some(&[])).is_empty());
}

#[test]
fn the_subnet_mask_goes_before_the_routers() {
    assert_eq!(selected(Some(&[3, 15, 1, 6])), [1, 3, 15, 6]);
    assert_eq!(selected(Some(&[1, 15, 3])), [1, 15, 3]);
    assert_eq!(selected(Some(&[3])), [3]);
}

#[test]
fn a_client_without_a_list_gets_everything_the_basics_first() {
    assert_eq!(selected(None), [1, 3, 6, 15, 28]);
}

#[test]
fn every_level_is_checked_with_its_key() {
    let mut config = config();
    config.dhcp.common.options = options(json!({"router": "10.0.0.1"}));
    config.dhcp.subnets[0].common.options = options(json!({"routers": "x"}));
    config.dhcp.subnets[1].pools[0].options = options(json!({"routers": "10.0.0.1", "option-3": "10.0.0.1"}));
    let keys: Vec<_> = crate::dhcp::check(&config).into_iter().map(|(key, ..)| key).collect();
    assert_eq!(
        keys,
        [
            "dhcp.options.router",
            "dhcp.subnets.far.options.routers",
            "dhcp.subnets.lan.pools.main.options.routers"
        ]
    );
}
