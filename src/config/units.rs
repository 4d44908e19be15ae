//! Durations (`90s`, `1h30m`, bare seconds) and sizes (`10MiB`, bare bytes), and how they are shown.

use std::ops::RangeInclusive;
use std::time::Duration;

use figment::value::Value;
use serde_json::{Value as Json, json};

use super::leaf::{Fault, Leaf, any_case, text, trimmed};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Longest duration accepted: 100 years. It fits the 32 bits of a lease time (RFC 2132 §9.2) without meaning "for ever".
pub(super) const LONGEST: Duration = Duration::from_secs(36_500 * DAY);

/// A lease that never ends: what all ones mean on the wire (RFC 2131 §3.3).
pub(super) const INFINITE: Duration = Duration::from_secs(u32::MAX as u64);

/// What a duration is, in a refusal.
const EXAMPLES: &str = "a duration such as 90s, 10m, 1h or 7d";

/// Units of time with their length in seconds, longest first.
const TIME_UNITS: [(&str, f64); 7] = [
    ("w", 604_800.0),
    ("d", 86_400.0),
    ("h", 3_600.0),
    ("m", 60.0),
    ("s", 1.0),
    ("ms", 0.001),
    ("us", 0.000_001),
];

/// Units of size in bytes: binary ones, and decimal ones as on disk labels.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

impl Leaf for Duration {
    fn read(value: &Value) -> Result<Self, Fault> {
        let wrong = || Fault::is_not(value, EXAMPLES);
        let duration = text(value).as_deref().and_then(sum_of_parts).ok_or_else(wrong)?;
        if duration > LONGEST {
            return Err(Fault::new(format!("the duration is longer than {}", show_duration(LONGEST))));
        }
        Ok(duration)
    }

    fn schema() -> Json {
        duration(&(Self::ZERO..=LONGEST), "")
    }

    /// Of text only the form can be told.
    fn schema_within(range: &RangeInclusive<Self>) -> Json {
        duration(range, "")
    }

    fn show(&self) -> Json {
        show_duration(*self).into()
    }
}

/// Seconds, or parts with units, or what `further` fits.
fn duration(range: &RangeInclusive<Duration>, further: &str) -> Json {
    let number = "\\+?(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)";
    let units = TIME_UNITS.map(|(unit, _)| unit).join("|");
    let pattern = format!("{number}(?:[eE][+-]?[0-9]+)?|(?:[0-9.]+\\s*(?:{units})\\s*)+{further}");
    json!({
        "type": ["number", "string"],
        "minimum": seconds(*range.start()),
        "maximum": seconds(*range.end()),
        "pattern": trimmed(&pattern),
    })
}

/// As a whole number where it is one.
fn seconds(duration: Duration) -> Json {
    if duration.subsec_nanos() == 0 { duration.as_secs().into() } else { duration.as_secs_f64().into() }
}

/// A duration that may be `infinite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) struct Span(pub(super) Duration);

impl Leaf for Span {
    fn read(value: &Value) -> Result<Self, Fault> {
        match text(value) {
            Some(word) if word.eq_ignore_ascii_case("infinite") => Ok(Self(INFINITE)),
            Some(_) | None => Duration::read(value).map(Self),
        }
    }

    fn schema() -> Json {
        Self::schema_within(&(Self(Duration::ZERO)..=Self(LONGEST)))
    }

    fn schema_within(range: &RangeInclusive<Self>) -> Json {
        duration(&(range.start().0..=range.end().0), &format!("|{}", any_case("infinite")))
    }

    fn show(&self) -> Json {
        self.0.show()
    }
}

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DurationError(String);

/// Reads a duration as the configuration does, for flags of commands such as `--timeout 10s`. Errors: another form,
/// or more than 100 years.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    Duration::read(&text.into()).map_err(|fault| DurationError(fault.reason))
}

fn sum_of_parts(given: &str) -> Option<Duration> {
    if let Ok(seconds) = given.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut total = Duration::ZERO;
    let mut rest = given;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let (_, seconds) = TIME_UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = next;
    }
    (!given.is_empty()).then_some(total)
}

