//! The locked PID file.
//!
//! The lock says whether a daemon runs, never the number in the file: a number may be stale, garbage or a
//! stranger's. Owns that one file; signals nobody. Main acquires it, the command line asks for its [`holder`].
//!
//! Two locks, both of the open file description. flock(2) on the file is *the* lock. An open-file-description lock
//! (fcntl(2)) on its first byte says "the number in here is mine", and is taken after the number is written: between
//! the lock and the number, a file still holds what somebody else left in it. Where the kernel tells who holds the lock, it is
//! believed rather than the number, which somebody may have written over.
//!
//! Anybody who may read a file may lock it, so a lock alone is not believed for long: who is no daemon of this user or root's
//! keeps neither a start out nor looks like a daemon. And nobody else may open a new file before both locks are in place.
//!
//! As long as one process has a copy of the descriptor, they hold. Workers must close theirs
//! (`process::keep_only`).

mod error;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{Pid, geteuid};

pub use error::PidFileError;

/// Anybody may read which process it is …
const MODE: u32 = 0o644;
/// … once it stands there and is locked.
const UNWRITTEN: u32 = 0o600;

/// How long to wait for somebody who only looks at the lock, or who holds it and has not written its number yet.
const PATIENCE: Duration = Duration::from_secs(1);

const PAUSE: Duration = Duration::from_millis(5);

/// How often a file may be replaced under us before we call it an error.
const ATTEMPTS: usize = 100;

/// More than any number and its line end; a longer file is garbage.
const LONGEST: usize = 32;

/// A PID file whose lock this process holds. Dropped, it stays behind as a stale one.
#[derive(Debug)]
pub struct PidFile {
    file: File,
    path: PathBuf,
}

/// Who holds a PID file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// There is no file.
    Nobody,
    /// There is one, but its lock is free: no daemon runs, whatever number is in it.
    Stale,
    /// A daemon runs, with this PID unless it never wrote one.
    Running(Option<Pid>),
}

impl PidFile {
    /// Takes the lock of a new file. One whose lock is free is replaced, its contents unread; so is one that is locked by
    /// nobody who could be a daemon. Links are not followed. The file is empty and closed to others until
    /// [`write`](Self::write) fills it.
    ///
    /// Waits for up to a second where a running holder has not written its PID yet, so that the error can name it.
    pub fn acquire(path: &Path) -> Result<PidFile, PidFileError> {
        let failed = |source| PidFileError::Io { path: path.to_owned(), source };
        let deadline = Instant::now() + PATIENCE;
        let mut replaced = 0;
        while replaced < ATTEMPTS {
            let mut options = OpenOptions::new();
            let file =
                open(path, options.read(true).write(true).create(true).truncate(false).mode(UNWRITTEN))?;
            match lock_exclusive(&file).map_err(failed)? {
                Lock::Taken => {}
                Lock::Looked if Instant::now() < deadline => {
                    sleep(PAUSE);
                    continue;
                }
                looked @ (Lock::Looked | Lock::Held) => {
                    let pid = read_soon(&file);
                    let strange = matches!(looked, Lock::Looked) || is_held_by_stranger(&file);
                    if pid.is_none() && (strange || !names(path, &file)) {
                        // Else its holder was on the way out.
                        if names(path, &file) {
                            fs::remove_file(path).map_err(failed)?;
                        }
                        replaced += 1;
                        continue;
                    }
                    return Err(PidFileError::Running { path: path.to_owned(), pid });
                }
            }
            if !names(path, &file) {
                // Its last holder removed it between our open and our lock.
                replaced += 1;
                continue;
            }
            let metadata = file.metadata().map_err(failed)?;
            if metadata.uid() != geteuid().as_raw() {
                // A stranger's file: the owner could write a number into it later, which `stop` would believe.
                // We hold its lock, so nobody who keeps to the rules replaces it meanwhile.
                fs::remove_file(path).map_err(failed)?;
                replaced += 1;
                continue;
            }
            if metadata.nlink() != 1 {
                return Err(PidFileError::NotRegular {
                    path: path.to_owned(),
                    found: "a file with several names",
                });
            }
            if metadata.len() > 0 || metadata.mode() & 0o077 != 0 {
                // Others may have it open, and locks on it that would be in the way of ours.
                fs::remove_file(path).map_err(failed)?;
                replaced += 1;
                continue;
            }
            return Ok(PidFile { file, path: path.to_owned() });
        }
        Err(failed(io::Error::other("the file is replaced again and again")))
    }

