//! What is known of the lease file, in memory: leases by address, by client and by circuit, the free addresses and the order
//! of running out of each pool. Answers every look-up of the engine without a scan. Holds committed rows only.
//!
//! The index by client leads to one lease for each client and link, the one that counts: the active one, else the
//! latest. The order of a pool holds every lease of it by the time it runs out (or ended), so that the longest
//! expired is the first, whether the keeper has come by or not.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::circuits::Circuits;
use super::free::FreeIndex;
use super::hash::{secret, sip13};
use super::names::Names;
use super::pools::{LinkId, Topology};
use super::record::{Packed, Record};
use super::store::RowRef;
use super::types::{ClientKey, Lease, LeaseEvent, LeaseState, PoolId, Timestamp};

/// The committed leases.
#[derive(Debug)]
pub(super) struct Cache {
    topology: Arc<Topology>,
    records: Vec<Record>,
    vacant: Vec<u32>,
    by_address: HashMap<u32, u32, Spread>,
    by_client: HashMap<u64, u32, Spread>,
    pools: Vec<PoolIndex>,
    names: Names,
    /// None where circuits have no limit.
    circuits: Option<Circuits>,
    /// While a file is read the orders of the pools are left for the end.
    loading: bool,
    key: (u64, u64),
}

/// The index of one pool.
#[derive(Debug)]
pub(super) struct PoolIndex {
    pub(super) free: FreeIndex,
    order: BTreeSet<(Timestamp, Ipv4Addr)>,
    /// Leases in each state, as in [`LeaseState::ALL`].
    pub(super) states: [u64; 5],
}

impl Cache {
    pub(super) fn new(topology: Arc<Topology>, by_circuit: bool) -> Self {
        let pools = topology.pools().iter().map(|pool| {
            let mut free = FreeIndex::new(pool.range.size());
            let first = u32::from(pool.range.first());
            for range in pool.blocked() {
                let from = u32::from(range.first()).max(first);
                let to = u32::from(range.last()).min(u32::from(pool.range.last()));
                (from..=to).for_each(|address| free.take(u64::from(address - first)));
            }
            PoolIndex { free, order: BTreeSet::new(), states: [0; 5] }
        });
        let pools = pools.collect();
        Self {
            topology,
            records: Vec::new(),
            vacant: Vec::new(),
            by_address: HashMap::default(),
            by_client: HashMap::default(),
            pools,
            names: Names::default(),
            circuits: by_circuit.then(Circuits::new),
            loading: false,
            key: (secret(), secret()),
        }
    }

