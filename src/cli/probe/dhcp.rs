//! The DHCP probe: a client with an identity of its own that takes a lease and gives it back, so that nothing
//! stays taken.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dhcproto::v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use super::Step;

/// Port of clients (RFC 2131 §4.1).
const CLIENT_PORT: u16 = 68;
/// A lost packet is sent again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// Where to ask, and how.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// A server at its address; it answers to the sender (loopback), so this needs no privilege.
    Address(SocketAddrV4),
    /// By broadcast on an interface, as a client without an address does. Needs root for port 68.
    Broadcast {
        /// The interface.
        interface: &'a str,
        /// The server's port.
        port: u16,
    },
}

/// One exchange, discover to release. With `made_up` the client has a hardware address of its own invention, another one
/// each time; else the interface's.
pub(super) fn exchange(
    target: Target<'_>,
    made_up: Option<u32>,
    timeout: Duration,
) -> Result<Vec<Step>, String> {
    match target {
        Target::Address(server) => {
            let socket =
                UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| format!("no socket: {error}"))?;
            Client::new(socket, server, None, made_up.unwrap_or(0), timeout)?.run()
        }
        Target::Broadcast { interface, port } => {
            let refused = |error: io::Error| {
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied => "\nhint: this needs root",
                    _ => "",
                };
                format!("could not use port {CLIENT_PORT} on {interface}: {error}{hint}")
            };
            let mac = if made_up.is_none() {
                let interfaces = daemon_utils::socket::interfaces().map_err(refused)?;
                interfaces.iter().find(|found| found.name == interface).and_then(|found| found.mac)
            } else {
                None
            };
            let socket = client_socket(interface).map_err(refused)?;
            let server = SocketAddrV4::new(Ipv4Addr::BROADCAST, port);
            Client::new(socket, server, mac, made_up.unwrap_or(0), timeout)?.run()
        }
    }
}

fn client_socket(interface: &str) -> io::Result<UdpSocket> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
    Ok(socket.into())
}

struct Client {
    socket: UdpSocket,
    server: SocketAddrV4,
    mac: [u8; 6],
    client_id: Vec<u8>,
    xid: u32,
    timeout: Duration,
}

impl Client {
    fn new(
        socket: UdpSocket,
        server: SocketAddrV4,
        mac: Option<[u8; 6]>,
        number: u32,
        timeout: Duration,
    ) -> Result<Self, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = now.as_nanos().to_le_bytes();
        let pid = std::process::id().to_le_bytes();
        // Locally administered, so that it is nobody else's. A server limits what one address may send, so each
        // exchange has its own.
        let count = number.to_be_bytes();
        let mac = mac.unwrap_or([0x02, seed[0] ^ pid[0], seed[1] ^ pid[1], count[1], count[2], count[3]]);
        let mut client_id = b"\0echo-daemon-probe-".to_vec();
        client_id.extend_from_slice(&seed[..6]);
        client_id.extend_from_slice(&pid);
        client_id.extend_from_slice(&count);
        let xid = u32::from_le_bytes([seed[0] ^ pid[0], seed[1] ^ pid[1], seed[2], seed[3]]);
        socket
            .set_read_timeout(Some(AGAIN))
            .map_err(|error| format!("could not set up a socket: {error}"))?;
        Ok(Self { socket, server, mac, client_id, xid, timeout })
    }

    fn run(&self) -> Result<Vec<Step>, String> {
        let (offer, discover) =
            self.exchange(&self.message(MessageType::Discover, &[]), MessageType::Offer)?;
        let address = offer.yiaddr();
        let Some(DhcpOption::ServerIdentifier(server)) = offer.opts().get(OptionCode::ServerIdentifier)
        else {
            return Err(format!("the offer of {address} names no server"));
        };
        let wish = [DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(*server)];
        let (answer, request) =
            self.exchange(&self.message(MessageType::Request, &wish), MessageType::Ack)?;
        let lease = match answer.opts().get(OptionCode::AddressLeaseTime) {
            Some(DhcpOption::AddressLeaseTime(secs)) => format!("{secs} s"),
            _ => "no lease time".to_owned(),
        };
        let mut release = self.message(MessageType::Release, &[DhcpOption::ServerIdentifier(*server)]);
        release.set_ciaddr(address);
        let started = Instant::now();
        self.send(&release)?;
        Ok(vec![
            Step { name: "discover", took: discover, result: format!("offered {address} by {server}") },
            Step { name: "request", took: request, result: format!("leased {address} for {lease}") },
            Step { name: "release", took: started.elapsed(), result: format!("gave {address} back") },
        ])
    }

    fn message(&self, kind: MessageType, options: &[DhcpOption]) -> Message {
        let mut message = Message::default();
        message.set_opcode(Opcode::BootRequest).set_htype(HType::Eth).set_xid(self.xid).set_chaddr(&self.mac);
        if self.server.ip().is_broadcast() {
            message.set_flags(Flags::default().set_broadcast());
        }
        let all = message.opts_mut();
        all.insert(DhcpOption::MessageType(kind));
        all.insert(DhcpOption::ClientIdentifier(self.client_id.clone()));
        all.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::Router,
            OptionCode::DomainNameServer,
        ]));
        for option in options {
            all.insert(option.clone());
        }
        message
    }

    fn send(&self, message: &Message) -> Result<(), String> {
        let mut bytes = Vec::new();
        message
            .encode(&mut Encoder::new(&mut bytes))
            .map_err(|error| format!("could not encode: {error}"))?;
        self.socket
            .send_to(&bytes, self.server)
            .map(drop)
            .map_err(|error| format!("could not send to {}: {error}", self.server))
    }

    /// Sends until the answer comes; how long it took since the first time.
    fn exchange(&self, message: &Message, awaited: MessageType) -> Result<(Message, Duration), String> {
        let started = Instant::now();
        while started.elapsed() < self.timeout {
            self.send(message)?;
            let sent = Instant::now();
            while sent.elapsed() < AGAIN && started.elapsed() < self.timeout {
                let Some(answer) = self.receive()? else { break };
                match answer.opts().msg_type() {
                    Some(kind) if kind == awaited => return Ok((answer, started.elapsed())),
                    Some(MessageType::Nak) => return Err(format!("{} refused the request", self.server)),
                    _ => (),
                }
            }
        }
        Err(format!("no answer from {} within {:?}", self.server, self.timeout))
    }

    /// The next answer to this client; none when there was none for a while.
    fn receive(&self) -> Result<Option<Message>, String> {
        let mut buffer = [0; 1500];
        let length = match self.socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            // Nobody serves the port (ICMP): a daemon that restarts may serve it soon.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            Err(error) => return Err(format!("could not receive: {error}")),
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        // The library panics on a hardware address longer than its field.
        let answer = bytes
            .get(2)
            .filter(|hlen| **hlen <= 16)
            .and_then(|_| Message::decode(&mut Decoder::new(bytes)).ok());
        Ok(answer.filter(|answer| answer.xid() == self.xid && answer.opcode() == Opcode::BootReply))
    }
}
