//! What is needed of the DHCP format (RFC 2131 §2, RFC 2132), for both sides: reading by a walk over the options,
//! without allocation.
//!
//! ```text
//! op 1 | htype 1 | hlen 1 | hops 1 | xid 4 | secs 2 | flags 2 | ciaddr 4 | yiaddr 4 | siaddr 4 | giaddr 4
//! chaddr 16 | sname 64 | file 128 | cookie 4 | options
//! ```

pub(crate) const BOOTREQUEST: u8 = 1;
pub(crate) const BOOTREPLY: u8 = 2;
pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;

pub(crate) const XID: usize = 4;
pub(crate) const SECS: usize = 8;
pub(crate) const CIADDR: usize = 12;
pub(crate) const YIADDR: usize = 16;
pub(crate) const GIADDR: usize = 24;
pub(crate) const CHADDR: usize = 28;
pub(crate) const COOKIE: usize = 236;
pub(crate) const OPTIONS: usize = 240;
pub(crate) const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// The shortest message of BOOTP (RFC 951), which relays and servers may insist on.
pub(crate) const MIN_BYTES: usize = 300;

pub(crate) const OPTION_MASK: u8 = 1;
pub(crate) const OPTION_ROUTER: u8 = 3;
pub(crate) const OPTION_HOSTNAME: u8 = 12;
pub(crate) const OPTION_REQUESTED: u8 = 50;
pub(crate) const OPTION_LEASE_TIME: u8 = 51;
pub(crate) const OPTION_TYPE: u8 = 53;
pub(crate) const OPTION_SERVER: u8 = 54;
pub(crate) const OPTION_PARAMETERS: u8 = 55;
pub(crate) const OPTION_CLIENT_ID: u8 = 61;
pub(crate) const OPTION_PAD: u8 = 0;
pub(crate) const OPTION_END: u8 = 255;

/// The fields that are looked at. Addresses are in host order; 0 and None where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) op: u8,
    pub(crate) xid: u32,
    pub(crate) ciaddr: u32,
    pub(crate) yiaddr: u32,
    pub(crate) giaddr: u32,
    pub(crate) mac: [u8; 6],
    /// Option 53.
    pub(crate) kind: u8,
    pub(crate) requested: Option<u32>,
    pub(crate) lease_secs: Option<u32>,
    pub(crate) server: Option<u32>,
}

impl Message {
    /// Reads a message. None where it is too short, has no magic cookie, or is not of an Ethernet client.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (head, options) = bytes.split_first_chunk::<OPTIONS>()?;
        let [op, 1, 6, ..] = *head else { return None };
        if take(head, COOKIE) != MAGIC {
            return None;
        }
        let mut message = Self {
            op,
            xid: u32::from_be_bytes(take(head, XID)),
            ciaddr: u32::from_be_bytes(take(head, CIADDR)),
            yiaddr: u32::from_be_bytes(take(head, YIADDR)),
            giaddr: u32::from_be_bytes(take(head, GIADDR)),
            mac: take(head, CHADDR),
            ..Self::default()
        };
        message.read_options(options);
        Some(message)
    }

    fn read_option(&mut self, code: u8, data: &[u8]) {
        match code {
            OPTION_TYPE => self.kind = data.first().copied().unwrap_or_default(),
            OPTION_REQUESTED => self.requested = number(data),
            OPTION_LEASE_TIME => self.lease_secs = number(data),
            OPTION_SERVER => self.server = number(data),
            _ => {}
        }
    }

    fn read_options(&mut self, mut rest: &[u8]) {
        loop {
            match rest {
                [OPTION_PAD, more @ ..] => rest = more,
                [OPTION_END, ..] | [] | [_] => return,
                [code, length, more @ ..] => {
                    let Some((data, more)) = more.split_at_checked(usize::from(*length)) else { return };
                    self.read_option(*code, data);
                    rest = more;
                }
            }
        }
    }
}

fn number(data: &[u8]) -> Option<u32> {
    data.try_into().ok().map(u32::from_be_bytes)
}

/// The `N` bytes at `at`, which every caller's layout holds; zeros otherwise.
pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Writes `data` at `at`; every caller's layout fits.
pub(crate) fn put(bytes: &mut [u8], at: usize, data: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + data.len()) {
        place.copy_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS];
        bytes[..3].copy_from_slice(&[BOOTREPLY, 1, 6]);
        put(&mut bytes, XID, &[1, 2, 3, 4]);
        put(&mut bytes, YIADDR, &[10, 0, 0, 7]);
        put(&mut bytes, GIADDR, &[10, 0, 0, 1]);
        put(&mut bytes, CHADDR, &[2, 0, 0, 0, 0, 9]);
        put(&mut bytes, COOKIE, &MAGIC);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn fields_and_options_are_read() {
        let options = [0, 12, 2, 65, 66, 53, 1, ACK, 51, 4, 0, 0, 14, 16, 54, 4, 10, 0, 0, 2, 255, 53, 1, 1];
        let read = Message::read(&message(&options)).unwrap();
        let expected = Message {
            op: BOOTREPLY,
            xid: 0x0102_0304,
            ciaddr: 0,
            yiaddr: 0x0a00_0007,
            giaddr: 0x0a00_0001,
            mac: [2, 0, 0, 0, 0, 9],
            kind: ACK,
            requested: None,
            lease_secs: Some(3600),
            server: Some(0x0a00_0002),
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn message_cut_anywhere_is_read_without_its_rest() {
        let whole = message(&[53, 1, OFFER, 54, 4, 10, 0, 0, 2, 255]);
        for length in 0..whole.len() {
            let read = Message::read(&whole[..length]);
            assert_eq!(read.is_some(), length >= OPTIONS, "{length} bytes");
            if length < OPTIONS + 9 {
                assert!(read.is_none_or(|read| read.server.is_none()), "{length} bytes");
            }
        }
    }

    #[test]
    fn what_is_no_dhcp_of_ethernet_is_nothing() {
        for place in [1, 2, COOKIE] {
            let mut bytes = message(&[255]);
            bytes[place] ^= 1;
            assert_eq!(Message::read(&bytes), None, "byte {place}");
        }
    }
}
