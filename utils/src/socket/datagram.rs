//! UDP sockets: one for each echo address, one for each DHCP interface.
//!
//! Called by main, which needs `CAP_NET_ADMIN` for the receive buffer that outlives a worker's restart; without it
//! the kernel's limit applies. Receiving and sending is in [`super::batch`].

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// What every UDP socket asks of the kernel for what has not been read yet: seconds of traffic, so that a worker can
/// die and be replaced without a lost datagram.
pub const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Opens a UDP socket whose datagrams tell the address that was asked (`IP_PKTINFO`, `IPV6_RECVPKTINFO`) and how many
/// the kernel had to drop (`SO_RXQ_OVFL`). An IPv6 socket serves IPv6 alone.
///
/// # Errors
/// What socket(2) or bind(2) report, for example that the address is in use.
pub fn udp_echo(addr: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    receive_options(&socket)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Opens the DHCP server's socket on one interface: bound to `0.0.0.0:port` there, so that it hears broadcasts.
///
/// The interface is set before bind(2), because the kernel compares devices where it looks for a conflict: one such
/// socket per interface is possible. There is no `SO_REUSEADDR` and no `SO_REUSEPORT`: a second DHCP server
/// on this machine is refused instead of taking half of the packets.
///
/// # Errors
/// What socket(2), setsockopt(2) or bind(2) report: `ENODEV` for an interface that does not exist, `EADDRINUSE` where
/// another server has the port, `EACCES` for a port below 1024 without privilege.
pub fn dhcp_server(interface: &str, port: u16) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_broadcast(true)?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    // Without it only the time in the queue is unknown.
    let _ = setsockopt(&socket, sockopt::ReceiveTimestampns, &true);
    receive_options(&socket)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    Ok(socket.into())
}

/// How many datagrams the kernel has dropped on this socket since it was opened, because nobody read them in time.
/// Wraps at 2³². The figure belongs to the socket, so it goes on over a worker's restart.
///
/// # Errors
/// What getsockopt(2) reports; `SO_MEMINFO` needs Linux 4.12.
pub fn dropped(fd: BorrowedFd<'_>) -> io::Result<u32> {
    memory(fd).map(|memory| memory.dropped)
}

/// What a socket's queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketMemory {
    /// Memory of the datagrams that wait, the kernel's own needs included.
    pub queued_bytes: u32,
    /// Beyond this the kernel drops what arrives.
    pub limit_bytes: u32,
    /// As [`dropped`].
    pub dropped: u32,
}

/// How full a socket's queue is.
///
/// # Errors
/// What getsockopt(2) reports; `SO_MEMINFO` needs Linux 4.12.
pub fn memory(fd: BorrowedFd<'_>) -> io::Result<SocketMemory> {
    /// Places of `SK_MEMINFO_RMEM_ALLOC`, `_RCVBUF` and `_DROPS` in the answer (`linux/sock_diag.h`).
    const QUEUED: usize = 0;
    const LIMIT: usize = 1;
    const DROPS: usize = 8;
    /// `SK_MEMINFO_VARS`, the length of the answer.
    const VARIABLES: usize = 9;
    let mut answer = [0u32; VARIABLES];
    let mut length = libc::socklen_t::try_from(size_of_val(&answer)).unwrap_or_default();
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `answer`; any bytes are valid as u32.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            answer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(SocketMemory { queued_bytes: answer[QUEUED], limit_bytes: answer[LIMIT], dropped: answer[DROPS] })
}

fn receive_options(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    setsockopt(socket, sockopt::RxqOvfl, &1)?;
    // Forcing passes the limit net.core.rmem_max and needs CAP_NET_ADMIN. Otherwise take what the limit allows.
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err()
        && getsockopt(socket, sockopt::RcvBuf)? < RECEIVE_BUFFER_BYTES
    {
        setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn second_dhcp_server_on_the_interface_is_refused() {
        let first = dhcp_server("lo", 0).unwrap();
        let port = UdpSocket::from(first.try_clone().unwrap()).local_addr().unwrap().port();
        assert_eq!(dhcp_server("lo", port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            udp_echo(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(first);
    }

    #[test]
    fn missing_interface_is_an_error() {
        let error = dhcp_server("no-such-if0", 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn datagrams_beyond_the_buffer_are_counted_as_dropped() {
        let socket = UdpSocket::from(udp_echo("127.0.0.1:0".parse().unwrap()).unwrap());
        setsockopt(&socket, sockopt::RcvBuf, &1).unwrap();
        assert_eq!(dropped(socket.as_fd()).unwrap(), 0);
        assert_eq!(memory(socket.as_fd()).unwrap().queued_bytes, 0);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            client.send_to(&[0; 1000], socket.local_addr().unwrap()).unwrap();
        }
        let full = memory(socket.as_fd()).unwrap();
        assert!(full.queued_bytes > 0 && full.limit_bytes > 0, "{full:?}");
        let mut received = 0;
        while socket.recv(&mut [0; 1000]).is_ok() {
            received += 1;
        }
        assert_eq!(dropped(socket.as_fd()).unwrap() + received, 100);
        assert!(received < 100);
    }
}
