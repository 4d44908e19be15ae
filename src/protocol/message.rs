//! `DhcpMessage`: a packet whose frame has been checked, with typed access to what the server uses.
//!
//! Borrows the receive buffer. Made by the parser only; read by the whole pipeline.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed;

use super::codes::Codes;
use super::fqdn;
use super::hardware::HardwareAddress;
use super::relay::RelayInformation;

/// Codes of the options that the server itself reads or writes (RFC 2132 and the RFCs named).
pub mod code {
    #![allow(missing_docs, reason = "the names are the registry's")]
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTERS: u8 = 3;
    pub const DOMAIN_NAME_SERVERS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const BROADCAST_ADDRESS: u8 = 28;
    pub const STATIC_ROUTES: u8 = 33;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETER_REQUEST_LIST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    /// RFC 3004.
    pub const USER_CLASS: u8 = 77;
    /// RFC 4039.
    pub const RAPID_COMMIT: u8 = 80;
    /// RFC 4702.
    pub const FQDN: u8 = 81;
    /// RFC 3046.
    pub const RELAY_INFORMATION: u8 = 82;
    /// RFC 8925.
    pub const V6_ONLY_PREFERRED: u8 = 108;
    /// RFC 2563.
    pub const AUTO_CONFIGURE: u8 = 116;
    /// RFC 3011.
    pub const SUBNET_SELECTION: u8 = 118;
    /// RFC 3442.
    pub const CLASSLESS_ROUTES: u8 = 121;
}

/// Option 53 (RFC 2132 §9.6), or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// 1, from clients.
    Discover,
    /// 2, from servers.
    Offer,
    /// 3, from clients.
    Request,
    /// 4, from clients.
    Decline,
    /// 5, from servers.
    Ack,
    /// 6, from servers.
    Nak,
    /// 7, from clients.
    Release,
    /// 8, from clients.
    Inform,
    /// No message type: BOOTP with vendor extensions (RFC 951, RFC 1534 §2), whoever sent it.
    Bootp,
    /// Any other: forced renewal, lease queries, unassigned.
    Other(u8),
}

impl From<u8> for MessageType {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            other => Self::Other(other),
        }
    }
}

impl MessageType {
    /// The number on the wire; 0, which is unassigned, for BOOTP, which has none.
    pub fn number(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Decline => 4,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Release => 7,
            Self::Inform => 8,
            Self::Bootp => 0,
            Self::Other(number) => number,
        }
    }

    /// The label in counters and logs: `discover`, `offer`, …, `bootp`, `other`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Offer => "offer",
            Self::Request => "request",
            Self::Decline => "decline",
            Self::Ack => "ack",
            Self::Nak => "nak",
            Self::Release => "release",
            Self::Inform => "inform",
            Self::Bootp => "bootp",
            Self::Other(_) => "other",
        }
    }
}

/// A message whose frame is sound: `hlen` at most 16, the cookie in place, every option within its field, and
/// the deciding options (50, 51, 52, 53, 54, 57, 61) of a legal length.
#[derive(Debug)]
pub struct DhcpMessage<'a> {
    header: borrowed::Message<'a>,
    options: Options<'a>,
    kind: MessageType,
    hardware: HardwareAddress,
}

/// The options of a packet in the order in which they first appear, each code once.
#[derive(Debug, Default)]
pub(super) struct Options<'a> {
    all: Vec<(u8, Cow<'a, [u8]>)>,
    /// Most questions are for options that are not there.
    codes: Codes,
}

impl<'a> Options<'a> {
    /// What a usual packet holds.
    const USUAL: usize = 12;

    pub(super) fn new() -> Self {
        Self { all: Vec::with_capacity(Self::USUAL), codes: Codes::default() }
    }

    /// False, and nothing is added, where the code is there already.
    pub(super) fn add(&mut self, code: u8, data: &'a [u8]) -> bool {
        let new = self.codes.insert(code);
        if new {
            self.all.push((code, Cow::Borrowed(data)));
        }
        new
    }

    /// Options that were put together from pieces; no code comes twice.
    pub(super) fn of(pieces: impl Iterator<Item = (u8, Vec<u8>)>) -> Self {
        let all: Vec<_> = pieces.map(|(code, data)| (code, Cow::Owned(data))).collect();
        let mut codes = Codes::default();
        for (code, _) in &all {
            codes.insert(*code);
        }
        Self { all, codes }
    }

    pub(super) fn get(&self, code: u8) -> Option<&[u8]> {
        if !self.codes.contains(code) {
            return None;
        }
        self.all.iter().find(|(other, _)| *other == code).map(|(_, data)| &**data)
    }
}

