//! Listening sockets: TCP for the echo service and the API, Unix for the control socket.
//!
//! Called by main at start and on reload. Accepting is the workers' business.

use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Opens a listening TCP socket.
///
/// `backlog` is how many connections wait in the kernel before they are accepted; the kernel caps it at
/// `net.core.somaxconn`.
///
/// `SO_REUSEADDR` lets a restart bind while old connections are in `TIME_WAIT` (socket(7)); a second listener is
/// still refused. An IPv6 socket serves IPv6 alone, so that `0.0.0.0` and `::` can stand beside each other.
///
/// Accepted connections inherit two options, which saves a call for each: `TCP_NODELAY`, since an answer must not wait for
/// the acknowledgement of the one before, and `SO_KEEPALIVE`, so that a peer that vanished does not hold its place for ever.
///
/// # Errors
/// What socket(2), bind(2) or listen(2) report, for example that the address is in use.
pub fn tcp_listener(addr: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Opens a listening Unix stream socket at `path` with exactly the permissions `mode` (for example `0o660`).
///
/// The path must not exist: the caller removes what a dead daemon left behind. At no moment do more users than
/// `mode` allows have access.
///
/// # Errors
/// What bind(2) or chmod(2) report; where the mode cannot be set, the path is removed again.
pub fn unix_listener(path: impl AsRef<Path>, mode: u32) -> io::Result<OwnedFd> {
    const BACKLOG: i32 = 128;
    let path = path.as_ref();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // bind(2) gives the path the descriptor's mode less the umask (unix(7) speaks of the umask alone): narrow before
    // the path exists, then add what the umask took away.
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    socket.bind(&SockAddr::unix(path)?)?;
    let opened = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .and_then(|()| socket.listen(BACKLOG));
    if let Err(error) = opened {
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(socket.into())
}

/// Bytes that a TCP socket has been given and its peer has not acknowledged yet (`SIOCOUTQ`, tcp(7)).
///
/// # Errors
/// What ioctl(2) reports, for example for a listening socket.
pub fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: for this request the kernel writes one int, to `bytes`. TIOCOUTQ is SIOCOUTQ's other name.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or_default())
}

/// All groups of the process that connected a Unix socket, or bound it (`SO_PEERGROUPS`, unix(7); Linux 4.13). The first
/// one may be missing there: it comes with the peer's credentials.
///
/// # Errors
/// What getsockopt(2) reports, for example for a socket of another family.
pub fn peer_groups(fd: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // Most processes have few; the kernel says how many there are where they do not fit.
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let room = groups.len() * size_of::<libc::gid_t>();
        let mut length = libc::socklen_t::try_from(room).map_err(io::Error::other)?;
        // SAFETY: the kernel writes at most `length` bytes, which is what `groups` holds, and the length that it has or
        // needs to `length`. Every bit pattern is a gid.
        let result = unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = usize::try_from(length).map_err(io::Error::other)? / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn local(fd: OwnedFd) -> SocketAddr {
        TcpListener::from(fd).local_addr().unwrap()
    }

    #[test]
    fn both_families_share_a_port() {
        let first = tcp_listener("0.0.0.0:0".parse().unwrap(), 8).unwrap();
        let port = local(first.try_clone().unwrap()).port();
        let Ok(second) = tcp_listener(format!("[::]:{port}").parse().unwrap(), 8) else {
            // A machine without IPv6 cannot show this.
            assert!(tcp_listener("[::]:0".parse().unwrap(), 8).is_err());
            return;
        };
        assert_eq!(local(second).port(), port);
        drop(first);
    }

    #[test]
    fn accepted_connections_inherit_the_options_and_tell_what_is_in_flight() {
        use std::io::Write;
        use std::os::fd::AsFd;
        let listener = TcpListener::from(tcp_listener("127.0.0.1:0".parse().unwrap(), 8).unwrap());
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        assert!(socket2::SockRef::from(&served).keepalive().unwrap());
        assert!(served.nodelay().unwrap());
        assert_eq!(unacknowledged(served.as_fd()).unwrap(), 0);
        served.set_nonblocking(true).unwrap();
        while served.write(&vec![0; 65_536]).is_ok() {}
        assert!(unacknowledged(served.as_fd()).unwrap() > 0);
        drop(client);
    }

    #[test]
    fn second_tcp_listener_is_refused() {
        let first = tcp_listener("127.0.0.1:0".parse().unwrap(), 8).unwrap();
        let address = local(first.try_clone().unwrap());
        let error = tcp_listener(address, 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
    }

    #[test]
    fn accept_on_an_idle_listener_does_not_block() {
        let listener = TcpListener::from(tcp_listener("127.0.0.1:0".parse().unwrap(), 8).unwrap());
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn unix_listener_has_exactly_the_mode_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = unix_listener(&path, 0o660).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o660);
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(listener);
        assert_eq!(unix_listener(&path, 0o660).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn groups_of_a_peer_are_those_of_its_process() {
        use std::os::fd::AsFd;
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut groups = peer_groups(one.as_fd()).unwrap();
        let mut own: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        groups.sort_unstable();
        own.sort_unstable();
        assert_eq!(groups, own);
        let listener = tcp_listener("127.0.0.1:0".parse().unwrap(), 8).unwrap();
        assert!(peer_groups(listener.as_fd()).is_err());
    }
}
