//! Classes: what their members get, the pools that are theirs, whom they keep out, and in which order they apply. On the
//! real binary over loopback.

mod common;

use std::net::Ipv4Addr;

use common::octets::{ACK, Answer, NAK, Question, Speaker, ip, ips, loopback, serve, sub};
use common::{Daemon, text};

/// As docs/configuration.md has it, on other addresses; and a class for each of the other things that can be matched.
const CLASSES: &str = r#"
  next_server: 10.77.0.9
  options: {domain-name: example.org}
  classes:
    bios: {order: 10, match: {vendor-class: "PXEClient*", architecture: 0}, boot_file: undionly.kpxe}
    uefi: {order: 10, match: {vendor-class: "PXEClient*", architecture: [7, 9]}, boot_file: ipxe.efi}
    pxe: {order: 5, match: {vendor-class: "PXEClient*"}, next_server: 10.77.0.4, server_name: boot.example}
    ipxe:
      order: 20
      match: {user-class: "iPXE"}
      boot_file: "http://10.77.0.4/boot.ipxe"
    phones:
      match:
        any:
          - vendor-class: ["Cisco*Phone*", "snom*"]
          - {mac: "00:04:13:*", not: {hostname: "*-pc"}}
      lease_time: 2h
      options: {tftp-server-name: 10.77.0.4, vendor-encapsulated-options: {1: {ip: 10.77.0.7}}}
    unwanted: {match: {hostname: "test-*"}, drop: true}
    sun: {match: {vendor-class: "SUNW.*"}, options: {vendor-encapsulated-options: {2: {text: root}}}}
    first: {order: 1, match: {option: {150: "0x0102*"}}, options: {domain-name: first, nis-domain: first}}
    second: {order: 2, match: {option: {150: "*"}}, options: {domain-name: second}}
    a-name: {order: 2, match: {option: {150: "*"}}, options: {domain-name: a, root-path: a}}
    circuit: {match: {circuit-id: "eth0/*"}, options: {root-path: circuit}}
    remote: {match: {remote-id: "0x0a0b*"}, options: {nis-domain: remote}}
    relay: {match: {relay: "10.78.*"}, options: {domain-name: relayed}}
    here: {match: {interface: "lo"}, options: {merit-dump: here}}
    identified: {match: {client-id: "01:02:*"}, options: {extensions-path: identified}}
    modern: {match: {not: {vendor-class: "*"}}, options: {cookie-servers: [10.77.0.8]}}
"#;

