//! Messages made and read octet by octet, whatever DHCP libraries think of them: the order of options, what is split, what
//! is malformed. Over loopback, where the server answers to the sender, or from any socket that the test has.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Daemon, lab};

/// Message types (RFC 2132 §9.6).
pub const DISCOVER: u8 = 1;
pub const OFFER: u8 = 2;
pub const REQUEST: u8 = 3;
pub const DECLINE: u8 = 4;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;
pub const RELEASE: u8 = 7;
pub const INFORM: u8 = 8;

/// RFC 2131 §3.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// How often a question is asked before it counts as unanswered.
const TRIES: usize = 5;
/// How long an answer is waited for each time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Codes that every OFFER and ACK has, or that echo what the client sent.
const PROTOCOL: [u8; 8] = [51, 52, 53, 54, 58, 59, 61, 82];

/// What a client sends.
#[derive(Debug, Clone)]
pub struct Question {
    header: [u8; 236],
    /// In their order; the same code may stand there twice.
    options: Vec<(u8, Vec<u8>)>,
}

impl Question {
    /// A DHCP message of client number `n`: its hardware address is 02:00 and the number.
    pub fn new(kind: u8, n: u32) -> Self {
        Self::bootp(n).with(53, &[kind])
    }

    /// A message without a type.
    pub fn bootp(n: u32) -> Self {
        let mut header = [0; 236];
        header[..3].copy_from_slice(&[1, 1, 6]);
        header[4..8].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
        header[28..30].copy_from_slice(&[2, 0]);
        header[30..34].copy_from_slice(&n.to_be_bytes());
        Self { header, options: Vec::new() }
    }

    pub fn discover(n: u32) -> Self {
        Self::new(DISCOVER, n)
    }

    pub fn request(n: u32) -> Self {
        Self::new(REQUEST, n)
    }

    /// One more option, behind the others.
    pub fn with(mut self, code: u8, data: &[u8]) -> Self {
        self.options.push((code, data.to_vec()));
        self
    }

    /// An option whose value is an address.
    pub fn with_ip(self, code: u8, address: Ipv4Addr) -> Self {
        self.with(code, &address.octets())
    }

    /// Octets of the header.
    pub fn field(mut self, at: usize, data: &[u8]) -> Self {
        self.header[at..at + data.len()].copy_from_slice(data);
        self
    }

    pub fn ciaddr(self, address: Ipv4Addr) -> Self {
        self.field(12, &address.octets())
    }

    /// Through a relay at this address, which has counted a hop.
    pub fn relayed(self, relay: &str) -> Self {
        self.field(24, &ip(relay).octets()).field(3, &[1])
    }

    /// The parameter request list.
    pub fn asking(self, codes: &[u8]) -> Self {
        self.with(55, codes)
    }

    /// The same client's next message: what it says of itself stays, what it wished for goes.
    pub fn becoming(mut self, kind: u8, more: &[(u8, &[u8])]) -> Self {
        self.options.retain(|(code, _)| !matches!(code, 50 | 54 | 80));
        for (_, data) in self.options.iter_mut().filter(|(code, _)| *code == 53) {
            *data = vec![kind];
        }
        more.iter().fold(self, |question, (code, data)| question.with(*code, data))
    }

    fn xid(&self) -> [u8; 4] {
        [self.header[4], self.header[5], self.header[6], self.header[7]]
    }

    /// Options that are longer than 255 octets are split (RFC 3396 §4).
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&self.header[..], &COOKIE].concat();
        for (code, data) in &self.options {
            if data.is_empty() {
                bytes.extend([*code, 0]);
            }
            for piece in data.chunks(255) {
                bytes.extend([*code, u8::try_from(piece.len()).unwrap()]);
                bytes.extend(piece);
            }
        }
        bytes.push(255);
        bytes.resize(bytes.len().max(300), 0);
        bytes
    }
}

