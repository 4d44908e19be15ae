//! The one rule by which every batch is sent: what cannot be sent is skipped and counted, the rest goes out.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long one batch may wait, all in all, for room in the socket's send buffer. A network that takes nothing for
/// so long loses datagrams anyway; the worker must go on reading.
const PATIENCE: Duration = Duration::from_millis(50);

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub sent: usize,
    /// Bytes in those, headers not counted.
    pub bytes: u64,
    /// Datagrams that were skipped.
    pub failed: usize,
    /// Which of the first 64 those were, the lowest bit for the first.
    pub failed_bits: u64,
    /// Why the last of those failed.
    pub error: Option<Errno>,
}

/// Sends every message of `headers` in order.
///
/// # Safety
/// Every pointer in `headers` is null with length 0, or valid for reads of the length beside it during the call.
pub(super) unsafe fn send_all(fd: BorrowedFd<'_>, headers: &mut [libc::mmsghdr]) -> Sent {
    let mut result = Sent::default();
    let mut deadline = None;
    let mut rest = headers;
    while !rest.is_empty() {
        let count = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        // SAFETY: `rest` is valid for `count` headers, and the caller vouches for the pointers in them.
        let answer = unsafe { libc::sendmmsg(fd.as_raw_fd(), rest.as_mut_ptr(), count, libc::MSG_NOSIGNAL) };
        // sendmmsg(2) reports an error only for the first message; a later one just ends the call.
        let done = match Errno::result(answer) {
            Ok(sent) => {
                let sent = usize::try_from(sent).unwrap_or_default();
                result.sent += sent;
                result.bytes += rest.iter().take(sent).map(|header| u64::from(header.msg_len)).sum::<u64>();
                sent
            }
            Err(Errno::EINTR) => 0,
            Err(Errno::EAGAIN) if wait_for_room(fd, &mut deadline) => 0,
            Err(error) => {
                // Without room in time nothing of the rest would fare better.
                let lost = if error == Errno::EAGAIN { rest.len() } else { 1 };
                let at = result.sent + result.failed;
                result.failed_bits |=
                    (at..at + lost).filter(|at| *at < 64).fold(0, |bits, at| bits | 1 << at);
                result.failed += lost;
                result.error = Some(error);
                lost
            }
        };
        rest = rest.get_mut(done..).unwrap_or_default();
    }
    result
}

/// Whether the socket has room before the deadline, which the first call sets.
fn wait_for_room(fd: BorrowedFd<'_>, deadline: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let until = *deadline.get_or_insert(now + PATIENCE);
    let Some(left) = until.checked_duration_since(now).filter(|left| !left.is_zero()) else { return false };
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], timeout) {
        Ok(ready) => ready > 0,
        Err(error) => error == Errno::EINTR,
    }
}

/// A header that points to nothing.
pub(super) fn empty_header() -> libc::mmsghdr {
    // SAFETY: an mmsghdr of zeros is valid: null pointers with length 0.
    unsafe { std::mem::zeroed() }
}
