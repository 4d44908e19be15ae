//! `udp-loop`: the ceiling of `udp`. recvmmsg(2), sendmmsg(2), nothing else.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg, sendmmsg, setsockopt, sockopt,
};
use serde::Serialize;

/// Datagrams in one system call, as the echo service's.
const BATCH: usize = 64;
/// As the echo service's default.
const BUFFER_BYTES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// What the socket holds before anybody reads it; without the privilege to force it the kernel's limit applies.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes any
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Bytes of a place; what is longer is cut
    #[arg(long, default_value_t = BUFFER_BYTES)]
    buffer: NonZeroUsize,
}

#[derive(Serialize)]
struct Listening {
    listening: SocketAddr,
}

/// Serves until a signal ends the process; SIGTERM is at its default.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let socket =
        UdpSocket::bind(args.listen).with_context(|| format!("could not listen on {}", args.listen))?;
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
        let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES);
    }
    crate::print(&Listening { listening: socket.local_addr()? })?;
    // Addresses are copied twice for each datagram, so the small kind where it will do.
    match args.listen {
        SocketAddr::V4(_) => serve::<SockaddrIn>(&socket, args.buffer.get()),
        SocketAddr::V6(_) => serve::<SockaddrIn6>(&socket, args.buffer.get()),
    }
}

fn serve<S: SockaddrLike + Copy>(socket: &UdpSocket, place: usize) -> anyhow::Result<()> {
    let mut memory = vec![0; BATCH * place];
    // One for each way: sending leaves pointers to its addresses behind, to which receiving would write.
    let mut headers = MultiHeaders::<S>::preallocate(BATCH, None);
    let mut outgoing = MultiHeaders::<S>::preallocate(BATCH, None);
    let (mut lengths, mut senders) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    loop {
        lengths.clear();
        senders.clear();
        let mut slices: Vec<[IoSliceMut; 1]> =
            memory.chunks_exact_mut(place).map(|place| [IoSliceMut::new(place)]).collect();
        match recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None) {
            Ok(received) => {
                for message in received {
                    lengths.push(message.bytes);
                    senders.push(message.address);
                }
            }
            Err(Errno::EINTR | Errno::ECONNREFUSED) => {}
            Err(error) => bail!("could not receive: {error}"),
        }
        let slices: Vec<[IoSlice; 1]> = memory
            .chunks_exact(place)
            .zip(&lengths)
            .map(|(datagram, &length)| [IoSlice::new(&datagram[..length])])
            .collect();
        // What cannot be sent is lost, as with any datagram; the other side counts.
        if let Err(error) =
            sendmmsg(socket.as_raw_fd(), &mut outgoing, &slices, &senders, [], MsgFlags::empty())
            && error != Errno::EINTR
        {
            bail!("could not send: {error}");
        }
    }
}
