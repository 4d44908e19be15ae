//! Lease time as people write and read it: local time, RFC 3339 in UTC, `never`. Called by whatever shows or reads
//! leases; it decides nothing about them.

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeZone};

use super::types::Timestamp;

/// How a lease that does not end is written.
pub const NEVER: &str = "never";

/// The present on the lease clock of one file, and how far it is from the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The present.
    pub now: Timestamp,
    /// Lease time less wall time, in seconds.
    pub skew_secs: i64,
}

impl Times {
    /// Seconds since 1970 on the wall clock; none for a lease that does not end.
    pub fn wall(self, time: Timestamp) -> Option<i64> {
        let secs = i64::try_from(time.0).unwrap_or(i64::MAX).saturating_sub(self.skew_secs);
        (time < Timestamp::NEVER).then_some(secs)
    }

    /// The lease time at these seconds since 1970 on the wall clock.
    pub fn at(self, wall_secs: i64) -> Timestamp {
        Timestamp(u64::try_from(wall_secs.saturating_add(self.skew_secs)).unwrap_or(0))
    }

    /// `2026-11-01 12:00:05` in local time, or `never`; empty for a time that no calendar has.
    pub fn local(self, time: Timestamp) -> String {
        let Some(wall) = self.wall(time) else { return NEVER.to_owned() };
        let utc = DateTime::from_timestamp(wall, 0);
        utc.map(|utc| utc.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
    }

    /// `2026-11-01T11:00:05Z`, or `never`; empty for a time that no calendar has.
    pub fn utc(self, time: Timestamp) -> String {
        let Some(wall) = self.wall(time) else { return NEVER.to_owned() };
        let utc = DateTime::from_timestamp(wall, 0);
        utc.map(|utc| utc.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default()
    }
}

/// Seconds since 1970: RFC 3339, also without seconds, with a space for the `T` and without an offset, which means
/// local time; or a date, which means its first second. None where it is no such time, or one that the clocks skip here.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let with_offset =
        ["%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M%:z", "%Y-%m-%d %H:%M%:z"];
    let zulu = text.strip_suffix(['Z', 'z']).map(|bare| format!("{bare}+00:00"));
    let spelled = zulu.as_deref().unwrap_or(text);
    if let Some(time) = with_offset.iter().find_map(|format| DateTime::parse_from_str(spelled, format).ok()) {
        return Some(time.timestamp());
    }
    let local = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.and_time(NaiveTime::MIN));
    let naive =
        local.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok()).or_else(date)?;
    // An hour that the clocks repeat: the first one.
    Local.from_local_datetime(&naive).earliest().map(|time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_seconds_and_offset() {
        let noon = 1_793_534_400;
        for text in
            ["2026-11-01T12:00:00Z", "2026-11-01T12:00Z", "2026-11-01 13:00+01:00", "2026-11-01T12:00:00.9Z"]
        {
            assert_eq!(parse(text), Some(noon), "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "2026-11-01T25:00", "12:00", "2026-11-01T12:00:00 Z x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_without_an_offset_are_local() {
        let times = Times { now: Timestamp(0), skew_secs: 0 };
        for (text, shown) in [
            ("2026-11-01T12:00", "2026-11-01 12:00:00"),
            ("2026-11-01 12:00:05", "2026-11-01 12:00:05"),
            ("2026-11-01", "2026-11-01 00:00:00"),
        ] {
            assert_eq!(times.local(times.at(parse(text).unwrap())), shown);
        }
    }

    #[test]
    fn written_times_are_read_back_whatever_the_skew() {
        let times = Times { now: Timestamp(0), skew_secs: 77 };
        let time = Timestamp(1_793_534_477);
        assert_eq!(times.utc(time), "2026-11-01T12:00:00Z");
        assert_eq!(times.at(parse(&times.utc(time)).unwrap()), time);
        assert_eq!(times.utc(Timestamp::NEVER), "never");
    }
}
