//! What an administrator may do to leases beside what clients do: free an address, import leases. By the same engine, lock
//! and transaction as the workers', who see the rows when they catch up. Called by the commands.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use super::engine::LeaseManager;
use super::reader::Recorded;
use super::standing::Standing;
use super::store::LeaseStore;
use super::types::{ClientKey, Lease, LeaseEvent, LeaseState};

/// What came of freeing an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freed {
    /// This lease ends with the commit.
    Lease(Lease),
    /// This rest, after a decline or a conflict, is over with the commit.
    Rest(Lease),
    /// Nobody holds it, and it does not rest; the last lease, if there ever was one. Nothing changes.
    NotHeld(Option<Lease>),
}

/// A lease to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRow {
    /// Its place in the file, for messages: a line, or the number of an entry.
    pub place: u64,
    /// The lease; its subnet and pool are set by its address.
    pub recorded: Recorded,
    /// The file does not say since when: a lease that its client has already lasts on.
    pub undated: bool,
}

/// What an import does with its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Addresses that were never leased before.
    pub new: usize,
    /// Addresses whose lease is another now.
    pub updated: usize,
    /// Addresses whose lease was just so already.
    pub unchanged: usize,
}

/// Why a lease cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The configuration knows no subnet for it.
    #[error("{0} lies in no configured subnet")]
    NoSubnet(Ipv4Addr),
    /// It is nobody's to lease.
    #[error(
        "{0} is never given out: it is the network's own or the broadcast address, a router, or the server's"
    )]
    NeverGiven(Ipv4Addr),
    /// Two rows of the file are about the same address.
    #[error("{address} stands in {word} {place} already")]
    Twice {
        /// The address.
        address: Ipv4Addr,
        /// The first row.
        place: u64,
        /// What a place is.
        word: &'static str,
    },
    /// Two rows of the file are active leases of one client on one link.
    #[error("its client has an active lease of {other} on the same link in {word} {place}")]
    SecondLease {
        /// The other address.
        other: Ipv4Addr,
        /// The other row.
        place: u64,
        /// What a place is.
        word: &'static str,
    },
    /// The client has a lease already that the file does not end.
    #[error("its client has an active lease of {0} on the same link now; hint: leases release {0}")]
    HasLease(Ipv4Addr),
    /// Somebody else has the address.
    #[error("{address} is leased to {holder} now; hint: leases release {address}")]
    Taken {
        /// The address.
        address: Ipv4Addr,
        /// The hardware address of who has it, or the bytes of its identity.
        holder: String,
    },
    /// The address rests.
    #[error("{0} rests since somebody was found to use it; hint: leases release {0}")]
    Resting(Ipv4Addr),
}

impl<S: LeaseStore> LeaseManager<S> {
    /// Ends the lease of an address, whoever holds it, or its rest. The client remembers it all the same: its next
    /// renewal is answered as if it had released the lease itself.
    pub fn free(&mut self, address: Ipv4Addr) -> Freed {
        let Some(lease) = self.lease_at(address) else { return Freed::NotHeld(None) };
        match lease.state {
            LeaseState::Active if lease.expires >= self.now => {
                self.end_lease(address);
                Freed::Lease(lease)
            }
            LeaseState::Declined | LeaseState::Conflict if lease.expires > self.now => {
                // As the keeper does at the end of a rest; an administrator also vouches that it was no fault of the address.
                let mut over = lease.clone();
                over.client = super::store::ClientRef::default().to_client();
                over.state = LeaseState::Expired;
                over.expires = self.now;
                self.push(LeaseEvent::Recovered, over, 0);
                Freed::Rest(lease)
            }
            LeaseState::Active
            | LeaseState::Expired
            | LeaseState::Released
            | LeaseState::Declined
            | LeaseState::Conflict => Freed::NotHeld(Some(lease)),
        }
    }

