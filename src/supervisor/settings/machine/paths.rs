//! Whether the daemon's files and folders can be made where the configuration wants them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use daemon_utils::sandbox::{self, Identity};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, faccessat, geteuid};

use super::{Daemon, Findings};
use crate::config::Config;

/// What stands at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Folder,
    File,
    Socket,
}

/// Why a path cannot be used.
enum Fault {
    /// By nobody: something else is in the way.
    Impossible(String),
    /// Not by this user.
    Denied(String),
}

pub(super) fn check(config: &Config, daemon: &Daemon, findings: &mut Findings) {
    let mut paths = vec![
        ("daemon.pid_file", &config.daemon.pid_file, End::File),
        ("daemon.control_socket", &config.daemon.control_socket, End::Socket),
        ("daemon.state_dir", &config.daemon.state_dir, End::Folder),
        ("logging.log_file", &config.logging.log_file, End::File),
    ];
    if config.logging.json.enabled {
        paths.push(("logging.json.file", &config.logging.json.file, End::File));
    }
    if config.dhcp.enabled && !config.dhcp.store.path.starts_with(&config.daemon.state_dir) {
        paths.push(("dhcp.store.path", &config.dhcp.store.path, End::File));
    }
    let root = geteuid().is_root();
    for (key, path, end) in paths {
        match fault(path, end) {
            None => {}
            Some(Fault::Impossible(reason)) => findings.error(key, reason, "name another place"),
            Some(Fault::Denied(reason)) if root => findings.error(key, reason, "name another place"),
            // Who runs it already may write there, whoever asks.
            Some(Fault::Denied(_)) if *daemon != Daemon::Stopped => {}
            Some(Fault::Denied(reason)) => {
                let hint = "start the daemon as a user who may, such as root, or name another place";
                findings.warning(key, format!("this user may not write there: {reason}"), hint);
            }
        }
    }
    if root && config.dhcp.enabled {
        check_workers(config, findings);
    }
}

/// Main is root and may do anything; the workers are not, and the lease file is theirs.
fn check_workers(config: &Config, findings: &mut Findings) {
    const KEY: &str = "daemon.state_dir";
    let state = &config.daemon.state_dir;
    let stand_in = sandbox::lookup("nobody").ok().flatten();
    let named = sandbox::lookup(&config.daemon.user).ok().flatten();
    let Some(user) = named.or_else(|| stand_in.clone()) else { return };
    let shut_out =
        |path: &Path| format!("{} is closed to user {}, as whom the workers run", path.display(), user.name);
    let closed =
        |above: &&Path| fs::metadata(above).is_ok_and(|found| found.is_dir() && !may(&found, &user, 0o1));
    if let Some(closed) = state.ancestors().skip(1).find(closed) {
        findings.error(KEY, shut_out(closed), "name another place, or another user in daemon.user");
    } else if let Ok(found) = fs::metadata(state)
        && found.is_dir()
        && !may(&found, &user, 0o3)
        // What is root's or the stand-in's is handed over at the start.
        && found.uid() != 0
        && stand_in.is_none_or(|nobody| found.uid() != nobody.uid.as_raw())
    {
        findings.error(KEY, shut_out(state), format!("chown -R {} {}", user.name, state.display()));
    }
}

/// Whether a user may do this (4 read, 2 write, 1 enter), as the mode says; lists of access rights are not looked at.
fn may(found: &Metadata, user: &Identity, wanted: u32) -> bool {
    let shift = if found.uid() == user.uid.as_raw() {
        6
    } else if found.gid() == user.gid.as_raw() {
        3
    } else {
        0
    };
    user.uid.is_root() || found.mode() >> shift & wanted == wanted
}

fn fault(path: &Path, end: End) -> Option<Fault> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if end == End::Folder && !found.is_dir() => {
            return Some(Fault::Impossible(format!("{shown} is not a folder")));
        }
        Ok(found) if end != End::Folder && found.is_dir() => {
            return Some(Fault::Impossible(format!("{shown} is a folder")));
        }
        // A socket is replaced, a file is written to.
        Ok(_) if end == End::File => {
            if let Err(error) = writable(path, AccessFlags::W_OK) {
                return Some(denied(path, error));
            }
        }
        Ok(_) | Err(_) => {}
    }
    let folder = if end == End::Folder { path } else { path.parent()? };
    let nearest = nearest_there(folder);
    if !nearest.is_dir() {
        return Some(Fault::Impossible(format!("{} is not a folder", nearest.display())));
    }
    if let Ok(of) = statfs(&nearest)
        && [PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&of.filesystem_type())
    {
        let reason = format!("{} is the kernel's and holds no files of others", nearest.display());
        return Some(Fault::Impossible(reason));
    }
    writable(&nearest, AccessFlags::W_OK | AccessFlags::X_OK).err().map(|error| denied(&nearest, error))
}

fn denied(path: &Path, error: Errno) -> Fault {
    let reason = format!("{}: {}", path.display(), plain(&error.into()));
    match error {
        Errno::EACCES | Errno::EPERM => Fault::Denied(reason),
        _ => Fault::Impossible(reason),
    }
}

fn writable(path: &Path, mode: AccessFlags) -> Result<(), Errno> {
    faccessat(AT_FDCWD, path, mode, AtFlags::AT_EACCESS)
}

/// The folder itself or the first above it that exists; what is missing below would be made.
fn nearest_there(folder: &Path) -> PathBuf {
    let there = |path: &&Path| fs::symlink_metadata(path).is_ok();
    folder.ancestors().find(there).unwrap_or_else(|| Path::new("/")).to_owned()
}

/// An error of the system without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
