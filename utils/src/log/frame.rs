//! The frame: one log record as the bytes of one message. Format only: it opens nothing and sends nothing.
//! The sender encodes, the collector decodes; what arrives may come from a process that was taken over, so
//! decoding trusts nothing and never panics.
//!
//! ```text
//!  0      1      2          6             14         18
//! +------+------+----------+-------------+----------+---------+--------+-------+---------+-------+----------
//! | vers | level| PID (4)  | seconds (8) | nanos (4)| process | target | event | message | count | fields …
//! +------+------+----------+-------------+----------+---------+--------+-------+---------+-------+----------
//! a text: length (2), bytes of UTF-8        a field: kind (1: 0 text, 1 number or truth value), key, value
//! ```
//! Numbers are little-endian: both ends run on the same machine.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::Level;

/// Bytes of the longest frame.
pub const MAX_FRAME: usize = 8 * 1024;
/// Most fields of a record; further ones are left out.
pub const MAX_FIELDS: usize = 32;

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 18;
/// Names: process, target, event, key.
const MAX_NAME: usize = 128;
const MAX_MESSAGE: usize = 4 * 1024;
const MAX_VALUE: usize = 2 * 1024;
/// Stands at the end of a text that was cut.
const ELLIPSIS: &str = "…";
/// The last second of the year 9999, beyond which no calendar form has four digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// One log record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Wall-clock time at which the speaker spoke.
    pub time: SystemTime,
    /// Its level.
    pub level: Level,
    /// The speaker's process ID.
    pub pid: u32,
    /// The speaker's name as in `ps`, without the daemon's name: `dhcp 0`.
    pub process: Cow<'a, str>,
    /// The module that spoke, as in `log::Record::target`.
    pub target: Cow<'a, str>,
    /// Stable ID of the event; empty where there is none.
    pub event: Cow<'a, str>,
    /// What happened, for people.
    pub message: Cow<'a, str>,
    /// Further facts, in the order in which they were given.
    pub fields: Vec<Field<'a>>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// The value as text.
    pub value: Cow<'a, str>,
    /// Whether the value was a number or a truth value, which JSON writes without quotes.
    pub literal: bool,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before the record does.
    #[error("log frame ends too early")]
    Short,
    /// Longer than [`MAX_FRAME`], or bytes follow the record.
    #[error("log frame is too long")]
    Long,
    /// A version that this program does not know.
    #[error("log frame has unknown version {0}")]
    Version(u8),
    /// A level that does not exist.
    #[error("log frame has unknown level {0}")]
    Level(u8),
    /// Not a time between 1970 and 9999.
    #[error("log frame has an impossible time")]
    Time,
    /// A text that is not UTF-8.
    #[error("log frame has a text that is not utf-8")]
    Text,
    /// More than [`MAX_FIELDS`] fields, or a field of an unknown kind.
    #[error("log frame has impossible fields")]
    Fields,
}

impl<'a> Record<'a> {
    /// Appends the frame to `out`, which should be empty. Texts that are too long are cut, fields that do not
    /// fit any more are left out; the frame never exceeds [`MAX_FRAME`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(VERSION);
        out.push(level_code(self.level));
        out.extend(self.pid.to_le_bytes());
        let time = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.extend(time.as_secs().min(LAST_SECOND).to_le_bytes());
        out.extend(time.subsec_nanos().to_le_bytes());
        put(out, &self.process, MAX_NAME);
        put(out, &self.target, MAX_NAME);
        put(out, &self.event, MAX_NAME);
        put(out, &self.message, MAX_MESSAGE);
        let count_at = out.len();
        out.push(0);
        let mut count = 0;
        for field in self.fields.iter().take(MAX_FIELDS) {
            // Kind, two lengths, the longest key; below that the rest of the frame is not worth a field.
            let room = (start + MAX_FRAME).saturating_sub(out.len() + 1 + 2 + 2 + MAX_NAME);
            if room <= ELLIPSIS.len() {
                break;
            }
            out.push(u8::from(field.literal));
            put(out, &field.key, MAX_NAME);
            put(out, &field.value, MAX_VALUE.min(room));
            count += 1;
        }
        if let Some(byte) = out.get_mut(count_at) {
            *byte = count;
        }
    }

    /// Reads a frame. The record borrows its texts from `bytes`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        if bytes.len() > MAX_FRAME {
            return Err(FrameError::Long);
        }
        let mut input = Input(bytes);
        let version = input.byte()?;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let level = level_from(input.byte()?)?;
        let pid = u32::from_le_bytes(input.array()?);
        let seconds = u64::from_le_bytes(input.array()?);
        let nanos = u32::from_le_bytes(input.array()?);
        if seconds > LAST_SECOND || nanos >= 1_000_000_000 {
            return Err(FrameError::Time);
        }
        let time = UNIX_EPOCH.checked_add(Duration::new(seconds, nanos)).ok_or(FrameError::Time)?;
        let (process, target) = (input.text()?, input.text()?);
        let (event, message) = (input.text()?, input.text()?);
        let count = usize::from(input.byte()?);
        if count > MAX_FIELDS {
            return Err(FrameError::Fields);
        }
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            let literal = match input.byte()? {
                0 => false,
                1 => true,
                _ => return Err(FrameError::Fields),
            };
            fields.push(Field { key: input.text()?, value: input.text()?, literal });
        }
        if !input.0.is_empty() {
            return Err(FrameError::Long);
        }
        Ok(Self { time, level, pid, process, target, event, message, fields })
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], FrameError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(FrameError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        self.take(N)?.try_into().map_err(|_| FrameError::Short)
    }

    fn byte(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn text(&mut self) -> Result<Cow<'a, str>, FrameError> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        let text = str::from_utf8(self.take(len)?).map_err(|_| FrameError::Text)?;
        Ok(Cow::Borrowed(text))
    }
}

