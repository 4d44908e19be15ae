//! How a command writes leases: as the owner of the lease file, so that none of the files that SQLite makes beside it ends
//! up as root's; then by the engine, through the lock and the transaction that the daemon's workers use.

use std::os::unix::fs::MetadataExt;

use daemon_utils::sandbox::{self, Identity, Privileges};
use nix::unistd::{Gid, Uid, User, geteuid};

use super::Failure;
use crate::config::Config;
use crate::lease::{
    EngineSettings, LeaseManager, Offers, SqliteStore, StoreError, Times, Topology, prepare_if_needed,
};

/// Gives up root for good: from here on this process is the owner of the lease file. Whatever else is to be opened must
/// be open by now.
pub(super) fn become_owner(config: &Config) -> Result<(), Failure> {
    let path = &config.dhcp.store.path;
    let found = std::fs::symlink_metadata(path).map_err(|source| StoreError::Io {
        what: "open",
        path: path.clone(),
        source,
    })?;
    if !geteuid().is_root() || found.uid() == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    sandbox::apply(&Privileges::Worker(Identity { uid, gid, name }))
        .map(drop)
        .map_err(|error| Failure::Refused(format!("could not write as the owner of the lease file: {error}")))
}

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