/// What the server answers.
#[derive(Debug, Clone)]
pub struct Answer {
    pub bytes: Vec<u8>,
    /// Each as it stands on the wire: those of the options field, of `file`, of `sname`.
    pub pieces: Vec<(u8, Vec<u8>)>,
}

impl Answer {
    #[track_caller]
    pub fn new(bytes: Vec<u8>) -> Self {
        assert_eq!((bytes[0], &bytes[236..240]), (2, &COOKIE[..]), "{bytes:02x?}");
        let mut pieces = walk(&bytes[240..]);
        let overload = pieces.iter().find(|(code, _)| *code == 52).map_or(0, |(_, data)| data[0]);
        // RFC 3396 §5: file before sname.
        for (bit, field) in [(1, &bytes[108..236]), (2, &bytes[44..108])] {
            if overload & bit != 0 {
                pieces.extend(walk(field));
            }
        }
        Self { bytes, pieces }
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::new(self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3])
    }

    pub fn ciaddr(&self) -> Ipv4Addr {
        self.address(12)
    }

    pub fn yiaddr(&self) -> Ipv4Addr {
        self.address(16)
    }

    /// The next server.
    pub fn siaddr(&self) -> Ipv4Addr {
        self.address(20)
    }

    pub fn giaddr(&self) -> Ipv4Addr {
        self.address(24)
    }

    /// The server's name, where it holds no options.
    pub fn sname(&self) -> String {
        text(&self.bytes[44..108])
    }

    /// The boot file, where it holds no options.
    pub fn file(&self) -> String {
        text(&self.bytes[108..236])
    }

    /// The message's type; none: BOOTP.
    pub fn kind(&self) -> Option<u8> {
        self.option(53).map(|data| data[0])
    }

    /// An option, its pieces joined (RFC 3396 §7).
    pub fn option(&self, code: u8) -> Option<Vec<u8>> {
        let pieces: Vec<_> = self.pieces.iter().filter(|(found, _)| *found == code).collect();
        (!pieces.is_empty()).then(|| pieces.iter().flat_map(|(_, data)| data.clone()).collect())
    }

    /// An option that must be there, as text.
    #[track_caller]
    pub fn text(&self, code: u8) -> String {
        let data = self.option(code).unwrap_or_else(|| panic!("no option {code} in {self:?}"));
        String::from_utf8(data).unwrap()
    }

    /// An option that must be there, as one number.
    #[track_caller]
    pub fn number(&self, code: u8) -> u32 {
        let data = self.option(code).unwrap_or_else(|| panic!("no option {code} in {self:?}"));
        data.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
    }

    /// Codes in their order on the wire, each piece once.
    pub fn codes(&self) -> Vec<u8> {
        self.pieces.iter().map(|(code, _)| *code).collect()
    }

    /// Those of them that the configuration decides about.
    pub fn chosen(&self) -> Vec<u8> {
        self.codes().into_iter().filter(|code| !PROTOCOL.contains(code)).collect()
    }
}

/// Options of a field: (code, value).
fn walk(mut field: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    loop {
        match field {
            [255, ..] => return found,
            [0, rest @ ..] => field = rest,
            [code, length, rest @ ..] => {
                let (data, rest) = rest.split_at(usize::from(*length));
                found.push((*code, data.to_vec()));
                field = rest;
            }
            _ => panic!("options without an end: {field:02x?}"),
        }
    }
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_end_matches('\0').to_owned()
}

/// A socket that speaks for any number of clients and relays on loopback.
pub struct Speaker {
    socket: UdpSocket,
}

