//! Which classes a message belongs to, field by field, and which pools they open.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use super::world::{Sent, class, config, ip, pool};
use crate::config::model::{Class, Condition, Field};
use crate::dhcp::classes::{ClassSet, Classes, Facts};
use crate::lease::PoolId;
use crate::protocol::DhcpParser;

fn field(field: Field, patterns: &[&str]) -> Condition {
    Condition::Field(field, patterns.iter().map(|pattern| pattern.parse().unwrap()).collect())
}

fn classes(all: Vec<Class>) -> Classes {
    let mut config = config();
    config.dhcp.classes = all;
    Classes::new(&config)
}

/// What a relay may have told.
#[derive(Clone, Copy, Default)]
struct Told<'a> {
    circuit: Option<&'a [u8]>,
    remote: Option<&'a [u8]>,
    relay: Option<Ipv4Addr>,
}

fn set(classes: &Classes, sent: &Sent, told: Told<'_>) -> ClassSet {
    let message = DhcpParser::parse(&sent.bytes).unwrap();
    classes.of(&Facts {
        message: &message,
        circuit_id: told.circuit,
        remote_id: told.remote,
        relay: told.relay,
        interface: "eth0",
    })
}

fn fits_with(condition: Condition, sent: &Sent, told: Told<'_>) -> bool {
    !set(&classes(vec![class("one", condition)]), sent, told).is_empty()
}

fn fits(of: Field, pattern: &str, sent: &Sent) -> bool {
    fits_with(field(of, &[pattern]), sent, Told::default())
}

fn mac(bytes: &[u8]) -> Sent {
    Sent::new(1).field(2, &[u8::try_from(bytes.len()).unwrap()]).field(28, bytes)
}

#[test]
fn hardware_addresses_fit_in_any_case_or_by_their_bytes() {
    let sent = mac(&[0, 0x1a, 0xff, 3, 4, 5]);
    for pattern in ["00:1a:ff:03:04:05", "00:1A:FF:*", "*:05", "0x001aff030405", "0x001a*"] {
        assert!(fits(Field::Mac, pattern, &sent), "{pattern}");
    }
    for pattern in ["00:1a", "1a:*", "0x1a*"] {
        assert!(!fits(Field::Mac, pattern, &sent), "{pattern}");
    }
    assert!(!fits(Field::Mac, "*", &mac(&[])), "no address fits nothing");
}

#[test]
fn vendor_class_and_options_fit_by_their_bytes_and_case_counts() {
    let sent = Sent::new(1).option(60, b"PXEClient:Arch:00007:UNDI:003000").option(224, &[1, 2, 3]);
    assert!(fits(Field::VendorClass, "PXEClient:Arch:00007*", &sent));
    assert!(!fits(Field::VendorClass, "pxeclient*", &sent));
    assert!(fits(Field::VendorClass, "0x505845*", &sent));
    assert!(fits(Field::Option(224), "0x010203", &sent));
    assert!(fits(Field::Option(60), "PXE*", &sent));
    assert!(!fits(Field::Option(225), "*", &sent));
}

#[test]
fn user_class_fits_whole_or_by_a_part() {
    let parts = Sent::new(1).option(77, b"\x04iPXE\x05blue1");
    for (pattern, fitting) in
        [("iPXE", true), ("blue?", true), ("iPX", false), ("*iPXE*", true), ("\u{4}iPXE*", true)]
    {
        assert_eq!(fits(Field::UserClass, pattern, &parts), fitting, "{pattern:?}");
    }
    let whole = Sent::new(1).option(77, b"iPXE");
    assert!(fits(Field::UserClass, "iPXE", &whole));
    // What looks like a part, but whose lengths do not add up, is a text.
    let broken = Sent::new(1).option(77, b"\x04iPXE\x05blue");
    assert!(!fits(Field::UserClass, "iPXE", &broken));
    assert!(fits(Field::UserClass, "?iPXE?blue", &broken));
}

#[test]
fn client_id_fits_as_text_and_as_hex() {
    let sent = Sent::new(1).option(61, b"\x00printer");
    for pattern in ["?printer", "00:70:72:*", "00:70:72:69:6E:74:65:72", "0x007072*"] {
        assert!(fits(Field::ClientId, pattern, &sent), "{pattern}");
    }
    assert!(!fits(Field::ClientId, "printer", &sent));
    assert!(!fits(Field::ClientId, "*", &Sent::new(1)));
}

#[test]
fn hostname_fits_in_any_case() {
    let sent = Sent::new(1).option(12, b"Printer-7");
    assert!(fits(Field::Hostname, "printer-*", &sent));
    assert!(fits(Field::Hostname, "0x5072*", &sent));
    assert!(!fits(Field::Hostname, "0x7072*", &sent), "bytes are bytes");
}

