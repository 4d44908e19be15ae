//! Options as a client sees them, on the real binary over loopback: levels, marks, order, sizes, and the options that have a
//! logic of their own. Replies are read octet by octet, since their order counts.

mod common;

use std::net::Ipv4Addr;

use common::lab::query;
use common::octets::{
    ACK, Answer, INFORM, OFFER, Question, REQUEST, Speaker, ip, ips, loopback, select, serve,
};
use common::{Daemon, text};

const LAN: &str = "
    lan:
      network: 10.77.0.0/24
      interface: lo
      options: {routers: [10.77.0.1]}
      pools: {main: {range: 10.77.0.100-10.77.0.199}}
";

/// One worker, these lines below `dhcp`, and a plain subnet.
fn start(dhcp: &str) -> (Daemon, Speaker) {
    serve(&loopback(dhcp, LAN))
}

/// Each option is set on all levels down to one; `x` is unset on the way and set again.
const LEVELS: &str = "
  lease_time: {default: 1h, min: 1m, max: 24h}
  options: {domain-name: global, root-path: global, nis-domain: global, nisplus-domain: global, tftp-server-name: global, boot-file-name: global, merit-dump: global}
  classes:
    member: {order: 1, match: {vendor-class: \"member\"}, lease_time: 3h, options: {nisplus-domain: class, tftp-server-name: class, boot-file-name: class, merit-dump: class}}
    without: {order: 2, match: {vendor-class: \"*\"}, options: {boot-file-name: null}}
";

const LEVELLED: &str = "
    lan:
      network: 10.77.0.0/24
      interface: lo
      lease_time: {default: 2h, min: 1m, max: 24h}
      options: {root-path: subnet, nis-domain: subnet, nisplus-domain: subnet, tftp-server-name: subnet, merit-dump: null}
      pools:
        main:
          range: 10.77.0.100-10.77.0.199
          lease_time: 150m
          options: {nis-domain: pool, nisplus-domain: pool, tftp-server-name: pool}
      hosts:
        known: {mac: \"02:00:00:00:00:07\", ip: 10.77.0.107, hostname: known, lease_time: 4h, options: {tftp-server-name: host}}
    behind: {network: 10.78.0.0/24, pools: {main: {range: 10.78.0.100-10.78.0.199}}}
";

/// Domain name, root path, NIS, NIS+, TFTP, boot file, merit dump.
const TEXTS: [u8; 7] = [15, 17, 40, 64, 66, 67, 14];

fn texts(answer: &Answer) -> [String; 7] {
    TEXTS.map(|code| answer.option(code).map_or_else(String::new, |data| String::from_utf8(data).unwrap()))
}

#[test]
fn nearest_level_wins_option_by_option() {
    let (_daemon, speaker) = serve(&loopback(LEVELS, LEVELLED));
    let ask = |question: Question| {
        let offer = speaker.ask(&question.asking(&TEXTS));
        (texts(&offer), offer.number(51) / 60)
    };
    let g = "global";
    let behind = ask(Question::discover(1).relayed("10.78.0.1"));
    assert_eq!(behind, ([g, g, g, g, g, g, g].map(String::from), 60));
    let plain = ask(Question::discover(2));
    assert_eq!(plain, ([g, "subnet", "pool", "pool", "pool", g, ""].map(String::from), 150), "null hides");
    let member = ask(Question::discover(3).with(60, b"member"));
    let wanted = [g, "subnet", "pool", "class", "class", "", "class"].map(String::from);
    assert_eq!(member, (wanted, 180), "a later class unsets what an earlier one says");
    let known = ask(Question::discover(7).with(60, b"member"));
    let wanted = [g, "subnet", "pool", "class", "host", "", "class"].map(String::from);
    assert_eq!(known, (wanted, 240));
    // What an INFORM gets is of the address that it has.
    let inform = speaker.ask(&Question::new(INFORM, 4).ciaddr(ip("10.77.0.50")).asking(&TEXTS));
    assert_eq!(texts(&inform), [g, "subnet", "subnet", "subnet", "subnet", g, ""].map(String::from));
}

#[test]
fn options_come_in_the_order_asked_each_once_and_nothing_else() {
    let (_daemon, speaker) = start(
        "  options: {domain-name: example.org, domain-name-servers: [10.0.0.2], nis-domain: unasked, host-name: h}",
    );
    let order = |codes: &[u8]| speaker.ask(&Question::discover(1).asking(codes)).chosen();
    assert_eq!(order(&[15, 12, 6, 15, 99, 12]), [15, 12, 6]);
    assert_eq!(order(&[6, 12, 15]), [6, 12, 15]);
    assert_eq!(order(&[3, 15, 1]), [1, 3, 15], "RFC 2132 §3.3: the mask before the routers");
    assert_eq!(order(&[99]), [0; 0]);
    // A list in two pieces is one list (RFC 3396 §7).
    let pieces = Question::discover(2).with(55, &[15]).with(12, b"x").with(55, &[6, 1]);
    assert_eq!(speaker.ask(&pieces).chosen(), [15, 6, 1]);
    // Who names nothing has not said that it wants nothing.
    let all = speaker.ask(&Question::discover(3)).chosen();
    assert_eq!(all[..4], [1, 3, 6, 15]);
    assert!(all.contains(&40) && all.contains(&12), "{all:?}");
    // Types and times do not depend on the list.
    let codes = speaker.ask(&Question::discover(1).asking(&[99])).codes();
    assert_eq!(codes, [53, 54, 51, 58, 59]);
}

#[test]
fn option_marked_always_is_sent_unasked_behind_the_others() {
    let (_daemon, speaker) = start(
        "  options: {domain-name: {value: example.org, always: true}, option-224: {hex: \"0a\", always: true}, nis-domain: n}",
    );
    assert_eq!(speaker.ask(&Question::discover(1).asking(&[3, 1])).chosen(), [1, 3, 15, 224]);
    assert_eq!(speaker.ask(&Question::discover(1).asking(&[224, 3])).chosen(), [224, 3, 15]);
}

/// RFC 3442, page 5.
#[test]
fn classless_routes_that_were_asked_for_hide_routers_and_static_routes() {
    let (_daemon, speaker) = start(
        "  options: {classless-static-routes: [10.1.0.0/17 10.77.0.2, 192.168.7.0/25 10.77.0.3, default 10.77.0.1], static-routes: [10.2.0.0 10.77.0.2]}",
    );
    let routes =
        [&[17, 10, 1, 0][..], &[10, 77, 0, 2], &[25, 192, 168, 7, 0], &[10, 77, 0, 3], &[0], &[10, 77, 0, 1]];
    for list in [&[1, 3, 33, 121][..], &[121, 33, 3, 1]] {
        let offer = speaker.ask(&Question::discover(1).asking(list));
        assert_eq!(offer.option(121), Some(routes.concat()));
        assert_eq!((offer.option(3), offer.option(33)), (None, None));
    }
    let plain = speaker.ask(&Question::discover(1).asking(&[3, 33]));
    assert_eq!(
        (plain.option(3), plain.option(33)),
        (Some(ips(&["10.77.0.1"])), Some(ips(&["10.2.0.0", "10.77.0.2"])))
    );
}

fn wide(sizes: &[usize]) -> String {
    let options =
        (224..).zip(sizes).map(|(code, size)| format!("option-{code}: {{hex: \"{}\"}}", "0a".repeat(*size)));
    format!("  options: {{domain-name: example.org, {}}}", options.collect::<Vec<_>>().join(", "))
}

#[test]
fn what_finds_no_room_goes_to_file_then_sname_then_nowhere() {
    let (_daemon, speaker) = start(&wide(&[240, 100, 50, 120]));
    let offer = speaker.ask(&Question::discover(1).asking(&[224, 225, 226, 15, 227]));
    assert_eq!((offer.bytes.len() <= 548, offer.option(52)), (true, Some(vec![3])));
    assert_eq!(
        [224, 225, 226, 227].map(|code| offer.option(code).map_or(0, |data| data.len())),
        [240, 100, 50, 0]
    );
    assert_eq!(offer.text(15), "example.org", "a smaller one behind it still fits");
    let file = &offer.bytes[108..236];
    assert_eq!((file[0], file[1], file[102]), (225, 100, 255));
    assert_eq!((offer.bytes[44], offer.bytes[44 + 52]), (226, 255));
    // The way to the boot file is worth more.
    let (_daemon, speaker) = start(&format!("  boot_file: pxe.0\n{}", wide(&[240, 100, 50])));
    let offer = speaker.ask(&Question::discover(1).asking(&[224, 225, 226]));
    assert_eq!((offer.file(), offer.option(52), offer.option(225)), ("pxe.0".into(), Some(vec![2]), None));
    assert_eq!(offer.option(226).map(|data| data.len()), Some(50));
}

#[test]
fn overloaded_fields_of_a_client_are_read_file_first() {
    let (_daemon, speaker) = start("  options: {domain-name: example.org, nis-domain: nis}");
    let in_file = [&[50, 4, 10, 77, 0, 123][..], &[55, 1, 40], &[255]].concat();
    let offer = speaker.ask(&Question::discover(1).with(52, &[1]).field(108, &in_file));
    assert_eq!((offer.yiaddr(), offer.chosen()), (ip("10.77.0.123"), vec![40]));
    // The list's second piece stands in sname.
    let in_sname = [55, 1, 15, 255];
    let both = Question::discover(2).with(52, &[3]).field(108, &in_file).field(44, &in_sname);
    assert_eq!(speaker.ask(&both).chosen(), [40, 15]);
    // Without option 52 they are names.
    let plain = speaker.ask(&Question::discover(3).field(108, &in_file).asking(&[15]));
    assert_eq!(plain.chosen(), [15]);
}

#[test]
fn reply_is_as_large_as_the_client_takes() {
    let (_daemon, speaker) = start(&wide(&[200, 200, 200, 200, 200]));
    let list = [224, 225, 226, 227, 228];
    let size = |most: u16| speaker.ask(&Question::discover(1).with(57, &most.to_be_bytes()).asking(&list));
    // Below 576 is no legal value; above 1500 a frame does not carry it.
    for (most, count) in [(0, 1), (300, 1), (576, 1), (700, 2), (1000, 3), (1500, 5), (65535, 5)] {
        let offer = size(most);
        let limit = usize::from(most.clamp(576, 1500)) - 28;
        assert!(offer.bytes.len() <= limit, "{most}: {}", offer.bytes.len());
        assert_eq!(offer.chosen().iter().filter(|code| **code >= 224).count(), count, "{most}");
    }
}

/// RFC 3396.
#[test]
fn options_longer_than_255_octets_are_split_and_joined() {
    let (_daemon, speaker) = start(&format!(
        "  options: {{option-224: {{hex: \"{}\"}}}}\n  classes:\n    long: {{match: {{option: {{150: \"*end\"}}}}, options: {{root-path: long}}}}",
        "0102".repeat(300)
    ));
    let large = 1400_u16.to_be_bytes();
    let offer = speaker.ask(&Question::discover(1).with(57, &large).asking(&[224]));
    let lengths: Vec<_> =
        offer.pieces.iter().filter(|(code, _)| *code == 224).map(|(_, data)| data.len()).collect();
    assert_eq!(lengths, [255, 255, 90]);
    assert_eq!(offer.option(224), Some([1, 2].repeat(300)));
    let value = [&[b'x'; 400][..], b"end"].concat();
    assert_eq!(speaker.ask(&Question::discover(2).with(150, &value).asking(&[17])).text(17), "long");
    // An identifier may have 255 octets, and comes back whole (RFC 6842).
    let identifier: Vec<u8> = (0..255).collect();
    let ack = speaker.lease(&Question::discover(3).with(61, &identifier));
    assert_eq!(ack.option(61), Some(identifier.clone()));
    assert_eq!(speaker.lease(&Question::discover(4).with(61, &identifier)).yiaddr(), ack.yiaddr());
}

/// RFC 4702.
#[test]
fn full_name_is_answered_in_the_clients_encoding_and_no_update_is_promised() {
    let (daemon, speaker) = start("  fqdn: {suffix: example.org}");
    for (n, sent, wanted) in [
        (1, &b"\x01\0\0box"[..], &b"\x0a\xff\xffbox.example.org"[..]),
        (2, b"\x05\0\0\x03box", b"\x0e\xff\xff\x03box\x07example\x03org\0"),
        (3, b"\x04\0\0\x03box\x03net\0", b"\x0c\xff\xff\x03box\x03net\0"),
        (4, b"\x00\0\0box.net", b"\x08\xff\xffbox.net"),
    ] {
        // Also where its list does not name it.
        let discover = Question::discover(n).with(81, sent).asking(&[1]);
        let ack = speaker.lease(&discover);
        assert_eq!(ack.option(81).as_deref(), Some(wanted), "{sent:?}");
    }
    assert_eq!(
        speaker.ask(&Question::discover(5).asking(&[81])).option(81),
        None,
        "who sends none gets none"
    );
    assert_eq!(
        speaker.ask(&Question::discover(6).with(81, b"\x04\0\0\x09box")).option(81),
        None,
        "malformed"
    );
    let names = query(&daemon, "SELECT DISTINCT hostname FROM lease_list");
    assert_eq!(names, [["box"]], "the host part is kept");
}

#[test]
fn texts_are_stored_and_sent_without_nul() {
    let (daemon, speaker) = start("  options: {domain-name: example.org}");
    let ack = speaker.lease(&Question::discover(1).with(12, b"box\0").asking(&[15]));
    assert_eq!(ack.option(15), Some(b"example.org".to_vec()));
    assert_eq!(query(&daemon, "SELECT hostname FROM lease_list"), [["box"]]);
}

/// RFC 8925, RFC 8910, RFC 3397, RFC 3925, and a few that have a layout of their own.
#[test]
fn options_of_later_rfcs_have_their_layout() {
    let (_daemon, speaker) = start(
        "  options:
    v6-only-preferred: 30m
    v4-captive-portal: https://portal.example.org/
    domain-search: [eng.example.org, example.org, mail.example.org]
    vivco-suboptions: {4491: {text: abc}}
    vivso-suboptions: {4491: {2: {text: xy}, 5: {ip: 10.0.0.1}}}
    sip-servers: [sip.example.org]
    vendor-encapsulated-options: {1: {ip: 10.0.0.4}, 6: {hex: \"02\"}}",
    );
    let list = [108, 114, 119, 124, 125, 120, 43];
    let offer = speaker.ask(&Question::discover(1).asking(&list));
    assert_eq!(offer.chosen(), list);
    assert_eq!(offer.number(108), 1800);
    assert_eq!(offer.text(114), "https://portal.example.org/");
    // Each tail once, and pointers to it.
    assert_eq!(offer.option(119), Some(b"\x03eng\x07example\x03org\0\xc0\x04\x04mail\xc0\x04".to_vec()));
    assert_eq!(offer.option(124), Some([&[0, 0, 0x11, 0x8b, 3][..], b"abc"].concat()));
    let sub_options = [&[2, 2][..], b"xy", &[5, 4, 10, 0, 0, 1]].concat();
    assert_eq!(offer.option(125), Some([&[0, 0, 0x11, 0x8b, 10][..], &sub_options].concat()));
    assert_eq!(offer.option(120), Some(b"\0\x03sip\x07example\x03org\0".to_vec()));
    assert_eq!(offer.option(43), Some([&[1, 4, 10, 0, 0, 4][..], &[6, 1, 2]].concat()));
    // Nobody gets them unasked: a client that does not know 108 must keep IPv4 (RFC 8925 §3.3).
    assert_eq!(speaker.ask(&Question::discover(2).asking(&[1])).chosen(), [1]);
    let all = speaker.ask(&Question::discover(3));
    assert_eq!((all.option(108), all.option(114).is_some()), (None, true), "nor one that names nothing");
}

#[test]
fn any_option_can_be_given_by_its_number_and_format() {
    let (_daemon, speaker) = start(
        "  options:
    option-15: example.org
    option-224: {hex: \"0a:0b\"}
    option-225: {text: abc}
    option-226: {ip: [10.0.0.1, 10.0.0.2]}
    option-227: {u8: [1, 255]}
    option-228: {u16: 258}
    option-229: {u32: [16909060]}
    option-42: {hex: \"0a000001\"}",
    );
    let offer = speaker.ask(&Question::discover(1).asking(&[229, 228, 227, 226, 225, 224, 42, 15]));
    assert_eq!(offer.chosen(), [229, 228, 227, 226, 225, 224, 42, 15]);
    let value = |code| offer.option(code).unwrap();
    assert_eq!((value(224), value(225), value(227)), (vec![10, 11], b"abc".to_vec(), vec![1, 255]));
    assert_eq!(
        (value(226), value(228), value(229)),
        (ips(&["10.0.0.1", "10.0.0.2"]), vec![1, 2], vec![1, 2, 3, 4])
    );
    assert_eq!((value(42), offer.text(15)), (vec![10, 0, 0, 1], "example.org".into()));
}

#[test]
fn values_that_do_not_fit_their_option_are_refused_by_check() {
    for (options, name) in [
        ("routers: nonsense", "routers"),
        ("interface-mtu: 70000", "interface-mtu"),
        ("domain-name-servers: [10.0.0.300]", "domain-name-servers"),
        ("classless-static-routes: [10.1.0.0/16]", "classless-static-routes"),
        ("domain-search: [\"a..b\"]", "domain-search"),
        ("router: [10.0.0.1]", "routers"),
        ("option-224: 7", "option-224"),
        ("dhcp-message-type: 1", "dhcp-message-type"),
        ("option-255: {hex: \"00\"}", "option-255"),
    ] {
        let daemon = Daemon::prepare(&loopback(&format!("  options: {{{options}}}"), LAN));
        let output = daemon.run(&["check"]);
        assert_eq!(output.status.code(), Some(1), "{options}: {}", text(&output));
        assert!(text(&output).contains(name), "{options}: {}", text(&output));
    }
}

/// RFC 2563.
#[test]
fn client_without_an_address_is_told_whether_to_choose_one_itself() {
    let full = LAN.replace("10.77.0.100-10.77.0.199", "10.77.0.100-10.77.0.100");
    for configured in [0, 1] {
        let (_daemon, speaker) =
            serve(&loopback(&format!("  options: {{auto-config: {configured}}}"), &full));
        let leased = speaker.lease(&Question::discover(1).with(116, &[1]));
        assert_eq!(leased.yiaddr(), ip("10.77.0.100"));
        let turned_away = speaker.ask(&Question::discover(2).with(116, &[1]).asking(&[1]));
        assert_eq!((turned_away.kind(), turned_away.yiaddr()), (Some(OFFER), Ipv4Addr::UNSPECIFIED));
        assert_eq!((turned_away.number(116), turned_away.option(51)), (configured, None));
        speaker.assert_silent(&Question::discover(3));
    }
    let (_daemon, speaker) = serve(&loopback("", &full));
    speaker.lease(&Question::discover(1));
    speaker.assert_silent(&Question::discover(2).with(116, &[1]));
}

/// RFC 2131 table 3.
#[test]
fn options_of_the_offer_are_those_of_the_ack() {
    let (_daemon, speaker) = start("  options: {domain-name: example.org, ntp-servers: [10.0.0.4]}");
    let discover = Question::discover(1).asking(&[15, 42, 1, 3]).with(51, &900_u32.to_be_bytes());
    let offer = speaker.ask(&discover);
    let ack = speaker.ask(&select(&discover, &offer));
    let without_kind =
        |answer: &Answer| answer.pieces.iter().filter(|(code, _)| *code != 53).cloned().collect::<Vec<_>>();
    assert_eq!(ack.kind(), Some(ACK));
    assert_eq!(without_kind(&offer), without_kind(&ack));
    assert_eq!((ack.number(51), ack.number(58), ack.number(59)), (900, 450, 787));
    let renewal = speaker.ask(&discover.becoming(REQUEST, &[]).ciaddr(offer.yiaddr()));
    assert_eq!(without_kind(&renewal), without_kind(&ack));
}
