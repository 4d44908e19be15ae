//! Receiving many datagrams at once, and sending them back to where they came from.

use super::send::{Sent, empty_header, send_all};
use super::wire::{Control, Name};
use nix::errno::Errno;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::{Duration, SystemTime};

/// Memory for `count` datagrams. Each has a slot, and behind it an overflow for the rare long datagram: the overflow's
/// pages come zeroed from the kernel and are not resident before a long datagram touches them.
pub struct DatagramBatch {
    slot_bytes: usize,
    overflow_bytes: usize,
    slots: Box<[u8]>,
    overflows: Box<[u8]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    received: Vec<Received>,
    kernel_drops: u32,
    /// When the first datagram of the last batch was queued.
    queued: Option<Duration>,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<[libc::iovec; 2]>,
}

// SAFETY: the pointers in `headers` and `vectors` are set anew from the memory beside them by each call that uses them,
// and are not used between calls, so the value can move to another thread.
unsafe impl Send for DatagramBatch {}

/// One datagram of the last [`DatagramBatch::receive`].
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub peer: SocketAddr,
    /// The destination in its header; a broadcast or multicast address where it was sent to one.
    pub local: Option<IpAddr>,
    /// The own address that a reply comes from: `local`, or where that was a broadcast or a group, the interface's.
    pub reply_from: Option<IpAddr>,
    /// The number of the interface it came in on; 0 where unknown.
    pub interface: u32,
    /// Its first `slot_bytes` bytes.
    pub head: &'a [u8],
    /// What it has beyond them; mostly empty.
    pub tail: &'a [u8],
    /// It was longer than `max_bytes` and lost its end.
    pub truncated: bool,
}

impl Datagram<'_> {
    /// Its length in bytes, as received.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether it carries nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Clone, Copy)]
struct Received {
    peer: SocketAddr,
    name_length: u32,
    local: Option<IpAddr>,
    reply_from: Option<IpAddr>,
    interface: u32,
    length: usize,
    truncated: bool,
}

const NO_VECTOR: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

impl DatagramBatch {
    /// Memory for `count` datagrams of up to `max_bytes` each (65,535 takes any), of which the first `slot_bytes` are
    /// always resident.
    pub fn new(count: usize, slot_bytes: usize, max_bytes: usize) -> Self {
        let slot_bytes = slot_bytes.max(1);
        let overflow_bytes = max_bytes.saturating_sub(slot_bytes);
        Self {
            slot_bytes,
            overflow_bytes,
            slots: vec![0; count * slot_bytes].into(),
            overflows: vec![0; count * overflow_bytes].into(),
            names: vec![Name::empty(); count].into(),
            controls: vec![Control::empty(); count].into(),
            received: Vec::with_capacity(count),
            kernel_drops: 0,
            queued: None,
            headers: vec![empty_header(); count],
            vectors: vec![[NO_VECTOR; 2]; count],
        }
    }

    /// Receives what is there, up to the batch's size, and forgets what was received before. Returns the number of
    /// datagrams; 0 means that there is none. Never blocks.
    ///
    /// An ICMP error that an earlier datagram of ours caused is taken off the socket and is no error here: it says
    /// nothing about what can be received.
    ///
    /// # Errors
    /// What recvmmsg(2) reports beside that.
    pub fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        /// Each ICMP error costs one call. A flood of them must not hold the worker here.
        const ATTEMPTS: usize = 16;
        self.received.clear();
        for _ in 0..ATTEMPTS {
            match self.receive_once(fd) {
                Ok(count) => {
                    self.take_in(count);
                    return Ok(self.received.len());
                }
                Err(Errno::EAGAIN) => return Ok(0),
                Err(
                    Errno::EINTR
                    | Errno::ECONNREFUSED
                    | Errno::EHOSTUNREACH
                    | Errno::EHOSTDOWN
                    | Errno::ENETUNREACH
                    | Errno::ENOPROTOOPT
                    | Errno::EPROTO
                    | Errno::EMSGSIZE,
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }

    fn receive_once(&mut self, fd: BorrowedFd<'_>) -> nix::Result<usize> {
        let slots = self.slots.chunks_exact_mut(self.slot_bytes);
        let mut overflows = self.overflows.chunks_exact_mut(self.overflow_bytes.max(1));
        let memory = slots.zip(&mut self.names).zip(&mut self.controls);
        for (((slot, name), control), (header, vectors)) in
            memory.zip(self.headers.iter_mut().zip(&mut self.vectors))
        {
            let [first, second] = vectors;
            *first = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: self.slot_bytes };
            *second = overflows.next().map_or(NO_VECTOR, |overflow| libc::iovec {
                iov_base: overflow.as_mut_ptr().cast(),
                iov_len: self.overflow_bytes,
            });
            header.msg_hdr.msg_iov = vectors.as_mut_ptr();
            header.msg_hdr.msg_iovlen = if self.overflow_bytes == 0 { 1 } else { 2 };
            header.msg_hdr.msg_name = name.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = Name::CAPACITY;
            header.msg_hdr.msg_control = control.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.bytes.len();
            header.msg_hdr.msg_flags = 0;
        }
        let count = u32::try_from(self.headers.len()).unwrap_or(u32::MAX);
        // SAFETY: the loop above pointed each of the `count` headers to memory of this value, which is borrowed mutably
        // until the call returns, and gave the length that may be written there. A null timeout means none.
        let answer = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        Errno::result(answer).map(|count| usize::try_from(count).unwrap_or_default())
    }

    fn take_in(&mut self, count: usize) {
        self.queued = None;
        for ((header, name), control) in self.headers.iter().zip(&self.names).zip(&self.controls).take(count)
        {
            let message = &header.msg_hdr;
            let arrival = control.read(message.msg_controllen);
            self.kernel_drops = arrival.drops;
            // The first one has waited longest.
            self.queued = self.queued.or(arrival.queued);
            let length = usize::try_from(header.msg_len).unwrap_or_default();
            self.received.push(Received {
                peer: name.address(),
                name_length: message.msg_namelen.min(Name::CAPACITY),
                local: arrival.asked,
                reply_from: arrival.own,
                interface: arrival.interface,
                length: length.min(self.slot_bytes + self.overflow_bytes),
                truncated: message.msg_flags & libc::MSG_TRUNC != 0,
            });
        }
    }

    /// How many datagrams the last [`receive`](Self::receive) brought.
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// Whether the last [`receive`](Self::receive) brought nothing.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// Datagram `i` of the last [`receive`](Self::receive).
    ///
    /// # Panics
    /// Where `i` is not below [`len`](Self::len): an error of the caller, never of the network.
    pub fn get(&self, i: usize) -> Datagram<'_> {
        let received = &self.received[i];
        let in_slot = received.length.min(self.slot_bytes);
        let slot = i * self.slot_bytes;
        let overflow = i * self.overflow_bytes;
        Datagram {
            peer: received.peer,
            local: received.local,
            reply_from: received.reply_from,
            interface: received.interface,
            head: &self.slots[slot..slot + in_slot],
            tail: &self.overflows[overflow..overflow + received.length - in_slot],
            truncated: received.truncated,
        }
    }