#[test]
fn architecture_is_any_of_its_numbers() {
    let sent = Sent::new(1).option(93, &[0, 7, 0, 16]);
    for pattern in ["7", "16", "1*", "0x0007"] {
        assert!(fits(Field::Architecture, pattern, &sent), "{pattern}");
    }
    for pattern in ["0", "00007", "8", "0x07"] {
        assert!(!fits(Field::Architecture, pattern, &sent), "{pattern}");
    }
    assert!(!fits(Field::Architecture, "*", &Sent::new(1).option(93, &[7])), "half a number is none");
}

#[test]
fn what_the_relay_told_fits_wherever_it_was_remembered_from() {
    let told = Told { circuit: Some(b"Gi0/7"), remote: Some(&[0, 0xaa]), relay: Some(ip("10.9.0.1")) };
    let sent = Sent::new(1);
    let holds = |of, pattern: &str| fits_with(field(of, &[pattern]), &sent, told);
    assert!(holds(Field::CircuitId, "Gi0/*") && holds(Field::CircuitId, "0x4769*"));
    assert!(!holds(Field::CircuitId, "gi0/*"));
    assert!(holds(Field::RemoteId, "0x00aa"));
    assert!(holds(Field::Relay, "10.9.*") && holds(Field::Relay, "0x0a09*"));
    assert!(!holds(Field::Relay, "10.8.*"));
    assert!(!fits(Field::Relay, "*", &sent) && !fits(Field::CircuitId, "*", &sent));
}

#[test]
fn interface_fits_by_its_name() {
    assert!(fits(Field::Interface, "eth*", &Sent::new(1)));
    assert!(!fits(Field::Interface, "eth1", &Sent::new(1)));
}

#[test]
fn conditions_nest() {
    let host = |pattern: &str| field(Field::Hostname, &[pattern]);
    let vendor = |pattern: &str| field(Field::VendorClass, &[pattern]);
    let sent = Sent::new(1).option(12, b"a").option(60, b"v");
    let holds = |condition| fits_with(condition, &sent, Told::default());
    assert!(holds(Condition::All(vec![host("a"), vendor("v")])));
    assert!(!holds(Condition::All(vec![host("a"), vendor("w")])));
    assert!(holds(Condition::Any(vec![host("b"), vendor("v")])));
    assert!(!holds(Condition::Any(vec![host("b"), vendor("w")])));
    assert!(holds(Condition::Not(Box::new(host("b")))) && !holds(Condition::Not(Box::new(host("a")))));
    assert!(holds(Condition::Not(Box::new(field(Field::UserClass, &["*"])))), "what is missing fits nothing");
    assert!(holds(field(Field::Hostname, &["x", "a"])), "one of several patterns is enough");
    assert!(holds(Condition::All(Vec::new())) && !holds(Condition::Any(Vec::new())));
}

#[test]
fn sets_keep_their_order_over_any_number_of_classes() {
    let all = (0..200).map(|n| {
        class(&format!("c{n:03}"), field(Field::Hostname, &[if n % 67 == 0 { "yes" } else { "no" }]))
    });
    let classes = classes(all.collect());
    let found = set(&classes, &Sent::new(1).option(12, b"yes"), Told::default());
    assert_eq!(found.iter().collect::<Vec<_>>(), [0, 67, 134]);
    assert!(found.contains(134) && !found.contains(135) && !found.contains(100_000));
    assert!(!found.is_empty() && ClassSet::default().is_empty());
}

#[test]
fn a_class_may_be_answered_with_silence() {
    let mut dropped = class("b", field(Field::Hostname, &["bad*"]));
    dropped.drop = true;
    let classes = classes(vec![class("a", Condition::All(Vec::new())), dropped]);
    let drops = |name: &[u8]| classes.drops(&set(&classes, &Sent::new(1).option(12, name), Told::default()));
    assert!(drops(b"bad-1") && !drops(b"good"));
}

#[test]
fn classes_open_pools_and_the_others_stay_as_they_are() {
    let mut config = config();
    config.dhcp.classes = vec![
        class("phones", field(Field::VendorClass, &["phone*"])),
        class("printers", field(Field::VendorClass, &["printer*"])),
    ];
    let mut gated = pool("gated", "10.0.0.10-10.0.0.19");
    gated.classes = vec!["printers".into(), "phones".into()];
    // far: pool 0; lan: pool 1 (gated), pool 2.
    config.dhcp.subnets[1].pools.insert(0, gated);
    let classes = Classes::new(&config);
    let of = |vendor: &[u8]| set(&classes, &Sent::new(1).option(60, vendor), Told::default());
    let lan = [PoolId(1), PoolId(2)];
    assert_eq!(*classes.pools(&lan, &of(b"phone-7")), lan);
    assert_eq!(*classes.pools(&lan, &of(b"printer")), lan);
    assert_eq!(*classes.pools(&lan, &of(b"tv")), [PoolId(2)]);
    assert!(!classes.admits(PoolId(1), &of(b"tv")) && classes.admits(PoolId(2), &of(b"tv")));
    let far = [PoolId(0)];
    assert!(matches!(classes.pools(&far, &of(b"tv")), Cow::Borrowed(all) if all == far));
}
