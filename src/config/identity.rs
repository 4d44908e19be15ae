//! What names a client or its place, as values: hardware addresses, identifiers of bytes, host and domain names.
//!
//! Knows types, no keys; used by the readers of hosts, classes and security.

use std::fmt;

use figment::value::Value;
use serde_json::{Value as Json, json};

use super::leaf::{Fault, Leaf, text, trimmed};
use super::tree::describe;

/// Most bytes of a hardware address (`chaddr`, RFC 2131 §2).
const LONGEST_MAC: usize = 16;

/// Most bytes of an option or sub-option that is not split (RFC 2132 §2).
const LONGEST_ID: usize = 255;

/// How a hardware address is written.
pub(super) const MAC_EXAMPLE: &str = "00:11:22:33:44:55";

/// A hardware address of 1 to 16 bytes, with colons or dashes.
pub(super) struct Mac(pub(super) Vec<u8>);

impl Leaf for Mac {
    fn read(value: &Value) -> Result<Self, Fault> {
        let given = text(value).unwrap_or_default().to_ascii_lowercase();
        let guess = guess(&given);
        match guess {
            Some(bytes) if with_colons(&bytes) == given.replace('-', ":") && !is_mixed(&given) => {
                Ok(Self(bytes))
            }
            Some(bytes) => Err(Fault::is_not(value, "a hardware address")
                .with_hint(format!("write it as \"{}\"", with_colons(&bytes)))),
            None => {
                let what = format!("a hardware address of 1 to {LONGEST_MAC} bytes");
                Err(Fault::is_not(value, &what).with_hint(format!("write it as \"{MAC_EXAMPLE}\"")))
            }
        }
    }

    /// One byte of two digits is a number to YAML.
    fn schema() -> Json {
        let pattern = trimmed("[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){0,15}");
        json!({"type": ["string", "integer"], "minimum": 10, "maximum": 99, "pattern": pattern})
    }

    fn show(&self) -> Json {
        with_colons(&self.0).into()
    }
}

fn is_mixed(given: &str) -> bool {
    given.contains(':') && given.contains('-')
}

/// The bytes that are most likely meant, in whatever way other programs write them: `0:1:…`, `0011.2233.4455`,
/// `001122334455`.
fn guess(given: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = given.trim_start_matches("0x").split([':', '-', '.', ' ']).collect();
    let short = parts.len() > 1 && parts.iter().all(|part| part.len() <= 2);
    let bytes: Option<Vec<u8>> =
        if short { parts.iter().map(|part| hex_byte(part)).collect() } else { hex_pairs(&parts.concat()) };
    bytes.filter(|bytes| (1..=LONGEST_MAC).contains(&bytes.len()))
}

fn hex_byte(digits: &str) -> Option<u8> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

fn hex_pairs(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| hex_byte(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?);
    digits.as_bytes().chunks(2).map(pair).collect()
}

/// Bytes as `00:11:22`.
pub fn with_colons(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    // Writing to a string cannot fail.
    let _ = hex_with_colons(bytes, &mut text);
    text
}

