//! Option 81, the client's full name (RFC 4702): only its host part is read here.
//!
//! ```text
//! +-------+--------+--------+-------------------------------------------+
//! | flags | RCODE1 | RCODE2 | name: DNS labels where flags & 4, else ASCII |
//! +-------+--------+--------+-------------------------------------------+
//! ```

/// The E flag (RFC 4702 §2.1): the name is in DNS wire format.
const WIRE_FORMAT: u8 = 0x04;

/// The first label of the name, as sent; none where there is none.
pub(super) fn host_part(option: &[u8]) -> Option<&[u8]> {
    let (flags, name) = (option.first()?, option.get(3..)?);
    let label = if flags & WIRE_FORMAT == 0 {
        name.split(|&byte| byte == b'.' || byte == 0).next()?
    } else {
        let (&length, rest) = name.split_first()?;
        // Above 63 it is no label (RFC 1035 §3.1).
        if length > 63 {
            return None;
        }
        rest.get(..usize::from(length))?
    };
    (!label.is_empty()).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_label_is_read_in_both_encodings() {
        assert_eq!(host_part(b"\x01\0\0box.example.org"), Some(&b"box"[..]));
        assert_eq!(host_part(b"\x05\0\0\x03box\x07example\0"), Some(&b"box"[..]));
    }

    #[test]
    fn empty_or_broken_names_are_none() {
        for option in
            [&b""[..], b"\x04\0\0", b"\x04\0\0\x09box", b"\x04\0\0\xc0\x0c", b"\0\0\0", b"\0\0\0.org"]
        {
            assert_eq!(host_part(option), None);
        }
    }
}
