//! A packet's whole way: bytes → parser → security → scope → lease engine → reply, over a store in memory.
//!
//! The input is one packet, or several with [`MARK`] and a byte between them that says how the next one comes in. Each
//! input is run once for every way in: broadcast on a link, from a relay, unicast, on the loopback interface. An offer is
//! taken up by a REQUEST of our own, the lease renewed and given back, so that a single packet reaches every handler.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dhcproto::{Decodable, Decoder};
use echo_daemon::dhcp::rate::Rates;
use echo_daemon::dhcp::{Destination, InterfaceInfo, Outcome, Packet, Pipeline, Reply, ReplyKind};
use echo_daemon::lease::{Access, EngineSettings, LeaseManager, OFFER_WORDS, Offers, Timestamp, Topology};
use echo_daemon::protocol::encode::{self, Header, LEAST_BYTES, Op, Options, payload_limit};
use echo_daemon::protocol::{DhcpMessage, DhcpParser, MessageType, code};

use super::store::MemoryStore;
use super::world::WORLD;

/// Stands between the packets of one input.
pub const MARK: &[u8] = b"\xfeNEXT";
/// Ways in.
const WAYS: u8 = 4;
/// Packets of one input that count.
const MOST_PACKETS: usize = 8;
/// The server's own addresses.
const OWN: [Ipv4Addr; 3] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 2, 0, 1), Ipv4Addr::LOCALHOST];
const LO: u32 = 1;
const ETH0: u32 = 2;

static TOPOLOGY: LazyLock<Arc<Topology>> = LazyLock::new(|| Topology::new(&WORLD));

fn pipeline() -> Pipeline {
    let interfaces = vec![
        InterfaceInfo { name: "lo".into(), index: LO, addresses: vec![(OWN[2], 8)], loopback: true },
        InterfaceInfo {
            name: "eth0".into(),
            index: ETH0,
            addresses: vec![(OWN[0], 24), (OWN[1], 24)],
            loopback: false,
        },
    ];
    Pipeline::new(Arc::clone(&WORLD), Arc::clone(&TOPOLOGY), interfaces, Rates::default())
}

thread_local! {
    static PIPELINE: &'static Pipeline = Box::leak(Box::new(pipeline()));
    /// The offers' memory is never given back: one for each thread, emptied for each run.
    static OFFERS: &'static [AtomicU64] = {
        let words: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(OFFER_WORDS).collect();
        Box::leak(words.into_boxed_slice())
    };
}

/// See the top of this file.
pub fn run(data: &[u8]) {
    for way in 0..WAYS {
        Run::new().all(data, way);
    }
}

/// How a packet comes in.
struct Way {
    interface: u32,
    from: SocketAddrV4,
    to: Ipv4Addr,
}

fn way(number: u8, bytes: &[u8]) -> Way {
    let field = |at: usize| {
        let octets = bytes.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        Ipv4Addr::from(octets.unwrap_or_default())
    };
    match number % WAYS {
        0 => Way {
            interface: ETH0,
            from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            to: Ipv4Addr::BROADCAST,
        },
        // From giaddr, as relays do, and from ciaddr, as clients do that have an address.
        1 => Way { interface: ETH0, from: SocketAddrV4::new(field(24), 67), to: OWN[0] },
        2 => Way { interface: ETH0, from: SocketAddrV4::new(field(12), 68), to: OWN[0] },
        _ => Way { interface: LO, from: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 40_000), to: OWN[2] },
    }
}

/// One worker over an empty lease file.
struct Run {
    pipeline: &'static Pipeline,
    store: MemoryStore,
    leases: LeaseManager<MemoryStore>,
    now: Timestamp,
    used: bool,
}

impl Run {
    fn new() -> Self {
        let store = MemoryStore::default();
        let offers = OFFERS.with(|region| {
            // Secrets that are the same in every run.
            region.iter().take(2).for_each(|word| word.store(7, Relaxed));
            Offers::new(region)
        });
        let settings = EngineSettings { reserved: OWN.to_vec(), ..EngineSettings::new(&WORLD) };
        let leases = LeaseManager::open(Arc::clone(&TOPOLOGY), settings, store.clone(), offers).unwrap();
        Self {
            pipeline: PIPELINE.with(|pipeline| *pipeline),
            store,
            leases,
            now: Timestamp(1_700_000_000),
            used: false,
        }
    }

    fn all(mut self, data: &[u8], first_way: u8) {
        let mut rest = data;
        let mut number = first_way;
        for _ in 0..MOST_PACKETS {
            let end = rest.windows(MARK.len()).position(|window| window == MARK);
            let bytes = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let reply = self.one(bytes, &way(number, bytes));
            if let Some(reply) = reply {
                self.go_on(bytes, &reply, number);
            }
            let Some(end) = end else { break };
            rest = rest.get(end + MARK.len()..).unwrap_or_default();
            let Some((byte, tail)) = rest.split_first() else { break };
            number = first_way.wrapping_add(*byte);
            rest = tail;
            self.now = self.now.plus(u32::from(byte >> 2));
        }
        if self.used {
            OFFERS.with(|region| region.iter().for_each(|word| word.store(0, Relaxed)));
        }
    }

