//! DHCP as a client sees it, on the real binary over loopback: every message type, what each reply holds, and where
//! there is none. Replies are decoded by dhcproto.

mod common;

use std::net::Ipv4Addr;

use common::Daemon;
use common::dhcp::Client;
use common::lab::{self, LOOPBACK, assert_silent, dhcp_port, kind, server_id};
use dhcproto::v4::relay::{RelayAgentInformation, RelayInfo};
use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};

const SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// One worker, so that answers come in the order of the questions; boot fields, short limits and a subnet that only
/// relays reach.
const RICH: &str = "
tcp: {enabled: false}
udp: {enabled: false}
dhcp:
  interfaces: [lo]
  port: 0
  workers: 1
  lease_time: {default: 1h, min: 10m, max: 2h}
  next_server: 10.77.0.9
  server_name: boot.example
  boot_file: pxe.0
  options: {domain-name: example.org, domain-name-servers: [10.0.0.2, 10.0.0.3], ntp-servers: [10.0.0.4]}
  subnets:
    lan:
      network: 10.77.0.0/24
      interface: lo
      exclude: [10.77.0.150]
      options: {routers: [10.77.0.1]}
      pools: {main: {range: 10.77.0.100-10.77.0.199}}
    behind:
      network: 10.78.0.0/24
      relays: [10.9.9.9]
      options: {routers: [10.78.0.1], domain-name: behind.example.org}
      pools: {main: {range: 10.78.0.10-10.78.0.99, options: {domain-name-servers: [10.78.0.2]}}}
";

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// Makes a message come through a relay.
fn relayed(mut message: Message, relay: &str) -> Message {
    message.set_giaddr(address(relay)).set_hops(1);
    message
}

#[track_caller]
fn option(message: &Message, code: OptionCode) -> DhcpOption {
    message.opts().get(code).unwrap_or_else(|| panic!("no {code:?} in {message:?}")).clone()
}

#[track_caller]
fn assert_times(message: &Message, lease_secs: u32) {
    assert_eq!(option(message, OptionCode::AddressLeaseTime), DhcpOption::AddressLeaseTime(lease_secs));
    assert_eq!(option(message, OptionCode::Renewal), DhcpOption::Renewal(lease_secs / 2));
    assert_eq!(option(message, OptionCode::Rebinding), DhcpOption::Rebinding(lease_secs * 7 / 8));
}

