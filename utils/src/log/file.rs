//! One log file on log4rs: appended to, rotated by size (`.1` is the newest old one), mode 0640, never through a
//! symbolic link, never with half a line. It knows nothing of records: it gets finished lines. Called by
//! [`super::outputs`] only.
//!
//! log4rs opens by path and reports only that something failed. So this module checks the path before log4rs
//! opens it, and after a failure puts the file back to its last whole line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::Record;
use log4rs::append::Append;
use log4rs::append::rolling_file::RollingFileAppender;
use log4rs::append::rolling_file::policy::compound::CompoundPolicy;
use log4rs::append::rolling_file::policy::compound::roll::Roll;
use log4rs::append::rolling_file::policy::compound::roll::delete::DeleteRoller;
use log4rs::append::rolling_file::policy::compound::roll::fixed_window::FixedWindowRoller;
use log4rs::append::rolling_file::policy::compound::trigger::size::SizeTrigger;
use log4rs::encode::{self, Encode};
use nix::libc;
use nix::unistd::{AccessFlags, eaccess};

use super::error::OutputError;

const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;
/// After a rotation that failed, how long the file grows on before the next attempt.
const ROTATION_PAUSE: Duration = Duration::from_mins(1);

/// A log file and how it is rotated.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    backups: u32,
    appender: Option<RollingFileAppender>,
    /// Length up to which the file holds whole lines that are known to be written.
    good_bytes: u64,
    /// Set while rotation is suspended.
    rotate_again_at: Option<Instant>,
}

impl LogFile {
    /// Opens or creates the file, and the last component of its folder.
    ///
    /// It is rotated once it is longer than `max_bytes` (0: never); `backups` old files are kept (0: none).
    pub(super) fn open(path: &Path, max_bytes: u64, backups: u32) -> Result<Self, OutputError> {
        check_name(path)?;
        make_folder(path)?;
        open_file(path, true)?;
        // Opened for good with the first line: until then another logger may be writing to the file, and what
        // looks like a torn last line may be one that is just being written.
        Ok(Self {
            path: path.to_owned(),
            max_bytes,
            backups,
            appender: None,
            good_bytes: 0,
            rotate_again_at: None,
        })
    }

    /// Closes the file and opens what is at its path now.
    pub(super) fn reopen(&mut self) -> Result<(), OutputError> {
        self.appender = None;
        check_name(&self.path)?;
        make_folder(&self.path)?;
        let failed = |source| OutputError::Open { path: self.path.clone(), source };
        let file = open_file(&self.path, true)?;
        self.good_bytes = end_last_line(&file).map_err(failed)?;
        let suspended = self.rotate_again_at.is_some_and(|again| Instant::now() < again);
        if !suspended {
            self.rotate_again_at = None;
        }
        let limit =
            if self.max_bytes == 0 || suspended || !self.may_rename() { u64::MAX } else { self.max_bytes };
        let policy = CompoundPolicy::new(Box::new(SizeTrigger::new(limit)), self.roller()?);
        let appender = RollingFileAppender::builder()
            .encoder(Box::new(Finished))
            .build(&self.path, Box::new(policy))
            .map_err(failed)?;
        self.appender = Some(appender);
        Ok(())
    }