    /// What the socket had dropped when the last datagram of the last non-empty [`receive`](Self::receive) was queued
    /// (`SO_RXQ_OVFL`): counted since the socket was opened, wrapping at 2³². With one batch for several sockets, read
    /// it after each `receive` that brought something.
    pub fn kernel_drops(&self) -> u32 {
        self.kernel_drops
    }

    /// How long the oldest datagram of the last [`receive`](Self::receive) waited in the socket's queue until now, by the
    /// wall clock. `None` where the socket has no time stamps, or that clock has stepped back meanwhile.
    pub fn waited(&self) -> Option<Duration> {
        let queued = self.queued?;
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.checked_sub(queued)
    }

    /// Sends each datagram of the last [`receive`](Self::receive) for which `keep` says so back to its peer, from the
    /// address that was asked. One that cannot be sent is skipped and counted; a full send buffer is waited for, 50 ms
    /// in all.
    pub fn send_back(&mut self, fd: BorrowedFd<'_>, keep: &mut dyn FnMut(usize) -> bool) -> Sent {
        let mut count = 0;
        let slots = self.slots.chunks_exact_mut(self.slot_bytes);
        let mut overflows = self.overflows.chunks_exact_mut(self.overflow_bytes.max(1));
        let memory = slots.zip(&mut self.names).zip(&mut self.controls).zip(&mut self.vectors);
        for (i, (received, (((slot, name), control), vectors))) in
            self.received.iter().zip(memory).enumerate()
        {
            let overflow = overflows.next();
            if !keep(i) {
                continue;
            }
            // The list of headers is filled without gaps; what else belongs to a datagram stays in its place.
            let Some(header) = self.headers.get_mut(count) else { break };
            let in_slot = received.length.min(self.slot_bytes);
            let [first, second] = vectors;
            *first = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: in_slot };
            *second = overflow.map_or(NO_VECTOR, |overflow| libc::iovec {
                iov_base: overflow.as_mut_ptr().cast(),
                iov_len: received.length - in_slot,
            });
            *control = Control::from_address(received.reply_from, received.reply_interface());
            let message = &mut header.msg_hdr;
            message.msg_iov = vectors.as_mut_ptr();
            message.msg_iovlen = if received.length > in_slot { 2 } else { 1 };
            message.msg_name = name.bytes.as_mut_ptr().cast();
            message.msg_namelen = received.name_length;
            message.msg_control = control.bytes.as_mut_ptr().cast();
            message.msg_controllen = control.length;
            message.msg_flags = 0;
            count += 1;
        }
        let headers = self.headers.get_mut(..count).unwrap_or_default();
        // SAFETY: the loop above pointed each of these headers to memory of this value, with the length that was
        // received into it; the value is borrowed mutably until the call returns.
        unsafe { send_all(fd, headers) }
    }
}

impl Received {
    /// A link-local address means nothing without its interface; everything else goes where the routes say.
    fn reply_interface(&self) -> u32 {
        match self.reply_from {
            Some(IpAddr::V6(own)) if own.is_unicast_link_local() => self.interface,
            _ => 0,
        }
    }
}
