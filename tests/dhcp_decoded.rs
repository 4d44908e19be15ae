//! Replies of the real binary, judged by a decoder that is not ours (scapy) and field by field by RFC 2131 table 3:
//! `tests/data/decode_replies.py` does it, for every kind of reply and for messages of unusual sizes.

mod common;

use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::lab::{dhcp_port, receive_bytes};
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

/// Hex of `length` octets.
fn octets(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from(b"0123456789abcdef"[usize::from(half)]))
        .collect()
}

/// A client's message, made by hand: octet by octet, whatever our own libraries think of it.
#[derive(Clone)]
struct Question {
    header: [u8; 236],
    options: Vec<(u8, Vec<u8>)>,
}

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const INFORM: u8 = 8;

impl Question {
    fn new(kind: u8, n: u8) -> Self {
        let mut header = [0; 236];
        header[..3].copy_from_slice(&[1, 1, 6]);
        header[4..8].copy_from_slice(&[0xde, 0xad, kind, n]);
        // Something that must not come back.
        header[9] = 7;
        header[28..34].copy_from_slice(&[2, 0, 0, 0, 0xff, n]);
        Self { header, options: vec![(53, vec![kind])] }
    }

    fn with(mut self, code: u8, data: &[u8]) -> Self {
        self.options.push((code, data.to_vec()));
        self
    }

    fn field(mut self, at: usize, data: &[u8]) -> Self {
        self.header[at..at + data.len()].copy_from_slice(data);
        self
    }

    /// Through a relay at this address, which has counted a hop.
    fn relayed(self, relay: [u8; 4]) -> Self {
        self.field(24, &relay).field(3, &[1])
    }

