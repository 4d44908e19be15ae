//! Landlock: which files a process can open, and that it reaches nobody by TCP or by signals (landlock(7)).
//!
//! Everything that Landlock can forbid up to its version 6 (Linux 6.12) is forbidden but for the rules. An older kernel
//! forbids what it knows. Descriptors that are open already are not touched, nor is looking at a file (stat(2)).

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use nix::errno::Errno;

use super::SandboxError;

/// The version that the rules are written for: what later ones can forbid as well is not asked for.
const VERSION: ABI = ABI::V6;

/// What may be done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    /// Reading this file, or the files in this folder and below, and listing that.
    Read,
    /// In this folder and below: reading, writing, listing, making, renaming and removing plain files.
    Write,
    /// The same, and folders may be made.
    WriteAndMakeFolders,
}

/// A path that can still be opened. It stands for what is there when the process is confined: a folder that takes its place
/// later is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRule {
    /// A file or a folder; links are followed.
    pub path: PathBuf,
    /// How.
    pub access: FileAccess,
}

impl FileAccess {
    fn rights(self) -> BitFlags<AccessFs> {
        let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let write = make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | RemoveFile});
        match self {
            Self::Read => read,
            Self::Write => read | write,
            Self::WriteAndMakeFolders => read | write | AccessFs::MakeDir,
        }
    }
}

/// Forbids this process everything that is not in the rules. A rule whose path is not there, or not for this user, is left
/// out: there is nothing to open then.
pub(super) fn restrict(rules: &[FileRule]) -> Result<(), SandboxError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(VERSION))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(VERSION)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(VERSION)))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    for rule in rules {
        let Ok(path) = PathFd::new(&rule.path) else { continue };
        let is_file = rule.path.metadata().is_ok_and(|found| !found.is_dir());
        let rights = rule.access.rights();
        let rights = if is_file { rights & AccessFs::from_file(VERSION) } else { rights };
        ruleset = ruleset.add_rule(PathBeneath::new(path, rights)).map_err(failed)?;
    }
    ruleset.restrict_self().map(drop).map_err(failed)
}

fn failed(error: RulesetError) -> SandboxError {
    SandboxError::Step { step: "shut itself off by Landlock", source: std::io::Error::other(error) }
}

/// The version of Landlock that this kernel has; none where it has none, or where it is switched off.
pub fn landlock_version() -> Option<libc::c_long> {
    // SAFETY: with this flag the kernel reads no attributes, and takes no size (landlock_create_ruleset(2)).
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    Errno::result(version).ok().filter(|version| *version > 0)
}

/// Of linux/landlock.h.
const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
