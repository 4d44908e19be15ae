//! What a child keeps open, and the pipe that tells it that main is gone.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::brief;

/// The last of the standard descriptors, which are never closed here.
const LAST_STANDARD: RawFd = 2;

/// Closes every descriptor above 2 that is not in `keep`.
///
/// Owners of the others are not told. In a child of [`spawn`] their destructors never run. Anywhere else (at the
/// very start of the program) nothing may own a descriptor yet: the standard library aborts in debug builds when
/// it closes one that is closed already, and would close a stranger's in release builds.
///
/// [`spawn`]: super::spawn
pub fn keep_only(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    keep_only_numbers(&keep.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>())
}

/// [`keep_only`] by numbers, which are open; without allocating: TCP clients come through here.
pub fn keep_only_numbers(keep: &[RawFd]) -> io::Result<()> {
    match close_gaps(keep) {
        // Linux before 5.9, or a sandbox that does not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => close_listed(keep),
        result => Ok(result?),
    }
}

/// A pipe that carries nothing. Main alone holds the write end and never writes; whoever polls the read end sees
/// the end of file when main is gone, however it went. Both are close-on-exec and non-blocking.
///
/// Returned as (read end, write end). A child that kept the write end would hide main's death: [`keep_only`].
pub fn lifeline() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

/// `close_range(2)` over the gaps between the numbers, in any order.
fn close_gaps(keep: &[RawFd]) -> Result<(), Errno> {
    let mut first = LAST_STANDARD + 1;
    while let Some(number) = keep.iter().copied().filter(|&number| number >= first).min() {
        if first < number {
            brief::close_range(first.unsigned_abs(), (number - 1).unsigned_abs())?;
        }
        first = number + 1;
    }
    brief::close_range(first.unsigned_abs(), libc::c_uint::MAX)
}

fn close_listed(keep: &[RawFd]) -> io::Result<()> {
    // Listed before the first is closed: the listing has a descriptor of its own, which is gone by then.
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for number in open {
        if number > LAST_STANDARD && !keep.contains(&number) {
            // SAFETY: as for `close_range`. An error means that it is closed already.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn lifeline_ends_with_its_writer() {
        let (read, write) = lifeline().unwrap();
        let mut read = std::fs::File::from(read);
        assert_eq!(read.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(write);
        assert_eq!(read.read(&mut [0]).unwrap(), 0);
    }
}
