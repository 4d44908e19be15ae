//! Who a client is, how long it may have its address, and how long an offer waits for it. On the real binary over loopback.

mod common;

use common::lab::query;
use common::octets::{ACK, NAK, OFFER, Question, REQUEST, Speaker, ip, loopback, select, serve, sub};
use common::{Daemon, eventually};

const LAN: &str = "
    lan:
      network: 10.77.0.0/24
      interface: lo
      pools: {main: {range: 10.77.0.100-10.77.0.199}}
    behind:
      network: 10.78.0.0/24
      identify_by: circuit-id
      pools: {main: {range: 10.78.0.100-10.78.0.199}}
";

fn start(dhcp: &str, subnets: &str) -> (Daemon, Speaker) {
    serve(&loopback(dhcp, subnets))
}

/// RFC 4361 §6.1: type 255, IAID, DUID.
const DUID: [u8; 11] = [255, 0, 0, 0, 1, 0, 3, 0, 1, 2, 3];

#[test]
fn client_is_its_identifier_or_its_hardware_or_its_circuit_as_the_subnet_says() {
    let (_daemon, speaker) = start("", LAN);
    let with_id = |n: u32| Question::discover(n).with(61, &DUID);
    let first = speaker.lease(&with_id(1)).yiaddr();
    assert_eq!(speaker.lease(&with_id(2)).yiaddr(), first, "another card of the same client");
    assert_ne!(speaker.lease(&Question::discover(1)).yiaddr(), first, "without it, somebody else");
    let other_iaid = Question::discover(1).with(61, &[&[255, 0, 0, 0, 2][..], &DUID[5..]].concat());
    assert_ne!(speaker.lease(&other_iaid).yiaddr(), first, "RFC 4361 §6.1: another interface of it");
    let on = |n: u32, port: &[u8]| with_id(n).relayed("10.78.0.1").with(82, &sub(1, port));
    let port = speaker.lease(&on(1, b"a")).yiaddr();
    assert_eq!(speaker.lease(&on(9, b"a").with(61, b"x")).yiaddr(), port);
    assert_ne!(speaker.lease(&on(1, b"b")).yiaddr(), port);
    drop(speaker);
    let (_daemon, speaker) = start("  identify_by: mac", LAN);
    let first = speaker.lease(&with_id(1)).yiaddr();
    assert_ne!(speaker.lease(&with_id(2)).yiaddr(), first);
    let plain = speaker.lease(&Question::discover(1));
    assert_eq!((plain.yiaddr(), plain.option(61)), (first, None));
}

#[test]
fn hardware_of_another_type_is_another_client() {
    let (_daemon, speaker) = start("", LAN);
    let ethernet = speaker.lease(&Question::discover(1)).yiaddr();
    assert_ne!(speaker.lease(&Question::discover(1).field(1, &[6, 6])).yiaddr(), ethernet);
    // Without hardware address and identifier nobody can be told apart.
    let nobody = Question::discover(2).field(2, &[0]).field(28, &[0; 6]);
    speaker.assert_silent(&nobody);
    assert_eq!(speaker.ask(&nobody.with(61, b"name")).kind(), Some(OFFER), "RFC 4390 §2.1");
}

#[test]
fn times_are_those_configured_and_the_same_however_often_it_is_asked() {
    let times = "  lease_time: {default: 1000s, min: 100s, max: 2000s}\n  renew_at: 0.4\n  rebind_at: 0.8";
    let (_daemon, speaker) = start(times, LAN);
    let discover = Question::discover(1);
    let offer = speaker.ask(&discover);
    assert_eq!([51, 58, 59].map(|code| offer.number(code)), [1000, 400, 800]);
    assert_eq!(speaker.ask(&discover).bytes, offer.bytes, "sent again, answered the same");
    let request = select(&discover, &offer);
    let ack = speaker.ask(&request);
    assert_eq!(ack.kind(), Some(ACK));
    assert_eq!(speaker.ask(&request).bytes, ack.bytes);
    assert_eq!(speaker.ask(&discover).yiaddr(), ack.yiaddr(), "one binding for each client");
    for (wish, granted) in [(1, 100), (500, 500), (u32::MAX, 2000)] {
        let answer = speaker.ask(&Question::discover(2).with(51, &wish.to_be_bytes()));
        assert_eq!(answer.number(51), granted);
    }
}

#[test]
fn offer_waits_for_its_client_and_is_free_when_its_time_is_over() {
    let one =
        "    lan: {network: 10.77.0.0/24, interface: lo, pools: {main: {range: 10.77.0.100-10.77.0.100}}}";
    let (daemon, speaker) = start("  offer_hold: 2s", one);
    let first = Question::discover(1);
    let offer = speaker.ask(&first);
    // Within two seconds of an offer nobody else gets it: asked right behind it on the same way.
    speaker.send(&first);
    speaker.send(&Question::discover(2));
    daemon.wait_log(&["DHCP_POOL_EXHAUSTED"]);
    assert_eq!(query(&daemon, "SELECT count(*) FROM lease_list"), [["0"]], "an offer is not written");
    eventually("the offer to run out", || {
        speaker.send(&Question::discover(2));
        speaker.heard(&Question::discover(2)).filter(|answer| answer.yiaddr() == offer.yiaddr())
    });
    // Now it is the other's.
    assert_eq!(speaker.ask(&select(&first, &offer)).kind(), Some(NAK));
}

#[test]
fn bare_request_and_messages_of_servers_are_met_with_silence() {
    let (_daemon, speaker) = start("", LAN);
    speaker.assert_silent(&Question::request(1));
    speaker.assert_silent(&Question::request(1).with(54, &[127, 0, 0, 1]));
    for kind in [OFFER, ACK, NAK, 9, 10, 13, 200] {
        speaker.assert_silent(&Question::new(kind, 1));
    }
    speaker.assert_silent(&Question::discover(1).field(0, &[2]));
    let leased = speaker.lease(&Question::discover(1)).yiaddr();
    let elsewhere = Question::request(1).with_ip(50, leased).with_ip(54, ip("192.0.2.1"));
    speaker.assert_silent(&elsewhere);
    assert_eq!(
        speaker.ask(&Question::new(REQUEST, 1).ciaddr(leased)).kind(),
        Some(ACK),
        "its lease is not touched"
    );
}
