//! What a process that lives for milliseconds is made of: the fork of a TCP client, and the few system calls that it does.
//!
//! A page that such a process touches for the first time is a page fault, and each costs as much as several system calls:
//! the page is mapped, or copied, and taken apart again at the end. So everything here goes through syscall(2), which is
//! one page of the C library; the library's wrappers lie all over it, and its fork(2) writes to four pages besides
//! (locks and lists of threads, which a process with one thread does not need). Nothing here allocates.
//!
//! Libraries that a client never calls are left out of its address space: [`lighten_forks`].

use std::ffi::{CStr, c_int, c_long, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::PANICKED;

/// What [`wait`] waits for at a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It can be read, has ended or has failed.
    Read,
    /// It can be written, or has failed.
    Write,
}

/// What ended a [`wait`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The time is over.
    Time,
    /// A signal that did not end the process, or nothing at all: wait again.
    Nothing,
    /// The first descriptor.
    First,
    /// The second one, whatever the first says.
    Second,
}

/// recv(2) without flags. 0 is the end of what the peer sends (or an empty buffer).
///
/// # Errors
/// What recv(2) reports: `EAGAIN` where a nonblocking socket has nothing.
#[inline]
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<usize> {
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: the kernel writes at most the buffer's length into the buffer, and no address to null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            c_long::from(socket.as_raw_fd()),
            buffer.as_mut_ptr(),
            buffer.len(),
            c_long::from(0),
            none,
            none,
        )
    };
    Errno::result(result).map(|count| usize::try_from(count).unwrap_or_default())
}

/// send(2) with these flags. May send less than all.
///
/// # Errors
/// What send(2) reports: `EAGAIN` where a nonblocking socket has no room.
#[inline]
pub fn send(socket: BorrowedFd<'_>, data: &[u8], flags: c_int) -> nix::Result<usize> {
    let none = std::ptr::null::<c_void>();
    // SAFETY: the kernel reads the data's length from the data, and no address from null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sendto,
            c_long::from(socket.as_raw_fd()),
            data.as_ptr(),
            data.len(),
            c_long::from(flags),
            none,
            c_long::from(0),
        )
    };
    Errno::result(result).map(|count| usize::try_from(count).unwrap_or_default())
}

/// ppoll(2): waits until `first` is ready, or until `second` can be read, which comes before it. `None`: for ever.
///
/// While it waits no signal is blocked, whatever the mask is otherwise: where SIGTERM is at its default and blocked, this
/// is where it ends the process. A signal does so only where there is something to wait for.
///
/// # Errors
/// What ppoll(2) reports beside EINTR: `ENOMEM`, or `EINVAL` where `RLIMIT_NOFILE` is below 2.
#[inline]
pub fn wait(
    first: (BorrowedFd<'_>, Readiness),
    second: BorrowedFd<'_>,
    timeout: Option<Duration>,
) -> nix::Result<Woken> {
    let events = match first.1 {
        Readiness::Read => libc::POLLIN,
        Readiness::Write => libc::POLLOUT,
    };
    let entry = |fd: BorrowedFd<'_>, events| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let mut fds = [entry(first.0, events), entry(second, libc::POLLIN)];
    match poll(&mut fds, timeout) {
        Ok(_) if fds[1].revents != 0 => Ok(Woken::Second),
        Ok(_) if fds[0].revents != 0 => Ok(Woken::First),
        Ok(0) => Ok(Woken::Time),
        Ok(_) | Err(Errno::EINTR) => Ok(Woken::Nothing),
        Err(error) => Err(error),
    }
}

/// Whether a descriptor can be read or has ended, at this moment; signals as in [`wait`].
#[inline]
pub fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    matches!(poll(&mut fds, Some(Duration::ZERO)), Ok(1..))
}

#[inline]
fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> nix::Result<c_long> {
    /// Bytes of the kernel's signal set, `_NSIG / 8`.
    const SET_BYTES: c_long = 8;
    let no_signal = 0_u64;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let timeout = timeout.map_or(std::ptr::null_mut(), |timeout| {
        time.tv_sec = libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX);
        time.tv_nsec = timeout.subsec_nanos().into();
        &raw mut time
    });
    // SAFETY: the kernel reads and writes the entries of `fds`, as many as are told, and the time, and reads the set of
    // signals; all three outlive the call. A null time means none.
    let result = unsafe {
        libc::syscall(libc::SYS_ppoll, fds.as_mut_ptr(), fds.len(), timeout, &raw const no_signal, SET_BYTES)
    };
    Errno::result(result)
}

/// The monotonic clock without the vDSO, whose pages a new process would have to touch.
#[inline]
pub fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec to `now`, which outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_clock_gettime, c_long::from(libc::CLOCK_MONOTONIC), &raw mut now) };
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    match u64::try_from(now.tv_sec) {
        Ok(seconds) if result == 0 => Duration::new(seconds, nanos),
        // Cannot be: the clock exists and does not run before 0 (clock_gettime(2)).
        _ => Duration::ZERO,
    }
}

/// `close_range(2)`.
#[inline]
pub(super) fn close_range(first: libc::c_uint, last: libc::c_uint) -> nix::Result<()> {
    // SAFETY: plain numbers go in. That no owner of a closed descriptor uses it again is the condition that
    // `keep_only` documents. By number, since older C libraries have no wrapper.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, c_long::from(first), c_long::from(last), c_long::from(0))
    };
    Errno::result(result).map(drop)
}

