//! A DHCP client for tests over loopback, where the server answers to the sender. It decodes with dhcproto, an
//! implementation that is not ours.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

/// A client with a hardware address and a socket of its own.
pub struct Client {
    pub socket: UdpSocket,
    pub server: SocketAddrV4,
    pub mac: [u8; 6],
    pub xid: u32,
}

impl Client {
    /// Number `n` of the clients of a test, for a server at 127.0.0.1 and this port.
    pub fn new(n: u32, port: u16) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut mac = [2, 0, 0, 0, 0, 0];
        mac[2..].copy_from_slice(&n.to_be_bytes());
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Self { socket, server, mac, xid: n.wrapping_mul(2_654_435_761) }
    }

    /// A message of this client.
    pub fn message(&self, kind: MessageType, options: &[DhcpOption]) -> Message {
        let mut message = Message::default();
        message.set_opcode(Opcode::BootRequest).set_xid(self.xid).set_chaddr(&self.mac);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message.opts_mut().insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::DomainName,
        ]));
        for option in options {
            message.opts_mut().insert(option.clone());
        }
        message
    }

    pub fn send(&self, message: &Message) {
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).unwrap();
        self.socket.send_to(&bytes, self.server).unwrap();
    }

    /// The next answer to this client's transaction; none within the socket's timeout.
    pub fn receive(&self) -> Option<Message> {
        let mut buffer = [0; 1500];
        loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            let message = Message::decode(&mut Decoder::new(&buffer[..length])).unwrap();
            if message.xid() == self.xid {
                return Some(message);
            }
        }
    }

    /// Sends, and again each time that no answer came, up to 5 times.
    pub fn ask(&self, message: &Message) -> Option<Message> {
        (0..5).find_map(|_| {
            self.send(message);
            self.receive()
        })
    }

    /// DISCOVER: the address offered.
    pub fn discover(&self) -> Option<Message> {
        self.ask(&self.message(MessageType::Discover, &[]))
    }

    /// REQUEST in state SELECTING for what an offer says.
    pub fn select(&self, offer: &Message) -> Option<Message> {
        let Some(DhcpOption::ServerIdentifier(server)) = offer.opts().get(OptionCode::ServerIdentifier)
        else {
            panic!("offer without server identifier: {offer:?}");
        };
        let wish = [DhcpOption::RequestedIpAddress(offer.yiaddr()), DhcpOption::ServerIdentifier(*server)];
        self.ask(&self.message(MessageType::Request, &wish))
    }

    /// DISCOVER to ACK: the leased address.
    #[track_caller]
    pub fn lease(&self) -> Ipv4Addr {
        let offer = self.discover().expect("no offer");
        let ack = self.select(&offer).expect("no answer to the request");
        assert_eq!(ack.opts().msg_type(), Some(MessageType::Ack), "{ack:?}");
        ack.yiaddr()
    }

    /// REQUEST in state RENEWING.
    pub fn renew(&self, address: Ipv4Addr) -> Option<Message> {
        let mut message = self.message(MessageType::Request, &[]);
        message.set_ciaddr(address);
        self.ask(&message)
    }

    /// RELEASE, which has no answer.
    pub fn release(&self, address: Ipv4Addr) {
        let mut message =
            self.message(MessageType::Release, &[DhcpOption::ServerIdentifier(*self.server.ip())]);
        message.set_ciaddr(address);
        self.send(&message);
    }
}
