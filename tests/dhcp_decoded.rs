//! Replies of the real binary, judged by a decoder that is not ours (scapy) and field by field by RFC 2131 table 3:
//! `tests/data/decode_replies.py` does it, for every kind of reply and for messages of unusual sizes.

mod common;

use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::lab::{dhcp_port, receive_bytes};
use common::octets::{DISCOVER, INFORM, Question, REQUEST, hex};
use common::{Daemon, has, text};
use serde_json::{Value, json};

const JUDGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/decode_replies.py");
/// Where Debian's scapy lives.
const PYTHON: &str = "/usr/bin/python3";

/// One worker; boot fields; a subnet behind a relay; an option that is longer than 255 octets.
const YAML: &str = "
tcp: {enabled: false}
udp: {enabled: false}
dhcp:
  interfaces: [lo]
  port: 0
  workers: 1
  lease_time: {default: 1h, min: 5m, max: 24h}
  next_server: 10.77.0.9
  server_name: boot.example
  boot_file: pxe.0
  conflict_check: {method: off}
  security: {client_rate: null}
  options:
    domain-name: example.org
    domain-name-servers: [10.0.0.2, 10.0.0.3]
    ntp-servers: [10.0.0.4]
    classless-static-routes: [10.1.0.0/16 10.77.0.1, 0.0.0.0/0 10.77.0.1]
    option-224: {hex: LONG}
    option-225: {hex: WIDE}
  subnets:
    lan:
      network: 10.77.0.0/24
      interface: lo
      options: {routers: [10.77.0.1]}
      pools: {main: {range: 10.77.0.100-10.77.0.199}}
    behind:
      network: 10.78.0.0/24
      options: {routers: [10.78.0.1]}
      pools: {main: {range: 10.78.0.10-10.78.0.99}}
";

fn octets(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// A client's message with something in it that must not come back.
fn question(kind: u8, n: u8) -> Question {
    Question::new(kind, 0xff00 | u32::from(n)).field(9, &[7])
}

/// The exchange with the server, kept for the judge.
struct Record {
    socket: UdpSocket,
    cases: Vec<Value>,
}

impl Record {
    fn new(daemon: &Daemon) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, dhcp_port(daemon))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, cases: Vec::new() }
    }

    /// Asks, and keeps the answer, which must be of this kind. Returns yiaddr.
    #[track_caller]
    fn ask(&mut self, name: &str, question: &Question, kind: &str, values: &Value) -> [u8; 4] {
        let bytes = question.bytes();
        self.socket.send(&bytes).unwrap();
        let reply = receive_bytes(&self.socket).unwrap_or_else(|| panic!("no answer to {name}"));
        let case = json!({
            "name": name, "question": hex(&bytes, ""), "reply": hex(&reply, ""), "kind": kind, "values": values,
        });
        self.cases.push(case);
        reply[16..20].try_into().unwrap()
    }

    /// What the judge finds wrong.
    fn judged(&self) -> String {
        let mut judge = Command::new(PYTHON);
        let mut judge = judge
            .arg(JUDGE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Vec<String> = self.cases.iter().map(Value::to_string).collect();
        judge.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
        let output = judge.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }
}

fn can_run(test: &str) -> bool {
    has("scapy3", test)
}

fn start() -> Daemon {
    Daemon::start(&YAML.replace("LONG", &hex(&octets(300), "")).replace("WIDE", &hex(&octets(200), "")))
}

const SERVER: [u8; 4] = [127, 0, 0, 1];
const USUAL: [u8; 6] = [1, 3, 6, 15, 42, 121];