/// Appends a text of at most `max` bytes (at least the ellipsis' own), cut at a character where longer.
fn put(out: &mut Vec<u8>, text: &str, max: usize) {
    let (text, mark) = if text.len() <= max {
        (text, "")
    } else {
        let mut cut = max.saturating_sub(ELLIPSIS.len());
        while !text.is_char_boundary(cut) {
            cut -= 1; // ends at 0, which is a boundary
        }
        (text.get(..cut).unwrap_or_default(), ELLIPSIS)
    };
    // All limits are far below 64 KiB; a longer text would be a mistake in the limits above.
    let len = u16::try_from(text.len() + mark.len()).unwrap_or(u16::MAX);
    out.extend(len.to_le_bytes());
    out.extend(text.as_bytes());
    out.extend(mark.as_bytes());
}

const fn level_code(level: Level) -> u8 {
    match level {
        Level::Error => 1,
        Level::Warn => 2,
        Level::Info => 3,
        Level::Debug => 4,
        Level::Trace => 5,
    }
}

const fn level_from(code: u8) -> Result<Level, FrameError> {
    Ok(match code {
        1 => Level::Error,
        2 => Level::Warn,
        3 => Level::Info,
        4 => Level::Debug,
        5 => Level::Trace,
        other => return Err(FrameError::Level(other)),
    })
}

// Header, three names and the message leave room for fields: 18 + 3*130 + 4098 + 1 < 8192.
const _: () = assert!(FIXED_BYTES + 3 * (2 + MAX_NAME) + 2 + MAX_MESSAGE + 1 + MAX_VALUE < MAX_FRAME);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record<'static> {
        Record {
            time: UNIX_EPOCH + Duration::new(1_795_258_800, 123_000_000),
            level: Level::Info,
            pid: 4711,
            process: "dhcp 0".into(),
            target: "echo_daemon::dhcp".into(),
            event: "DHCP_LEASE_GRANTED".into(),
            message: "leased 10.0.0.100".into(),
            fields: vec![Field { key: "mac".into(), value: "00:11".into(), literal: false }],
        }
    }

    fn encoded(record: &Record) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    #[test]
    fn every_shortened_frame_is_an_error() {
        let bytes = encoded(&record());
        assert_eq!(Record::decode(&bytes).unwrap(), record());
        for len in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..len]), Err(FrameError::Short), "{len} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Record::decode(&longer), Err(FrameError::Long));
    }

    #[test]
    fn over_long_texts_are_cut_at_a_character_and_marked() {
        let mut big = record();
        big.message = "ü".repeat(5000).into();
        big.fields = (0..40)
            .map(|n| Field { key: format!("key{n}").into(), value: "ä".repeat(3000).into(), literal: false })
            .collect();
        let bytes = encoded(&big);
        assert!(bytes.len() <= MAX_FRAME, "{}", bytes.len());
        let back = Record::decode(&bytes).unwrap();
        assert!(back.message.ends_with("ü…") && back.message.len() <= MAX_MESSAGE);
        assert!(!back.fields.is_empty() && back.fields.iter().all(|field| field.value.ends_with('…')));
    }

    #[test]
    fn other_versions_levels_and_times_are_refused() {
        let changed = |at: usize, value: u8| {
            let mut bytes = encoded(&record());
            bytes[at] = value;
            Record::decode(&bytes).unwrap_err()
        };
        assert_eq!(changed(0, 9), FrameError::Version(9));
        assert_eq!(changed(1, 0), FrameError::Level(0));
        assert_eq!(changed(13, 0xff), FrameError::Time);
        assert_eq!(changed(17, 0xff), FrameError::Time);
    }

    proptest! {
        #[test]
        fn decode_survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600), known in any::<bool>()) {
            let mut bytes = bytes;
            if known && bytes.len() > 18 {
                bytes[0] = VERSION;
                bytes[1] = 3;
                bytes[10..18].fill(0);
            }
            if let Ok(record) = Record::decode(&bytes) {
                let again = encoded(&record);
                prop_assert_eq!(Record::decode(&again).unwrap().level, record.level);
            }
        }

        #[test]
        fn decode_returns_what_was_encoded(
            secs in 0..LAST_SECOND, nanos in 0..1_000_000_000_u32, pid in any::<u32>(),
            process in ".{0,30}", event in "[A-Z_]{0,40}", message in ".{0,800}",
            fields in proptest::collection::vec(("[a-z_]{1,20}", ".{0,40}", any::<bool>()), 0..12),
        ) {
            let fields = fields.into_iter()
                .map(|(key, value, literal)| Field { key: key.into(), value: value.into(), literal }).collect();
            let record = Record {
                time: UNIX_EPOCH + Duration::new(secs, nanos), level: Level::Warn, pid,
                process: process.into(), target: "t".into(), event: event.into(), message: message.into(), fields,
            };
            let bytes = encoded(&record);
            prop_assert_eq!(Record::decode(&bytes).unwrap(), record);
        }
    }
}
