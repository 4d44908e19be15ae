//! How much happens in a second: figures that people look at first, of the history of the counters.

use std::time::Duration;

use super::histogram::number;
use super::history::History;
use super::metrics::Counter as C;

/// The times over which rates are taken.
pub const WINDOWS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];

/// What rates are taken of: a name, and the counters that make it up.
pub const RATES: [(&str, Of); 9] = [
    ("acks", Of::These(&[C::AckOut])),
    ("requests_in", Of::Family("echo_daemon_dhcp_messages_total", Some("in"))),
    ("replies_out", Of::Family("echo_daemon_dhcp_messages_total", Some("out"))),
    ("dropped", Of::Family("echo_daemon_dhcp_dropped_total", None)),
    ("grants", Of::These(&[C::LeaseGranted])),
    ("renewals", Of::These(&[C::LeaseRenewed])),
    ("tcp_connections", Of::These(&[C::TcpAccepted])),
    ("udp_datagrams", Of::These(&[C::UdpEchoed])),
    ("errors", Of::Family("echo_daemon_errors_total", None)),
];

/// Which counters make up a rate.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// These.
    These(&'static [C]),
    /// All of a family, or those of one direction.
    Family(&'static str, Option<&'static str>),
}

impl Of {
    fn takes(self, cell: C) -> bool {
        match self {
            Self::These(cells) => cells.contains(&cell),
            Self::Family(family, direction) => {
                cell.family() == family
                    && direction.is_none_or(|wanted| {
                        cell.labels().iter().any(|(name, value)| *name == "direction" && *value == wanted)
                    })
            }
        }
    }

    /// The sum of its counters, which are in the order of [`C::ALL`].
    pub fn sum(self, counters: &[u64]) -> u64 {
        C::ALL.iter().zip(counters).filter(|(cell, _)| self.takes(**cell)).map(|(_, value)| value).sum()
    }
}

/// How often in a second, over each of [`WINDOWS`]; none where the history does not reach back so far.
pub type Rate = [Option<f64>; WINDOWS.len()];

/// The rates now, in the order of [`RATES`].
pub(super) fn rates(history: History, now: Duration, counters: &[u64]) -> Vec<Rate> {
    let pasts = WINDOWS.map(|window| history.before(now, window));
    let rate = |of: Of| {
        pasts.each_ref().map(|past| {
            let past = past.as_ref()?;
            let more = of.sum(counters).saturating_sub(of.sum(&past.counters));
            Some(number(more) / past.age.as_secs_f64())
        })
    };
    RATES.iter().map(|(_, of)| rate(*of)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Shared;

    #[test]
    fn rate_is_what_was_added_in_its_time() {
        let history = Shared::create(0).unwrap().history();
        let mut counters = vec![0; C::COUNT];
        for second in 0..=11 {
            counters[C::AckOut as usize] = if second == 11 { 130 } else { 10 * second };
            history.push(Duration::from_secs(1_000 + second), &counters, &[]);
        }
        let rates = rates(history, Duration::from_secs(1_011), &counters);
        assert_eq!(rates[0], [Some(30.0), Some(12.0), None]);
        assert_eq!(rates[2], rates[0], "ACKs are replies");
        assert_eq!(rates[1], [Some(0.0), Some(0.0), None]);
    }
}