#[test]
fn every_kind_of_reply_is_sound_to_another_decoder() {
    if !can_run("every_kind_of_reply_is_sound_to_another_decoder") {
        return;
    }
    let daemon = start();
    let mut record = Record::new(&daemon);
    let usual = json!({
        "subnet_mask": ["255.255.255.0"], "router": ["10.77.0.1"], "name_server": ["10.0.0.2", "10.0.0.3"],
        "domain": ["example.org"], "NTP_server": ["10.0.0.4"], "server_id": ["127.0.0.1"],
        "121": "100a010a4d0001000a4d0001",
    });
    let leased = json!({"lease_time": [3600], "renewal_time": [1800], "rebinding_time": [3150]});
    let mut with_times = usual.clone();
    with_times.as_object_mut().unwrap().extend(leased.as_object().unwrap().clone());
    // Routers are for those who do not take the routes (RFC 3442); so each asks for one of them.
    let plain = [1, 3, 6, 15, 42];
    let discover = question(DISCOVER, 1).asking(&plain);
    with_times.as_object_mut().unwrap().remove("121");
    let address = record.ask("offer", &discover, "offer", &with_times);
    let select = question(REQUEST, 1).with(50, &address).with(54, &SERVER).asking(&plain);
    assert_eq!(record.ask("ack of selecting", &select, "ack", &with_times), address);
    let renew = question(REQUEST, 1).field(12, &address).asking(&plain);
    assert_eq!(record.ask("ack of renewing", &renew, "ack", &with_times), address);
    let reboot = question(REQUEST, 1).with(50, &address).field(10, &[0x80, 0]).asking(&plain);
    record.ask("ack of init-reboot with the broadcast flag", &reboot, "ack", &with_times);
    let inform = question(INFORM, 2).field(12, &[10, 77, 0, 50]).asking(&[1, 121, 6, 15, 42]);
    let informed = json!({"subnet_mask": ["255.255.255.0"], "121": "100a010a4d0001000a4d0001"});
    record.ask("ack of inform", &inform, "inform-ack", &informed);
    let bare = question(DISCOVER, 3);
    record.ask(
        "offer to a client that asks for nothing",
        &bare,
        "offer",
        &json!({"server_id": ["127.0.0.1"]}),
    );
    for (name, question) in [
        ("nak of selecting", question(REQUEST, 4).with(50, &address).with(54, &SERVER)),
        ("nak of init-reboot", question(REQUEST, 4).with(50, &[192, 0, 2, 1])),
        ("nak of renewing", question(REQUEST, 4).field(12, &address)),
        ("nak with an identifier", question(REQUEST, 4).with(61, b"\0laptop").with(50, &[192, 0, 2, 1])),
    ] {
        record.ask(name, &question.asking(&USUAL), "nak", &json!({"server_id": ["127.0.0.1"]}));
    }
    assert_eq!(record.judged(), "");
}

#[test]
fn relayed_replies_are_sound_to_another_decoder() {
    if !can_run("relayed_replies_are_sound_to_another_decoder") {
        return;
    }
    let daemon = start();
    let mut record = Record::new(&daemon);
    let relay = "10.78.0.1";
    // Sub-options out of order, one twice, one unknown, and one that is cut short: all of it comes back as it was.
    let long = [&[2, 100][..], &octets(100), &[1, 60], &octets(60), &[150, 3, 1, 2, 3, 1, 2, 9, 9]].concat();
    let longer = [&[1, 200][..], &octets(200), &[2, 120], &octets(120)].concat();
    let broken = [&[1, 4][..], b"eth0", &[2, 40, 1, 2, 3]].concat();
    for (n, (name, information)) in
        (1..).zip([("long", long), ("longer than 255", longer), ("broken", broken), ("empty", vec![])])
    {
        // Room for all of it.
        let size = 1400_u16.to_be_bytes();
        let question = |kind| question(kind, n).relayed(relay).with(57, &size).asking(&[1, 3, 6, 15, 42]);
        let values = json!({"router": ["10.78.0.1"], "name_server": ["10.0.0.2", "10.0.0.3"]});
        let discover = question(DISCOVER).with(82, &information);
        let address = record.ask(&format!("offer, option 82 {name}"), &discover, "offer", &values);
        let select = question(REQUEST).with(50, &address).with(54, &SERVER).with(82, &information);
        record.ask(&format!("ack, option 82 {name}"), &select, "ack", &values);
        let stray = question(REQUEST).with(50, &[192, 0, 2, 1]).with(82, &information);
        record.ask(&format!("nak, option 82 {name}"), &stray, "nak", &json!({}));
        let inform = question(INFORM).field(12, &address).with(82, &information);
        record.ask(&format!("ack of inform, option 82 {name}"), &inform, "inform-ack", &values);
    }
    assert_eq!(record.judged(), "");
}

