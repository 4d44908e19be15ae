//! The process of one TCP client, from its fork to its end, and what its parent makes ready for it.
//!
//! Called in the child of the tcp worker's fork. It owns nothing: the connection, the lifeline and the way to the
//! log are borrowed from memory that the fork copied, and end with the process. It does as little as it can, since every
//! page it touches costs a page fault: what can be known before the fork ([`Office`]) is made by the parent, whose
//! pages are there already, and a record that its limit suppresses costs nothing but the question.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use daemon_utils::log::sender::{self, Gate};
use daemon_utils::process::{self, brief};
use daemon_utils::title;

use super::echo::{Echo, End};
use crate::event;
use crate::events::Event;
use crate::stats::{Counter, Slot};

/// The exit code of a client process that could not set itself up.
const NOT_SERVED: i32 = 1;

/// What all clients of one worker have in common, made once.
#[derive(Debug)]
pub(super) struct Office {
    connected: Gate,
    /// For each reason, as [`End::ALL`] has them.
    disconnected: [Gate; End::ALL.len()],
    /// The number of the way to the log.
    log: Option<RawFd>,
    /// The title of the next client's process.
    title: String,
}

impl Office {
    /// Also makes this process one that forks clients: from here on what they do not need is left out of forks.
    pub(super) fn open() -> Self {
        brief::lighten_forks();
        let gate = |event: Event, reason| Gate::new(module_path!(), event.level(), event.id(), reason);
        Self {
            connected: gate(Event::TcpClientConnected, ""),
            disconnected: End::ALL.map(|end| gate(Event::TcpClientDisconnected, end.reason())),
            log: sender::with_descriptor(|log| log.map(|log| log.as_raw_fd())),
            title: String::new(),
        }
    }

    /// Forks the process of a client.
    pub(super) fn fork(&mut self, client: Client<'_>, buffer: &mut [u8]) -> std::io::Result<process::Pid> {
        self.title.clear();
        // Cannot fail: a String takes everything.
        let _ = write!(self.title, "echo-daemon: tcp {}", client.peer);
        let admitted = self.connected.ask();
        let forked = process::spawn_fast(|| client.serve(self, admitted, buffer));
        if let (Err(_), Some(suppressed)) = (&forked, admitted) {
            self.connected.give_back(suppressed);
        }
        forked
    }
}

/// What the process of a client is born with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) slot: Slot,
    pub(super) idle_timeout: Duration,
    pub(super) stream: &'a TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) lifeline: BorrowedFd<'a>,
}

impl Client<'_> {
    /// Serves the client and returns the exit code: 0 however the connection ended.
    ///
    /// SIGTERM, which is at its default and blocked in the worker, stays blocked and ends the process where it waits. So
    /// the end is told once: here, or by the worker. What else a worker ignores is ignored here too.
    fn serve(self, office: &Office, admitted: Option<u64>, buffer: &mut [u8]) -> i32 {
        let Self { slot, idle_timeout, stream, peer, lifeline } = self;
        // The listeners must not be held by a client: it may outlive the worker, and then nobody accepts.
        let own = [stream.as_raw_fd(), lifeline.as_raw_fd(), office.log.unwrap_or(lifeline.as_raw_fd())];
        if process::keep_only_numbers(&own).is_err() {
            return NOT_SERVED;
        }
        title::set_for_good(&office.title);
        if let Some(suppressed) = admitted {
            sender::admitted(suppressed, || event!(TcpClientConnected, peer = peer; "client connected"));
        }
        let (bytes, end) = Echo { stream: stream.as_fd(), lifeline, idle_timeout, slot }.run(buffer);
        count(slot, end);
        if let Some(suppressed) = office.disconnected[end as usize].ask() {
            sender::admitted(suppressed, || {
                event!(TcpClientDisconnected, peer = peer, bytes = bytes, reason = end.reason(); "client disconnected");
            });
        }
        0
    }
}

#[inline]
fn count(slot: Slot, end: End) {
    match end {
        End::Reset => slot.count(Counter::TcpReset),
        End::Idle => slot.count(Counter::TcpIdle),
        End::Closed | End::MainGone => {}
    }
}
