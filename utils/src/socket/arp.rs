//! ARP probes: whether somebody on a link uses an IPv4 address (RFC 5227 §2.1).
//!
//! Main opens one socket for each interface, which needs `CAP_NET_RAW`; the DHCP workers inherit it, send probes and
//! read who uses what. Nothing is decided here, and no state is kept: any worker may read any answer.
//!
//! ```text
//! Ethernet  destination 6 | source 6 | type 2 = 0x0806
//! ARP       hardware 2 = 1 | protocol 2 = 0x0800 | 6 | 4 | operation 2 | sender MAC 6 | sender IP 4 | target MAC 6 | target IP 4
//! ```

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use socket2::{Domain, SockFilter, Socket, Type};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Bytes of a probe: Ethernet header and ARP packet. The driver pads it.
pub const ARP_PROBE_BYTES: usize = 42;

const ETHERTYPE_ARP: u16 = 0x0806;
/// Hardware Ethernet, protocol IPv4, lengths 6 and 4 (RFC 826).
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// Somebody claims an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpClaim {
    /// The address.
    pub address: Ipv4Addr,
    /// Who.
    pub mac: [u8; 6],
    /// It does not use the address yet but asks for it by a probe of its own (RFC 5227 §2.1.1: a conflict as well).
    pub probing: bool,
}

/// Opens the socket for one interface. It hears the link's answers, probes and announcements; the ordinary requests of
/// a busy network never wake its readers, since the kernel filters them out.
///
/// # Errors
/// What socket(2) or bind(2) report: `EPERM` without `CAP_NET_RAW`, `ENODEV` for an interface that is gone.
pub fn arp_socket(interface: u32) -> io::Result<OwnedFd> {
    // Without a protocol it hears nothing until it is bound, so nothing of another interface gets in.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&filter())?;
    let index = libc::c_int::try_from(interface).map_err(|_| io::Error::from(Errno::ENODEV))?;
    let family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or_default();
    let name = libc::sockaddr_ll {
        sll_family: family,
        sll_protocol: ETHERTYPE_ARP.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&name)).unwrap_or_default();
    // SAFETY: `name` is a whole sockaddr_ll, alive over the call, and `length` is its size; the kernel only reads it.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), length) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket.into())
}

/// Asks the link who uses `address`; `own` is the Ethernet address of the socket's interface.
///
/// # Errors
/// What send(2) reports, for example `ENETDOWN`, `ENXIO` for an interface that is gone, `EAGAIN` or `ENOBUFS`.
pub fn send_arp_probe(fd: BorrowedFd<'_>, own: [u8; 6], address: Ipv4Addr) -> io::Result<()> {
    send(fd.as_raw_fd(), &arp_probe(own, address), MsgFlags::MSG_DONTWAIT)?;
    Ok(())
}

