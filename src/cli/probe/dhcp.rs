//! The DHCP probe: a client with an identity of its own that takes a lease and gives it back, so that nothing
//! stays taken.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dhcproto::v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Encodable, Encoder};

use super::Step;
use crate::protocol::{self, DhcpParser};

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

/// What counts of a server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    kind: protocol::MessageType,
    address: Ipv4Addr,
    server: Option<Ipv4Addr>,
    lease_secs: Option<u32>,
}

impl Answer {
    /// From a datagram; none where it is no answer in this transaction. Anybody on the network may have sent it, so it is
    /// not for dhcproto, whose decoder panics on some options.
    fn read(bytes: &[u8], xid: u32) -> Option<Self> {
        let message = DhcpParser::parse_reply(bytes).ok().filter(|message| message.xid() == xid)?;
        Some(Self {
            kind: message.kind(),
            address: message.yiaddr(),
            server: message.server_id(),
            lease_secs: message.lease_time_secs(),
        })
    }
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
            self.exchange(&self.message(MessageType::Discover, &[]), protocol::MessageType::Offer)?;
        let address = offer.address;
        let Some(server) = offer.server else {
            return Err(format!("the offer of {address} names no server"));
        };
        let wish = [DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(server)];
        let (answer, request) =
            self.exchange(&self.message(MessageType::Request, &wish), protocol::MessageType::Ack)?;
        let lease = answer.lease_secs.map_or_else(|| "no lease time".to_owned(), |secs| format!("{secs} s"));
        let mut release = self.message(MessageType::Release, &[DhcpOption::ServerIdentifier(server)]);
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
    fn exchange(
        &self,
        message: &Message,
        awaited: protocol::MessageType,
    ) -> Result<(Answer, Duration), String> {
        let started = Instant::now();
        while started.elapsed() < self.timeout {
            self.send(message)?;
            let sent = Instant::now();
            while sent.elapsed() < AGAIN && started.elapsed() < self.timeout {
                let Some(answer) = self.receive()? else { break };
                if answer.kind == awaited {
                    return Ok((answer, started.elapsed()));
                }
                if answer.kind == protocol::MessageType::Nak {
                    return Err(format!("{} refused the request", self.server));
                }
            }
        }
        Err(format!("no answer from {} within {:?}", self.server, self.timeout))
    }

    /// The next answer to this client; none when there was none for a while.
    fn receive(&self) -> Result<Option<Answer>, String> {
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
        Ok(Answer::read(buffer.get(..length).unwrap_or_default(), self.xid))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use dhcproto::{Decodable, Decoder};

    use super::*;

    fn offer(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 240];
        bytes[..8].copy_from_slice(&[2, 1, 6, 0, 0, 0, 0, 7]);
        bytes[16..20].copy_from_slice(&[10, 0, 0, 100]);
        bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
        bytes.extend([53, 1, 2, 54, 4, 10, 0, 0, 1]);
        bytes.extend(options);
        bytes.push(255);
        bytes
    }

    #[test]
    fn an_answer_is_of_our_transaction() {
        let answer = Answer::read(&offer(&[51, 4, 0, 0, 14, 16]), 7).unwrap();
        assert_eq!((answer.kind, answer.lease_secs), (protocol::MessageType::Offer, Some(3600)));
        assert_eq!((answer.address, answer.server), ([10, 0, 0, 100].into(), Some([10, 0, 0, 1].into())));
        assert_eq!(Answer::read(&offer(&[]), 8), None);
    }

    /// Found by fuzzing.
    #[test]
    fn answers_on_which_dhcproto_panics_are_read() {
        let short_name = offer(&[81, 1, 0]);
        assert!(catch_unwind(|| Message::decode(&mut Decoder::new(&short_name)).is_ok()).is_err());
        assert!(Answer::read(&short_name, 7).is_some());
        for bytes in [&b""[..], &[2; 17], &[255; 300]] {
            assert_eq!(Answer::read(bytes, 7), None);
        }
    }
}
