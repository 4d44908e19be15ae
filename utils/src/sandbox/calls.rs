//! seccomp: which system calls a process may make (seccomp(2)).
//!
//! A call that is not on the list fails with `ENOSYS`, as on a kernel that does not have it: the C library then takes an
//! older one, so that a new library costs speed at worst. A call that only somebody would make who has taken the process
//! over kills it. The kernel's audit log tells of both.

use std::collections::BTreeMap;

use nix::errno::Errno;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use super::{SandboxError, step};

/// A system call, and the arguments that it may be made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// As libc spells it: `SYS_read`.
    pub name: &'static str,
    /// Its number on this architecture.
    pub number: libc::c_long,
    /// One of these must hold; empty: any arguments will do.
    pub only: &'static [When],
}

/// A condition on the arguments of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// For people: `AF_UNIX`, `a thread`.
    pub words: &'static str,
    /// All of these must hold.
    pub tests: &'static [Test],
}

/// A look at one argument: `argument & mask == value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// Which one, from 0.
    pub argument: u8,
    /// The bits that count. Where none is above the 32nd, the upper half is not looked at: the kernel does not either,
    /// and there may be anything in it.
    pub mask: u64,
    /// What they must be.
    pub value: u64,
}

impl Call {
    /// The name as in the manual: `read`.
    pub fn name(&self) -> &'static str {
        self.name.strip_prefix("SYS_").unwrap_or(self.name)
    }
}

/// A compiled list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// In the order in which they are installed. All of them judge each call; the strictest verdict counts.
    programs: [BpfProgram; 2],
}

impl Filter {
    /// Lets through what is allowed; of the rest, what is deadly kills the process. A call may stand on the list several
    /// times: each one adds to it.
    ///
    /// `None` on an architecture that no list was made for. An error is a mistake in the list.
    pub fn compile<'a>(
        allowed: impl IntoIterator<Item = &'a Call>,
        deadly: impl IntoIterator<Item = &'a Call>,
    ) -> Result<Option<Self>, SandboxError> {
        let Some(arch) = architecture() else { return Ok(None) };
        let wrong = |error: BackendError| SandboxError::Filter(error.to_string());
        let refusal = SeccompAction::Errno(Errno::ENOSYS as u32);
        let list = rules(allowed).map_err(wrong)?;
        let allow = SeccompFilter::new(list, refusal, SeccompAction::Allow, arch).map_err(wrong)?;
        let list = rules(deadly).map_err(wrong)?;
        let kill = SeccompFilter::new(list, SeccompAction::Allow, SeccompAction::KillProcess, arch);
        let kill = kill.map_err(wrong)?;
        let programs = [kill.try_into().map_err(wrong)?, allow.try_into().map_err(wrong)?];
        Ok(Some(Self { programs }))
    }

    /// Puts it into force for this process, which must have one thread, for good. Does nothing where the kernel has no
    /// filters.
    pub(super) fn install(&self) -> Result<(), SandboxError> {
        if !kernel_filters() {
            return Ok(());
        }
        self.programs.iter().try_for_each(|program| install(program).map_err(step("filter its system calls")))
    }
}

/// Whether there is a list for the architecture of this program.
pub(super) fn architecture_is_known() -> bool {
    architecture().is_some()
}

/// Whether this kernel can filter and name an error to the caller (`SECCOMP_GET_ACTION_AVAIL`, Linux 4.14).
pub(super) fn kernel_filters() -> bool {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one u32 from `action`, which outlives the call.
    let known =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    known == 0
}

fn architecture() -> Option<TargetArch> {
    match std::env::consts::ARCH {
        "x86_64" => Some(TargetArch::x86_64),
        "aarch64" => Some(TargetArch::aarch64),
        // The crate knows more, but nobody has tried the lists there.
        _ => None,
    }
}

fn rules<'a>(
    calls: impl IntoIterator<Item = &'a Call>,
) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut free = Vec::new();
    for call in calls {
        #[allow(clippy::useless_conversion, reason = "a long has 32 bits on some architectures")]
        let number = i64::from(call.number);
        if call.only.is_empty() {
            free.push(number);
        }
        let chain = rules.entry(number).or_default();
        for when in call.only {
            let tests = when.tests.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
            chain.push(SeccompRule::new(tests)?);
        }
    }
    // No rule at all means that any arguments will do.
    for number in free {
        rules.insert(number, Vec::new());
    }
    Ok(rules)
}

fn condition(test: &Test) -> Result<SeccompCondition, BackendError> {
    let length =
        if test.mask > u64::from(u32::MAX) { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompCondition::new(test.argument, length, SeccompCmpOp::MaskedEq(test.mask), test.value)
}

/// Installs one program. Not by the crate's own function, since two flags are wanted: refusals are told to the audit log,
/// and kernels before 5.16 must not slow the process down (speculative store bypass, which is about processes that run
/// foreign code).
fn install(program: &[sock_filter]) -> Result<(), Errno> {
    let Ok(len) = libc::c_ushort::try_from(program.len()) else { return Err(Errno::E2BIG) };
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    let flags = libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    for flags in [flags, 0] {
        // SAFETY: the kernel copies `len` instructions from `filter`, which the borrow keeps alive, and writes nothing.
        // The two types of an instruction have the layout of linux/filter.h.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        };
        match Errno::result(result) {
            Ok(_) => return Ok(()),
            // A kernel that does not know the flags.
            Err(Errno::EINVAL) if flags != 0 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORK: When = When { words: "a fork", tests: &[Test { argument: 0, mask: 1, value: 0 }] };

    fn call(number: libc::c_long, only: &'static [When]) -> Call {
        Call { name: "SYS_x", number, only }
    }

    #[test]
    fn a_call_that_is_allowed_with_any_arguments_once_is_so_for_good() {
        let any_first = [call(1, &[]), call(1, &[FORK]), call(2, &[FORK]), call(2, &[FORK])];
        let any_last = [call(2, &[FORK, FORK]), call(1, &[FORK]), call(1, &[])];
        for list in [&any_first[..], &any_last] {
            let rules = rules(list).unwrap();
            assert_eq!((rules[&1].len(), rules[&2].len()), (0, 2));
        }
    }

    #[test]
    fn lists_become_programs_where_the_architecture_is_known() {
        let filter = Filter::compile(&[call(1, &[]), call(2, &[FORK])], &[call(3, &[])]).unwrap();
        assert_eq!(filter.is_some(), architecture_is_known());
    }

    #[test]
    fn names_are_those_of_the_manual() {
        assert_eq!(Call { name: "SYS_read", number: 0, only: &[] }.name(), "read");
    }
}
