//! What the clients send: a packet made once, of which a few fields are set anew for each client.

use super::message::{
    BOOTREQUEST, CHADDR, CIADDR, COOKIE, GIADDR, MAGIC, MIN_BYTES, OPTION_CLIENT_ID, OPTION_END,
    OPTION_HOSTNAME, OPTION_PARAMETERS, OPTION_REQUESTED, OPTION_SERVER, OPTION_TYPE, OPTIONS, SECS, XID,
    put,
};

/// Every packet has this length: all the options fit, the rest is padding.
pub(super) const PACKET_BYTES: usize = MIN_BYTES;
/// What dhclient asks for: mask, broadcast address, time offset, routers, domain, name servers, host name, NTP servers.
const PARAMETERS: [u8; 8] = [1, 28, 2, 3, 15, 6, 12, 42];
/// `client-` and the number in hexadecimal.
const HOSTNAME: &[u8; 15] = b"client-00000000";

/// What common clients say of themselves beside their hardware address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// Option 61.
    pub(super) client_id: bool,
    /// Option 12.
    pub(super) hostname: bool,
}

/// A packet of one type, with the places that differ between clients.
#[derive(Clone, Debug)]
pub(super) struct Template {
    bytes: [u8; PACKET_BYTES],
    client_id: Option<usize>,
    hostname: Option<usize>,
    requested: Option<usize>,
    server: Option<usize>,
    ciaddr: bool,
}

/// What one packet says. Addresses are in host order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values {
    pub(super) xid: u32,
    pub(super) client: u32,
    /// Seconds since the client began.
    pub(super) secs: u16,
    /// The address that it asks for or renews.
    pub(super) address: u32,
    /// Whose offer it takes.
    pub(super) server: u32,
}

impl Template {
    /// A DISCOVER that came through the relay `giaddr`.
    pub(super) fn discover(giaddr: u32, manners: Manners) -> Self {
        Self::new(super::message::DISCOVER, giaddr, manners).finished()
    }

    /// A REQUEST that takes an offer: the address in option 50, the server in option 54 (RFC 2131 §4.3.2).
    pub(super) fn select(giaddr: u32, manners: Manners) -> Self {
        let mut template = Self::new(super::message::REQUEST, giaddr, manners);
        template.requested = Some(template.append(OPTION_REQUESTED, &[0; 4]));
        template.server = Some(template.append(OPTION_SERVER, &[0; 4]));
        template.finished()
    }

    /// A REQUEST that renews: the address in ciaddr alone. Through a relay, as when rebinding, so that one
    /// socket hears every answer.
    pub(super) fn renew(giaddr: u32, manners: Manners) -> Self {
        let mut template = Self::new(super::message::REQUEST, giaddr, manners);
        template.ciaddr = true;
        template.finished()
    }

    fn new(kind: u8, giaddr: u32, manners: Manners) -> Self {
        let mut bytes = [0; PACKET_BYTES];
        // One hop: the relay.
        put(&mut bytes, 0, &[BOOTREQUEST, 1, 6, 1]);
        put(&mut bytes, GIADDR, &giaddr.to_be_bytes());
        put(&mut bytes, COOKIE, &MAGIC);
        put(&mut bytes, OPTIONS, &[OPTION_END]);
        let mut template =
            Self { bytes, client_id: None, hostname: None, requested: None, server: None, ciaddr: false };
        template.append(OPTION_TYPE, &[kind]);
        if manners.client_id {
            // Hardware type 1 and the address (RFC 2132 §9.14).
            template.client_id = Some(template.append(OPTION_CLIENT_ID, &[1, 0, 0, 0, 0, 0, 0]) + 1);
        }
        if manners.hostname {
            template.hostname = Some(template.append(OPTION_HOSTNAME, HOSTNAME) + HOSTNAME.len() - 8);
        }
        template
    }

    fn finished(mut self) -> Self {
        self.append(OPTION_PARAMETERS, &PARAMETERS);
        self
    }

    /// Adds an option and returns where its data begin.
    fn append(&mut self, code: u8, data: &[u8]) -> usize {
        // The end is the last byte that is not padding: every template has one.
        let end = self.bytes.iter().rposition(|byte| *byte == OPTION_END).unwrap_or(OPTIONS);
        put(&mut self.bytes, end, &[code, u8::try_from(data.len()).unwrap_or(u8::MAX)]);
        put(&mut self.bytes, end + 2, data);
        put(&mut self.bytes, end + 2 + data.len(), &[OPTION_END]);
        end + 2
    }