impl<'a> DhcpMessage<'a> {
    pub(super) fn new(header: borrowed::Message<'a>, options: Options<'a>, kind: MessageType) -> Self {
        // The parser has checked hlen, so chaddr() stays inside its field and new() always succeeds.
        let hardware = HardwareAddress::new(header.htype().into(), header.chaddr()).unwrap_or_default();
        Self { header, options, kind, hardware }
    }

    /// Option 53, or BOOTP where it is absent.
    pub fn kind(&self) -> MessageType {
        self.kind
    }

    /// Transaction identifier.
    pub fn xid(&self) -> u32 {
        self.header.xid()
    }

    /// Seconds since the client began, as it says.
    pub fn secs(&self) -> u16 {
        self.header.secs()
    }

    /// The flags field whole; replies copy it (RFC 2131 table 3).
    pub fn flags(&self) -> u16 {
        self.header.flags().into()
    }

    /// Whether the client wants its reply broadcast (RFC 2131 §4.1).
    pub fn broadcast(&self) -> bool {
        self.header.flags().broadcast()
    }

    /// The address that the client has and can answer ARP for; 0.0.0.0: none.
    pub fn ciaddr(&self) -> Ipv4Addr {
        self.header.ciaddr()
    }

    /// The address given (in replies).
    pub fn yiaddr(&self) -> Ipv4Addr {
        self.header.yiaddr()
    }

    /// The next server (in replies).
    pub fn siaddr(&self) -> Ipv4Addr {
        self.header.siaddr()
    }

    /// The relay, if the message came through one.
    pub fn relay(&self) -> Option<Ipv4Addr> {
        Some(self.header.giaddr()).filter(|giaddr| !giaddr.is_unspecified())
    }

    /// `htype`, `hlen`, `chaddr`.
    pub fn hardware(&self) -> &HardwareAddress {
        &self.hardware
    }

    /// An option's bytes, its pieces joined; none where it is absent.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(code)
    }

    /// All options in the order in which they first appear.
    pub fn options(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.options.all.iter().map(|(code, data)| (*code, &**data))
    }

    /// An option that holds one address.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        Some(<[u8; 4]>::try_from(self.option(code)?).ok()?.into())
    }

    /// An option that holds a number of seconds.
    pub fn seconds(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.option(code)?.try_into().ok()?))
    }

    /// Option 61, 1 to 255 bytes. An empty one is no identity (RFC 2132 §9.14) and counts as absent.
    pub fn client_id(&self) -> Option<&[u8]> {
        self.option(code::CLIENT_ID).filter(|id| !id.is_empty())
    }

    /// Option 50; 0.0.0.0 asks for nothing.
    pub fn requested_address(&self) -> Option<Ipv4Addr> {
        self.address(code::REQUESTED_ADDRESS).filter(|address| !address.is_unspecified())
    }

    /// Option 54.
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.address(code::SERVER_ID)
    }

    /// Option 55; none where the client sent no list.
    pub fn parameter_request_list(&self) -> Option<&[u8]> {
        self.option(code::PARAMETER_REQUEST_LIST)
    }

    /// Option 51 in seconds; `u32::MAX` is infinity.
    pub fn lease_time_secs(&self) -> Option<u32> {
        self.seconds(code::LEASE_TIME)
    }

    /// Option 57: the largest IP datagram that the client takes, in bytes.
    pub fn max_message_bytes(&self) -> Option<u16> {
        Some(u16::from_be_bytes(self.option(code::MAX_MESSAGE_SIZE)?.try_into().ok()?))
    }

    /// The client's name: option 12 without trailing NULs, else the host part of option 81. Any bytes.
    pub fn hostname(&self) -> Option<&[u8]> {
        let name = self.option(code::HOST_NAME).map(without_nul).filter(|name| !name.is_empty());
        name.or_else(|| fqdn::host_part(self.option(code::FQDN)?))
    }

    /// Option 60.
    pub fn vendor_class(&self) -> Option<&[u8]> {
        self.option(code::VENDOR_CLASS)
    }

    /// Option 77 as sent; RFC 3004 has length bytes inside, many clients do not.
    pub fn user_class(&self) -> Option<&[u8]> {
        self.option(code::USER_CLASS)
    }

    /// Option 82.
    pub fn relay_information(&self) -> Option<RelayInformation<'_>> {
        self.option(code::RELAY_INFORMATION).map(RelayInformation::new)
    }
}

/// Clients may end strings with NULs and receivers must take them off (RFC 2132 §2).
pub(super) fn without_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}
