//! The rules of the security stage, and that nothing at all panics.

use std::time::Duration;

use super::world::{Script, Sent, interfaces, ip, pipeline, run, silence};
use crate::config::model::{ClientRate, Security, UnknownClients};
use crate::config::pattern::Pattern;
use crate::dhcp::rate::Rates;
use crate::dhcp::security::{Refusal, SecurityManager, Verdict};
use crate::dhcp::{Outcome, Pipeline, Silence, What};

fn guarded(change: impl FnOnce(&mut Security)) -> Pipeline {
    pipeline(|config| change(&mut config.dhcp.security))
}

fn patterns(all: &[&str]) -> Vec<Pattern> {
    all.iter().map(|pattern| pattern.parse().unwrap()).collect()
}

/// Why a DISCOVER is refused, if it is.
fn refused(pipeline: &Pipeline, sent: &Sent) -> Option<Refusal> {
    match run(pipeline, sent, &mut Script::default()) {
        Outcome::Silence { reason: Silence::Refused(refusal), .. } => Some(refusal),
        Outcome::Reply(_) => None,
        other => panic!("{other:?}"),
    }
}

fn from_mac(last: u8) -> Sent {
    Sent::new(1).field(28, &[0x66, 0xAA, 0, 0, 0, last])
}

fn later(sent: Sent, after: Duration) -> Sent {
    Sent { at: sent.at + after, ..sent }
}

#[test]
fn addresses_that_no_host_can_have_are_refused() {
    let pipeline = pipeline(|_| {});
    for address in ["255.255.255.255", "224.0.0.1", "240.0.0.1", "127.0.0.1", "0.0.0.1"] {
        assert_eq!(
            silence(&pipeline, &Sent::new(1).giaddr(address)),
            Silence::Refused(Refusal::RelayAddress),
            "{address}"
        );
        assert_eq!(
            silence(&pipeline, &Sent::new(3).ciaddr(address)),
            Silence::Refused(Refusal::ClientAddress)
        );
        assert_eq!(
            silence(&pipeline, &Sent::new(1).unicast(address, "10.0.0.1")),
            Silence::Refused(Refusal::Source)
        );
    }
}

#[test]
fn loopback_addresses_are_fine_on_loopback() {
    let pipeline = pipeline(|config| config.dhcp.subnets[1].interface = Some("lo".into()));
    let mut script = Script::default();
    let sent = Sent::new(1).on_loopback().ciaddr("127.0.0.5");
    run(&pipeline, &sent, &mut script);
    assert_eq!(script.asked.len(), 1);
    let mut nowhere = Sent::new(1).on_loopback();
    nowhere.from.set_port(0);
    assert_eq!(silence(&pipeline, &nowhere), Silence::Refused(Refusal::Source));
}

#[test]
fn the_corpus_runs_through_the_whole_pipeline() {
    let pipeline = pipeline(|config| {
        config.dhcp.subnets.truncate(1);
        config.dhcp.subnets[0].network = "10.0.0.0/8".parse().unwrap();
        config.dhcp.subnets[0].interface = Some("eth0".into());
    });
    for (_, bytes) in crate::protocol::tests::corpus::files() {
        for interface in interfaces() {
            let sent = Sent { bytes: bytes.clone(), interface: interface.index, ..Sent::new(1) };
            run(&pipeline, &sent, &mut Script::default());
        }
    }
}

#[test]
fn denied_clients_are_not_heard_whatever_allow_says() {
    let pipeline = guarded(|security| {
        security.deny = patterns(&["66:aa:00:00:00:01", "0x66aa00000002"]);
        security.allow = patterns(&["66:AA:*"]);
    });
    assert_eq!(refused(&pipeline, &from_mac(1)), Some(Refusal::Denied));
    assert_eq!(refused(&pipeline, &from_mac(2)), Some(Refusal::Denied));
    assert_eq!(refused(&pipeline, &from_mac(3)), None);
    assert_eq!(refused(&pipeline, &Sent::new(1)), Some(Refusal::NotAllowed));
}

#[test]
fn a_client_without_hardware_address_is_on_no_list() {
    let nameless = Sent::new(1).field(2, &[0]).option(61, b"id");
    assert_eq!(refused(&guarded(|security| security.deny = patterns(&["*"])), &nameless), None);
    let pipeline = guarded(|security| security.allow = patterns(&["*"]));
    assert_eq!(refused(&pipeline, &nameless), Some(Refusal::NotAllowed));
    assert_eq!(refused(&pipeline, &from_mac(1)), None);
}

