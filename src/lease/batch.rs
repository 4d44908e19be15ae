//! The changes of a batch that are not committed yet, as later packets of the batch see them. Owned by the engine;
//! forgotten whole when the commit fails.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::cache::Spread;
use super::store::LogRow;
use super::types::LeaseState;

/// Pending rows and their indexes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    rows: Vec<LogRow>,
    by_address: HashMap<u32, usize, Spread>,
    /// By a keyed hash of client and link ([`super::cache::Cache::client_hash`]).
    by_client: HashMap<u64, Pending, Spread>,
}

/// What a batch says of a client's lease on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    /// Nothing: what is committed stands.
    Untouched,
    /// Its current or last lease is of this address.
    At(Ipv4Addr),
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.by_address.clear();
        self.by_client.clear();
    }

    pub(super) fn rows(&self) -> &[LogRow] {
        &self.rows
    }

    pub(super) fn at(&self, address: Ipv4Addr) -> Option<&LogRow> {
        self.rows.get(*self.by_address.get(&u32::from(address))?)
    }

    /// What the batch says of a client's lease on a link, by their hash. Should two clients ever share one, the caller finds
    /// that the address is not the client's.
    pub(super) fn of(&self, hash: u64) -> Pending {
        if self.by_client.is_empty() {
            return Pending::Untouched;
        }
        self.by_client.get(&hash).copied().unwrap_or(Pending::Untouched)
    }

    /// Adds a row; `client` is the hash of its client and link, if it is on one.
    pub(super) fn push(&mut self, row: LogRow, client: Option<u64>) {
        let address = row.lease.address;
        if let Some(hash) = client {
            match row.lease.state {
                LeaseState::Active | LeaseState::Expired | LeaseState::Released => {
                    self.by_client.insert(hash, Pending::At(address));
                }
                // A rest is nobody's lease; the client may well hold another address.
                LeaseState::Declined | LeaseState::Conflict => (),
            }
        }
        self.by_address.insert(u32::from(address), self.rows.len());
        self.rows.push(row);
    }
}
