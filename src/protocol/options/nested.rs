//! Options within options: sub-options (RFC 2132 §8.4) and what vendors have under their enterprise number (RFC 3925).
//!
//! ```yaml
//! vendor-encapsulated-options: {1: {ip: 10.0.0.4}, 6: {hex: "02"}}     # code: value
//! vivso-suboptions: {4491: {2: {text: "…"}}}                           # enterprise: {code: value}
//! vivco-suboptions: {4491: {text: "…"}}                                # enterprise: value
//! ```
//! Each value names its format. Called by the codec for maps whose keys are numbers.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::codec::{Bytes, ValueError, by_format};
use super::table::Kind;

/// The length of a sub-option, and of what one vendor has, is one byte.
const MOST_BYTES: usize = 255;

/// Encodes a map whose keys are numbers.
type Form = fn(&Map<String, Value>) -> Bytes;

/// How the map of an option is encoded whose keys are numbers; none: its value is no such map.
pub(super) fn form(kind: Kind) -> Option<Form> {
    if matches!(kind, Kind::VendorOptions) {
        Some(vendor_options)
    } else if matches!(kind, Kind::VendorClasses) {
        Some(vendor_classes)
    } else {
        // What vendors put into options of their own often looks like this too.
        matches!(kind, Kind::SubOptions | Kind::Opaque).then_some(sub_options)
    }
}

/// Whether a key is a number; else the map names a format.
pub(super) fn is_numbered(map: &Map<String, Value>) -> bool {
    map.keys().any(|key| key.bytes().all(|byte| byte.is_ascii_digit()) && !key.is_empty())
}

/// Code, length, bytes of each sub-option, by code. Codes 0 and 255 are padding and the end (RFC 2132 §8.4).
fn sub_options(map: &Map<String, Value>) -> Bytes {
    let mut out = Vec::new();
    for (code, value) in sorted(map, 1..=254, "a sub-option's code")? {
        let data = value_of(value).map_err(|error| within(error, &format!("sub-option {code}")))?;
        out.push(u8::try_from(code).unwrap_or_default());
        put(&data, &format!("sub-option {code}"), &mut out)?;
    }
    Ok(out)
}

/// RFC 3925 §4: the enterprise number, a length, that vendor's sub-options; likewise for the next one.
fn vendor_options(map: &Map<String, Value>) -> Bytes {
    by_vendor(map, |value| match value.as_object() {
        Some(map) if is_numbered(map) => sub_options(map),
        _ => value_of(value),
    })
}

/// RFC 3925 §3: the enterprise number, a length, that vendor's class; likewise for the next one.
fn vendor_classes(map: &Map<String, Value>) -> Bytes {
    by_vendor(map, value_of)
}

fn by_vendor(map: &Map<String, Value>, encode: impl Fn(&Value) -> Bytes) -> Bytes {
    let mut out = Vec::new();
    for (number, value) in sorted(map, 0..=u32::MAX, "an enterprise number")? {
        let what = format!("enterprise {number}");
        let data = encode(value).map_err(|error| within(error, &what))?;
        out.extend(number.to_be_bytes());
        put(&data, &what, &mut out)?;
    }
    Ok(out)
}

/// The entries by their number; the file has them by their spelling.
fn sorted<'v>(
    map: &'v Map<String, Value>,
    range: std::ops::RangeInclusive<u32>,
    what: &str,
) -> Result<BTreeMap<u32, &'v Value>, ValueError> {
    let mut entries = BTreeMap::new();
    for (key, value) in map {
        let number = key.parse().ok().filter(|number| range.contains(number));
        let Some(number) = number else {
            let reason = format!("\"{key}\" is not {what}");
            let hint = format!("a number from {} to {}", range.start(), range.end());
            return Err(ValueError::new(reason).hint(hint));
        };
        if entries.insert(number, value).is_some() {
            return Err(ValueError::new(format!("{number} stands there twice")));
        }
    }
    Ok(entries)
}

fn value_of(value: &Value) -> Bytes {
    if !value.is_object() {
        let hint = "name it: {hex: \"0a0b\"}, or text, ip, u8, u16, u32";
        return Err(ValueError::new("the format is missing").hint(hint));
    }
    by_format(value)
}

fn put(data: &[u8], what: &str, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let length = u8::try_from(data.len());
    let too_long = |_| ValueError::new(format!("{what} has {} bytes, more than {MOST_BYTES}", data.len()));
    out.push(length.map_err(too_long)?);
    out.extend(data);
    Ok(())
}

/// An error of a part, with the part in front of it.
fn within(error: ValueError, what: &str) -> ValueError {
    ValueError { reason: format!("{what}: {}", error.reason), ..error }
}
