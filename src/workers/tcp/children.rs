//! The client processes of one tcp worker: their forks, their ends.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use daemon_utils::process::{self, Exit, Pid};
use nix::sys::signal::{Signal, kill};

use super::client::{Client, Office};
use super::places::Places;
use crate::event;
use crate::stats::{Counter, Slot};

/// The clients that this worker forked and has not reaped, by PID.
#[derive(Debug)]
pub(super) struct Children {
    places: Places,
    slot: Slot,
    office: Office,
    peers: HashMap<Pid, SocketAddr>,
}

impl Children {
    pub(super) fn new(places: Places, slot: Slot) -> Self {
        places.publish(0);
        Self { places, slot, office: Office::open(), peers: HashMap::new() }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Forks the process of one client. This process has one thread, as every worker but the api.
    pub(super) fn fork(&mut self, client: Client<'_>, buffer: &mut [u8]) -> io::Result<()> {
        let pid = self.office.fork(client, buffer)?;
        self.peers.insert(pid, client.peer);
        self.places.publish(self.peers.len());
        self.slot.count(Counter::TcpAccepted);
        Ok(())
    }

    /// Reaps every client process that has ended and frees its place.
    pub(super) fn reap(&mut self) -> io::Result<()> {
        // There is no other child: while there is no client, nobody is asked.
        while !self.is_empty()
            && let Some((pid, exit)) = process::reap()?
        {
            let Some(peer) = self.peers.remove(&pid) else { continue };
            self.places.publish(self.peers.len());
            match exit {
                // It has told its end itself.
                Exit::Code(0) => {}
                Exit::Signal(number) if number == Signal::SIGTERM as i32 => {
                    event!(TcpClientDisconnected, peer = peer, reason = "terminated"; "client disconnected");
                }
                Exit::Code(_) | Exit::Signal(_) => {
                    event!(
                        TcpClientDisconnected, peer = peer, reason = "failed", status = exit;
                        "client disconnected: its process ended by {exit}"
                    );
                }
            }
        }
        Ok(())
    }

    /// Sends every client process a signal. None of them has been reaped, so no PID can be a stranger's.
    pub(super) fn signal(&self, signal: Signal) {
        for pid in self.peers.keys() {
            // It fails for a process that has just ended: that one is reaped soon.
            let _ = kill(*pid, signal);
        }
    }
}
