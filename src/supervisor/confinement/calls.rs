//! The system calls that the processes need, in groups. Whoever adds a call to a process adds it here; what is missing
//! fails with `ENOSYS`, which a process under `strace -f` shows at once.
//!
//! The lists follow what the GNU C library and the crates do: a newer library may prefer another call, and falls back on
//! the one that stands here. Those of old kernels exist on x86-64 alone.

use daemon_utils::sandbox::{Call, Test, When};
use nix::libc;

use crate::config::Config;

/// Calls that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Its name in the table.
    pub name: &'static str,
    /// When a process of the table has it; empty: always.
    pub condition: &'static str,
    /// The same for a configuration.
    pub applies: fn(&Config) -> bool,
    /// The calls.
    pub calls: &'static [Call],
    /// Those that exist on x86-64 only.
    pub old_calls: &'static [Call],
}

impl Group {
    const fn new(name: &'static str, calls: &'static [Call], old_calls: &'static [Call]) -> Self {
        Self { name, condition: "", applies: |_| true, calls, old_calls }
    }

    /// All calls, on this architecture.
    pub fn all(&self) -> impl Iterator<Item = &'static Call> {
        self.calls.iter().chain(self.old_calls)
    }
}

/// Calls by their numbers' names, with any arguments or with those named.
macro_rules! calls {
    ($($number:ident $(($($only:expr),+))?),* $(,)?) => {
        &[$(Call { name: stringify!($number), number: libc::$number, only: &[$($($only),+)?] }),*]
    };
}

/// The same for calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
macro_rules! old_calls {
    ($($all:tt)*) => { calls![$($all)*] };
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! old_calls {
    ($($all:tt)*) => {
        &[]
    };
}

/// One test of one argument.
const fn when(words: &'static str, tests: &'static [Test]) -> When {
    When { words, tests }
}

/// An argument that must have this value, as far as the kernel looks at it.
const fn is(argument: u8, value: u64) -> Test {
    Test { argument, mask: 0xffff_ffff, value }
}

/// The request of ioctl(2), which the kernel takes as 32 bits.
const fn request(request: libc::Ioctl) -> Test {
    #[allow(clippy::unnecessary_cast, reason = "its type is another one in other C libraries")]
    is(1, request as u64)
}

/// Memory that programs are run from must not be written to, nor the other way round: nobody here makes code.
const NOT_EXECUTABLE: When =
    when("not executable", &[Test { argument: 2, mask: libc::PROT_EXEC as u64, value: 0 }]);

/// `struct rlimit *new_limit` is null.
const LOOKING_ONLY: When = when("looking only", &[Test { argument: 2, mask: u64::MAX, value: 0 }]);

const ABORT: When = when("SIGABRT", &[is(2, libc::SIGABRT as u64)]);

/// What abort(3) and threads are told by.
const NAME: When = when("PR_SET_NAME", &[is(0, libc::PR_SET_NAME as u64)]);

/// All kinds of new namespace, and what no fork of ours asks for.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_PTRACE
    | libc::CLONE_UNTRACED
    | libc::CLONE_PARENT) as u64;
const THREAD: u64 = libc::CLONE_THREAD as u64;

const A_THREAD: When = when("a thread", &[Test { argument: 0, mask: NAMESPACES | THREAD, value: THREAD }]);
const A_FORK: When = when(
    "a plain fork",
    &[Test {
        argument: 0,
        mask: NAMESPACES | THREAD | libc::CLONE_VM as u64 | libc::CLONE_FILES as u64,
        value: 0,
    }],
);

const UNIX: When = when("AF_UNIX", &[is(0, libc::AF_UNIX as u64)]);
/// Without the flags that stand beside the type (socket(2)).
const DATAGRAM: Test = Test { argument: 1, mask: 0xf, value: libc::SOCK_DGRAM as u64 };
const UDP: When = when("UDP", &[is(0, libc::AF_INET as u64), DATAGRAM]);
const UDP6: When = when("UDP over IPv6", &[is(0, libc::AF_INET6 as u64), DATAGRAM]);

const NO_DELAY: When =
    when("TCP_NODELAY", &[is(1, libc::IPPROTO_TCP as u64), is(2, libc::TCP_NODELAY as u64)]);
