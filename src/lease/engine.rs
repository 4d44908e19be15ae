//! `LeaseManager`: who gets which address, for how long, and who may not. Pure: it is given the time, a store and the
//! offers; it knows no socket and no SQL. One for each DHCP worker, called by the pipeline.
//!
//! A batch runs between [`LeaseManager::begin`] and [`LeaseManager::commit`]. What it grants exists only as pending
//! rows until the store has them on disk; only then does the cache take them, and only then may replies go out.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::config::model::DeclineHold;

use super::batch::Batch;
use super::cache::Cache;
use super::effort::Effort;
use super::hosts::HostId;
use super::offers::Offers;
use super::pools::Topology;
use super::probes::Probes;
use super::standing::Standing;
use super::store::{CatchUp, LeaseStore, LogRow, RowRef, Sink, StoreError};
use super::types::{Client, Lease, LeaseEvent, LeaseState, PoolId, SubnetId, Timestamp};

/// For so long after a grant a worker may still be in a batch that knows nothing of it. A batch without writes takes
/// milliseconds.
const CATCH_UP_SECS: u32 = 3;

/// The lease engine over its store.
#[derive(Debug)]
pub struct LeaseManager<S> {
    pub(super) topology: Arc<Topology>,
    pub(super) settings: EngineSettings,
    pub(super) reserved: HashSet<Ipv4Addr>,
    store: S,
    pub(super) offers: Offers,
    /// None: addresses are not checked before they are offered.
    pub(super) probes: Option<Probes>,
    pub(super) cache: Cache,
    pub(super) batch: Batch,
    /// The last row of the log that the cache has seen.
    known: u64,
    received: Received,
    access: Option<Access>,
    pub(super) now: Timestamp,
    /// What the search for free addresses may still cost in this second.
    pub(super) effort: Effort,
    /// Whether only clients that are known are offered anything.
    pub(super) pressed: bool,
}

/// What has happened since the packets of a batch were received. A client's packets may reach two workers, and the one that
/// was first to receive may be last to commit.
#[derive(Debug)]
struct Received {
    /// The newest row of the log then; before the first packet the last that can be.
    newest: u64,
    /// Addresses that others have leased by later rows.
    leased_since: Vec<Ipv4Addr>,
}

impl Received {
    fn note(&mut self, row: &RowRef<'_>) {
        if row.seq > self.newest && row.state == LeaseState::Active {
            self.leased_since.push(row.address);
        }
    }
}

/// What the engine is told by the configuration.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// How long an offered address is held for its client; at most an hour counts.
    pub offer_hold: Duration,
    /// Whether requests for addresses that we know nothing of are answered by a NAK (RFC 2131 §4.3.2).
    pub authoritative: bool,
    /// How long a declined address rests.
    pub decline_hold: DeclineHold,
    /// Addresses never given out beside those of the configuration: the server's own.
    pub reserved: Vec<Ipv4Addr>,
    /// Active leases that one circuit may have; 0: without limit.
    pub max_leases_per_circuit: u32,
}

impl EngineSettings {
    /// As the configuration has it, without addresses of the server's own.
    pub fn new(config: &Config) -> Self {
        let dhcp = &config.dhcp;
        Self {
            offer_hold: dhcp.offer_hold,
            authoritative: dhcp.authoritative,
            decline_hold: dhcp.decline_hold,
            reserved: Vec::new(),
            max_leases_per_circuit: dhcp.security.max_leases_per_circuit,
        }
    }
}

/// What a batch is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look up and offer only.
    Read,
    /// Change leases too.
    Write,
}

/// What a client may get, in the order of preference.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The subnets of its link, its own first.
    pub subnets: &'a [SubnetId],
    /// The pools open to it.
    pub pools: &'a [PoolId],
    /// The host that it is, if the administrator lists it on this link.
    pub host: Option<HostId>,
    /// Whether an address that is new to it is probed before it is offered.
    pub checked: bool,
}

/// Answer to a DISCOVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// Held for the client for `offer_hold`.
    Address(Ipv4Addr),
    /// Held likewise, but whether somebody uses it is not known: to be probed first, then the message is handled again.
    Probe(Ipv4Addr),
    /// No address left in the scope.
    Exhausted,
    /// Nothing was looked for: too much is to be done for others ([`LeaseManager::press`]).
    Pressed,
}

/// Answer to a RELEASE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The lease ends with the commit.
    Done,
    /// The client holds no such lease: nothing changes.
    NotHolder,
    /// The lease is younger than the message that gives it back: the client has asked again meanwhile, and what it was
    /// promised then stands.
    Overtaken,
}