/// The next claim of somebody else than `own`; none when nothing more is queued. Reads at most `patience` packets, so
/// that a flood cannot hold the caller.
///
/// # Errors
/// What recv(2) reports, for example `ENETDOWN` once when the interface goes down.
pub fn receive_arp(fd: BorrowedFd<'_>, own: [u8; 6], patience: usize) -> io::Result<Option<ArpClaim>> {
    let mut buffer = [0; 64];
    for _ in 0..patience {
        match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => {
                let claim = parse(buffer.get(..length).unwrap_or_default());
                if let Some(claim) = claim.filter(|claim| claim.mac != own) {
                    return Ok(Some(claim));
                }
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// RFC 5227 §2.1.1: sender IP address all zero, so that nobody's cache takes it in; target hardware address all zero.
fn arp_probe(own: [u8; 6], address: Ipv4Addr) -> [u8; ARP_PROBE_BYTES] {
    let parts: [&[u8]; 9] = [
        &[0xff; 6],
        &own,
        &ETHERTYPE_ARP.to_be_bytes(),
        &ETHERNET_IPV4,
        &REQUEST.to_be_bytes(),
        &own,
        &[0; 4],
        &[0; 6],
        &address.octets(),
    ];
    let mut frame = [0; ARP_PROBE_BYTES];
    for (place, byte) in frame.iter_mut().zip(parts.iter().copied().flatten()) {
        *place = *byte;
    }
    frame
}

/// Who claims what in an Ethernet frame, if it says so at all.
fn parse(frame: &[u8]) -> Option<ArpClaim> {
    let (ethernet, arp) = frame.split_first_chunk::<14>()?;
    let [.., high, low] = *ethernet;
    let (head, arp) = arp.split_first_chunk::<6>()?;
    let (operation, arp) = arp.split_first_chunk::<2>()?;
    let (mac, arp) = arp.split_first_chunk::<6>()?;
    let (sender, arp) = arp.split_first_chunk::<4>()?;
    let (_, arp) = arp.split_first_chunk::<6>()?;
    let (target, _) = arp.split_first_chunk::<4>()?;
    let operation = u16::from_be_bytes(*operation);
    let is_arp = u16::from_be_bytes([high, low]) == ETHERTYPE_ARP && *head == ETHERNET_IPV4;
    if !is_arp || !matches!(operation, REQUEST | REPLY) {
        return None;
    }
    let (sender, target) = (Ipv4Addr::from(*sender), Ipv4Addr::from(*target));
    if !sender.is_unspecified() {
        return Some(ArpClaim { address: sender, mac: *mac, probing: false });
    }
    let probe = operation == REQUEST && !target.is_unspecified();
    probe.then_some(ArpClaim { address: target, mac: *mac, probing: true })
}

/// Replies, and of the requests those that are probes (no sender) or announcements (sender is target).
fn filter() -> [SockFilter; 9] {
    const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const EQUALS: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const EQUALS_X: u16 = 0x1d; // BPF_JMP | BPF_JEQ | BPF_X
    const TO_X: u16 = 0x07; // BPF_MISC | BPF_TAX
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    [
        SockFilter::new(LOAD_HALF, 0, 0, 20), // operation
        SockFilter::new(EQUALS, 5, 0, u32::from(REPLY)),
        SockFilter::new(LOAD_WORD, 0, 0, 28), // sender IP
        SockFilter::new(EQUALS, 3, 0, 0),
        SockFilter::new(TO_X, 0, 0, 0),
        SockFilter::new(LOAD_WORD, 0, 0, 38), // target IP
        SockFilter::new(EQUALS_X, 0, 1, 0),
        SockFilter::new(RETURN, 0, 0, 64),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn arp(operation: u16, mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend(mac);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4]);
        frame.extend(operation.to_be_bytes());
        frame.extend(mac);
        frame.extend(sender.octets());
        frame.extend([0; 6]);
        frame.extend(target.octets());
        frame.extend([0; 18]);
        frame
    }

    #[test]
    fn probe_has_no_sender_address() {
        let frame = arp_probe(OWN, ADDRESS);
        assert_eq!(frame.to_vec(), arp(1, OWN, Ipv4Addr::UNSPECIFIED, ADDRESS)[..ARP_PROBE_BYTES]);
        let claim = parse(&frame);
        assert_eq!(claim, Some(ArpClaim { address: ADDRESS, mac: OWN, probing: true }));
    }

    #[test]
    fn replies_and_requests_tell_the_senders_address() {
        let server = Ipv4Addr::new(10, 0, 0, 1);
        for operation in [1, 2] {
            let claim = parse(&arp(operation, OTHER, ADDRESS, server));
            assert_eq!(claim, Some(ArpClaim { address: ADDRESS, mac: OTHER, probing: false }));
        }
    }

    #[test]
    fn what_is_no_arp_of_ethernet_and_ipv4_claims_nothing() {
        let good = arp(2, OTHER, ADDRESS, ADDRESS);
        for length in 0..ARP_PROBE_BYTES {
            assert_eq!(parse(&good[..length]), None, "{length} bytes");
        }
        for place in [12, 13, 14, 15, 16, 17, 18, 19, 20, 21] {
            let mut bad = good.clone();
            bad[place] ^= 0x40;
            assert_eq!(parse(&bad), None, "byte {place}");
        }
        assert_eq!(parse(&arp(2, OTHER, Ipv4Addr::UNSPECIFIED, ADDRESS)), None, "a reply is no probe");
        assert_eq!(parse(&arp(1, OTHER, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)), None);
    }

    #[test]
    fn interface_that_does_not_exist_is_refused() {
        let error = arp_socket(999_999).unwrap_err().raw_os_error();
        assert!(error == Some(libc::ENODEV) || error == Some(libc::EPERM), "{error:?}");
    }
}
