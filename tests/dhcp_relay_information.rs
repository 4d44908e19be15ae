//! What relays say, and what is made of it: option 82 comes back as it was, link selection, server-id override, subnet
//! selection. And nothing leaves for an address that a stranger wrote into giaddr or ciaddr: the wire is watched.

mod common;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use common::lab::{self, NO_ECHO, Sniffer, query};
use common::octets::{
    ACK, Answer, INFORM, NAK, OFFER, Question, RELEASE, REQUEST, Speaker, ip, ips, loopback, select, serve,
    sub,
};
use common::{Daemon, Namespace, eventually, is_root};

const SUBNETS: &str = "
    lan:
      network: 10.77.0.0/24
      interface: lo
      pools: {main: {range: 10.77.0.100-10.77.0.199}}
    behind:
      network: 10.78.0.0/24
      relays: [10.9.9.9]
      options: {routers: [10.78.0.1]}
      pools: {main: {range: 10.78.0.100-10.78.0.199}}
    upstairs:
      network: 10.79.0.0/24
      options: {routers: [10.79.0.1]}
      pools: {main: {range: 10.79.0.100-10.79.0.199}}
";

fn start(dhcp: &str) -> (Daemon, Speaker) {
    serve(&loopback(dhcp, SUBNETS))
}

fn relayed(n: u32, information: &[u8]) -> Question {
    let size = 1400_u16.to_be_bytes();
    Question::discover(n).relayed("10.78.0.1").asking(&[3]).with(57, &size).with(82, information)
}

/// Option 82 stands there unchanged, in one run, behind all others.
#[track_caller]
fn assert_echoed(answer: &Answer, information: &[u8]) {
    assert_eq!(answer.option(82).as_deref(), Some(information));
    let codes = answer.codes();
    let first = codes.iter().position(|code| *code == 82).unwrap();
    assert!(codes[first..].iter().all(|code| *code == 82), "the last of {codes:?}");
    assert_eq!(codes.len() - first, information.len().div_ceil(255).max(1), "once: {codes:?}");
}

fn octets(length: u8) -> Vec<u8> {
    (0..length).collect()
}

#[test]
fn option_82_comes_back_as_it_was_in_every_reply() {
    let (_daemon, speaker) = start("");
    let long = [sub(1, &octets(200)), sub(2, &octets(120))].concat();
    // In no order, twice the same, unknown ones, with zero octets that look like padding and ends.
    let odd =
        [sub(2, b"switch"), sub(151, &[0, 0]), sub(1, b"eth0"), sub(1, b"eth1"), vec![255, 1, 0]].concat();
    for (n, information) in (1..).zip([sub(1, b"eth0/7"), odd, long, vec![]]) {
        let discover = relayed(n, &information);
        let offer = speaker.ask(&discover);
        assert_eq!((offer.kind(), offer.giaddr()), (Some(OFFER), ip("10.78.0.1")));
        assert_echoed(&offer, &information);
        let ack = speaker.ask(&select(&discover, &offer));
        assert_eq!((ack.kind(), ack.yiaddr()), (Some(ACK), offer.yiaddr()));
        assert_echoed(&ack, &information);
        let nak = speaker.ask(&discover.clone().becoming(REQUEST, &[(50, &[192, 0, 2, 1])]));
        assert_eq!(nak.kind(), Some(NAK));
        assert_echoed(&nak, &information);
        let inform = speaker.ask(&discover.becoming(INFORM, &[]).ciaddr(ack.yiaddr()));
        assert_eq!(inform.kind(), Some(ACK));
        assert_echoed(&inform, &information);
    }
}

