//! What the handler asks of the lease engine. A trait, so that the handler can be tried with an engine that
//! gives set answers, and `explain` can run it without a store.

use std::net::Ipv4Addr;

use crate::lease::{
    Answer, Ask, Client, Declined, HardwareAddress, LeaseManager, LeaseStore, Offered, Released, Scope,
    ShortBytes,
};

use super::client::Whereabouts;

/// The engine as the handler sees it.
pub trait Leases {
    /// DISCOVER: an address to offer.
    fn discover(&mut self, client: &Client, scope: &Scope<'_>, wish: Option<Ipv4Addr>) -> Offered;
    /// REQUEST in one of its states; `lease_secs` says how long a lease of an address lasts.
    fn request(
        &mut self,
        client: &Client,
        scope: &Scope<'_>,
        ask: Ask,
        lease_secs: &dyn Fn(Ipv4Addr) -> u32,
    ) -> Answer;
    /// Whether an address must be probed before it is granted to a client that we have not offered it to.
    fn must_probe(&self, client: &Client, scope: &Scope<'_>, address: Ipv4Addr) -> bool;
    /// What a relay told of the client of this hardware address that has the address leased now.
    fn whereabouts(&self, address: Ipv4Addr, hardware: &HardwareAddress) -> Option<Whereabouts>;
    /// Whether anybody has this address leased now.
    fn is_leased(&self, address: Ipv4Addr) -> bool;
    /// Whether the client has this address leased now.
    fn holds(&self, client: &Client, address: Ipv4Addr) -> bool;
    /// Whether the client's circuit has as many leases as it may, none of them the client's.
    fn circuit_is_full(&self, client: &Client, scope: &Scope<'_>) -> bool;
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
        lease_secs: &dyn Fn(Ipv4Addr) -> u32,
    ) -> Answer {
        Self::request(self, client, scope, ask, lease_secs)
    }

    fn must_probe(&self, client: &Client, scope: &Scope<'_>, address: Ipv4Addr) -> bool {
        Self::must_probe(self, client, scope, address)
    }

    fn whereabouts(&self, address: Ipv4Addr, hardware: &HardwareAddress) -> Option<Whereabouts> {
        let holder = self.holder(address, hardware)?;
        Some(Whereabouts {
            relay: holder.relay,
            circuit_id: holder.circuit_id.map(ShortBytes::from),
            remote_id: holder.remote_id.map(ShortBytes::from),
        })
    }

    fn is_leased(&self, address: Ipv4Addr) -> bool {
        Self::is_leased(self, address)
    }

    fn holds(&self, client: &Client, address: Ipv4Addr) -> bool {
        self.holder(address, &client.hardware).is_some_and(|holder| holder.key == client.key.as_bytes())
    }

    fn circuit_is_full(&self, client: &Client, scope: &Scope<'_>) -> bool {
        Self::circuit_is_full(self, client, scope)
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
