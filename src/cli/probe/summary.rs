//! What many exchanges took together: shortest, median, 99th percentile and longest of each step, and how many failed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Step, millis};

/// Different reasons of failures that are shown; a server that is down fails all exchanges for the same one.
const REASONS: usize = 5;

/// The figures of all exchanges.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Each step in the order of the exchange, and what it took, ascending.
    steps: Vec<(&'static str, Vec<Duration>)>,
    done: usize,
    failed: usize,
    reasons: BTreeMap<String, usize>,
}

impl Summary {
    /// Runs through the exchanges.
    pub(super) fn of(outcomes: impl Iterator<Item = Result<Vec<Step>, String>>) -> Self {
        let mut summary = Self::default();
        for outcome in outcomes {
            match outcome {
                Ok(steps) => {
                    summary.done += 1;
                    for step in &steps {
                        summary.add(step);
                    }
                }
                Err(reason) => {
                    summary.failed += 1;
                    // Reasons may name addresses: their number is bounded.
                    if summary.reasons.len() < REASONS || summary.reasons.contains_key(&reason) {
                        *summary.reasons.entry(reason).or_default() += 1;
                    }
                }
            }
        }
        summary.steps.iter_mut().for_each(|(_, times)| times.sort_unstable());
        summary
    }

    /// Whether each exchange came to its end.
    pub(super) fn complete(&self) -> bool {
        self.failed == 0
    }

    /// For the terminal.
    pub(super) fn lines(&self) -> Vec<String> {
        let verdict = if self.complete() { "ok    " } else { "failed" };
        let all = self.done + self.failed;
        let mut lines =
            vec![format!("{verdict}  dhcp  {all} exchanges, {} complete, {} lost", self.done, self.failed)];
        if self.done > 0 {
            lines.push(format!(
                "        {:<16} {:>9} {:>9} {:>9} {:>9}  ms",
                "", "min", "median", "p99", "max"
            ));
        }
        for (name, times) in &self.steps {
            let [min, median, p99, max] = [0, 50, 99, 100].map(|percent| millis(percentile(times, percent)));
            lines.push(format!("        dhcp  {name:<10} {min:>9.3} {median:>9.3} {p99:>9.3} {max:>9.3}"));
        }
        lines.extend(self.reasons.iter().map(|(reason, count)| format!("        {count} times: {reason}")));
        lines
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let steps = self.steps.iter().map(|(name, times)| {
            let [min, median, p99, max] = [0, 50, 99, 100].map(|percent| millis(percentile(times, percent)));
            json!({ "step": name, "ms": { "min": min, "median": median, "p99": p99, "max": max } })
        });
        json!({
            "ok": self.complete(), "service": "dhcp", "complete": self.done, "lost": self.failed,
            "steps": steps.collect::<Vec<_>>(), "reasons": self.reasons,
        })
    }

    fn add(&mut self, step: &Step) {
        match self.steps.iter_mut().find(|(name, _)| *name == step.name) {
            Some((_, times)) => times.push(step.took),
            None => self.steps.push((step.name, vec![step.took])),
        }
    }
}

/// The nearest rank of ascending values: the least one that `percent` of them do not exceed.
fn percentile(ascending: &[Duration], percent: usize) -> Duration {
    let rank = (ascending.len() * percent).div_ceil(100).max(1);
    ascending.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let found = [0, 50, 99, 100].map(|percent| percentile(&times, percent).as_millis());
        assert_eq!(found, [1, 100, 198, 200]);
        assert_eq!(percentile(&times[..1], 99).as_millis(), 1);
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn lost_exchanges_are_counted_by_reason() {
        let step = |name| Step { name, took: Duration::from_millis(2), result: String::new() };
        let outcomes = [
            Ok(vec![step("discover"), step("request")]),
            Err("no answer".to_owned()),
            Err("no answer".to_owned()),
        ];
        let summary = Summary::of(outcomes.into_iter());
        assert!(!summary.complete());
        let lines = summary.lines().join("\n");
        assert!(lines.contains("3 exchanges, 1 complete, 2 lost"), "{lines}");
        assert!(lines.contains("discover       2.000     2.000     2.000     2.000"), "{lines}");
        assert!(lines.contains("2 times: no answer"), "{lines}");
    }
}
