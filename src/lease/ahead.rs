//! Which addresses are probed ahead of time, so that a new client hardly ever waits for a probe: the free ones of a small
//! pool, a grid over the free ones of a large one, and of a pool that is used up the leases that ended first.
//!
//! The choice of an address ([`super::choose`]) looks at the same grid.

use std::net::Ipv4Addr;

use super::engine::LeaseManager;
use super::free::FreeIndex;
use super::offers::Holder;
use super::pools::PoolSpec;
use super::standing::Standing;
use super::store::LeaseStore;
use super::types::{ClientKey, PoolId, Timestamp};

/// Free addresses of a pool that are known clear at one time; a pool that has no more is probed whole.
pub(super) const GRID: u64 = 256;
/// Ended leases of a pool that are known clear at one time.
pub(super) const ENDED: usize = 16;
/// Addresses looked at in one call.
const LOOK: usize = 64;

/// How far the search has come.
#[derive(Debug, Default)]
pub struct Ahead {
    pool: usize,
    step: u64,
    /// In a small pool: the next offset to look at.
    offset: u64,
}

/// What one step through a pool leads to.
enum Candidate {
    Is(Ipv4Addr),
    /// None at this step.
    None,
    /// The pool has no more.
    Over,
}

impl<S: LeaseStore> LeaseManager<S> {
    /// The next address that is worth a probe, in the pools that `wanted` names. Looks at few addresses in one call and
    /// goes on from there in the next; none where it found nothing this time.
    pub fn next_unprobed(&self, ahead: &mut Ahead, wanted: &dyn Fn(&PoolSpec) -> bool) -> Option<Ipv4Addr> {
        // Before the first batch the time is not known.
        let probes = self.probes.filter(|_| self.now != Timestamp::default())?;
        for _ in 0..LOOK {
            let pools = self.topology.pools();
            let Some(pool) = pools.get(ahead.pool) else {
                *ahead = Ahead::default();
                continue;
            };
            match if wanted(pool) { self.candidate(pool, ahead) } else { Candidate::Over } {
                Candidate::Is(address) if self.is_nobodys(address) && probes.is_stale(address, self.now) => {
                    return Some(address);
                }
                Candidate::Is(_) | Candidate::None => {}
                Candidate::Over => *ahead = Ahead { pool: ahead.pool + 1, ..Ahead::default() },
            }
        }
        None
    }

    fn candidate(&self, pool: &PoolSpec, ahead: &mut Ahead) -> Candidate {
        let Some(index) = self.cache.pool(pool.id).map(|index| &index.free) else { return Candidate::Over };
        let step = ahead.step;
        ahead.step += 1;
        if step < GRID {
            let offset = if index.free() <= GRID {
                let next = index.next(ahead.offset);
                ahead.offset = next.map_or(pool.range.size(), |offset| offset + 1);
                if next.is_none() {
                    ahead.step = GRID;
                }
                next
            } else {
                on_grid(index, pool.range.size(), step)
            };
            return offset.and_then(|offset| at(pool, offset)).map_or(Candidate::None, Candidate::Is);
        }
        let ended = usize::try_from(step - GRID).ok().filter(|place| *place < ENDED);
        let ended = ended.and_then(|place| self.cache.ended(pool.id, self.now).nth(place));
        ended.map_or(Candidate::Over, Candidate::Is)
    }

    /// Neither leased nor offered to anybody, and one that we give out.
    fn is_nobodys(&self, address: Ipv4Addr) -> bool {
        let nobody = ClientKey::from_bytes(&[]);
        !self.reserved.contains(&address)
            && !self.topology.never_given(address)
            && self.standing(address, &nobody) == Standing::Open
            && self.offers.holder(address, &nobody, self.now) == Holder::Nobody
    }

    /// The offset of the pool's address at `offset` of its range.
    pub(super) fn pool_address(&self, pool: PoolId, offset: u64) -> Option<Ipv4Addr> {
        at(self.topology.pool(pool)?, offset)
    }
}

/// The free address that stands for one of the [`GRID`] points over a pool of `size` addresses.
pub(super) fn on_grid(free: &FreeIndex, size: u64, point: u64) -> Option<u64> {
    // Sizes are at most 2³².
    free.next(point * size / GRID)
}

fn at(pool: &PoolSpec, offset: u64) -> Option<Ipv4Addr> {
    // Inside the pool's range, which ends at 2³² - 1.
    Some(Ipv4Addr::from(u32::from(pool.range.first()).checked_add(u32::try_from(offset).ok()?)?))
}