    /// Makes the packet.
    pub(super) fn fill(&self, packet: &mut [u8; PACKET_BYTES], values: Values) {
        *packet = self.bytes;
        let mac = mac(values.client);
        put(packet, XID, &values.xid.to_be_bytes());
        put(packet, SECS, &values.secs.to_be_bytes());
        put(packet, CHADDR, &mac);
        if self.ciaddr {
            put(packet, CIADDR, &values.address.to_be_bytes());
        }
        if let Some(at) = self.client_id {
            put(packet, at, &mac);
        }
        if let Some(at) = self.hostname {
            put(packet, at, &hexadecimal(values.client));
        }
        if let Some(at) = self.requested {
            put(packet, at, &values.address.to_be_bytes());
        }
        if let Some(at) = self.server {
            put(packet, at, &values.server.to_be_bytes());
        }
    }
}

/// A client's hardware address: locally administered, with its number at the end.
pub(super) fn mac(client: u32) -> [u8; 6] {
    let [a, b, c, d] = client.to_be_bytes();
    [2, 0, a, b, c, d]
}

fn hexadecimal(number: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (digit, place) in digits.iter_mut().zip((0..8).rev()) {
        let value = (number >> (4 * place) & 0xf).to_be_bytes()[3];
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::super::message::{DISCOVER, Message, REQUEST};
    use super::*;

    const GIADDR: u32 = 0x0a00_0002;
    const FULL: Manners = Manners { client_id: true, hostname: true };
    const VALUES: Values =
        Values { xid: 0xfeed_0001, client: 0x00ab_cd09, secs: 3, address: 0x0a00_0107, server: 0x0a00_0001 };

    fn packet(template: &Template) -> [u8; PACKET_BYTES] {
        let mut packet = [0xee; PACKET_BYTES];
        template.fill(&mut packet, VALUES);
        packet
    }

    fn option(packet: &[u8], code: u8) -> Option<Vec<u8>> {
        let mut rest = &packet[OPTIONS..];
        while rest[0] != OPTION_END {
            let data = &rest[2..2 + usize::from(rest[1])];
            if rest[0] == code {
                return Some(data.to_vec());
            }
            rest = &rest[2 + data.len()..];
        }
        None
    }

    #[test]
    fn discover_says_who_asks() {
        let packet = packet(&Template::discover(GIADDR, FULL));
        let read = Message::read(&packet).unwrap();
        assert_eq!((read.op, read.kind, read.xid), (BOOTREQUEST, DISCOVER, VALUES.xid));
        assert_eq!((read.giaddr, read.ciaddr, read.mac), (GIADDR, 0, [2, 0, 0, 0xab, 0xcd, 9]));
        assert_eq!((read.requested, read.server), (None, None));
        assert_eq!((packet[3], packet[SECS + 1]), (1, 3));
        assert_eq!(option(&packet, OPTION_CLIENT_ID), Some(vec![1, 2, 0, 0, 0xab, 0xcd, 9]));
        assert_eq!(option(&packet, OPTION_HOSTNAME).as_deref(), Some(&b"client-00abcd09"[..]));
        assert_eq!(option(&packet, OPTION_PARAMETERS), Some(PARAMETERS.to_vec()));
    }

    #[test]
    fn selecting_names_address_and_server() {
        let read = Message::read(&packet(&Template::select(GIADDR, FULL))).unwrap();
        assert_eq!((read.kind, read.ciaddr), (REQUEST, 0));
        assert_eq!((read.requested, read.server), (Some(VALUES.address), Some(VALUES.server)));
    }

    #[test]
    fn renewing_names_the_address_in_the_header_alone() {
        let read = Message::read(&packet(&Template::renew(GIADDR, FULL))).unwrap();
        assert_eq!((read.kind, read.ciaddr), (REQUEST, VALUES.address));
        assert_eq!((read.requested, read.server), (None, None));
    }

    #[test]
    fn options_that_are_off_are_left_out() {
        let plain = Manners { client_id: false, hostname: false };
        for template in [Template::discover, Template::select, Template::renew] {
            let packet = packet(&template(GIADDR, plain));
            assert_eq!((option(&packet, OPTION_CLIENT_ID), option(&packet, OPTION_HOSTNAME)), (None, None));
        }
    }
}
