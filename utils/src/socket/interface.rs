//! The machine's network interfaces and their IPv4 addresses, and the news that something about them changed.
//!
//! Main calls this to open the DHCP sockets and to follow interfaces that come and go. It reads only.

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrLike, SockaddrStorage,
    bind, recv, socket,
};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// One network interface as it was when [`interfaces`] looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, for example `eth0`. Labels of extra addresses (`eth0:1`) are no interfaces of their own.
    pub name: String,
    /// The kernel's number for it. A new interface of the same name has another number.
    pub index: u32,
    /// Its Ethernet address; `None` where it has none, as on loopback or a tunnel.
    pub mac: Option<[u8; 6]>,
    /// Its IPv4 addresses with the length of their prefix (0 to 32), in the kernel's order: the first is the primary.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Whether it is switched on (`IFF_UP`); the cable may be out all the same.
    pub up: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
}

/// Every interface of this network namespace, in the order of their numbers.
///
/// # Errors
/// What getifaddrs(3) reports.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in getifaddrs()? {
        let name = entry.interface_name.split(':').next().unwrap_or_default();
        let interface = if let Some(known) = found.get_mut(name) {
            known
        } else {
            // It may be gone since the list was made: then it is none of the machine's interfaces any more.
            let Ok(index) = if_nametoindex(name) else { continue };
            found.entry(name.to_owned()).or_insert(Interface {
                name: name.to_owned(),
                index,
                mac: None,
                addresses: Vec::new(),
                up: entry.flags.contains(InterfaceFlags::IFF_UP),
                loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            })
        };
        let Some(address) = entry.address else { continue };
        if let Some(link) = address.as_link_addr() {
            if link.hatype() == libc::ARPHRD_ETHER && link.halen() == 6 {
                interface.mac = link.addr();
            }
        } else if let Some(ipv4) = address.as_sockaddr_in() {
            interface.addresses.push((ipv4.ip(), prefix(entry.netmask)));
        }
    }
    let mut all: Vec<Interface> = found.into_values().collect();
    all.sort_by_key(|interface| interface.index);
    Ok(all)
}

/// The length of the prefix that a network mask stands for; without a mask, the host alone.
fn prefix(netmask: Option<SockaddrStorage>) -> u8 {
    let Some(mask) = netmask.filter(|mask| mask.family() == Some(AddressFamily::Inet)) else { return 32 };
    let bits = mask.as_sockaddr_in().map_or(u32::MAX, |mask| u32::from(mask.ip()));
    u8::try_from(bits.leading_ones()).unwrap_or(32)
}

/// Tells that an interface or an IPv4 address came, went or changed: a netlink socket (rtnetlink(7)) to poll.
///
/// What it says is never parsed. Whoever is told looks again with [`interfaces`], so a lost message does no harm.
#[derive(Debug)]
pub struct InterfaceWatch {
    fd: OwnedFd,
}

impl InterfaceWatch {
    /// Starts to watch. Open it before the first look, so that nothing falls in between.
    ///
    /// # Errors
    /// What socket(2) or bind(2) report.
    pub fn open() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )?;
        let groups = (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR).cast_unsigned();
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd })
    }

    /// Reads all that has come and says whether anything had. Never blocks.
    ///
    /// Messages that the kernel had to drop (`ENOBUFS`) count as a change.
    ///
    /// # Errors
    /// What recv(2) reports beside that.
    pub fn changed(&self) -> io::Result<bool> {
        let mut changed = false;
        let mut buffer = [0; 8192];
        loop {
            // A message longer than the buffer loses its end, which nobody reads.
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(_) | Err(Errno::ENOBUFS) => changed = true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(changed),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for InterfaceWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_listed_with_its_address() {
        let all = interfaces().unwrap();
        let loopback = all.iter().find(|interface| interface.loopback).unwrap();
        assert_eq!(loopback.name, "lo");
        assert_eq!(loopback.mac, None);
        assert!(loopback.index > 0);
        if loopback.up {
            assert!(loopback.addresses.contains(&(Ipv4Addr::LOCALHOST, 8)));
        }
    }

    #[test]
    fn watch_is_silent_while_nothing_changes() {
        let watch = InterfaceWatch::open().unwrap();
        // Another test of this machine may change an interface, so this only shows that the call returns.
        watch.changed().unwrap();
    }
}
