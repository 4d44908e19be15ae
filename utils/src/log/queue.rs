//! The bounded queue between the log socket and the outputs, and the thread that fills it. The reader thread
//! does nothing else, so the socket is empty again at once, however slow the disk is.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{MsgFlags, recv};

use super::frame::MAX_FRAME;

/// Most bytes that wait in memory for the outputs.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// What a waiting frame costs beside its bytes: the allocation and the queue's entry.
const FRAME_OVERHEAD: usize = 64;
/// Frames that the reader takes from the socket before it hands them on.
const READ_BATCH: usize = 64;
/// Empty messages in a row after which a socket without writers counts as empty. An empty message reads like
/// the end; this many do not fit into the socket.
const EMPTY_MESSAGES: usize = 16 * 1024;

/// Frames on their way from the reader thread to the writer.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    limit: usize,
    /// Readable when there is something to take or the reader has ended.
    filled: EventFd,
    /// Readable when the reader is to stop.
    stop: EventFd,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<Box<[u8]>>,
    bytes: usize,
    ended: bool,
}

impl Queue {
    pub(super) fn new() -> nix::Result<Self> {
        Self::with_limit(QUEUE_BYTES)
    }

    fn with_limit(limit: usize) -> nix::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            inner: Mutex::default(),
            limit,
            filled: EventFd::from_flags(flags)?,
            stop: EventFd::from_flags(flags)?,
            stopped: AtomicBool::new(false),
        })
    }

    /// Readable when [`Queue::take`] is worth calling.
    pub(super) fn filled(&self) -> BorrowedFd<'_> {
        self.filled.as_fd()
    }

    /// Moves up to `most` frames to `out`.
    pub(super) fn take(&self, most: usize, out: &mut Vec<Box<[u8]>>) {
        // Cleared first: a frame that comes afterwards sets it again.
        let _ = self.filled.read();
        let mut inner = self.lock();
        let count = most.min(inner.frames.len());
        let mut taken = 0;
        out.extend(inner.frames.drain(..count).inspect(|frame| taken += cost(frame)));
        inner.bytes = inner.bytes.saturating_sub(taken);
        if !inner.frames.is_empty() {
            let _ = self.filled.write(1);
        }
    }

    /// Whether the reader thread has ended: nothing more is read from the socket.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Whether nothing waits and nothing will come.
    pub(super) fn is_finished(&self) -> bool {
        let inner = self.lock();
        inner.ended && inner.frames.is_empty()
    }

    /// Tells the reader thread to stop reading. What it took from the socket stays in the queue.
    pub(super) fn stop_reading(&self) {
        self.stopped.store(true, Ordering::Release);
        let _ = self.stop.write(1);
    }

    /// The reader thread: reads until the last writer is gone or it is told to stop.
    pub(super) fn read_from(&self, socket: BorrowedFd, dropped: &AtomicU64) {
        let mut buffer = vec![0; MAX_FRAME + 1];
        let mut batch = Vec::with_capacity(READ_BATCH);
        let mut ended = false;
        while !ended && !self.stopped.load(Ordering::Acquire) {
            ended = self.read_batch(socket, &mut buffer, &mut batch, dropped);
            let was_full = batch.len() == READ_BATCH;
            self.put(&mut batch, dropped);
            if !ended && !was_full {
                let mut fds = [
                    PollFd::new(socket, PollFlags::POLLIN),
                    PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
                ];
                // No deadline: the end of the socket and the stop event both wake it. EINTR: look again.
                let _ = poll(&mut fds, PollTimeout::NONE);
            }
        }
        self.lock().ended = true;
        let _ = self.filled.write(1);
    }

    /// Reads what is there, at most a batch. Whether the socket has ended.
    fn read_batch(
        &self,
        socket: BorrowedFd,
        buffer: &mut [u8],
        batch: &mut Vec<Box<[u8]>>,
        dropped: &AtomicU64,
    ) -> bool {
        let mut empty = 0;
        while batch.len() < READ_BATCH {
            match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => {
                    empty += 1;
                    if empty > EMPTY_MESSAGES && !has_writers(socket) {
                        return true;
                    }
                    if self.stopped.load(Ordering::Acquire) {
                        return false;
                    }
                }
                Ok(len) => match buffer.get(..len) {
                    Some(frame) if len <= MAX_FRAME => batch.push(frame.into()),
                    _ => {
                        dropped.fetch_add(1, Ordering::Relaxed);
                    }
                },
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return false,
                // The socket itself is broken: nothing can come any more.
                Err(_) => return true,
            }
        }
        false
    }

    fn put(&self, batch: &mut Vec<Box<[u8]>>, dropped: &AtomicU64) {
        if batch.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for frame in batch.drain(..) {
            if inner.bytes + cost(&frame) > self.limit {
                dropped.fetch_add(1, Ordering::Relaxed);
            } else {
                inner.bytes += cost(&frame);
                inner.frames.push_back(frame);
            }
        }
        drop(inner);
        let _ = self.filled.write(1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock cannot leave more than a wrong estimate of bytes behind.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(frame: &[u8]) -> usize {
    frame.len() + FRAME_OVERHEAD
}

fn has_writers(socket: BorrowedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    polled.is_err() || !fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::send;

    use super::*;

    fn taken(queue: &Queue) -> Vec<Box<[u8]>> {
        let mut out = Vec::new();
        queue.take(usize::MAX, &mut out);
        out
    }

    #[test]
    fn everything_sent_before_the_end_is_read_in_order_past_empty_messages() {
        let (write, read) = crate::log::pair().unwrap();
        let (queue, dropped) = (Queue::new().unwrap(), AtomicU64::new(0));
        for n in 0..100_u8 {
            send(write.as_raw_fd(), &[], MsgFlags::empty()).unwrap();
            send(write.as_raw_fd(), &[n], MsgFlags::empty()).unwrap();
        }
        drop(write);
        queue.read_from(read.as_fd(), &dropped);
        let frames = taken(&queue);
        assert_eq!(frames.len(), 100);
        assert!(frames.iter().zip(0..).all(|(frame, n)| **frame == [n]));
        assert!(queue.is_finished());
    }

    #[test]
    fn full_queue_drops_the_newest_and_counts() {
        let (write, read) = crate::log::pair().unwrap();
        let (queue, dropped) = (Queue::with_limit(10 * (FRAME_OVERHEAD + 1)).unwrap(), AtomicU64::new(0));
        for n in 0..50_u8 {
            send(write.as_raw_fd(), &[n], MsgFlags::empty()).unwrap();
        }
        drop(write);
        queue.read_from(read.as_fd(), &dropped);
        assert_eq!(taken(&queue).last().map(|frame| frame.to_vec()), Some(vec![9]));
        assert_eq!(dropped.load(Ordering::Relaxed), 40);
    }

    #[test]
    fn stopped_reader_leaves_the_rest_in_the_socket() {
        let (write, read) = crate::log::pair().unwrap();
        let (queue, dropped) = (Queue::new().unwrap(), AtomicU64::new(0));
        send(write.as_raw_fd(), &[1], MsgFlags::empty()).unwrap();
        queue.stop_reading();
        queue.read_from(read.as_fd(), &dropped);
        assert!(queue.is_finished());
        let mut byte = [0];
        assert_eq!(recv(read.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT), Ok(1));
    }
}
