//! Domain names on the wire (RFC 1035 §3.1), with compression where an option wants it (§4.1.4, RFC 3397 §2).

/// The names one after the other. On error: the name that is none.
pub(in crate::protocol) fn encode<'n>(names: &[&'n str], compress: bool) -> Result<Vec<u8>, &'n str> {
    let mut out = Vec::new();
    // Where a tail of a name was written: the tail in lower case, its offset.
    let mut tails: Vec<(String, u16)> = Vec::new();
    for &name in names {
        let bare = name.strip_suffix('.').unwrap_or(name);
        if !is_name(bare) {
            return Err(name);
        }
        let mut rest = Some(bare);
        let mut pointer = None;
        while let Some(tail) = rest {
            let lower = tail.to_ascii_lowercase();
            pointer = tails.iter().find(|(known, _)| compress && *known == lower).map(|(_, at)| *at);
            if pointer.is_some() {
                break;
            }
            // A pointer has 14 bits; what lies beyond cannot be pointed at.
            if let Some(at) = u16::try_from(out.len()).ok().filter(|at| *at < 0x4000) {
                tails.push((lower, at));
            }
            let (label, next) =
                tail.split_once('.').map_or((tail, None), |(label, next)| (label, Some(next)));
            out.push(u8::try_from(label.len()).map_err(|_| name)?);
            out.extend(label.as_bytes());
            rest = next;
        }
        match pointer {
            Some(at) => out.extend((0xc000 | at).to_be_bytes()),
            None => out.push(0),
        }
    }
    Ok(out)
}

/// The names that were written one after the other, pointers followed; none where it is not a list of names.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (name, end) = one(bytes, at)?;
        names.push(name);
        at = end;
    }
    (!names.is_empty()).then_some(names)
}

/// The name that begins at `at`, and where the next one does.
fn one(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut labels, mut end) = (Vec::new(), None);
    let mut began = at;
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some((labels.join("."), end.unwrap_or(at + 1))),
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + length)?;
                labels.push(std::str::from_utf8(label).ok().filter(|label| is_label(label))?);
                at += 1 + length;
            }
            0xc0.. => {
                let target = (length & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
                end = end.or(Some(at + 2));
                // Before the labels that led here (RFC 1035 §4.1.4: "a prior occurrence"): they cannot come again.
                at = Some(target).filter(|target| *target < began)?;
                began = at;
            }
            _ => return None,
        }
    }
}

/// Whether a text without a dot at its end is a name: labels of 1 to 63 bytes, 253 in all.
pub(in crate::protocol) fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_tails_are_written_once() {
        // The example of RFC 3397 §2 in spirit: the second name points into the first.
        let bytes = encode(&["eng.apple.com.", "marketing.apple.com"], true).unwrap();
        assert_eq!(bytes, b"\x03eng\x05apple\x03com\0\x09marketing\xc0\x04");
    }

    #[test]
    fn pointers_are_followed_backwards_and_never_in_a_circle() {
        let three = b"\x01c\0\x01b\xc0\x00\x01a\xc0\x03";
        assert_eq!(decode(three), Some(["c", "b.c", "a.b.c"].map(str::to_owned).to_vec()));
        // To itself, to labels that lead to it, to what comes after it.
        for circle in [&b"\xc0\x00"[..], b"\x03abc\xc0\x00", b"\x01a\xc0\x05\0\x01b\0"] {
            assert_eq!(decode(circle), None, "{circle:?}");
        }
    }

    #[test]
    fn without_compression_every_name_is_whole() {
        let bytes = encode(&["a.b", "c.b"], false).unwrap();
        assert_eq!(bytes, b"\x01a\x01b\0\x01c\x01b\0");
    }

    #[test]
    fn what_is_no_name_is_returned() {
        let long = "x".repeat(64);
        for name in ["", ".", "a..b", "a b.org", long.as_str()] {
            assert_eq!(encode(&["ok.org", name], true), Err(name));
        }
    }
}