    fn asking(self, codes: &[u8]) -> Self {
        self.with(55, codes)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&self.header[..], &[99, 130, 83, 99]].concat();
        for (code, data) in &self.options {
            // RFC 3396 §4; nothing at all is a piece too.
            let whole = data.is_empty().then_some(&data[..]);
            for piece in data.chunks(255).chain(whole) {
                bytes.extend([*code, u8::try_from(piece.len()).unwrap()]);
                bytes.extend(piece);
            }
        }
        bytes.push(255);
        bytes.resize(bytes.len().max(300), 0);
        bytes
    }
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
            "name": name, "question": hex(&bytes), "reply": hex(&reply), "kind": kind, "values": values,
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
    Daemon::start(&YAML.replace("LONG", &hex(&octets(300))).replace("WIDE", &hex(&octets(200))))
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
    let discover = Question::new(DISCOVER, 1).asking(&plain);
    with_times.as_object_mut().unwrap().remove("121");
    let address = record.ask("offer", &discover, "offer", &with_times);
    let select = Question::new(REQUEST, 1).with(50, &address).with(54, &SERVER).asking(&plain);
    assert_eq!(record.ask("ack of selecting", &select, "ack", &with_times), address);
    let renew = Question::new(REQUEST, 1).field(12, &address).asking(&plain);
    assert_eq!(record.ask("ack of renewing", &renew, "ack", &with_times), address);
    let reboot = Question::new(REQUEST, 1).with(50, &address).field(10, &[0x80, 0]).asking(&plain);
    record.ask("ack of init-reboot with the broadcast flag", &reboot, "ack", &with_times);
    let inform = Question::new(INFORM, 2).field(12, &[10, 77, 0, 50]).asking(&[1, 121, 6, 15, 42]);
    let informed = json!({"subnet_mask": ["255.255.255.0"], "121": "100a010a4d0001000a4d0001"});
    record.ask("ack of inform", &inform, "inform-ack", &informed);
    let bare = Question::new(DISCOVER, 3);
    record.ask(
        "offer to a client that asks for nothing",
        &bare,
        "offer",
        &json!({"server_id": ["127.0.0.1"]}),
    );
    for (name, question) in [
        ("nak of selecting", Question::new(REQUEST, 4).with(50, &address).with(54, &SERVER)),
        ("nak of init-reboot", Question::new(REQUEST, 4).with(50, &[192, 0, 2, 1])),
        ("nak of renewing", Question::new(REQUEST, 4).field(12, &address)),
        ("nak with an identifier", Question::new(REQUEST, 4).with(61, b"\0laptop").with(50, &[192, 0, 2, 1])),
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
    let relay = [10, 78, 0, 1];
    // Sub-options out of order, one twice, one unknown, and one that is cut short: all of it comes back as it was.
    let long = [&[2, 100][..], &octets(100), &[1, 60], &octets(60), &[150, 3, 1, 2, 3, 1, 2, 9, 9]].concat();
    let longer = [&[1, 200][..], &octets(200), &[2, 120], &octets(120)].concat();
    let broken = [&[1, 4][..], b"eth0", &[2, 40, 1, 2, 3]].concat();
    for (n, (name, information)) in
        (1..).zip([("long", long), ("longer than 255", longer), ("broken", broken), ("empty", vec![])])
    {
        // Room for all of it.
        let size = 1400_u16.to_be_bytes();
        let question =
            |kind| Question::new(kind, n).relayed(relay).with(57, &size).asking(&[1, 3, 6, 15, 42]);
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
    let both = json!({"224": hex(&octets(300)), "225": hex(&octets(200))});
    let large = Question::new(DISCOVER, 1).with(57, &1400_u16.to_be_bytes()).asking(&[1, 3, 224, 225]);
    record.ask("offer with 500 octets of options", &large, "offer", &both);
    // 548 octets hold 308 of options; what does not fit goes to file and sname, or stays out.
    let wide = json!({"225": hex(&octets(200))});
    for (n, asked) in
        [&[1, 3, 225][..], &[1, 3, 6, 15, 42, 121, 225], &[225, 224], &[224, 225, 1, 3]].iter().enumerate()
    {
        let question = Question::new(DISCOVER, 10 + u8::try_from(n).unwrap()).asking(asked);
        let values = if asked.contains(&224) { json!({}) } else { wide.clone() };
        record.ask(&format!("offer of 576 octets with {asked:?}"), &question, "offer", &values);
    }
    // A relay's 300 octets too, which may not go.
    let information = [&[1, 148][..], &octets(148)].concat();
    let crowded =
        Question::new(DISCOVER, 20).relayed([10, 78, 0, 1]).asking(&[1, 3, 6, 225]).with(82, &information);
    record.ask("offer of 576 octets with a long option 82", &crowded, "offer", &json!({}));
    let identifier = octets(255);
    let named = Question::new(DISCOVER, 30).with(61, &identifier).asking(&[1, 3]);
    record.ask("offer to an identifier of 255 octets", &named, "offer", &json!({"router": ["10.77.0.1"]}));
    // No hardware address in the header (RFC 4390 §2.1), and one of 16 octets.
    let infiniband =
        Question::new(DISCOVER, 31).field(1, &[32, 0]).field(28, &[0; 6]).with(61, b"\xff\0\0\0\x01id");
    record.ask("offer to a client without a hardware address", &infiniband.asking(&[1]), "offer", &json!({}));
    let wide_address = Question::new(DISCOVER, 32).field(1, &[20, 16]).field(28, &octets(16));
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
    let rapid = Question::new(DISCOVER, 1).with(80, &[]).asking(&asked);
    record.ask("ack of rapid commit", &rapid, "rapid-ack", &usual);
    let plain = Question::new(DISCOVER, 2).asking(&asked);
    record.ask("offer without rapid commit", &plain, "offer", &usual);
    // RFC 4702 §2: flags E and S; a partial name in the encoding of DNS.
    let named = Question::new(DISCOVER, 3).with(81, b"\x05\0\0\x06laptop").asking(&[1, 3, 15, 81]);
    record.ask("offer with a name", &named, "offer", &usual);
    // RFC 951: no option 53; with the cookie of RFC 1497 and no vendor information behind it.
    let mut bootp = Question::new(0, 4);
    bootp.options.clear();
    record.ask("answer to a BOOTP client", &bootp, "bootp", &json!({"subnet_mask": ["255.255.255.0"]}));
    assert_eq!(record.judged(), "");
}
