//! The end of a large batch, in a thread of its own: the fsync, and only then the replies. Meanwhile the worker decides on
//! the next batch, and what it commits before the disk is ready shares the next fsync. A small batch does not come here:
//! where little is to do, the worker waits for the disk itself, which is quicker by the two changes of thread.
//!
//! The worker never forks, so it may have a second thread. It ends with the worker, after everything in hand has left.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use daemon_utils::socket::Interface;

use super::account::Account;
use super::send::Sender;
use crate::dhcp::Reply;
use crate::lease::Syncer;

/// A batch of fewer packets waits for the disk itself.
const LARGE: usize = 4;

/// So many batches may wait; then the worker waits too. More would only let packets grow old here instead of in the
/// socket's queue, and leave more unanswered where the worker is killed.
const WAITING: usize = 2;

/// Committed, but not on disk yet.
pub(super) struct Promised {
    pub(super) replies: Vec<Reply>,
    /// The place of the socket that they leave by.
    pub(super) socket: usize,
    /// When the batch was received.
    pub(super) received: Instant,
    /// When its commit began.
    pub(super) committing: Instant,
}

/// What the thread works with.
pub(super) struct Means {
    pub(super) syncer: Syncer,
    pub(super) sockets: Arc<[(Interface, OwnedFd)]>,
    pub(super) sender: Sender,
    pub(super) account: Account,
}

/// Whether a batch of so many packets is worth the changes of thread.
pub(super) fn is_large(packets: usize) -> bool {
    packets >= LARGE
}

/// The worker's end.
pub(super) struct Disk {
    batches: Option<SyncSender<Promised>>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread.
    pub(super) fn start(means: Means) -> io::Result<Self> {
        let (batches, receiver) = sync_channel(WAITING);
        let thread =
            std::thread::Builder::new().name("disk".to_owned()).spawn(move || serve(receiver, means))?;
        Ok(Self { batches: Some(batches), thread: Some(thread) })
    }

    /// Hands a batch over. Errors: the thread is gone; the replies must not leave.
    pub(super) fn hand_over(&self, promised: Promised) -> Result<(), String> {
        let gone = || "the thread that waits for the disk is gone".to_owned();
        self.batches.as_ref().ok_or_else(gone)?.send(promised).map_err(|_| gone())
    }

    /// Returns when everything that was handed over has left.
    pub(super) fn finish(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // It has said why, if it has panicked.
            let _ = thread.join();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.finish();
    }
}

fn serve(batches: Receiver<Promised>, mut means: Means) {
    while let Ok(first) = batches.recv() {
        let some: Vec<Promised> = std::iter::once(first).chain(batches.try_iter()).collect();
        means.settle(some);
    }
}

impl Means {
    /// One fsync for all of them, then their replies.
    fn settle(&mut self, batches: Vec<Promised>) {
        if let Err(error) = self.syncer.sync() {
            self.account.store_failed(&error);
            let replies = batches.iter().map(|batch| batch.replies.len()).sum();
            (0..replies).for_each(|_: usize| self.account.not_stored());
            return;
        }
        self.account.store_recovered();
        for batch in batches {
            self.account.committed(batch.committing.elapsed());
            let Some((_, socket)) = self.sockets.get(batch.socket) else { continue };
            let sending = Instant::now();
            let failed = self.sender.send(socket.as_fd(), &batch.replies);
            self.account.sent(&batch.replies, &failed, batch.received, sending);
        }
    }
}
