//! What may be said of leases at several levels: globally, per subnet, per pool.
//!
//! Owns the inheritance between levels. A lower level takes from the one above whatever it leaves out; a bound of
//! the lease time that nobody gave makes room for a default that somebody gave.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::address::Unicast;
use super::leaf::{Field, Leaf};
use super::model::{Boot, Common, IdentifyBy, LeaseTime};
use super::section::Section;
use super::units::{INFINITE, LONGEST, Span, show_duration};

const BUILT_IN: LeaseTime = LeaseTime {
    default: Duration::from_secs(3_600),
    min: Duration::from_secs(5 * 60),
    max: Duration::from_secs(24 * 3_600),
};

/// Shortest lease: less leaves a client no time between T1 and T2 to renew (RFC 2131 §4.4.5).
const SHORTEST: Duration = Duration::from_secs(10);

/// What a lease time may be, but for `infinite`.
const SPANS: std::ops::RangeInclusive<Span> = Span(SHORTEST)..=Span(LONGEST);

/// Lease times as far as they were given, at this level or above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GivenTimes {
    default: Option<Duration>,
    min: Option<Duration>,
    max: Option<Duration>,
}

impl GivenTimes {
    /// Reads `lease_time` of `section`; what it leaves out is `above`'s.
    pub(super) fn read(section: &Section<'_>, above: Self) -> Self {
        Self::said(section, above).unwrap_or(above)
    }

    /// Likewise, for levels that have lease times only where they say so: those in force.
    pub(super) fn own(section: &Section<'_>, above: Self) -> Option<LeaseTime> {
        Self::said(section, above).map(Self::resolve)
    }

    /// None where `section` says nothing.
    fn said(section: &Section<'_>, above: Self) -> Option<Self> {
        let times = section.child("lease_time");
        section.describe_short_form("lease_time", || Span::schema_within(&SPANS));
        let one = |key: &str| {
            let span = times.find(key);
            times.describe(key, || Span::schema_within(&SPANS));
            let Span(value) = span?;
            let fits = (SHORTEST..=LONGEST).contains(&value) && value.subsec_nanos() == 0;
            if !(fits || value == INFINITE) {
                let (least, most) = (show_duration(SHORTEST), show_duration(LONGEST));
                let reason =
                    format!("{} is no lease time; it must be {least} to {most}", show_duration(value));
                times.error(key, format!("{reason}, in whole seconds, or infinite"), None);
                return None;
            }
            Some(value)
        };
        let own = Self { default: one("default"), min: one("min"), max: one("max") };
        times.finish();
        let given = Self {
            default: own.default.or(above.default),
            min: own.min.or(above.min),
            max: own.max.or(above.max),
        };
        // What stands above was checked there.
        if own == Self::default() {
            return None;
        }
        given.check(section);
        given.show(&times);
        Some(given)
    }

    /// Shows all three, for a default that was said may have moved a bound.
    fn show(self, times: &Section<'_>) {
        let LeaseTime { default, min, max } = self.resolve();
        for (key, value) in [("default", default), ("min", min), ("max", max)] {
            times.show(key, value.show());
        }
    }

    fn check(self, section: &Section<'_>) {
        let LeaseTime { default, min, max } = self.resolve();
        let [default, min, max] = [("default", default), ("min", min), ("max", max)];
        for (lower, upper) in [(min, default), (default, max), (min, max)] {
            if lower.1 > upper.1 {
                let (below, above) = (show_duration(lower.1), show_duration(upper.1));
                let reason = format!("{} ({below}) is longer than {} ({above})", lower.0, upper.0);
                section.error("lease_time", reason, Some("it must be min <= default <= max".to_owned()));
                return;
            }
        }
    }

    /// The times in force.
    pub(super) fn resolve(self) -> LeaseTime {
        let least = self.min.unwrap_or(Duration::ZERO);
        let most = self.max.unwrap_or(INFINITE);
        // Where min is above max, an error was noted and the result is not used.
        let default = self.default.unwrap_or_else(|| BUILT_IN.default.min(most).max(least));
        LeaseTime {
            default,
            min: self.min.unwrap_or_else(|| BUILT_IN.min.min(default)),
            max: self.max.unwrap_or_else(|| BUILT_IN.max.max(default)),
        }
    }
}

/// What a level hands down.
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) times: GivenTimes,
    pub(super) common: Common,
}