    /// Forgets everything and takes what `read` hands over, the rows of a whole file. After an error it is empty.
    ///
    /// The orders are made at the end, from sorted entries: that takes less time than a million insertions, and leaves
    /// the nodes of the trees full, where insertions in rising order leave them half empty.
    pub(super) fn load<T, E>(
        &mut self,
        read: impl FnOnce(&mut dyn FnMut(RowRef<'_>)) -> Result<T, E>,
    ) -> Result<T, E> {
        *self = Self::new(Arc::clone(&self.topology), self.circuits.is_some());
        self.loading = true;
        let result = read(&mut |row| self.apply(&row));
        if result.is_err() {
            *self = Self::new(Arc::clone(&self.topology), self.circuits.is_some());
            return result;
        }
        self.loading = false;
        let mut orders = vec![Vec::new(); self.pools.len()];
        for record in &self.records {
            if let Some(order) = record.pool.and_then(|pool| orders.get_mut(usize::from(pool.0))) {
                order.push((record.expires, record.address));
            }
        }
        for (index, order) in self.pools.iter_mut().zip(orders) {
            index.order = order.into_iter().collect();
        }
        result
    }

    pub(super) fn at(&self, address: Ipv4Addr) -> Option<&Record> {
        self.by_address.get(&u32::from(address)).and_then(|slot| self.record(*slot))
    }

    /// The lease of a client on a link, by their [`Self::client_hash`]: the active one, else the latest.
    pub(super) fn of(&self, key: &ClientKey, hash: u64) -> Option<&Record> {
        let slot = self.by_client.get(&hash)?;
        self.record(*slot).filter(|record| record.client.is(key))
    }

    /// The active leases by circuit; none where circuits have no limit.
    pub(super) fn circuits(&self) -> Option<&Circuits> {
        self.circuits.as_ref()
    }

    pub(super) fn pool(&self, pool: PoolId) -> Option<&PoolIndex> {
        self.pools.get(usize::from(pool.0))
    }

    /// The leases of a pool that ran out or ended by `now`, longest first; rests that are over among them.
    pub(super) fn ended(&self, pool: PoolId, now: Timestamp) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let order = self.pool(pool).map(|index| index.order.iter());
        order
            .into_iter()
            .flatten()
            .take_while(move |(expires, _)| *expires <= now)
            .map(|(_, address)| *address)
    }

    pub(super) fn lease(&self, record: &Record) -> Lease {
        Lease {
            address: record.address,
            client: record.client.unpack().to_client(),
            subnet: self.names.get(record.subnet),
            pool: self.names.get(record.pool_name),
            state: record.state,
            starts: record.starts,
            expires: record.expires,
        }
    }

    /// Takes a committed row; one that is older than what is known of its address changes nothing.
    pub(super) fn apply(&mut self, row: &RowRef<'_>) {
        let known = self.by_address.get(&u32::from(row.address)).copied();
        match known {
            Some(slot) => {
                if self.record(slot).is_none_or(|record| row.seq <= record.seq) {
                    return;
                }
                self.unlink(slot);
                if row.event == LeaseEvent::Deleted {
                    self.remove(slot);
                } else {
                    self.change(slot, row);
                    self.link(slot);
                }
            }
            None if row.event == LeaseEvent::Deleted => {}
            None => self.insert(row),
        }
    }

    fn insert(&mut self, row: &RowRef<'_>) {
        let pool = self.topology.dynamic_pool_of(row.address);
        let record = Record {
            seq: row.seq,
            starts: row.starts,
            expires: row.expires,
            client: Packed::new(&row.client),
            address: row.address,
            subnet: self.names.place(row.subnet),
            pool_name: self.names.place(row.pool),
            pool,
            link: self.topology.link_at(row.address),
            state: row.state,
            declines: row.declines,
        };
        let slot = if let Some(slot) = self.vacant.pop() {
            self.records[slot as usize] = record;
            slot
        } else {
            self.records.push(record);
            // One for each address, so there are never more than 2³².
            u32::try_from(self.records.len() - 1).unwrap_or(u32::MAX)
        };
        self.by_address.insert(u32::from(row.address), slot);
        if let Some((index, offset)) = self.place(row.address, pool) {
            index.free.take(offset);
        }
        self.link(slot);
    }

    fn change(&mut self, slot: u32, row: &RowRef<'_>) {
        let subnet = self.names.place(row.subnet);
        let pool_name = self.names.place(row.pool);
        let record = &mut self.records[slot as usize];
        if record.client.unpack() != row.client {
            record.client = Packed::new(&row.client);
        }
        record.seq = row.seq;
        record.starts = row.starts;
        record.expires = row.expires;
        record.state = row.state;
        record.declines = row.declines;
        record.subnet = subnet;
        record.pool_name = pool_name;
    }

    fn remove(&mut self, slot: u32) {
        let record = &mut self.records[slot as usize];
        let (address, pool) = (record.address, record.pool);
        record.client = Packed::default();
        record.pool = None;
        self.by_address.remove(&u32::from(address));
        self.vacant.push(slot);
        if let Some((index, offset)) = self.place(address, pool) {
            index.free.give_back(offset);
        }
    }

    /// Enters a record into the order, the counts and the index by client.
    fn link(&mut self, slot: u32) {
        let record = &self.records[slot as usize];
        let entry = (record.expires, record.address);
        let state = record.state;
        if let Some(index) = record.pool.and_then(|pool| self.pools.get_mut(usize::from(pool.0))) {
            if !self.loading {
                index.order.insert(entry);
            }
            index.states[usize::from(state.number())] += 1;
        }
        if let Some(circuits) = self.circuits.as_mut().filter(|_| state == LeaseState::Active) {
            circuits.enter(&record.client.unpack(), record.expires, record.address);
        }
        let record = &self.records[slot as usize];
        if let Some(hash) = self.hash_of(record) {
            let rank = |r: &Record| (r.state == LeaseState::Active, r.seq);
            let current = self.by_client.get(&hash).and_then(|slot| self.record(*slot));
            if current.is_none_or(|current| rank(current) < rank(record)) {
                self.by_client.insert(hash, slot);
            }
        }
    }

    fn unlink(&mut self, slot: u32) {
        let record = &self.records[slot as usize];
        let entry = (record.expires, record.address);
        let state = record.state;
        if let Some(index) = record.pool.and_then(|pool| self.pools.get_mut(usize::from(pool.0))) {
            if !self.loading {
                index.order.remove(&entry);
            }
            index.states[usize::from(state.number())] -= 1;
        }
        if let Some(circuits) = self.circuits.as_mut().filter(|_| state == LeaseState::Active) {
            circuits.leave(&record.client.unpack(), record.expires, record.address);
        }
        if let Some(hash) = self.hash_of(&self.records[slot as usize])
            && self.by_client.get(&hash) == Some(&slot)
        {
            self.by_client.remove(&hash);
        }
    }

    fn record(&self, slot: u32) -> Option<&Record> {
        self.records.get(slot as usize)
    }

    fn place(&mut self, address: Ipv4Addr, pool: Option<PoolId>) -> Option<(&mut PoolIndex, u64)> {
        let first = self.topology.pool(pool?)?.range.first();
        let offset = u32::from(address).checked_sub(u32::from(first))?;
        Some((self.pools.get_mut(usize::from(pool?.0))?, u64::from(offset)))
    }

    /// Where the index by client knows a record; none for one that is no lease of a client: a resting address is
    /// not a lease of the client that declined it.
    fn hash_of(&self, record: &Record) -> Option<u64> {
        let key = record.client.key();
        let link = record.link.filter(|_| !record.state.rests() && !key.is_empty())?;
        Some(self.client_hash(key, link))
    }

    /// Keyed, so that nobody can choose client-ids that meet; the record found is compared all the same.
    pub(super) fn client_hash(&self, key: &[u8], link: LinkId) -> u64 {
        sip13(self.key.0, self.key.1 ^ u64::from(link.0), key)
    }
}

/// Hashes addresses, and keys that are hashes already.
#[derive(Debug, Default, Clone)]
pub(super) struct SpreadHasher(u64);

/// The state of the maps by number.
pub(super) type Spread = BuildHasherDefault<SpreadHasher>;

impl Hasher for SpreadHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = sip13(self.0, 0, bytes);
    }

    /// The length before the bytes of a slice.
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    /// What closes a text.
    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        let mixed = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::ClientRef;
    use super::super::tests::{START, lan};
    use super::*;

    fn row(seq: u64, n: u32, state: LeaseState, event: LeaseEvent) -> RowRef<'static> {
        RowRef {
            seq,
            at: START,
            event,
            address: Ipv4Addr::from(0x0a00_0100 + n),
            subnet: "lan",
            pool: "main",
            state,
            starts: START,
            // In another order than that of the addresses.
            expires: START.plus(n * 7919 % 1000),
            declines: 0,
            client: ClientRef { key: b"k", ..ClientRef::default() },
        }
    }

    #[test]
    fn loading_leads_to_the_same_order_as_row_after_row() {
        let rows = || {
            let first = (0..500).map(|n| row(u64::from(n) + 1, n, LeaseState::Active, LeaseEvent::Granted));
            let gone = (0..500)
                .step_by(3)
                .map(|n| row(1000 + u64::from(n), n, LeaseState::Expired, LeaseEvent::Deleted));
            let again = (0..500)
                .step_by(9)
                .map(|n| row(2000 + u64::from(n), n, LeaseState::Active, LeaseEvent::Granted));
            let over = (1..500)
                .step_by(6)
                .map(|n| row(3000 + u64::from(n), n, LeaseState::Released, LeaseEvent::Released));
            first.chain(gone).chain(again).chain(over)
        };
        let topology = lan("10.0.0.2-10.0.255.254");
        let mut one_by_one = Cache::new(Arc::clone(&topology), true);
        rows().for_each(|row| one_by_one.apply(&row));
        let mut loaded = Cache::new(topology, true);
        // What was known before is gone.
        loaded.apply(&row(9000, 40_000, LeaseState::Active, LeaseEvent::Granted));
        loaded
            .load(|sink| {
                rows().for_each(sink);
                Ok::<(), ()>(())
            })
            .unwrap();
        let state = |cache: &Cache| {
            let order: Vec<Ipv4Addr> = cache.ended(PoolId(0), Timestamp::NEVER).collect();
            (order, cache.pools[0].states, cache.pools[0].free.free())
        };
        assert_eq!(state(&loaded), state(&one_by_one));
        assert!(state(&loaded).0.len() > 300);
        let more = row(9001, 3, LeaseState::Active, LeaseEvent::Renewed);
        for cache in [&mut loaded, &mut one_by_one] {
            cache.apply(&more);
        }
        assert_eq!(state(&loaded), state(&one_by_one), "and goes on alike");
        assert_eq!(
            loaded.load(|sink| {
                rows().for_each(sink);
                Err::<(), ()>(())
            }),
            Err(())
        );
        assert!(state(&loaded).0.is_empty(), "nothing is known after a failure");
    }
}
