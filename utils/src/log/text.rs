//! The text form of a record: exactly one line, whatever a client managed to get into it. Used by the file, the
//! console, syslog and the start-up fallback. Pure but for the time zone.
//!
//! ```text
//! 2026-11-21T12:00:00.123+01:00 INFO  [4711 dhcp 0] DHCP_LEASE_GRANTED leased 10.0.0.100 mac=00:11:… xid=0x…
//! ```

use std::borrow::Cow;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Local};

use super::frame::Record;

/// Writes records as lines. It keeps the calendar form of the last second, which most records share.
#[derive(Debug, Default)]
pub struct TextFormat {
    clock: Clock,
}

impl TextFormat {
    /// Appends the record's line, with its line feed.
    pub fn line(&mut self, record: &Record, out: &mut String) {
        self.clock.stamp(record.time, out);
        // Writing into a String cannot fail.
        let _ = write!(out, " {:<5} [{} ", record.level.as_str(), record.pid);
        escape(&record.process, out);
        out.push(']');
        body(record, out);
        out.push('\n');
    }
}

/// Turns times into `2026-11-21T12:00:00.123+01:00`, in local time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: Option<u64>,
    date_time: String,
    offset: String,
}

impl Clock {
    /// Appends the time.
    pub(super) fn stamp(&mut self, time: SystemTime, out: &mut String) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            let local = DateTime::<Local>::from(time);
            self.date_time = local.format("%Y-%m-%dT%H:%M:%S").to_string();
            self.offset = local.format("%:z").to_string();
            self.second = Some(since.as_secs());
        }
        let _ = write!(out, "{}.{:03}{}", self.date_time, since.subsec_millis(), self.offset);
    }
}

/// Appends event, message and fields, each after a space.
pub(super) fn body(record: &Record, out: &mut String) {
    for text in [&record.event, &record.message] {
        if !text.is_empty() {
            out.push(' ');
            escape(text, out);
        }
    }
    for field in &record.fields {
        out.push(' ');
        key(&field.key, out);
        out.push('=');
        value(&field.value, out);
    }
}

/// A key that cannot be mistaken for anything else on the line.
fn key(key: &str, out: &mut String) {
    out.extend(key.chars().map(|c| if c.is_ascii_graphic() && c != '=' && c != '"' { c } else { '_' }));
}

fn value(value: &str, out: &mut String) {
    let special = |c: char| c.is_whitespace() || c == '"' || c == '=' || is_hostile(c);
    if !value.is_empty() && !value.contains(special) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c => escape_char(c, out),
        }
    }
    out.push('"');
}

/// A text that may be shown anywhere, on as many lines as it has: what is hostile in it is written `\\x1b`, `\\u{202e}`.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c != '\n' && is_hostile(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c == '\n' { out.push(c) } else { escape_char(c, &mut out) }
    }
    Cow::Owned(out)
}

fn escape(text: &str, out: &mut String) {
    if text.contains(is_hostile) {
        text.chars().for_each(|c| escape_char(c, out));
    } else {
        out.push_str(text);
    }
}

fn escape_char(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if !is_hostile(c) => out.push(c),
        c if c.is_ascii() => {
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        }
        c => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
}

/// Characters that could end a line, steer a terminal, make a line read as another one, or hide in it: C0, DEL, C1, the
/// Unicode line and paragraph separators, the bidirectional controls (Unicode Standard Annex 9; what "Trojan source"
/// abuses), what has no width, the tags of plane 14, and the BOM.
pub(super) fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeZone;
    use log::Level;
    use proptest::prelude::*;

    use super::super::frame::Field;
    use super::*;

    fn field(key: &'static str, value: &str) -> Field<'static> {
        Field { key: key.into(), value: value.to_owned().into(), literal: false }
    }

    fn record(message: &str, fields: Vec<Field<'static>>) -> Record<'static> {
        // The local time is fixed, whatever zone the test runs in; the offset is the zone's own.
        let time = Local.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap();
        Record {
            time: SystemTime::from(time) + Duration::from_millis(123),
            level: Level::Info,
            pid: 4711,
            process: "dhcp 0".into(),
            target: String::new().into(),
            event: "DHCP_LEASE_GRANTED".into(),
            message: message.to_owned().into(),
            fields,
        }
    }

    fn line(record: &Record) -> String {
        let mut out = String::new();
        TextFormat::default().line(record, &mut out);
        out
    }

    #[test]
    fn line_has_exactly_the_documented_form() {
        let record =
            record("leased 10.0.0.100", vec![field("mac", "00:11:22:33:44:55"), field("xid", "0x1f")]);
        let offset = DateTime::<Local>::from(record.time).format("%:z").to_string();
        assert_eq!(
            line(&record),
            format!(
                "2026-11-21T12:00:00.123{offset} INFO  [4711 dhcp 0] DHCP_LEASE_GRANTED leased 10.0.0.100 \
                 mac=00:11:22:33:44:55 xid=0x1f\n"
            )
        );
    }

    #[test]
    fn line_without_event_or_message_has_no_double_space() {
        let mut record = record("", vec![field("n", "1")]);
        record.event = "".into();
        assert!(line(&record).ends_with("[4711 dhcp 0] n=1\n"));
    }

    #[test]
    fn hostile_characters_are_escaped() {
        let record = record(
            "a\nb\tc\x1b[31m\u{2028}\u{202e}\u{85}\x7f",
            vec![field("hostname", "x\" y=\\1\n"), field("empty", ""), field("plain", "a\\b")],
        );
        let line = line(&record);
        let tail = r#"a\nb\tc\x1b[31m\u{2028}\u{202e}\u{85}\x7f hostname="x\" y=\\1\n" empty="" plain=a\b"#;
        assert!(line.ends_with(&format!("{tail}\n")), "{line}");
    }

    #[test]
    fn nothing_that_hides_or_turns_the_text_around_stays() {
        let hostile = "\0 \x1b \x7f \u{80} \u{9b} \u{ad} \u{200b} \u{200d} \u{200e} \u{202a} \u{202e} \u{2060} \u{2066} \u{2069} \u{feff} \u{e0041}";
        for c in hostile.split(' ').flat_map(str::chars) {
            assert!(is_hostile(c), "{c:?}");
        }
        for c in "aZ~é漢 🦀\u{a0}".chars() {
            assert!(!is_hostile(c), "{c:?}");
        }
    }

    #[test]
    fn clock_follows_from_second_to_second() {
        let mut format = TextFormat::default();
        let (mut first, mut second) = (record("one", vec![]), record("two", vec![]));
        second.time += Duration::from_millis(900);
        first.level = Level::Error;
        let mut out = String::new();
        format.line(&first, &mut out);
        format.line(&second, &mut out);
        assert!(out.contains("T12:00:00.123") && out.contains("T12:00:01.023") && out.contains(" ERROR ["));
    }

    proptest! {
        #[test]
        fn record_is_always_one_line_without_control_characters(
            message in any::<String>(), process in any::<String>(), key in any::<String>(), value in any::<String>(),
        ) {
            let mut record = record(&message, vec![Field { key: key.into(), value: value.into(), literal: false }]);
            record.process = process.into();
            let line = line(&record);
            prop_assert!(line.ends_with('\n'));
            prop_assert!(!line.trim_end_matches('\n').contains(is_hostile));
        }
    }
}
