//! As whom the lease file is opened. It belongs to the workers' user, who also could have written whatever is in it: so SQLite
//! reads it with no more than that user's powers, and none of the files that it makes beside it ends up as root's.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use daemon_utils::sandbox::{self, Identity, Privileges};
use nix::unistd::{Gid, Uid, User, geteuid};

use super::explained;
use crate::config::Config;
use crate::lease::StoreError;

/// Gives up root for good: from here on this process is the owner of the lease file. Whatever else is to be opened must
/// be open by now. Errors: in words, as there is no file, or it belongs to nobody that this process can become.
pub(in crate::cli) fn become_owner(config: &Config) -> Result<(), String> {
    let path = &config.dhcp.store.path;
    let found = std::fs::symlink_metadata(path)
        .map_err(|source| explained(config, &StoreError::Io { what: "open", path: path.clone(), source }))?;
    // Who owns the folder could have given the file's name to one of root's there: that user it is then.
    let found = if found.uid() == 0 { folder(path).metadata().unwrap_or(found) } else { found };
    if !geteuid().is_root() || found.uid() == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
    sandbox::apply(&Privileges::Worker(Identity { uid, gid, name: user(uid) }))
        .map(drop)
        .map_err(|error| format!("could not become the owner of the lease file: {error}"))
}

/// Who owns a lease file, or, where that is hidden, its folder. Not `daemon.user`, which may not exist: the workers run
/// as nobody then.
pub(super) fn name(path: &Path) -> Option<String> {
    let found = path.metadata().or_else(|_| folder(path).metadata()).ok()?;
    let uid = Uid::from_raw(found.uid());
    (!uid.is_root()).then(|| user(uid))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn user(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_of_the_file_is_named_and_root_is_not_named_twice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("leases.db");
        std::fs::write(&file, "").unwrap();
        assert_eq!(name(Path::new("/")), None);
        let own = nix::unistd::geteuid();
        if own.is_root() {
            assert_eq!((name(&file), name(&folder.path().join("none"))), (None, None));
            std::os::unix::fs::chown(&file, Some(4_000_000), None).unwrap();
            assert_eq!(name(&file).as_deref(), Some("4000000"), "a user without a name");
        } else {
            assert_eq!((name(&file), name(&folder.path().join("none"))), (Some(user(own)), Some(user(own))));
        }
    }
}
