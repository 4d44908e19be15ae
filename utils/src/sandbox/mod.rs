//! What a process gives up for good before it meets the world.
//!
//! | file | owns |
//! |---|---|
//! | `privileges` | user, groups, capabilities, `no_new_privs`, not dumpable: [`apply`] |
//! | `files` | which files, ports and processes it can reach (Landlock) |
//! | `calls` | which system calls it may make (seccomp) |
//! | `limits` | how much of the system it may use |
//!
//! It takes away and opens nothing, and it knows no worker. A child of main's calls [`apply`] once it has everything
//! open that it needs, then `process::die_with_parent`, then [`confine`]. What a process forks afterwards inherits all of
//! it, at no cost.

mod calls;
mod files;
mod limits;
mod privileges;

use std::io;

use nix::errno::Errno;

pub use calls::{Call, Filter, Test, When};
pub use files::{FileAccess, FileRule, landlock_version};
pub use limits::Limit;
pub use nix::sys::resource::Resource;
pub use privileges::{Identity, Privileges, apply, lookup};

/// Why a process may not go on: it would have more power than it should.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A system call failed.
    #[error("could not {step}: {source}")]
    Step {
        /// What was to be done.
        step: &'static str,
        /// Why it was not.
        source: io::Error,
    },
    /// The calls succeeded, yet a look afterwards finds powers left.
    #[error("privileges were not dropped: {left}")]
    Left {
        /// What is left.
        left: String,
    },
    /// The list of system calls cannot be made into a filter.
    #[error("could not make the filter of system calls: {0}")]
    Filter(String),
}

/// What is left to a process.
#[derive(Debug, Default)]
pub struct Confinement {
    /// The files that it can still open.
    pub files: Vec<FileRule>,
    /// The system calls that it may still make; none where this architecture has no filter.
    pub filter: Option<Filter>,
    /// How much it may use.
    pub limits: Vec<Limit>,
}

/// Confines this process, which must have one thread and have called [`apply`], for good.
///
/// What this kernel does not offer is left out without a word: main asks [`missing`] once and tells of it. An error means
/// that the process is in an unknown state in between and must end.
pub fn confine(to: &Confinement) -> Result<(), SandboxError> {
    limits::set(&to.limits)?;
    files::restrict(&to.files)?;
    // Last, since it takes away the calls that all of this needs.
    to.filter.as_ref().map_or(Ok(()), Filter::install)
}

/// What this kernel cannot do of [`confine`], in words for an operator.
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if landlock_version().is_none() {
        missing.push(
            "this kernel has no Landlock: a process that is taken over can open every file that its user may"
                .to_owned(),
        );
    }
    if !calls::architecture_is_known() {
        missing.push(format!(
            "there is no list of system calls for {}: a process that is taken over can make them all",
            std::env::consts::ARCH
        ));
    } else if !calls::kernel_filters() {
        missing.push(
            "this kernel has no seccomp filters: a process that is taken over can make every system call"
                .to_owned(),
        );
    }
    missing
}

fn step(step: &'static str) -> impl Fn(Errno) -> SandboxError {
    move |error| SandboxError::Step { step, source: error.into() }
}
