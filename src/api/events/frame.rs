//! Events as the text of a stream, and the positions that they carry. JSON has no line breaks of its own and escapes those in
//! texts, so nothing that the network sends can break out of its line.

use serde::Serialize;
use serde_json::json;

use crate::events::Event;
use crate::lease::follow::Logged;
use crate::lease::{LeaseEvent, LeaseView};
use crate::stats::ProcessEvent;

/// A position in both kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// Rows of the lease log.
    pub(super) seq: u64,
    /// Events of main.
    pub(super) number: u64,
    /// Whose events of main are counted: they begin anew with each start of the daemon.
    pub(super) ring: u64,
}

impl Place {
    /// The `id` of an event, as it was written.
    pub(super) fn read(id: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(id).ok()?;
        let number = |part: &str| {
            let plain = !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
            plain.then(|| part.parse().ok()).flatten()
        };
        let mut parts = text.split('.').map(number);
        let place = Self { seq: parts.next()??, number: parts.next()??, ring: parts.next()?? };
        parts.next().is_none().then_some(place)
    }

    /// Whether `other` lies no further in either kind.
    pub(super) fn covers(self, other: Self) -> bool {
        self.seq >= other.seq && self.number >= other.number
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.seq, self.number, self.ring)
    }
}

/// What an item tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// A lease.
    Lease,
    /// Main and its workers.
    Process,
    /// Events that can no longer be told.
    Lost,
    /// Nothing more will come from this process.
    End,
}

/// One event on its way to the subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// The position behind it.
    pub(super) place: Place,
    /// Of what.
    pub(super) about: About,
    /// Its ID in the table of events; else a word.
    pub(super) event: &'static str,
    /// JSON.
    pub(super) data: String,
}

impl Item {
    /// A row of the lease log; none where the table has no event for it.
    pub(super) fn lease(row: &Logged, place: Place) -> Option<Self> {
        #[derive(Serialize)]
        struct Told<'a> {
            r#type: &'static str,
            event: &'static str,
            time: &'a str,
            lease: &'a LeaseView,
        }
        let event = match row.event {
            LeaseEvent::Granted => Event::DhcpLeaseGranted,
            LeaseEvent::Renewed => Event::DhcpLeaseRenewed,
            LeaseEvent::Released => Event::DhcpLeaseReleased,
            LeaseEvent::Expired => Event::DhcpLeaseExpired,
            LeaseEvent::Declined => Event::DhcpLeaseDeclined,
            LeaseEvent::Conflict => Event::DhcpAddressConflict,
            LeaseEvent::Recovered | LeaseEvent::Deleted => return None,
        }
        .id();
        let told = Told { r#type: "lease", event, time: &row.at, lease: &row.lease };
        Some(Self { place, about: About::Lease, event, data: serde_json::to_string(&told).ok()? })
    }

    /// An event of main.
    pub(super) fn process(happened: &ProcessEvent, place: Place) -> Self {
        let event = happened.event.id();
        let time = i64::try_from(happened.unix_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
        let time = time.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        let data = json!({
            "type": "process",
            "event": event,
            "time": time,
            "level": happened.event.level().as_str(),
            "pid": happened.pid,
            "message": happened.text,
        });
        Self { place, about: About::Process, event, data: data.to_string() }
    }

    /// So many events are lost.
    pub(super) fn lost(events: u64, place: Place) -> Self {
        let data = json!({"type": "lost", "events": events}).to_string();
        Self { place, about: About::Lost, event: "lost", data }
    }

    /// The last one.
    pub(super) fn end(place: Place) -> Self {
        Self { place, about: About::End, event: "end", data: String::new() }
    }

    /// As it stands in the stream.
    pub(super) fn text(&self) -> String {
        format!("id: {}\nevent: {}\ndata: {}\n\n", self.place, self.event, self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        let place = Place { seq: 12, number: 0, ring: u64::MAX };
        assert_eq!(Place::read(place.to_string().as_bytes()), Some(place));
        for wrong in
            ["", "1", "1.2", "1.2.3.4", "1..3", "+1.2.3", "-1.2.3", "1.2.x", "18446744073709551616.1.1"]
        {
            assert_eq!(Place::read(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Place::read(b"1.2.\xff"), None);
    }

    #[test]
    fn no_text_breaks_out_of_its_line() {
        let happened = ProcessEvent {
            number: 1,
            event: Event::WorkerDied,
            unix_ms: 1_793_534_400_123,
            pid: None,
            text: "a\r\nevent: forged\n\ndata: \u{1}\u{2028}\"".to_owned(),
        };
        let text = Item::process(&happened, Place::default()).text();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(
            !text.contains('\r') && text.ends_with("\n\n") && text.contains("2026-11-01T12:00:00.123Z"),
            "{text}"
        );
    }
}