    /// Whether the folder lets files be renamed; without that, the file can only grow.
    pub(super) fn may_rename(&self) -> bool {
        eaccess(folder(&self.path), AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    }

    /// Writes one line, which ends in a line feed. On an error nothing of it stays in the file.
    pub(super) fn write(&mut self, line: &str) -> Result<(), OutputError> {
        if self.rotate_again_at.is_some_and(|again| Instant::now() >= again) {
            self.appender = None;
        }
        if self.appender.is_none() {
            self.reopen()?;
        }
        let len = line.len() as u64;
        let result = match &self.appender {
            Some(appender) => append(appender, line),
            None => return Ok(()), // cannot be: reopen sets it or fails
        };
        match result {
            Ok(()) if self.max_bytes != 0 && self.rotate_again_at.is_none() => {
                self.good_bytes += len;
                if self.good_bytes > self.max_bytes && !self.path.exists() {
                    // Rotated: log4rs would open the new file with its next line, but without our checks.
                    // The line is written, so a failure here belongs to the next one.
                    let _ = self.reopen();
                }
                Ok(())
            }
            Ok(()) => {
                self.good_bytes += len;
                Ok(())
            }
            Err(reason) => self.repair(len, reason),
        }
    }

    /// After a failed append: finds out whether the line is in the file, and takes away half a line.
    fn repair(&mut self, len: u64, reason: String) -> Result<(), OutputError> {
        // Its buffer may hold the rest of the line; dropping it tries once more to write that.
        self.appender = None;
        let whole = self.good_bytes + len;
        let failed = Err(OutputError::Write { path: self.path.clone(), reason });
        let Ok(file) = open_file(&self.path, false) else { return failed };
        let Ok(now) = file.metadata().map(|data| data.len()) else { return failed };
        if now == whole {
            // The line is there: what failed was the rotation. The file grows on for a while.
            self.good_bytes = whole;
            self.rotate_again_at = Some(Instant::now() + ROTATION_PAUSE);
            return Ok(());
        }
        if now > self.good_bytes && now < whole {
            // Where even this fails, the next open ends the torn line with a line feed.
            let _ = file.set_len(self.good_bytes);
        }
        failed
    }

    fn roller(&self) -> Result<Box<dyn Roll>, OutputError> {
        if self.backups == 0 {
            return Ok(Box::new(DeleteRoller::new()));
        }
        // check_name made sure that the only `{}` is this one.
        let pattern = format!("{}.{{}}", self.path.display());
        match FixedWindowRoller::builder().base(1).build(&pattern, self.backups) {
            Ok(roller) => Ok(Box::new(roller)),
            Err(error) => Err(OutputError::Write { path: self.path.clone(), reason: error.to_string() }),
        }
    }
}

/// Checks that the file can be created and appended to, and leaves everything as it was.
pub(super) fn check(path: &Path) -> Result<(), OutputError> {
    check_name(path)?;
    let made_folder = make_folder(path)?;
    let existed = path.symlink_metadata().is_ok();
    let result = open_file(path, true).map(drop);
    if !existed && result.is_ok() {
        let _ = std::fs::remove_file(path);
    }
    if made_folder {
        let _ = std::fs::remove_dir(folder(path));
    }
    result
}

/// log4rs replaces `$ENV{NAME}` in paths and every `{}` in the pattern of the old files' names, and it takes
/// names as UTF-8. A path with one of these would write to another file than the one that was checked.
fn check_name(path: &Path) -> Result<(), OutputError> {
    let reason = match path.to_str() {
        None => "the path is not utf-8",
        Some(name) if name.contains("{}") || name.contains("$ENV{") => {
            "the path contains \"{}\" or \"$ENV{\""
        }
        Some(_) if path.file_name().is_none() => "the path does not end in a file name",
        Some(_) => return Ok(()),
    };
    Err(OutputError::Name { path: path.to_owned(), reason })
}

/// Creates the file's folder where only that last component is missing. Whether it did.
pub(super) fn make_folder(path: &Path) -> Result<bool, OutputError> {
    let folder = folder(path);
    match std::fs::DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Ok(()) => Ok(true),
        Err(_) if folder.is_dir() => Ok(false),
        Err(source) => Err(OutputError::Folder { path: path.to_owned(), folder: folder.to_owned(), source }),
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Opens for appending; refuses links, and whatever is not a regular file (a rotation would rename it).
fn open_file(path: &Path, create: bool) -> Result<File, OutputError> {
    let opened = OpenOptions::new()
        .read(true)
        .append(true)
        .create(create)
        .mode(FILE_MODE)
        // O_NONBLOCK: a pipe at this path must not hold us up before it is refused.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path);
    let irregular = |kind| OutputError::NotAFile { path: path.to_owned(), kind };
    let kind = path.symlink_metadata().map(|data| data.file_type());
    match (opened, kind) {
        (_, Ok(kind)) if kind.is_symlink() => Err(irregular("a symbolic link")),
        (_, Ok(kind)) if kind.is_dir() => Err(irregular("a folder")),
        (_, Ok(kind)) if !kind.is_file() => Err(irregular("a device, pipe or socket")),
        (Ok(file), _) => Ok(file),
        (Err(source), _) => Err(OutputError::Open { path: path.to_owned(), source }),
    }
}

/// Ends a line that a crash has torn, so that the next one starts a line of its own. Returns the length.
fn end_last_line(mut file: &File) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let Some(last) = len.checked_sub(1) else { return Ok(0) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    if byte == *b"\n" {
        return Ok(len);
    }
    // On a full disk the torn line stays as it is; that is no reason not to start.
    Ok(if file.write_all(b"\n").is_ok() { len + 1 } else { len })
}

/// Hands a finished line to an appender.
pub(super) fn append(appender: &dyn Append, line: &str) -> Result<(), String> {
    append_at(appender, log::Level::Info, line)
}

/// Hands a finished line to an appender whose encoder looks at the level.
pub(super) fn append_at(appender: &dyn Append, level: log::Level, line: &str) -> Result<(), String> {
    appender
        .append(&Record::builder().level(level).args(format_args!("{line}")).build())
        .map_err(|error| format!("{error:#}"))
}

/// The encoder of lines that are finished already.
#[derive(Debug)]
struct Finished;

impl Encode for Finished {
    fn encode(&self, out: &mut dyn encode::Write, record: &Record) -> anyhow::Result<()> {
        // The arguments are one string: it reaches the buffer in one piece.
        write!(out, "{}", record.args()).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn numbers(path: &Path) -> Vec<u32> {
        fs::read_to_string(path).unwrap().lines().map(|line| line.parse().unwrap()).collect()
    }

    #[test]
    fn rotation_keeps_every_line_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut file = LogFile::open(&path, 100, 50).unwrap();
        for n in 1000..2000 {
            file.write(&format!("{n}\n")).unwrap();
        }
        let names = (1..=50).rev().map(|n| folder.path().join(format!("a.log.{n}"))).chain([path]);
        let all: Vec<u32> = names.filter(|path| path.exists()).flat_map(|path| numbers(&path)).collect();
        assert_eq!(all, (1000..2000).collect::<Vec<_>>());
        assert!(folder.path().join("a.log.40").exists());
        let mode = fs::metadata(folder.path().join("a.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o027, 0, "{mode:o}");
    }

    #[test]
    fn only_the_wanted_number_of_old_files_is_kept() {
        for backups in [0, 1, 3] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.log");
            let mut file = LogFile::open(&path, 20, backups).unwrap();
            for n in 0..100 {
                file.write(&format!("{n}\n")).unwrap();
            }
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), backups as usize + 1);
        }
    }

    #[test]
    fn reopen_creates_a_file_that_was_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("a.log");
        let mut file = LogFile::open(&path, 0, 5).unwrap();
        file.write("1\n").unwrap();
        let moved = folder.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        file.write("2\n").unwrap();
        file.reopen().unwrap();
        file.write("3\n").unwrap();
        assert_eq!(numbers(&moved), [1, 2]);
        assert_eq!(numbers(&path), [3]);
    }