const POOLS: &str = "
    lan:
      network: 10.77.0.0/24
      interface: lo
      pools:
        computers: {range: 10.77.0.100-10.77.0.119}
        phones: {range: 10.77.0.200-10.77.0.201, classes: [phones]}
        boot: {range: 10.77.0.210-10.77.0.219, classes: [sun, bios]}
      hosts: {known: {mac: \"02:00:00:00:00:63\", ip: 10.77.0.230, boot_file: host.img, options: {domain-name: host}}}
    behind:
      network: 10.78.0.0/24
      pools: {main: {range: 10.78.0.100-10.78.0.199}}
";

fn start() -> (Daemon, Speaker) {
    serve(&loopback(CLASSES, POOLS))
}

/// A client that asks for everything that the classes set.
fn discover(n: u32) -> Question {
    Question::discover(n).asking(&[1, 8, 14, 15, 17, 18, 40, 43, 66])
}

fn pxe(n: u32, architecture: u16) -> Question {
    let vendor = format!("PXEClient:Arch:{architecture:05}:UNDI:002001");
    discover(n).with(60, vendor.as_bytes()).with(93, &architecture.to_be_bytes())
}

fn boot(answer: &Answer) -> (Ipv4Addr, String, String) {
    (answer.siaddr(), answer.sname(), answer.file())
}

#[test]
fn network_boot_by_bios_and_uefi_gets_its_file_and_ipxe_the_second() {
    let (_daemon, speaker) = start();
    for (n, architecture, file) in
        [(1, 0, "undionly.kpxe"), (2, 7, "ipxe.efi"), (3, 9, "ipxe.efi"), (4, 11, "")]
    {
        let ack = speaker.lease(&pxe(n, architecture));
        assert_eq!(boot(&ack), (ip("10.77.0.4"), "boot.example".into(), file.into()), "{architecture}");
    }
    // The user class as one text, and in parts (RFC 3004 §4).
    for (n, user_class) in [
        (5, b"iPXE".to_vec()),
        (6, sub_class(b"iPXE")),
        (7, [sub_class(b"other"), sub_class(b"iPXE")].concat()),
    ] {
        let ack = speaker.lease(&pxe(n, 7).with(77, &user_class));
        assert_eq!(ack.file(), "http://10.77.0.4/boot.ipxe");
    }
    let plain = speaker.lease(&discover(8));
    assert_eq!(boot(&plain), (ip("10.77.0.9"), String::new(), String::new()));
}

fn sub_class(part: &[u8]) -> Vec<u8> {
    [&[u8::try_from(part.len()).unwrap()], part].concat()
}

#[test]
fn each_vendor_has_its_own_option_43() {
    let (_daemon, speaker) = start();
    for (n, vendor, value) in [
        (1, &b"snom-370"[..], Some([&[1, 4][..], &[10, 77, 0, 7]].concat())),
        (2, b"Cisco Systems, Inc. IP Phone CP-7960", Some([&[1, 4][..], &[10, 77, 0, 7]].concat())),
        (3, b"SUNW.Ultra", Some(sub(2, b"root"))),
        (4, b"docsis3.0", None),
    ] {
        let ack = speaker.lease(&discover(n).with(60, vendor));
        assert_eq!(ack.option(43), value);
        assert_eq!(ack.option(66), (n < 3).then(|| b"10.77.0.4".to_vec()));
    }
}

#[test]
fn values_of_later_classes_lie_over_those_of_earlier_ones_option_by_option() {
    let (_daemon, speaker) = start();
    // `first` has a lower order; `a-name` and `second` have the same, so their names decide.
    let both = speaker.lease(&discover(1).with(150, &[1, 2, 3]));
    assert_eq!((both.text(15), both.text(17), both.text(40)), ("second".into(), "a".into(), "first".into()));
    let one = speaker.lease(&discover(2).with(150, &[9]));
    assert_eq!((one.text(15), one.option(40)), ("second".into(), None));
    let none = speaker.lease(&discover(3));
    assert_eq!(none.text(15), "example.org");
    let host = speaker.lease(&pxe(0x63, 7).with(150, &[1, 2]));
    assert_eq!((host.text(15), host.text(17)), ("host".into(), "a".into()), "the host lies over all");
    assert_eq!(boot(&host), (ip("10.77.0.4"), "boot.example".into(), "host.img".into()));
}

#[test]
fn members_are_told_by_whatever_they_and_their_relay_send() {
    let (_daemon, speaker) = start();
    let told = |question: Question| {
        let answer = speaker.ask(&question);
        [8, 14, 15, 17, 18, 40].map(|code| answer.option(code).is_some_and(|value| value != b"example.org"))
    };
    let relayed = |information: &[u8]| discover(1).with(60, b"x").relayed("10.78.0.1").with(82, information);
    assert_eq!(told(discover(1).with(60, b"x")), [false, true, false, false, false, false]);
    assert_eq!(told(discover(2)), [true, true, false, false, false, false]);
    assert_eq!(
        told(discover(3).with(60, b"x").with(61, &[1, 2, 3])),
        [false, true, false, false, true, false]
    );
    assert_eq!(told(relayed(&[])), [false, true, true, false, false, false]);
    assert_eq!(told(relayed(&sub(1, b"eth0/7"))), [false, true, true, true, false, false]);
    assert_eq!(told(relayed(&sub(1, b"eth1/7"))), [false, true, true, false, false, false]);
    let both = [sub(1, b"eth0/"), sub(2, &[10, 11, 12])].concat();
    assert_eq!(told(relayed(&both)), [false, true, true, true, false, true]);
    // Nobody but a relay can say where a client is plugged in.
    let forged = discover(4).with(60, b"x").with(82, &sub(1, b"eth0/7"));
    assert_eq!(told(forged), [false, true, false, false, false, false]);
}

#[test]
fn gated_pool_is_for_members_only_and_the_open_one_for_all() {
    let (_daemon, speaker) = start();
    let gated = [ip("10.77.0.200"), ip("10.77.0.201")];
    let stranger = speaker.lease(&discover(1).with_ip(50, gated[0]));
    assert!(!gated.contains(&stranger.yiaddr()));
    let select = Question::request(1).with_ip(50, gated[0]).with_ip(54, Ipv4Addr::LOCALHOST);
    assert_eq!(speaker.ask(&select).kind(), Some(NAK), "nor by asking for it");
    let phone = |n| discover(n).with(60, b"snom");
    let ack = speaker.lease(&phone(2).with_ip(50, gated[1]));
    assert_eq!((ack.yiaddr(), ack.number(51)), (gated[1], 7200), "with the class's lease time");
    let renewed = speaker.renew(&phone(2), gated[1]);
    assert_eq!(renewed.kind(), Some(ACK));
    // Who is no member any more has to leave.
    assert_eq!(speaker.renew(&discover(2), gated[1]).kind(), Some(NAK));
    // Members of one of several classes.
    for (n, question) in [(3, discover(3).with(60, b"SUNW.x")), (4, pxe(4, 0))] {
        let ack = speaker.lease(&question.with_ip(50, Ipv4Addr::new(10, 77, 0, 210 + n)));
        assert_eq!(ack.yiaddr(), Ipv4Addr::new(10, 77, 0, 210 + n));
    }
}

#[test]
fn members_of_a_dropped_class_are_met_with_silence() {
    let (daemon, speaker) = start();
    speaker.assert_silent(&discover(1).with(12, b"test-1"));
    speaker.assert_silent(&Question::request(1).with(12, b"TEST-1").with_ip(50, ip("192.0.2.1")));
    speaker.lease(&discover(1).with(12, b"my-test-1"));
    assert_eq!(common::echo::metric(&daemon, "echo_daemon_dhcp_dropped_total{reason=\"class\"}"), 2);
}

#[test]
fn conditions_nest() {
    let (_daemon, speaker) = start();
    let snom = |n: u32, name: &[u8]| discover(n).field(28, &[0, 4, 0x13, 0, 0, 1]).with(12, name);
    assert!(speaker.ask(&snom(1, b"desk")).option(43).is_some());
    assert!(speaker.ask(&snom(2, b"my-PC")).option(43).is_none(), "hostnames in any case");
    assert!(speaker.ask(&snom(3, b"my-PC").with(60, b"snom")).option(43).is_some());
    assert_eq!(speaker.ask(&discover(4)).option(8), Some(ips(&["10.77.0.8"])));
}

#[test]
fn mistakes_in_classes_are_refused_by_check() {
    for (classes, words) in [
        ("x: {boot_file: a}", "match"),
        ("x: {match: {vendor: a}}", "vendor-class"),
        ("x: {match: {mac: \"zz:*\"}}", "mac"),
        ("x: {match: {architecture: abc}}", "architecture"),
        ("x: {match: {hostname: a}, options: {routers: nonsense}}", "routers"),
    ] {
        let yaml = loopback(&format!("  classes: {{{classes}}}"), POOLS);
        let said = text(&Daemon::prepare(&yaml).run(&["check"]));
        assert!(said.contains("dhcp.classes.x") && said.contains(words), "{classes}: {said}");
    }
    let said = text(&Daemon::prepare(&loopback("  classes: {}", POOLS)).run(&["check"]));
    assert!(said.contains("phones"), "a pool for a class that is not there: {said}");
}
