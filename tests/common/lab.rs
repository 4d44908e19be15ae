//! What DHCP tests on the real binary share: where the server listens, how silence is proved without waiting, the
//! bytes of a reply, and sockets inside a network namespace.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

use super::dhcp::Client;
use super::netns::Namespace;
use super::{Daemon, eventually};

/// No echo services.
pub const NO_ECHO: &str = "tcp: {enabled: false}\nudp: {enabled: false}\n";

/// DHCP on loopback at any port, with one pool from .100 to .199.
pub const LOOPBACK: &str = "
tcp: {enabled: false}
udp: {enabled: false}
dhcp:
  interfaces: [lo]
  port: 0
  security: {client_rate: null}
  options: {domain-name: example.org, domain-name-servers: [10.0.0.2, 10.0.0.3]}
  subnets:
    lan:
      network: 10.77.0.0/24
      interface: lo
      options: {routers: [10.77.0.1]}
      pools: {main: {range: 10.77.0.100-10.77.0.199}}
";

/// The UDP port that the kernel chose for DHCP on loopback.
#[track_caller]
pub fn dhcp_port(daemon: &Daemon) -> u16 {
    let status = daemon.status();
    let endpoints = status["endpoints"].as_array().unwrap();
    let endpoint = endpoints.iter().find(|endpoint| endpoint["service"] == "dhcp").unwrap();
    let address = endpoint["address"].as_str().unwrap();
    address.rsplit(' ').next().unwrap().parse().unwrap()
}

/// PIDs of all workers of this name's kind (`dhcp 0`, `dhcp 1`, …) in the generation in force.
pub fn dhcp_workers(daemon: &Daemon, count: usize) -> Vec<i32> {
    (0..count).map(|n| daemon.worker(&format!("dhcp {n}"))).collect()
}

/// The bytes of a message.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

/// A message from bytes, by a decoder that is not ours.
#[track_caller]
pub fn decode(bytes: &[u8]) -> Message {
    Message::decode(&mut Decoder::new(bytes)).unwrap()
}

/// Proves that a message stays without an answer: one that is answered follows it on the same way, and the only
/// answer is that one's. Needs a daemon with a single DHCP worker, which answers in the order of arrival.
#[track_caller]
pub fn assert_silent(client: &Client, message: &Message) {
    // A client of its own each time: the server hears each of them at a limited rate.
    static NEXT: AtomicU32 = AtomicU32::new(0x00f0_0000);
    let mut marker = Client::new(NEXT.fetch_add(1, Ordering::Relaxed), client.server.port());
    marker.socket = client.socket.try_clone().unwrap();
    marker.xid = !message.xid();
    let mut inform = marker.message(MessageType::Inform, &[]);
    inform.set_ciaddr(Ipv4Addr::LOCALHOST);
    client.send(message);
    marker.send(&inform);
    let answer = receive(&client.socket).expect("no answer to the message that marks the end");
    assert_eq!(answer.xid(), marker.xid, "{message:?} was answered by {answer:?}");
}

/// The next message at a socket, whatever its transaction.
pub fn receive(socket: &UdpSocket) -> Option<Message> {
    receive_bytes(socket).map(|bytes| decode(&bytes))
}

/// The next datagram at a socket.
pub fn receive_bytes(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

/// Codes of the options in a message's options field, in their order.
pub fn option_codes(bytes: &[u8]) -> Vec<u8> {
    let mut codes = Vec::new();
    let mut rest = &bytes[240..];
    while let [code, tail @ ..] = rest {
        match code {
            0 => rest = tail,
            255 => break,
            _ => {
                codes.push(*code);
                rest = &tail[1 + usize::from(tail[0])..];
            }
        }
    }
    codes
}

/// The server identifier of a reply.
pub fn server_id(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server),
        _ => None,
    }
}

/// The type of a message.
pub fn kind(message: &Message) -> MessageType {
    message.opts().msg_type().unwrap()
}