#[test]
fn malformed_sub_options_come_back_too_and_break_nothing() {
    let (daemon, speaker) = start("");
    let cut = [sub(1, b"eth0"), vec![2, 40, 1, 2, 3]].concat();
    let lonely = [sub(1, b"eth0"), vec![2]].concat();
    let empty = [sub(1, b""), sub(2, b"")].concat();
    // Link selection and server-id override of the wrong length say nothing.
    let short = [sub(5, &[10, 79, 0]), sub(11, &[10, 1, 1, 1, 1])].concat();
    for (n, information) in (1..).zip([cut, lonely, empty, short, vec![0], vec![0, 0, 0]]) {
        let discover = relayed(n, &information);
        let offer = speaker.ask(&discover);
        assert_echoed(&offer, &information);
        assert_eq!(offer.yiaddr().octets()[..3], [10, 78, 0]);
        assert_eq!(offer.option(54), Some(vec![127, 0, 0, 1]));
        assert_eq!(speaker.ask(&select(&discover, &offer)).kind(), Some(ACK));
    }
    assert_eq!(lab::lines(&daemon, &["WORKER_DIED"]), 0);
    let kept = query(&daemon, "SELECT CAST(circuit_id AS TEXT) FROM lease_log ORDER BY seq LIMIT 2");
    assert_eq!(kept, [["eth0"], ["eth0"]], "what stands before the fault is known");
}

#[test]
fn option_82_on_our_own_link_is_echoed_but_identifies_nobody() {
    let (daemon, speaker) = start("  identify_by: circuit-id");
    let discover = |n| Question::discover(n).with(82, &sub(1, b"eth0"));
    let one = speaker.lease(&discover(1));
    assert_echoed(&one, &sub(1, b"eth0"));
    assert_ne!(speaker.lease(&discover(2)).yiaddr(), one.yiaddr());
    let kept = query(&daemon, "SELECT count(*) FROM lease_log WHERE circuit_id IS NOT NULL");
    assert_eq!(kept, [["0"]]);
}

#[test]
fn circuit_is_the_identity_where_it_is_configured_so() {
    let (_daemon, speaker) = start("  identify_by: circuit-id");
    let first = speaker.lease(&relayed(1, &sub(1, b"port 1"))).yiaddr();
    assert_eq!(speaker.lease(&relayed(2, &sub(1, b"port 1"))).yiaddr(), first, "another device there");
    assert_ne!(speaker.lease(&relayed(2, &sub(1, b"port 2"))).yiaddr(), first);
    let elsewhere = Question::discover(3).relayed("10.79.0.1").with(82, &sub(1, b"port 1"));
    assert_eq!(speaker.lease(&elsewhere).yiaddr().octets()[1], 79, "a port of another relay is another port");
}

/// RFC 3527.
#[test]
fn link_selection_goes_before_giaddr() {
    let (_daemon, speaker) = start("");
    let information = [sub(1, b"eth0"), sub(5, &[10, 79, 0, 0])].concat();
    for (n, relay) in [(1, "10.78.0.1"), (2, "10.9.9.9")] {
        let discover = relayed(n, &information).relayed(relay);
        let ack = speaker.lease(&discover);
        assert_eq!(ack.yiaddr().octets()[..3], [10, 79, 0]);
        assert_eq!((ack.giaddr(), ack.option(3)), (ip(relay), Some(ips(&["10.79.0.1"]))));
        assert_echoed(&ack, &information);
    }
    // A link that is not ours, and a relay that is not.
    speaker.assert_silent(&relayed(3, &sub(5, &[192, 0, 2, 0])));
    speaker.assert_silent(&relayed(4, &sub(5, &[10, 79, 0, 0])).relayed("10.99.0.1"));
    // Without giaddr nobody has passed it on.
    let direct = speaker.ask(&Question::discover(5).with(82, &sub(5, &[10, 79, 0, 0])));
    assert_eq!(direct.yiaddr().octets()[1], 77);
}

