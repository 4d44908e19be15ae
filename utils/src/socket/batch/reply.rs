//! Datagrams that are made here and sent together: the DHCP worker's replies.

use super::send::{Sent, empty_header, send_all};
use super::wire::{Control, Name};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::BorrowedFd;
use std::ptr;

/// Replies for UDP clients, sent in one system call over memory allocated once.
pub struct ReplyBatch {
    outbox: Outbox,
}

impl ReplyBatch {
    /// Memory for `count` datagrams of up to `max_bytes` each.
    pub fn new(count: usize, max_bytes: usize) -> Self {
        Self { outbox: Outbox::new(count, max_bytes) }
    }

    /// Forgets every datagram that has not been sent.
    pub fn clear(&mut self) {
        self.outbox.clear();
    }

    /// How many datagrams wait to be sent.
    pub fn len(&self) -> usize {
        self.outbox.len()
    }

    /// Whether no datagram waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.outbox.len() == 0
    }

    /// Adds one datagram for `dest`, to come from the own address `source` (`None`: as the kernel chooses) and to leave
    /// by the interface with the number `interface` (0: as the routes say). A broadcast needs the interface.
    ///
    /// # Errors
    /// [`Full`] where the batch has `count` datagrams already, or this one is longer than `max_bytes`.
    pub fn push(
        &mut self,
        payload: &[u8],
        dest: SocketAddrV4,
        source: Option<Ipv4Addr>,
        interface: u32,
    ) -> Result<(), Full> {
        let control = Control::from_address(source.map(IpAddr::V4), interface);
        self.outbox.push(payload, Name::ipv4(dest), Some(control))
    }

    /// Sends what was added and empties the batch. A datagram that fails is skipped and counted; a full send buffer
    /// is waited for, 50 ms in all.
    pub fn flush(&mut self, fd: BorrowedFd<'_>) -> Sent {
        self.outbox.flush(fd)
    }
}

/// The batch has no room for this datagram. Flush it and add the datagram again, unless it is too long for any place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("batch has no room for a datagram of {bytes} bytes")]
pub struct Full {
    /// The length of what was not added.
    pub bytes: usize,
}

/// Messages with their destination, in memory allocated once.
pub(in crate::socket) struct Outbox {
    max_bytes: usize,
    data: Box<[u8]>,
    entries: Box<[Entry]>,
    count: usize,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
}

// SAFETY: the pointers in `headers` and `vectors` are set anew from the memory beside them by each `flush`, and are not
// used between calls, so the value can move to another thread.
unsafe impl Send for Outbox {}

#[derive(Clone, Copy)]
struct Entry {
    length: usize,
    name: Name,
    control: Control,
}

impl Outbox {
    pub(in crate::socket) fn new(count: usize, max_bytes: usize) -> Self {
        // A place of no bytes could not be told from no place.
        let max_bytes = max_bytes.max(1);
        let empty = Entry { length: 0, name: Name::empty(), control: Control::empty() };
        Self {
            max_bytes,
            data: vec![0; count * max_bytes].into(),
            entries: vec![empty; count].into(),
            count: 0,
            headers: vec![empty_header(); count],
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; count],
        }
    }

    pub(in crate::socket) fn clear(&mut self) {
        self.count = 0;
    }

    pub(in crate::socket) fn len(&self) -> usize {
        self.count
    }

    pub(in crate::socket) fn push(
        &mut self,
        payload: &[u8],
        name: Name,
        control: Option<Control>,
    ) -> Result<(), Full> {
        let full = Full { bytes: payload.len() };
        if payload.len() > self.max_bytes {
            return Err(full);
        }
        let start = self.count * self.max_bytes;
        let entry = self.entries.get_mut(self.count).ok_or(full)?;
        let place = self.data.get_mut(start..start + payload.len()).ok_or(full)?;
        place.copy_from_slice(payload);
        *entry = Entry { length: payload.len(), name, control: control.unwrap_or(Control::empty()) };
        self.count += 1;
        Ok(())
    }

    pub(in crate::socket) fn flush(&mut self, fd: BorrowedFd<'_>) -> Sent {
        let used = self.entries.iter_mut().zip(self.data.chunks_exact_mut(self.max_bytes));
        for (((entry, data), vector), header) in
            used.take(self.count).zip(&mut self.vectors).zip(&mut self.headers)
        {
            vector.iov_base = data.as_mut_ptr().cast();
            vector.iov_len = entry.length;
            header.msg_hdr.msg_iov = ptr::from_mut(vector);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = entry.name.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = entry.name.length;
            header.msg_hdr.msg_control = entry.control.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = entry.control.length;
        }
        let headers = self.headers.get_mut(..self.count).unwrap_or_default();
        self.count = 0;
        // SAFETY: the loop above pointed each of these headers to memory of this value, with its length; the value is
        // borrowed mutably until the call returns.
        unsafe { send_all(fd, headers) }
    }
}
