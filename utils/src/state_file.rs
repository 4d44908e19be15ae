//! Small files that a process keeps for itself, in a folder that others may write to.
//!
//! Main keeps such files in the state folder, which belongs to the workers' user while main is root. So nothing in it
//! is believed for its name: a file counts where the effective user or root owns it, it has one name, and nobody else
//! may write it. Whoever owns the folder can still take a file away, or bring back an earlier one of ours.
//! Knows no contents. Called by main and by the commands that look.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// How often the name of a temporary file is cleared when something stands in its way.
const ATTEMPTS: usize = 8;

/// Reads a file whole; none where there is no such file.
///
/// Errors: it is a link, no regular file, has several names, belongs to somebody else than the effective user or root,
/// may be written by others, is larger than `max_bytes`, or cannot be read. What cannot be believed is of the kind
/// `InvalidData`.
pub fn read_owned(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    // Not to hang on a FIFO, nor to get a controlling terminal.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        // open(2): the last part of the path is a symbolic link.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(odd("it is a symbolic link")),
        // A socket, or a device without a driver.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(odd("it is no regular file")),
        Err(error) => return Err(error),
    };
    check(&file, max_bytes)?;
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large(max_bytes));
    }
    Ok(Some(bytes))
}

/// Reads any regular file, whoever it belongs to and by whatever link, but for what lies beyond `max_bytes`: a FIFO or a
/// device must not keep who reads it waiting.
///
/// Errors: it is no regular file (kind `InvalidData`), or cannot be opened or read.
pub fn read_regular(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(odd("it is no regular file")),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(odd("it is a folder, not a file"));
    }
    if !metadata.is_file() {
        return Err(odd("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check(file: &File, max_bytes: u64) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(odd("it is no regular file"));
    }
    if metadata.nlink() != 1 {
        return Err(odd("it has several names"));
    }
    let (owner, own) = (metadata.uid(), geteuid().as_raw());
    if owner != own && owner != 0 {
        let who = if own == 0 { "root" } else { "this user or root" };
        return Err(odd(&format!("it belongs to the user {owner}, not to {who}")));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(odd("others than its owner may write it"));
    }
    if metadata.len() > max_bytes { Err(too_large(max_bytes)) } else { Ok(()) }
}

fn odd(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

fn too_large(max_bytes: u64) -> io::Error {
    odd(&format!("it is larger than {max_bytes} bytes"))
}

/// Puts `bytes` in the place of the file at `path`, with exactly `mode`: whoever reads it finds the old contents or the
/// new ones, also after a loss of power. For one writer at a time.
///
/// Errors: the file could not be written; then the old one is still there and nothing else is left. Where only the
/// last step fails, fsync of the folder, the new one is there but may be lost with the power.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let temporary = temporary_name(folder, path)?;
    let file = create(&temporary)?;
    let written = fill(file, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one that tells.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(folder)?.sync_all()
}

/// A name that only this process uses, hidden from listings.
fn temporary_name(folder: &Path, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it has no name"))?;
    Ok(folder.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id())))
}

/// Makes a file of our own. What stands in its way is left from a crash, or a trap: it is taken away unread.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // With O_CREAT and O_EXCL a link is not followed (open(2)).
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    for _ in 0..ATTEMPTS {
        match options.open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => fs::remove_file(path)?,
            opened => return opened,
        }
    }
    Err(io::Error::other("its temporary file appears again and again"))
}

fn fill(mut file: File, bytes: &[u8], mode: u32) -> io::Result<()> {
    file.write_all(bytes)?;
    // The umask took bits away at the creation.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn refusal(path: &Path) -> String {
        let error = read_owned(path, 100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        error.to_string()
    }

    #[test]
    fn what_was_put_is_read_and_the_old_contents_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(read_owned(&path, 100).unwrap(), None);
        replace(&path, b"one and more", 0o640).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(read_owned(&path, 100).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(folder.path()), ["state"]);
    }

    #[test]
    fn links_and_other_things_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("state"), folder.path().join("other"));
        fs::write(&other, "x").unwrap();
        symlink(&other, &path).unwrap();
        assert_eq!(refusal(&path), "it is a symbolic link");
        fs::remove_file(&path).unwrap();
        fs::hard_link(&other, &path).unwrap();
        assert_eq!(refusal(&path), "it has several names");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(refusal(&path), "it is no regular file");
        fs::remove_dir(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(refusal(&path), "it is no regular file");
    }

    #[test]
    fn what_others_may_write_or_own_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, b"x", 0o664).unwrap();
        assert_eq!(refusal(&path), "others than its owner may write it");
        replace(&path, b"x", 0o600).unwrap();
        if !geteuid().is_root() {
            return;
        }
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        assert_eq!(refusal(&path), "it belongs to the user 65534, not to root");
    }

    #[test]
    fn size_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, &[b'x'; 100], 0o600).unwrap();
        assert_eq!(read_owned(&path, 100).unwrap().unwrap().len(), 100);
        replace(&path, &[b'x'; 101], 0o600).unwrap();
        assert_eq!(refusal(&path), "it is larger than 100 bytes");
    }

    #[test]
    fn a_link_is_replaced_and_its_target_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("state"), folder.path().join("other"));
        fs::write(&other, "kept").unwrap();
        symlink(&other, &path).unwrap();
        // A trap in the place of the temporary file.
        symlink(&other, temporary_name(folder.path(), &path).unwrap()).unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"kept");
        assert_eq!(read_owned(&path, 100).unwrap().unwrap(), b"new");
        assert_eq!(names(folder.path()), ["other", "state"]);
    }

    #[test]
    fn failed_replacement_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        // A folder in its place: the rename fails.
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"new", 0o600).is_err());
        assert_eq!(names(folder.path()), ["state"]);
        assert!(replace(&folder.path().join("missing/state"), b"new", 0o600).is_err());
    }

    /// On a tiny tmpfs in a mount namespace of this test's thread, which takes root.
    #[test]
    fn full_disk_keeps_the_old_contents_and_leaves_nothing_behind() {
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mounted = folder.path().to_owned();
        let checked = std::thread::spawn(move || {
            // A thread may have file systems of its own (unshare(2)).
            if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_err() || !mount_tiny(&mounted) {
                return;
            }
            let path = mounted.join("state");
            replace(&path, b"old", 0o600).unwrap();
            let error = replace(&path, &vec![b'x'; 1 << 20], 0o600).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
            assert_eq!(read_owned(&path, 100).unwrap().unwrap(), b"old");
            assert_eq!(names(&mounted), ["state"]);
        });
        checked.join().unwrap();
    }

    fn mount_tiny(at: &Path) -> bool {
        let text = |text: &str| CString::new(text).unwrap();
        let (none, root, kind) = (text("none"), text("/"), text("tmpfs"));
        let (at, options) = (text(at.to_str().unwrap()), text("size=64k"));
        let private = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: every pointer is to a string that ends with a zero byte and outlives the call, or null, where
        // mount(2) ignores it.
        unsafe {
            libc::mount(none.as_ptr(), root.as_ptr(), std::ptr::null(), private, std::ptr::null()) == 0
                && libc::mount(none.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) == 0
        }
    }
}