    /// A PID file whose locks came with a descriptor over exec(2): they are of the open file description, which stays.
    pub fn adopt(fd: OwnedFd, path: PathBuf) -> PidFile {
        PidFile { file: File::from(fd), path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the number, in place of an earlier one; from now on others believe it.
    pub fn write(&self, pid: Pid) -> Result<(), PidFileError> {
        let text = format!("{pid}\n");
        self.file
            .write_all_at(text.as_bytes(), 0)
            .and_then(|()| self.file.set_len(text.len() as u64))
            .and_then(|()| vouch(&self.file))
            // The umask has no say in it.
            .and_then(|()| self.file.set_permissions(Permissions::from_mode(MODE)))
            .map_err(|source| PidFileError::Io { path: self.path.clone(), source })
    }

    /// Whether the path still names the file that we locked.
    pub fn is_ours(&self) -> bool {
        names(&self.path, &self.file)
    }

    /// Removes the file if it is still ours, then lets go of the lock. A file that somebody put in its place
    /// stays.
    pub fn remove(self) -> Result<(), PidFileError> {
        if !self.is_ours() {
            return Ok(());
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(PidFileError::Io { path: self.path, source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Who holds the file, by its lock. Changes nothing; waits for up to a second for a number not yet written.
pub fn holder(path: &Path) -> Result<Holder, PidFileError> {
    for _ in 0..ATTEMPTS {
        let file = match open(path, OpenOptions::new().read(true)) {
            Err(PidFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Holder::Nobody);
            }
            opened => opened?,
        };
        // A shared lock, let go at once as the file closes: two who look do not see each other, and `acquire` knows
        // it from a holder's.
        match flock(&file, libc::LOCK_SH) {
            Ok(true) if names(path, &file) => return Ok(Holder::Stale),
            // Removed while we looked, or replaced: look again.
            Ok(true) => {}
            Ok(false) => {
                let pid = read_soon(&file);
                let strange = pid.is_none() && is_held_by_stranger(&file);
                return Ok(if strange { Holder::Stale } else { Holder::Running(pid) });
            }
            Err(source) => return Err(PidFileError::Io { path: path.to_owned(), source }),
        }
    }
    let source = io::Error::other("the file is replaced again and again");
    Err(PidFileError::Io { path: path.to_owned(), source })
}

/// What came of trying to lock.
enum Lock {
    Taken,
    /// Somebody had it who only looks, with a shared lock.
    Looked,
    Held,
}

fn lock_exclusive(file: &File) -> io::Result<Lock> {
    if flock(file, libc::LOCK_EX)? {
        return Ok(Lock::Taken);
    }
    let only_looked = flock(file, libc::LOCK_SH)?;
    Ok(if only_looked { Lock::Looked } else { Lock::Held })
}

/// flock(2) without waiting: false if somebody else has it.
fn flock(file: &File, kind: libc::c_int) -> io::Result<bool> {
    loop {
        // SAFETY: the descriptor is open for as long as `file` is borrowed; only numbers go in.
        if unsafe { libc::flock(file.as_raw_fd(), kind | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(false),
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

/// Opens a regular file without following a link. Not blocking, or a FIFO would hold us up.
fn open(path: &Path, options: &mut OpenOptions) -> Result<File, PidFileError> {
    let file = match options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Ok(file) => file,
        Err(error) if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => {
            // ELOOP, but a link higher up in the path may loop as well.
            return match error.raw_os_error() {
                Some(libc::ELOOP) => Err(PidFileError::Symlink { path: path.to_owned() }),
                _ => Err(PidFileError::Io { path: path.to_owned(), source: error }),
            };
        }
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) => {
            return Err(PidFileError::NotRegular { path: path.to_owned(), found: "a folder" });
        }
        Err(source) => return Err(PidFileError::Io { path: path.to_owned(), source }),
    };
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(PidFileError::NotRegular { path: path.to_owned(), found: "no regular file" }),
        Err(source) => Err(PidFileError::Io { path: path.to_owned(), source }),
    }
}

/// Whether the path names this very file now.
fn names(path: &Path, file: &File) -> bool {
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(ours)) => (named.dev(), named.ino()) == (ours.dev(), ours.ino()),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// A write lock on the first byte, which only who may write the file can take.
fn first_byte() -> libc::flock {
    // SAFETY: an all-zero flock is a valid value of that C struct.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    // The constants are small and positive; the fields are 16 bits wide (fcntl(2)).
    #[allow(clippy::cast_possible_truncation, reason = "F_WRLCK is 1 and SEEK_SET is 0")]
    {
        lock.l_type = libc::F_WRLCK as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
    }
    lock.l_len = 1;
    lock
}

/// Tells that the number is the lock holder's.
fn vouch(file: &File) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&first_byte()))?;
    Ok(())
}

fn is_vouched_for(file: &File) -> bool {
    let mut lock = first_byte();
    // What comes back is the lock in the way. A stranger who may only read the file could have put a read lock there.
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)).is_ok() && i32::from(lock.l_type) == libc::F_WRLCK
}

/// The number in a file whose lock is held, waiting a little for one that is still to be written.
fn read_soon(file: &File) -> Option<Pid> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Asked before the number is read: what stood there before the holder came is not believed.
        if is_vouched_for(file) {
            let mut text = [0; LONGEST];
            let length = file.read_at(&mut text, 0).unwrap_or(0);
            if let Some(pid) = locker(file).or_else(|| parse(&text[..length])) {
                return Some(pid);
            }
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(PAUSE);
    }
}

/// Whom the kernel knows to hold the file by flock(2), whatever somebody has written over the number since (proc(5),
/// `/proc/locks`). Nobody where the file system has other device numbers there (btrfs), or where it is a process that we cannot see.
fn locker(file: &File) -> Option<Pid> {
    let metadata = file.metadata().ok()?;
    let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks
        .lines()
        .find_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let [kind, _, access, pid, at] = [(); 5].map(|()| words.next().unwrap_or_default());
            ((kind, access, at) == ("FLOCK", "WRITE", &place)).then_some(pid)?.parse().ok()
        })
        .filter(|&pid: &i32| pid > 0)
        .map(Pid::from_raw)
}

/// Whether the lock is held by a process of a user who can have no daemon here. To be asked where nobody vouches for a number.
fn is_held_by_stranger(file: &File) -> bool {
    let user = locker(file).and_then(real_user);
    user.is_some_and(|user| user != 0 && user != geteuid().as_raw())
}

/// Whose process it is (proc(5), `Uid`): not the owner of its files in /proc, which is root where it is not dumpable.
fn real_user(pid: Pid) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().next()?.parse().ok()
}

/// A positive number and its line end, nothing else: kill(2) takes 0 and negative ones for whole groups. A number
/// without the line end may be half written.
fn parse(text: &[u8]) -> Option<Pid> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&number: &i32| plain && number > 0).map(Pid::from_raw)
}

#[cfg(test)]
mod tests;