/// Answer to a DECLINE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declined {
    /// The address rests so long, from the commit.
    Done(Duration),
    /// So much of its pool rests for declines that no further one is believed: the client has given the address back, and
    /// it is offered to nobody for as long as an offer lasts.
    Doubted,
    /// The client holds neither a lease nor an offer of it: nothing changes.
    NotHolder,
}

/// Why an address has to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestCause {
    /// Its client found it in use.
    Decline,
    /// We found it in use.
    Conflict,
}

/// Counts of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolGauge {
    /// The pool.
    pub pool: PoolId,
    /// Leases in each state, as in [`LeaseState::ALL`].
    pub states: [u64; 5],
    /// Addresses that were never leased and may be.
    pub free: u64,
    /// Addresses of its range.
    pub size: u64,
}

impl<S: LeaseStore> LeaseManager<S> {
    /// Reads all leases of the store.
    pub fn open(
        topology: Arc<Topology>,
        settings: EngineSettings,
        mut store: S,
        offers: Offers,
    ) -> Result<Self, StoreError> {
        let mut cache = Cache::new(Arc::clone(&topology), settings.max_leases_per_circuit != 0);
        let known = cache.load(|sink| store.load(sink))?;
        offers.committed(known);
        let reserved = settings.reserved.iter().copied().collect();
        Ok(Self {
            topology,
            settings,
            reserved,
            store,
            offers,
            probes: None,
            cache,
            batch: Batch::default(),
            known,
            received: Received { newest: u64::MAX, leased_since: Vec::new() },
            access: None,
            now: Timestamp::default(),
            effort: Effort::default(),
            pressed: false,
        })
    }

    /// While more comes than can be answered, strangers are turned away at once: what is spent on them, those who have a lease
    /// would wait for.
    pub fn press(&mut self, pressed: bool) {
        self.pressed = pressed;
    }

    /// Has addresses checked before they are offered, where the scope says so.
    #[must_use]
    pub fn with_probes(mut self, probes: Probes) -> Self {
        self.probes = Some(probes);
        self
    }

    /// To be called right before packets are received. A lease that somebody grants from now on cannot be what their senders
    /// mean.
    pub fn receiving(&mut self) {
        self.received.newest = self.offers.newest();
        self.received.leased_since.clear();
    }

    /// Starts a batch at the time `now`, knowing all that others have committed. After an error no batch is begun.
    pub fn begin(&mut self, access: Access, now: Timestamp) -> Result<(), StoreError> {
        self.abort();
        if access == Access::Write {
            self.store.begin()?;
        }
        if let Err(error) = self.catch_up() {
            self.store.rollback();
            return Err(error);
        }
        self.access = Some(access);
        self.now = now;
        Ok(())
    }

    /// Makes the batch durable. After an error none of its replies may go out.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        if self.commit_unsynced()? { self.store.sync() } else { Ok(()) }
    }

    /// Commits the batch for everybody who reads, but not to disk yet: its replies wait for the store's sync. Whether there
    /// was anything to commit. After an error nothing of it has happened.
    pub fn commit_unsynced(&mut self) -> Result<bool, StoreError> {
        let result = self.write_batch();
        if result.is_ok() {
            for row in self.batch.rows() {
                self.cache.apply(&row.as_row());
                self.known = row.seq;
                if row.lease.state == LeaseState::Active
                    && let Some(probes) = self.probes
                {
                    probes.forget(row.lease.address);
                }
            }
            self.offers.committed(self.known);
            self.settle_offers();
        }
        self.abort();
        result
    }

    /// What the batch has decided needs no offer any more. But another worker may be in the middle of a batch that
    /// began before this commit, and still take the address for free: so a grant keeps the address held for its client until
    /// the others must have caught up.
    fn settle_offers(&self) {
        for row in self.batch.rows() {
            let (address, key) = (row.lease.address, &row.lease.client.key);
            if row.event == LeaseEvent::Granted {
                self.offers.claim(address, key, self.now.plus(CATCH_UP_SECS), self.now);
            } else {
                self.offers.release(address, key);
            }
        }
    }

    /// Forgets the batch.
    pub fn abort(&mut self) {
        if self.access.take() == Some(Access::Write) {
            self.store.rollback();
        }
        self.batch.clear();
    }

    /// Ends the lease of `address`, if this client holds it (RFC 2131 §4.3.4). It is remembered for the client.
    pub fn release(&mut self, client: &Client, address: Ipv4Addr) -> Released {
        if self.standing(address, &client.key) != Standing::Own {
            return Released::NotHolder;
        }
        if self.received.leased_since.contains(&address) {
            return Released::Overtaken;
        }
        self.end_lease(address);
        Released::Done
    }

    /// The client chose another server: what we offered it on this link is free again (RFC 2131 §3.1 step 3).
    pub fn withdraw_offer(&mut self, client: &Client, scope: &Scope<'_>) {
        if let Some(address) = self.offers.held_for(&client.key, self.now)
            && self.topology.link_at(address) == self.link(scope)
        {
            self.offers.release(address, &client.key);
        }
    }

    /// The current or last lease of an address.
    pub fn lease_at(&self, address: Ipv4Addr) -> Option<Lease> {
        match self.batch.at(address) {
            Some(row) => Some(row.lease.clone()),
            None => self.cache.at(address).map(|record| self.cache.lease(record)),
        }
    }

    /// What is committed, by pool.
    pub fn gauges(&self) -> Vec<PoolGauge> {
        let gauge = |pool: &super::pools::PoolSpec| {
            let index = self.cache.pool(pool.id)?;
            Some(PoolGauge {
                pool: pool.id,
                states: index.states,
                free: index.free.free(),
                size: pool.range.size(),
            })
        };
        self.topology.pools().iter().filter_map(gauge).collect()
    }

    /// The store, for settings that decide nothing about leases.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Subnets, pools and links.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    fn catch_up(&mut self) -> Result<(), StoreError> {
        let (cache, received) = (&mut self.cache, &mut self.received);
        let sink = &mut |row: RowRef<'_>| {
            received.note(&row);
            cache.apply(&row);
        };
        match self.store.catch_up(self.known, sink)? {
            CatchUp::Current(seq) => self.known = seq,
            CatchUp::Gap => {
                // Until it has all been read, nothing is known: an error on the way leads here again.
                self.known = 0;
                let (store, received) = (&mut self.store, &mut self.received);
                let load = |sink: &mut Sink<'_>| {
                    store.load(&mut |row| {
                        received.note(&row);
                        sink(row);
                    })
                };
                self.known = self.cache.load(load)?;
            }
        }
        Ok(())
    }

    /// Whether there was anything to write.
    fn write_batch(&mut self) -> Result<bool, StoreError> {
        if self.batch.rows().is_empty() {
            return Ok(false);
        }
        if self.access != Some(Access::Write) {
            return Err(StoreError::NotWriting);
        }
        self.store.append(self.batch.rows())?;
        self.access = None;
        self.store.commit_unsynced()?;
        Ok(true)
    }
}

