//! Encodes option values: what the configuration says → the bytes on the wire, by the kind of the table.
//!
//! Refuses what does not fit, with a reason that names the value. Called by the checks and, once per generation,
//! by the options manager.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::config::mistyped;

use super::table::Kind;
use super::{names, nested, special};

/// Why a value is not what its option takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ValueError {
    /// What is wrong.
    pub reason: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl ValueError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

pub(super) type Bytes = Result<Vec<u8>, ValueError>;

/// The bytes of `value` as an option of this kind. A map names its own format instead: `{hex: …}`, `{text: …}`,
/// `{ip: …}`, `{u8: …}`, `{u16: …}`, `{u32: …}`, one value or a list.
pub fn encode(kind: Kind, value: &Value) -> Bytes {
    if let Kind::Owned(reason) = kind {
        return Err(owned(reason));
    }
    if let Some(map) = value.as_object() {
        return match nested::form(kind) {
            Some(form) if nested::is_numbered(map) => form(map),
            Some(_) | None => by_format(value),
        };
    }
    match kind {
        Kind::Ip => one(value, "an address", ip),
        Kind::IpList => list(value, "an address", ip),
        Kind::IpListOrNone => each(value, "an address", ip),
        Kind::IpPairs => list(value, "two addresses such as \"10.1.0.0 255.255.0.0\"", pair),
        Kind::Routes => list(value, "a route such as \"10.1.0.0/16 10.0.0.1\"", route),
        Kind::Text => one(value, "a text", text),
        Kind::Domains => domains(value, true),
        Kind::PlainDomains => domains(value, false),
        Kind::PlainDomain => one(value, "a domain name", name),
        Kind::SipServers => special::sip_servers(value),
        Kind::UriList => some(value, "a URI", special::uri),
        Kind::Bool => one(value, "true or false", flag),
        Kind::U8 => one(value, "a number from 0 to 255", number::<u8>),
        Kind::U16 => one(value, "a number from 0 to 65535", number::<u16>),
        Kind::U32 => one(value, "a number from 0 to 4294967295", number::<u32>),
        Kind::I32 => one(value, "a number from -2147483648 to 2147483647", signed),
        Kind::U16List => list(value, "a number from 0 to 65535", number::<u16>),
        Kind::Seconds => one(value, "a duration such as 90s or 1h", seconds),
        Kind::SlpAgents => special::slp_agents(value),
        Kind::SlpScope => one(value, "a scope such as \"true A,B\"", special::slp_scope),
        Kind::ServerLists => some(value, "addresses such as \"10.0.0.1 10.0.0.2\"", special::server_list),
        Kind::Opaque => one(value, "hex digits such as \"0a0b\", or {text: …}", hex),
        Kind::SubOptions => one(value, "hex digits such as \"0a0b\", or {CODE: {hex: …}}", hex),
        Kind::VendorOptions => {
            one(value, "hex digits such as \"0a0b\", or {ENTERPRISE: {CODE: {hex: …}}}", hex)
        }
        Kind::VendorClasses => one(value, "hex digits such as \"0a0b\", or {ENTERPRISE: {hex: …}}", hex),
        Kind::Owned(_) => Err(ValueError::new("belongs to the server")),
    }
}

/// Why an option that belongs to the server is refused.
pub(super) fn owned(reason: &str) -> ValueError {
    ValueError::new(format!("belongs to the server: {reason}"))
}

/// The value itself, and whether its map has `always: true` beside it.
pub(super) fn without_always(value: &Value) -> Result<(Cow<'_, Value>, bool), ValueError> {
    let Some(map) = value.as_object().filter(|map| map.contains_key("always") || map.contains_key("value"))
    else {
        return Ok((Cow::Borrowed(value), false));
    };
    let mut rest = map.clone();
    let always = match rest.remove("always") {
        None => false,
        Some(given) => {
            let mut byte = Vec::new();
            flag(&given, &mut byte).ok_or_else(|| {
                ValueError::new(format!("`always` is {}, not true or false", Shown(&given)))
            })?;
            byte == [1]
        }
    };
    match (rest.remove("value"), rest.is_empty()) {
        (Some(value), true) => Ok((Cow::Owned(value), always)),
        (Some(_), false) => {
            Err(ValueError::new("`value` stands beside another format").hint("give one of them"))
        }
        (None, true) => Err(ValueError::new("the value is missing").hint("{value: …, always: true}")),
        (None, false) => Ok((Cow::Owned(rest.into()), always)),
    }
}

/// The bytes of a map that names its own format.
pub(super) fn by_format(value: &Value) -> Bytes {
    let formats = "hex, text, ip, u8, u16 or u32";
    let single = value.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next());
    let Some((format, value)) = single else {
        return Err(ValueError::new("a raw value has exactly one key").hint(format!("one of {formats}")));
    };
    match format.as_str() {
        "hex" => each(value, "hex digits such as \"0a0b\"", hex),
        "text" => each(value, "a text", text),
        "ip" => list(value, "an address", ip),
        "u8" => some(value, "a number from 0 to 255", number::<u8>),
        "u16" => some(value, "a number from 0 to 65535", number::<u16>),
        "u32" => some(value, "a number from 0 to 4294967295", number::<u32>),
        other => {
            Err(ValueError::new(format!("\"{other}\" is not a format")).hint(format!("one of {formats}")))
        }
    }
}

/// One value; a list of one counts as one.
fn one(value: &Value, expected: &str, put: impl Fn(&Value, &mut Vec<u8>) -> Option<()>) -> Bytes {
    match value.as_array().map(Vec::as_slice) {
        Some([single]) => each(single, expected, put),
        Some(_) => {
            Err(ValueError::new(format!("{} is a list", Shown(value))).hint(format!("expected {expected}")))
        }
        None => each(value, expected, put),
    }
}

