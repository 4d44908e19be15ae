//! DISCOVER: which address is offered (DESIGN §2). In this order: the client's reservation, its current or last lease on
//! the link, the address it asks for, the one it was offered before, the free address nearest to the one its identity
//! hashes to, the longest-expired lease.

use std::net::Ipv4Addr;

use super::ahead::{GRID, on_grid};
use super::engine::{LeaseManager, Offered, Scope};
use super::free::FreeIndex;
use super::hash::sip13;
use super::probes::Finding;
use super::standing::Standing;
use super::store::LeaseStore;
use super::types::{Client, ClientKey, LeaseState, PoolId, Timestamp};

/// Candidates around a client's place that are looked at before the grid.
const NEAR: usize = 256;
/// How many more candidates are looked at for one that is known clear: those around and the grid.
const PATIENCE: usize = 512;
/// Addresses to probe that are kept in mind, for the case that another client gets the first.
const SPARE: usize = 4;

/// Key of the hash that spreads clients over a pool. Never to be changed: clients would move after a lost lease file.
const PLACE: (u64, u64) = (0x6563_686f_2d64_6165, 0x6d6f_6e2d_706c_6163);

impl<S: LeaseStore> LeaseManager<S> {
    /// Finds an address for a client and holds it for it; `wish` is option 50.
    ///
    /// What is reserved for the client, or is or was its own, is offered as it is: it is the client itself that would
    /// answer. Anything else is new to it, and is probed first where the scope says so.
    pub fn discover(&mut self, client: &Client, scope: &Scope<'_>, wish: Option<Ipv4Addr>) -> Offered {
        let link = self.link(scope);
        let last = link.and_then(|link| self.binding(&client.key, link));
        let before = self
            .offers
            .held_for(&client.key, self.now)
            .filter(|address| self.topology.link_at(*address).is_some_and(|at| Some(at) == link));
        let mut own = self.reservation(scope).into_iter().chain(last);
        let own = own.find_map(|address| self.hold(address, client, scope)).map(Offered::Address);
        if own.is_none() && self.pressed {
            return Offered::Pressed;
        }
        let Some(found) = own
            .or_else(|| {
                wish.into_iter().chain(before).find_map(|address| self.hold_new(address, client, scope))
            })
            .or_else(|| scope.pools.iter().find_map(|pool| self.nearest_free(*pool, client, scope)))
            .or_else(|| scope.pools.iter().find_map(|pool| self.longest_ended(*pool, client, scope)))
        else {
            return Offered::Exhausted;
        };
        if let Some(before) = before.filter(|before| found.address() != Some(*before)) {
            self.offers.release(before, &client.key);
        }
        found
    }

    /// Whether an address that a client asks for without an offer of ours must be probed before it is granted; it is held
    /// for the client meanwhile. What is its own, or reserved for it, is not.
    pub fn must_probe(&self, client: &Client, scope: &Scope<'_>, address: Ipv4Addr) -> bool {
        // What we have offered as new is known to be clear for longer than an offer lasts.
        if self.finding(address, client, scope) != Finding::Unknown {
            return false;
        }
        let last = self.link(scope).and_then(|link| self.binding(&client.key, link));
        if last == Some(address) || self.reservation(scope) == Some(address) {
            return false;
        }
        self.hold(address, client, scope).is_some()
    }

    /// Holds one address for the client, if it may have it.
    fn hold(&self, address: Ipv4Addr, client: &Client, scope: &Scope<'_>) -> Option<Ipv4Addr> {
        if !self.permitted(address, scope) {
            return None;
        }
        let standing = self.standing_for(address, client, scope);
        match standing {
            Standing::Open | Standing::Own => {}
            Standing::Anothers | Standing::Resting => return None,
        }
        let hold = u64::max(self.settings.offer_hold.as_secs(), 1);
        let held = self.offers.claim(address, &client.key, Timestamp(self.now.0 + hold), self.now);
        // Its own lease is offered in any case, and its reservation: nobody else can be granted it. What another
        // interface of the same host was offered a moment ago is no obstacle.
        (held || standing == Standing::Own || self.reservation(scope) == Some(address)).then_some(address)
    }

    /// Holds an address that is new to the client, whatever is known of it, unless somebody uses it.
    fn hold_new(&self, address: Ipv4Addr, client: &Client, scope: &Scope<'_>) -> Option<Offered> {
        match self.finding(address, client, scope) {
            Finding::Clear => self.hold(address, client, scope).map(Offered::Address),
            Finding::Unknown => self.hold(address, client, scope).map(Offered::Probe),
            Finding::Used => None,
        }
    }

    fn finding(&self, address: Ipv4Addr, client: &Client, scope: &Scope<'_>) -> Finding {
        let probes = self.probes.filter(|_| scope.checked);
        probes.map_or(Finding::Clear, |probes| probes.find(address, &client.hardware, self.now))
    }