/// Writes bytes as `00:11:22`.
pub fn hex_with_colons(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Sixteen bytes at a time: a hardware address, which every log line of a lease has, goes out in one piece.
    for (part, bytes) in bytes.chunks(16).enumerate() {
        let mut text = [b':'; 16 * 3];
        for (cell, byte) in text.as_chunks_mut::<3>().0.iter_mut().zip(bytes) {
            // Half a byte is below 16.
            cell[1] = DIGITS[usize::from(byte >> 4)];
            cell[2] = DIGITS[usize::from(byte & 0xf)];
        }
        // No colon before the first.
        let written = text.get(usize::from(part == 0)..bytes.len() * 3).unwrap_or_default();
        f.write_str(std::str::from_utf8(written).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

/// The text of a value whose exact characters count. YAML has turned numbers and words such as `true` into something
/// else already, so they must be quoted.
pub(super) fn exact_text(value: &Value) -> Result<String, Fault> {
    match value {
        Value::String(_, text) => Ok(text.clone()),
        Value::Char(_, letter) => Ok(letter.to_string()),
        Value::Num(..) | Value::Bool(..) => Err(Fault::is_not(value, "text")
            .with_hint(format!("write it in quotes: unquoted, 0x102 and {0} are numbers to YAML", 258))),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => Err(Fault::is_not(value, "text")),
    }
}

/// A client identifier (option 61): hex with colons or behind `0x`, else text.
pub(super) struct ClientId(pub(super) Vec<u8>);

impl Leaf for ClientId {
    fn read(value: &Value) -> Result<Self, Fault> {
        let given = exact_text(value)?;
        let pairs: Option<Vec<u8>> =
            given.split(':').map(|pair| hex_byte(pair).filter(|_| pair.len() == 2)).collect();
        match pairs {
            Some(bytes) if bytes.len() > 1 => checked(bytes),
            _ => hex_or_text(&given),
        }
        .map(Self)
    }

    fn schema() -> Json {
        identifier()
    }

    fn show(&self) -> Json {
        let is_read_so = |text: &str| Self::read(&text.into()).is_ok_and(|read| read.0 == self.0);
        text_or_hex(&self.0, is_read_so)
    }
}

/// A circuit-id or remote-id (option 82): hex behind `0x`, else text.
pub(super) struct AgentId(pub(super) Vec<u8>);

impl Leaf for AgentId {
    fn read(value: &Value) -> Result<Self, Fault> {
        hex_or_text(&exact_text(value)?).map(Self)
    }

    fn schema() -> Json {
        identifier()
    }

    fn show(&self) -> Json {
        let is_read_so = |text: &str| Self::read(&text.into()).is_ok_and(|read| read.0 == self.0);
        text_or_hex(&self.0, is_read_so)
    }
}

/// Hex behind `0x` or with colons, else text: only text that is empty is no identifier for certain.
fn identifier() -> Json {
    json!({"type": "string", "minLength": 1, "pattern": "^(?:0x(?:[:0-9A-Fa-f]*)|(?!0x)[\\s\\S]*)$"})
}

/// As text where it is plain text and is read as the same bytes, else as hex.
fn text_or_hex(bytes: &[u8], is_read_so: impl Fn(&str) -> bool) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) && is_read_so(text) => text.into(),
        Ok(_) | Err(_) => format!("0x{}", with_colons(bytes)).into(),
    }
}

fn hex_or_text(given: &str) -> Result<Vec<u8>, Fault> {
    let Some(digits) = given.strip_prefix("0x") else { return checked(given.as_bytes().to_vec()) };
    let wrong = || {
        Fault::new(format!("\"{}\" is not hex digits in pairs behind 0x", given.escape_debug()))
            .with_hint("for example \"0x0a0b\"")
    };
    hex_pairs(&digits.replace(':', "")).ok_or_else(wrong).and_then(checked)
}

fn checked(bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
    match bytes.len() {
        0 => Err(Fault::new("the identifier is empty")),
        1..=LONGEST_ID => Ok(bytes),
        length => {
            Err(Fault::new(format!("the identifier is {length} bytes long; it must be at most {LONGEST_ID}")))
        }
    }
}

/// The name of a host, which may have a domain (RFC 1123 §2.1).
pub(super) struct HostName(pub(super) String);

impl Leaf for HostName {
    fn read(value: &Value) -> Result<Self, Fault> {
        name(value, "a host name").map(Self)
    }

    fn schema() -> Json {
        json!({"type": ["string", "number", "boolean"], "pattern": trimmed("[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")})
    }

    fn show(&self) -> Json {
        self.0.as_str().into()
    }
}

/// A domain name; the dot at its end is dropped.
pub(super) struct DomainName(pub(super) String);

impl Leaf for DomainName {
    fn read(value: &Value) -> Result<Self, Fault> {
        let mut name = name(value, "a domain name")?;
        if name.ends_with('.') {
            name.pop();
        }
        Ok(Self(name))
    }

    fn schema() -> Json {
        json!({"type": ["string", "number", "boolean"], "pattern": trimmed("[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\\.?")})
    }

    fn show(&self) -> Json {
        self.0.as_str().into()
    }
}

fn name(value: &Value, what: &str) -> Result<String, Fault> {
    let given = text(value).ok_or_else(|| Fault::is_not(value, what))?;
    let ended = what.contains("domain") && given.ends_with('.');
    let bare = given.strip_suffix('.').filter(|_| ended).unwrap_or(&given);
    if is_name(bare) {
        return Ok(given);
    }
    let meant = given.replace(['_', ' '], "-").trim_matches(['.', '-']).to_owned();
    let hint = if is_name(&meant) {
        format!("write {meant}")
    } else {
        "it is made of letters, digits and hyphens, in parts of at most 63 between dots (RFC 1123)".to_owned()
    };
    Err(Fault::new(format!("{} is not {what}", describe(value))).with_hint(hint))
}

