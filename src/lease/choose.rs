//! DISCOVER: which address is offered (DESIGN §2). In this order: the client's reservation, its current or last lease on
//! the link, the address it asks for, the one it was offered before, the free address nearest to the one its identity
//! hashes to, the longest-expired lease.

use std::net::Ipv4Addr;

use super::engine::{LeaseManager, Offered, Scope, Standing};
use super::hash::sip13;
use super::store::LeaseStore;
use super::types::{Client, ClientKey, LeaseState, PoolId, Timestamp};

/// Most candidates looked at in one pool: those in between are all held by offers of the last minute.
const TRIES: usize = 4096;

/// Key of the hash that spreads clients over a pool. Never to be changed: clients would move after a lost lease file.
const PLACE: (u64, u64) = (0x6563_686f_2d64_6165, 0x6d6f_6e2d_706c_6163);

impl<S: LeaseStore> LeaseManager<S> {
    /// Finds an address for a client and holds it for it; `wish` is option 50.
    pub fn discover(&mut self, client: &Client, scope: &Scope<'_>, wish: Option<Ipv4Addr>) -> Offered {
        let link = self.link(scope);
        let last = link.and_then(|link| self.binding(&client.key, link));
        let before = self
            .offers
            .held_for(&client.key, self.now)
            .filter(|address| self.topology.link_at(*address).is_some_and(|at| Some(at) == link));
        let reserved = self.reservation(scope);
        let mut known = reserved.into_iter().chain(last).chain(wish).chain(before);
        let Some(address) = known
            .find_map(|address| self.hold(address, client, scope))
            .or_else(|| scope.pools.iter().find_map(|pool| self.nearest_free(*pool, client, scope)))
            .or_else(|| scope.pools.iter().find_map(|pool| self.longest_ended(*pool, client, scope)))
        else {
            return Offered::Exhausted;
        };
        if let Some(before) = before.filter(|before| *before != address) {
            self.offers.release(before, &client.key);
        }
        Offered::Address(address)
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
        // Its own lease is offered in any case: nobody else can be granted it.
        (held || standing == Standing::Own).then_some(address)
    }

    /// The free address nearest to the client's place in the pool.
    fn nearest_free(&self, pool: PoolId, client: &Client, scope: &Scope<'_>) -> Option<Ipv4Addr> {
        let range = self.topology.pool(pool)?.range;
        let free = &self.cache.pool(pool)?.free;
        let place = place_in(&client.key, range.size());
        let mut above = free.next(place);
        let mut below = place.checked_sub(1).and_then(|from| free.previous(from));
        for _ in 0..TRIES {
            let upwards = match (above, below) {
                (Some(above), Some(below)) => above - place <= place - below,
                (above, _) => above.is_some(),
            };
            let offset = if upwards { above? } else { below? };
            // Inside the pool's range, which ends at 2³² - 1.
            let address = Ipv4Addr::from(u32::from(range.first()) + u32::try_from(offset).ok()?);
            if let Some(found) = self.hold(address, client, scope) {
                return Some(found);
            }
            if upwards {
                above = free.next(offset + 1);
            } else {
                below = offset.checked_sub(1).and_then(|from| free.previous(from));
            }
        }
        None
    }

    /// The lease of the pool that ended first; what this batch ended comes last.
    fn longest_ended(&self, pool: PoolId, client: &Client, scope: &Scope<'_>) -> Option<Ipv4Addr> {
        let pending = self.batch.rows().iter().filter(|row| row.lease.state == LeaseState::Released);
        let pending =
            pending.map(|row| row.lease.address).filter(|a| self.topology.pool_of(*a) == Some(pool));
        self.cache
            .ended(pool, self.now)
            .take(TRIES)
            .chain(pending)
            .find_map(|address| self.hold(address, client, scope))
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
