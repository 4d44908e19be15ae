//! Replies: header by RFC 2131 table 3, options in their order, destination by §4.1, encoded.
//!
//! Decides nothing about leases: the handler says what is answered, this file how it looks.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::protocol::encode::{self, Header, Op, Options};
use crate::protocol::{Codes, MessageType, code, fqdn};

use super::handler::Talk;
use super::outcome::{Destination, Event, Reply, ReplyKind, Silence};
use super::place::Place;
use super::{Pipeline, Request, terms};

/// RFC 2131 §4.1: DHCP server and relay port.
const SERVER_PORT: u16 = 67;
/// RFC 2131 §4.1: DHCP client port.
const CLIENT_PORT: u16 = 68;
/// The B bit of the flags field (RFC 2131 figure 2).
const BROADCAST_FLAG: u16 = 0x8000;
/// What a usual reply has room in.
const USUAL_BYTES: usize = 400;
/// ARP hardware type of Ethernet.
const ETHERNET: u8 = 1;

/// What an OFFER or an ACK gives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) kind: ReplyKind,
    pub(super) address: Ipv4Addr,
    pub(super) lease_secs: u32,
}

/// The values of a reply's own options.
#[derive(Debug)]
struct Fixed {
    /// None: BOOTP.
    number: Option<[u8; 1]>,
    server: [u8; 4],
    lease: Option<[u8; 4]>,
    /// T1 and T2.
    renewal: Option<([u8; 4], [u8; 4])>,
}

impl Fixed {
    fn new(kind: ReplyKind, server: Ipv4Addr, grant: Option<Grant>, place: &Place<'_>) -> Self {
        let number = match kind {
            ReplyKind::Offer => Some(MessageType::Offer),
            ReplyKind::Ack => Some(MessageType::Ack),
            ReplyKind::Nak => Some(MessageType::Nak),
            ReplyKind::Bootp => None,
        };
        let renewal = grant.and_then(|grant| terms::renewal_secs(place.subnet, grant.lease_secs));
        Self {
            number: number.map(|number| [number.number()]),
            server: server.octets(),
            lease: grant.map(|grant| grant.lease_secs.to_be_bytes()),
            renewal: renewal.map(|(t1, t2)| (t1.to_be_bytes(), t2.to_be_bytes())),
        }
    }
}

impl Pipeline {
    /// OFFER, or ACK of a REQUEST.
    pub(super) fn granting(
        &self,
        talk: &Talk<'_>,
        grant: Grant,
        event: Option<Event>,
    ) -> Result<Reply, Silence> {
        let request = talk.request;
        let place = self.place(talk.asker, grant.address).ok_or(Silence::UnknownSubnet)?;
        let ciaddr = match grant.kind {
            // Table 3: 0 in an OFFER, "'ciaddr' from DHCPREQUEST or 0" in an ACK. Only what is confirmed by it counts.
            ReplyKind::Ack if request.message.ciaddr() == grant.address => grant.address,
            ReplyKind::Ack | ReplyKind::Offer | ReplyKind::Bootp | ReplyKind::Nak => Ipv4Addr::UNSPECIFIED,
        };
        let to = self.destination(request, ciaddr, grant.address);
        self.positive(request, grant.kind, &place, Some(grant), (ciaddr, grant.address), to, event)
    }

    /// Where the answer to an INFORM goes: "directly to the address given in the 'ciaddr' field" (RFC 2131 §4.3.5), but
    /// only if it is the client's as far as can be told: the sender's own, or one that it holds (`known`). A relay is
    /// answered itself otherwise, and reaches its client. None: a stranger's.
    pub(super) fn informed_at(
        &self,
        request: &Request<'_>,
        client: Ipv4Addr,
        known: bool,
    ) -> Option<Destination> {
        let direct = || (known || client == *request.from.ip()).then(|| unicast(client, CLIENT_PORT));
        let relayed = || request.message.relay().map(|relay| unicast(relay, SERVER_PORT));
        self.sender_on_loopback(request).or_else(direct).or_else(relayed)
    }

