//! Which leases run out when, and how many there are in each pool: what the keeper keeps in memory, about 80 bytes a
//! lease; and the rows that end them. The engine never waits for these: to it a lease that ran out is over at once.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use rusqlite::params;

use super::cache::Spread;
use super::engine::PoolGauge;
use super::pools::{PoolSpec, SubnetSpec, Topology};
use super::rows::signed;
use super::schema::lease_columns;
use super::sqlite::SqliteStore;
use super::store::{RowRef, StoreError};
use super::types::{HardwareAddress, LeaseEvent, LeaseState, PoolId, SubnetId, Timestamp};

/// All addresses of the lease file by the time they run out.
#[derive(Debug)]
pub(super) struct Expiries {
    topology: Arc<Topology>,
    entries: HashMap<u32, Entry, Spread>,
    /// Those that something happens to: active leases and rests.
    order: BTreeSet<(Timestamp, u32)>,
    /// By pool, leases in each state.
    states: Vec<[u64; 5]>,
    /// By pool, addresses that are never given out of it.
    blocked: Vec<u64>,
    /// By subnet, what is reserved there and leases of it in each state.
    reserved: Vec<ReservedGauge>,
}

/// Where an address is counted.
#[derive(Debug, Clone, Copy)]
enum Place {
    Nowhere,
    Pool(PoolId),
    Reserved(SubnetId),
}

/// Counts of the reserved addresses of one subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservedGauge {
    /// The subnet.
    pub subnet: SubnetId,
    /// Leases in each state, as in [`LeaseState::ALL`].
    pub states: [u64; 5],
    /// Addresses that are reserved.
    pub size: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    seq: u64,
    expires: Timestamp,
    state: LeaseState,
    place: Place,
}

/// A lease that ran out, or a rest that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The address.
    pub address: Ipv4Addr,
    /// [`LeaseEvent::Expired`] or [`LeaseEvent::Recovered`].
    pub event: LeaseEvent,
    /// Who held it.
    pub hardware: HardwareAddress,
}

impl Expiries {
    pub(super) fn new(topology: Arc<Topology>) -> Self {
        let states = vec![[0; 5]; topology.pools().len()];
        let blocked = |pool: &PoolSpec| pool.blocked().iter().map(|range| overlap(*range, pool.range)).sum();
        let blocked = topology.pools().iter().map(blocked).collect();
        let empty = |subnet: &SubnetSpec| ReservedGauge { subnet: subnet.id, states: [0; 5], size: 0 };
        let mut reserved: Vec<ReservedGauge> = topology.subnets().iter().map(empty).collect();
        for host in topology.hosts().iter().filter(|host| host.address.is_some()) {
            if let Some(gauge) = reserved.get_mut(usize::from(host.subnet.0)) {
                gauge.size += 1;
            }
        }
        Self { topology, entries: HashMap::default(), order: BTreeSet::new(), states, blocked, reserved }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(Arc::clone(&self.topology));
    }

    /// Takes a row of the log.
    pub(super) fn apply(&mut self, row: &RowRef<'_>) {
        let entry =
            Entry { seq: row.seq, expires: row.expires, state: row.state, place: self.place_of(row.address) };
        let entry = (row.event != LeaseEvent::Deleted).then_some(entry);
        self.replace(u32::from(row.address), row.seq, entry);
    }

    /// Whether anything has run out.
    pub(super) fn any_due(&self, now: Timestamp) -> bool {
        self.order.first().is_some_and(|(expires, _)| *expires < now)
    }

    /// Writes the rows that end what has run out, at most `limit`, into the open transaction; the log's last row is
    /// `known`. To be taken over with [`Expiries::settle`] after the commit.
    pub(super) fn write(
        &self,
        store: &SqliteStore,
        known: u64,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        let pruned_to = u64::try_from(store.meta("pruned_to")?).unwrap_or(0);
        let due = self.order.iter().take_while(|(expires, _)| *expires < now).take(limit);
        let mut ended = Vec::new();
        for (seq, (_, address)) in (known + 1..).zip(due) {
            let Some(entry) = self.entries.get(address) else { continue };
            let event = if entry.state.rests() { LeaseEvent::Recovered } else { LeaseEvent::Expired };
            // The newest row of an address is in the log until it is pruned, and folded by then.
            let sql = match (event, entry.seq > pruned_to) {
                (LeaseEvent::Recovered, true) => RECOVER_FROM_LOG,
                (LeaseEvent::Recovered, false) => RECOVER_FROM_LEASES,
                (_, true) => EXPIRE_FROM_LOG,
                (_, false) => EXPIRE_FROM_LEASES,
            };
            let source = if entry.seq > pruned_to { signed(entry.seq) } else { i64::from(*address) };
            let write = || {
                let mut statement = store.connection().prepare_cached(sql)?;
                statement.query_row(params![signed(seq), signed(now.0), source], |row| {
                    let mac = row.get_ref(1)?.as_blob_or_null()?.unwrap_or_default();
                    let kind = row.get::<_, Option<u8>>(0)?.unwrap_or(0);
                    Ok(HardwareAddress::new(kind, mac).unwrap_or_default())
                })
            };
            let hardware = match write() {
                Ok(hardware) => hardware,
                Err(rusqlite::Error::QueryReturnedNoRows) => {
                    let reason = format!("row {} of the lease log is missing", entry.seq);
                    return Err(StoreError::Damaged { path: store.path().to_owned(), reason });
                }
                Err(error) => return Err(store.error("write", error)),
            };
            ended.push(Ended { address: Ipv4Addr::from(*address), event, hardware });
        }
        Ok(ended)
    }

