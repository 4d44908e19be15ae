//! The frame of a log record, as the logger reads it from processes that may have been taken over, and the lines that it
//! makes of it.
//!
//! The first byte chooses: the bytes as a frame; or as the texts of a record that an honest process sends.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use daemon_utils::log::Record;
use daemon_utils::log::frame::{Field, MAX_FIELDS, MAX_FRAME};
use daemon_utils::log::harmless;
use daemon_utils::log::json::JsonFormat;
use daemon_utils::log::text::TextFormat;
use serde_json::Value;

use super::{choice, is_raw};

/// See the top of this file.
pub fn run(data: &[u8]) {
    let Some((how, rest)) = choice(data) else { return };
    if how & 1 == 0 {
        let Ok(record) = Record::decode(rest) else { return };
        assert!(rest.len() <= MAX_FRAME && record.fields.len() <= MAX_FIELDS);
        let again = encoded(&record);
        let read = Record::decode(&again).expect("what we encode is a frame");
        assert_eq!((read.time, read.level, read.pid), (record.time, record.level, record.pid));
        // Only texts beyond their bounds are cut, so a second time changes nothing.
        assert_eq!(encoded(&read), again);
        lines(&record);
    } else {
        honest(how, rest);
    }
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    assert!(bytes.len() <= MAX_FRAME, "{} bytes", bytes.len());
    bytes
}

fn honest(how: u8, rest: &[u8]) {
    let mut texts = rest.split(|byte| *byte == 0xff).map(String::from_utf8_lossy);
    let mut next = || texts.next().unwrap_or(Cow::Borrowed(""));
    let levels =
        [log::Level::Error, log::Level::Warn, log::Level::Info, log::Level::Debug, log::Level::Trace];
    let mut record = Record {
        time: UNIX_EPOCH + Duration::from_millis(1_795_258_800_123),
        level: levels[usize::from(how >> 1) % levels.len()],
        pid: 4711,
        process: next(),
        target: "echo_daemon::dhcp".into(),
        event: next(),
        message: next(),
        fields: Vec::new(),
    };
    while let Some(key) = texts.next() {
        let value = texts.next().unwrap_or(Cow::Borrowed(""));
        record.fields.push(Field { key, value, literal: how & 0x80 != 0 });
    }
    let bytes = encoded(&record);
    let read = Record::decode(&bytes).expect("what we encode is a frame");
    if rest.len() <= 128 && record.fields.len() <= MAX_FIELDS {
        // Lossy texts may be three times as long as what they were made of.
        let short = record.process.len().max(record.event.len()) <= 128;
        let keys = record.fields.iter().all(|field| field.key.len() <= 128);
        assert!(!short || !keys || read == record, "nothing short is cut");
    }
    lines(&record);
}

/// One line in each form, whatever stands in the record.
fn lines(record: &Record<'_>) {
    let mut text = String::new();
    TextFormat::default().line(record, &mut text);
    let line = text.strip_suffix('\n').expect("a line ends");
    assert!(!is_raw(line), "{line:?}");
    assert!(!is_raw(&harmless(line)));

    let mut json = String::new();
    JsonFormat::default().line(record, &mut json);
    let line = json.strip_suffix('\n').expect("a line ends");
    assert!(!is_raw(line), "{line:?}");
    let object: Value = serde_json::from_str(line).expect("an object");
    assert_eq!(object["message"], Value::from(record.message.as_ref()));
    assert_eq!(object["event"], Value::from(record.event.as_ref()));
    assert_eq!(object["process"], Value::from(record.process.as_ref()));
    assert_eq!(object["pid"], Value::from(record.pid));
}
