//! How a command writes leases: as the owner of the lease file ([`become_owner`](super::become_owner)), by the engine, through
//! the lock and the transaction that the daemon's workers use.

use super::Failure;
use crate::config::Config;
use crate::lease::{EngineSettings, LeaseManager, Offers, SqliteStore, Times, Topology, prepare_if_needed};

/// The engine over the lease file, and its clock; nothing is locked yet. It knows no offers: they are the
/// running daemon's, which refuses to complete one whose address is leased meanwhile.
pub(super) fn open(config: &Config) -> Result<(LeaseManager<SqliteStore>, Times), Failure> {
    let store = &config.dhcp.store;
    prepare_if_needed(&store.path, store.durability)?;
    let opened = SqliteStore::open(&store.path, store.durability)?;
    let times = opened.times()?;
    let leases =
        LeaseManager::open(Topology::new(config), EngineSettings::new(config), opened, Offers::private())?;
    Ok((leases, times))
}
