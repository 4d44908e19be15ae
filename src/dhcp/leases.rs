//! What the handler asks of the lease engine. A trait, so that the handler can be tried with an engine that
//! gives set answers, and `explain` can run it without a store.

use std::net::Ipv4Addr;

use crate::lease::{
    Answer, Ask, Client, Declined, LeaseManager, LeaseStore, Offered, PoolId, Released, Scope,
};

/// The engine as the handler sees it.
pub trait Leases {
    /// DISCOVER: an address to offer.
    fn discover(&mut self, client: &Client, scope: &Scope<'_>, wish: Option<Ipv4Addr>) -> Offered;
    /// REQUEST in one of its states; `lease_secs` says how long a lease in a pool lasts.
    fn request(
        &mut self,
        client: &Client,
        scope: &Scope<'_>,
        ask: Ask,
        lease_secs: &dyn Fn(PoolId) -> u32,
    ) -> Answer;
    /// RELEASE.
    fn release(&mut self, client: &Client, address: Ipv4Addr) -> Released;
    /// DECLINE.
    fn decline(&mut self, client: &Client, address: Ipv4Addr) -> Declined;
    /// The client has chosen another server: our offer to it is void.
    fn withdraw_offer(&mut self, client: &Client, scope: &Scope<'_>);
}

impl<S: LeaseStore> Leases for LeaseManager<S> {
    fn discover(&mut self, client: &Client, scope: &Scope<'_>, wish: Option<Ipv4Addr>) -> Offered {
        Self::discover(self, client, scope, wish)
    }

    fn request(
        &mut self,
        client: &Client,
        scope: &Scope<'_>,
        ask: Ask,
        lease_secs: &dyn Fn(PoolId) -> u32,
    ) -> Answer {
        Self::request(self, client, scope, ask, lease_secs)
    }

    fn release(&mut self, client: &Client, address: Ipv4Addr) -> Released {
        Self::release(self, client, address)
    }

    fn decline(&mut self, client: &Client, address: Ipv4Addr) -> Declined {
        Self::decline(self, client, address)
    }

    fn withdraw_offer(&mut self, client: &Client, scope: &Scope<'_>) {
        Self::withdraw_offer(self, client, scope);
    }
}
