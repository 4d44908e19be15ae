//! How much the search for a free address may cost. In a pool whose free addresses are nearly all held by offers, a search
//! looks at thousands of them; whoever sends DISCOVERs under invented names makes a pool so, and would have the worker
//! spend all its time on searches while renewals wait in the queue. So each second has a budget; once it is spent, a search
//! looks at the nearest few only, until the second is over.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::types::Timestamp;

/// Most candidates looked at in one pool: those in between are all held by offers of the last minute.
const TRIES: usize = 4096;
/// The same where the budget is spent.
const FEW: usize = 32;
/// Candidates of a second: some 70 ns each. The usual search needs one or two, one that meets no probed address 512.
const BUDGET: u32 = 1 << 18;

/// What was spent in the second in hand. Atomic only so that a shared engine is still one that threads may look at.
#[derive(Debug, Default)]
pub(super) struct Effort {
    second: AtomicU64,
    spent: AtomicU32,
}

impl Effort {
    /// How many candidates the next search may look at.
    pub(super) fn tries(&self, now: Timestamp) -> usize {
        if self.second.load(Relaxed) != now.0 {
            self.second.store(now.0, Relaxed);
            self.spent.store(0, Relaxed);
        }
        if self.spent.load(Relaxed) < BUDGET { TRIES } else { FEW }
    }

    /// A search has looked at so many.
    pub(super) fn spend(&self, candidates: usize) {
        let candidates = u32::try_from(candidates).unwrap_or(BUDGET);
        self.spent.store(self.spent.load(Relaxed).saturating_add(candidates), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_budget_and_the_next_one_another() {
        let (effort, now) = (Effort::default(), Timestamp(1_700_000_000));
        let mut looked = 0;
        while effort.tries(now) == TRIES {
            effort.spend(TRIES);
            looked += TRIES;
        }
        assert_eq!(looked, BUDGET as usize);
        assert_eq!(effort.tries(now), FEW);
        assert_eq!(effort.tries(now.plus(1)), TRIES);
    }
}
