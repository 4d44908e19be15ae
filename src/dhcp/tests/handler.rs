//! One test for each rule of RFC 2131 §4.3 that the handler decides.

use super::world::{Script, Sent, ip, pipeline, run, silence};
use crate::dhcp::client::Whereabouts;
use crate::dhcp::security::Refusal;
use crate::dhcp::{Outcome, Pipeline, ReplyKind, Silence, What};
use crate::lease::{Answer, Declined, NakReason, Offered, Released, SilenceReason};

fn asked(pipeline: &Pipeline, sent: &Sent) -> Vec<String> {
    let mut script = Script::default();
    run(pipeline, sent, &mut script);
    script.asked
}

fn kind(outcome: &Outcome) -> Option<ReplyKind> {
    match outcome {
        Outcome::Reply(reply) => Some(reply.kind),
        Outcome::Done(_) | Outcome::Park(_) | Outcome::Silence { .. } => None,
    }
}

fn what(outcome: &Outcome) -> Option<What> {
    let event = match outcome {
        Outcome::Reply(reply) => reply.event,
        Outcome::Done(event) => Some(*event),
        Outcome::Park(_) => None,
        Outcome::Silence { event, .. } => *event,
    };
    event.map(|event| event.what)
}

#[test]
fn discover_is_offered_an_address_and_its_wish_is_passed_on() {
    let pipeline = pipeline(|_| {});
    let sent = Sent::new(1).address(50, "10.0.0.150");
    let mut script = Script::default();
    let outcome = run(&pipeline, &sent, &mut script);
    assert_eq!(kind(&outcome), Some(ReplyKind::Offer));
    assert_eq!(what(&outcome), Some(What::Offered));
    assert_eq!(script.asked, ["discover [1] Some(10.0.0.150)"]);
}

#[test]
fn discover_with_no_address_left_is_silence_with_an_event() {
    let mut script = Script { offered: Offered::Exhausted, ..Script::default() };
    let outcome = run(&pipeline(|_| {}), &Sent::new(1), &mut script);
    assert!(matches!(outcome, Outcome::Silence { reason: Silence::Exhausted, .. }));
    assert_eq!(what(&outcome), Some(What::Exhausted));
}

#[test]
fn each_state_of_table_4_is_told_apart() {
    let pipeline = pipeline(|_| {});
    let request = || Sent::new(3);
    let lan = |sent: Sent| asked(&pipeline, &sent);
    assert_eq!(
        lan(request().address(54, "10.0.0.1").address(50, "10.0.0.100")),
        ["Selecting(10.0.0.100) [1]"]
    );
    assert_eq!(lan(request().address(50, "10.0.0.100")), ["InitReboot(10.0.0.100) [1]"]);
    assert_eq!(
        lan(request().ciaddr("10.0.0.100").unicast("10.0.0.100", "10.0.0.1")),
        ["Renewing(10.0.0.100) [1]"]
    );
    assert_eq!(lan(request().ciaddr("10.0.0.100")), ["Rebinding(10.0.0.100) [1]"]);
    assert_eq!(
        lan(request().ciaddr("10.9.0.100").giaddr("10.9.0.1").unicast("10.9.0.1", "10.0.0.1")),
        ["Rebinding(10.9.0.100) [0]"]
    );
}

#[test]
fn a_client_with_an_address_renews_whatever_else_it_fills_in() {
    let sent = Sent::new(3).ciaddr("10.0.0.100").address(54, "10.0.0.1").address(50, "10.0.0.100");
    let sent = sent.unicast("10.0.0.100", "10.0.0.1");
    assert_eq!(asked(&pipeline(|_| {}), &sent), ["Renewing(10.0.0.100) [1]"]);
    let answers = Sent::new(3).ciaddr("10.0.0.100").address(54, "10.0.0.1").address(50, "10.0.0.7");
    assert_eq!(asked(&pipeline(|_| {}), &answers), ["Selecting(10.0.0.7) [1]"]);
}

#[test]
fn a_bare_request_and_an_incomplete_one_are_silence() {
    let pipeline = pipeline(|_| {});
    assert_eq!(silence(&pipeline, &Sent::new(3)), Silence::BareRequest);
    assert_eq!(silence(&pipeline, &Sent::new(3).address(54, "10.0.0.1")), Silence::Incomplete);
}

#[test]
fn a_request_to_another_server_frees_our_offer() {
    let pipeline = pipeline(|_| {});
    let sent = Sent::new(3).address(54, "10.0.0.77").address(50, "10.0.0.100");
    assert_eq!(silence(&pipeline, &sent), Silence::OtherServer);
    assert_eq!(asked(&pipeline, &sent), ["withdraw"]);
}