/// At most 253 bytes (RFC 1035 §2.3.4, less the length bytes at both ends).
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault<T: Leaf>(value: impl Into<Value>) -> (String, String) {
        let fault = T::read(&value.into()).err().unwrap();
        (fault.reason, fault.hint.unwrap_or_default())
    }

    #[test]
    fn bytes_are_written_with_colons_however_many_they_are() {
        for length in [0, 1, 6, 15, 16, 17, 32, 40_u8] {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37)).collect();
            let each: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(with_colons(&bytes), each.join(":"));
        }
    }

    #[test]
    fn hardware_addresses_are_read_with_colons_or_dashes_in_any_case() {
        for written in ["00:1a:2B:33:44:55", "00-1A-2b-33-44-55"] {
            assert_eq!(Mac::read(&written.into()).unwrap().0, [0, 0x1a, 0x2b, 0x33, 0x44, 0x55]);
        }
        assert_eq!(Mac::read(&"aa".into()).unwrap().0, [0xaa]);
        assert_eq!(Mac::read(&vec!["aa"; 16].join(":").into()).unwrap().0, [0xaa; 16]);
    }

    #[test]
    fn hardware_addresses_of_other_programs_are_refused_with_the_right_form() {
        let meant = "write it as \"00:11:22:33:44:55\"";
        for written in
            ["0:11:22:33:44:55", "0011.2233.4455", "001122334455", "0x001122334455", "00:11:22-33:44:55"]
        {
            let expected = (format!("\"{written}\" is not a hardware address"), meant.to_owned());
            assert_eq!(fault::<Mac>(written), expected);
        }
        assert_eq!(fault::<Mac>(112_233_445_566_u64).1, "write it as \"11:22:33:44:55:66\"");
        let seventeen = vec!["aa"; 17].join(":");
        for written in ["", ":", "00:11:22:33:44:gg", "+1:02", "é", seventeen.as_str()] {
            let (reason, hint) = fault::<Mac>(written);
            assert_eq!(reason, format!("\"{written}\" is not a hardware address of 1 to 16 bytes"));
            assert_eq!(hint, meant);
        }
    }

    #[test]
    fn client_identifiers_are_hex_with_colons_or_text() {
        let read = |written: &str| ClientId::read(&written.into()).unwrap().0;
        assert_eq!(read("01:00:aB"), [1, 0, 0xab]);
        assert_eq!(read("0x01:00ab"), [1, 0, 0xab]);
        assert_eq!(read("01"), b"01");
        assert_eq!(read("node:one"), b"node:one");
        assert_eq!(read(" with spaces "), b" with spaces ");
        assert_eq!(read(&"x".repeat(255)).len(), 255);
    }

    #[test]
    fn identifiers_that_cannot_be_on_the_wire_are_refused() {
        assert_eq!(AgentId::read(&"0x0A0b".into()).unwrap().0, [10, 11]);
        assert_eq!(AgentId::read(&"0a:0b".into()).unwrap().0, b"0a:0b");
        assert_eq!(fault::<AgentId>("0x0").0, "\"0x0\" is not hex digits in pairs behind 0x");
        assert_eq!(fault::<AgentId>("0xé").0, "\"0xé\" is not hex digits in pairs behind 0x");
        assert_eq!(fault::<AgentId>("0x").0, "the identifier is empty");
        assert_eq!(
            fault::<ClientId>("x".repeat(256)).0,
            "the identifier is 256 bytes long; it must be at most 255"
        );
        let hint = "write it in quotes: unquoted, 0x102 and 258 are numbers to YAML";
        assert_eq!(fault::<AgentId>(0x102), ("258 is not text".to_owned(), hint.to_owned()));
        assert_eq!(fault::<AgentId>(true).1, hint);
    }

    #[test]
    fn names_are_those_of_hosts() {
        for good in ["printer", "3com", "a-b.example.org", "X"] {
            assert_eq!(HostName::read(&good.into()).unwrap().0, good);
        }
        assert_eq!(DomainName::read(&"Example.org.".into()).unwrap().0, "Example.org");
        let my_printer = ("\"my_printer\" is not a host name".to_owned(), "write my-printer".to_owned());
        assert_eq!(fault::<HostName>("my_printer"), my_printer);
        assert_eq!(fault::<DomainName>(".example.org").1, "write example.org");
        for wrong in ["", "a..b", "ü", &"x".repeat(64), &vec!["abc"; 64].join("."), "host."] {
            assert!(HostName::read(&wrong.into()).is_err(), "{wrong}");
        }
        assert!(DomainName::read(&".".into()).is_err());
    }
}
