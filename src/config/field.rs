//! The fields that a class may look at: their names in a `match`, and which patterns make sense for each.
//!
//! A pattern that no packet can ever fit is refused: it would protect or select nothing, silently.

use figment::value::Value;
use serde_json::{Value as Json, json};

use super::identity::{MAC_EXAMPLE, exact_text};
use super::leaf::{Fault, Leaf, text, trimmed};
use super::model::Field;
use super::pattern::Pattern;
use super::tree::describe;

/// How a pattern is read from a value.
type Read = fn(&Value) -> Result<Pattern, Fault>;

/// The JSON Schema of one pattern.
pub(super) type Schema = fn() -> Json;

/// Every field with its name and its patterns, but for options by number.
pub(super) const FIELDS: [(&str, Field, Read, Schema); 10] = [
    ("mac", Field::Mac, mac, mac_schema),
    ("vendor-class", Field::VendorClass, plain, plain_schema),
    ("user-class", Field::UserClass, plain, plain_schema),
    ("client-id", Field::ClientId, client_id, plain_schema),
    ("hostname", Field::Hostname, plain, plain_schema),
    ("architecture", Field::Architecture, architecture, architecture_schema),
    ("circuit-id", Field::CircuitId, plain, plain_schema),
    ("remote-id", Field::RemoteId, plain, plain_schema),
    ("relay", Field::Relay, relay, relay_schema),
    ("interface", Field::Interface, plain, plain_schema),
];

/// Pairs of hex digits behind `0x`, for fields that have another form as text.
const HEX: &str = "0x(?::|\\*|\\?|[0-9A-Fa-f]:*[0-9A-Fa-f])+";

/// Any text, or hex digits behind `0x`.
pub(super) fn plain_schema() -> Json {
    json!({"type": "string", "minLength": 1, "pattern": format!("^(?:{HEX}|(?!0x)[\\s\\S]*)$")})
}

fn mac_schema() -> Json {
    let pattern = trimmed(&format!("{HEX}|[0-9A-Fa-f:*?-]+"));
    json!({"type": ["string", "integer"], "pattern": pattern})
}

fn architecture_schema() -> Json {
    let pattern = trimmed(&format!("{HEX}|[0-9*?]+"));
    json!({"type": ["integer", "string"], "minimum": 0, "maximum": 65535, "pattern": pattern})
}

fn relay_schema() -> Json {
    json!({"type": ["string", "number"], "pattern": trimmed(&format!("{HEX}|[0-9.*?]+"))})
}

/// A pattern for hardware addresses, for lists that may be divided at commas.
pub(super) struct MacPattern(pub(super) Pattern);

impl Leaf for MacPattern {
    fn read(value: &Value) -> Result<Self, Fault> {
        mac(value).map(Self)
    }

    fn schema() -> Json {
        mac_schema()
    }

    fn show(&self) -> Json {
        self.0.to_string().into()
    }
}

fn of_text(written: &str) -> Result<Pattern, Fault> {
    written.parse().map_err(|error: super::pattern::PatternError| Fault::new(error.to_string()))
}

/// Any pattern.
pub(super) fn plain(value: &Value) -> Result<Pattern, Fault> {
    of_text(&exact_text(value)?)
}

/// A pattern held against `00:11:22:33:44:55` or against the bytes themselves. Dashes are taken for colons.
fn mac(value: &Value) -> Result<Pattern, Fault> {
    let pattern = of_text(&text(value).unwrap_or_default().replace('-', ":"))?;
    if fits_macs(&pattern, 1..=16) {
        return Ok(pattern);
    }
    let fault = Fault::new(format!("{} fits no hardware address", describe(value)));
    Err(fault.with_hint(format!(
        "an address is written {MAC_EXAMPLE}, in hex digits; a pattern may be 00:11:22:*"
    )))
}

/// Whether the pattern fits a hardware address with so many bytes, at most 16.
pub(super) fn fits_macs(pattern: &Pattern, lengths: std::ops::RangeInclusive<u32>) -> bool {
    if pattern.is_hex() {
        return pattern.could_fit(*lengths.end(), |_, _| true, |end| lengths.contains(&end));
    }
    let allowed = |at: u32, byte: u8| if at % 3 == 2 { byte == b':' } else { byte.is_ascii_hexdigit() };
    let most = lengths.end() * 3 - 1;
    pattern.could_fit(most, allowed, |end| end % 3 == 2 && lengths.contains(&((end + 1) / 3)))
}

/// As [`plain`]; hex with colons, such as `01:00:11:*`, stands for the bytes too.
fn client_id(value: &Value) -> Result<Pattern, Fault> {
    let written = exact_text(value)?;
    let parts: Vec<&str> = written.split(':').collect();
    let is_pair = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_wild = |part: &str| ["*", "?", "??"].contains(&part);
    let is_hex = parts.len() > 1
        && parts.iter().any(|part| is_pair(part))
        && parts.iter().all(|part| is_pair(part) || is_wild(part));
    if !is_hex {
        return of_text(&written);
    }
    // Two question marks are two digits here, so one byte.
    let bytes: Vec<&str> = parts.into_iter().map(|part| if part == "??" { "?" } else { part }).collect();
    of_text(&format!("0x{}", bytes.join(":")))
}

/// A pattern held against a number of 16 bits, written in decimal without zeros in front (RFC 4578 §2.1).
fn architecture(value: &Value) -> Result<Pattern, Fault> {
    let given = text(value).unwrap_or_default();
    let number = given.bytes().all(|byte| byte.is_ascii_digit()).then(|| given.parse::<u64>().ok()).flatten();
    let pattern = of_text(&number.map_or(given, |number| number.to_string()))?;
    let fits = match number {
        Some(number) => u16::try_from(number).is_ok(),
        None if pattern.is_hex() => pattern.could_fit(2, |_, _| true, |end| end == 2),
        None => pattern.could_fit(5, |_, byte| byte.is_ascii_digit(), |end| end > 0),
    };
    if fits {
        return Ok(pattern);
    }
    let fault = Fault::new(format!("{} fits no architecture", describe(value)));
    Err(fault.with_hint("it is a number of RFC 4578: 0 is a PC with BIOS, 7 and 9 are 64-bit UEFI"))
}