    #[test]
    fn torn_last_line_of_a_crash_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "1\n2").unwrap();
        LogFile::open(&path, 0, 5).unwrap().write("3\n").unwrap();
        assert_eq!(numbers(&path), [1, 2, 3]);
    }

    #[test]
    fn half_a_line_is_taken_back_and_a_whole_one_counts_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut file = LogFile::open(&path, 0, 5).unwrap();
        file.write("1\n").unwrap();
        let mut other = OpenOptions::new().append(true).open(&path).unwrap();
        other.write_all(b"22").unwrap();
        assert!(file.repair(5, "disk full".into()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        other.write_all(b"2222\n").unwrap();
        assert!(file.repair(5, "rotation failed".into()).is_ok());
        file.write("3\n").unwrap();
        assert_eq!(numbers(&path), [1, 2222, 3]);
    }

    #[test]
    fn rotation_that_fails_loses_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        // A folder with something in it, where the oldest file would be renamed to.
        fs::create_dir_all(folder.path().join("a.log.1").join("x")).unwrap();
        let mut file = LogFile::open(&path, 10, 1).unwrap();
        for n in 0..50 {
            file.write(&format!("{n}\n")).unwrap();
        }
        assert_eq!(numbers(&path), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn links_folders_pipes_and_strange_names_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("target"), "").unwrap();
        symlink(at("target"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for name in ["link", "dangling", "pipe", "folder"] {
            assert!(matches!(check(&at(name)), Err(OutputError::NotAFile { .. })), "{name}");
            assert!(LogFile::open(&at(name), 1, 1).is_err(), "{name}");
        }
        assert!(matches!(check(&at("a{}b")), Err(OutputError::Name { .. })));
        assert!(matches!(check(&at("$ENV{HOME}")), Err(OutputError::Name { .. })));
        assert!(matches!(check(&at("no/such/a.log")), Err(OutputError::Folder { .. })));
        assert!(!at("nowhere").exists());
    }

    #[test]
    fn check_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        check(&folder.path().join("logs").join("a.log")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("b.log"), "kept").unwrap();
        check(&folder.path().join("b.log")).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("b.log")).unwrap(), "kept");
    }
}