    /// Imports all of the leases, or none and says of each why not. `word` is what messages call a place.
    pub fn import(
        &mut self,
        rows: Vec<ImportRow>,
        word: &'static str,
    ) -> Result<Imported, Vec<(u64, Refusal)>> {
        let refused = self.refusals(&rows, word);
        if !refused.is_empty() {
            return Err(refused);
        }
        let mut done = Imported::default();
        for ImportRow { recorded: Recorded { lease, declines }, undated, .. } in rows {
            let mut lease = self.placed(lease);
            if undated
                && self.standing(lease.address, &lease.client.key) == Standing::Own
                && let Some(held) = self.held(lease.address)
            {
                lease.starts = held.starts;
            }
            let known = self.lease_at(lease.address);
            let same = known.as_ref() == Some(&lease)
                && self.held(lease.address).is_some_and(|held| held.declines == declines);
            let count = match (same, known) {
                (true, _) => &mut done.unchanged,
                (false, Some(_)) => &mut done.updated,
                (false, None) => &mut done.new,
            };
            *count += 1;
            if !same {
                self.push(self.event_of(&lease), lease, declines);
            }
        }
        Ok(done)
    }

    fn refusals(&self, rows: &[ImportRow], word: &'static str) -> Vec<(u64, Refusal)> {
        let mut seen: HashMap<Ipv4Addr, u64> = HashMap::new();
        let addresses: HashSet<Ipv4Addr> = rows.iter().map(|row| row.recorded.lease.address).collect();
        let mut active = HashMap::new();
        let mut refused = Vec::new();
        for row in rows {
            let lease = &row.recorded.lease;
            let address = lease.address;
            let Some(link) = self.topology.link_at(address) else {
                refused.push((row.place, Refusal::NoSubnet(address)));
                continue;
            };
            if self.topology.is_fixture(address) || self.reserved.contains(&address) {
                refused.push((row.place, Refusal::NeverGiven(address)));
                continue;
            }
            if let Some(place) = seen.insert(address, row.place) {
                refused.push((row.place, Refusal::Twice { address, place, word }));
                continue;
            }
            let key = &lease.client.key;
            match self.standing(address, key) {
                Standing::Anothers => {
                    let holder = self.lease_at(address).map(|held| name_of(&held)).unwrap_or_default();
                    refused.push((row.place, Refusal::Taken { address, holder }));
                }
                Standing::Resting if !lease.state.rests() => {
                    refused.push((row.place, Refusal::Resting(address)));
                }
                Standing::Open | Standing::Own | Standing::Resting => {}
            }
            if lease.state != LeaseState::Active {
                continue;
            }
            if let Some((other, place)) = active.insert((key, link), (address, row.place)) {
                refused.push((row.place, Refusal::SecondLease { other, place, word }));
            }
            // What the file says of that other address is judged in its own row.
            let other = self.binding(key, link).filter(|other| !addresses.contains(other));
            if let Some(other) = other.filter(|other| self.standing(*other, key) == Standing::Own) {
                refused.push((row.place, Refusal::HasLease(other)));
            }
        }
        refused
    }

    /// In the subnet and pool of this configuration; outside of all pools the file's word for it stays.
    fn placed(&self, lease: Lease) -> Lease {
        let Lease { address, client, pool, state, starts, expires, .. } = lease;
        let mut lease = self.new_lease(address, client, state, starts, expires);
        if lease.pool.is_empty() {
            lease.pool = pool;
        }
        lease
    }

    fn event_of(&self, lease: &Lease) -> LeaseEvent {
        match lease.state {
            LeaseState::Active if self.standing(lease.address, &lease.client.key) == Standing::Own => {
                LeaseEvent::Renewed
            }
            LeaseState::Active => LeaseEvent::Granted,
            LeaseState::Expired => LeaseEvent::Expired,
            LeaseState::Released => LeaseEvent::Released,
            LeaseState::Declined => LeaseEvent::Declined,
            LeaseState::Conflict => LeaseEvent::Conflict,
        }
    }
}

/// Who holds a lease, for a message.
fn name_of(lease: &Lease) -> String {
    let hardware = lease.client.hardware;
    if hardware.bytes().is_empty() { identity(&lease.client.key) } else { hardware.to_string() }
}

fn identity(key: &ClientKey) -> String {
    super::reader::colons(key.as_bytes())
}