const SEND_TIMEOUT: When =
    when("SO_SNDTIMEO", &[is(1, libc::SOL_SOCKET as u64), is(2, libc::SO_SNDTIMEO as u64)]);

/// What every process needs: memory, time, its descriptors, the log, main's orders, its end.
pub const COMMON: Group = Group::new(
    "common",
    calls![
        SYS_brk,
        SYS_clock_getres,
        SYS_clock_gettime,
        SYS_clock_nanosleep,
        SYS_close,
        SYS_close_range,
        SYS_dup,
        SYS_exit,
        SYS_exit_group,
        SYS_fcntl,
        SYS_futex,
        SYS_getegid,
        SYS_geteuid,
        SYS_getgid,
        SYS_getpid,
        SYS_getppid,
        SYS_getrandom,
        SYS_getsockname,
        SYS_getsockopt,
        SYS_gettid,
        SYS_gettimeofday,
        SYS_getuid,
        SYS_madvise,
        SYS_membarrier,
        SYS_mmap(NOT_EXECUTABLE),
        SYS_mprotect(NOT_EXECUTABLE),
        SYS_mremap,
        SYS_munmap,
        SYS_nanosleep,
        SYS_ppoll,
        SYS_prlimit64(LOOKING_ONLY),
        SYS_read,
        SYS_readv,
        SYS_recvfrom,
        SYS_recvmsg,
        SYS_restart_syscall,
        SYS_rseq,
        SYS_rt_sigaction,
        SYS_rt_sigprocmask,
        SYS_rt_sigreturn,
        SYS_sched_getaffinity,
        SYS_sched_yield,
        SYS_sendmsg,
        SYS_sendto,
        SYS_set_robust_list,
        SYS_sigaltstack,
        SYS_tgkill(ABORT),
        SYS_uname,
        SYS_write,
        SYS_writev,
    ],
    old_calls![SYS_poll, SYS_time],
);

/// The tcp worker's clients, whose processes inherit all of this. Signals reach no process but their own where the
/// kernel has Landlock 6.
pub const CLIENTS: Group = Group::new(
    "clients",
    calls![
        SYS_accept4,
        SYS_clone(A_FORK),
        SYS_ioctl(when("how much is unacknowledged", &[request(libc::TIOCOUTQ)])),
        SYS_kill,
        SYS_setsockopt(NO_DELAY),
        SYS_shutdown,
        SYS_signalfd4,
        SYS_wait4,
    ],
    &[],
);

/// Packets by the batch.
pub const PACKETS: Group = Group::new("packets", calls![SYS_recvmmsg, SYS_sendmmsg], &[]);

/// A database in files.
pub const LEASE_FILE: Group = Group::new(
    "lease file",
    calls![
        SYS_faccessat,
        SYS_faccessat2,
        SYS_fallocate,
        SYS_fchmod,
        SYS_fdatasync,
        SYS_flock,
        SYS_fstat,
        SYS_fsync,
        SYS_ftruncate,
        SYS_getcwd,
        SYS_getdents64,
        SYS_lseek,
        SYS_newfstatat,
        SYS_openat,
        SYS_pread64,
        SYS_pwrite64,
        SYS_readlinkat,
        SYS_statx,
        SYS_unlinkat,
    ],
    old_calls![SYS_access, SYS_lstat, SYS_open, SYS_readlink, SYS_stat, SYS_unlink],
);

/// Making the lease file where it is missing, or from what can be read of a damaged one.
pub const NEW_LEASE_FILE: Group = Group::new(
    "new lease file",
    calls![SYS_copy_file_range, SYS_linkat, SYS_mkdirat, SYS_renameat, SYS_renameat2],
    old_calls![SYS_link, SYS_mkdir, SYS_rename],
);

/// Files that grow and are rotated.
pub const LOG_FILES: Group = Group::new(
    "log files",
    calls![
        SYS_faccessat,
        SYS_faccessat2,
        SYS_fstat,
        SYS_ftruncate,
        SYS_lseek,
        SYS_mkdirat,
        SYS_newfstatat,
        SYS_openat,
        SYS_pread64,
        SYS_readlinkat,
        SYS_renameat,
        SYS_renameat2,
        SYS_statx,
        SYS_unlinkat,
        // The terminal of the foreground.
        SYS_ioctl(when("whether it is a terminal", &[request(libc::TCGETS)])),
    ],
    old_calls![SYS_access, SYS_lstat, SYS_mkdir, SYS_open, SYS_readlink, SYS_rename, SYS_stat, SYS_unlink],
);