#[test]
fn every_name_of_this_server_is_its_own() {
    let pipeline = pipeline(|config| config.dhcp.subnets[0].common.server_id = Some(ip("10.9.0.53")));
    for server in ["10.0.0.1", "192.0.2.1", "127.0.0.1", "10.9.0.53"] {
        let sent = Sent::new(3).address(54, server).address(50, "10.0.0.100");
        assert_eq!(asked(&pipeline, &sent), ["Selecting(10.0.0.100) [1]"], "{server}");
    }
    // 5107: the relay's own address, if the relay is known.
    let sent = Sent::new(3).address(54, "10.9.0.1").address(50, "10.9.0.100").giaddr("10.9.0.1");
    assert_eq!(silence(&pipeline, &sent), Silence::OtherServer);
    let sent = sent.option(82, &[11, 4, 10, 9, 0, 1]);
    assert_eq!(asked(&pipeline, &sent), ["Selecting(10.9.0.100) [0]"]);
}

#[test]
fn broadcast_is_no_name_of_this_server() {
    let sent = Sent::new(3).address(54, "255.255.255.255").address(50, "10.0.0.100");
    assert_eq!(silence(&pipeline(|_| {}), &sent), Silence::OtherServer);
}

#[test]
fn ack_tells_a_grant_from_a_renewal() {
    let pipeline = pipeline(|_| {});
    let sent = Sent::new(3).address(54, "10.0.0.1").address(50, "10.0.0.100");
    for (event, expected) in [
        (crate::lease::AckEvent::Granted, What::Granted { lease_secs: 77 }),
        (crate::lease::AckEvent::Renewed, What::Renewed { lease_secs: 77 }),
    ] {
        let answer = Answer::Ack {
            address: ip("10.0.0.100"),
            lease_secs: 77,
            event,
            starts: crate::lease::Timestamp(1),
        };
        let outcome = run(&pipeline, &sent, &mut Script { answer: Some(answer), ..Script::default() });
        assert_eq!((kind(&outcome), what(&outcome)), (Some(ReplyKind::Ack), Some(expected)));
    }
}

#[test]
fn a_refusal_is_a_nak_and_ignorance_is_silence() {
    let pipeline = pipeline(|_| {});
    let sent = Sent::new(3).address(50, "10.0.0.100");
    let answer = Some(Answer::Nak(NakReason::WrongNetwork));
    let outcome = run(&pipeline, &sent, &mut Script { answer, ..Script::default() });
    assert_eq!(kind(&outcome), Some(ReplyKind::Nak));
    assert_eq!(what(&outcome), Some(What::Nak(NakReason::WrongNetwork)));
    let answer = Some(Answer::Silence(SilenceReason::UnknownClient));
    let outcome = run(&pipeline, &sent, &mut Script { answer, ..Script::default() });
    assert_eq!(outcome, Silence::Lease(SilenceReason::UnknownClient).into());
}

#[test]
fn release_needs_its_address_its_server_and_its_holder() {
    let pipeline = pipeline(|_| {});
    let release = || Sent::new(7).unicast("10.0.0.100", "10.0.0.1");
    let good = release().ciaddr("10.0.0.100").address(54, "10.0.0.1");
    let outcome = run(&pipeline, &good, &mut Script::default());
    assert_eq!(what(&outcome), Some(What::Released));
    assert!(matches!(outcome, Outcome::Done(_)));
    assert_eq!(silence(&pipeline, &release()), Silence::Incomplete);
    assert_eq!(
        silence(&pipeline, &release().ciaddr("10.0.0.100").address(54, "10.0.0.9")),
        Silence::OtherServer
    );
    let mut script = Script { released: Released::NotHolder, ..Script::default() };
    assert_eq!(run(&pipeline, &good, &mut script), Silence::NotHolder.into());
}

#[test]
fn decline_needs_its_address_its_server_and_its_holder() {
    let pipeline = pipeline(|_| {});
    let good = Sent::new(4).address(50, "10.0.0.100").address(54, "10.0.0.1");
    let outcome = run(&pipeline, &good, &mut Script::default());
    assert_eq!(what(&outcome), Some(What::Declined));
    assert_eq!(silence(&pipeline, &Sent::new(4)), Silence::Incomplete);
    let other = Sent::new(4).address(50, "10.0.0.100").address(54, "10.0.0.9");
    assert_eq!(silence(&pipeline, &other), Silence::OtherServer);
    let mut script = Script { declined: Declined::NotHolder, ..Script::default() };
    assert_eq!(run(&pipeline, &good, &mut script), Silence::NotHolder.into());
}

