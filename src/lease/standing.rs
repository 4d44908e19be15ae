//! What is known of an address, and how it stands towards a client: the questions that every rule of the engine asks
//! first. Changes nothing.

use std::net::Ipv4Addr;

use super::batch::Pending;
use super::engine::{LeaseManager, Scope};
use super::pools::LinkId;
use super::record::Record;
use super::store::ClientRef;
use super::types::{Client, ClientKey, HardwareAddress, LeaseState, Timestamp};

/// How an address stands towards a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Never leased, or what was ran out or ended: anybody's.
    Open,
    /// Leased to this client now.
    Own,
    /// Leased to another client now.
    Anothers,
    /// Found in use by somebody; rests.
    Resting,
}

/// What is known of an address, pending or committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) state: LeaseState,
    pub(super) starts: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) declines: u8,
    pub(super) client: ClientRef<'a>,
}

impl<S> LeaseManager<S> {
    /// What is known of the client that has `address` leased now, if it has this hardware address.
    pub fn holder(&self, address: Ipv4Addr, hardware: &HardwareAddress) -> Option<ClientRef<'_>> {
        let held = self.held(address)?;
        let current = held.state == LeaseState::Active && held.expires >= self.now;
        (current && held.client.hardware == *hardware).then_some(held.client)
    }

    /// Whether anybody has `address` leased now.
    pub fn is_leased(&self, address: Ipv4Addr) -> bool {
        self.held(address).is_some_and(|held| held.state == LeaseState::Active && held.expires >= self.now)
    }

    /// What is known of an address.
    pub(super) fn held(&self, address: Ipv4Addr) -> Option<Held<'_>> {
        match self.batch.at(address) {
            Some(row) => Some(Held {
                state: row.lease.state,
                starts: row.lease.starts,
                expires: row.lease.expires,
                declines: row.declines,
                client: ClientRef::from(&row.lease.client),
            }),
            None => self.cache.at(address).map(Held::from),
        }
    }

    /// A lease that ran out is open at once, whether the keeper has written so or not. Time is known to the second,
    /// rounded down: within the second of its end a lease may still be its client's.
    pub(super) fn standing(&self, address: Ipv4Addr, key: &ClientKey) -> Standing {
        // Asked several times for a packet: so nothing else of the record is unpacked.
        let (state, expires, own) = match self.batch.at(address) {
            Some(row) => (row.lease.state, row.lease.expires, row.lease.client.key == *key),
            None => match self.cache.at(address) {
                Some(record) => (record.state, record.expires, record.client.is(key)),
                None => return Standing::Open,
            },
        };
        match state {
            LeaseState::Active if expires < self.now => Standing::Open,
            LeaseState::Active if own => Standing::Own,
            LeaseState::Active => Standing::Anothers,
            LeaseState::Declined | LeaseState::Conflict if expires > self.now => Standing::Resting,
            LeaseState::Declined | LeaseState::Conflict | LeaseState::Expired | LeaseState::Released => {
                Standing::Open
            }
        }
    }

    /// The address of a client's current or last lease on a link.
    pub(super) fn binding(&self, key: &ClientKey, link: LinkId) -> Option<Ipv4Addr> {
        let hash = self.cache.client_hash(key.as_bytes(), link);
        let address = match self.batch.of(hash) {
            Pending::At(address) => address,
            Pending::Untouched => self.cache.of(key, hash)?.address,
        };
        // In between, the batch may have given it to somebody else.
        let (own, state) = match self.batch.at(address) {
            Some(row) => (row.lease.client.key == *key, row.lease.state),
            None => self.cache.at(address).map(|record| (record.client.is(key), record.state))?,
        };
        (own && !state.rests()).then_some(address)
    }

    pub(super) fn link(&self, scope: &Scope<'_>) -> Option<LinkId> {
        scope.subnets.first().map(|subnet| self.topology.link_of(*subnet))
    }

    /// Whether a client of this scope may have an address: one of its pools', or the one that is reserved for it.
    pub(super) fn permitted(&self, address: Ipv4Addr, scope: &Scope<'_>) -> bool {
        self.topology.permits(address, scope.host, scope.pools).is_ok() && !self.reserved.contains(&address)
    }

    /// The address that is reserved for the client of this scope.
    pub(super) fn reservation(&self, scope: &Scope<'_>) -> Option<Ipv4Addr> {
        let address = self.topology.host(scope.host?)?.address?;
        (!self.reserved.contains(&address)).then_some(address)
    }

    /// Like [`Self::standing`], for an address that is about to be given: one host may have several hardware
    /// addresses, of which one uses the reservation at a time. Whichever comes last has it; the one before is refused
    /// when it renews. And an address that was found in use is no conflict for the host that uses it.
    pub(super) fn standing_for(&self, address: Ipv4Addr, client: &Client, scope: &Scope<'_>) -> Standing {
        let standing = self.standing(address, &client.key);
        if standing == Standing::Resting && self.is_user(address, client, false) {
            return Standing::Open;
        }
        if standing != Standing::Anothers || self.reservation(scope) != Some(address) {
            return standing;
        }
        let holder = self.held(address).zip(self.link(scope));
        let holder = holder.and_then(|(held, link)| self.topology.host_of(link, &held.client));
        if holder.is_some() && holder == scope.host { Standing::Open } else { standing }
    }
}

impl<'a> From<&'a Record> for Held<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            state: record.state,
            starts: record.starts,
            expires: record.expires,
            declines: record.declines,
            client: record.client.unpack(),
        }
    }
}
