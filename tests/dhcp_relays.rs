//! Real relays between client and server: what the lease file learns of them, and that every kind of reply finds its way back.
//! (The life of a lease of real clients behind them is in `dhcp_clients.rs`.)

mod common;

use std::net::{Ipv4Addr, SocketAddrV4};

use common::dhcp::Client;
use common::lab::{self, kind, server_id};
use common::site::{Site, Way};
use common::{has, is_root};
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A client without an address, which wants its answers by broadcast.
fn broadcaster(site: &Site, n: u32) -> Client {
    at(site, n, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)
}

fn at(site: &Site, n: u32, from: Ipv4Addr, to: Ipv4Addr) -> Client {
    let mut client = Client::new(n, 67);
    client.socket = lab::udp(&site.client, "cli0", from, 68);
    client.server = SocketAddrV4::new(to, 67);
    client
}

fn message(client: &Client, kind: MessageType, options: &[DhcpOption]) -> Message {
    let mut message = client.message(kind, options);
    message.set_flags(Flags::default().set_broadcast());
    message
}

fn wish(address: Ipv4Addr) -> [DhcpOption; 2] {
    [DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(SERVER)]
}

#[track_caller]
fn lease(client: &Client) -> Message {
    let offer = lab::until(client, &message(client, MessageType::Discover, &[]), MessageType::Offer);
    assert_eq!(server_id(&offer), Some(SERVER));
    lab::until(client, &message(client, MessageType::Request, &wish(offer.yiaddr())), MessageType::Ack)
}

fn can_relay(way: Way, test: &str) -> bool {
    is_root(test) && has(way.program().unwrap(), test)
}

/// Each kind of message that has an answer, and each that has none.
#[track_caller]
fn every_kind_of_message(way: Way) {
    let site = Site::new(way);
    let client = broadcaster(&site, 1);
    let ack = lease(&client);
    let address = ack.yiaddr();
    assert_eq!(address.octets()[..3], [10, 1, 0]);
    assert_eq!(ack.opts().get(OptionCode::Router), Some(&DhcpOption::Router(vec![way.router()])));
    // It is taken off by the relay, and there is none where the relay adds none.
    assert_eq!(ack.opts().get(OptionCode::RelayAgentInformation), None);
    // INIT-REBOOT with the lease it has, and on a link where it is not at home.
    let reboot = |address| message(&client, MessageType::Request, &[DhcpOption::RequestedIpAddress(address)]);
    assert_eq!(lab::until(&client, &reboot(address), MessageType::Ack).yiaddr(), address);
    let nak = lab::until(&client, &reboot([10, 0, 0, 100].into()), MessageType::Nak);
    assert_eq!((nak.yiaddr(), server_id(&nak)), (Ipv4Addr::UNSPECIFIED, Some(SERVER)));
    // DECLINE: the next offer is another address.
    client.send(&message(&client, MessageType::Decline, &wish(address)));
    site.daemon.wait_log(&["DHCP_LEASE_DECLINED", &format!("{address} ")]);
    let second = lease(&client).yiaddr();
    assert_ne!(second, address);
    // INFORM and RELEASE come from the client's address, past the relay.
    site.client.address("cli0", &format!("{second}/24"));
    site.client.sh("ip", &["route", "add", "default", "via", "10.1.0.1"]);
    drop(client);
    let client = at(&site, 1, second, SERVER);
    let mut inform = client.message(MessageType::Inform, &[]);
    inform.set_ciaddr(second);
    let ack = lab::until(&client, &inform, MessageType::Ack);
    assert_eq!((ack.ciaddr(), ack.yiaddr()), (second, Ipv4Addr::UNSPECIFIED));
    assert_eq!(ack.opts().get(OptionCode::AddressLeaseTime), None);
    let mut release = client.message(MessageType::Release, &[DhcpOption::ServerIdentifier(SERVER)]);
    release.set_ciaddr(second);
    client.send(&release);
    site.daemon.wait_log(&["DHCP_LEASE_RELEASED", &format!("{second} ")]);
    assert_eq!(site.state_of(&second.to_string()), "released");
}

#[test]
fn every_kind_of_message_passes_isc_dhcp_relay() {
    if can_relay(Way::IscRelay, "every_kind_of_message_passes_isc_dhcp_relay") {
        every_kind_of_message(Way::IscRelay);
    }
}

#[test]
fn every_kind_of_message_passes_dnsmasq() {
    if can_relay(Way::Dnsmasq, "every_kind_of_message_passes_dnsmasq") {
        every_kind_of_message(Way::Dnsmasq);
    }
}

/// isc-dhcp-relay calls the circuit by its interface, and the client's port by nothing else.
#[test]
fn relay_information_is_kept_when_the_client_renews_past_the_relay() {
    const TEST: &str = "relay_information_is_kept_when_the_client_renews_past_the_relay";
    if !can_relay(Way::IscRelay, TEST) {
        return;
    }
    let mut site = Site::new(Way::IscRelay);
    let client = broadcaster(&site, 1);
    let address = lease(&client).yiaddr();
    let known = |event: &str| {
        let columns = "relay, CAST(circuit_id AS TEXT)";
        lab::query(
            &site.daemon,
            &format!("SELECT {columns} FROM lease_log WHERE event = '{event}' ORDER BY seq"),
        )
    };
    let through_relay = [u32::from(site.way.router()).to_string(), "br0".to_owned()];
    assert_eq!(known("granted"), std::slice::from_ref(&through_relay));
    // dhcrelay listens to whatever passes its interface and would relay the unicast renewal too.
    site.stop_relay();
    site.client.address("cli0", &format!("{address}/24"));
    site.client.sh("ip", &["route", "add", "default", "via", "10.1.0.1"]);
    drop(client);
    let client = at(&site, 1, address, SERVER);
    let mut renewal = client.message(MessageType::Request, &[]);
    renewal.set_ciaddr(address);
    let renewed = || {
        let ack = lab::until(&client, &renewal, MessageType::Ack);
        assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, address));
        lab::query(
            &site.daemon,
            "SELECT relay, CAST(circuit_id AS TEXT) FROM lease_log WHERE event = 'renewed' ORDER BY seq",
        )
    };
    // A renewal within the second that the lease began in changes nothing, and writes nothing.
    let rows =
        common::eventually("a renewal that is written", || Some(renewed()).filter(|rows| !rows.is_empty()));
    assert_eq!(rows[0], through_relay, "the relay and its circuit are remembered (RFC 3046 §2.1, DESIGN §6)");
}
