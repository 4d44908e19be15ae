//! The active leases of each circuit (option 82.1 behind its relay), so that `max_leases_per_circuit` is decided without a
//! scan. Kept by the cache, and only where there is such a limit; what the batch adds is counted by the engine.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::cache::Spread;
use super::engine::{LeaseManager, Scope};
use super::hash::{secret, sip13};
use super::store::ClientRef;
use super::types::{Client, LeaseState, Timestamp};

/// Active leases by circuit, those that end first in front: so what has run out is passed over whether the keeper has
/// come by or not.
#[derive(Debug)]
pub(super) struct Circuits {
    leases: HashMap<u64, BTreeSet<(Timestamp, Ipv4Addr)>, Spread>,
    key: (u64, u64),
}

/// A circuit by its hash, under a key that nobody outside knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Circuit(u64);

impl Circuits {
    pub(super) fn new() -> Self {
        Self { leases: HashMap::default(), key: (secret(), secret()) }
    }

    /// The circuit that a client is on. The same circuit-id behind two relays is two circuits.
    pub(super) fn of(&self, client: &ClientRef<'_>) -> Option<Circuit> {
        let id = client.circuit_id.filter(|id| !id.is_empty())?;
        let relay = client.relay.map_or(0, u32::from);
        Some(Circuit(sip13(self.key.0, self.key.1 ^ u64::from(relay), id)))
    }

    pub(super) fn enter(&mut self, client: &ClientRef<'_>, expires: Timestamp, address: Ipv4Addr) {
        if let Some(Circuit(circuit)) = self.of(client) {
            self.leases.entry(circuit).or_default().insert((expires, address));
        }
    }

    pub(super) fn leave(&mut self, client: &ClientRef<'_>, expires: Timestamp, address: Ipv4Addr) {
        let Some(Circuit(circuit)) = self.of(client) else { return };
        if let Some(leases) = self.leases.get_mut(&circuit) {
            leases.remove(&(expires, address));
            if leases.is_empty() {
                self.leases.remove(&circuit);
            }
        }
    }

    /// The addresses leased on a circuit that have not run out by `now`.
    fn current(&self, circuit: Circuit, now: Timestamp) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let leases = self.leases.get(&circuit.0);
        let leases = leases.map(|leases| leases.range((now, Ipv4Addr::UNSPECIFIED)..));
        leases.into_iter().flatten().map(|(_, address)| *address)
    }
}

impl<S> LeaseManager<S> {
    /// Whether the client must wait until another lease on its circuit ends: as many are active there as
    /// `max_leases_per_circuit` allows, and none of them is the client's own. Counts what is pending in the batch. A
    /// client without a circuit is never concerned.
    pub fn circuit_is_full(&self, client: &Client, scope: &Scope<'_>) -> bool {
        let Some(circuits) = self.cache.circuits() else { return false };
        let Some(circuit) = circuits.of(&ClientRef::from(client)) else { return false };
        if self.link(scope).and_then(|link| self.binding(&client.key, link)).is_some_and(|own| {
            self.held(own).is_some_and(|held| {
                self.is_current(held.state, held.expires) && circuits.of(&held.client) == Some(circuit)
            })
        }) {
            return false;
        }
        let limit = usize::try_from(self.settings.max_leases_per_circuit).unwrap_or(usize::MAX);
        let committed = circuits.current(circuit, self.now);
        // Of an address that the batch has changed, its last word counts.
        let committed = committed.filter(|address| self.batch.at(*address).is_none()).take(limit).count();
        let pending = self.batch.rows().iter().filter(|row| {
            self.batch.at(row.lease.address).is_some_and(|last| last.seq == row.seq)
                && self.is_current(row.lease.state, row.lease.expires)
                && circuits.of(&ClientRef::from(&row.lease.client)) == Some(circuit)
        });
        committed + pending.count() >= limit
    }

    fn is_current(&self, state: LeaseState, expires: Timestamp) -> bool {
        state == LeaseState::Active && expires >= self.now
    }
}
