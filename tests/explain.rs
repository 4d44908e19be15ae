//! `explain` says what the server then does: for each client both are asked, and the address, the subnet, the pool, the boot
//! fields, the options in their order and the reason of a silence compared.

mod common;

use common::echo::metric;
use common::lab::query;
use common::octets::{Answer, OFFER, Question, Speaker, hex, ip, loopback, select, serve, sub};
use common::{Daemon, text};
use serde_json::Value;

const DHCP: &str = "
  next_server: 10.77.0.9
  options: {domain-name: example.org, domain-name-servers: [10.0.0.2, 10.0.0.3], ntp-servers: {value: [10.0.0.4], always: true}, root-path: global}
  classes:
    pxe: {order: 5, match: {vendor-class: \"PXEClient*\"}, next_server: 10.77.0.4, boot_file: ipxe.efi}
    phones: {match: {vendor-class: \"snom*\"}, lease_time: 2h, options: {tftp-server-name: 10.77.0.7, root-path: null}}
    unwanted: {match: {hostname: \"test-*\"}, drop: true}
";

const SUBNETS: &str = "
    lan:
      network: 10.77.0.0/24
      interface: lo
      options: {routers: [10.77.0.1], nis-domain: lan}
      pools:
        main: {range: 10.77.0.100-10.77.0.199, options: {nis-domain: main}}
        phones: {range: 10.77.0.200-10.77.0.219, classes: [phones]}
      hosts:
        printer: {mac: \"02:00:00:00:00:07\", ip: 10.77.0.7, hostname: printer, boot_file: print.img, options: {ntp-servers: [10.0.0.5]}}
        guest: {mac: \"02:00:00:00:00:08\", options: {domain-name: guest.org}}
    behind:
      network: 10.78.0.0/24
      relays: [10.9.9.9]
      options: {routers: [10.78.0.1]}
      pools: {main: {range: 10.78.0.100-10.78.0.199}}
      hosts: {room: {circuit_id: \"port 7\", ip: 10.78.0.7}}
    full: {network: 10.79.0.0/24, pools: {main: {range: 10.79.0.100-10.79.0.100}}}
";

/// A client for both.
#[derive(Clone, Default)]
struct Case {
    n: u32,
    relay: Option<&'static str>,
    options: Vec<(u8, Vec<u8>)>,
}

impl Case {
    fn new(n: u32) -> Self {
        Self { n, ..Self::default() }
    }

    fn relay(mut self, relay: &'static str) -> Self {
        self.relay = Some(relay);
        self
    }

    fn with(mut self, code: u8, data: &[u8]) -> Self {
        self.options.push((code, data.to_vec()));
        self
    }

    fn question(&self) -> Question {
        let plain = Question::discover(self.n);
        let question = self.options.iter().fold(plain, |question, (code, data)| question.with(*code, data));
        self.relay.map_or(question.clone(), |relay| question.relayed(relay))
    }

    fn explain(&self, daemon: &Daemon) -> Value {
        let mac = hex(&[&[2, 0][..], &self.n.to_be_bytes()].concat(), ":");
        let options: Vec<String> =
            self.options.iter().map(|(code, data)| format!("{code}=0x{}", hex(data, ""))).collect();
        let mut args = vec!["explain", "--json", "--mac", &mac];
        args.extend(self.relay.map(|relay| ["--relay", relay]).into_iter().flatten());
        args.extend(options.iter().flat_map(|option| ["--option", option]));
        serde_json::from_str(&daemon.run_ok(&args)).unwrap()
    }
}

fn start() -> (Daemon, Speaker) {
    serve(&loopback(DHCP, SUBNETS))
}

/// What a value of the wire is in words; none for layouts that this test does not know.
fn words(code: u8, data: &[u8]) -> Option<String> {
    let number = || data.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)).to_string();
    let addresses = || {
        let each = data.chunks(4).map(|four| four.iter().map(u8::to_string).collect::<Vec<_>>().join("."));
        each.collect::<Vec<_>>().join(", ")
    };
    match code {
        1 | 3 | 6 | 28 | 42 | 54 => Some(addresses()),
        12 | 15 | 17 | 40 | 66 => Some(String::from_utf8_lossy(data).into_owned()),
        51 | 53 | 58 | 59 => Some(number()),
        _ => None,
    }
}

#[track_caller]
fn assert_agree(told: &Value, offer: &Answer) {
    assert_eq!((told["outcome"].as_str(), offer.kind()), (Some("offer"), Some(OFFER)), "{told:#}");
    assert_eq!(told["address"], offer.yiaddr().to_string(), "{told:#}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(told["next_server"], offer.siaddr().to_string());
    assert_eq!((text(&told["server_name"]), text(&told["boot_file"])), (offer.sname(), offer.file()));
    let options = told["options"].as_array().unwrap();
    let sent: Vec<_> = options.iter().filter(|option| option["sent"] == true).collect();
    let codes: Vec<u64> = sent.iter().map(|option| option["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, offer.codes().iter().map(|code| u64::from(*code)).collect::<Vec<_>>(), "{told:#}");
    for (option, (code, data)) in sent.iter().zip(&offer.pieces) {
        if let Some(value) = words(*code, data) {
            assert_eq!(option["value"], value, "{option}");
        }
    }
    // What is in force and not sent was not asked for.
    let rest = options.iter().filter(|option| option["sent"] == false);
    assert!(rest.clone().all(|option| !codes.contains(&option["code"].as_u64().unwrap())), "{told:#}");
}

#[test]
fn explain_agrees_with_what_the_server_offers_and_leases() {
    let (daemon, speaker) = start();
    let list = [15, 6, 3, 1, 40, 66, 17, 12];
    // Its lease is known to both.
    let known = Case::new(1).with(50, &[10, 77, 0, 142]).with(55, &list);
    assert_eq!(speaker.lease(&known.question()).yiaddr(), ip("10.77.0.142"));
    let circuit = |circuit: &[u8]| sub(1, circuit);
    let cases = [
        Case::new(1).with(55, &list),
        Case::new(2),
        Case::new(3).with(55, &[1]).with(12, b"desk"),
        Case::new(4).with(55, &list).with(60, b"PXEClient:Arch:00007"),
        Case::new(5).with(55, &list).with(60, b"snom").with(50, &[10, 77, 0, 210]),
        Case::new(6).with(51, &7200_u32.to_be_bytes()).with(50, &[10, 77, 0, 111]),
        Case::new(7).with(55, &list).with(60, b"PXEClient"),
        Case::new(8).with(55, &list),
        Case::new(9).with(61, b"\xff\0\0\0\x01\0\x03").with(55, &list),
        Case::new(10).relay("10.78.0.1").with(55, &list),
        Case::new(11).relay("10.9.9.9").with(55, &list).with(82, &circuit(b"port 7")),
        Case::new(12).relay("10.9.9.9").with(82, &[circuit(b"port 8"), sub(5, &[10, 77, 0, 0])].concat()),
        Case::new(13).with(81, b"\0\0\0box").with(118, &[10, 78, 0, 0]),
    ];
    for case in cases {
        let told = case.explain(&daemon);
        let discover = case.question();
        let offer = speaker.ask(&discover);
        assert_agree(&told, &offer);
        let ack = speaker.ask(&select(&discover, &offer));
        assert_eq!(ack.yiaddr(), offer.yiaddr());
        let row = format!("SELECT subnet, pool FROM lease_list WHERE ip = '{}'", ack.yiaddr());
        let pool = told["pool"].as_str().unwrap_or_default();
        assert_eq!(query(&daemon, &row), [[told["subnet"].as_str().unwrap(), pool]], "{told:#}");
    }
}

#[test]
fn origin_of_each_option_is_named() {
    let (daemon, _speaker) = start();
    let origin = |told: &Value, code: u64| {
        let options = told["options"].as_array().unwrap().clone();
        let found = options.into_iter().find(|option| option["code"] == code);
        found.map(|option| (option["origin"].as_str().unwrap().to_owned(), option["sent"] == true))
    };
    let from = |name: &str, sent| Some((name.to_owned(), sent));
    let plain = Case::new(2).with(55, &[1, 3, 40, 15]).explain(&daemon);
    assert_eq!(
        [1, 3, 40, 15].map(|code| origin(&plain, code)),
        [from("derived", true), from("subnet lan", true), from("pool main", true), from("global", true)]
    );
    assert_eq!((origin(&plain, 6), origin(&plain, 42)), (from("global", false), from("global", true)));
    assert_eq!((origin(&plain, 53), origin(&plain, 66)), (from("protocol", true), None));
    let phone = Case::new(5).with(55, &[66]).with(60, b"snom").explain(&daemon);
    assert_eq!((origin(&phone, 66), origin(&phone, 17)), (from("class phones", true), None), "null hides");
    assert_eq!(phone["classes"], serde_json::json!(["phones"]));
    assert_eq!(phone["pools"], serde_json::json!(["lan.phones", "lan.main"]));
    let printer = Case::new(7).with(55, &[12, 42]).explain(&daemon);
    assert_eq!(
        (origin(&printer, 12), origin(&printer, 42)),
        (from("host printer", true), from("host printer", true))
    );
    assert_eq!(
        (&printer["host"], &printer["reserved"]),
        (&Value::from("lan.printer"), &Value::from("10.77.0.7"))
    );
    assert_eq!((&printer["pool"], &printer["boot_file"]), (&Value::Null, &Value::from("print.img")));
}

#[test]
fn silence_has_the_reason_that_the_server_counts() {
    let (daemon, speaker) = start();
    speaker.lease(&Question::discover(1).relayed("10.79.0.1"));
    for (case, reason) in [
        (Case::new(2).relay("192.0.2.1"), "unknown-subnet"),
        (Case::new(3).with(12, b"test-1"), "class"),
        (Case::new(4).relay("10.79.0.1"), "exhausted"),
        (Case::new(5).relay("255.255.255.255"), "relay-address"),
        (Case::new(6).with(50, &[1, 2, 3]), "option"),
    ] {
        let told = case.explain(&daemon);
        assert_eq!((&told["outcome"], &told["address"]), (&Value::from("silence"), &Value::Null), "{told:#}");
        let said = told["reason"].as_str().unwrap().to_owned();
        assert!(said.contains(reason), "{said}");
        let name = format!("echo_daemon_dhcp_dropped_total{{reason=\"{said}\"}}");
        let before = metric(&daemon, &name);
        speaker.assert_silent(&case.question());
        assert_eq!(metric(&daemon, &name), before + 1);
    }
}

#[test]
fn explain_changes_nothing_and_needs_no_running_daemon() {
    let daemon = Daemon::prepare(&loopback(DHCP, SUBNETS));
    let case = Case::new(7).with(55, &[15]);
    let before = case.explain(&daemon);
    assert!(!daemon.leases().exists(), "no lease file is made");
    daemon.run_ok(&["start"]);
    let speaker = Speaker::new(&daemon);
    assert_eq!(case.explain(&daemon), before);
    assert_eq!(query(&daemon, "SELECT count(*) FROM lease_list"), [["0"]]);
    let other = speaker.lease(&Question::discover(20));
    assert_ne!(other.yiaddr(), ip("10.77.0.7"));
    let said = daemon.run_ok(&["explain", "--mac", "02:00:00:00:00:07", "--option", "55=12,15"]);
    for part in [
        "lan.printer (10.77.0.7)",
        "none: reserved",
        "print.img",
        "host printer",
        "example.org",
        "not asked for",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    for wrong in [&["--mac", "02:0"][..], &["--mac", "02:00:00:00:00:07", "--option", "53=1"], &[]] {
        let output = daemon.run(&[&["explain"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    }
}
