//! The configuration watcher of the seeds: tells when the configuration file has changed on disk and has been quiet for
//! a moment (`daemon.watch_config`).
//!
//! It reads nothing of the file; main decides what follows. inotify(7) is only what wakes it: whether something changed
//! is judged by the file itself, so editors that write in place, that replace the file by rename, and links that are
//! turned to another file are all the same to it.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};

use crate::config::ConfigManager;

/// How long the file must have been as it is: editors and copies write in several steps.
const QUIET: Duration = Duration::from_millis(500);
/// Most links on the way to the file that are followed, as in `path_resolution(7)`.
const LINKS: usize = 40;

/// Watches one file.
#[derive(Debug)]
pub(super) struct Watcher {
    file: PathBuf,
    inotify: Inotify,
    /// What was taken into force last, or refused.
    seen: Option<Stamp>,
    /// What the file was when it was looked at last, and since when.
    now: (Option<Stamp>, Instant),
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Of the file that a configuration is read from.
    pub(super) fn of_source(manager: &ConfigManager) -> Option<Self> {
        manager.sources().absolute_file().and_then(|file| Self::of(&file))
    }

    /// Of the file that `path` leads to; none where it is not there.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let data = fs::metadata(path).ok()?;
        Some(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
        })
    }
}

impl Watcher {
    /// Watches `file`, which was read when it was `seen`.
    pub(super) fn new(file: PathBuf, seen: Option<Stamp>) -> nix::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let now = (seen, Instant::now());
        let mut watcher = Self { file, inotify, seen, now };
        watcher.watch_folders();
        watcher.look();
        Ok(watcher)
    }

    /// The configuration is read, from the file as it was `seen`: that needs no reload of its own any more.
    pub(super) fn is_read(&mut self, seen: Option<Stamp>) {
        self.seen = seen;
    }

    /// Takes note of what has changed. Called in each turn of main's loop, also where inotify says nothing: network file
    /// systems do not tell what another machine wrote.
    pub(super) fn look(&mut self) {
        let mut told = false;
        // EAGAIN: nothing more.
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {
            told = true;
        }
        if told {
            // A link on the way may lead elsewhere now.
            self.watch_folders();
        }
        let stamp = Stamp::of(&self.file);
        if stamp != self.now.0 {
            self.now = (stamp, Instant::now());
        }
    }

    /// When [`Watcher::is_due`] will be true, if nothing else changes. A file that is not there is waited for: an editor
    /// may be about to put the new one in its place.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (stamp, since) = self.now;
        (stamp.is_some() && stamp != self.seen).then(|| since + QUIET)
    }

    /// Whether the file is another than the one that was read, and has been quiet.
    pub(super) fn is_due(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Watches every folder in which a step on the way to the file stands. What cannot be watched is looked at when main
    /// wakes.
    fn watch_folders(&mut self) {
        // Not each write: a log file in the same folder would keep main awake.
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_ONLYDIR;
        for folder in folders(&self.file) {
            // A folder that is watched already is the same watch.
            match self.inotify.add_watch(&folder, flags) {
                Ok(_) | Err(Errno::ENOENT) => (),
                Err(errno) => log::debug!("could not watch folder {folder:?}: {errno}"),
            }
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// The folders of the file and of every link on the way to it: a mounted Kubernetes `ConfigMap`, for example, is
/// replaced by turning a link two steps before the file.
fn folders(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut waiting = vec![file.to_owned()];
    let mut left = LINKS;
    while let Some(path) = waiting.pop() {
        let mut prefix = PathBuf::new();
        for part in path.components() {
            let folder = prefix.clone();
            prefix.push(part);
            let link = fs::read_link(&prefix).ok();
            if (link.is_some() || prefix == path) && !folders.contains(&folder) {
                folders.push(folder.clone());
            }
            if let Some(target) = link.filter(|_| left > 0) {
                left -= 1;
                let rest = path.strip_prefix(&prefix).unwrap_or(Path::new(""));
                waiting.push(folder.join(target).join(rest));
                break;
            }
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A moment far enough from now for the file to count as quiet.
    fn let_it_be_quiet(watcher: &mut Watcher) {
        watcher.look();
        watcher.now.1 -= 2 * QUIET;
    }

    fn watch(file: &Path) -> Watcher {
        Watcher::new(file.to_owned(), Stamp::of(file)).unwrap()
    }

    #[test]
    fn change_in_place_and_by_rename_are_due_when_quiet() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        fs::write(&file, "a").unwrap();
        let mut watcher = watch(&file);
        let_it_be_quiet(&mut watcher);
        assert!(!watcher.is_due(), "nothing has changed");
        fs::write(&file, "ab").unwrap();
        watcher.look();
        assert!(!watcher.is_due() && watcher.deadline().is_some(), "it may still be written to");
        let_it_be_quiet(&mut watcher);
        assert!(watcher.is_due());
        watcher.is_read(Stamp::of(&file));
        assert_eq!(watcher.deadline(), None, "once is enough");
        fs::write(folder.path().join("new"), "ab").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        let_it_be_quiet(&mut watcher);
        assert!(watcher.is_due());
    }

    #[test]
    fn file_that_is_away_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        fs::write(&file, "a").unwrap();
        let mut watcher = watch(&file);
        fs::remove_file(&file).unwrap();
        let_it_be_quiet(&mut watcher);
        assert_eq!(watcher.deadline(), None);
        fs::write(&file, "abc").unwrap();
        let_it_be_quiet(&mut watcher);
        assert!(watcher.is_due());
    }

    #[test]
    fn link_that_is_turned_to_another_file_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["one", "two"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("config.yaml"), version).unwrap();
        }
        symlink("one", at("current")).unwrap();
        symlink("current/config.yaml", at("config.yaml")).unwrap();
        let mut watcher = watch(&at("config.yaml"));
        let watched = folders(&at("config.yaml"));
        assert!(watched.contains(&folder.path().to_owned()) && watched.contains(&at("one")), "{watched:?}");
        symlink("two", at("next")).unwrap();
        fs::rename(at("next"), at("current")).unwrap();
        let_it_be_quiet(&mut watcher);
        assert!(watcher.is_due());
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert!(folders(&folder.path().join("a")).contains(&folder.path().to_owned()));
    }
}