impl<S> LeaseManager<S> {
    /// Ends the lease of an address for its holder.
    pub(super) fn end_lease(&mut self, address: Ipv4Addr) {
        let lease = match self.batch.at(address) {
            Some(row) => Some(row.lease.clone()),
            None => self.cache.at(address).map(|record| self.cache.lease(record)),
        };
        if let Some(mut lease) = lease {
            lease.state = LeaseState::Released;
            lease.expires = self.now;
            let declines = self.held(address).map_or(0, |held| held.declines);
            self.push(LeaseEvent::Released, lease, declines);
        }
    }

    pub(super) fn rest(&mut self, address: Ipv4Addr, client: Client, cause: RestCause) -> Duration {
        let before = self.held(address).map_or(0, |held| held.declines);
        let DeclineHold { first, max } = self.settings.decline_hold;
        let hold = first.saturating_mul(1_u32.checked_shl(u32::from(before)).unwrap_or(u32::MAX)).min(max);
        let (event, state) = match cause {
            RestCause::Decline => (LeaseEvent::Declined, LeaseState::Declined),
            RestCause::Conflict => (LeaseEvent::Conflict, LeaseState::Conflict),
        };
        let secs = u32::try_from(hold.as_secs()).unwrap_or(u32::MAX - 1);
        let lease = self.new_lease(address, client, state, self.now, self.now.plus(secs));
        self.push(event, lease, before.saturating_add(1));
        hold
    }

    pub(super) fn new_lease(
        &self,
        address: Ipv4Addr,
        client: Client,
        state: LeaseState,
        starts: Timestamp,
        expires: Timestamp,
    ) -> Lease {
        // A reserved address may lie outside of all pools.
        let pool = self.topology.pool_of(address).and_then(|pool| self.topology.pool(pool));
        let subnet = self.topology.subnet_of(address).and_then(|subnet| self.topology.subnet(subnet));
        let name = |name: Option<&Arc<str>>| name.map_or_else(|| "".into(), Arc::clone);
        Lease {
            address,
            client,
            subnet: name(subnet.map(|s| &s.name)),
            pool: name(pool.map(|p| &p.name)),
            state,
            starts,
            expires,
        }
    }

    pub(super) fn push(&mut self, event: LeaseEvent, lease: Lease, declines: u8) {
        let seq = self.known + 1 + self.batch.rows().len() as u64;
        let link = self.topology.link_at(lease.address);
        let client = link.map(|link| self.cache.client_hash(lease.client.key.as_bytes(), link));
        self.batch.push(LogRow { seq, at: self.now, event, lease, declines }, client);
    }
}