impl Speaker {
    /// To the daemon's DHCP service on loopback.
    #[track_caller]
    pub fn new(daemon: &Daemon) -> Self {
        Self::from(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), lab::dhcp_port(daemon))
    }

    /// From this socket, to this port of loopback.
    pub fn from(socket: UdpSocket, port: u16) -> Self {
        socket.connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    pub fn send(&self, question: &Question) {
        self.socket.send(&question.bytes()).unwrap();
    }

    fn hear(&self, xid: [u8; 4]) -> Option<Vec<u8>> {
        std::iter::from_fn(|| lab::receive_bytes(&self.socket)).find(|bytes| bytes[4..8] == xid)
    }

    /// An answer that has come already, or comes soon.
    pub fn heard(&self, question: &Question) -> Option<Answer> {
        self.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let answer = self.hear(question.xid());
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        answer.map(Answer::new)
    }

    /// Asks until an answer comes.
    #[track_caller]
    pub fn ask(&self, question: &Question) -> Answer {
        let answer = (0..TRIES).find_map(|_| {
            self.send(question);
            self.hear(question.xid())
        });
        Answer::new(answer.unwrap_or_else(|| panic!("no answer to {:?}", question.options)))
    }

    /// DISCOVER, then REQUEST for what is offered: the ACK.
    #[track_caller]
    pub fn lease(&self, discover: &Question) -> Answer {
        let offer = self.ask(discover);
        assert_eq!(offer.kind(), Some(OFFER), "{offer:?}");
        let ack = self.ask(&select(discover, &offer));
        assert_eq!((ack.kind(), ack.yiaddr()), (Some(ACK), offer.yiaddr()), "{ack:?}");
        ack
    }

    /// REQUEST in state RENEWING.
    #[track_caller]
    pub fn renew(&self, discover: &Question, address: Ipv4Addr) -> Answer {
        self.ask(&discover.clone().becoming(REQUEST, &[]).ciaddr(address))
    }

    /// RELEASE, which has no answer.
    pub fn release(&self, discover: &Question, address: Ipv4Addr) {
        self.send(&discover.clone().becoming(RELEASE, &[]).ciaddr(address));
    }

    /// Proves that there is no answer: that to a question behind it comes, and nothing before. Needs a daemon with a
    /// single DHCP worker, which answers in the order of arrival.
    #[track_caller]
    pub fn assert_silent(&self, question: &Question) {
        static NEXT: AtomicU32 = AtomicU32::new(0x00e0_0000);
        let marker = Question::new(INFORM, NEXT.fetch_add(1, Ordering::Relaxed)).ciaddr(Ipv4Addr::LOCALHOST);
        self.send(question);
        self.send(&marker);
        let answer = lab::receive_bytes(&self.socket).expect("no answer to the message that marks the end");
        assert_eq!(answer[4..8], marker.xid(), "{:?} was answered by {answer:02x?}", question.options);
    }
}

/// The REQUEST of state SELECTING for an offer.
pub fn select(discover: &Question, offer: &Answer) -> Question {
    let server = offer.option(54).expect("an offer names its server");
    discover.clone().becoming(REQUEST, &[(50, &offer.yiaddr().octets()), (54, &server)])
}

/// An address from its text.
pub fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// The value of an option that lists addresses.
pub fn ips(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| ip(text).octets()).collect()
}

/// Hex digits, with this between the octets.
pub fn hex(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
}

/// One option of option 82.
pub fn sub(code: u8, data: &[u8]) -> Vec<u8> {
    [&[code, u8::try_from(data.len()).unwrap()], data].concat()
}

/// A daemon with this configuration, and who speaks to it.
pub fn serve(yaml: &str) -> (Daemon, Speaker) {
    let daemon = Daemon::start(yaml);
    let speaker = Speaker::new(&daemon);
    (daemon, speaker)
}

/// DHCP on loopback for one worker, with nothing that would limit or delay a test: what stands in `dhcp` (indented by two)
/// and `dhcp.subnets` (by four).
pub fn loopback(dhcp: &str, subnets: &str) -> String {
    format!(
        "{}dhcp:
  interfaces: [lo]
  port: 0
  workers: 1
  security: {{client_rate: null}}
{dhcp}
  subnets:
{subnets}
",
        lab::NO_ECHO
    )
}