/// Threads of the process's own, which wake each other.
pub const THREADS: Group =
    Group::new("threads", calls![SYS_clone(A_THREAD), SYS_eventfd2, SYS_prctl(NAME)], &[]);

/// The way to a syslog daemon, made anew whenever it is lost.
pub const SYSLOG: Group = Group {
    condition: "where `logging.syslog` is on",
    applies: |config| config.logging.syslog.enabled,
    ..Group::new(
        "syslog",
        calls![
            SYS_socket(UNIX, UDP, UDP6),
            SYS_bind,
            SYS_connect,
            SYS_ioctl(when("FIONBIO", &[request(libc::FIONBIO)])),
            SYS_setsockopt(SEND_TIMEOUT),
        ],
        &[],
    )
};

/// Finding a host by its name, which the C library may load modules for.
pub const NAMES: Group = Group {
    condition: "where `logging.syslog.address` names a host",
    applies: super::names_a_host,
    ..Group::new(
        "names",
        calls![
            SYS_getpeername,
            SYS_ioctl(when("FIONREAD", &[request(libc::FIONREAD)])),
            SYS_mmap,
            SYS_mprotect,
            SYS_sendmmsg,
            SYS_setsockopt,
        ],
        &[],
    )
};

/// Many connections in one thread.
pub const CONNECTIONS: Group = Group::new(
    "connections",
    calls![
        SYS_accept4,
        SYS_epoll_create1,
        SYS_epoll_ctl,
        SYS_epoll_pwait,
        SYS_epoll_pwait2,
        SYS_getpeername,
        SYS_ioctl(when("FIONBIO", &[request(libc::FIONBIO)])),
        SYS_setsockopt(NO_DELAY),
        SYS_shutdown,
    ],
    old_calls![SYS_epoll_wait],
);

/// Figures about file systems.
pub const FIGURES: Group = Group::new("figures", calls![SYS_fstatfs, SYS_statfs, SYS_sysinfo], &[]);

/// All groups, in the order of the table.
pub const GROUPS: [&Group; 11] = [
    &COMMON,
    &CLIENTS,
    &PACKETS,
    &LEASE_FILE,
    &NEW_LEASE_FILE,
    &LOG_FILES,
    &THREADS,
    &SYSLOG,
    &NAMES,
    &CONNECTIONS,
    &FIGURES,
];

/// What no process of ours and no library of theirs calls, and what somebody who has taken one over would.
pub const DEADLY: Group = Group::new(
    "deadly",
    calls![
        SYS_acct,
        SYS_add_key,
        SYS_adjtimex,
        SYS_bpf,
        SYS_capset,
        SYS_chroot,
        SYS_clock_adjtime,
        SYS_clock_settime,
        SYS_delete_module,
        SYS_execve,
        SYS_execveat,
        SYS_finit_module,
        SYS_fsconfig,
        SYS_fsmount,
        SYS_fsopen,
        SYS_fspick,
        SYS_init_module,
        SYS_kcmp,
        SYS_kexec_load,
        SYS_keyctl,
        SYS_mount,
        SYS_mount_setattr,
        SYS_move_mount,
        SYS_open_by_handle_at,
        SYS_open_tree,
        SYS_perf_event_open,
        SYS_pidfd_getfd,
        SYS_pivot_root,
        SYS_process_vm_readv,
        SYS_process_vm_writev,
        SYS_ptrace,
        SYS_quotactl,
        SYS_reboot,
        SYS_request_key,
        SYS_setdomainname,
        SYS_setfsgid,
        SYS_setfsuid,
        SYS_setgid,
        SYS_setgroups,
        SYS_sethostname,
        SYS_setns,
        SYS_setregid,
        SYS_setresgid,
        SYS_setresuid,
        SYS_setreuid,
        SYS_settimeofday,
        SYS_setuid,
        SYS_swapoff,
        SYS_swapon,
        SYS_syslog,
        SYS_umount2,
        SYS_unshare,
        SYS_userfaultfd,
    ],
    old_calls![SYS_ioperm, SYS_iopl, SYS_modify_ldt],
);