/// A pattern held against `10.0.0.1` or against its four bytes.
fn relay(value: &Value) -> Result<Pattern, Fault> {
    let given = text(value).unwrap_or_default();
    let pattern = of_text(&given)?;
    let fits = if pattern.is_hex() {
        pattern.could_fit(4, |_, _| true, |end| end == 4)
    } else {
        let allowed = |_, byte: u8| byte == b'.' || byte.is_ascii_digit();
        given.matches('.').count() <= 3 && pattern.could_fit(15, allowed, |end| end >= 7)
    };
    if fits {
        return Ok(pattern);
    }
    let hint = match given
        .parse::<super::Network>()
        .map(|network| (network.prefix(), network.first().octets()))
    {
        Ok((24, [a, b, c, _])) => format!("write {a}.{b}.{c}.*"),
        Ok((16, [a, b, ..])) => format!("write {a}.{b}.*"),
        Ok((8, [a, ..])) => format!("write {a}.*"),
        _ => "it is held against the relay's address in dotted form, such as 10.0.0.1 or 10.0.*".to_owned(),
    };
    Err(Fault::new(format!("{} fits no address of a relay", describe(value))).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(read: Read, value: impl Into<Value>) -> (String, String) {
        let fault = read(&value.into()).unwrap_err();
        (fault.reason, fault.hint.unwrap_or_default())
    }

    fn written(read: Read, value: impl Into<Value>) -> String {
        read(&value.into()).unwrap().to_string()
    }

    #[test]
    fn patterns_that_fit_some_hardware_address_are_accepted() {
        for good in
            ["*", "66:66:*", "AA:bb:cc:dd:ee:ff", "*:55", "0?:11:*", "0x0011*", "*66*", "??:*", "0x??"]
        {
            assert!(mac(&good.into()).is_ok(), "{good}");
        }
        assert_eq!(written(mac, "66-66-*"), "66:66:*");
        assert!(mac(&"aa:*".into()).unwrap().fits_any_case(b"AA:BB"));
    }

    #[test]
    fn patterns_that_fit_no_hardware_address_are_refused() {
        let hint = "an address is written 00:11:22:33:44:55, in hex digits; a pattern may be 00:11:22:*";
        for wrong in [
            "zz:*",
            "6:66:*",
            "0011*",
            "66.66.*",
            "66:66:",
            ":*",
            "?",
            "0x00112233445566778899aabbccddeeff00",
        ] {
            assert_eq!(fault(mac, wrong), (format!("\"{wrong}\" fits no hardware address"), hint.to_owned()));
        }
        assert_eq!(fault(mac, "").0, "the pattern is empty");
        assert_eq!(fault(mac, "0xzz").0, "\"0xzz\" is not a pattern of hex digits in pairs, such as 0x0102*");
    }

    #[test]
    fn lengths_of_hardware_addresses_that_fit_are_known() {
        let six = |text: &str| fits_macs(&text.parse().unwrap(), 6..=6);
        assert!(six("66:66:*") && six("0x66*") && six("0x??????") && six("*:66"));
        assert!(!six("66:66") && !six("0x6666") && !six("00:11:22:33:44:55:66:*"));
    }

    #[test]
    fn hex_with_colons_is_the_bytes_of_a_client_identifier() {
        assert_eq!(written(client_id, "01:00:11:*"), "0x01:00:11:*");
        assert_eq!(written(client_id, "01:??:11"), "0x01:?:11");
        for text in ["*", "host-*", "a:b", "*:*", "01"] {
            assert_eq!(written(client_id, text), text, "is text");
        }
        assert!(client_id(&"01:00:*".into()).unwrap().fits(&[1, 0, 9, 9]));
    }

    #[test]
    fn architectures_are_numbers() {
        assert_eq!((written(architecture, 7), written(architecture, "00007")), ("7".into(), "7".into()));
        for good in ["0x0007", "1?", "*"] {
            assert_eq!(written(architecture, good), good);
        }
        for wrong in ["efi", "65536", "7 ,", "0x07", "123456*"] {
            assert_eq!(fault(architecture, wrong).0, format!("\"{wrong}\" fits no architecture"));
        }
    }

    #[test]
    fn relays_are_dotted_addresses() {
        for good in ["10.0.0.1", "10.0.*", "*", "0x0a00*", "10.0.0.?"] {
            assert_eq!(written(relay, good), good);
        }
        for (wrong, hint) in [
            ("10.0.0.0/24", "write 10.0.0.*"),
            ("10.1.0.0/16", "write 10.1.*"),
            ("10.0.0.0/8", "write 10.*"),
            ("10.0.0", "it is held against the relay's address in dotted form, such as 10.0.0.1 or 10.0.*"),
        ] {
            assert_eq!(
                fault(relay, wrong),
                (format!("\"{wrong}\" fits no address of a relay"), hint.to_owned())
            );
        }
        assert!(relay(&"10.0.0.0.*".into()).is_err());
    }

    #[test]
    fn numbers_where_text_is_meant_must_be_quoted() {
        let hint = "write it in quotes: unquoted, 0x102 and 258 are numbers to YAML";
        assert_eq!(fault(plain, 5), ("5 is not text".to_owned(), hint.to_owned()));
        assert_eq!(written(plain, "5"), "5");
    }
}
