//! What is left of a process's powers once they are dropped.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::{Done, in_child, status};
use daemon_utils::process::die_with_parent;
use daemon_utils::sandbox::{Identity, Privileges, SandboxError, apply, lookup};
use daemon_utils::signal::ignore_in_worker;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Gid, Uid, getppid, setgroups};

const NOTHING: &str = "0000000000000000";
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
const NEEDS_ROOT: &str = "needs root, to have something to drop";

fn main() {
    let tests = common::tests![
        worker_has_no_powers_left,
        worker_cannot_read_what_is_root_s,
        parent_death_signal_is_set_after_dropping,
        logger_keeps_uid_0_without_capabilities,
        root_as_the_user_has_no_capabilities_either,
        exec_gives_nothing_back,
        ordinary_user_gains_nothing_by_exec,
        who_is_not_root_cannot_become_a_worker,
    ];
    common::run(tests, common::filter());
}

/// Some ordinary user that is there everywhere.
fn nobody() -> Option<Identity> {
    if !Uid::effective().is_root() {
        return None;
    }
    Some(lookup("nobody").unwrap().expect("a user nobody"))
}

fn assert_closed() {
    assert_eq!(status("NoNewPrivs"), "1");
    assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
    assert!(!prctl::get_dumpable().unwrap());
}

fn worker_has_no_powers_left() -> Done {
    let Some(nobody) = nobody() else { return Done::Skipped(NEEDS_ROOT) };
    in_child(|| {
        ignore_in_worker();
        setgroups(&[0, 4, 27].map(Gid::from_raw)).unwrap();
        let (uid, gid) = (nobody.uid, nobody.gid);
        assert_eq!(apply(&Privileges::Worker(nobody)).unwrap(), Vec::<String>::new());
        assert_eq!(status("Uid"), [uid; 4].map(|uid| uid.to_string()).join(" "));
        assert_eq!(status("Gid"), [gid; 4].map(|gid| gid.to_string()).join(" "));
        assert_eq!(status("Groups"), "");
        for set in SETS {
            assert_eq!(status(set), NOTHING, "{set}");
        }
        assert_closed();
    });
    Done::Passed
}

fn worker_cannot_read_what_is_root_s() -> Done {
    let Some(nobody) = nobody() else { return Done::Skipped(NEEDS_ROOT) };
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    in_child(|| {
        apply(&Privileges::Worker(nobody)).unwrap();
        assert_eq!(fs::read(&secret).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        // What a worker needs of /proc stays readable, though it is not dumpable.
        assert!(fs::read_dir("/proc/self/fd").is_ok());
        assert_eq!(daemon_utils::process::children(), []);
    });
    Done::Passed
}

fn parent_death_signal_is_set_after_dropping() -> Done {
    let Some(nobody) = nobody() else { return Done::Skipped(NEEDS_ROOT) };
    in_child(|| {
        let parent = getppid();
        die_with_parent(parent).unwrap();
        apply(&Privileges::Worker(nobody)).unwrap();
        assert_eq!(prctl::get_pdeathsig().unwrap(), None, "the order does not matter any more");
        die_with_parent(parent).unwrap();
        assert_eq!(prctl::get_pdeathsig().unwrap(), Some(nix::sys::signal::Signal::SIGKILL));
    });
    Done::Passed
}

fn logger_keeps_uid_0_without_capabilities() -> Done {
    let Some(nobody) = nobody() else { return Done::Skipped(NEEDS_ROOT) };
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    fs::write(&theirs, "").unwrap();
    nix::unistd::chown(&theirs, Some(nobody.uid), Some(nobody.gid)).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
    in_child(|| {
        assert_eq!(apply(&Privileges::LoggerOfRoot).unwrap(), Vec::<String>::new());
        assert_eq!(status("Uid"), "0 0 0 0");
        assert_eq!(status("Groups"), "");
        for set in SETS {
            assert_eq!(status(set), NOTHING, "{set}");
        }
        assert_closed();
        // An owner like any other: renames in root's folder, no way into other people's files.
        fs::write(folder.path().join("log"), "line").unwrap();
        fs::rename(folder.path().join("log"), folder.path().join("log.1")).unwrap();
        assert_eq!(fs::read(&theirs).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    });
    Done::Passed
}

fn root_as_the_user_has_no_capabilities_either() -> Done {
    let Some(_) = nobody() else { return Done::Skipped(NEEDS_ROOT) };
    let root = lookup("root").unwrap().unwrap();
    in_child(|| {
        apply(&Privileges::Worker(root)).unwrap();
        for set in SETS {
            assert_eq!(status(set), NOTHING, "{set}");
        }
    });
    Done::Passed
}

fn exec_gives_nothing_back() -> Done {
    let Some(nobody) = nobody() else { return Done::Skipped(NEEDS_ROOT) };
    for privileges in [Privileges::LoggerOfRoot, Privileges::Worker(nobody)] {
        in_child(|| {
            ignore_in_worker();
            apply(&privileges).unwrap();
            let output = Command::new("/bin/grep").args(["^Cap", "/proc/self/status"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(text.lines().filter(|line| line.ends_with(NOTHING)).count(), 5, "{text}");
        });
    }
    Done::Passed
}

fn ordinary_user_gains_nothing_by_exec() -> Done {
    in_child(|| {
        let before = (status("Uid"), status("Groups"));
        assert_eq!(apply(&Privileges::Unchanged).unwrap(), Vec::<String>::new());
        assert_eq!((status("Uid"), status("Groups")), before);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(set), NOTHING, "{set}");
        }
        assert_closed();
    });
    Done::Passed
}

fn who_is_not_root_cannot_become_a_worker() -> Done {
    in_child(|| {
        let identity = lookup("nobody").unwrap().expect("a user nobody");
        if let Some(nobody) = nobody() {
            apply(&Privileges::Worker(nobody)).unwrap();
        }
        let other = Identity { uid: Uid::from_raw(12345), gid: Gid::from_raw(12345), ..identity };
        assert!(matches!(apply(&Privileges::Worker(other)), Err(SandboxError::Step { .. })));
        assert!(matches!(apply(&Privileges::LoggerOfRoot), Err(SandboxError::Step { .. })));
    });
    Done::Passed
}
