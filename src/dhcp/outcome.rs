//! What becomes of a packet: exactly one [`Outcome`], and each outcome is one counter. Plain data that the worker
//! acts on after the commit.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lease::{NakReason, SilenceReason, SubnetId};
use crate::protocol::{HardwareAddress, Malformed};
use crate::stats::Counter;

use super::check::Park;
use super::security::Refusal;

/// The end of a packet's way through the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, to be sent after the commit.
    Reply(Reply),
    /// A RELEASE or DECLINE that counted; these have no answer.
    Done(Event),
    /// Nothing yet: an address is to be probed, then the same packet is handled again.
    Park(Park),
    /// No answer, and why.
    Silence {
        /// The reason, one counter each.
        reason: Silence,
        /// What an operator should read, if anything.
        event: Option<Event>,
    },
}

/// An answer ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Which message it is.
    pub kind: ReplyKind,
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub to: Destination,
    /// Index of the interface that the request came in by.
    pub interface: u32,
    /// The server's address there: the source of a raw frame. 0.0.0.0 where the interface has none.
    pub from: Ipv4Addr,
    /// How many options found no space.
    pub omitted: usize,
    /// What is counted and logged of it.
    pub event: Option<Event>,
}

/// The messages that a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplyKind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
    /// DHCPNAK.
    Nak,
    /// BOOTREPLY to a BOOTP client.
    Bootp,
}

impl ReplyKind {
    /// The label in counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Ack => "ack",
            Self::Nak => "nak",
            Self::Bootp => "bootp",
        }
    }
}

/// Where a reply goes (RFC 2131 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// By the kernel's routing: a relay, a client that has its address, a sender on the loopback interface.
    Unicast(SocketAddrV4),
    /// To 255.255.255.255 on the interface, this port.
    Broadcast {
        /// The client's port.
        port: u16,
    },
    /// In a raw frame to this Ethernet address, without ARP: the client cannot answer one yet.
    Hardware {
        /// The frame's destination.
        mac: [u8; 6],
        /// The datagram's destination: the address just given.
        to: SocketAddrV4,
    },
}

/// Why a packet stays without an answer and without effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Silence {
    /// It is no message.
    Malformed(Malformed),
    /// A packet like it killed a worker.
    Quarantined,
    /// The security stage refused it.
    Refused(Refusal),
    /// It came by an interface that this generation does not serve.
    UnknownInterface,
    /// Its link is none of ours.
    UnknownSubnet,
    /// Only clients send it to us: an answer of another server, a lease query.
    NotForServers,
    /// Neither client identifier nor hardware address.
    NoIdentity,
    /// The message lacks what its kind must have (RFC 2131 table 5).
    Incomplete,
    /// A REQUEST without server identifier, requested address and ciaddr: in no state of table 4.
    BareRequest,
    /// It speaks to another server.
    OtherServer,
    /// No address is free.
    Exhausted,
    /// More comes than can be answered, and the client is not known.
    Overload,
    /// No pool is open to the client.
    NoPool,
    /// INFORM for an address that is not the sender's as far as can be told.
    Stranger,
    /// The client belongs to a class that is dropped.
    Class,
    /// A BOOTP client, and `dhcp.bootp` has nothing for it.
    Bootp,
    /// RELEASE or DECLINE of an address that the client does not hold.
    NotHolder,
    /// RELEASE of a lease that was granted after it came: the client's next messages were handled before.
    Overtaken,
    /// DECLINE where so many addresses rest already that it is not believed.
    Doubted,
    /// The interface has no address to be named as the server's.
    NoServerAddress,
    /// The lease engine knows nothing of this client or must not speak.
    Lease(SilenceReason),
    /// The reply could not be encoded.
    Encoding,
    /// Each address that was tried for it turned out to be in use, or too many packets wait for a probe already.
    Unchecked,
}

impl Silence {
    /// Its counter. The table of metrics names each reason; nothing else does.
    pub fn counter(self) -> Counter {
        match self {
            Self::Malformed(malformed) => malformed.counter(),
            Self::Quarantined => Counter::DropQuarantined,
            Self::Refused(refusal) => refusal.counter(),
            Self::UnknownInterface => Counter::DropUnknownInterface,
            Self::UnknownSubnet => Counter::DropUnknownSubnet,
            Self::NotForServers => Counter::DropNotForServers,
            Self::NoIdentity => Counter::DropNoIdentity,
            Self::Incomplete => Counter::DropIncomplete,
            Self::BareRequest => Counter::DropBareRequest,
            Self::OtherServer => Counter::DropOtherServer,
            Self::Exhausted => Counter::DropExhausted,
            Self::NoPool => Counter::DropNoPool,
            Self::Overload => Counter::DropOverload,
            Self::NotHolder => Counter::DropNotHolder,
            Self::Doubted => Counter::DropDoubted,
            Self::Overtaken => Counter::DropOvertaken,
            Self::NoServerAddress => Counter::DropNoServerAddress,
            Self::Stranger => Counter::DropStranger,
            Self::Class => Counter::DropClass,
            Self::Bootp => Counter::DropBootp,
            Self::Lease(SilenceReason::UnknownClient) => Counter::DropUnknownClient,
            Self::Lease(SilenceReason::NotAuthoritative) => Counter::DropNotAuthoritative,
            Self::Encoding => Counter::DropEncoding,
            Self::Unchecked => Counter::DropUnchecked,
        }
    }

    /// The label in counters and logs.
    pub fn reason(self) -> &'static str {
        self.counter().label()
    }
}

impl From<Silence> for Outcome {
    fn from(reason: Silence) -> Self {
        Self::Silence { reason, event: None }
    }
}

/// What the worker logs once the batch is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub what: What,
    /// To which address; none: to no address in particular.
    pub address: Option<Ipv4Addr>,
    /// Whose hardware address.
    pub hardware: HardwareAddress,
    /// In which transaction.
    pub xid: u32,
    /// On which subnet: the address's, else the first of the link; none where the link is not known yet.
    pub subnet: Option<SubnetId>,
}

/// What happened to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An address is held for a client.
    Offered,
    /// A client that has an address was told its options.
    Informed,
    /// A client got an address.
    Granted {
        /// For so long; `u32::MAX`: for ever.
        lease_secs: u32,
    },
    /// A client keeps its address.
    Renewed {
        /// For so long; `u32::MAX`: for ever.
        lease_secs: u32,
    },
    /// A client gave its address back.
    Released,
    /// A client found its address in use.
    Declined,
    /// A client says that its address is in use, and is not believed: too many do.
    Doubted,
    /// A client was told that it must not use the address.
    Nak(NakReason),
    /// No address was left for a client.
    Exhausted,
    /// A client that is not known was left out, since more comes than can be answered.
    LeftOut,
    /// The security stage refused a packet; the address is the one that it is about, or the relay.
    Refused(Refusal),
}
