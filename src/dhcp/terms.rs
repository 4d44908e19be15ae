//! The terms of a lease: how long, and when to renew. Values only; the engine keeps the time.

use std::time::Duration;

use crate::config::model::{LeaseTime, Subnet};

/// RFC 2131 §3.3: all ones stand for infinity.
pub(super) const INFINITE_SECS: u32 = u32::MAX;

/// The lease time granted to a client that asks for `asked_secs`: its wish within the limits, else the default. Infinity
/// is granted only where the maximum is as large.
pub(super) fn lease_secs(time: LeaseTime, asked_secs: Option<u32>) -> u32 {
    let LeaseTime { default, min, max } = time;
    let wish = asked_secs.map_or(default, |secs| Duration::from_secs(secs.into()));
    u32::try_from(wish.max(min).min(max).as_secs()).unwrap_or(INFINITE_SECS)
}

/// T1 and T2 of a lease (RFC 2131 §4.4.5); none for one that never ends, which has nothing to renew.
pub(super) fn renewal_secs(subnet: &Subnet, lease_secs: u32) -> Option<(u32, u32)> {
    if lease_secs == INFINITE_SECS {
        return None;
    }
    let part = |fraction: f64| {
        // Fractions are checked to lie between 0 and 1, so neither multiplication nor conversion can fail.
        let secs = f64::from(lease_secs) * fraction.clamp(0.0, 1.0);
        u32::try_from(Duration::from_secs_f64(secs).as_secs()).unwrap_or(lease_secs)
    };
    Some((part(subnet.common.renew_at), part(subnet.common.rebind_at)))
}
