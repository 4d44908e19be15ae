//! Addresses and control messages as the kernel lays them out, written and read as bytes in safe code.
//!
//! The layouts are those of ip(7), ipv6(7), packet(7) and cmsg(3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

/// Memory for one socket address of any family that is used here.
///
/// ```text
/// sockaddr_in   family 2 | port 2 | address 4 | zero 8
/// sockaddr_in6  family 2 | port 2 | flow 4 | address 16 | scope 4
/// sockaddr_ll   family 2 | protocol 2 | interface 4 | type 2 | kind 1 | length 1 | address 8
/// ```
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(in crate::socket) struct Name {
    pub(super) bytes: [u8; 32],
    pub(super) length: u32,
}

impl Name {
    /// How much the kernel may write.
    pub(super) const CAPACITY: u32 = 32;

    pub(super) const fn empty() -> Self {
        Self { bytes: [0; 32], length: 0 }
    }

    /// `dest` as `sockaddr_in`.
    pub(super) fn ipv4(dest: SocketAddrV4) -> Self {
        let mut name = Self::empty();
        name.put(0, &family(libc::AF_INET));
        name.put(2, &dest.port().to_be_bytes());
        name.put(4, &dest.ip().octets());
        name.length = 16;
        name
    }

    /// An Ethernet neighbour that is sent IPv4, as `sockaddr_ll`.
    pub(in crate::socket) fn link(interface: u32, mac: [u8; 6]) -> Self {
        const ETH_P_IP: u16 = 0x0800;
        let mut name = Self::empty();
        name.put(0, &family(libc::AF_PACKET));
        name.put(2, &ETH_P_IP.to_be_bytes());
        name.put(4, &interface.to_ne_bytes());
        name.put(11, &[6]);
        name.put(12, &mac);
        name.length = 20;
        name
    }

    /// The IP address and port in it; `0.0.0.0:0` for a family that no socket of ours has.
    pub(super) fn address(&self) -> SocketAddr {
        let (port, ipv4) = (u16::from_be_bytes(take(&self.bytes, 2)), take::<4>(&self.bytes, 4));
        match i32::from(u16::from_ne_bytes(take(&self.bytes, 0))) {
            libc::AF_INET => SocketAddr::from((ipv4, port)),
            libc::AF_INET6 => SocketAddrV6::new(
                Ipv6Addr::from(take::<16>(&self.bytes, 8)),
                port,
                u32::from_ne_bytes(ipv4),
                u32::from_ne_bytes(take(&self.bytes, 24)),
            )
            .into(),
            _ => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.bytes, at, bytes);
    }
}

/// Memory for the control messages of one datagram.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(in crate::socket) struct Control {
    pub(super) bytes: [u8; 128],
    pub(super) length: usize,
}

/// What the control messages of a received datagram say.
#[derive(Clone, Copy, Default)]
pub(super) struct Arrival {
    /// The destination in its header.
    pub(super) asked: Option<IpAddr>,
    /// The address of this machine that a reply should come from.
    pub(super) own: Option<IpAddr>,
    /// The number of the interface it came in on; 0 where unknown.
    pub(super) interface: u32,
    /// `SO_RXQ_OVFL`: what the socket had dropped when this datagram was queued. The kernel leaves out a zero.
    pub(super) drops: u32,
    /// `SCM_TIMESTAMPNS`: when the kernel queued it, since 1970; only where the socket asks for it.
    pub(super) queued: Option<Duration>,
}

impl Control {
    /// `struct cmsghdr`: the length of header and data, the level, the type.
    const HEADER: usize = size_of::<usize>() + 8;

    pub(super) const fn empty() -> Self {
        Self { bytes: [0; 128], length: 0 }
    }

    /// `IP_PKTINFO` or `IPV6_PKTINFO`: send from this address, out of this interface (0: as the routes say).
    pub(super) fn from_address(source: Option<IpAddr>, interface: u32) -> Self {
        let mut control = Self::empty();
        match source {
            Some(IpAddr::V6(source)) => {
                let mut info = [0; 20];
                put(&mut info, 0, &source.octets());
                put(&mut info, 16, &interface.to_ne_bytes());
                control.set(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            Some(IpAddr::V4(source)) => control.set_ipv4(source, interface),
            None if interface != 0 => control.set_ipv4(Ipv4Addr::UNSPECIFIED, interface),
            None => {}
        }
        control
    }

    /// `struct in_pktinfo`: interface 4 | source 4 | destination 4 (ignored on sending).
    fn set_ipv4(&mut self, source: Ipv4Addr, interface: u32) {
        let mut info = [0; 12];
        put(&mut info, 0, &interface.to_ne_bytes());
        put(&mut info, 4, &source.octets());
        self.set(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
    }

    fn set(&mut self, level: i32, kind: i32, data: &[u8]) {
        let word = size_of::<usize>();
        let length = Self::HEADER + data.len();
        put(&mut self.bytes, 0, &length.to_ne_bytes());
        put(&mut self.bytes, word, &level.to_ne_bytes());
        put(&mut self.bytes, word + 4, &kind.to_ne_bytes());
        put(&mut self.bytes, Self::HEADER, data);
        self.length = length.next_multiple_of(word);
    }

    /// Reads the first `length` bytes, which the kernel wrote.
    pub(super) fn read(&self, length: usize) -> Arrival {
        let word = size_of::<usize>();
        let mut rest = self.bytes.get(..length).unwrap_or_default();
        let mut arrival = Arrival::default();
        while rest.len() >= Self::HEADER {
            let whole = usize::from_ne_bytes(take(rest, 0));
            let level = i32::from_ne_bytes(take(rest, word));
            let kind = i32::from_ne_bytes(take(rest, word + 4));
            // A length that does not fit ends the reading (the kernel writes none).
            let Some(data) = rest.get(Self::HEADER..whole) else { break };
            arrival.note(level, kind, data);
            rest = rest.get(whole.next_multiple_of(word)..).unwrap_or_default();
        }
        arrival
    }
}

impl Arrival {
    fn note(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind, data.len()) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 12..) => {
                self.interface = u32::from_ne_bytes(take(data, 0));
                self.own = Some(Ipv4Addr::from(take::<4>(data, 4)).into());
                self.asked = Some(Ipv4Addr::from(take::<4>(data, 8)).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20..) => {
                let asked = Ipv6Addr::from(take::<16>(data, 0));
                self.interface = u32::from_ne_bytes(take(data, 16));
                self.asked = Some(asked.into());
                // A group is no address to send from: then the kernel chooses one.
                self.own = (!asked.is_multicast()).then_some(asked.into());
            }
            // struct timespec: seconds 8 | nanoseconds 8, on the 64-bit machines that this runs on.
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, 16..) => {
                let nanos = u32::try_from(u64::from_ne_bytes(take(data, 8))).unwrap_or_default();
                self.queued = Some(Duration::new(u64::from_ne_bytes(take(data, 0)), nanos.min(999_999_999)));
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 4..) => self.drops = u32::from_ne_bytes(take(data, 0)),
            _ => {}
        }
    }
}

fn family(number: i32) -> [u8; 2] {
    // Address families are small numbers; sa_family_t has two bytes.
    u16::try_from(number).unwrap_or_default().to_ne_bytes()
}

/// The `N` bytes at `at`; zeros where there are fewer.
fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Writes `data` at `at`; every caller's layout fits.
fn put(bytes: &mut [u8], at: usize, data: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + data.len()) {
        place.copy_from_slice(data);
    }
}
