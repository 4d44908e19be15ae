//! Inheritance and selection of options.

use serde_json::json;

use super::world::{FAR, LAN, config, options, pipeline};
use crate::config::model::{Boot, Class, Condition, Host};
use crate::dhcp::options::{Layers, OptionsManager, Origin, PlaceRef};
use crate::lease::{PoolId, SubnetId};

fn of_pool(manager: &OptionsManager, pool: PoolId) -> Layers<'_> {
    manager.layers(PlaceRef::Pool(pool), &[], None)
}

fn of_subnet(manager: &OptionsManager, subnet: u16) -> Layers<'_> {
    manager.layers(PlaceRef::Subnet(SubnetId(subnet)), &[], None)
}

#[test]
fn the_nearest_level_wins_option_by_option_and_is_remembered() {
    let mut config = config();
    let lan = &mut config.dhcp.subnets[1];
    lan.common.options.extend(options(json!({"domain-name": "lan.org", "ntp-servers": "10.0.0.5"})));
    lan.pools[0].options = options(json!({"ntp-servers": ["10.0.0.6"]}));
    let manager = OptionsManager::new(&config);
    let set = of_pool(&manager, LAN);
    let found = |code: u8| set.get(code).map(|option| (option.bytes.to_vec(), option.origin.clone()));
    assert_eq!(found(6), Some((vec![10, 0, 0, 2, 10, 0, 0, 3], Origin::Global)));
    assert_eq!(found(15), Some((b"lan.org".to_vec(), Origin::Subnet("lan".into()))));
    assert_eq!(found(42), Some((vec![10, 0, 0, 6], Origin::Pool("main".into()))));
    assert_eq!(found(1), Some((vec![255, 255, 255, 0], Origin::Derived)));
    assert_eq!(found(28), Some((vec![10, 0, 0, 255], Origin::Derived)));
    assert_eq!(of_subnet(&manager, 1).get(42).unwrap().bytes[3], 5);
    assert_eq!(of_pool(&manager, FAR).get(15).unwrap().origin, Origin::Global);
}

#[test]
fn derived_options_can_be_overridden_and_small_networks_have_no_broadcast() {
    let mut config = config();
    config.dhcp.subnets[1].common.options.extend(options(json!({"subnet-mask": "255.255.0.0"})));
    config.dhcp.subnets[0].network = "10.9.0.0/31".parse().unwrap();
    let manager = OptionsManager::new(&config);
    assert_eq!(of_pool(&manager, LAN).get(1).unwrap().bytes[..], [255, 255, 0, 0]);
    assert_eq!(of_subnet(&manager, 0).get(28), None);
}

fn selected(list: Option<&[u8]>) -> Vec<u8> {
    let pipeline = pipeline(|_| {});
    of_pool(&pipeline.options, LAN).select(list).iter().map(|(code, _)| *code).collect()
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
    config.dhcp.subnets[1].hosts = vec![host("a", None, json!({"ntp-servers": 1, "option-53": null}))];
    config.dhcp.classes = vec![class("c", json!({"option-6": null, "domain-name-servers": null}))];
    let keys: Vec<_> = crate::dhcp::check(&config).into_iter().map(|(key, ..)| key).collect();
    assert_eq!(
        keys,
        [
            "dhcp.options.router",
            "dhcp.subnets.far.options.routers",
            "dhcp.subnets.lan.pools.main.options.routers",
            "dhcp.subnets.lan.hosts.a.options.ntp-servers",
            "dhcp.subnets.lan.hosts.a.options.option-53",
            "dhcp.classes.c.options.option-6",
        ]
    );
}

fn class(name: &str, given: serde_json::Value) -> Class {
    Class {
        name: name.into(),
        order: 0,
        condition: Condition::All(Vec::new()),
        drop: false,
        lease_time: None,
        boot: Boot::default(),
        options: options(given),
    }
}

fn host(name: &str, hostname: Option<&str>, given: serde_json::Value) -> Host {
    Host {
        name: name.into(),
        macs: vec![vec![2, 0, 0, 0, 0, 1]],
        client_id: None,
        circuit_id: None,
        remote_id: None,
        ip: None,
        hostname: hostname.map(str::to_owned),
        lease_time: None,
        boot: Boot::default(),
        options: options(given),
    }
}

/// Two classes and three hosts in `lan`.
fn levels() -> OptionsManager {
    let mut config = config();
    config.dhcp.classes = vec![
        class("first", json!({"ntp-servers": "10.0.0.1", "time-offset": 1})),
        class("second", json!({"ntp-servers": "10.0.0.2", "domain-name": null})),
    ];
    config.dhcp.subnets[1].hosts = vec![
        host("a", Some("printer"), json!({"ntp-servers": "10.0.0.3", "domain-name": "host.org"})),
        host("b", Some("printer"), json!({"host-name": "other"})),
        host("c", Some("printer"), json!({"host-name": null})),
    ];
    assert_eq!(crate::dhcp::check(&config), []);
    OptionsManager::new(&config)
}

fn origin(layers: Layers<'_>, code: u8) -> Option<Origin> {
    layers.get(code).map(|option| option.origin.clone())
}

