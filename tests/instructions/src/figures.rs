//! The recorded figures, and what is too far from them. A gain is to be recorded too: else it could be lost again unseen.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::callgrind::Costs;
use crate::world::Failure;

/// Per cent by which a cost may differ from the recorded one, up or down.
const MARGIN: u64 = 5;
/// Instructions by which it may differ in any case: whether the allocator finds a block at once hangs on all that was before.
const SLACK: u64 = 200;
/// Per cent by which it may grow from few leases in memory to many.
const GROWTH: u64 = 10;

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// As the compiler calls itself; another one makes other code.
    compiler: String,
    /// Of the processor.
    architecture: String,
    instructions_per_packet: Costs,
}

impl Figures {
    pub(crate) fn new(compiler: String, instructions_per_packet: Costs) -> Self {
        Self { compiler, architecture: std::env::consts::ARCH.to_owned(), instructions_per_packet }
    }

    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let named = |error: &dyn std::fmt::Display| format!("could not read {}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| named(&error))?;
        Ok(serde_json::from_str(&text).map_err(|error| named(&error))?)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }

    /// Why they are not those of this program; none: they are.
    pub(crate) fn differs_from(&self, compiler: &str) -> Option<String> {
        if self.architecture != std::env::consts::ARCH {
            return Some(format!("they are of the architecture {}", self.architecture));
        }
        (self.compiler != compiler)
            .then(|| format!("they are of \"{}\", and this is \"{compiler}\"", self.compiler))
    }

    /// What differs from them by more than the margin, a line each.
    pub(crate) fn compare(&self, now: &Costs) -> Vec<String> {
        let hint = "hint: where that is meant, record it with scripts/instructions --record";
        let mut complaints: Vec<String> = Vec::new();
        for (name, now) in now {
            match self.instructions_per_packet.get(name) {
                Some(before) if now.abs_diff(*before) <= (before * MARGIN / 100).max(SLACK) => {}
                Some(before) if now > before => {
                    complaints.push(format!("{name}: {now} instructions instead of {before}: slower"));
                }
                Some(before) => {
                    complaints.push(format!("{name}: {now} instructions instead of {before}: faster"));
                }
                None => complaints.push(format!("{name}: {now} instructions, and none recorded")),
            }
        }
        let gone = self.instructions_per_packet.keys().filter(|name| !now.contains_key(*name));
        complaints.extend(gone.map(|name| format!("{name}: recorded, but not measured any more")));
        if !complaints.is_empty() {
            complaints.push(hint.to_owned());
        }
        complaints
    }
}

/// What costs more with many leases in memory, a line each.
pub(crate) fn growth(few: &Costs, many: &Costs) -> Vec<String> {
    let grown = few.iter().filter_map(|(name, few)| {
        let many = many.get(name)?;
        (many * 100 > few * (100 + GROWTH)).then(|| {
            format!("{name}: {few} instructions with few leases, {many} with many: the cost grows with them")
        })
    });
    grown.collect()
}

/// A line for each kind.
pub(crate) fn print(costs: &Costs) {
    for (name, cost) in costs {
        println!("{name:18} {cost:7} instructions");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(of: &[(&str, u64)]) -> Costs {
        of.iter().map(|(name, cost)| ((*name).to_owned(), *cost)).collect()
    }

    #[test]
    fn more_than_the_margin_is_complained_of_in_both_directions() {
        let recorded = Figures::new("rustc".to_owned(), costs(&[("a", 10_000), ("b", 10_000), ("gone", 1)]));
        assert_eq!(recorded.compare(&costs(&[("a", 10_500), ("b", 9_500), ("gone", 201)])), [""; 0]);
        let complaints = recorded.compare(&costs(&[("a", 10_501), ("b", 9_499), ("new", 5)]));
        let begins: Vec<_> = complaints.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(begins, ["a", "b", "new", "gone", "hint"]);
    }

    #[test]
    fn cost_may_not_grow_with_the_leases() {
        let few = costs(&[("a", 1000), ("b", 1000)]);
        let grown = growth(&few, &costs(&[("a", 1100), ("b", 1101)]));
        assert_eq!(grown.len(), 1);
        assert!(grown[0].starts_with("b:"));
    }

    #[test]
    fn figures_of_another_compiler_are_not_compared() {
        let recorded = Figures::new("rustc 1".to_owned(), Costs::new());
        assert!(recorded.differs_from("rustc 2").is_some_and(|reason| reason.contains("rustc 1")));
        assert_eq!(recorded.differs_from("rustc 1"), None);
    }
}