/// The duration as a user would write it: `90s`, `10m`, `150ms`.
pub fn show_duration(duration: Duration) -> String {
    if duration == INFINITE {
        return "infinite".to_owned();
    }
    let seconds = duration.as_secs();
    match duration.subsec_nanos() {
        0 => {}
        nanos if nanos.is_multiple_of(1_000_000) => return format!("{}ms", duration.as_millis()),
        nanos => return format!("{seconds}s{}us", f64::from(nanos) / 1_000.0),
    }
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(DAY) => format!("{}d", seconds / DAY),
        _ if seconds.is_multiple_of(HOUR) => format!("{}h", seconds / HOUR),
        _ if seconds.is_multiple_of(MINUTE) => format!("{}m", seconds / MINUTE),
        _ => format!("{seconds}s"),
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) struct Size(pub(super) u64);

impl Leaf for Size {
    fn read(value: &Value) -> Result<Self, Fault> {
        let wrong = || Fault::is_not(value, "a size such as 4096, 10MiB or 1GiB");
        text(value).as_deref().and_then(parse_size).map(Self).ok_or_else(wrong)
    }

    fn schema() -> Json {
        size(&(Self(0)..=Self(u64::MAX)))
    }

    fn schema_within(range: &RangeInclusive<Self>) -> Json {
        size(range)
    }

    fn show(&self) -> Json {
        let shown = show_size(*self);
        if shown.bytes().all(|byte| byte.is_ascii_digit()) { self.0.into() } else { shown.into() }
    }
}

fn size(range: &RangeInclusive<Size>) -> Json {
    let units = SIZE_UNITS.map(|(unit, _)| any_case(unit)).join("|");
    json!({
        "type": ["integer", "string"],
        "minimum": range.start().0,
        "maximum": range.end().0,
        "pattern": trimmed(&format!("[0-9]+\\s*(?:{units})?")),
    })
}

fn parse_size(given: &str) -> Option<u64> {
    let number_end = given.find(|c: char| !c.is_ascii_digit()).unwrap_or(given.len());
    let (number, unit) = given.split_at(number_end);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim().to_lowercase();
    let bytes = if unit.is_empty() { 1 } else { SIZE_UNITS.iter().find(|(name, _)| *name == unit)?.1 };
    number.checked_mul(bytes)
}

/// The size as a user would write it: `16MiB`, `4096`.
pub(super) fn show_size(Size(bytes): Size) -> String {
    for (unit, size) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20)] {
        if bytes > 0 && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        let read = |text: &str| Duration::read(&text.into()).ok();
        assert_eq!(read("90s"), Some(Duration::from_secs(90)));
        assert_eq!(read("150ms"), Some(Duration::from_millis(150)));
        assert_eq!(read("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(read("7d"), Some(Duration::from_secs(7 * DAY)));
        assert_eq!(read("2.5"), Some(Duration::from_millis(2_500)));
        assert_eq!(Duration::read(&300.into()), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("x").unwrap_err().to_string(), format!("\"x\" is not {EXAMPLES}"));
        for wrong in ["", "s", "-1s", "-1", "10 minutes", "1h30", "inf", "nan", "200y", "1..5s", "99999999d"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units_or_are_bytes() {
        let read = |text: &str| Size::read(&text.into()).ok().map(|size| size.0);
        assert_eq!(read("10MiB"), Some(10_485_760));
        assert_eq!(read("1 GiB"), Some(1 << 30));
        assert_eq!(read("10485760"), Some(10_485_760));
        assert_eq!(read("5kB"), Some(5_000));
        for wrong in ["", "MiB", "-1", "1.5GiB", "10X", "99999999999TiB"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shown_as_they_would_be_written() {
        let shown = [150, 90_000, 600_000, 86_400_000].map(|ms| show_duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["150ms", "90s", "10m", "1d"]);
        assert_eq!(show_size(Size(16 << 20)), "16MiB");
    }

    #[test]
    fn what_is_shown_is_read_as_the_same_duration() {
        let odd =
            [1, 999, 100_000, 333_333_333, 2_001_000_000, 86_400_000_000_001, 3_153_599_999_999_999_999];
        for duration in odd.map(Duration::from_nanos) {
            assert_eq!(Duration::read(&show_duration(duration).into()), Ok(duration));
        }
    }
}
