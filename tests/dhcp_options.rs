//! Options as a client sees them, on the real binary over loopback: levels, marks, what is asked for, overload. Replies
//! are read byte by byte here, since their order counts.

mod common;

use common::Daemon;
use common::dhcp::Client;
use common::lab::dhcp_port;
use dhcproto::v4::{DhcpOption, MessageType, OptionCode, UnknownOption};

const LEVELS: &str = "
tcp: {enabled: false}
udp: {enabled: false}
dhcp:
  interfaces: [lo]
  port: 0
  workers: 1
  options: {domain-name: example.org, domain-name-servers: [10.0.0.2], ntp-servers: {value: [10.0.0.4], always: true}}
  classes:
    pxe:
      match: {vendor-class: \"PXE*\"}
      options: {vendor-encapsulated-options: {6: {hex: \"02\"}, 10: {text: ab}}, domain-name: null}
  subnets:
    lan:
      network: 10.77.0.0/24
      interface: lo
      options: {routers: [10.77.0.1], classless-static-routes: [default 10.77.0.1]}
      pools: {main: {range: 10.77.0.100-10.77.0.199, options: {domain-name-servers: [10.77.0.2]}}}
      hosts: {known: {mac: \"02:00:00:00:00:07\", ip: 10.77.0.7, hostname: known, options: {domain-name: host.org}}}
";

/// An option that dhcproto need not understand.
fn given(code: u8, data: &[u8]) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), data.to_vec()))
}

/// The options of an OFFER in their order on the wire, those of `file` and `sname` behind the others.
fn offered(client: &Client, list: &[u8], options: &[DhcpOption]) -> Vec<(u8, Vec<u8>)> {
    let mut message = client.message(MessageType::Discover, options);
    let list = list.iter().map(|code| OptionCode::from(*code)).collect();
    message.opts_mut().insert(DhcpOption::ParameterRequestList(list));
    let mut buffer = [0; 1500];
    let length = (0..5).find_map(|_| {
        client.send(&message);
        client.socket.recv(&mut buffer).ok()
    });
    let reply = &buffer[..length.expect("no offer")];
    assert!(reply.len() <= 548, "{} bytes", reply.len());
    let mut found = walk(&reply[240..]);
    let overload = found.iter().find(|(code, _)| *code == 52).map_or(0, |(_, data)| data[0]);
    for (bit, field) in [(1, &reply[108..236]), (2, &reply[44..108])] {
        if overload & bit != 0 {
            found.extend(walk(field));
        }
    }
    found
}

fn walk(field: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while field[at] != 255 {
        let length = usize::from(field[at + 1]);
        found.push((field[at], field[at + 2..at + 2 + length].to_vec()));
        at += 2 + length;
    }
    found
}

/// The codes behind those that every OFFER has.
fn chosen(options: &[(u8, Vec<u8>)]) -> Vec<u8> {
    options
        .iter()
        .map(|(code, _)| *code)
        .filter(|code| !matches!(code, 51 | 53 | 54 | 58 | 59 | 61))
        .collect()
}

fn value(options: &[(u8, Vec<u8>)], code: u8) -> &[u8] {
    options.iter().find(|(found, _)| *found == code).map_or(&[], |(_, data)| data)
}

#[test]
fn the_nearest_level_wins_and_marks_are_obeyed() {
    let daemon = Daemon::start(LEVELS);
    let port = dhcp_port(&daemon);
    let plain = offered(&Client::new(1, port), &[15, 3, 6, 1], &[]);
    assert_eq!(
        chosen(&plain),
        [15, 1, 3, 6, 42],
        "in the order asked, the mask before the routers, 42 unasked"
    );
    assert_eq!((value(&plain, 6), value(&plain, 15)), (&[10, 77, 0, 2][..], &b"example.org"[..]));
    let pxe = offered(&Client::new(2, port), &[15, 43, 6], &[given(60, b"PXEClient")]);
    assert_eq!(chosen(&pxe), [43, 6, 42], "the class unsets the domain name");
    assert_eq!(value(&pxe, 43), [6, 1, 2, 10, 2, b'a', b'b']);
    let known = offered(&Client::new(7, port), &[12, 15, 6], &[given(60, b"PXEClient")]);
    assert_eq!(chosen(&known), [12, 15, 6, 42]);
    assert_eq!((value(&known, 12), value(&known, 15)), (&b"known"[..], &b"host.org"[..]));
    assert_eq!(value(&known, 6), [10, 0, 0, 2], "its address lies in no pool");
}

/// RFC 3442, page 5.
#[test]
fn routers_are_left_out_beside_classless_routes_that_were_asked_for() {
    let daemon = Daemon::start(LEVELS);
    let client = Client::new(1, dhcp_port(&daemon));
    let routed = offered(&client, &[3, 121, 1], &[]);
    assert_eq!(chosen(&routed), [121, 1, 42]);
    assert_eq!(value(&routed, 121), [0, 10, 77, 0, 1]);
}

#[test]
fn what_finds_no_room_goes_to_file_and_sname() {
    let (large, medium, small) = ("01".repeat(250), "02".repeat(100), "03".repeat(50));
    let options = format!(
        "{{option-224: {{hex: \"{large}\"}}, option-225: {{hex: \"{medium}\"}}, option-226: {{hex: \"{small}\"}}}}"
    );
    let levels =
        LEVELS.replace("{routers: [10.77.0.1], classless-static-routes: [default 10.77.0.1]}", &options);
    let daemon = Daemon::start(&levels);
    let client = Client::new(1, dhcp_port(&daemon));
    let found = offered(&client, &[224, 225, 226, 15], &[]);
    assert_eq!(value(&found, 52), [3]);
    assert_eq!(chosen(&found), [52, 224, 15, 42, 225, 226]);
    assert_eq!([224, 225, 226].map(|code| value(&found, code).len()), [250, 100, 50]);
}
