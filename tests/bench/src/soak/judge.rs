//! The verdict on a run: nothing lost, nobody harmed but by a kill, and the last quarter as the first.

use super::sample::Sample;
use super::trouble::{Event, What};
use crate::tree::count;
use std::time::Duration;

/// Shorter runs are not judged for being flat: caches fill, the pool is walked through once.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_mins(20);
/// What the beginning is not counted for: until leases run out as fast as new ones are taken.
const WARM_UP: f64 = 360.0;
/// How much more the last quarter may have than the first: a share, and as much besides.
const MEMORY: (f64, f64) = (1.10, 2.0);
const LATENCY: (f64, f64) = (1.5, 1.0);
const A_FEW: (f64, f64) = (1.0, 2.0);

/// A value of the run's first and last quarter (medians), after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trend {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) first: f64,
    pub(crate) last: f64,
    pub(crate) highest: f64,
    allowed: (f64, f64),
}

impl Trend {
    fn is_flat(&self) -> bool {
        self.last <= self.first * self.allowed.0 + self.allowed.1
    }
}

/// One value of a sample.
type Value = fn(&Sample) -> Option<f64>;

/// What is to stay as it is.
pub(crate) fn trends(samples: &[Sample]) -> Vec<Trend> {
    let warm = samples.iter().position(|sample| sample.at >= WARM_UP).unwrap_or(0);
    let samples = samples.get(warm..).unwrap_or_default();
    let quarter = samples.len() / 4;
    let rows: [(&'static str, &'static str, (f64, f64), Value); 7] = [
        ("memory of all processes", "MiB", MEMORY, |sample| Some(sample.memory_mib)),
        ("memory of main", "MiB", MEMORY, |sample| Some(sample.main_memory_mib)),
        ("descriptors of main", "", A_FEW, |sample| Some(count(sample.main_descriptors as u64))),
        ("descriptors of the worker with most", "", A_FEW, |sample| {
            Some(count(sample.worker_descriptors as u64))
        }),
        ("processes besides those of TCP clients", "", A_FEW, |sample| Some(count(sample.processes as u64))),
        ("DHCP answer, p50", "ms", LATENCY, |sample| sample.dhcp_p50),
        ("DHCP answer, p99", "ms", LATENCY, |sample| sample.dhcp_p99),
    ];
    let trend = |(name, unit, allowed, value): (_, _, _, Value)| {
        let first = samples.iter().take(quarter).filter_map(value).collect();
        let last = samples.iter().rev().take(quarter).filter_map(value).collect();
        let highest = samples.iter().filter_map(value).fold(0.0, f64::max);
        Trend { name, unit, allowed, first: median(first), last: median(last), highest }
    };
    rows.into_iter().map(trend).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What the run came to, beside its samples.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Of the clients, in words.
    pub(crate) faults: Vec<String>,
    pub(crate) leases: usize,
    /// Leases in force that the lease file does not have.
    pub(crate) missing: usize,
    pub(crate) zombies: usize,
    pub(crate) tcp_failed: u64,
    pub(crate) tcp_cut: u64,
    pub(crate) udp_lost: u64,
    pub(crate) api_failed: u64,
}

/// How often somebody of this role was killed.
pub(crate) fn kills(events: &[Event], is: impl Fn(&str) -> bool) -> u64 {
    events.iter().filter(|event| matches!(&event.what, What::Kill(role) if is(role))).count() as u64
}

/// Everything that is wrong with a run.
pub(crate) fn complaints(
    outcome: &Outcome,
    events: &[Event],
    samples: &[Sample],
    length: Duration,
) -> Vec<String> {
    let mut wrong = outcome.faults.clone();
    let mut demand = |holds: bool, words: String| {
        if !holds {
            wrong.push(words);
        }
    };
    demand(
        outcome.missing == 0,
        format!("{} of {} leases are not in the file", outcome.missing, outcome.leases),
    );
    demand(outcome.zombies == 0, format!("{} zombies at the end", outcome.zombies));
    // What a process has in hand when it is killed: one connection that is accepted but not forked for; a batch of datagrams; the requests
    // until the next worker serves.
    let (tcp, clients) = (kills(events, |role| role == "tcp"), kills(events, |role| role == "tcp client"));
    let harmed = outcome.tcp_failed + outcome.tcp_cut;
    demand(harmed <= tcp + clients, format!("{harmed} TCP clients were harmed by {} kills", tcp + clients));
    let udp = kills(events, |role| role == "udp");
    demand(outcome.udp_lost <= 64 * udp, format!("{} datagrams were lost by {udp} kills", outcome.udp_lost));
    let api = kills(events, |role| role == "api");
    demand(
        outcome.api_failed <= 6 * api,
        format!("{} API requests failed by {api} kills", outcome.api_failed),
    );
    for event in events {
        if let What::Failed(words) = &event.what {
            demand(false, format!("after {:.0} s: {words}", event.at.as_secs_f64()));
        }
    }
    if length >= LONG_ENOUGH {
        for trend in trends(samples) {
            let Trend { name, unit, first, last, .. } = trend;
            demand(
                trend.is_flat(),
                format!("{name}: {first:.2} {unit} in the first quarter, {last:.2} in the last"),
            );
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat() -> Vec<Sample> {
        let sample = |at: u32| Sample {
            at: f64::from(at),
            memory_mib: 50.0,
            processes: 8,
            dhcp_p99: Some(3.0),
            ..Sample::default()
        };
        (1..=1800).map(sample).collect()
    }

    fn judged(outcome: &Outcome, events: &[Event], samples: &[Sample]) -> Vec<String> {
        complaints(outcome, events, samples, Duration::from_mins(30))
    }

    #[test]
    fn quiet_run_is_in_order() {
        assert_eq!(judged(&Outcome::default(), &[], &flat()), [""; 0]);
    }

    #[test]
    fn growth_is_a_complaint_in_a_long_run() {
        let mut samples = flat();
        for sample in samples.iter_mut().rev().take(500) {
            sample.memory_mib = 60.0;
            sample.processes = 11;
        }
        assert_eq!(judged(&Outcome::default(), &[], &samples).len(), 2);
        assert_eq!(complaints(&Outcome::default(), &[], &samples, Duration::from_mins(2)), [""; 0]);
        samples.iter_mut().take(300).for_each(|sample| sample.memory_mib = 500.0);
        assert_eq!(judged(&Outcome::default(), &[], &samples).len(), 2, "the warm-up does not count");
    }

    #[test]
    fn harm_is_allowed_only_to_whom_a_kill_could_harm() {
        let harmed = Outcome { tcp_failed: 1, tcp_cut: 1, udp_lost: 3, ..Outcome::default() };
        assert_eq!(judged(&harmed, &[], &flat()).len(), 2);
        let kill = |role: &str| Event { at: Duration::ZERO, what: What::Kill(role.to_owned()) };
        let events = [kill("tcp"), kill("tcp client"), kill("udp")];
        assert_eq!(judged(&harmed, &events, &flat()), [""; 0]);
        let failed = Event { at: Duration::ZERO, what: What::Failed("upgrade: no".to_owned()) };
        assert_eq!(judged(&Outcome::default(), &[failed], &flat()), ["after 0 s: upgrade: no"]);
        let lost = Outcome { missing: 1, leases: 9, ..Outcome::default() };
        assert_eq!(judged(&lost, &[], &flat()), ["1 of 9 leases are not in the file"]);
    }
}
