//! What is looked at and made before the daemon leaves its caller's terminal: who the workers will be, the
//! folders, the lease file, the log files. Whatever fails here is printed where the user typed `start`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use daemon_utils::channel::{Channel, MAX_MESSAGE, Received};
use daemon_utils::log::sender;
use daemon_utils::process::{self, Exit};
use daemon_utils::sandbox::{self, Identity, Privileges};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{fchownat, geteuid, getpid};

use super::confinement::{self, Process};
use crate::config::Config;
use crate::config::model::Durability;
use crate::lease::{self, StoreError};

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub(super) enum PreflightError {
    #[error("could not look up user {user}: {source}")]
    Lookup { user: String, source: io::Error },
    #[error(
        "there is neither a user {0} nor a user nobody to run the workers as\nhint: useradd --system {0}, or name another in daemon.user"
    )]
    NoUser(String),
    #[error("could not make folder {path:?}: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "folder {0:?} is open to other users, or belongs to one\nhint: set XDG_RUNTIME_DIR, or name daemon.pid_file and daemon.control_socket"
    )]
    ForeignFolder(PathBuf),
    #[error(
        "could not give {path:?} to {user}, as whom the workers run: {source}\nhint: chown -R {user} {}", path.display()
    )]
    Owner { path: PathBuf, user: String, source: io::Error },
    #[error("could not check the lease file: {0}")]
    Fork(io::Error),
    #[error("{0}")]
    Leases(String),
}

/// As whom the processes run.
#[derive(Debug)]
pub(super) struct Privilege {
    /// Of every worker but the logger.
    pub(super) worker: Privileges,
    /// Of the logger.
    pub(super) logger: Privileges,
}

/// Decides as whom workers run, and warns of what this kernel cannot do to confine them.
pub(super) fn privilege(config: &Config, warnings: &mut Vec<String>) -> Result<Privilege, PreflightError> {
    warnings.extend(sandbox::missing());
    if !geteuid().is_root() {
        return Ok(Privilege { worker: Privileges::Unchanged, logger: Privileges::Unchanged });
    }
    let wanted = &config.daemon.user;
    let lookup = |user: &str| {
        sandbox::lookup(user).map_err(|source| PreflightError::Lookup { user: user.to_owned(), source })
    };
    let identity = if let Some(identity) = lookup(wanted)? {
        identity
    } else {
        warnings.push(format!("there is no user {wanted}: the workers run as nobody"));
        lookup("nobody")?.ok_or_else(|| PreflightError::NoUser(wanted.clone()))?
    };
    Ok(Privilege { worker: Privileges::Worker(identity), logger: Privileges::LoggerOfRoot })
}

/// Makes the folders that are missing. The state folder is the workers' own.
pub(super) fn folders(config: &Config, privilege: &Privilege) -> Result<(), PreflightError> {
    let state = &config.daemon.state_dir;
    if let Some(above) = state.parent() {
        // Others pass through it, the workers among them.
        make_folder(above, 0o755)?;
    }
    make_folder(state, 0o750)?;
    if let Privileges::Worker(identity) = &privilege.worker {
        hand_over(config, identity).map_err(|source| PreflightError::Owner {
            path: state.clone(),
            user: identity.name.clone(),
            source,
        })?;
    }
    let json = config.logging.json.enabled.then_some(&config.logging.json.file);
    let files = [&config.daemon.pid_file, &config.daemon.control_socket, &config.logging.log_file];
    for file in files.into_iter().chain(json) {
        if let Some(folder) = file.parent() {
            make_folder(folder, 0o755)?;
            is_private_enough(folder)?;
        }
    }
    Ok(())
}