#[test]
fn long_options_and_small_messages_are_sound_to_another_decoder() {
    if !can_run("long_options_and_small_messages_are_sound_to_another_decoder") {
        return;
    }
    let daemon = start();
    let mut record = Record::new(&daemon);
    let both = json!({"224": hex(&octets(300), ""), "225": hex(&octets(200), "")});
    let large = question(DISCOVER, 1).with(57, &1400_u16.to_be_bytes()).asking(&[1, 3, 224, 225]);
    record.ask("offer with 500 octets of options", &large, "offer", &both);
    // 548 octets hold 308 of options; what does not fit goes to file and sname, or stays out.
    let wide = json!({"225": hex(&octets(200), "")});
    for (n, asked) in
        [&[1, 3, 225][..], &[1, 3, 6, 15, 42, 121, 225], &[225, 224], &[224, 225, 1, 3]].iter().enumerate()
    {
        let discover = question(DISCOVER, 10 + u8::try_from(n).unwrap()).asking(asked);
        let values = if asked.contains(&224) { json!({}) } else { wide.clone() };
        record.ask(&format!("offer of 576 octets with {asked:?}"), &discover, "offer", &values);
    }
    // A relay's 300 octets too, which may not go.
    let information = [&[1, 148][..], &octets(148)].concat();
    let crowded = question(DISCOVER, 20).relayed("10.78.0.1").asking(&[1, 3, 6, 225]).with(82, &information);
    record.ask("offer of 576 octets with a long option 82", &crowded, "offer", &json!({}));
    let identifier = octets(255);
    let named = question(DISCOVER, 30).with(61, &identifier).asking(&[1, 3]);
    record.ask("offer to an identifier of 255 octets", &named, "offer", &json!({"router": ["10.77.0.1"]}));
    // No hardware address in the header (RFC 4390 §2.1), and one of 16 octets.
    let infiniband =
        question(DISCOVER, 31).field(1, &[32, 0]).field(28, &[0; 6]).with(61, b"\xff\0\0\0\x01id");
    record.ask("offer to a client without a hardware address", &infiniband.asking(&[1]), "offer", &json!({}));
    let wide_address = question(DISCOVER, 32).field(1, &[20, 16]).field(28, &octets(16));
    record.ask("offer to 16 octets of hardware address", &wide_address.asking(&[1]), "offer", &json!({}));
    assert_eq!(record.judged(), "");
}

#[test]
fn rapid_commit_bootp_and_names_are_sound_to_another_decoder() {
    if !can_run("rapid_commit_bootp_and_names_are_sound_to_another_decoder") {
        return;
    }
    let yaml = YAML.replace("workers: 1", "workers: 1\n  rapid_commit: true\n  fqdn: {suffix: example.org}");
    let daemon = Daemon::start(&yaml.replace("LONG", "00").replace("WIDE", "00"));
    let mut record = Record::new(&daemon);
    let usual = json!({"subnet_mask": ["255.255.255.0"], "router": ["10.77.0.1"], "domain": ["example.org"]});
    let asked = [1, 3, 15];
    let rapid = question(DISCOVER, 1).with(80, &[]).asking(&asked);
    record.ask("ack of rapid commit", &rapid, "rapid-ack", &usual);
    let plain = question(DISCOVER, 2).asking(&asked);
    record.ask("offer without rapid commit", &plain, "offer", &usual);
    // RFC 4702 §2: flags E and S; a partial name in the encoding of DNS.
    let named = question(DISCOVER, 3).with(81, b"\x05\0\0\x06laptop").asking(&[1, 3, 15, 81]);
    record.ask("offer with a name", &named, "offer", &usual);
    // RFC 951: no option 53; with the cookie of RFC 1497 and no vendor information behind it.
    let bootp = Question::bootp(0xff04).field(9, &[7]);
    record.ask("answer to a BOOTP client", &bootp, "bootp", &json!({"subnet_mask": ["255.255.255.0"]}));
    assert_eq!(record.judged(), "");
}
