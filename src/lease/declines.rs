//! DECLINE: how an address rests that a client found in use, and how many may. Whoever is on the link can invent clients,
//! take an offer under each name and decline it; without a bound that empties a pool within a second, for
//! `decline_hold` each, whatever `max_leases_per_circuit` says.

use std::net::Ipv4Addr;

use super::engine::{Declined, LeaseManager, RestCause};
use super::offers::Holder;
use super::standing::Standing;
use super::store::LeaseStore;
use super::types::{Client, ClientKey, LeaseState, Timestamp};

/// Of so many addresses of a pool one may rest for a DECLINE. What our own check finds in use does not count: that
/// nobody can make up by sending us packets alone.
const ONE_IN: u64 = 4;

impl<S: LeaseStore> LeaseManager<S> {
    /// Lets an address rest that the client found in use (RFC 2131 §4.3.3); only if it was leased or offered to it.
    /// The rest doubles each time, until a client renews a lease of the address.
    ///
    /// Where a quarter of the pool rests so already, the client is not believed: its lease ends, for it does not use the
    /// address, and nobody is offered it for `offer_hold`. That is no more than anybody can do with a DISCOVER, and the client
    /// gets another address meanwhile.
    pub fn decline(&mut self, client: &Client, address: Ipv4Addr) -> Declined {
        let offered = || self.offers.holder(address, &client.key, self.now) == Holder::This;
        let leased = match self.standing(address, &client.key) {
            Standing::Own => true,
            Standing::Open if offered() => false,
            Standing::Open | Standing::Anothers | Standing::Resting => return Declined::NotHolder,
        };
        if !self.enough_rest(address) {
            return Declined::Done(self.rest(address, client.clone(), RestCause::Decline));
        }
        if leased {
            self.end_lease(address);
        }
        let until = Timestamp(self.now.0 + u64::max(self.settings.offer_hold.as_secs(), 1));
        self.offers.release(address, &client.key);
        self.offers.claim(address, &ClientKey::from_bytes(&[]), until, self.now);
        Declined::Doubted
    }
}

impl<S> LeaseManager<S> {
    /// Whether so many addresses of this one's pool were declined that it must not rest as well. One that is reserved or lies
    /// outside of all pools can be declined by its own client alone, and takes nothing from others.
    fn enough_rest(&self, address: Ipv4Addr) -> bool {
        let Some(pool) = self.topology.dynamic_pool_of(address) else { return false };
        let (Some(spec), Some(index)) = (self.topology.pool(pool), self.cache.pool(pool)) else {
            return false;
        };
        let committed = index.states[usize::from(LeaseState::Declined.number())];
        let declined = |row: &&super::store::LogRow| row.lease.state == LeaseState::Declined;
        let here = |row: &&super::store::LogRow| self.topology.pool_of(row.lease.address) == Some(pool);
        let pending = self.batch.rows().iter().filter(declined).filter(here).count() as u64;
        committed + pending >= u64::max(spec.range.size() / ONE_IN, 1)
    }
}
