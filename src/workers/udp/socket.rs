//! One socket of the UDP echo service, and one round of echoing on it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use daemon_utils::socket::{DatagramBatch, dropped};
use socket2::SockRef;

use super::brake::Brake;
use super::sources::{self, Loop};
use crate::event;
use crate::stats::{Counter, Slot};
use crate::workers::pace::Backoff;

/// One socket with what the worker remembers of it.
pub(super) struct Socket {
    fd: OwnedFd,
    address: SocketAddr,
    /// The kernel's count of dropped datagrams, as far as it has been counted here.
    drops: u32,
    backoff: Backoff,
    brake: Brake,
}

impl Socket {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let address = SockRef::from(&fd).local_addr()?.as_socket();
        let address = address.ok_or_else(|| io::Error::other("not a socket of the internet families"))?;
        // Linux before 4.12 cannot tell; then what was dropped before is counted with the first datagram.
        let drops = dropped(fd.as_fd()).unwrap_or(0);
        Ok(Self { fd, address, drops, backoff: Backoff::default(), brake: Brake::new() })
    }

    /// What the kernel had dropped on this socket when it was taken over.
    pub(super) fn drops(&self) -> u64 {
        self.drops.into()
    }

    /// What is left of a pause after a failure.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        self.backoff.left(now)
    }

    /// Receives one batch and sends it back. Returns the number of datagrams received: 0 where there was none, or
    /// where the socket failed.
    pub(super) fn echo(&mut self, batch: &mut DatagramBatch, slot: Slot) -> usize {
        let count = match batch.receive(self.fd.as_fd()) {
            Ok(0) => return 0,
            Ok(count) => count,
            Err(error) => {
                slot.count(Counter::ErrorReceive);
                if self.backoff.failed(Instant::now()) {
                    event!(UdpSocketFailed, address = self.address, error = error; "cannot receive: {error}");
                }
                return 0;
            }
        };
        self.backoff.succeeded();
        self.count_drops(batch.kernel_drops(), slot);
        self.send_back(batch, slot);
        count
    }

    fn send_back(&mut self, batch: &mut DatagramBatch, slot: Slot) {
        let mut keep = [false; super::BATCH];
        let mut looping = 0;
        for (i, keep) in keep.iter_mut().enumerate().take(batch.len()) {
            let datagram = batch.get(i);
            let (peer, port) = (datagram.peer, self.address.port());
            let checked = sources::check(peer, port, datagram.local, datagram.reply_from);
            let slow = checked
                .and_then(|()| if self.brake.lets_through(peer) { Ok(()) } else { Err(Loop::TooFast) });
            match slow {
                Ok(()) => *keep = true,
                Err(reason) => {
                    looping += 1;
                    event!(UdpDatagramDropped, peer = peer, reason = reason.reason(); "datagram would loop");
                }
            }
        }
        let sent = batch.send_back(self.fd.as_fd(), &mut |i| keep.get(i) == Some(&true));
        slot.add(Counter::UdpLoop, looping);
        slot.add(Counter::UdpEchoed, sent.sent as u64);
        slot.add(Counter::EchoBytesUdp, sent.bytes);
        if let Some(error) = sent.error {
            slot.add(Counter::UdpFailed, sent.failed as u64);
            slot.add(Counter::ErrorSend, sent.failed as u64);
            event!(
                UdpDatagramDropped, reason = "send-failed", error = error;
                "datagram could not be sent back: {error}"
            );
        }
    }

    fn count_drops(&mut self, now: u32, slot: Slot) {
        let new = newly_dropped(self.drops, now);
        if new > 0 {
            slot.add(Counter::SocketDroppedUdp, new);
            self.drops = now;
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How far a count that wraps at 2³² has gone on. One that seems to have gone back is an older reading (a datagram
/// carries the count of its own arrival): nothing new.
fn newly_dropped(before: u32, now: u32) -> u64 {
    let step = now.wrapping_sub(before);
    if step < u32::MAX / 2 { step.into() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Shared;
    use daemon_utils::socket::udp_echo;
    use nix::poll::{PollFd, PollFlags, poll};
    use std::net::UdpSocket;

    #[test]
    fn count_of_drops_wraps_and_never_goes_back() {
        assert_eq!(newly_dropped(5, 5), 0);
        assert_eq!(newly_dropped(5, 9), 4);
        assert_eq!(newly_dropped(u32::MAX, 1), 2);
        assert_eq!(newly_dropped(9, 5), 0);
    }

    #[test]
    fn datagrams_come_back_and_those_that_would_loop_are_counted() {
        let mut socket = Socket::new(udp_echo("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let twin = UdpSocket::bind(("127.0.0.2", socket.address.port())).unwrap();
        twin.send_to(b"from the echo port", socket.address).unwrap();
        client.send_to(b"", socket.address).unwrap();
        client.send_to(&[7; 5000], socket.address).unwrap();
        poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], 10_000_u16).unwrap();
        let shared = Shared::create(0).unwrap();
        let mut batch = DatagramBatch::new(8, 1000, 65_535);
        assert_eq!(socket.echo(&mut batch, shared.slot(3)), 3);
        assert_eq!(client.recv(&mut [0; 8]).unwrap(), 0);
        assert_eq!(client.recv(&mut [0; 8000]).unwrap(), 5000);
        let counted = [Counter::UdpEchoed, Counter::UdpLoop, Counter::UdpFailed, Counter::EchoBytesUdp];
        assert_eq!(counted.map(|counter| shared.counter(counter)), [2, 1, 0, 5000]);
        assert_eq!(socket.echo(&mut batch, shared.slot(3)), 0);
    }
}
