//! How a pattern is held against a field of a message: hex patterns against the bytes, text patterns against what an
//! administrator would write. Shared by the classes and the security stage; allocates nothing.

use crate::config::pattern::Pattern;

/// Bytes of the longest field whose colon-hex form is looked at: a client-id may be 255 bytes, a hardware address 16.
const LONGEST: usize = 255;

/// A field of bytes, upper and lower case being different.
pub(super) fn bytes(pattern: &Pattern, field: &[u8]) -> bool {
    pattern.fits(field)
}

/// A field of text that people write in any case: a host name.
pub(super) fn any_case(pattern: &Pattern, field: &[u8]) -> bool {
    if pattern.is_hex() { pattern.fits(field) } else { pattern.fits_any_case(field) }
}

/// A field that people write as `00:11:22`, in any case; an empty one fits nothing.
pub(super) fn colons(pattern: &Pattern, field: &[u8]) -> bool {
    if field.is_empty() {
        return false;
    }
    if pattern.is_hex() {
        return pattern.fits(field);
    }
    let fits = |text: &mut [u8]| written(field, text).is_some_and(|text| pattern.fits_any_case(text));
    // A hardware address has 16 bytes at most: every packet comes by here, and clearing the room takes time.
    if field.len() <= 16 { fits(&mut [0; 16 * 3]) } else { fits(&mut [0; LONGEST * 3]) }
}

/// A field whose bytes have a written form of their own: an address in dots, a number.
pub(super) fn either(pattern: &Pattern, field: &[u8], text: impl std::fmt::Display) -> bool {
    if pattern.is_hex() {
        return pattern.fits(field);
    }
    // The longest is 255.255.255.255.
    let mut written = [0_u8; 15];
    let mut rest = &mut written[..];
    if std::io::Write::write_fmt(&mut rest, format_args!("{text}")).is_err() {
        return false;
    }
    let left = rest.len();
    written.get(..written.len() - left).is_some_and(|text| pattern.fits(text))
}

/// `00:11:22` of the bytes; none where they are longer than there is room for.
fn written<'t>(field: &[u8], text: &'t mut [u8]) -> Option<&'t [u8]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied();
    let (cells, _) = text.as_chunks_mut::<3>();
    if field.len() > cells.len() {
        return None;
    }
    for (byte, cell) in field.iter().zip(cells) {
        *cell = [digit(byte >> 4)?, digit(byte & 0xf)?, b':'];
    }
    // Without the last colon.
    text.get(..(field.len() * 3).checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn colon_patterns_are_held_against_pairs_in_any_case() {
        let mac = [0x00, 0x1a, 0xFF];
        for fits in ["00:1a:ff", "00:1A:FF", "00:*", "*:ff", "00:1?:ff", "0x001aff", "0x00*"] {
            assert!(colons(&pattern(fits), &mac), "{fits}");
        }
        for fails in ["00:1a", "00:1a:ff:", "1a:*", "0x001a", "001aff"] {
            assert!(!colons(&pattern(fails), &mac), "{fails}");
        }
        for any in ["*", "0x*"] {
            assert!(!colons(&pattern(any), &[]), "an empty field fits nothing");
        }
    }

    #[test]
    fn fields_of_any_length_are_written_or_left_out() {
        assert!(colons(&pattern("aa:*:aa"), &[0xaa; LONGEST]));
        assert!(!colons(&pattern("*"), &[0xaa; LONGEST + 1]));
    }

    #[test]
    fn a_number_fits_by_its_digits_or_by_its_bytes() {
        assert!(either(&pattern("7"), &[0, 7], 7));
        assert!(either(&pattern("0x0007"), &[0, 7], 7));
        assert!(!either(&pattern("07"), &[0, 7], 7));
        let relay = Ipv4Addr::BROADCAST;
        assert!(either(&pattern("255.*.255"), &relay.octets(), relay));
    }
}
