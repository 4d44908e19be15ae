//! Option 81, the client's full name (RFC 4702): its host part, and the answer to it. No DNS update is ever made.
//!
//! ```text
//! +-------+--------+--------+--------------------------------------------+
//! | flags | RCODE1 | RCODE2 | name: DNS labels where flags & 4, else ASCII |
//! +-------+--------+--------+--------------------------------------------+
//! flags: 0 0 0 0 N E O S
//! ```

use super::options::names;

/// The flags of RFC 4702 §2.1. S: the server updates the A record.
const S: u8 = 0x01;
/// O: the server has overridden the client's S.
const O: u8 = 0x02;
/// E: the name is in DNS wire format.
const E: u8 = 0x04;
/// N: the server makes no update at all.
const N: u8 = 0x08;
/// §2.2: the RCODE fields are deprecated; servers SHOULD send 255.
const RCODE: u8 = 255;
/// The longest name without its root label (RFC 1035 §3.1: 255 bytes on the wire).
const NAME_BYTES: usize = 253;

/// The first label of the name, as sent; none where there is none.
pub(super) fn host_part(option: &[u8]) -> Option<&[u8]> {
    let (flags, name) = (option.first()?, option.get(3..)?);
    let label = if flags & E == 0 {
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

/// What a server that makes no DNS updates answers to a client's option 81 (RFC 4702 §4). None where the client's is
/// malformed: nothing is said of it then.
///
/// E is copied, so the name is in the encoding that the client reads (§2.3.1 has a server answer ASCII in ASCII). N is
/// set, S is not (§4: MUST), O tells a client that had set S of it. A partial name is completed by `suffix`; an empty
/// one, by which a client asks for a name, is replaced by `hostname`, likewise completed; without these it stays as it
/// is. A name that would become too long for DNS is left as the client sent it.
pub fn answer(request: &[u8], suffix: Option<&str>, hostname: Option<&str>) -> Option<Vec<u8>> {
    let (&flags, sent) = (request.first()?, request.get(3..)?);
    let wire = flags & E != 0;
    let client = if wire { Name::from_wire(sent)? } else { Name::from_ascii(sent)? };
    let base = match hostname {
        Some(hostname) if client.text.is_empty() => {
            Name::from_ascii(hostname.as_bytes()).unwrap_or(client.clone())
        }
        _ => client.clone(),
    };
    let overridden = if flags & S == 0 { 0 } else { O };
    let mut answer = vec![N | overridden | flags & E, RCODE, RCODE];
    let completed = base.completed(suffix).unwrap_or(base);
    answer.extend(if wire { completed.to_wire()? } else { completed.to_ascii() });
    Some(answer)
}

/// A name, its labels separated by dots, and whether it is whole: ends at the root.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    text: String,
    whole: bool,
}

impl Name {
    /// §2.3.1: ASCII cannot tell partial names from whole ones, so one with a dot in it counts as whole. Some clients
    /// end it with a NUL (RFC 2132 §2).
    fn from_ascii(bytes: &[u8]) -> Option<Self> {
        let bytes = super::message::without_nul(bytes);
        let text = std::str::from_utf8(bytes).ok()?;
        let bare = text.strip_suffix('.').unwrap_or(text);
        if !bare.is_empty() && !names::is_name(bare) || bare.is_empty() && !text.is_empty() {
            return None;
        }
        Some(Self { text: text.to_owned(), whole: text.contains('.') })
    }

    /// §2.3.1: a partial name lacks the root label. Compression has no place here (nothing to point at).
    fn from_wire(bytes: &[u8]) -> Option<Self> {
        let mut labels = Vec::new();
        let mut rest = bytes;
        while let Some((&length, tail)) = rest.split_first() {
            if length == 0 {
                // A root label alone is no name, and behind it there is nothing.
                let text = labels.join(".");
                return (tail.is_empty() && names::is_name(&text)).then_some(Self { text, whole: true });
            }
            let (label, tail) = tail.split_at_checked(usize::from(length))?;
            let label = std::str::from_utf8(label).ok()?;
            if length > 63 || label.contains('.') {
                return None;
            }
            labels.push(label);
            rest = tail;
        }
        let text = labels.join(".");
        (labels.is_empty() || names::is_name(&text)).then_some(Self { text, whole: false })
    }

    /// With the suffix behind a partial name; none where there is nothing to do or the outcome is no name.
    fn completed(&self, suffix: Option<&str>) -> Option<Self> {
        let suffix = suffix?.trim_matches('.');
        if self.whole || self.text.is_empty() || suffix.is_empty() {
            return None;
        }
        let text = format!("{}.{suffix}", self.text);
        (text.len() <= NAME_BYTES && names::is_name(&text)).then_some(Self { text, whole: true })
    }

    fn to_ascii(&self) -> Vec<u8> {
        self.text.clone().into_bytes()
    }

    fn to_wire(&self) -> Option<Vec<u8>> {
        if self.text.is_empty() {
            return Some(Vec::new());
        }
        let mut bytes = names::encode(&[&self.text], false).ok()?;
        if !self.whole {
            bytes.pop();
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUFFIX: Option<&str> = Some("example.org");

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

    #[test]
    fn no_update_is_promised_and_the_encoding_copied() {
        for (flags, expected) in [(0, 8), (1, 8 | 2), (4, 8 | 4), (5, 8 | 4 | 2), (8, 8), (0xf9, 8 | 2)] {
            let name: &[u8] = if flags & 4 == 0 { b"a.b" } else { b"\x01a\x01b\0" };
            let answered = answer(&[&[flags, 0, 0], name].concat(), SUFFIX, None).unwrap();
            assert_eq!(answered, [&[expected, 255, 255], name].concat(), "{flags}");
        }
    }

    #[test]
    fn a_partial_name_is_completed_where_there_is_a_suffix() {
        let name = |request: &[u8], suffix| answer(request, suffix, Some("unused")).unwrap().split_off(3);
        assert_eq!(name(b"\0\0\0box", SUFFIX), b"box.example.org");
        assert_eq!(name(b"\0\0\0box\0", Some(".example.org.")), b"box.example.org");
        assert_eq!(name(b"\0\0\0box", None), b"box");
        assert_eq!(name(b"\0\0\0box.org", SUFFIX), b"box.org");
        assert_eq!(name(b"\0\0\0box.", SUFFIX), b"box.");
        assert_eq!(name(b"\x04\0\0\x03box", SUFFIX), b"\x03box\x07example\x03org\0");
        assert_eq!(name(b"\x04\0\0\x03box", None), b"\x03box");
        assert_eq!(name(b"\x04\0\0\x03box\0", SUFFIX), b"\x03box\0");
        assert_eq!(name(b"\x04\0\0\x03box\x01x", SUFFIX), b"\x03box\x01x\x07example\x03org\0");
    }

    #[test]
    fn an_empty_name_asks_for_one() {
        let name =
            |request: &[u8], hostname| answer(request, SUFFIX, hostname).map(|mut all| all.split_off(3));
        assert_eq!(name(b"\0\0\0", Some("printer")), Some(b"printer.example.org".to_vec()));
        assert_eq!(name(b"\x04\0\0", Some("printer")), Some(b"\x07printer\x07example\x03org\0".to_vec()));
        assert_eq!(name(b"\x04\0\0", Some("a.net")), Some(b"\x01a\x03net\0".to_vec()));
        assert_eq!(name(b"\0\0\0", None), Some(vec![]));
        assert_eq!(name(b"\x04\0\0", Some("no name")), Some(vec![]));
    }

    #[test]
    fn a_malformed_option_is_not_answered() {
        for request in [
            &b""[..],
            b"\0\0",
            b"\0\0\0a..b",
            b"\0\0\0.",
            b"\0\0\0a b",
            b"\0\0\0\xff",
            b"\x04\0\0\0",
            b"\x04\0\0\x03bo",
            b"\x04\0\0\xc0\x0c",
            b"\x04\0\0\x03box\0x",
            b"\x04\0\0\x03b.x",
        ] {
            assert_eq!(answer(request, SUFFIX, Some("printer")), None, "{request:?}");
        }
    }

    #[test]
    fn what_would_be_too_long_stays_as_it_was_sent() {
        let label = "x".repeat(63);
        let request = [&b"\0\0\0"[..], label.as_bytes()].concat();
        let suffix = [label.as_str(), &label, &label].join(".");
        assert_eq!(answer(&request, Some(&suffix), None).unwrap()[3..], *label.as_bytes());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_answers_are_read_back(
            request in proptest::collection::vec(any::<u8>(), 0..40),
            label in "[a-z]{1,63}",
            wire: bool,
        ) {
            let _ = answer(&request, SUFFIX, Some("printer"));
            let name = if wire { [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat() } else { label.clone().into_bytes() };
            let request = [&[if wire { 4 } else { 0 }, 0, 0], name.as_slice()].concat();
            let first = answer(&request, SUFFIX, None).unwrap();
            prop_assert_eq!(host_part(&first), Some(label.as_bytes()));
            prop_assert_eq!(answer(&first, SUFFIX, None).unwrap(), first);
        }
    }
}
