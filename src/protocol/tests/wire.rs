//! A decoder and a builder of packets for tests, written from RFC 2131 figure 1 and sharing no code with the
//! parser or dhcproto. It panics where a packet is not exactly what the RFCs demand.

use std::net::Ipv4Addr;

/// A packet, field by field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) op: u8,
    pub(crate) htype: u8,
    pub(crate) hlen: u8,
    pub(crate) hops: u8,
    pub(crate) xid: u32,
    pub(crate) secs: u16,
    pub(crate) flags: u16,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) siaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) chaddr: [u8; 16],
    pub(crate) sname: Vec<u8>,
    pub(crate) file: Vec<u8>,
    /// As they stand on the wire, pieces apart, those of overloaded fields behind the others.
    pub(crate) options: Vec<(u8, Vec<u8>)>,
}

impl Wire {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 300, "shorter than BOOTP allows: {}", bytes.len());
        let ip = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        assert_eq!(bytes[236..240], [0x63, 0x82, 0x53, 0x63], "magic cookie");
        let mut options = options(&bytes[240..]);
        let overload = options.iter().find(|(code, _)| *code == 52).map_or(0, |(_, data)| data[0]);
        assert!(overload <= 3, "option 52 says {overload}");
        if overload & 1 != 0 {
            options.extend(self::options(&bytes[108..236]));
        }
        if overload & 2 != 0 {
            options.extend(self::options(&bytes[44..108]));
        }
        let text = |field: &[u8], bit: u8| {
            if overload & bit != 0 {
                return Vec::new();
            }
            let end = field.iter().position(|byte| *byte == 0).expect("field without NUL");
            field[..end].to_vec()
        };
        Self {
            op: bytes[0],
            htype: bytes[1],
            hlen: bytes[2],
            hops: bytes[3],
            xid: u32::from_be_bytes(bytes[4..8].try_into().unwrap()),
            secs: u16::from_be_bytes(bytes[8..10].try_into().unwrap()),
            flags: u16::from_be_bytes(bytes[10..12].try_into().unwrap()),
            ciaddr: ip(12),
            yiaddr: ip(16),
            siaddr: ip(20),
            giaddr: ip(24),
            chaddr: bytes[28..44].try_into().unwrap(),
            sname: text(&bytes[44..108], 2),
            file: text(&bytes[108..236], 1),
            options,
        }
    }

    /// The codes in their order on the wire.
    pub(crate) fn codes(&self) -> Vec<u8> {
        self.options.iter().map(|(code, _)| *code).collect()
    }

    /// An option, its pieces joined.
    pub(crate) fn option(&self, code: u8) -> Option<Vec<u8>> {
        let pieces: Vec<_> = self.options.iter().filter(|(found, _)| *found == code).collect();
        (!pieces.is_empty()).then(|| pieces.into_iter().flat_map(|(_, data)| data.clone()).collect())
    }
}

/// The options of a field up to its end option, behind which is padding only (RFC 2131 §4.1).
fn options(field: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut options = Vec::new();
    let mut at = 0;
    loop {
        match field[at] {
            0 => at += 1,
            255 => break,
            code => {
                let length = usize::from(field[at + 1]);
                options.push((code, field[at + 2..at + 2 + length].to_vec()));
                at += 2 + length;
            }
        }
    }
    assert!(field[at + 1..].iter().all(|byte| *byte == 0), "something behind the end option");
    options
}

/// A client's packet: op 1, Ethernet 02:00:00:00:00:01, xid `0x01020304`, the cookie, then these bytes.
pub(crate) fn request(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
    bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    bytes[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    bytes.extend_from_slice(options);
    bytes
}