    /// Lets one packet through as a batch of its own, and looks at what came of it.
    fn one(&mut self, bytes: &[u8], way: &Way) -> Option<Reply> {
        let packet = Packet {
            bytes,
            interface: way.interface,
            from: way.from,
            to: Some(way.to),
            at: Duration::from_secs(1000),
        };
        let parsed = DhcpParser::parse(bytes);
        let request = match self.pipeline.accept(&packet) {
            Ok(request) => request,
            Err(outcome) => {
                assert!(!matches!(outcome, Outcome::Reply(_)), "what is not heard is not answered");
                return None;
            }
        };
        self.used = true;
        let message = parsed.expect("what is heard is a message");
        let access = if request.writes() { Access::Write } else { Access::Read };
        self.leases.receiving();
        self.leases.begin(access, self.now).unwrap();
        let outcome = self.pipeline.handle(&request, &mut self.leases);
        self.leases.commit().expect("a change needs a batch that writes");
        match outcome {
            Outcome::Reply(reply) => {
                self.check(&message, &reply, way);
                Some(reply)
            }
            Outcome::Park(park) => panic!("nothing is probed here: {park:?}"),
            Outcome::Done(_) | Outcome::Silence { .. } => None,
        }
    }

    fn check(&self, message: &DhcpMessage<'_>, reply: &Reply, way: &Way) {
        let told = DhcpParser::parse_reply(&reply.bytes).expect("a reply is a message");
        dhcproto::v4::Message::decode(&mut Decoder::new(&reply.bytes)).expect("dhcproto reads it, too");
        let kind = match reply.kind {
            ReplyKind::Offer => MessageType::Offer,
            ReplyKind::Ack => MessageType::Ack,
            ReplyKind::Nak => MessageType::Nak,
            ReplyKind::Bootp => MessageType::Bootp,
        };
        assert_eq!(told.kind(), kind);
        assert_eq!(
            (told.xid(), told.hardware(), told.relay()),
            (message.xid(), message.hardware(), message.relay())
        );
        assert_eq!(told.client_id(), message.client_id(), "RFC 6842");
        assert_eq!(
            told.option(code::RELAY_INFORMATION),
            message.option(code::RELAY_INFORMATION),
            "RFC 3046: echoed whole"
        );
        assert!(reply.bytes.len() >= LEAST_BYTES);
        check_length(message, reply);
        if kind != MessageType::Bootp {
            assert!(told.server_id().is_some_and(|id| !id.is_unspecified() && !id.is_broadcast()));
        }
        let given = told.yiaddr();
        match kind {
            MessageType::Nak => assert!(given.is_unspecified() && told.ciaddr().is_unspecified()),
            _ if given.is_unspecified() => assert_eq!(told.lease_time_secs(), None),
            _ => self.check_given(&told, given),
        }
        check_destination(message, &told, reply, way);
    }

    /// An address is given out that may be, and a promise of it is on disk.
    fn check_given(&self, told: &DhcpMessage<'_>, given: Ipv4Addr) {
        let subnet = WORLD.dhcp.subnets.iter().find(|subnet| subnet.network.contains(given));
        let subnet = subnet.expect("an address of a subnet of ours");
        let pooled = subnet.pools.iter().any(|pool| pool.range.contains(given));
        let reserved = subnet.hosts.iter().any(|host| host.ip == Some(given));
        assert!(pooled || reserved, "{given} is in no pool and reserved for nobody");
        assert!(!OWN.contains(&given) && subnet.network.is_host(given));
        assert!(
            !subnet.exclude.iter().any(|range| range.contains(given))
                && given != Ipv4Addr::new(10, 0, 0, 106)
        );
        if told.kind() == MessageType::Offer {
            return;
        }
        let active = self.store.active(self.now);
        assert!(active.contains_key(&given), "{given} is promised and not leased");
        let log = self.store.log();
        let lease = &log.iter().rfind(|row| row.lease.address == given).unwrap().lease;
        assert_eq!(lease.client.hardware, *told.hardware());
        if let Some(secs) = told.lease_time_secs() {
            assert!(lease.expires >= self.now.plus(secs), "{given} is promised for longer than it is leased");
        }
    }