/// What becomes of a RELEASE or DECLINE of 10.0.0.100 from this address.
fn from(kind: u8, source: &str, relay: Option<&str>, script: &mut Script) -> Outcome {
    let pipeline = pipeline(|_| {});
    let sent = Sent::new(kind).unicast(source, "10.0.0.1").address(54, "10.0.0.1");
    let sent = if kind == 7 { sent.ciaddr("10.0.0.100") } else { sent.address(50, "10.0.0.100") };
    run(&pipeline, &relay.map_or(sent.clone(), |relay| sent.giaddr(relay)), script)
}

#[test]
fn release_and_decline_count_from_the_client_and_its_relay_only() {
    let foreign = |outcome: &Outcome| {
        matches!(outcome, Outcome::Silence { reason: Silence::Refused(Refusal::ForeignSource), .. })
    };
    for kind in [4, 7] {
        // The address itself, none, another of its link that is no client's, the relay by whichever address.
        for (source, relay) in [
            ("10.0.0.100", None),
            ("0.0.0.0", None),
            ("10.0.0.9", None),
            ("10.0.0.9", Some("10.0.0.9")),
            ("192.0.2.1", Some("10.0.0.9")),
        ] {
            let outcome = from(kind, source, relay, &mut Script::default());
            assert!(matches!(outcome, Outcome::Done(_)), "{kind} {source}: {outcome:?}");
        }
        // From beyond a router, from another link of ours, from what we give to clients.
        for (source, relay) in
            [("192.0.2.1", None), ("10.9.0.9", None), ("10.0.0.101", None), ("10.0.0.101", Some("10.0.0.9"))]
        {
            let mut script = Script::default();
            let outcome = from(kind, source, relay, &mut script);
            assert!(foreign(&outcome), "{kind} {source}: {outcome:?}");
            assert_eq!(script.asked, [""; 0], "nothing is asked of the engine");
        }
        // Unless the same machine has that lease too.
        let whereabouts = Some((ip("10.0.0.101"), Whereabouts::default()));
        let outcome = from(kind, "10.0.0.101", None, &mut Script { whereabouts, ..Script::default() });
        assert!(matches!(outcome, Outcome::Done(_)), "{kind}: {outcome:?}");
    }
}

#[test]
fn an_address_that_a_client_has_is_no_relays_unless_the_configuration_names_it() {
    let heard = |change: fn(&mut crate::config::Config), leased: &str| {
        let mut script = Script { leased: Some(ip(leased)), ..Script::default() };
        match run(&pipeline(change), &Sent::new(1).giaddr("10.9.0.150"), &mut script) {
            Outcome::Silence { reason, .. } => {
                assert_eq!(reason, Silence::Refused(Refusal::RelayAddress));
                false
            }
            _ => true,
        }
    };
    assert!(!heard(|_| {}, "10.9.0.150"));
    assert!(heard(|_| {}, "10.9.0.151"), "an address of the pool that nobody has");
    assert!(heard(|config| config.dhcp.subnets[0].relays.push(ip("10.9.0.150")), "10.9.0.150"));
    assert!(heard(
        |config| config.dhcp.security.trusted_relays = vec!["10.9.0.150/32".parse().unwrap()],
        "10.9.0.150"
    ));
    assert!(!heard(
        |config| config.dhcp.security.trusted_relays = vec!["10.9.0.0/24".parse().unwrap()],
        "10.9.0.150"
    ));
}

#[test]
fn decline_that_is_not_believed_is_told() {
    let pipeline = pipeline(|_| {});
    let good = Sent::new(4).address(50, "10.0.0.100").address(54, "10.0.0.1");
    let mut script = Script { declined: Declined::Doubted, ..Script::default() };
    let outcome = run(&pipeline, &good, &mut script);
    assert_eq!(what(&outcome), Some(What::Doubted));
    assert!(matches!(outcome, Outcome::Silence { reason: Silence::Doubted, .. }));
}

#[test]
fn inform_asks_nothing_of_the_engine() {
    let sent = Sent::new(8).ciaddr("10.0.0.7").unicast("10.0.0.7", "10.0.0.1");
    let mut script = Script::default();
    let outcome = run(&pipeline(|_| {}), &sent, &mut script);
    assert_eq!((kind(&outcome), what(&outcome)), (Some(ReplyKind::Ack), Some(What::Informed)));
    assert_eq!(script.asked, Vec::<String>::new());
}

#[test]
fn inform_is_never_answered_to_a_stranger() {
    let pipeline = pipeline(|_| {});
    assert_eq!(silence(&pipeline, &Sent::new(8)), Silence::Incomplete);
    assert_eq!(silence(&pipeline, &Sent::new(8).ciaddr("8.8.8.8")), Silence::UnknownSubnet);
    let spoofed = Sent::new(8).ciaddr("10.0.0.7").unicast("10.0.0.8", "10.0.0.1");
    assert_eq!(silence(&pipeline, &spoofed), Silence::Stranger);
    let mut holder = Script { holds: Some(ip("10.0.0.7")), ..Script::default() };
    assert_eq!(kind(&run(&pipeline, &spoofed, &mut holder)), Some(ReplyKind::Ack));
    assert_eq!(silence(&pipeline, &Sent::new(8).unicast("8.8.8.8", "10.0.0.1")), Silence::UnknownSubnet);
    assert_eq!(
        silence(&pipeline, &Sent::new(8).ciaddr("8.8.8.8").giaddr("10.9.0.1")),
        Silence::UnknownSubnet
    );
}