impl Level {
    /// What holds where nothing is said at all.
    pub(super) fn built_in() -> Self {
        let common = Common {
            identify_by: IdentifyBy::ClientId,
            lease_time: BUILT_IN,
            renew_at: 0.5,
            rebind_at: 0.875,
            server_id: None,
            next_server: None,
            server_name: None,
            boot_file: None,
            options: std::collections::BTreeMap::new(),
        };
        Self { times: GivenTimes::default(), common }
    }

    /// Shows what holds where the outermost level says nothing. A subnet shows only what it says itself: so a change of
    /// the global value still reaches it.
    pub(super) fn show_unsaid(&self, dhcp: &Section<'_>) {
        let common = &self.common;
        let times = dhcp.child("lease_time");
        dhcp.describe_short_form("lease_time", || Span::schema_within(&SPANS));
        let LeaseTime { default, min, max } = common.lease_time;
        for (key, value) in [("default", default), ("min", min), ("max", max)] {
            times.fallback(key, value.show());
        }
        for (key, value) in [
            ("identify_by", common.identify_by.show()),
            ("renew_at", common.renew_at.show()),
            ("rebind_at", common.rebind_at.show()),
            ("server_id", Json::Null),
            ("next_server", Json::Null),
            ("server_name", Json::Null),
            ("boot_file", Json::Null),
        ] {
            dhcp.fallback(key, value);
        }
    }

    /// Reads the keys that may stand globally and per subnet.
    pub(super) fn read(section: &Section<'_>, above: &Self) -> Self {
        let times = GivenTimes::read(section, above.times);
        let inherited = &above.common;
        let (renew_at, rebind_at) = fractions(section, inherited);
        let address = |key: &str, inherited: Option<Ipv4Addr>| {
            section.nullable::<Unicast>(key).map_or(inherited, |given| given.map(|address| address.0))
        };
        let name = section.nullable::<Field<64>>("server_name").map(|given| given.map(|name| name.0));
        let file = section.nullable::<Field<128>>("boot_file").map(|given| given.map(|file| file.0));
        let common = Common {
            identify_by: section.find("identify_by").unwrap_or(inherited.identify_by),
            lease_time: times.resolve(),
            renew_at,
            rebind_at,
            server_id: address("server_id", inherited.server_id),
            next_server: address("next_server", inherited.next_server),
            server_name: name.unwrap_or_else(|| inherited.server_name.clone()),
            boot_file: file.unwrap_or_else(|| inherited.boot_file.clone()),
            options: section.raw("options"),
        };
        Self { times, common }
    }
}

/// Of text only the form can be told.
fn fraction_schema() -> Json {
    let mut schema = f64::schema();
    if let Json::Object(schema) = &mut schema {
        schema.extend([("exclusiveMinimum".to_owned(), json!(0)), ("exclusiveMaximum".to_owned(), json!(1))]);
    }
    schema
}

/// T1 and T2 as fractions of the lease time.
fn fractions(section: &Section<'_>, inherited: &Common) -> (f64, f64) {
    let one = |key: &str, inherited: f64| {
        let value = section.find::<f64>(key);
        section.describe(key, fraction_schema);
        let Some(value) = value else { return inherited };
        if value > 0.0 && value < 1.0 {
            return value;
        }
        section.error(key, format!("{value} is not a fraction; it must lie between 0 and 1"), None);
        inherited
    };
    let (renew_at, rebind_at) = (one("renew_at", inherited.renew_at), one("rebind_at", inherited.rebind_at));
    if renew_at >= rebind_at && (section.has("renew_at") || section.has("rebind_at")) {
        let key = if section.has("renew_at") { "renew_at" } else { "rebind_at" };
        let reason = format!("renew_at ({renew_at}) must be less than rebind_at ({rebind_at})");
        section.error(
            key,
            reason,
            Some("a client renews first and rebinds later (RFC 2131 §4.4.5)".to_owned()),
        );
    }
    (renew_at, rebind_at)
}

/// Reads the boot fields of a level that may override them one by one.
pub(super) fn boot(section: &Section<'_>) -> Boot {
    Boot {
        next_server: section.nullable::<Unicast>("next_server").flatten().map(|address| address.0),
        server_name: section.nullable::<Field<64>>("server_name").flatten().map(|name| name.0),
        boot_file: section.nullable::<Field<128>>("boot_file").flatten().map(|file| file.0),
    }
}
