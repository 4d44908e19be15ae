//! What the RFCs after 2132 added to a message, read from [`DhcpMessage`]. Where an option is not as its RFC has it,
//! it is read as far as that makes sense, or counts as absent: none of these decides about the lease.

use std::net::Ipv4Addr;

use super::message::{DhcpMessage, code};

/// RFC 4578 §2.1.
const CLIENT_ARCHITECTURE: u8 = 93;

impl DhcpMessage<'_> {
    /// Option 77 in its parts (RFC 3004 §4: each behind its length, at least one byte). Many clients send one text
    /// without lengths: what does not divide so, is one part as a whole. Nothing where the option is absent or empty.
    pub fn user_class_parts(&self) -> impl Iterator<Item = &[u8]> {
        let whole = self.user_class().unwrap_or_default();
        let divided = divides(whole);
        let mut rest = whole;
        std::iter::from_fn(move || {
            let (part, tail) = if divided { part(rest)? } else { (rest, &[][..]) };
            rest = tail;
            (!part.is_empty()).then_some(part)
        })
    }

    /// Option 93, the architectures that a PXE client boots (RFC 4578 §2.1: 0 BIOS, 7 and 9 UEFI x64, 11 UEFI ARM
    /// 64, …). A single byte at the end is no number.
    pub fn architectures(&self) -> impl Iterator<Item = u16> {
        let (pairs, _) = self.option(CLIENT_ARCHITECTURE).unwrap_or_default().as_chunks::<2>();
        pairs.iter().map(|pair| u16::from_be_bytes(*pair))
    }

    /// Option 81 as sent; see [`super::fqdn::answer`].
    pub fn fqdn(&self) -> Option<&[u8]> {
        self.option(code::FQDN)
    }

    /// Option 118, an address of the subnet that the client wants (RFC 3011 §2); 0.0.0.0 is none.
    pub fn subnet_selection(&self) -> Option<Ipv4Addr> {
        self.address(code::SUBNET_SELECTION).filter(|address| !address.is_unspecified())
    }

    /// Option 80: the client takes an ACK in answer to its DISCOVER (RFC 4039 §4). Its length, which must be 0, is not
    /// looked at: what it says is that it is there.
    pub fn rapid_commit(&self) -> bool {
        self.option(code::RAPID_COMMIT).is_some()
    }

    /// Option 116: the client asks whether it may choose an address by itself (RFC 2563 §2.1: 0 no, 1 yes).
    pub fn auto_configure(&self) -> Option<u8> {
        match self.option(code::AUTO_CONFIGURE) {
            Some([value]) => Some(*value),
            _ => None,
        }
    }
}

fn divides(mut bytes: &[u8]) -> bool {
    while let Some((first, rest)) = part(bytes) {
        if first.is_empty() {
            return false;
        }
        bytes = rest;
    }
    bytes.is_empty()
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::super::tests::wire::request;
    use super::*;
    use crate::protocol::DhcpParser;

    fn parts(option: &[u8]) -> Vec<Vec<u8>> {
        let length = u8::try_from(option.len()).unwrap();
        let bytes = request(&[&[53, 1, 1, 77, length][..], option].concat());
        DhcpParser::parse(&bytes).unwrap().user_class_parts().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn a_user_class_has_parts_or_is_one() {
        assert_eq!(parts(b"\x03abc\x01d"), [b"abc".to_vec(), b"d".to_vec()]);
        assert_eq!(parts(b"iPXE"), [b"iPXE".to_vec()]);
        assert_eq!(parts(b"\x03abc\x09d"), [b"\x03abc\x09d".to_vec()]);
        assert_eq!(parts(b"\x01a\0"), [b"\x01a\0".to_vec()], "a part has at least one byte");
        assert!(parts(b"").is_empty());
        let bytes = request(&[53, 1, 1]);
        assert_eq!(DhcpParser::parse(&bytes).unwrap().user_class_parts().count(), 0);
    }

    #[test]
    fn options_of_later_rfcs_are_read() {
        let bytes = request(&[
            53, 1, 1, 93, 5, 0, 7, 0, 9, 1, 81, 4, 1, 0, 0, b'x', 118, 4, 10, 0, 0, 0, 80, 0, 116, 1, 1,
        ]);
        let message = DhcpParser::parse(&bytes).unwrap();
        assert_eq!(message.architectures().collect::<Vec<_>>(), [7, 9]);
        assert_eq!(message.fqdn(), Some(&[1, 0, 0, b'x'][..]));
        assert_eq!(message.subnet_selection(), Some(Ipv4Addr::new(10, 0, 0, 0)));
        assert_eq!((message.rapid_commit(), message.auto_configure()), (true, Some(1)));
    }

    #[test]
    fn what_is_absent_or_broken_is_none() {
        for options in [&[53, 1, 1][..], &[53, 1, 1, 93, 1, 7, 118, 3, 10, 0, 0, 116, 2, 1, 1]] {
            let bytes = request(options);
            let message = DhcpParser::parse(&bytes).unwrap();
            assert_eq!(message.architectures().count(), 0);
            assert_eq!((message.subnet_selection(), message.auto_configure()), (None, None));
            assert!(!message.rapid_commit());
        }
        let bytes = request(&[53, 1, 1, 118, 4, 0, 0, 0, 0]);
        assert_eq!(DhcpParser::parse(&bytes).unwrap().subnet_selection(), None);
    }
}