#[test]
fn offer_and_ack_hold_what_the_client_needs() {
    let daemon = Daemon::start(RICH);
    let client = Client::new(1, dhcp_port(&daemon));
    let offer = client.discover().expect("no offer");
    let ack = client.select(&offer).expect("no ack");
    assert_eq!((kind(&offer), kind(&ack)), (MessageType::Offer, MessageType::Ack));
    assert_eq!(offer.yiaddr(), ack.yiaddr());
    for reply in [&offer, &ack] {
        assert_eq!(reply.opcode(), dhcproto::v4::Opcode::BootReply);
        assert_eq!((reply.xid(), reply.hops(), reply.secs()), (client.xid, 0, 0));
        assert_eq!(reply.chaddr(), client.mac);
        assert!((100..=199).contains(&reply.yiaddr().octets()[3]), "{}", reply.yiaddr());
        assert_eq!((reply.ciaddr(), reply.giaddr()), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
        assert_eq!(reply.siaddr(), address("10.77.0.9"));
        assert_eq!(reply.sname().map(text), Some("boot.example".to_owned()));
        assert_eq!(reply.fname().map(text), Some("pxe.0".to_owned()));
        assert_eq!(server_id(reply), Some(SERVER));
        assert_times(reply, 3600);
        assert_eq!(option(reply, OptionCode::SubnetMask), DhcpOption::SubnetMask(address("255.255.255.0")));
        assert_eq!(option(reply, OptionCode::Router), DhcpOption::Router(vec![address("10.77.0.1")]));
        assert_eq!(
            option(reply, OptionCode::DomainNameServer),
            DhcpOption::DomainNameServer(vec![address("10.0.0.2"), address("10.0.0.3")])
        );
        assert_eq!(option(reply, OptionCode::DomainName), DhcpOption::DomainName("example.org".into()));
        // Configured, but this client did not ask for it.
        assert_eq!(reply.opts().get(OptionCode::NtpServers), None);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

#[test]
fn lease_time_is_the_wish_within_the_limits() {
    let daemon = Daemon::start(RICH);
    let port = dhcp_port(&daemon);
    for (n, wish, granted) in
        [(1, 1, 600), (2, 900, 900), (3, 7200, 7200), (4, 86400, 7200), (5, u32::MAX, 7200)]
    {
        let client = Client::new(n, port);
        let wish = DhcpOption::AddressLeaseTime(wish);
        let offer = client
            .ask(&client.message(MessageType::Discover, std::slice::from_ref(&wish)))
            .expect("no offer");
        let options =
            [wish, DhcpOption::RequestedIpAddress(offer.yiaddr()), DhcpOption::ServerIdentifier(SERVER)];
        let ack = client.ask(&client.message(MessageType::Request, &options)).expect("no ack");
        assert_eq!(kind(&ack), MessageType::Ack);
        assert_times(&offer, granted);
        assert_times(&ack, granted);
    }
}

#[test]
fn discover_gets_the_wanted_address_and_never_an_excluded_one() {
    let daemon = Daemon::start(RICH);
    let port = dhcp_port(&daemon);
    let offer = |n, wish: &str| {
        let client = Client::new(n, port);
        let wish = DhcpOption::RequestedIpAddress(address(wish));
        client.ask(&client.message(MessageType::Discover, &[wish])).expect("no offer").yiaddr()
    };
    assert_eq!(offer(1, "10.77.0.123"), address("10.77.0.123"));
    assert_ne!(offer(2, "10.77.0.150"), address("10.77.0.150"));
    assert_ne!(offer(3, "10.77.0.123"), address("10.77.0.123"), "held for another client");
    assert_ne!(offer(4, "10.77.0.1"), address("10.77.0.1"));
}

#[test]
fn client_renews_reboots_and_rebinds_with_the_same_address() {
    let daemon = Daemon::start(RICH);
    let client = Client::new(1, dhcp_port(&daemon));
    let leased = client.lease();
    let renewed = client.renew(leased).expect("no answer to the renewal");
    assert_eq!((kind(&renewed), renewed.yiaddr(), renewed.ciaddr()), (MessageType::Ack, leased, leased));
    assert_times(&renewed, 3600);
    // However early it comes.
    daemon.wait_log(&["DHCP_LEASE_RENEWED", &leased.to_string()]);
    let reboot = client.message(MessageType::Request, &[DhcpOption::RequestedIpAddress(leased)]);
    let rebooted = client.ask(&reboot).expect("no answer to init-reboot");
    assert_eq!((kind(&rebooted), rebooted.yiaddr()), (MessageType::Ack, leased));
    assert_eq!(rebooted.ciaddr(), Ipv4Addr::UNSPECIFIED);
    // Through a relay a REQUEST was a broadcast: that is the state REBINDING.
    let mut rebind = relayed(client.message(MessageType::Request, &[]), "10.77.0.1");
    rebind.set_ciaddr(leased);
    let rebound = client.ask(&rebind).expect("no answer to the rebinding");
    assert_eq!((kind(&rebound), rebound.yiaddr()), (MessageType::Ack, leased));
    assert_eq!(daemon.wait_log(&["DHCP_LEASE_GRANTED"]).matches("10.77.0.").count(), 1);
}

#[test]
fn wrong_address_is_refused_with_the_reason() {
    let daemon = Daemon::start(RICH);
    let port = dhcp_port(&daemon);
    let holder = Client::new(1, port);
    let held = holder.lease();
    let client = Client::new(2, port);
    let select = |wish: Ipv4Addr| {
        let options = [DhcpOption::RequestedIpAddress(wish), DhcpOption::ServerIdentifier(SERVER)];
        client.message(MessageType::Request, &options)
    };
    let init_reboot = |wish| client.message(MessageType::Request, &[DhcpOption::RequestedIpAddress(wish)]);
    let renewal = |of| {
        let mut message = client.message(MessageType::Request, &[]);
        message.set_ciaddr(of);
        message
    };
    let cases = [
        select(held),
        select(address("10.77.0.150")),
        select(address("192.0.2.7")),
        init_reboot(held),
        init_reboot(address("192.0.2.7")),
        renewal(held),
    ];
    for question in cases {
        let nak = client.ask(&question).unwrap_or_else(|| panic!("no answer to {question:?}"));
        assert_eq!(kind(&nak), MessageType::Nak, "{question:?}");
        // RFC 2131 table 3: a NAK has no address, no time and no parameter.
        assert_eq!(
            (nak.yiaddr(), nak.ciaddr(), nak.siaddr()),
            (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)
        );
        assert_eq!((server_id(&nak), nak.xid()), (Some(SERVER), client.xid));
        assert!(nak.opts().get(OptionCode::AddressLeaseTime).is_none());
        assert!(nak.opts().get(OptionCode::Router).is_none());
        assert!(nak.opts().get(OptionCode::Message).is_some());
    }
    daemon.wait_log(&["DHCP_NAK_SENT"]);
    assert_eq!(kind(&holder.renew(held).unwrap()), MessageType::Ack, "the holder is undisturbed");
}

#[test]
fn requests_that_are_not_ours_to_answer_get_silence() {
    let daemon = Daemon::start(RICH);
    let port = dhcp_port(&daemon);
    let client = Client::new(1, port);
    // An unknown subnet: a relay that nobody told us of.
    assert_silent(&client, &relayed(client.message(MessageType::Discover, &[]), "10.99.0.1"));
    // Another server's: and our offer is withdrawn.
    let offer = client.discover().expect("no offer");
    let elsewhere =
        [DhcpOption::RequestedIpAddress(offer.yiaddr()), DhcpOption::ServerIdentifier(address("192.0.2.1"))];
    assert_silent(&client, &client.message(MessageType::Request, &elsewhere));
    let other = Client::new(2, port);
    let wish = [DhcpOption::RequestedIpAddress(offer.yiaddr())];
    let second = other.ask(&other.message(MessageType::Discover, &wish)).expect("no offer");
    assert_eq!(second.yiaddr(), offer.yiaddr(), "the offer that was turned down is free again");
    // INIT-REBOOT of a client that we have no record of (RFC 2131 §4.3.2), for an address that nobody holds.
    let stranger = Client::new(3, port);
    let known = [DhcpOption::RequestedIpAddress(address("10.77.0.190"))];
    assert_silent(&stranger, &stranger.message(MessageType::Request, &known));
    // No message type of a client.
    assert_silent(&stranger, &stranger.message(MessageType::Offer, &[]));
    // RELEASE and DECLINE are never answered, and count from the holder only.
    let holder = Client::new(4, port);
    let held = holder.lease();
    let mut release = stranger.message(MessageType::Release, &[DhcpOption::ServerIdentifier(SERVER)]);
    release.set_ciaddr(held);
    assert_silent(&stranger, &release);
    let decline = [DhcpOption::RequestedIpAddress(held), DhcpOption::ServerIdentifier(SERVER)];
    assert_silent(&stranger, &stranger.message(MessageType::Decline, &decline));
    assert_eq!(kind(&holder.renew(held).unwrap()), MessageType::Ack);
}

#[test]
fn without_authority_only_what_is_known_wrong_is_refused() {
    let daemon = Daemon::start(&RICH.replace("workers: 1", "workers: 1\n  authoritative: false"));
    let port = dhcp_port(&daemon);
    let client = Client::new(1, port);
    let stray = [DhcpOption::RequestedIpAddress(address("192.0.2.7"))];
    assert_silent(&client, &client.message(MessageType::Request, &stray));
    let held = Client::new(2, port).lease();
    let nak = client.renew(held).expect("an address that we leased to another client is known wrong");
    assert_eq!(kind(&nak), MessageType::Nak);
}

#[test]
fn released_address_is_free_and_remembered() {
    let daemon = Daemon::start(RICH);
    let port = dhcp_port(&daemon);
    let client = Client::new(1, port);
    let leased = client.lease();
    client.release(leased);
    daemon.wait_log(&["DHCP_LEASE_RELEASED", &leased.to_string()]);
    assert_eq!(
        lab::query(&daemon, "SELECT ip, state FROM lease_list"),
        [[leased.to_string(), "released".into()]]
    );
    assert_eq!(client.discover().unwrap().yiaddr(), leased, "the client's last address comes first");
    // Nobody's lease: another client that asks for it may have it once the offer is turned down.
    let elsewhere = [DhcpOption::ServerIdentifier(address("192.0.2.1"))];
    assert_silent(&client, &client.message(MessageType::Request, &elsewhere));
    let other = Client::new(2, port);
    let wish = [DhcpOption::RequestedIpAddress(leased)];
    let offer = other.ask(&other.message(MessageType::Discover, &wish)).unwrap();
    assert_eq!(offer.yiaddr(), leased);
}

#[test]
fn declined_address_rests() {
    let daemon = Daemon::start(RICH);
    let client = Client::new(1, dhcp_port(&daemon));
    let leased = client.lease();
    let decline = [DhcpOption::RequestedIpAddress(leased), DhcpOption::ServerIdentifier(SERVER)];
    assert_silent(&client, &client.message(MessageType::Decline, &decline));
    daemon.wait_log(&["DHCP_LEASE_DECLINED", &leased.to_string()]);
    let wish = [DhcpOption::RequestedIpAddress(leased)];
    let offer = client.ask(&client.message(MessageType::Discover, &wish)).unwrap();
    assert_ne!(offer.yiaddr(), leased);
    let state = format!("SELECT state FROM lease_list WHERE ip = '{leased}'");
    assert_eq!(lab::query(&daemon, &state), [["declined"]]);
}

#[test]
fn inform_gets_parameters_and_no_lease() {
    let daemon = Daemon::start(RICH);
    let client = Client::new(1, dhcp_port(&daemon));
    let mut inform = client.message(MessageType::Inform, &[]);
    inform.set_ciaddr(address("10.77.0.50"));
    let ack = client.ask(&inform).expect("no answer");
    assert_eq!((kind(&ack), server_id(&ack)), (MessageType::Ack, Some(SERVER)));
    assert_eq!((ack.yiaddr(), ack.ciaddr()), (Ipv4Addr::UNSPECIFIED, address("10.77.0.50")));
    for code in [OptionCode::AddressLeaseTime, OptionCode::Renewal, OptionCode::Rebinding] {
        assert_eq!(ack.opts().get(code), None, "RFC 2131 §4.3.5");
    }
    assert_eq!(option(&ack, OptionCode::Router), DhcpOption::Router(vec![address("10.77.0.1")]));
    assert_eq!(lab::count(&daemon, "SELECT count(*) FROM lease_list"), 0);
}

#[test]
fn relay_chooses_the_subnet_by_its_address_or_by_being_listed() {
    let daemon = Daemon::start(RICH);
    let port = dhcp_port(&daemon);
    for (n, relay) in [(1, "10.78.0.1"), (2, "10.9.9.9")] {
        let client = Client::new(n, port);
        let offer =
            client.ask(&relayed(client.message(MessageType::Discover, &[]), relay)).expect("no offer");
        assert_eq!((offer.giaddr(), offer.hops()), (address(relay), 0));
        assert_eq!(offer.yiaddr().octets()[..3], [10, 78, 0]);
        assert_eq!(option(&offer, OptionCode::Router), DhcpOption::Router(vec![address("10.78.0.1")]));
        // The pool's option goes before the global one, the subnet's too.
        assert_eq!(
            option(&offer, OptionCode::DomainNameServer),
            DhcpOption::DomainNameServer(vec![address("10.78.0.2")])
        );
        assert_eq!(
            option(&offer, OptionCode::DomainName),
            DhcpOption::DomainName("behind.example.org".into())
        );
        let wish = [DhcpOption::RequestedIpAddress(offer.yiaddr()), DhcpOption::ServerIdentifier(SERVER)];
        let ack = client.ask(&relayed(client.message(MessageType::Request, &wish), relay)).expect("no ack");
        assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, offer.yiaddr()));
    }
}

#[test]
fn relay_information_is_echoed_as_the_last_option() {
    let daemon = Daemon::start(RICH);
    let client = Client::new(1, dhcp_port(&daemon));
    let mut information = RelayAgentInformation::default();
    information.insert(RelayInfo::AgentCircuitId(b"eth0:17".to_vec()));
    information.insert(RelayInfo::AgentRemoteId(b"switch-4".to_vec()));
    let sent = DhcpOption::RelayAgentInformation(information);
    let identifier = DhcpOption::ClientIdentifier(vec![1, 2, 3, 4, 5, 6, 7]);
    let discover =
        relayed(client.message(MessageType::Discover, &[sent.clone(), identifier.clone()]), "10.78.0.1");
    client.send(&discover);
    let bytes = lab::receive_bytes(&client.socket).expect("no offer");
    let offer = lab::decode(&bytes);
    assert_eq!(option(&offer, OptionCode::RelayAgentInformation), sent);
    assert_eq!(lab::option_codes(&bytes).last(), Some(&82));
    assert_eq!(option(&offer, OptionCode::ClientIdentifier), identifier, "RFC 6842");
    let wish = [
        sent.clone(),
        identifier,
        DhcpOption::RequestedIpAddress(offer.yiaddr()),
        DhcpOption::ServerIdentifier(SERVER),
    ];
    client.send(&relayed(client.message(MessageType::Request, &wish), "10.78.0.1"));
    let bytes = lab::receive_bytes(&client.socket).expect("no ack");
    assert_eq!(kind(&lab::decode(&bytes)), MessageType::Ack);
    assert_eq!(lab::option_codes(&bytes).last(), Some(&82));
    // NAKs too, and the relay is told to broadcast them.
    let stray = [
        sent,
        DhcpOption::ClientIdentifier(vec![9, 9]),
        DhcpOption::RequestedIpAddress(address("192.0.2.7")),
        DhcpOption::ServerIdentifier(SERVER),
    ];
    client.send(&relayed(client.message(MessageType::Request, &stray), "10.78.0.1"));
    let bytes = lab::receive_bytes(&client.socket).expect("no nak");
    let nak = lab::decode(&bytes);
    assert_eq!((kind(&nak), nak.flags().broadcast()), (MessageType::Nak, true));
    assert_eq!(lab::option_codes(&bytes).last(), Some(&82));
    let row = "SELECT CAST(circuit_id AS TEXT), CAST(remote_id AS TEXT) FROM lease_log";
    assert_eq!(lab::query(&daemon, row), [["eth0:17", "switch-4"]]);
}

#[test]
fn clients_that_send_an_identifier_are_known_by_it() {
    let daemon = Daemon::start(LOOPBACK);
    let port = dhcp_port(&daemon);
    let identifier = DhcpOption::ClientIdentifier(b"\0laptop".to_vec());
    let lease = |n| {
        let client = Client::new(n, port);
        let offer =
            client.ask(&client.message(MessageType::Discover, std::slice::from_ref(&identifier))).unwrap();
        let server = server_id(&offer).unwrap();
        let wish = [
            identifier.clone(),
            DhcpOption::RequestedIpAddress(offer.yiaddr()),
            DhcpOption::ServerIdentifier(server),
        ];
        client.ask(&client.message(MessageType::Request, &wish)).unwrap().yiaddr()
    };
    assert_eq!(lease(1), lease(2), "another network card, the same client (RFC 2131 §4.2)");
    assert_ne!(Client::new(1, port).lease(), lease(1), "without its identifier it is somebody else");
}
