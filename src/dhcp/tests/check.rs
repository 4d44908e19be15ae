//! How a new address is checked, by where its client is.

use std::time::Duration;

use super::world::{ETH0, LO, Script, Sent, ip, pipeline, run};
use crate::config::model::ConflictMethod;
use crate::dhcp::check::{Means, Park, ProbeMethod};
use crate::dhcp::{Outcome, Pipeline, Silence};
use crate::lease::{HardwareAddress, Offered, SubnetId};

fn checking(method: ConflictMethod, change: impl FnOnce(&mut crate::config::Config)) -> Pipeline {
    let pipeline = pipeline(|config| {
        config.dhcp.conflict_check.method = method;
        change(config);
    });
    pipeline.with_means(Means { arp: vec![ETH0, LO], icmp: true })
}

/// How the address that the engine wants probed is probed.
fn method(pipeline: &Pipeline, sent: &Sent) -> Option<ProbeMethod> {
    let mut script = Script { offered: Offered::Probe(ip("10.0.0.100")), ..Script::default() };
    match run(pipeline, sent, &mut script) {
        Outcome::Park(park) => Some(park.method),
        Outcome::Silence { reason: Silence::Unchecked, .. } => None,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn own_link_is_asked_by_arp_and_beyond_a_relay_by_icmp() {
    let (here, there) = (Sent::new(1), Sent::new(1).giaddr("10.9.0.1"));
    let ways = |which| {
        let pipeline = checking(which, |_| {});
        (method(&pipeline, &here), method(&pipeline, &there))
    };
    let (arp, icmp) = (Some(ProbeMethod::Arp(ETH0)), Some(ProbeMethod::Icmp));
    assert_eq!(ways(ConflictMethod::Auto), (arp, icmp));
    assert_eq!(ways(ConflictMethod::Arp), (arp, None));
    assert_eq!(ways(ConflictMethod::Icmp), (icmp, icmp));
    assert_eq!(ways(ConflictMethod::Off), (None, None));
}

#[test]
fn loopback_is_not_asked_nor_is_anything_without_a_socket() {
    let on_loopback = Sent::new(1).giaddr("10.9.0.1").on_loopback();
    assert_eq!(method(&checking(ConflictMethod::Auto, |_| {}), &on_loopback), None);
    let without = pipeline(|config| config.dhcp.conflict_check.method = ConflictMethod::Auto);
    assert_eq!(method(&without, &Sent::new(1)), None);
    let no_ethernet = without.with_means(Means { arp: Vec::new(), icmp: true });
    assert_eq!(method(&no_ethernet, &Sent::new(1)), Some(ProbeMethod::Icmp));
}

#[test]
fn parked_packet_tells_what_to_probe_and_for_whom() {
    let mut script = Script { offered: Offered::Probe(ip("10.0.0.100")), ..Script::default() };
    let Outcome::Park(Park { address, client, .. }) =
        run(&checking(ConflictMethod::Auto, |_| {}), &Sent::new(1), &mut script)
    else {
        panic!("not parked");
    };
    assert_eq!(address, ip("10.0.0.100"));
    assert_ne!(client, HardwareAddress::default());
}

#[test]
fn rapid_commit_waits_for_the_probe_too_and_the_rate_is_not_taken_twice() {
    let pipeline = checking(ConflictMethod::Auto, |config| {
        config.dhcp.rapid_commit = true;
        config.dhcp.security.client_rate =
            Some(crate::config::model::ClientRate { packets: 1, per: Duration::from_secs(3600) });
    });
    let sent = Sent::new(1).option(80, &[]);
    assert_eq!(method(&pipeline, &sent), Some(ProbeMethod::Arp(ETH0)));
    assert!(pipeline.accept(&sent.packet()).is_err(), "a second packet is one too many");
    assert!(pipeline.accept_again(&sent.packet()).is_ok(), "the same one again is not");
}

#[test]
fn only_networks_that_are_attached_or_were_asked_for_are_probed_ahead() {
    let (far, lan) = (SubnetId(0), SubnetId(1));
    let auto = checking(ConflictMethod::Auto, |_| {});
    assert_eq!(auto.probe_ahead(lan, false), Some(ProbeMethod::Arp(ETH0)));
    assert_eq!(auto.probe_ahead(far, false), None, "who knows where a ping would go");
    assert_eq!(auto.probe_ahead(far, true), Some(ProbeMethod::Icmp));
    let off = checking(ConflictMethod::Off, |_| {});
    assert_eq!((off.probe_ahead(lan, false), off.probe_ahead(far, true)), (None, None));
    let on_lo = checking(ConflictMethod::Auto, |config| config.dhcp.subnets[1].interface = Some("lo".into()));
    assert_eq!(on_lo.probe_ahead(lan, true), None);
}
