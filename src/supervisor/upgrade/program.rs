//! The program on disk: where this daemon's stands, and whether main may execute what is there now.
//!
//! Main executes it with its own powers. What comes from outside can ask for that, never say which program it is; so the
//! one question here is who else could have put it there.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};

/// The sticky bit: in such a folder only the owner of a file may put another in its place (inode(7)).
const STICKY: u32 = 0o1000;
const GROUP_MAY_WRITE: u32 = 0o020;
const OTHERS_MAY_WRITE: u32 = 0o002;

/// The path that this program was started by, absolute. A link in it stays: an upgrade may turn it to another file.
/// Where the name it was called by does not lead to it, the path of the file itself.
///
/// Must be asked for before the title is set, which overwrites the arguments, and in the caller's folder.
pub(in crate::supervisor) fn of_process() -> Option<PathBuf> {
    let running = env::current_exe().ok()?;
    let same = |path: &Path| {
        let (Ok(one), Ok(other)) = (fs::metadata(path), fs::metadata("/proc/self/exe")) else { return false };
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    let called = env::args_os().next().filter(|name| !name.is_empty())?;
    candidates(&called).into_iter().find(|path| same(path)).or(Some(running))
}

/// Where a name on a command line may lead (`execvp(3)`).
fn candidates(name: &OsStr) -> Vec<PathBuf> {
    let here = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    if name.as_bytes().contains(&b'/') {
        return vec![here.join(name)];
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| here.join(folder).join(name)).collect()
}

/// One state of a program file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// Looks at the program before it is executed. Errors: it is not there, or somebody else than root and main's own user
/// could have written it.
pub(super) fn look(path: &Path) -> Result<Seen, String> {
    let real = fs::canonicalize(path).map_err(|error| format!("could not find program {path:?}: {error}"))?;
    let found = fs::metadata(&real).map_err(|error| format!("could not find program {real:?}: {error}"))?;
    if !found.is_file() {
        return Err(format!("{real:?} is no file"));
    }
    if found.permissions().mode() & 0o111 == 0 {
        return Err(format!("{real:?} cannot be executed\nhint: chmod +x {}", real.display()));
    }
    if let Some(who) = written_by_others(&found, false) {
        let hint = format!("hint: chown and chmod go-w {}", real.display());
        return Err(format!("program {real:?} {who}: main does not execute it\n{hint}"));
    }
    for folder in real.ancestors().skip(1) {
        let found =
            fs::metadata(folder).map_err(|error| format!("could not look at folder {folder:?}: {error}"))?;
        if let Some(who) = written_by_others(&found, true) {
            return Err(format!(
                "folder {folder:?} of the program {who}: main does not execute what is in it\nhint: chown and chmod go-w {}",
                folder.display()
            ));
        }
    }
    Ok(Seen {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

/// Why a file or folder could be another's work, if it could. Writing for the group is fine where it is main's own.
fn written_by_others(found: &Metadata, folder: bool) -> Option<String> {
    let mode = found.permissions().mode();
    let us = geteuid().as_raw();
    if found.uid() != 0 && found.uid() != us {
        return Some(format!("belongs to user {}", found.uid()));
    }
    if folder && mode & STICKY != 0 {
        return None;
    }
    if mode & OTHERS_MAY_WRITE != 0 {
        return Some("may be written by everybody".to_owned());
    }
    let own_group = found.gid() == getegid().as_raw();
    (mode & GROUP_MAY_WRITE != 0 && !own_group).then(|| format!("may be written by group {}", found.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_found_and_may_be_executed_unless_others_write_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o755);
        let seen = look(&path).unwrap();
        assert_eq!(look(&path).unwrap(), seen);
        for (bits, reason) in [(0o644, "cannot be executed"), (0o757, "by everybody")] {
            mode(bits);
            assert!(look(&path).unwrap_err().contains(reason), "{bits:o}");
        }
        mode(0o755);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(look(&path).unwrap_err().contains("by everybody"));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(look(&path).is_ok(), "like /tmp");
        fs::write(&path, "#!/bin/sh\nexit\n").unwrap();
        assert_ne!(look(&path).unwrap(), seen);
        fs::remove_file(&path).unwrap();
        assert!(look(&path).unwrap_err().contains("could not find"));
    }

    #[test]
    fn name_without_a_folder_is_searched_for() {
        assert_eq!(candidates(OsStr::new("/bin/x")), [PathBuf::from("/bin/x")]);
        assert!(candidates(OsStr::new("x")).iter().all(|path| path.is_absolute() && path.ends_with("x")));
        assert!(of_process().unwrap().is_absolute());
    }
}