/// Gives the state folder and the lease file to the user that the workers run as, where they are root's or of the
/// user that stood in before `daemon.user` existed. Links are not followed.
fn hand_over(config: &Config, to: &Identity) -> io::Result<()> {
    let stand_in = sandbox::lookup("nobody")?.map(|nobody| nobody.uid.as_raw());
    let mut paths = vec![config.daemon.state_dir.clone()];
    let leases = &config.dhcp.store.path;
    if let (Some(folder), Some(name)) = (leases.parent(), leases.file_name().and_then(|name| name.to_str())) {
        paths.extend(["", "-wal", "-shm", "-lock"].map(|end| folder.join(format!("{name}{end}"))));
    }
    for path in paths {
        let owner = match fs::symlink_metadata(&path) {
            // Whoever may write the folder could have put another's file there under a second name.
            Ok(found) if found.is_symlink() || (found.is_file() && found.nlink() > 1) => continue,
            Ok(found) => found.uid(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if owner != to.uid.as_raw() && (owner == 0 || Some(owner) == stand_in) {
            fchownat(AT_FDCWD, &path, Some(to.uid), Some(to.gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

/// Makes a folder and those above it; true where it was not there.
fn make_folder(path: &Path, mode: u32) -> Result<bool, PreflightError> {
    if path.is_dir() {
        return Ok(false);
    }
    // What an ordinary user's daemon makes, perhaps below the world-writable /tmp, is the user's alone. What root
    // makes on the way must let the workers pass.
    let (above, mode) = if geteuid().is_root() { (0o755, mode) } else { (0o700, 0o700) };
    let make = || {
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(above).create(parent)?;
        }
        match DirBuilder::new().mode(mode).create(path) {
            // Another start that races with this one has made it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made,
        }
    };
    // The mode decides, not the umask, which is for files.
    let before = umask(Mode::empty());
    let made = make();
    umask(before);
    made.map(|()| true).map_err(|source| PreflightError::Folder { path: path.to_owned(), source })
}

/// An ordinary user's fallback folder under /tmp has a name that anybody could have taken before.
fn is_private_enough(folder: &Path) -> Result<(), PreflightError> {
    if folder != Path::new(&format!("/tmp/echo-daemon-{}", geteuid())) {
        return Ok(());
    }
    let found = fs::symlink_metadata(folder)
        .map_err(|source| PreflightError::Folder { path: folder.to_owned(), source })?;
    // The last six bits of the mode are what the group and others may do.
    if found.is_dir() && found.uid() == geteuid().as_raw() && found.mode().trailing_zeros() >= 6 {
        Ok(())
    } else {
        Err(PreflightError::ForeignFolder(folder.to_owned()))
    }
}

/// What the child below may have open: little, since it closes what it inherits.
const DESCRIPTORS: usize = 64;

/// Checks and migrates the lease file in a child that runs as the workers do, so that main opens no database
/// and nothing in the state folder ends up belonging to root. With `recover` a damaged one gives way to what can be read of
/// it; what that was is returned in words.
pub(super) fn lease_file(
    config: &Config,
    privilege: &Privilege,
    recover: bool,
) -> Result<Option<String>, PreflightError> {
    if !config.dhcp.enabled {
        return Ok(None);
    }
    with_lease_file(config, privilege, |path, durability| {
        if recover {
            lease::recover(path, durability).map(|recovered| recovered.map(|what| what.to_string()))
        } else {
            lease::prepare(path, durability).map(|()| None)
        }
    })
}

/// Does `work` with the lease file in such a child, which ends with this process; what it has to say in words.
pub(super) fn with_lease_file(
    config: &Config,
    privilege: &Privilege,
    work: impl Fn(&Path, Durability) -> Result<Option<String>, StoreError>,
) -> Result<Option<String>, PreflightError> {
    let (ours, childs) = Channel::pair().map_err(PreflightError::Fork)?;
    let (store, parent) = (&config.dhcp.store, getpid());
    let pid = process::spawn(|| {
        let ready = || {
            // A daemon that runs has more open than the limit below leaves room for.
            process::keep_only(&[childs.as_fd()]).map_err(|error| error.to_string())?;
            sender::forget();
            sandbox::apply(&privilege.worker).map_err(|error| error.to_string())?;
            process::die_with_parent(parent).map_err(|error| error.to_string())?;
            // It opens what it needs after this; the standard descriptors and the channel are open.
            confinement::of(Process::LeaseCheck, config, DESCRIPTORS)
                .and_then(|to| sandbox::confine(&to))
                .map_err(|error| error.to_string())?;
            work(&store.path, store.durability).map_err(|error| error.to_string())
        };
        let (code, words) = match ready() {
            Ok(None) => return 0,
            Ok(Some(words)) => (0, words),
            Err(reason) => (1, reason),
        };
        let _ = childs.send(words.as_bytes());
        code
    })
    .map_err(PreflightError::Fork)?;
    let exit = process::wait(pid).map_err(PreflightError::Fork)?;
    // The child has ended: whoever else holds its end would keep this one open.
    drop(childs);
    let mut buffer = vec![0; MAX_MESSAGE];
    let words = match ours.receive(&mut buffer) {
        Ok(Received::Message(length)) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
        _ => None,
    };
    match (exit, words) {
        (Exit::Code(0), words) => Ok(words),
        (_, Some(reason)) => Err(PreflightError::Leases(reason)),
        (exit, None) => Err(PreflightError::Leases(format!("the check of the lease file ended with {exit}"))),
    }
}
