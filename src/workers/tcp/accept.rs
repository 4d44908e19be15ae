//! Taking connections in: a process for each while there is room, and what happens where there is none.
//!
//! Where the system has no descriptor, process or memory left, the listeners are left alone for a while: they would be
//! reported as readable again at once, for ever. Clients wait in the backlog, and service goes on by itself.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{SOCK_CLOEXEC, SOCK_NONBLOCK};
use socket2::SockRef;

use super::children::Children;
use super::client::Client;
use super::places::Places;
use crate::config::model::WhenFull;
use crate::event;
use crate::stats::Counter;
use crate::workers::Context;
use crate::workers::pace::Backoff;

/// Connections taken from one listener before the worker looks at its orders and its children again.
const BURST: usize = 64;

/// The listeners and the rules for what comes in through them.
pub(super) struct Acceptor<'a> {
    context: &'a Context,
    listeners: Vec<OwnedFd>,
    lifeline: OwnedFd,
    places: Places,
    backoff: Backoff,
    /// The clients' buffer. Never touched here, so a client's pages of it come zeroed with its first write.
    buffer: Vec<u8>,
}

impl<'a> Acceptor<'a> {
    pub(super) fn new(
        context: &'a Context,
        listeners: Vec<OwnedFd>,
        lifeline: OwnedFd,
        places: Places,
    ) -> Self {
        Self {
            context,
            listeners,
            lifeline,
            places,
            backoff: Backoff::default(),
            buffer: vec![0; context.config.tcp.buffer_size.max(1)],
        }
    }

    /// The listeners worth waiting for: none in a pause, and none where the next client has to wait for a place.
    pub(super) fn willing(&self, now: Instant) -> &[OwnedFd] {
        if self.backoff.left(now).is_none() && (self.rejects() || self.places.room()) {
            &self.listeners
        } else {
            &[]
        }
    }

    /// What is left of a pause.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        self.backoff.left(now)
    }

    /// Stops listening here; main still holds the sockets.
    pub(super) fn close(&mut self) {
        self.listeners.clear();
    }

    /// Takes in what waits at one listener.
    pub(super) fn accept(&mut self, number: usize, children: &mut Children) {
        for _ in 0..BURST {
            let Some(listener) = self.listeners.get(number) else { return };
            let full = !self.places.room();
            if full && !self.rejects() {
                return;
            }
            // Accepted connections do not inherit O_NONBLOCK (accept(2)); asking for it here saves a call.
            let taken = match SockRef::from(listener).accept4(SOCK_NONBLOCK | SOCK_CLOEXEC) {
                Ok((connection, peer)) => peer.as_socket().map(|peer| (TcpStream::from(connection), peer)),
                Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
                    Errno::EAGAIN => return,
                    errno if is_of_the_connection(errno) => None,
                    _ => {
                        self.fail(Counter::ErrorAccept, "accept", &error);
                        return;
                    }
                },
            };
            let Some((stream, peer)) = taken else { continue };
            if full {
                self.reject(&stream, peer);
                self.backoff.succeeded();
            } else if let Err(error) = self.serve(&stream, peer, children) {
                self.context.slot.count(Counter::TcpFailed);
                self.fail(Counter::ErrorFork, "fork", &error);
                return;
            } else {
                self.backoff.succeeded();
            }
        }
    }

    fn serve(&mut self, stream: &TcpStream, peer: SocketAddr, children: &mut Children) -> io::Result<()> {
        let (slot, idle_timeout) = (self.context.slot, self.context.config.tcp.idle_timeout);
        let client = Client { slot, idle_timeout, stream, peer, lifeline: self.lifeline.as_fd() };
        children.fork(client, &mut self.buffer)
    }

    fn rejects(&self) -> bool {
        match self.context.config.tcp.when_full {
            WhenFull::Reject => true,
            WhenFull::Wait => false,
        }
    }

    /// Ends a connection so that the client reads a clean end and not a reset: the end first, then away with what it
    /// has sent so far, since closing with unread data resets (RFC 1122 §4.2.2.13).
    fn reject(&self, mut stream: &TcpStream, peer: SocketAddr) {
        /// What a client may have sent before we look; more is not worth the worker's time.
        const MOST: usize = 16;
        self.context.slot.count(Counter::TcpRejected);
        let _ = stream.shutdown(Shutdown::Write);
        let mut scrap = [0; 4096];
        for _ in 0..MOST {
            if !matches!(stream.read(&mut scrap), Ok(1..)) {
                break;
            }
        }
        let most = self.context.config.tcp.max_clients;
        event!(TcpClientRejected, peer = peer, max_clients = most; "client rejected: all places are taken");
    }

    fn fail(&mut self, counter: Counter, what: &'static str, error: &io::Error) {
        self.context.slot.count(counter);
        if self.backoff.failed(Instant::now()) {
            event!(TcpAcceptFailed, call = what, error = error; "no new clients for now: {what} failed: {error}");
        }
    }
}

/// Whether accept(2) reports an error of the connection it would have returned, or was interrupted: the next one
/// may be had at once.
fn is_of_the_connection(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EINTR
            | Errno::ECONNABORTED
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::EHOSTUNREACH
            | Errno::EOPNOTSUPP
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::ETIMEDOUT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_one_connection_are_passed_over() {
        assert!(is_of_the_connection(Errno::ECONNABORTED));
        for shortage in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::EBADF] {
            assert!(!is_of_the_connection(shortage), "{shortage} would come again at once");
        }
    }
}
