//! A server and a client on one cable, in namespaces of their own.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType};

use super::dhcp::Client;
use super::lab::{self, NO_ECHO, server_id};
use super::{Daemon, Namespace};

/// `srv0` with an address, `cli0` without one.
pub struct Cable {
    pub server: Namespace,
    pub client: Namespace,
}

impl Cable {
    /// `address` is the server's, such as `10.0.0.1/24`.
    pub fn new(address: &str) -> Self {
        let (server, client) = (Namespace::new(), Namespace::new());
        server.join("srv0", &client, "cli0");
        server.address("srv0", address);
        Self { server, client }
    }

    pub fn daemon(&self, yaml: &str) -> Daemon {
        Daemon::start_in(&self.server, &format!("{NO_ECHO}{yaml}"))
    }

    /// A client that broadcasts from its interface, as one without an address does.
    pub fn broadcaster(&self, n: u32) -> Client {
        self.at(n, "cli0", Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)
    }

    /// A client that sends from an address of its own.
    pub fn at(&self, n: u32, interface: &str, from: Ipv4Addr, to: Ipv4Addr) -> Client {
        let mut client = Client::new(n, 67);
        client.socket = lab::udp(&self.client, interface, from, 68);
        client.server = SocketAddrV4::new(to, 67);
        client
    }
}

/// The same message with the broadcast flag.
pub fn broadcast(mut message: Message) -> Message {
    message.set_flags(Flags::default().set_broadcast());
    message
}

/// The REQUEST that takes an offer.
pub fn request(client: &Client, offer: &Message) -> Message {
    let wish = [
        DhcpOption::RequestedIpAddress(offer.yiaddr()),
        DhcpOption::ServerIdentifier(server_id(offer).unwrap()),
    ];
    client.message(MessageType::Request, &wish)
}
