//! `echo-load answer`: a DHCP server that answers every packet from the packet itself and remembers nothing. No server
//! that keeps leases can be faster on the same path.

use crate::batch::{Batch, SLOT_BYTES, udp_socket};
use crate::dhcp::message::{
    ACK, BOOTREPLY, BOOTREQUEST, DISCOVER, MIN_BYTES, Message, OFFER, OPTION_END, OPTION_LEASE_TIME,
    OPTION_MASK, OPTION_ROUTER, OPTION_SERVER, OPTION_TYPE, OPTIONS, REQUEST, YIADDR, put,
};
use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use serde::Serialize;
use std::net::SocketAddrV4;
use std::time::Duration;

/// One hour.
const LEASE_SECS: u32 = 3600;
const MASK: u32 = 0xff00_0000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen, with the port unless that is 67
    #[arg(long, value_name = "IP[:PORT]", value_parser = crate::dhcp::address)]
    listen: SocketAddrV4,
}

#[derive(Serialize)]
struct Listening {
    listening: SocketAddrV4,
}

/// Answers until a signal ends the process.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Nothing is due at any time: a receive that ends for nothing is just begun again.
    let socket = udp_socket(args.listen, Duration::from_secs(1))?;
    let listening = socket.local_addr().ok().and_then(|own| own.as_socket_ipv4());
    let listening = listening.context("the socket has no address")?;
    crate::print(&Listening { listening })?;
    let server = u32::from(*listening.ip());
    let mut batch = Batch::new();
    loop {
        match batch.receive(&socket, MsgFlags::empty()) {
            Ok(0) | Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH) => {}
            Ok(_) => {
                batch.change(|packet, length| answer(packet, length, server));
                // What cannot be sent is lost, as on any network: the client asks again.
                batch.send(&socket);
            }
            Err(error) => bail!("could not receive on {listening}: {error}"),
        }
    }
}

/// Turns a DISCOVER into its OFFER, a REQUEST into its ACK; returns the length, or 0 where there is nothing to answer.
fn answer(packet: &mut [u8; SLOT_BYTES], length: usize, server: u32) -> usize {
    let Some(message) = Message::read(&packet[..length.min(SLOT_BYTES)]) else { return 0 };
    if message.op != BOOTREQUEST {
        return 0;
    }
    let (kind, address) = match message.kind {
        DISCOVER => (OFFER, address_of(message.mac)),
        REQUEST if message.ciaddr != 0 => (ACK, message.ciaddr),
        REQUEST => (ACK, message.requested.unwrap_or_else(|| address_of(message.mac))),
        _ => return 0,
    };
    put(packet, 0, &[BOOTREPLY]);
    put(packet, YIADDR, &address.to_be_bytes());
    // Each option's place follows from the lengths of those before it: type 3, the others 6 bytes.
    put(packet, OPTIONS, &[OPTION_TYPE, 1, kind]);
    let words = [
        (OPTION_SERVER, server),
        (OPTION_LEASE_TIME, LEASE_SECS),
        (OPTION_MASK, MASK),
        (OPTION_ROUTER, server),
    ];
    let mut at = OPTIONS + 3;
    for (code, value) in words {
        put(packet, at, &[code, 4]);
        put(packet, at + 2, &value.to_be_bytes());
        at += 6;
    }
    put(packet, at, &[OPTION_END]);
    // The rest of the request's options is no padding yet.
    if let Some(rest) = packet.get_mut(at + 1..MIN_BYTES) {
        rest.fill(0);
    }
    MIN_BYTES
}

/// An address for each hardware address: no two of a load's clients share one.
fn address_of(mac: [u8; 6]) -> u32 {
    let [_, _, number @ ..] = mac;
    u32::from_be_bytes(number).wrapping_add(0x0a00_0100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::message::{CHADDR, COOKIE, MAGIC, OPTION_REQUESTED, XID};

    const SERVER: u32 = 0x0a00_0001;

    /// What is answered to a packet of client 9 with these options.
    fn answered(options: &[u8]) -> Option<Message> {
        let mut packet = [0; SLOT_BYTES];
        put(&mut packet, 0, &[BOOTREQUEST, 1, 6]);
        put(&mut packet, XID, &[1, 2, 3, 4]);
        put(&mut packet, CHADDR, &[2, 0, 0, 0, 0, 9]);
        put(&mut packet, COOKIE, &MAGIC);
        put(&mut packet, OPTIONS, options);
        let length = answer(&mut packet, OPTIONS + options.len(), SERVER);
        assert!(length == 0 || length == MIN_BYTES);
        Message::read(&packet[..length])
    }

    #[test]
    fn discover_is_offered_the_address_of_the_client() {
        let offer = answered(&[OPTION_TYPE, 1, DISCOVER, OPTION_END]).unwrap();
        let expected = Message {
            op: BOOTREPLY,
            xid: 0x0102_0304,
            yiaddr: 0x0a00_0109,
            mac: [2, 0, 0, 0, 0, 9],
            kind: OFFER,
            lease_secs: Some(LEASE_SECS),
            server: Some(SERVER),
            ..Message::default()
        };
        assert_eq!(offer, expected);
    }

    #[test]
    fn request_is_granted_what_it_asks_for() {
        let ack = answered(&[OPTION_TYPE, 1, REQUEST, OPTION_REQUESTED, 4, 10, 9, 8, 7, OPTION_END]).unwrap();
        assert_eq!((ack.kind, ack.yiaddr, ack.requested), (ACK, 0x0a09_0807, None));
    }

    #[test]
    fn other_messages_are_not_answered() {
        assert_eq!(answered(&[OPTION_TYPE, 1, ACK, OPTION_END]), None);
        assert_eq!(answered(&[OPTION_END]), None);
        let mut short = [0; SLOT_BYTES];
        assert_eq!(answer(&mut short, 12, SERVER), 0);
    }
}