/// fork(2) by the bare system call; `None` in the child.
///
/// # Safety
/// The process has one thread, and no handler of `pthread_atfork` matters to the child. The C library keeps the parent's
/// idea of the thread's number in the child: the child may use everything of the library but threads.
#[inline]
pub(super) unsafe fn fork() -> nix::Result<Option<Pid>> {
    // SAFETY: without CLONE_VM and with a null stack the child goes on here with a copy of everything (clone(2)). That it
    // is in a consistent state is the caller's condition. Beside the flags all arguments are 0, in any order.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone,
            c_long::from(libc::SIGCHLD),
            c_long::from(0),
            c_long::from(0),
            c_long::from(0),
            c_long::from(0),
        )
    };
    let number = Errno::result(result)?;
    Ok((number != 0).then(|| Pid::from_raw(libc::pid_t::try_from(number).unwrap_or(libc::pid_t::MAX))))
}

/// _exit(2).
#[inline]
pub(super) fn exit(code: c_int) -> ! {
    // SAFETY: exit_group(2) has no conditions and does not return.
    unsafe {
        libc::syscall(libc::SYS_exit_group, c_long::from(code));
        libc::_exit(code)
    }
}

/// Libraries that no client calls: the unwinder and mathematics.
const UNUSED: [&str; 2] = ["libgcc_s.so", "libm.so"];

/// For a process whose children come from [`spawn_fast`] alone: leaves what they do not use out of their address space. A
/// fork copies, and an exit takes apart, a structure of the kernel for each part of a library.
///
/// From here on a panic in a child is told in the log and ends it with [`PANICKED`] by the panic hook: there is no unwinder.
/// Nor is there libm: a child must not call `f64::sin` and its like.
///
/// [`spawn_fast`]: super::spawn_fast
pub fn lighten_forks() {
    let parent = std::process::id();
    std::panic::set_hook(Box::new(move |panic| {
        log::error!("{panic}");
        if std::process::id() != parent {
            exit(PANICKED);
        }
    }));
    leave_out_of_forks(&UNUSED);
}

/// Leaves the shared libraries whose file names begin with one of these out of the address space of this process's later
/// children (`MADV_DONTFORK`), which must never use them. What is not there, or cannot be left out, is copied as before.
fn leave_out_of_forks(libraries: &[&str]) {
    let mut libraries = libraries;
    // SAFETY: the callback has the type that dl_iterate_phdr(3) demands, and gets the pointer to `libraries`, which
    // outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(leave_out), (&raw mut libraries).cast()) };
}

unsafe extern "C" fn leave_out(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr(3) calls with a valid description, whose name is null or a C string and whose headers are
    // as many as told. `data` is what `leave_out_of_forks` gave.
    let (name, headers, base, libraries) = unsafe {
        let info = &*info;
        let name = if info.dlpi_name.is_null() { c"" } else { CStr::from_ptr(info.dlpi_name) };
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
        (name, headers, info.dlpi_addr, *data.cast::<&[&str]>())
    };
    let file = name.to_bytes().rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if !libraries.iter().any(|library| file.starts_with(library.as_bytes())) {
        return 0;
    }
    let page = page_bytes();
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        let start = (base + header.p_vaddr) & !(page - 1);
        let end = (base + header.p_vaddr + header.p_memsz).next_multiple_of(page);
        // Addresses of this process fit.
        let (Ok(start), Ok(length)) = (usize::try_from(start), usize::try_from(end - start)) else { break };
        // SAFETY: the range is a library's own, and its memory is not touched: only later forks are told. A failure
        // leaves things as they are.
        unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTFORK) };
    }
    0
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf(3) has no conditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::process::lifeline;

    #[test]
    fn waits_tell_what_ended_them_and_the_second_comes_first() {
        let (mut peer, socket) = UnixStream::pair().unwrap();
        let (line, end) = lifeline().unwrap();
        let wait =
            |readiness| wait((socket.as_fd(), readiness), line.as_fd(), Some(Duration::from_millis(1)));
        assert_eq!(wait(Readiness::Read), Ok(Woken::Time));
        assert_eq!(wait(Readiness::Write), Ok(Woken::First));
        peer.write_all(b"x").unwrap();
        assert_eq!(wait(Readiness::Read), Ok(Woken::First));
        assert!(!is_readable(line.as_fd()));
        drop(end);
        assert_eq!(wait(Readiness::Read), Ok(Woken::Second));
        assert!(is_readable(line.as_fd()));
    }

    #[test]
    fn bytes_go_both_ways_and_errors_are_told() {
        let (peer, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(receive(socket.as_fd(), &mut buffer), Err(Errno::EAGAIN));
        assert_eq!(send(peer.as_fd(), b"hello", libc::MSG_NOSIGNAL), Ok(5));
        assert_eq!(receive(socket.as_fd(), &mut buffer), Ok(5));
        assert_eq!(&buffer[..5], b"hello");
        drop(peer);
        assert_eq!(receive(socket.as_fd(), &mut buffer), Ok(0));
        assert_eq!(send(socket.as_fd(), b"x", libc::MSG_NOSIGNAL), Err(Errno::EPIPE));
    }

    #[test]
    fn clock_is_the_systems_own() {
        let of_the_library =
            || nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap();
        let before = of_the_library();
        let now = monotonic();
        assert!(before <= now && now <= of_the_library());
    }

    #[test]
    fn parts_of_a_library_are_marked_as_left_out_of_forks() {
        // VM_DONTCOPY shows as "dc" among the flags of a mapping (proc(5)). The unwinder is in every test program that is
        // linked with shared libraries, and nobody forks here.
        leave_out_of_forks(&["libgcc_s.so"]);
        let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return };
        let mut library = "";
        for line in maps.lines() {
            if line.split_whitespace().next().is_some_and(|word| word.contains('-') && !word.ends_with(':')) {
                library = line;
            } else if line.starts_with("VmFlags:") {
                assert_eq!(
                    line.split(' ').any(|flag| flag == "dc"),
                    library.contains("/libgcc_s.so"),
                    "{library}"
                );
            }
        }
    }
}