    /// Takes an offer up, renews the lease, gives it back.
    fn go_on(&mut self, bytes: &[u8], offer: &Reply, number: u8) {
        let Ok(asked) = DhcpParser::parse(bytes) else { return };
        let Ok(told) = DhcpParser::parse_reply(&offer.bytes) else { return };
        let given = told.yiaddr();
        if offer.kind != ReplyKind::Offer || given.is_unspecified() {
            return;
        }
        let server = told.server_id().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let selecting = [(code::REQUESTED_ADDRESS, given.octets()), (code::SERVER_ID, server.octets())];
        let request = packet(&asked, MessageType::Request, Ipv4Addr::UNSPECIFIED, &selecting);
        self.now = self.now.plus(1);
        // Whoever asks the same thing a moment later gets it, but for who is told apart by what is not sent again.
        let Some(ack) = self.one(&request, &way(number, &request)) else { return };
        if ack.kind != ReplyKind::Ack {
            return;
        }
        self.now = self.now.plus(60);
        let renewal = packet(&asked, MessageType::Request, given, &[]);
        let renewed = self.one(&renewal, &way(2, &renewal));
        let relayed = asked.relay().is_some();
        assert!(
            relayed || number % WAYS == 3 || renewed.is_none_or(|reply| reply.kind == ReplyKind::Ack),
            "who holds a lease is not refused it"
        );
        let release = packet(&asked, MessageType::Release, given, &[(code::SERVER_ID, server.octets())]);
        assert!(self.one(&release, &way(2, &release)).is_none(), "nobody answers a RELEASE");
    }
}

/// What the client of `asked` sends next.
fn packet(asked: &DhcpMessage<'_>, kind: MessageType, ciaddr: Ipv4Addr, more: &[(u8, [u8; 4])]) -> Vec<u8> {
    let header = Header {
        op: Op::Request,
        xid: asked.xid(),
        secs: 0,
        flags: asked.flags(),
        ciaddr,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: asked.relay().unwrap_or(Ipv4Addr::UNSPECIFIED),
        hardware: *asked.hardware(),
        server_name: &[],
        boot_file: &[],
    };
    let kind = [kind.number()];
    let mut required: Vec<(u8, &[u8])> = vec![(code::MESSAGE_TYPE, &kind)];
    required.extend(more.iter().map(|(code, data)| (*code, &data[..])));
    for copied in [
        code::CLIENT_ID,
        code::HOST_NAME,
        code::PARAMETER_REQUEST_LIST,
        code::VENDOR_CLASS,
        code::USER_CLASS,
        code::SUBNET_SELECTION,
    ] {
        required.extend(asked.option(copied).map(|data| (copied, data)));
    }
    let relay = asked.option(code::RELAY_INFORMATION);
    let mut bytes = Vec::new();
    let options = Options { required: &required, wanted: &[], relay };
    // What fits no datagram cannot have come in one either.
    let _ = encode::encode(&header, &options, usize::from(u16::MAX), &mut bytes);
    bytes
}

/// No reply is longer than its client takes, and one that goes out as a frame fits that.
fn check_length(message: &DhcpMessage<'_>, reply: &Reply) {
    let limit = match (reply.kind, message.max_message_bytes()) {
        (ReplyKind::Bootp, None) => LEAST_BYTES,
        (_, most) => payload_limit(most),
    };
    // An option of more than 255 bytes goes in pieces, each with its code and length.
    let size = |code| message.option(code).map_or(0, |data| data.len() + 2 * data.len().div_ceil(255).max(1));
    let echoed: usize = size(code::RELAY_INFORMATION) + size(code::CLIENT_ID) + size(code::SUBNET_SELECTION);
    let length = reply.bytes.len();
    assert!(length <= limit.max(LEAST_BYTES) + echoed, "{length} bytes where {limit} are taken");
    if matches!(reply.to, Destination::Hardware { .. }) {
        assert!(length <= encode::MOST_PAYLOAD_BYTES, "{length} bytes fit no frame");
    }
}

/// RFC 2131 §4.1, and never to a place that the sender made up.
fn check_destination(message: &DhcpMessage<'_>, told: &DhcpMessage<'_>, reply: &Reply, way: &Way) {
    assert_eq!(reply.interface, way.interface);
    if way.interface == LO {
        assert_eq!(reply.to, Destination::Unicast(way.from), "on loopback the sender is answered");
        return;
    }
    let informed = told.lease_time_secs().is_none() && told.kind() != MessageType::Nak;
    match reply.to {
        Destination::Unicast(to) => {
            let relay = message.relay().is_some_and(|relay| to == SocketAddrV4::new(relay, 67));
            let client = to == SocketAddrV4::new(told.ciaddr(), 68) && *to.ip() == message.ciaddr();
            let direct = informed && client && message.relay().is_some();
            assert!(relay || direct || message.relay().is_none() && client, "{to} was not to be answered");
            assert!(!to.ip().is_unspecified() && !to.ip().is_broadcast() && !to.ip().is_multicast());
        }
        Destination::Broadcast { port } => {
            assert_eq!(port, 68);
            assert!(message.relay().is_none(), "a relay is answered itself");
        }
        Destination::Hardware { mac, to } => {
            assert!(message.relay().is_none() && !message.broadcast());
            assert_eq!((&mac[..], to), (message.hardware().bytes(), SocketAddrV4::new(told.yiaddr(), 68)));
            assert!(mac[0] & 1 == 0 && !to.ip().is_unspecified());
        }
    }
}
