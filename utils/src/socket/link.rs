//! IP packets to a hardware address: for DHCP clients that have no address yet and so cannot answer ARP
//! (RFC 2131 §4.1).
//!
//! The socket sends only. Its protocol is 0, so the kernel never queues a frame on it, and a worker that holds it
//! cannot listen to the network.

use super::batch::{Full, Outbox, Sent, wire::Name};
use socket2::{Domain, Socket, Type};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Opens the send-only packet socket. One serves every interface; main opens it and the DHCP workers inherit it.
///
/// # Errors
/// What socket(2) reports; `EPERM` without `CAP_NET_RAW`.
pub fn packet_sender() -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sends one IPv4 packet, its IP header included, out of the interface with the number `ifindex` to `dest_mac`.
///
/// # Errors
/// What sendmsg(2) reports, for example `ENETDOWN`, `ENXIO` for an interface that is gone, or `EMSGSIZE`.
pub fn send_link(fd: impl AsFd, ifindex: u32, dest_mac: [u8; 6], payload: &[u8]) -> io::Result<()> {
    let mut one = LinkBatch::new(1, payload.len());
    // A batch made for this payload has room for it.
    let _ = one.push(payload, ifindex, dest_mac);
    match one.flush(fd.as_fd()).error {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}

/// Packets for many hardware addresses, sent in one system call.
pub struct LinkBatch {
    outbox: Outbox,
}

impl LinkBatch {
    /// Memory for `count` packets of up to `max_bytes` each.
    pub fn new(count: usize, max_bytes: usize) -> Self {
        Self { outbox: Outbox::new(count, max_bytes) }
    }

    /// Forgets every packet that has not been sent.
    pub fn clear(&mut self) {
        self.outbox.clear();
    }

    /// How many packets wait to be sent.
    pub fn len(&self) -> usize {
        self.outbox.len()
    }

    /// Whether no packet waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.outbox.len() == 0
    }

    /// Adds one IPv4 packet, its IP header included, for `dest_mac` behind the interface with the number `ifindex`.
    ///
    /// # Errors
    /// [`Full`] where the batch has `count` packets already, or this one is longer than `max_bytes`.
    pub fn push(&mut self, payload: &[u8], ifindex: u32, dest_mac: [u8; 6]) -> Result<(), Full> {
        self.outbox.push(payload, Name::link(ifindex, dest_mac), None)
    }

    /// Sends what was added and empties the batch. A packet that fails is skipped and counted.
    pub fn flush(&mut self, fd: BorrowedFd<'_>) -> Sent {
        self.outbox.flush(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::Protocol;
    use std::io::Read;
    use std::time::Duration;

    /// An IPv4 header (RFC 791) of a packet for 192.0.2.2 that no host is to take, and a marker behind it.
    fn packet(marker: [u8; 8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 1, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet.extend(marker);
        packet
    }

    #[test]
    fn packet_leaves_by_the_interface_it_is_given() {
        let sender = match packet_sender() {
            Ok(sender) => sender,
            Err(error) => {
                // Without CAP_NET_RAW there is nothing to show.
                assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                return;
            }
        };
        let loopback = super::super::interfaces().unwrap().into_iter().find(|each| each.loopback).unwrap();
        let ip = Protocol::from(i32::from(0x0800_u16.to_be()));
        let mut receiver = Socket::new(Domain::PACKET, Type::DGRAM, Some(ip)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let expected = packet(*b"echo-dmn");
        send_link(&sender, loopback.index, [2, 0, 0, 0, 0, 1], &expected).unwrap();
        // Other tests' traffic passes here too.
        let mut buffer = vec![0; 65_536];
        while receiver.read(&mut buffer).map(|length| buffer[..length] != expected[..]).unwrap() {}
    }

    #[test]
    fn interface_that_is_gone_is_an_error() {
        if let Ok(sender) = packet_sender() {
            assert!(send_link(&sender, 999_999, [0; 6], &packet(*b"no where")).is_err());
        }
    }
}