/// RFC 5107.
#[test]
fn server_identifier_is_the_one_that_the_relay_demands() {
    let (daemon, speaker) = start("");
    let relay = [10, 78, 0, 1];
    let discover = relayed(1, &sub(11, &relay));
    let offer = speaker.ask(&discover);
    assert_eq!(offer.option(54), Some(relay.to_vec()));
    let ack = speaker.ask(&select(&discover, &offer));
    assert_eq!((ack.kind(), ack.option(54)), (Some(ACK), Some(relay.to_vec())));
    let nak = speaker.ask(&discover.clone().becoming(REQUEST, &[(50, &[192, 0, 2, 1]), (54, &relay)]));
    assert_eq!((nak.kind(), nak.option(54)), (Some(NAK), Some(relay.to_vec())));
    // The client's RELEASE goes to the relay by that address and comes on from there.
    speaker.send(&discover.clone().becoming(RELEASE, &[(54, &relay)]).ciaddr(ack.yiaddr()));
    daemon.wait_log(&["DHCP_LEASE_RELEASED", &ack.yiaddr().to_string()]);
    // It is that relay's name for us, nobody else's.
    let direct =
        Question::request(2).with_ip(50, ip("10.77.0.120")).with(54, &relay).with(82, &sub(11, &relay));
    speaker.assert_silent(&direct);
}

/// RFC 3011.
#[test]
fn client_chooses_its_subnet_where_it_may() {
    let (_daemon, speaker) = start("  subnet_selection: true");
    let discover = Question::discover(1).asking(&[3]).with(118, &[10, 79, 0, 0]);
    let ack = speaker.lease(&discover);
    assert_eq!((ack.yiaddr().octets()[1], ack.option(118)), (79, Some(vec![10, 79, 0, 0])), "§2: sent back");
    // Before giaddr, after what the relay itself says (RFC 3527 §4).
    assert_eq!(speaker.ask(&relayed(2, b"").with(118, &[10, 79, 0, 0])).yiaddr().octets()[1], 79);
    let both = relayed(3, &sub(5, &[10, 78, 0, 0])).with(118, &[10, 79, 0, 0]);
    assert_eq!(speaker.ask(&both).yiaddr().octets()[1], 78);
    speaker.assert_silent(&Question::discover(4).with(118, &[192, 0, 2, 0]));
    drop(speaker);
    let (_daemon, speaker) = start("");
    let offer = speaker.ask(&discover);
    assert_eq!((offer.yiaddr().octets()[1], offer.option(118)), (77, None));
}

#[test]
fn relay_outside_every_subnet_and_list_is_met_with_silence() {
    let (daemon, speaker) = start("");
    for (n, relay) in [(1, "10.99.0.1"), (2, "10.9.9.8"), (3, "192.0.2.1")] {
        for question in [
            Question::discover(n),
            Question::request(n).with_ip(50, ip("192.0.2.7")),
            Question::request(n).ciaddr(ip("10.78.0.100")),
            Question::new(INFORM, n).ciaddr(ip("10.78.0.100")),
            Question::bootp(n),
        ] {
            speaker.assert_silent(&question.relayed(relay));
        }
    }
    assert_eq!(
        common::echo::metric(&daemon, "echo_daemon_dhcp_dropped_total{reason=\"unknown-subnet\"}"),
        15
    );
}

