//! The two listening sockets: accept a connection and tell whose it is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use axum::serve::Listener;
use daemon_utils::socket::peer_groups;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::api::Peer;

/// The Unix socket.
pub(super) struct Control(UnixListener);

/// The TCP socket.
pub(super) struct Tcp(TcpListener);

impl Control {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        UnixListener::from_std(fd.into()).map(Self)
    }
}

impl Tcp {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        TcpListener::from_std(fd.into()).map(Self)
    }
}

impl Listener for Control {
    type Io = UnixStream;
    type Addr = Peer;

    async fn accept(&mut self) -> (UnixStream, Peer) {
        loop {
            let (stream, _) = Listener::accept(&mut self.0).await;
            match control_peer(&stream) {
                Ok(peer) => return (stream, peer),
                // It is not served: nobody knows whose it is.
                Err(error) => log::debug!("a connection whose peer cannot be told was closed: {error}"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        let uid = nix::unistd::geteuid().as_raw();
        Ok(Peer::Control { uid, pid: i32::try_from(std::process::id()).ok(), groups: Vec::new() })
    }
}

/// Who connected: as the kernel noted it at that time (unix(7)), whoever holds the descriptor now.
fn control_peer(stream: &UnixStream) -> io::Result<Peer> {
    let credentials = stream.peer_cred()?;
    let mut groups = peer_groups(stream.as_fd())?;
    groups.push(credentials.gid());
    Ok(Peer::Control { uid: credentials.uid(), pid: credentials.pid().filter(|pid| *pid != 0), groups })
}

impl Listener for Tcp {
    type Io = TcpStream;
    type Addr = Peer;

    async fn accept(&mut self) -> (TcpStream, Peer) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (stream, Peer::Tcp(address))
    }

    fn local_addr(&self) -> io::Result<Peer> {
        self.0.local_addr().map(Peer::Tcp)
    }
}