    /// Takes over what was written and committed; `known` as given to [`Expiries::write`].
    pub(super) fn settle(&mut self, known: u64, ended: &[Ended]) {
        for (seq, one) in (known + 1..).zip(ended) {
            let address = u32::from(one.address);
            let entry =
                self.entries.get(&address).map(|entry| Entry { seq, state: LeaseState::Expired, ..*entry });
            self.replace(address, seq, entry);
        }
    }

    /// Counts by pool.
    pub(super) fn gauges(&self) -> Vec<PoolGauge> {
        let counts = self.topology.pools().iter().zip(&self.states).zip(&self.blocked);
        let gauge = |((pool, states), blocked): ((&PoolSpec, &[u64; 5]), &u64)| {
            let known: u64 = states.iter().sum();
            let size = pool.range.size();
            PoolGauge { pool: pool.id, states: *states, free: size.saturating_sub(blocked + known), size }
        };
        counts.map(gauge).collect()
    }

    /// Counts of reserved addresses, by subnet, where there are any.
    pub(super) fn reserved_gauges(&self) -> Vec<ReservedGauge> {
        self.reserved.iter().filter(|gauge| gauge.size > 0).copied().collect()
    }

    fn place_of(&self, address: Ipv4Addr) -> Place {
        if self.topology.reserved_for(address).is_some() {
            return self.topology.subnet_of(address).map_or(Place::Nowhere, Place::Reserved);
        }
        self.topology.dynamic_pool_of(address).map_or(Place::Nowhere, Place::Pool)
    }

    fn replace(&mut self, address: u32, seq: u64, entry: Option<Entry>) {
        if let Some(old) = self.entries.get(&address).copied() {
            if seq <= old.seq {
                return;
            }
            self.order.remove(&(old.expires, address));
            self.count(old, false);
            self.entries.remove(&address);
        }
        if let Some(entry) = entry {
            let ends = entry.state == LeaseState::Active || entry.state.rests();
            if ends && entry.expires < Timestamp::NEVER {
                self.order.insert((entry.expires, address));
            }
            self.count(entry, true);
            self.entries.insert(address, entry);
        }
    }

    fn count(&mut self, entry: Entry, more: bool) {
        let states = match entry.place {
            Place::Nowhere => None,
            Place::Pool(pool) => self.states.get_mut(usize::from(pool.0)),
            Place::Reserved(subnet) => {
                self.reserved.get_mut(usize::from(subnet.0)).map(|gauge| &mut gauge.states)
            }
        };
        if let Some(count) = states.and_then(|states| states.get_mut(usize::from(entry.state.number()))) {
            *count = if more { *count + 1 } else { count.saturating_sub(1) };
        }
    }
}

fn overlap(a: crate::config::AddressRange, b: crate::config::AddressRange) -> u64 {
    let (first, last) = (a.first().max(b.first()), a.last().min(b.last()));
    if first > last { 0 } else { u64::from(u32::from(last) - u32::from(first)) + 1 }
}

macro_rules! expire {
    ($source:literal) => {
        concat!(
            "INSERT INTO lease_log (seq, at, event, ",
            lease_columns!(),
            ") SELECT ?1, ?2, 'expired', address, client, hw_type, mac, client_id, hostname, hostname_raw, subnet, pool, \
             1, starts, expires, declines, relay, circuit_id, remote_id, vendor_class FROM ",
            $source,
            " = ?3 RETURNING hw_type, mac"
        )
    };
}

macro_rules! recover {
    ($source:literal) => {
        concat!(
            "INSERT INTO lease_log (seq, at, event, address, subnet, pool, state, starts, expires, declines) \
             SELECT ?1, ?2, 'recovered', address, subnet, pool, 1, starts, expires, declines FROM ",
            $source,
            " = ?3 RETURNING hw_type, mac"
        )
    };
}

const EXPIRE_FROM_LOG: &str = expire!("lease_log WHERE seq");
const EXPIRE_FROM_LEASES: &str = expire!("leases WHERE address");
const RECOVER_FROM_LOG: &str = recover!("lease_log WHERE seq");
const RECOVER_FROM_LEASES: &str = recover!("leases WHERE address");
