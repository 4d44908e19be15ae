//! UDP sockets for load, and batches of datagrams over them: recvmmsg(2) and sendmmsg(2) by nix's safe wrappers, over
//! memory that is allocated once.

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::array;
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Datagrams of one system call.
pub(crate) const BATCH: usize = 64;
/// The longest datagram that is taken in whole: what Ethernet carries.
pub(crate) const SLOT_BYTES: usize = 1500;
/// Room for what the kernel queues on each side, so that nothing is lost here while the other process has the CPU.
const BUFFER_BYTES: usize = 32 << 20;

/// A UDP socket bound to `local` with large buffers. A receive blocks for at most `patience`.
pub(crate) fn udp_socket(local: SocketAddrV4, patience: Duration) -> anyhow::Result<Socket> {
    let open = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // Forcing passes the limits net.core.{r,w}mem_max and needs CAP_NET_ADMIN; otherwise take what they allow.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
            socket.set_recv_buffer_size(BUFFER_BYTES)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES).is_err() {
            socket.set_send_buffer_size(BUFFER_BYTES)?;
        }
        socket.set_read_timeout(Some(patience))?;
        socket.bind(&local.into())?;
        Ok(socket)
    };
    open().with_context(|| format!("could not open a UDP socket on {local}"))
}

/// Up to [`BATCH`] datagrams, received or to be sent. What was received can be changed in place and sent back.
pub(crate) struct Batch {
    data: Box<[[u8; SLOT_BYTES]]>,
    lengths: [usize; BATCH],
    /// None: where the socket is connected to.
    peers: [Option<SockaddrIn>; BATCH],
    count: usize,
    /// One set for each direction: sending leaves pointers to its addresses in the headers, and receiving would write
    /// there.
    incoming: MultiHeaders<SockaddrIn>,
    outgoing: MultiHeaders<SockaddrIn>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            data: vec![[0; SLOT_BYTES]; BATCH].into(),
            lengths: [0; BATCH],
            peers: [None; BATCH],
            count: 0,
            incoming: MultiHeaders::preallocate(BATCH, None),
            outgoing: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Receives what is there, after waiting for the first datagram unless `flags` say otherwise. 0 where none came in
    /// time or a signal did.
    pub(crate) fn receive(&mut self, socket: &Socket, flags: MsgFlags) -> Result<usize, Errno> {
        self.count = 0;
        let mut slots = self.data.iter_mut();
        let mut buffers: [_; BATCH] =
            array::from_fn(|_| [IoSliceMut::new(slots.next().map_or(&mut [][..], |slot| &mut slot[..]))]);
        let flags = flags | MsgFlags::MSG_WAITFORONE;
        match recvmmsg(socket.as_raw_fd(), &mut self.incoming, &mut buffers, flags, None) {
            Ok(messages) => {
                for ((message, length), peer) in messages.zip(&mut self.lengths).zip(&mut self.peers) {
                    *length = message.bytes;
                    *peer = message.address;
                    self.count += 1;
                }
                Ok(self.count)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count == BATCH
    }

    /// The datagrams, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        // A length is at most the slot's: longer datagrams were cut.
        self.data.iter().zip(self.lengths).take(self.count).map(|(slot, length)| &slot[..length])
    }

    /// Changes each datagram in place: `change` is given its slot and its length and returns the new length, 0 for a
    /// datagram that is not to be sent.
    pub(crate) fn change(&mut self, mut change: impl FnMut(&mut [u8; SLOT_BYTES], usize) -> usize) {
        for (slot, length) in self.data.iter_mut().zip(&mut self.lengths).take(self.count) {
            *length = change(slot, *length).min(SLOT_BYTES);
        }
    }

    /// Adds a datagram of `N` bytes for the connected peer, for the caller to fill. None where the batch is full.
    pub(crate) fn add<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let slot = self.data.get_mut(self.count)?;
        *self.lengths.get_mut(self.count)? = N;
        *self.peers.get_mut(self.count)? = None;
        self.count += 1;
        slot.first_chunk_mut()
    }

    /// Sends every datagram that is not empty and empties the batch. One that fails is skipped; the first reason is
    /// returned beside the number of those that the kernel took.
    pub(crate) fn send(&mut self, socket: &Socket) -> (usize, Option<Errno>) {
        let mut peers = [None; BATCH];
        let mut count = 0;
        let mut chosen = [[IoSlice::new(&[])]; BATCH];
        let datagrams = self.data.iter().zip(self.lengths).zip(self.peers).take(self.count);
        for ((slot, length), peer) in datagrams.filter(|((_, length), _)| *length > 0) {
            chosen[count] = [IoSlice::new(&slot[..length])];
            peers[count] = peer;
            count += 1;
        }
        self.count = 0;
        let (mut at, mut sent, mut failure) = (0, 0, None);
        while at < count {
            let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
            match sendmmsg(fd, &mut self.outgoing, &chosen[at..count], &peers[at..count], [], flags) {
                Ok(messages) => {
                    let done = messages.count();
                    at += done;
                    sent += done;
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    // On a connected socket this may be an earlier datagram's ICMP error: then trying again is right,
                    // and what was skipped is sent again by whoever waits for its answer.
                    failure = failure.or(Some(error));
                    at += 1;
                }
            }
        }
        (sent, failure)
    }
}
