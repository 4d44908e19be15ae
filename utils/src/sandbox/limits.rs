//! Resource limits (getrlimit(2)). They are only ever lowered, soft and hard alike.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use super::{SandboxError, step};

/// The most that a process may use of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// In the unit of getrlimit(2).
    pub most: rlim_t,
}

/// Sets them. Where the hard limit is lower already, that one stays, and the soft one is raised to it.
pub(super) fn set(limits: &[Limit]) -> Result<(), SandboxError> {
    for limit in limits {
        let (_, hard) = getrlimit(limit.resource).map_err(step("read a resource limit"))?;
        let most = limit.most.min(hard);
        setrlimit(limit.resource, most, most).map_err(step("set a resource limit"))?;
    }
    Ok(())
}