/// Rows of a query on the lease file, each as the texts of its columns.
#[track_caller]
pub fn query(daemon: &Daemon, sql: &str) -> Vec<Vec<String>> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let file = rusqlite::Connection::open_with_flags(daemon.leases(), flags).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    let mut statement = file.prepare(sql).unwrap();
    let columns = statement.column_count();
    let cell = |row: &rusqlite::Row<'_>, column| match row.get::<_, rusqlite::types::Value>(column).unwrap() {
        rusqlite::types::Value::Null => String::new(),
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Real(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        rusqlite::types::Value::Blob(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let rows = statement.query_map([], |row| Ok((0..columns).map(|c| cell(row, c)).collect())).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The one number that a query on the lease file gives.
#[track_caller]
pub fn count(daemon: &Daemon, sql: &str) -> u64 {
    query(daemon, sql)[0][0].parse().unwrap()
}

/// A value of `lines` in the log: how many lines hold all of these.
pub fn lines(daemon: &Daemon, parts: &[&str]) -> usize {
    daemon.log().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
}

/// Runs `work` in a thread that lives in the namespace; what it opens stays there.
pub fn within<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    let path = format!("/var/run/netns/{}", namespace.name);
    std::thread::scope(|scope| {
        let inside = move || {
            setns(std::fs::File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        scope.spawn(inside).join().unwrap()
    })
}

/// A UDP socket at an address of a namespace, bound to an interface, that may broadcast.
pub fn udp(namespace: &Namespace, interface: &str, address: Ipv4Addr, port: u16) -> UdpSocket {
    within(namespace, || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind_device(Some(interface.as_bytes())).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.bind(&SocketAddrV4::new(address, port).into()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.into()
    })
}

/// Sees every frame of a namespace.
pub struct Sniffer(Socket);

impl Sniffer {
    /// `ETH_P_ALL` of packet(7).
    pub fn new(namespace: &Namespace) -> Self {
        let all = Protocol::from(i32::from(3_u16.to_be()));
        let socket = within(namespace, || Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap());
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// The next frame, if there is one.
    pub fn next(&self) -> Option<Vec<u8>> {
        use std::io::Read;
        let mut buffer = [0; 2048];
        let length = (&self.0).read(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }

    /// Sends a message until an IPv4 frame from UDP port 67 comes; and whatever frames came before it. A new cable may
    /// lose the first frames.
    #[track_caller]
    pub fn answer(&self, client: &Client, message: &Message) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut before = Vec::new();
        let mut sent: Option<Instant> = None;
        let found = eventually("a reply on the wire", || {
            if sent.is_none_or(|sent| sent.elapsed() > Duration::from_secs(1)) {
                sent = Some(Instant::now());
                client.send(message);
            }
            while let Some(frame) = self.next() {
                if is_reply(&frame) {
                    return Some(frame);
                }
                before.push(frame);
            }
            None
        });
        (found, before)
    }
}

/// Ethernet · IPv4 without options · UDP from port 67.
fn is_reply(frame: &[u8]) -> bool {
    frame.len() > 42
        && frame[12..14] == [8, 0]
        && frame[14] == 0x45
        && frame[23] == 17
        && frame[34..36] == [0, 67]
}

/// The Internet checksum over these bytes (RFC 1071); 0 where they hold a correct one.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    // Zero stays zero; every other sum is folded to 1…65,535.
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let folded = if sum == 0 { 0 } else { (sum - 1) % 0xffff + 1 };
    !u16::try_from(folded).unwrap()
}

/// Asks again and again until there is an answer of this kind.
#[track_caller]
pub fn until(client: &Client, message: &Message, wanted: MessageType) -> Message {
    let started = Instant::now();
    loop {
        client.send(message);
        if let Some(answer) = client.receive().filter(|answer| kind(answer) == wanted) {
            return answer;
        }
        assert!(started.elapsed() < super::PATIENCE, "no {wanted:?} came");
    }
}
