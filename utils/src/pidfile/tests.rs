//! Unit tests of the PID file. Two open file descriptions of one process compete as two processes do
//! (flock(2)), so these need no fork; `tests/pidfile.rs` races real processes.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::getpid;

use super::*;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.pid");
    (folder, path)
}

#[test]
fn second_one_learns_who_runs() {
    let (_folder, path) = folder();
    let ours = PidFile::acquire(&path).unwrap();
    ours.write(getpid()).unwrap();
    match PidFile::acquire(&path).unwrap_err() {
        PidFileError::Running { pid, .. } => assert_eq!(pid, Some(getpid())),
        other => panic!("{other}"),
    }
    assert_eq!(holder(&path).unwrap(), Holder::Running(Some(getpid())));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, MODE);
}

#[test]
fn shorter_number_replaces_a_longer_one() {
    let (_folder, path) = folder();
    let ours = PidFile::acquire(&path).unwrap();
    ours.write(Pid::from_raw(4_194_303)).unwrap();
    ours.write(Pid::from_raw(7)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"7\n");
}

#[test]
fn free_lock_means_stale_whatever_the_contents() {
    let (_folder, path) = folder();
    // 1 is always alive, and never ours.
    for contents in [&b""[..], b"1\n", b"4711\n", b"garbage", b"-1\n", &[0xff; 9000]] {
        fs::write(&path, contents).unwrap();
        assert_eq!(holder(&path).unwrap(), Holder::Stale);
        let ours = PidFile::acquire(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        drop(ours);
    }
}

#[test]
fn number_that_was_written_over_is_not_believed() {
    let (_folder, path) = folder();
    let ours = PidFile::acquire(&path).unwrap();
    ours.write(getpid()).unwrap();
    for contents in ["1\n", "", "nonsense"] {
        fs::write(&path, contents).unwrap();
        assert_eq!(holder(&path).unwrap(), Holder::Running(Some(getpid())), "{contents:?}");
    }
}

#[test]
fn running_without_a_number_is_still_running() {
    let (_folder, path) = folder();
    let ours = PidFile::acquire(&path).unwrap();
    assert_eq!(holder(&path).unwrap(), Holder::Running(None));
    fs::write(&path, "nonsense").unwrap();
    assert_eq!(holder(&path).unwrap(), Holder::Running(None));
    drop(ours);
}

#[test]
fn number_from_before_the_lock_is_not_believed() {
    let (_folder, path) = folder();
    fs::write(&path, "1\n").unwrap();
    // Between lock and number; and any user may lock a file that it may read.
    let file = File::open(&path).unwrap();
    assert!(flock(&file, libc::LOCK_EX).unwrap());
    assert_eq!(holder(&path).unwrap(), Holder::Running(None));
    match PidFile::acquire(&path).unwrap_err() {
        PidFileError::Running { pid, .. } => assert_eq!(pid, None),
        other => panic!("{other}"),
    }
}

#[test]
fn number_that_comes_late_is_waited_for() {
    let (_folder, path) = folder();
    let ours = PidFile::acquire(&path).unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| holder(&path).unwrap());
        ours.write(getpid()).unwrap();
        assert_eq!(asked.join().unwrap(), Holder::Running(Some(getpid())));
    });
}

#[test]
fn removed_file_has_nobody() {
    let (_folder, path) = folder();
    let ours = PidFile::acquire(&path).unwrap();
    assert!(ours.is_ours());
    ours.remove().unwrap();
    assert!(!path.exists());
    assert_eq!(holder(&path).unwrap(), Holder::Nobody);
}

#[test]
fn file_that_took_our_place_stays() {
    let (_folder, path) = folder();
    let ours = PidFile::acquire(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!ours.is_ours());
    let theirs = PidFile::acquire(&path).unwrap();
    ours.remove().unwrap();
    assert!(theirs.is_ours());
}

#[test]
fn link_is_neither_followed_nor_changed() {
    let (folder, path) = folder();
    let target = folder.path().join("precious");
    fs::write(&target, "precious").unwrap();
    symlink(&target, &path).unwrap();
    assert!(matches!(PidFile::acquire(&path).unwrap_err(), PidFileError::Symlink { .. }));
    assert!(matches!(holder(&path).unwrap_err(), PidFileError::Symlink { .. }));
    fs::remove_file(&path).unwrap();
    symlink("nowhere", &path).unwrap();
    assert!(matches!(PidFile::acquire(&path).unwrap_err(), PidFileError::Symlink { .. }));
    fs::remove_file(&path).unwrap();
    fs::hard_link(&target, &path).unwrap();
    assert!(matches!(PidFile::acquire(&path).unwrap_err(), PidFileError::NotRegular { .. }));
    assert_eq!(fs::read(&target).unwrap(), b"precious");
}

#[test]
fn only_regular_files_will_do() {
    let (_folder, path) = folder();
    fs::create_dir(&path).unwrap();
    assert!(matches!(PidFile::acquire(&path).unwrap_err(), PidFileError::NotRegular { .. }));
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(PidFile::acquire(&path).unwrap_err(), PidFileError::NotRegular { .. }));
    assert!(matches!(holder(&path).unwrap_err(), PidFileError::NotRegular { .. }));
}

#[test]
fn missing_folder_comes_with_a_hint() {
    let (folder, _) = folder();
    let path = folder.path().join("missing/daemon.pid");
    let error = PidFile::acquire(&path).unwrap_err();
    assert!(error.hint().unwrap().contains("missing"), "{error}");
    assert_eq!(holder(&path).unwrap(), Holder::Nobody);
}

#[test]
fn those_who_look_never_keep_a_start_out() {
    let (_folder, path) = folder();
    fs::write(&path, "1\n").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = holder(&path);
                }
            });
        }
        let refused = (0..200).filter(|_| PidFile::acquire(&path).is_err()).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(refused, 0);
    });
}

#[test]
fn numbers_are_positive_and_whole() {
    assert_eq!(parse(b"12\n"), Some(Pid::from_raw(12)));
    for bad in
        [&b""[..], b"12", b"\n", b"0\n", b"-1\n", b"+1\n", b" 1\n", b"99999999999\n", b"1\n2\n", b"\xff\n"]
    {
        assert_eq!(parse(bad), None, "{bad:?}");
    }
}
