//! The process of one TCP client, from its fork to its end.
//!
//! Called in the child of the tcp worker's fork. It owns nothing: the connection, the lifeline and the way to the
//! log are borrowed from memory that the fork copied, and end with the process. It does as little as it can, since every
//! page it writes is copied for it.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use daemon_utils::log::sender;
use daemon_utils::{process, title};
use nix::sys::signal::{SigSet, Signal};

use super::echo::{Echo, End};
use crate::event;
use crate::stats::{Counter, Slot};
use crate::workers::{Context, Kind};

/// The exit code of a client process that could not set itself up.
const NOT_SERVED: i32 = 1;

/// What the process of a client is born with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) context: &'a Context,
    pub(super) stream: &'a TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) lifeline: BorrowedFd<'a>,
}

impl Client<'_> {
    /// Serves the client and returns the exit code: 0 however the connection ended.
    ///
    /// SIGTERM, which is at its default and blocked in the worker, ends the process from here on; what else a worker
    /// ignores is ignored here too.
    pub(super) fn serve(self, buffer: &mut [u8]) -> i32 {
        // The listeners must not be held by a client: it may outlive the worker, and then nobody accepts.
        let closed = sender::with_descriptor(|log| {
            let log = log.unwrap_or(self.lifeline);
            process::keep_only(&[self.stream.as_fd(), self.lifeline, log])
        });
        if closed.is_err() || SigSet::empty().thread_set_mask().is_err() {
            return NOT_SERVED;
        }
        let peer = self.peer;
        // Reads the PID anew.
        sender::rename(Kind::Tcp.name());
        title::set(&format!("echo-daemon: tcp {peer}"));
        event!(TcpClientConnected, peer = peer; "client connected");
        let idle_timeout = self.context.config.tcp.idle_timeout;
        let slot = self.context.slot;
        let echo = Echo { stream: self.stream, lifeline: self.lifeline, idle_timeout, slot };
        let (bytes, end) = echo.run(buffer);
        // From here on SIGTERM comes too late: the end is told once, here, and not by the worker as well.
        let _ = SigSet::from(Signal::SIGTERM).thread_block();
        count(slot, end);
        event!(TcpClientDisconnected, peer = peer, bytes = bytes, reason = end.reason(); "client disconnected");
        0
    }
}

fn count(slot: Slot, end: End) {
    match end {
        End::Reset => slot.count(Counter::TcpReset),
        End::Idle => slot.count(Counter::TcpIdle),
        End::Closed | End::MainGone => {}
    }
}