#[test]
fn relays_outside_the_trusted_prefixes_are_not_heard() {
    let pipeline = guarded(|security| {
        security.trusted_relays = vec!["10.9.0.0/28".parse().unwrap(), "172.16.0.9/32".parse().unwrap()];
    });
    assert_eq!(refused(&pipeline, &Sent::new(1).giaddr("10.9.0.1")), None);
    assert_eq!(refused(&pipeline, &Sent::new(1).giaddr("172.16.0.9")), None);
    assert_eq!(refused(&pipeline, &Sent::new(1).giaddr("10.9.0.17")), Some(Refusal::UntrustedRelay));
    assert_eq!(refused(&pipeline, &Sent::new(1)), None, "without a relay there is none to trust");
    let event = match run(&pipeline, &Sent::new(1).giaddr("10.9.0.17"), &mut Script::default()) {
        Outcome::Silence { event, .. } => event.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!((event.what, event.address), (What::Refused(Refusal::UntrustedRelay), Some(ip("10.9.0.17"))));
}

fn limited(packets: u32, per: Duration) -> Pipeline {
    guarded(|security| security.client_rate = Some(ClientRate { packets, per }))
}

#[test]
fn a_client_is_heard_at_its_rate_and_no_other_pays_for_it() {
    let pipeline = limited(20, Duration::from_secs(10));
    let served = |last: u8, tries: usize, after: u64| {
        let sent = later(from_mac(last), Duration::from_millis(after));
        (0..tries).filter(|_| refused(&pipeline, &sent).is_none()).count()
    };
    assert_eq!(served(1, 100, 0), 20);
    assert_eq!(refused(&pipeline, &from_mac(1)), Some(Refusal::RateLimited));
    assert_eq!(served(2, 20, 0), 20);
    assert_eq!(served(1, 100, 500), 1, "and it loses nothing but packets");
    assert_eq!(served(1, 100, 20_500), 20);
}

#[test]
fn whoever_pretends_to_be_a_client_behind_another_circuit_does_not_use_up_its_rate() {
    let pipeline = limited(3, Duration::from_secs(10));
    let behind = |circuit: &[u8]| {
        let length = u8::try_from(circuit.len()).unwrap();
        Sent::new(1).giaddr("10.9.0.1").option(82, &[&[1, length], circuit].concat())
    };
    let served = |sent: &Sent| (0..10).filter(|_| refused(&pipeline, sent).is_none()).count();
    assert_eq!(served(&behind(b"port-1")), 3);
    assert_eq!(served(&behind(b"port-2")), 3);
    assert_eq!(served(&Sent::new(1)), 3);
}

#[test]
fn without_a_hardware_address_the_client_id_is_paced() {
    let pipeline = limited(2, Duration::from_secs(10));
    let named = |id: &[u8]| Sent::new(1).field(2, &[0]).option(61, id);
    let served = |sent: &Sent| (0..10).filter(|_| refused(&pipeline, sent).is_none()).count();
    assert_eq!(served(&named(b"one")), 2);
    assert_eq!(served(&named(b"two")), 2);
}

#[test]
fn what_is_refused_for_another_reason_takes_nothing_from_the_rate() {
    let pipeline = guarded(|security| {
        security.client_rate = Some(ClientRate { packets: 1, per: Duration::from_secs(10) });
        security.trusted_relays = vec!["10.9.0.0/28".parse().unwrap()];
    });
    for _ in 0..5 {
        assert_eq!(refused(&pipeline, &Sent::new(1).giaddr("10.9.0.17")), Some(Refusal::UntrustedRelay));
    }
    assert_eq!(refused(&pipeline, &Sent::new(1).giaddr("10.9.0.1")), None);
}

#[test]
fn unknown_clients_are_ignored_only_where_the_configuration_says_so() {
    let mut config = super::world::config();
    let judge = |config: &_, known| SecurityManager::new(config, Rates::default()).judge_client(known);
    assert_eq!(judge(&config, false), Verdict::Allow);
    config.dhcp.security.unknown_clients = UnknownClients::Ignore;
    assert_eq!(judge(&config, false), Verdict::Refuse(Refusal::UnknownClient));
    assert_eq!(judge(&config, true), Verdict::Allow);
}

#[test]
fn a_client_on_a_full_circuit_gets_neither_an_offer_nor_a_lease() {
    let pipeline = pipeline(|_| {});
    for sent in [Sent::new(1), Sent::new(3).address(50, "10.0.0.100"), Sent::new(3).ciaddr("10.0.0.100")] {
        let mut script = Script { circuit_full: true, ..Script::default() };
        let outcome = run(&pipeline, &sent, &mut script);
        let full = Silence::Refused(Refusal::CircuitFull);
        assert!(matches!(outcome, Outcome::Silence { reason, .. } if reason == full), "{outcome:?}");
        assert!(script.asked.is_empty(), "{:?}", script.asked);
    }
}
