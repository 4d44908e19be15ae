//! What an administrator does to leases through the running daemon: the rules of `admin`, in the queue and the
//! transaction of all writers. It reads only the leases that a change is about, so that it costs little in a large file.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::config::Config;

use super::admin::{Freed, Imported, Refusal};
use super::draft::{self, Draft, Flaw};
use super::engine::{Access, EngineSettings, LeaseManager};
use super::offers::Offers;
use super::pools::Topology;
use super::reader::Recorded;
use super::sqlite::SqliteStore;
use super::store::{CatchUp, LeaseStore, LogRow, Sink, StoreError};
use super::when::Times;

/// How long a writer waits for its turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of an import.
#[derive(Debug)]
pub enum Import {
    /// All of it is committed.
    Done {
        /// How many are new, and so on.
        counts: Imported,
        /// The leases as they are now, in the order of the import.
        leases: Vec<Recorded>,
        /// The clock that they are of.
        times: Times,
    },
    /// Nothing was written.
    Refused(Vec<(u64, Flaw)>),
}

/// Ends the lease of an address, whoever holds it, or its rest.
pub fn release(config: &Config, offers: Offers, address: Ipv4Addr) -> Result<Freed, StoreError> {
    let (store, times) = open(config)?;
    let store = Narrow { store, addresses: HashSet::from([address]), clients: HashSet::new() };
    let mut leases = LeaseManager::open(Topology::new(config), EngineSettings::new(config), store, offers)?;
    leases.begin(Access::Write, times.now)?;
    let freed = leases.free(address);
    match &freed {
        Freed::NotHeld(_) => leases.abort(),
        Freed::Lease(_) | Freed::Rest(_) => leases.commit()?,
    }
    Ok(freed)
}

/// Imports all of the drafts or none; `word` is what messages call the place of one.
pub fn import(
    config: &Config,
    offers: Offers,
    drafts: Vec<Draft>,
    word: &'static str,
) -> Result<Import, StoreError> {
    let (store, times) = open(config)?;
    // Judged before anything is locked: the workers would wait meanwhile.
    let rows = match draft::understand(config, drafts, times) {
        Ok(rows) => rows,
        Err(mistakes) => return Ok(Import::Refused(mistakes)),
    };
    let addresses = rows.iter().map(|row| row.recorded.lease.address).collect();
    let clients = rows.iter().map(|row| row.recorded.lease.client.key.as_bytes().into()).collect();
    let store = Narrow { store, addresses, clients };
    let mut leases = LeaseManager::open(Topology::new(config), EngineSettings::new(config), store, offers)?;
    leases.begin(Access::Write, times.now)?;
    let written: Vec<(Ipv4Addr, u8)> =
        rows.iter().map(|row| (row.recorded.lease.address, row.recorded.declines)).collect();
    match leases.import(rows, word) {
        Ok(counts) => {
            leases.commit()?;
            let lease =
                |(address, declines)| leases.lease_at(address).map(|lease| Recorded { lease, declines });
            let leases = written.into_iter().filter_map(lease).collect();
            Ok(Import::Done { counts, leases, times })
        }
        Err(refusals) => {
            leases.abort();
            let flaw = |(place, refusal): (u64, Refusal)| (place, Flaw::from(refusal.to_string()));
            Ok(Import::Refused(refusals.into_iter().map(flaw).collect()))
        }
    }
}

fn open(config: &Config) -> Result<(SqliteStore, Times), StoreError> {
    let settings = &config.dhcp.store;
    // Opening the writers' queue would make its file.
    std::fs::symlink_metadata(&settings.path).map_err(|source| StoreError::Io {
        what: "open",
        path: settings.path.clone(),
        source,
    })?;
    let mut store = SqliteStore::open(&settings.path, settings.durability)?;
    store.set_patience(PATIENCE)?;
    let times = store.times()?;
    Ok((store, times))
}

/// A lease file of which only the leases of some addresses and of some clients are loaded: all that the rules ask for when
/// these are changed. Later rows of the log come whole.
#[derive(Debug)]
struct Narrow {
    store: SqliteStore,
    addresses: HashSet<Ipv4Addr>,
    /// Their keys; without any, nothing is searched.
    clients: HashSet<Box<[u8]>>,
}

impl LeaseStore for Narrow {
    fn load(&mut self, sink: &mut Sink<'_>) -> Result<u64, StoreError> {
        if self.clients.is_empty() {
            return self.store.load_of(self.addresses.iter().copied(), sink);
        }
        // What is said of an address that was of interest once is of interest, too.
        let mut addresses = self.addresses.clone();
        let clients = &self.clients;
        self.store.load(&mut |row| {
            if addresses.contains(&row.address) || clients.contains(row.client.key) {
                addresses.insert(row.address);
                sink(row);
            }
        })
    }

    fn catch_up(&mut self, known: u64, sink: &mut Sink<'_>) -> Result<CatchUp, StoreError> {
        self.store.catch_up(known, sink)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.store.begin()
    }

    fn append(&mut self, rows: &[LogRow]) -> Result<(), StoreError> {
        self.store.append(rows)
    }

    fn commit_unsynced(&mut self) -> Result<(), StoreError> {
        self.store.commit_unsynced()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn rollback(&mut self) {
        self.store.rollback();
    }
}
