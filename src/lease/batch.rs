//! The changes of a batch that are not committed yet, as later packets of the batch see them. Owned by the engine;
//! forgotten whole when the commit fails.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::cache::Spread;
use super::pools::LinkId;
use super::store::LogRow;
use super::types::{ClientKey, LeaseState};

/// Pending rows and their indexes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    rows: Vec<LogRow>,
    by_address: HashMap<u32, usize, Spread>,
    by_client: HashMap<(ClientKey, LinkId), Pending>,
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

    /// What the batch says of a client's lease on a link.
    pub(super) fn of(&self, key: &ClientKey, link: LinkId) -> Pending {
        if self.by_client.is_empty() {
            return Pending::Untouched;
        }
        self.by_client.get(&(key.clone(), link)).copied().unwrap_or(Pending::Untouched)
    }

    pub(super) fn push(&mut self, row: LogRow, link: Option<LinkId>) {
        let address = row.lease.address;
        if let Some(link) = link {
            let key = row.lease.client.key.clone();
            match row.lease.state {
                LeaseState::Active | LeaseState::Expired | LeaseState::Released => {
                    self.by_client.insert((key, link), Pending::At(address));
                }
                // A rest is nobody's lease; the client may well hold another address.
                LeaseState::Declined | LeaseState::Conflict => (),
            }
        }
        self.by_address.insert(u32::from(address), self.rows.len());
        self.rows.push(row);
    }
}
