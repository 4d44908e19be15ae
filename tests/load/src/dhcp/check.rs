//! Whether a reply is the right one.

use super::message::{ACK, BOOTREPLY, Message, NAK};
use super::template::mac;
use std::fmt;
use std::net::Ipv4Addr;

/// What a reply must agree with. Addresses are in host order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) client: u32,
    pub(super) giaddr: u32,
    /// The address that was offered, or is held.
    pub(super) address: Option<u32>,
    /// Who offered it.
    pub(super) server: Option<u32>,
}

/// What is wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not wrong in form: the server refuses.
    Nak,
    Op(u8),
    Chaddr([u8; 6]),
    Giaddr(u32),
    NoServer,
    OtherServer(u32),
    NoAddress,
    OtherAddress(u32),
    NoLeaseTime,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nak => write!(f, "NAK"),
            Self::Op(op) => write!(f, "op is {op}"),
            Self::Chaddr(mac) => write!(f, "chaddr is {mac:02x?}"),
            Self::Giaddr(giaddr) => write!(f, "giaddr is {}", Ipv4Addr::from(giaddr)),
            Self::NoServer => write!(f, "no server identifier"),
            Self::OtherServer(server) => write!(f, "server identifier is {}", Ipv4Addr::from(server)),
            Self::NoAddress => write!(f, "yiaddr is 0.0.0.0"),
            Self::OtherAddress(address) => write!(f, "yiaddr is {}", Ipv4Addr::from(address)),
            Self::NoLeaseTime => write!(f, "no lease time"),
        }
    }
}

/// Checks an OFFER, ACK or NAK whose transaction id has been matched (RFC 2131 table 3).
pub(super) fn reply(reply: &Message, expected: &Expected) -> Result<(), Fault> {
    if reply.op != BOOTREPLY {
        return Err(Fault::Op(reply.op));
    }
    if reply.mac != mac(expected.client) {
        return Err(Fault::Chaddr(reply.mac));
    }
    if reply.giaddr != expected.giaddr {
        return Err(Fault::Giaddr(reply.giaddr));
    }
    let server = reply.server.ok_or(Fault::NoServer)?;
    if reply.kind == NAK {
        return Err(Fault::Nak);
    }
    if reply.kind == ACK && expected.server.is_some_and(|expected| expected != server) {
        return Err(Fault::OtherServer(server));
    }
    if reply.yiaddr == 0 {
        return Err(Fault::NoAddress);
    }
    if reply.kind == ACK && expected.address.is_some_and(|expected| expected != reply.yiaddr) {
        return Err(Fault::OtherAddress(reply.yiaddr));
    }
    if reply.lease_secs.is_none_or(|secs| secs == 0) {
        return Err(Fault::NoLeaseTime);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::message::OFFER;
    use super::*;

    const EXPECTED: Expected = Expected { client: 7, giaddr: 1, address: Some(9), server: Some(3) };

    fn good() -> Message {
        Message {
            op: BOOTREPLY,
            yiaddr: 9,
            giaddr: 1,
            mac: [2, 0, 0, 0, 0, 7],
            kind: ACK,
            lease_secs: Some(60),
            server: Some(3),
            ..Message::default()
        }
    }

    #[test]
    fn each_fault_is_found() {
        assert_eq!(reply(&good(), &EXPECTED), Ok(()));
        let cases = [
            (Message { op: 1, ..good() }, Fault::Op(1)),
            (Message { mac: [2, 0, 0, 0, 0, 8], ..good() }, Fault::Chaddr([2, 0, 0, 0, 0, 8])),
            (Message { giaddr: 2, ..good() }, Fault::Giaddr(2)),
            (Message { server: None, ..good() }, Fault::NoServer),
            (Message { server: Some(4), ..good() }, Fault::OtherServer(4)),
            (Message { yiaddr: 0, ..good() }, Fault::NoAddress),
            (Message { yiaddr: 8, ..good() }, Fault::OtherAddress(8)),
            (Message { lease_secs: None, ..good() }, Fault::NoLeaseTime),
            (Message { lease_secs: Some(0), ..good() }, Fault::NoLeaseTime),
            (Message { kind: NAK, yiaddr: 0, lease_secs: None, ..good() }, Fault::Nak),
        ];
        for (message, fault) in cases {
            assert_eq!(reply(&message, &EXPECTED), Err(fault), "{message:?}");
        }
    }

    #[test]
    fn offer_may_come_from_anybody() {
        let offer = Message { kind: OFFER, server: Some(4), ..good() };
        assert_eq!(reply(&offer, &Expected { address: None, server: None, ..EXPECTED }), Ok(()));
    }
}