#[test]
fn what_servers_send_is_not_for_us() {
    let pipeline = pipeline(|_| {});
    for kind in [2, 5, 6, 9, 10, 13, 99] {
        assert_eq!(silence(&pipeline, &Sent::new(kind)), Silence::NotForServers);
    }
}

#[test]
fn only_messages_that_change_leases_need_the_write_transaction() {
    let pipeline = pipeline(|_| {});
    for (kind, writes) in [(1, false), (3, true), (4, true), (7, true), (8, false), (10, false)] {
        let sent = Sent::new(kind);
        assert_eq!(pipeline.accept(&sent.packet()).unwrap().writes(), writes, "type {kind}");
    }
}

#[test]
fn identity_follows_the_configuration() {
    use crate::config::model::IdentifyBy;
    let relayed = || Sent::new(1).giaddr("10.9.0.1").option(61, &[9, 9]);
    let key = |by, sent: &Sent| {
        let mut script = Script { offered: Offered::Address(ip("10.9.0.100")), ..Script::default() };
        run(&pipeline(|config| config.dhcp.subnets[0].common.identify_by = by), sent, &mut script);
        script.client.unwrap().key.as_bytes().to_vec()
    };
    let sent = relayed().option(82, &[1, 1, 7]);
    assert_eq!(key(IdentifyBy::ClientId, &sent), [1, 9, 9]);
    assert_eq!(key(IdentifyBy::Mac, &sent), [2, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(key(IdentifyBy::CircuitId, &sent), [3, 0, 1, 7, 10, 9, 0, 1], "unique at its relay only");
    let sent = relayed().option(82, &[1, 1, 7, 2, 1, 8]);
    assert_eq!(key(IdentifyBy::CircuitId, &sent), [3, 1, 1, 7, 8]);
    let nobody = Sent::new(1).field(2, &[0]);
    assert_eq!(silence(&pipeline(|_| {}), &nobody), Silence::NoIdentity);
}

#[test]
fn option_82_without_a_relay_identifies_nobody() {
    use crate::config::model::IdentifyBy;
    let mut script = Script::default();
    let by_circuit = pipeline(|config| config.dhcp.subnets[1].common.identify_by = IdentifyBy::CircuitId);
    run(&by_circuit, &Sent::new(1).option(82, &[1, 1, 7]), &mut script);
    let client = script.client.unwrap();
    assert_eq!(client.key.as_bytes(), [2, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(client.circuit_id, None);
}

#[test]
fn a_renewal_past_the_relay_is_known_by_its_circuit() {
    use crate::config::model::IdentifyBy;
    use crate::dhcp::client::Whereabouts;
    let told = Whereabouts {
        relay: Some(ip("10.9.0.1")),
        circuit_id: Some([7][..].into()),
        remote_id: Some([8][..].into()),
    };
    let mut script = Script { whereabouts: Some((ip("10.9.0.100"), told)), ..Script::default() };
    let by_circuit = pipeline(|config| config.dhcp.subnets[0].common.identify_by = IdentifyBy::CircuitId);
    let renewal = Sent::new(3).ciaddr("10.9.0.100").unicast("10.9.0.100", "10.0.0.1");
    run(&by_circuit, &renewal, &mut script);
    let client = script.client.unwrap();
    assert_eq!(client.key.as_bytes(), [3, 1, 1, 7, 8]);
    assert_eq!((client.relay, client.remote_id.as_deref()), (Some(ip("10.9.0.1")), Some(&[8][..])));
}

#[test]
fn what_the_relay_tells_is_remembered() {
    let sent = Sent::new(1).giaddr("10.9.0.1").option(82, &[1, 2, 7, 7, 2, 1, 8]).option(12, b"box\0");
    let mut script = Script { offered: Offered::Address(ip("10.9.0.100")), ..Script::default() };
    run(&pipeline(|_| {}), &sent, &mut script);
    let client = script.client.unwrap();
    assert_eq!(client.relay, Some(ip("10.9.0.1")));
    assert_eq!(
        (client.circuit_id.as_deref(), client.remote_id.as_deref()),
        (Some(&[7, 7][..]), Some(&[8][..]))
    );
    assert_eq!(client.hostname.as_deref(), Some(&b"box"[..]));
}