#[test]
fn a_later_class_goes_before_an_earlier_one_and_the_host_before_all() {
    let manager = levels();
    let layers = |classes, host| manager.layers(PlaceRef::Pool(LAN), classes, host);
    let class = |name: &str| Some(Origin::Class(name.into()));
    assert_eq!(origin(layers(&[], None), 42), None);
    assert_eq!(origin(layers(&[0], None), 42), class("first"));
    assert_eq!(origin(layers(&[0, 1], None), 42), class("second"));
    assert_eq!(origin(layers(&[0, 1], None), 2), class("first"));
    assert_eq!(origin(layers(&[0, 1], Some((1, 0))), 42), Some(Origin::Host("a".into())));
    assert_eq!(origin(layers(&[0, 1], Some((1, 0))), 6), Some(Origin::Global));
}

#[test]
fn what_a_level_unsets_is_gone_until_a_nearer_one_sets_it() {
    let manager = levels();
    let layers = |classes, host| manager.layers(PlaceRef::Pool(LAN), classes, host);
    assert_eq!(origin(layers(&[0], None), 15), Some(Origin::Global));
    assert_eq!(origin(layers(&[1], None), 15), None);
    assert!(layers(&[1], None).iter().all(|option| option.code != 15));
    assert_eq!(layers(&[1], None).select(Some(&[15, 6])).len(), 1);
    assert_eq!(origin(layers(&[1], Some((1, 0))), 15), Some(Origin::Host("a".into())));
    let mut config = config();
    config.dhcp.subnets[1].common.options.extend(options(json!({"subnet-mask": null, "routers": null})));
    config.dhcp.subnets[1].pools[0].options = options(json!({"routers": "10.0.0.9"}));
    let manager = OptionsManager::new(&config);
    assert_eq!(of_subnet(&manager, 1).iter().map(|option| option.code).collect::<Vec<_>>(), [6, 15, 28]);
    assert_eq!(origin(of_pool(&manager, LAN), 3), Some(Origin::Pool("main".into())));
}

#[test]
fn the_name_of_a_host_is_its_host_name_option_unless_its_options_say_otherwise() {
    let manager = levels();
    let name = |at| {
        let layers = manager.layers(PlaceRef::Subnet(SubnetId(1)), &[], Some((1, at)));
        layers.get(12).map(|option| option.bytes.to_vec())
    };
    assert_eq!([name(0), name(1), name(2)], [Some(b"printer".to_vec()), Some(b"other".to_vec()), None]);
}

#[test]
fn an_option_marked_always_goes_out_unasked_behind_the_others() {
    let mut config = config();
    config.dhcp.common.options.extend(options(json!({
        "ntp-servers": {"value": "10.0.0.5", "always": true},
        "option-224": {"hex": "01", "always": true},
    })));
    config.dhcp.subnets[1].pools[0].options = options(json!({"option-224": {"hex": "02"}}));
    config.dhcp.classes = vec![class("loud", json!({"option-224": {"u8": 3, "always": true}}))];
    let manager = OptionsManager::new(&config);
    let sent = |layers: Layers<'_>, list: &[u8]| -> Vec<u8> {
        layers.select(Some(list)).iter().map(|(code, _)| *code).collect()
    };
    assert_eq!(sent(of_subnet(&manager, 1), &[15]), [15, 42, 224]);
    assert_eq!(sent(of_subnet(&manager, 1), &[224, 15]), [224, 15, 42]);
    assert_eq!(sent(of_pool(&manager, LAN), &[15]), [15, 42], "the pool takes the mark away");
    assert_eq!(sent(manager.layers(PlaceRef::Pool(LAN), &[0], None), &[]), [42, 224]);
}

/// RFC 3442, page 5.
#[test]
fn classless_routes_that_were_asked_for_replace_routers_and_static_routes() {
    let mut config = config();
    let lan = &mut config.dhcp.subnets[1].common.options;
    lan.extend(options(
        json!({"classless-static-routes": "default 10.0.0.1", "static-routes": "10.1.0.0 10.0.0.1"}),
    ));
    let manager = OptionsManager::new(&config);
    let layers = of_pool(&manager, LAN);
    let sent = |list| layers.select(list).iter().map(|(code, _)| *code).collect::<Vec<_>>();
    assert_eq!(sent(Some(&[3, 1, 33, 121])), [1, 121]);
    assert_eq!(sent(Some(&[3, 1, 33])), [1, 3, 33]);
    assert_eq!(sent(None), [1, 3, 6, 15, 28, 33, 121], "it did not ask, so it may not know 121");
    assert_eq!(of_pool(&manager, FAR).select(Some(&[121])), []);
}

#[test]
fn a_remembered_menu_is_what_would_be_selected_and_nobody_elses() {
    let mut config = config();
    config.dhcp.classes = vec![class("phones", json!({"domain-name": "phones.example.org"}))];
    let manager = OptionsManager::new(&config);
    let lists: [Option<&[u8]>; 5] =
        [None, Some(&[]), Some(&[1, 3, 6, 15]), Some(&[15, 6, 3, 1]), Some(&[6; 300])];
    for _ in 0..2 {
        for place in [LAN, FAR] {
            for classes in [&[][..], &[0]] {
                for list in lists {
                    let layers = manager.layers(PlaceRef::Pool(place), classes, None);
                    let mut block = Vec::new();
                    for (code, data) in layers.select(list) {
                        crate::protocol::encode::put(code, data, &mut block);
                    }
                    let menu = manager.menu(&layers, list);
                    assert_eq!(menu.block(), block, "{place:?} {classes:?} {list:?}");
                    assert_eq!(menu.codes().iter().count(), layers.select(list).len());
                }
            }
        }
    }
}
