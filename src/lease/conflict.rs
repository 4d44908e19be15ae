//! Addresses that answered a conflict check: how they rest, and for whom the rest does not count.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::engine::{LeaseManager, RestCause};
use super::standing::Standing;
use super::store::{ClientRef, LeaseStore};
use super::types::{Client, HardwareAddress, LeaseState};

/// A client that gave its address back may answer for it so much longer, while it shuts down.
const FAREWELL_SECS: u64 = 5;

impl<S: LeaseStore> LeaseManager<S> {
    /// Lets an address rest that somebody uses without a lease; `by` is its hardware address, where the answer told.
    /// How long, from the commit; the rest doubles as for a decline. None, and nothing changes, where the address is
    /// leased or rests already, is none that we give out, or is only just being left by its last holder.
    pub fn conflict(&mut self, address: Ipv4Addr, by: Option<HardwareAddress>) -> Option<Duration> {
        let given_out = self.topology.dynamic_pool_of(address).is_some() && !self.reserved.contains(&address);
        let nobody = ClientRef::default().to_client();
        if !given_out || self.standing(address, &nobody.key) != Standing::Open {
            return None;
        }
        let leaving = self.held(address).is_some_and(|held| {
            held.state == LeaseState::Released
                && Some(held.client.hardware) == by
                && self.now.0.saturating_sub(held.expires.0) <= FAREWELL_SECS
        });
        if leaving {
            return None;
        }
        let user = Client { hardware: by.unwrap_or_default(), ..nobody };
        Some(self.rest(address, user, RestCause::Conflict))
    }
}

impl<S> LeaseManager<S> {
    /// Whether a client is the host that our conflict check found at an address: by its hardware address, or, where an
    /// ICMP answer did not tell that, because it `lives` there as it says. What a client declined is not meant: somebody
    /// else was there then.
    pub(super) fn is_user(&self, address: Ipv4Addr, client: &Client, lives: bool) -> bool {
        self.held(address).is_some_and(|held| {
            let by = held.client.hardware;
            held.state == LeaseState::Conflict
                && if by.bytes().is_empty() { lives } else { by.bytes() == client.hardware.bytes() }
        })
    }
}