/// `srv0` with 10.0.0.1/24 to a client; every other address has a way out over the same cable.
const WATCHED: &str = "dhcp:
  interfaces: [srv0]
  workers: 1
  conflict_check: {method: \"off\"}
  security: {client_rate: null}
  subnets:
    lan: {network: 10.0.0.0/24, pools: {main: {range: 10.0.0.100-10.0.0.199}}}
    behind: {network: 10.78.0.0/24, pools: {main: {range: 10.78.0.100-10.78.0.199}}}
";

/// Whether this is an Ethernet frame that asks for or goes to one of these addresses.
fn concerns(frame: &[u8], addresses: &[Ipv4Addr]) -> bool {
    let at = match frame.get(12..14) {
        Some([8, 0]) => 30,
        Some([8, 6]) => 38,
        _ => return false,
    };
    frame.get(at..at + 4).is_some_and(|to| addresses.iter().any(|address| address.octets() == to))
}

#[test]
fn nothing_leaves_for_a_strangers_giaddr_or_ciaddr() {
    if !is_root("nothing_leaves_for_a_strangers_giaddr_or_ciaddr") {
        return;
    }
    let (server, client) = (Namespace::new(), Namespace::new());
    server.join("srv0", &client, "cli0");
    server.address("srv0", "10.0.0.1/24");
    server.sh("ip", &["route", "add", "default", "dev", "srv0"]);
    let daemon = Daemon::start_in(&server, &format!("{NO_ECHO}{WATCHED}"));
    let socket = lab::udp(&client, "cli0", Ipv4Addr::UNSPECIFIED, 68);
    let send = |question: &Question| {
        socket.send_to(&question.bytes(), (Ipv4Addr::BROADCAST, 67)).unwrap();
    };
    let wire = Sniffer::new(&client);
    // An honest client is answered, so the cable works; and whatever was sent before has been handled, for there is one
    // worker. All that was seen until then.
    let honest = |n: u32| {
        let question = Question::discover(n);
        let (mut seen, mut sent): (Vec<Vec<u8>>, Option<Instant>) = (Vec::new(), None);
        eventually("an offer on the wire", || {
            if sent.is_none_or(|sent| sent.elapsed() > Duration::from_secs(1)) {
                sent = Some(Instant::now());
                send(&question);
            }
            seen.extend(std::iter::from_fn(|| wire.next()));
            seen.iter().find(|frame| is_reply_to(frame, &question)).map(|_| ())
        });
        seen
    };
    honest(0x50);
    let victims = ["192.0.2.1", "203.0.113.9", "10.99.0.1", "10.0.0.77"].map(ip);
    for (n, victim) in (1..).zip(victims) {
        // A relay that is none, in every kind of message.
        let relay = [sub(5, &[10, 0, 0, 0]), sub(11, &victim.octets())].concat();
        for question in [
            Question::discover(n),
            Question::discover(n).with(82, &relay),
            Question::bootp(n),
            Question::request(n).with_ip(50, ip("10.0.0.150")),
            Question::request(n).with_ip(50, ip("10.0.0.150")).with(54, &[10, 0, 0, 1]),
            Question::request(n).ciaddr(ip("10.0.0.150")),
            Question::new(INFORM, n).ciaddr(ip("10.0.0.150")),
        ] {
            // 10.0.0.77 lies on the link of a subnet, so it may be a relay of it.
            if victim != ip("10.0.0.77") {
                send(&question.relayed(&victim.to_string()));
            }
        }
        // An address that the sender does not have, on our link or not. Refusals are broadcast.
        for question in [
            Question::discover(n),
            Question::request(n),
            Question::request(n).with(54, &[10, 0, 0, 1]).with_ip(50, victim),
            Question::new(INFORM, n),
            Question::new(RELEASE, n),
            Question::bootp(n),
        ] {
            send(&question.ciaddr(victim));
        }
    }
    let seen = honest(0x51);
    let own = client.sh("cat", &["/sys/class/net/cli0/address"]);
    let own: Vec<u8> = own.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let from_server = seen.iter().filter(|frame| frame[6..12] != own[..]);
    let wrong: Vec<_> = from_server.filter(|frame| concerns(frame, &victims)).collect();
    assert!(wrong.is_empty(), "{wrong:02x?}\n{}", daemon.log());
    assert!(seen.len() > 20, "the wire is watched: {}", seen.len());
}

/// Ethernet · IPv4 without options · UDP from port 67, with this transaction.
fn is_reply_to(frame: &[u8], question: &Question) -> bool {
    frame.get(34..36) == Some(&[0, 67]) && frame.get(46..50) == Some(&question.bytes()[4..8])
}