    /// The free address nearest to the client's place in the pool. Where addresses are checked, one that is known clear
    /// goes before: the nearest of those around, then of the grid that is probed ahead.
    fn nearest_free(&self, pool: PoolId, client: &Client, scope: &Scope<'_>) -> Option<Offered> {
        let range = self.topology.pool(pool)?.range;
        let free = &self.cache.pool(pool)?.free;
        let size = range.size();
        let place = place_in(&client.key, size);
        let address = |offset| self.pool_address(pool, offset);
        // A host that our check found at its own place is at home there, though the address counts as taken.
        let home = address(place).filter(|home| self.is_user(*home, client, false));
        if let Some(home) = home.and_then(|home| self.hold(home, client, scope)) {
            return Some(Offered::Address(home));
        }
        let with_grid = self.probes.is_some() && scope.checked && free.free() > GRID;
        let first = place * GRID / size.max(1);
        // 0, 1, −1, 2, −2, … around the client's own point, each point once.
        let points = (0..if with_grid { GRID } else { 0 }).map(|n| {
            let away = n.div_ceil(2);
            if n % 2 == 1 { first + away } else { first + GRID - away }
        });
        let grid = points.filter_map(|point| on_grid(free, size, point % GRID));
        let near = Outwards::new(free, place).take(NEAR);
        let rest = Outwards::new(free, place).skip(NEAR);
        self.best(near.chain(grid).chain(rest).filter_map(address), client, scope)
    }

    /// The lease of the pool that ended first; what this batch ended comes last.
    fn longest_ended(&self, pool: PoolId, client: &Client, scope: &Scope<'_>) -> Option<Offered> {
        let pending = self.batch.rows().iter().filter(|row| row.lease.state == LeaseState::Released);
        let pending =
            pending.map(|row| row.lease.address).filter(|a| self.topology.pool_of(*a) == Some(pool));
        self.best(self.cache.ended(pool, self.now).chain(pending), client, scope)
    }

    /// The first candidate that is known clear, if one comes within [`PATIENCE`] of the first that may be had at all; else
    /// that one, to be probed.
    fn best(
        &self,
        candidates: impl Iterator<Item = Ipv4Addr>,
        client: &Client,
        scope: &Scope<'_>,
    ) -> Option<Offered> {
        let mut unknown: Vec<Ipv4Addr> = Vec::new();
        let (mut passed, mut looked, mut clear) = (0, 0, None);
        for address in candidates.take(self.effort.tries(self.now)) {
            looked += 1;
            match self.finding(address, client, scope) {
                Finding::Clear => {
                    clear = self.hold(address, client, scope);
                    if clear.is_some() {
                        break;
                    }
                }
                Finding::Unknown if unknown.len() < SPARE => unknown.push(address),
                Finding::Unknown | Finding::Used => {}
            }
            passed += usize::from(unknown.len() == SPARE);
            if passed > PATIENCE {
                break;
            }
        }
        self.effort.spend(looked);
        let unknown = || unknown.into_iter().find_map(|address| self.hold(address, client, scope));
        clear.map(Offered::Address).or_else(|| unknown().map(Offered::Probe))
    }
}

impl Offered {
    /// What is held for the client.
    pub fn address(self) -> Option<Ipv4Addr> {
        match self {
            Self::Address(address) | Self::Probe(address) => Some(address),
            Self::Exhausted | Self::Pressed => None,
        }
    }
}

/// The free offsets of a pool, nearest to a place first.
struct Outwards<'a> {
    free: &'a FreeIndex,
    place: u64,
    above: Option<u64>,
    below: Option<u64>,
}

impl<'a> Outwards<'a> {
    fn new(free: &'a FreeIndex, place: u64) -> Self {
        let below = place.checked_sub(1).and_then(|from| free.previous(from));
        Self { free, place, above: free.next(place), below }
    }
}

impl Iterator for Outwards<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let upwards = match (self.above, self.below) {
            (Some(above), Some(below)) => above - self.place <= self.place - below,
            (above, _) => above.is_some(),
        };
        if upwards {
            let offset = self.above?;
            self.above = self.free.next(offset + 1);
            Some(offset)
        } else {
            let offset = self.below?;
            self.below = offset.checked_sub(1).and_then(|from| self.free.previous(from));
            Some(offset)
        }
    }
}

/// The client's place among `size` addresses, the same for ever.
fn place_in(key: &ClientKey, size: u64) -> u64 {
    let hash = sip13(PLACE.0, PLACE.1, key.as_bytes());
    // The high half of the product is below `size`.
    ((u128::from(hash) * u128::from(size)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_place_never_changes() {
        let key = ClientKey::by_client_id(&[1, 0, 17, 34, 51, 68, 85]);
        assert_eq!((place_in(&key, 100), place_in(&key, 65_536), place_in(&key, 1)), (32, 21_564, 0));
    }
}
