//! Replies on their way out: by the kernel's routing through the interface's own socket, or in raw frames to
//! clients that have no address yet.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use daemon_utils::socket::{LinkBatch, ReplyBatch, Sent};

use crate::dhcp::{Destination, Reply};
use crate::protocol::frame;

/// The server's port in raw frames (RFC 2131 §4.1).
const SERVER_PORT: u16 = 67;
/// Longest reply: what fits an Ethernet frame is the rule, option 57 may ask for more.
const LONGEST: usize = 16 * 1024;

pub(super) struct Sender {
    packet: Option<OwnedFd>,
    routed: ReplyBatch,
    framed: LinkBatch,
    /// One IP packet under construction.
    datagram: Vec<u8>,
}

impl Sender {
    pub(super) fn new(count: usize, packet: Option<OwnedFd>) -> Self {
        Self {
            packet,
            routed: ReplyBatch::new(count, LONGEST),
            framed: LinkBatch::new(count, LONGEST),
            datagram: Vec::new(),
        }
    }

    /// Sends the replies to requests that came in by `socket`; which of them could not be sent.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, replies: &[Reply]) -> Vec<usize> {
        self.routed.clear();
        self.framed.clear();
        let (mut routed, mut framed, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (place, reply) in replies.iter().enumerate() {
            let (taken, places) = match reply.to {
                Destination::Hardware { mac, to } if self.packet.is_some() => {
                    (self.frame(reply, mac, to), &mut framed)
                }
                Destination::Hardware { to, .. } => (self.route(reply, broadcast(to.port())), &mut routed),
                Destination::Broadcast { port } => (self.route(reply, broadcast(port)), &mut routed),
                Destination::Unicast(to) => (self.route(reply, to), &mut routed),
            };
            if taken { places.push(place) } else { failed.push(place) }
        }
        if !self.routed.is_empty() {
            failed.extend(lost(&self.routed.flush(socket), &routed));
        }
        if let Some(packet) = self.packet.as_ref().filter(|_| !self.framed.is_empty()) {
            failed.extend(lost(&self.framed.flush(packet.as_fd()), &framed));
        }
        failed
    }

    fn route(&mut self, reply: &Reply, to: SocketAddrV4) -> bool {
        let source = Some(reply.from).filter(|from| !from.is_unspecified());
        self.routed.push(&reply.bytes, to, source, reply.interface).is_ok()
    }

    fn frame(&mut self, reply: &Reply, mac: [u8; 6], to: SocketAddrV4) -> bool {
        let from = SocketAddrV4::new(reply.from, SERVER_PORT);
        frame::udp_datagram(from, to, &reply.bytes, &mut self.datagram).is_ok()
            && self.framed.push(&self.datagram, reply.interface, mac).is_ok()
    }
}

/// The places of what a flush skipped. A batch has no more than 64 replies, for which [`Sent`] tells them apart.
fn lost<'a>(sent: &Sent, places: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    let bits = sent.failed_bits;
    places.iter().enumerate().filter(move |(at, _)| bits & (1 << at) != 0).map(|(_, place)| *place)
}

fn broadcast(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::BROADCAST, port)
}
