//! The packets that are measured, as bytes. Knows the format only.

use std::net::Ipv4Addr;

/// Where `yiaddr` stands in a packet (RFC 2131 figure 1).
const YIADDR: std::ops::Range<usize> = 16..20;
/// What a desktop system asks for: mask, routers, name servers, domain, broadcast, NTP, MTU, search list, routes.
const WISHES: [u8; 12] = [1, 3, 6, 12, 15, 28, 42, 51, 54, 26, 119, 121];

/// A request being written.
pub(crate) struct Wire {
    bytes: Vec<u8>,
}

impl Wire {
    /// Of this message type from the client of this number.
    pub(crate) fn new(kind: u8, client: u32) -> Self {
        let mut bytes = vec![0; 240];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&(client ^ 0x5a5a_0000).to_be_bytes());
        bytes[28..34].copy_from_slice(&mac(client));
        bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
        Self { bytes }.option(53, &[kind])
    }

    /// With its own address in `ciaddr`.
    pub(crate) fn of_address(mut self, address: Ipv4Addr) -> Self {
        self.bytes[12..16].copy_from_slice(&address.octets());
        self
    }

    /// Through a relay.
    pub(crate) fn through(mut self, relay: Ipv4Addr) -> Self {
        self.bytes[3] = 1;
        self.bytes[24..28].copy_from_slice(&relay.octets());
        self
    }

    /// With one more option.
    pub(crate) fn option(mut self, code: u8, data: &[u8]) -> Self {
        self.bytes.extend([code, u8::try_from(data.len()).unwrap_or(u8::MAX)]);
        self.bytes.extend_from_slice(data);
        self
    }

    /// With what a usual client says of itself: identifier, name, vendor, largest message, wishes.
    pub(crate) fn introduced(self, client: u32) -> Self {
        let id = [&[1][..], &mac(client)].concat();
        let named = self.option(61, &id).option(12, format!("desktop-{client:06}").as_bytes());
        named.option(60, b"MSFT 5.0").option(57, &1500_u16.to_be_bytes()).option(55, &WISHES)
    }

    /// With what a relay adds (RFC 3046).
    pub(crate) fn relayed(self, client: u32) -> Self {
        let circuit = format!("eth0/1/{}", client % 48);
        let mut information = vec![1, u8::try_from(circuit.len()).unwrap_or(0)];
        information.extend_from_slice(circuit.as_bytes());
        information.extend([2, 6]);
        information.extend(mac(client ^ 0x00ff_0000));
        self.option(82, &information)
    }

    /// The bytes, closed by the end option.
    pub(crate) fn done(mut self) -> Vec<u8> {
        self.bytes.push(255);
        self.bytes
    }
}

/// The hardware address of a client by its number.
pub(crate) fn mac(client: u32) -> [u8; 6] {
    let [a, b, c, d] = client.to_be_bytes();
    [2, 0, a, b, c, d]
}

/// The address that a reply gives.
pub(crate) fn given(reply: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = reply.get(YIADDR)?.try_into().ok()?;
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::{Decodable, Decoder, Message, MessageType};

    use super::*;

    #[test]
    fn packets_are_what_they_claim_to_be() {
        let relay = Ipv4Addr::new(10, 72, 0, 1);
        let bytes = Wire::new(3, 7).introduced(7).through(relay).relayed(7).done();
        let message = Message::decode(&mut Decoder::new(&bytes)).unwrap();
        assert_eq!(message.opts().msg_type(), Some(MessageType::Request));
        assert_eq!((message.giaddr(), message.chaddr()), (relay, &mac(7)[..]));
        assert_eq!(message.opts().iter().count(), 7);
    }
}