    /// ACK of an INFORM: no lease time and no yiaddr (RFC 2131 §4.3.5).
    pub(super) fn informing(
        &self,
        talk: &Talk<'_>,
        place: &Place<'_>,
        to: Destination,
        event: Option<Event>,
    ) -> Result<Reply, Silence> {
        let request = talk.request;
        let addresses = (request.message.ciaddr(), Ipv4Addr::UNSPECIFIED);
        let bootp = request.message.kind() == MessageType::Bootp;
        let kind = if bootp { ReplyKind::Bootp } else { ReplyKind::Ack };
        self.positive(request, kind, place, None, addresses, to, event)
    }

    /// OFFER without an address, which says whether the client may choose one by itself (RFC 2563 §2.3).
    pub(super) fn turning_away(
        &self,
        talk: &Talk<'_>,
        place: &Place<'_>,
        event: Option<Event>,
    ) -> Result<Reply, Silence> {
        let none = Ipv4Addr::UNSPECIFIED;
        let to = match self.destination(talk.request, none, none) {
            // There is no address that a frame could be sent to.
            Destination::Hardware { .. } => Destination::Broadcast { port: CLIENT_PORT },
            to @ (Destination::Unicast(_) | Destination::Broadcast { .. }) => to,
        };
        self.positive(talk.request, ReplyKind::Offer, place, None, (none, none), to, event)
    }

