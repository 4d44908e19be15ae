//! Users, groups, capabilities and `no_new_privs`.
//!
//! Takes powers away and proves that they are gone; it opens nothing and knows no worker. Called by main's
//! children, before [`super::confine`].

use std::io;

use caps::CapSet;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, User, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};

use super::{SandboxError, step};

/// The sets that make up what a process may do, in the order in which they must be emptied: what is permitted
/// bounds the others, so it goes last.
const SETS: [CapSet; 4] = [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted];

/// A user to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: Uid,
    /// Its primary group.
    pub gid: Gid,
    /// Its name, for messages.
    pub name: String,
}

/// What a process gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Privileges {
    /// Everything; it runs as this user with no further groups.
    Worker(Identity),
    /// Every capability, but it stays uid 0, for what belongs to root as a plain owner: the log folder.
    LoggerOfRoot,
    /// Main is not root: user and groups stay. Capabilities that a file or a service manager gave it go, and what
    /// could be gained by executing something is closed all the same.
    Unchanged,
}

/// The user of that name. `None`: there is none. Reads the system's user database, so main does it, before
/// it forks.
pub fn lookup(user: &str) -> io::Result<Option<Identity>> {
    let found = User::from_name(user)?;
    Ok(found.map(|user| Identity { uid: user.uid, gid: user.gid, name: user.name }))
}

/// Drops the privileges of this process, which must have one thread, for good.
///
/// In all cases: `no_new_privs`, no core files, not dumpable (nobody of the same user may trace it or read its
/// memory). It clears the parent-death signal (prctl(2)): set that afterwards.
///
/// Returned are warnings for protections that this kernel or container does not offer. An error means that the
/// process is in an unknown state in between and must end.
pub fn apply(privileges: &Privileges) -> Result<Vec<String>, SandboxError> {
    let mut warnings = Vec::new();
    match privileges {
        Privileges::Worker(identity) => {
            drop_groups()?;
            drop_bounding_set(&mut warnings);
            let (uid, gid) = (identity.uid, identity.gid);
            setresgid(gid, gid, gid).map_err(step("change the group"))?;
            setresuid(uid, uid, uid).map_err(step("change the user"))?;
            clear_capabilities()?;
            verify_user(uid, gid)?;
        }
        Privileges::LoggerOfRoot => {
            drop_groups()?;
            forget_root(&mut warnings);
            drop_bounding_set(&mut warnings);
            let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
            setresgid(group, group, group).map_err(step("change the group"))?;
            setresuid(root, root, root).map_err(step("change the user"))?;
            clear_capabilities()?;
        }
        Privileges::Unchanged => {
            // Hardly ever allowed here, and `no_new_privs` does the same: no warning.
            drop_bounding_set(&mut Vec::new());
            clear_capabilities()?;
        }
    }
    // Without it, uid 0 or a set-uid program would get capabilities back by execve(2) (capabilities(7)).
    prctl::set_no_new_privs().map_err(step("set no_new_privs"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(step("forbid core files"))?;
    // After the change of user, which sets it anew (prctl(2)).
    prctl::set_dumpable(false).map_err(step("become undumpable"))?;
    match prctl::get_no_new_privs() {
        Ok(true) => Ok(warnings),
        Ok(false) | Err(_) => Err(SandboxError::Left { left: "no_new_privs is not set".to_owned() }),
    }
}

fn drop_groups() -> Result<(), SandboxError> {
    if let Err(error) = setgroups(&[]) {
        // A user namespace may forbid the call (user_namespaces(7)): fine where there is nothing to drop.
        if getgroups().is_ok_and(|groups| groups.is_empty()) {
            return Ok(());
        }
        return Err(step("drop the groups of root")(error));
    }
    match getgroups() {
        Ok(groups) if groups.is_empty() => Ok(()),
        Ok(groups) => Err(SandboxError::Left { left: format!("groups {groups:?}") }),
        Err(error) => Err(step("read the groups")(error)),
    }
}

/// Empties the set that bounds what execve(2) can give. Needs `CAP_SETPCAP`, which some containers withhold;
/// `no_new_privs` covers for it then.
///
/// By number, and not by crate caps, so that capabilities newer than that crate go too.
fn drop_bounding_set(warnings: &mut Vec<String>) {
    for capability in 0..64_u64 {
        // SAFETY: PR_CAPBSET_READ takes a number and only reads.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) } {
            0 => continue,
            1 => {}
            // Beyond the last one that this kernel knows.
            _ => break,
        }
        // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            let error = Errno::last();
            warnings.push(format!("could not empty the capability bounding set: {error}"));
            return;
        }
    }
}

/// Locks the rule "uid 0 gets all capabilities on execve" off, and "keep capabilities" as well
/// (capabilities(7), securebits). On top of `no_new_privs` and the bounding set, so only a warning.
fn forget_root(warnings: &mut Vec<String>) {
    let bits = libc::SECBIT_NOROOT | libc::SECBIT_NOROOT_LOCKED | libc::SECBIT_KEEP_CAPS_LOCKED;
    // SAFETY: PR_SET_SECUREBITS takes a number and touches no memory.
    if unsafe { libc::prctl(libc::PR_SET_SECUREBITS, libc::c_long::from(bits), 0, 0, 0) } != 0 {
        let error = Errno::last();
        warnings.push(format!("could not lock the securebits: {error}"));
    }
}

fn clear_capabilities() -> Result<(), SandboxError> {
    for set in SETS {
        // The ambient set does not exist before Linux 4.3: then there is nothing in it either.
        if let Err(error) = caps::clear(None, set)
            && !matches!(set, CapSet::Ambient)
        {
            return Err(SandboxError::Step {
                step: "drop the capabilities",
                source: io::Error::other(error),
            });
        }
    }
    for set in SETS {
        let left = caps::read(None, set).unwrap_or_default();
        if !left.is_empty() {
            return Err(SandboxError::Left { left: format!("{set:?} capabilities {left:?}") });
        }
    }
    Ok(())
}

fn verify_user(uid: Uid, gid: Gid) -> Result<(), SandboxError> {
    let users = getresuid().map_err(step("read the user"))?;
    let groups = getresgid().map_err(step("read the group"))?;
    if [users.real, users.effective, users.saved] != [uid; 3] {
        return Err(SandboxError::Left { left: format!("{users:?}") });
    }
    if [groups.real, groups.effective, groups.saved] != [gid; 3] {
        return Err(SandboxError::Left { left: format!("{groups:?}") });
    }
    let root = Uid::from_raw(0);
    if uid != root && setresuid(root, root, root).is_ok() {
        return Err(SandboxError::Left { left: "the way back to uid 0 is open".to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let root = lookup("root").unwrap().unwrap();
        assert_eq!((root.uid.as_raw(), root.gid.as_raw(), root.name.as_str()), (0, 0, "root"));
        assert_eq!(lookup("no such user here").unwrap(), None);
    }

    #[test]
    fn errors_name_the_step() {
        let error = step("change the user")(Errno::EPERM);
        assert!(error.to_string().starts_with("could not change the user: "));
    }
}