/// One value or a list of at least one.
fn some(value: &Value, expected: &str, put: impl Fn(&Value, &mut Vec<u8>) -> Option<()>) -> Bytes {
    match each(value, expected, put)? {
        bytes if bytes.is_empty() => {
            Err(ValueError::new("the list is empty").hint("leave the option out instead"))
        }
        bytes => Ok(bytes),
    }
}

/// Likewise, and a text with commas is a list: `--set` and the environment know no other.
pub(super) fn list(value: &Value, expected: &str, put: impl Fn(&Value, &mut Vec<u8>) -> Option<()>) -> Bytes {
    some(&split(value), expected, put)
}

pub(super) fn split(value: &Value) -> Cow<'_, Value> {
    match value.as_str() {
        Some(text) if text.contains(',') => {
            Cow::Owned(text.split(',').map(|item| Value::from(item.trim())).collect())
        }
        _ => Cow::Borrowed(value),
    }
}

/// One value or a list, one after the other.
fn each(value: &Value, expected: &str, put: impl Fn(&Value, &mut Vec<u8>) -> Option<()>) -> Bytes {
    let mut out = Vec::new();
    for item in items(value) {
        put(item, &mut out).ok_or_else(|| {
            let hint = item.as_str().and_then(mistyped::address);
            ValueError { hint, ..ValueError::new(format!("{} is not {expected}", Shown(item))) }
        })?;
    }
    Ok(out)
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

pub(super) fn address(text: &str) -> Option<Ipv4Addr> {
    text.trim().parse().ok()
}

pub(super) fn ip(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    out.extend(address(value.as_str()?)?.octets());
    Some(())
}

fn pair(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let (first, second) = value.as_str()?.trim().split_once(char::is_whitespace)?;
    out.extend(address(first)?.octets());
    out.extend(address(second)?.octets());
    Some(())
}

/// The prefix length, as many bytes of the prefix as it covers, the router (RFC 3442).
fn route(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let (target, router) = value.as_str()?.trim().split_once(char::is_whitespace)?;
    let target: crate::config::Network =
        if target == "default" { "0.0.0.0/0".parse().ok()? } else { target.parse().ok()? };
    let router = address(router)?;
    out.push(target.prefix());
    out.extend(target.first().octets().iter().take(usize::from(target.prefix().div_ceil(8))));
    out.extend(router.octets());
    Some(())
}

/// Numbers are texts too: `tftp-server-name: 7` must not surprise anybody.
fn text(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    if text.is_empty() || text.contains('\0') {
        return None;
    }
    out.extend(text.as_bytes());
    Some(())
}

pub(super) fn domains(value: &Value, compress: bool) -> Bytes {
    let value = split(value);
    let mut list = Vec::new();
    for item in items(&value) {
        let wrong = || ValueError::new(format!("{} is not a domain name", Shown(item)));
        list.push(item.as_str().ok_or_else(wrong)?);
    }
    if list.is_empty() {
        return Err(ValueError::new("the list is empty").hint("leave the option out instead"));
    }
    names::encode(&list, compress).map_err(|name| {
        ValueError::new(format!("\"{name}\" is not a domain name"))
            .hint("labels of 1 to 63 bytes between dots, 253 bytes in all")
    })
}

fn name(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    out.extend(names::encode(&[value.as_str()?], false).ok()?);
    Some(())
}

fn flag(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let flag = value.as_bool().or_else(|| value.as_str()?.trim().parse().ok())?;
    out.push(flag.into());
    Some(())
}

/// An unsigned number in network byte order; from the environment and `--set` it may come as text.
fn number<T: TryFrom<u64> + BigEndian>(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())?;
    T::try_from(number).ok()?.put(out);
    Some(())
}

fn signed(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())?;
    out.extend(i32::try_from(number).ok()?.to_be_bytes());
    Some(())
}

fn seconds(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let secs = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => {
            let text = text.trim();
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let factor = match text.get(digits.len()..)? {
                "" | "s" => 1,
                "m" => 60,
                "h" => 60 * 60,
                "d" => 24 * 60 * 60,
                _ => return None,
            };
            digits.parse::<u64>().ok()?.checked_mul(factor)?
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    out.extend(u32::try_from(secs).ok()?.to_be_bytes());
    Some(())
}

/// Hex digits in pairs, with or without `0x`, colons, spaces or dashes between the pairs.
fn hex(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let text = value.as_str()?.trim();
    let text = text.strip_prefix("0x").unwrap_or(text);
    let digits = text.chars().filter(|c| !matches!(c, ':' | ' ' | '-'));
    let nibbles = digits.map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    let nibbles: Vec<u8> = nibbles.collect::<Option<_>>()?;
    let (pairs, rest) = nibbles.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return None;
    }
    out.extend(pairs.iter().map(|[high, low]| high << 4 | low));
    Some(())
}

trait BigEndian {
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! big_endian {
    ($($number:ty)*) => {$(
        impl BigEndian for $number {
            fn put(self, out: &mut Vec<u8>) {
                out.extend(self.to_be_bytes());
            }
        }
    )*};
}

big_endian!(u8 u16 u32);

/// A value as an error message shows it.
pub(super) struct Shown<'a>(pub(super) &'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match text.char_indices().nth(60) {
            Some((end, _)) => write!(f, "{}…", text.get(..end).unwrap_or_default()),
            None => f.write_str(&text),
        }
    }
}