    /// NAK: header zeroed but for what finds the client, and no option but those of table 3.
    pub(super) fn refusing(
        &self,
        request: &Request<'_>,
        why: &str,
        event: Option<Event>,
    ) -> Result<Reply, Silence> {
        let message = &request.message;
        let subnet = self.first_subnet(request).ok_or(Silence::UnknownSubnet)?;
        let server = self.server_id(request, subnet).ok_or(Silence::NoServerAddress)?.octets();
        let relay = message.relay();
        // §4.1: a NAK is broadcast; through a relay the B bit makes the relay do so (§4.3.2).
        let to = self.sender_on_loopback(request).unwrap_or(match relay {
            Some(relay) => unicast(relay, SERVER_PORT),
            None => Destination::Broadcast { port: CLIENT_PORT },
        });
        let flags = if relay.is_some() { message.flags() | BROADCAST_FLAG } else { message.flags() };
        let mut required: Vec<(u8, &[u8])> = Vec::with_capacity(4);
        let kind = [MessageType::Nak.number()];
        required.push((code::MESSAGE_TYPE, &kind));
        required.push((code::SERVER_ID, &server));
        required.push((code::MESSAGE, why.as_bytes()));
        required.extend(message.client_id().map(|id| (code::CLIENT_ID, id)));
        let header = Header { flags, ..header(request) };
        self.finish(request, ReplyKind::Nak, &header, &required, &[], to, event)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a reply, named where it is called")]
    fn positive(
        &self,
        request: &Request<'_>,
        kind: ReplyKind,
        place: &Place<'_>,
        grant: Option<Grant>,
        (ciaddr, yiaddr): (Ipv4Addr, Ipv4Addr),
        to: Destination,
        event: Option<Event>,
    ) -> Result<Reply, Silence> {
        let message = &request.message;
        let server = self.server_id(request, place.subnet).ok_or(Silence::NoServerAddress)?;
        let fixed = Fixed::new(kind, server, grant, place);
        let required = self.required(request, kind, &fixed, grant, place);
        let mut given = Codes::default();
        for (code, _) in &required {
            given.insert(*code);
        }
        // RFC 4702 §4: whoever sends the option gets it back, asked for or not.
        let hostname = place.host.and_then(|host| host.hostname.as_deref());
        let suffix = self.config.dhcp.fqdn.suffix.as_deref();
        let name = message.fqdn().and_then(|sent| fqdn::answer(sent, suffix, hostname));
        let header = Header {
            ciaddr,
            yiaddr,
            siaddr: place.next_server().unwrap_or(Ipv4Addr::UNSPECIFIED),
            server_name: place.server_name().unwrap_or_default().as_bytes(),
            boot_file: place.boot_file().unwrap_or_default().as_bytes(),
            ..header(request)
        };
        let list = message.parameter_request_list();
        if name.is_none() {
            let menu = self.options.menu(&place.options, list);
            if menu.codes().is_disjoint(given)
                && let Some(reply) = self.ready(request, kind, &header, &required, menu.block(), to, event)
            {
                return reply;
            }
        }
        let mut wanted = place.options.select(list);
        wanted.retain(|(code, _)| !given.contains(*code));
        if let Some(name) = &name {
            wanted.insert(place_of(code::FQDN, list, &wanted), (code::FQDN, name));
        }
        self.finish(request, kind, &header, &required, &wanted, to, event)
    }

    /// The reply with options that were laid down before; none where they do not fit as they are.
    #[allow(clippy::too_many_arguments, reason = "the parts of a reply, named where it is called")]
    fn ready(
        &self,
        request: &Request<'_>,
        kind: ReplyKind,
        header: &Header<'_>,
        required: &[(u8, &[u8])],
        wanted: &[u8],
        to: Destination,
        event: Option<Event>,
    ) -> Option<Result<Reply, Silence>> {
        let relay = request.message.relay_information().map(|information| information.bytes());
        let options = Options { required, wanted: &[], relay };
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        match encode::encode_ready(header, &options, wanted, limit(request, kind), &mut bytes) {
            Ok(true) => Some(Ok(self.reply(request, kind, bytes, 0, to, event))),
            Ok(false) => None,
            Err(_) => Some(Err(Silence::Encoding)),
        }
    }

    /// What table 3 and later RFCs demand, whatever the client asks for.
    fn required<'r>(
        &self,
        request: &'r Request<'_>,
        kind: ReplyKind,
        fixed: &'r Fixed,
        grant: Option<Grant>,
        place: &Place<'r>,
    ) -> Vec<(u8, &'r [u8])> {
        let message = &request.message;
        let mut required: Vec<(u8, &[u8])> = Vec::with_capacity(10);
        // RFC 1534 §2: a BOOTP client is sent no option that only DHCP knows.
        if let Some(number) = &fixed.number {
            required.push((code::MESSAGE_TYPE, number));
            required.push((code::SERVER_ID, &fixed.server));
            required.extend(fixed.lease.as_ref().map(|lease| (code::LEASE_TIME, &lease[..])));
            if let Some((t1, t2)) = &fixed.renewal {
                required.push((code::RENEWAL_TIME, t1));
                required.push((code::REBINDING_TIME, t2));
            }
        }
        // Whether an address is to be chosen without us; the client need not ask for it by its list (RFC 2563 §2.2).
        let turned_away = grant.is_none() && kind == ReplyKind::Offer;
        let verdict = place.options.get(code::AUTO_CONFIGURE).filter(|_| turned_away);
        required.extend(verdict.map(|verdict| (code::AUTO_CONFIGURE, &*verdict.bytes)));
        if request.rapid && kind == ReplyKind::Ack {
            required.push((code::RAPID_COMMIT, &[]));
        }
        // RFC 3011 §2: whoever acts on it says so.
        let selected = message.option(code::SUBNET_SELECTION).filter(|_| self.config.dhcp.subnet_selection);
        required.extend(selected.map(|subnet| (code::SUBNET_SELECTION, subnet)));
        // RFC 6842 §3: echoed as sent, even if it is not what identifies the client here.
        required.extend(message.client_id().map(|id| (code::CLIENT_ID, id)));
        required
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a reply, named where it is called")]
    fn finish(
        &self,
        request: &Request<'_>,
        kind: ReplyKind,
        header: &Header<'_>,
        required: &[(u8, &[u8])],
        wanted: &[(u8, &[u8])],
        to: Destination,
        event: Option<Event>,
    ) -> Result<Reply, Silence> {
        let relay = request.message.relay_information().map(|information| information.bytes());
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        let options = Options { required, wanted, relay };
        let omitted = encode::encode(header, &options, limit(request, kind), &mut bytes)
            .map_err(|_| Silence::Encoding)?;
        Ok(self.reply(request, kind, bytes, omitted, to, event))
    }

    fn reply(
        &self,
        request: &Request<'_>,
        kind: ReplyKind,
        bytes: Vec<u8>,
        omitted: usize,
        to: Destination,
        event: Option<Event>,
    ) -> Reply {
        let to = match to {
            // What must be echoed can be long, and the kernel fragments datagrams, not frames.
            Destination::Hardware { to, .. } if bytes.len() > encode::MOST_PAYLOAD_BYTES => {
                Destination::Broadcast { port: to.port() }
            }
            to => to,
        };
        Reply {
            kind,
            bytes,
            to,
            interface: self.interface(request).map_or(0, |interface| interface.index),
            from: self.own_address(request, self.first_subnet(request)).unwrap_or(Ipv4Addr::UNSPECIFIED),
            omitted,
            event,
        }
    }

    /// RFC 2131 §4.1, in its order. `ciaddr` is the reply's own, so it is an address that the lease engine has
    /// just confirmed for this client.
    fn destination(&self, request: &Request<'_>, ciaddr: Ipv4Addr, yiaddr: Ipv4Addr) -> Destination {
        let message = &request.message;
        if let Some(sender) = self.sender_on_loopback(request) {
            return sender;
        }
        if let Some(relay) = message.relay() {
            return unicast(relay, SERVER_PORT);
        }
        if !ciaddr.is_unspecified() {
            return unicast(ciaddr, CLIENT_PORT);
        }
        let hardware = message.hardware();
        let mac = <[u8; 6]>::try_from(hardware.bytes()).ok();
        match mac.filter(|mac| hardware.kind() == ETHERNET && !message.broadcast() && !is_group(*mac)) {
            Some(mac) => Destination::Hardware { mac, to: SocketAddrV4::new(yiaddr, CLIENT_PORT) },
            None => Destination::Broadcast { port: CLIENT_PORT },
        }
    }

    /// On the loopback interface nobody listens on ports 67 and 68: the answer goes back where the question
    /// came from, relayed or not.
    fn sender_on_loopback(&self, request: &Request<'_>) -> Option<Destination> {
        self.interface(request)?.loopback.then_some(Destination::Unicast(request.from))
    }
}

/// The most bytes that the client takes.
fn limit(request: &Request<'_>, kind: ReplyKind) -> usize {
    match (kind, request.message.max_message_bytes()) {
        // RFC 951 §3: 64 bytes of vendor area, which here hold the cookie and the options.
        (ReplyKind::Bootp, None) => encode::LEAST_BYTES,
        (_, most) => encode::payload_limit(most),
    }
}

/// Where an option goes that is not configured: in the order asked for; first, where it was not asked for.
fn place_of(code: u8, list: Option<&[u8]>, wanted: &[(u8, &[u8])]) -> usize {
    let list = list.unwrap_or_default();
    let before =
        list.iter().position(|asked| *asked == code).and_then(|at| list.get(..at)).unwrap_or_default();
    wanted.iter().take_while(|(code, _)| before.contains(code)).count()
}

/// What every reply copies from its request (table 3); the rest is zero.
fn header<'h>(request: &Request<'_>) -> Header<'h> {
    let message = &request.message;
    Header {
        op: Op::Reply,
        xid: message.xid(),
        secs: 0,
        flags: message.flags(),
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: message.relay().unwrap_or(Ipv4Addr::UNSPECIFIED),
        hardware: *message.hardware(),
        server_name: &[],
        boot_file: &[],
    }
}

fn unicast(address: Ipv4Addr, port: u16) -> Destination {
    Destination::Unicast(SocketAddrV4::new(address, port))
}

/// Group and broadcast addresses (IEEE 802 §8.2: the lowest bit of the first byte) are no single host: a frame to
/// a made-up one would reach nobody or a stranger, a broadcast reaches the client.
fn is_group(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 1
}
