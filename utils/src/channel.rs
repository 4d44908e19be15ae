//! Message pairs between a parent and its child.
//!
//! Owns nothing but the descriptor. It knows no message format: whole byte strings go in and come out.
//! Main holds one end for each worker, the worker the other one; the end of one side is what tells the
//! other that it is alone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt::SndBuf,
};

/// The longest message, in bytes. It fits the default send buffer of a Unix socket several times.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// One end of a `SOCK_SEQPACKET` pair, close-on-exec and non-blocking: whole messages of 1 to
/// [`MAX_MESSAGE`] bytes, in order, none lost.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

/// What [`Channel::receive`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A message; so many bytes at the start of the buffer are it.
    Message(usize),
    /// No message is waiting.
    Nothing,
    /// The other end is closed in every process that had it, and all its messages have been read.
    Closed,
}

impl Channel {
    /// Both ends of a new channel.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (left, right) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        for fd in [&left, &right] {
            // A machine may have a small `net.core.wmem_default`; what is granted is bounded by
            // `wmem_max`, so this can only help, and sending reports what does not fit.
            let _ = setsockopt(fd, SndBuf, &(4 * MAX_MESSAGE));
        }
        Ok((Channel { fd: left }, Channel { fd: right }))
    }

    /// Sends one message.
    ///
    /// Errors: `WouldBlock` when the other side has not read enough yet, `BrokenPipe` when it is gone,
    /// `InvalidInput` for an empty message (it would read as the end) or one above [`MAX_MESSAGE`].
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        if message.is_empty() || message.len() > MAX_MESSAGE {
            let reason = format!("a channel message has 1 to {MAX_MESSAGE} bytes, not {}", message.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        loop {
            match send(self.fd.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL) {
                Ok(_whole) => return Ok(()),
                Err(Errno::EINTR) => {}
                // The other side went away with messages of ours unread (unix(7)): gone is gone.
                Err(Errno::ECONNRESET) => return Err(Errno::EPIPE.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the next message into `buffer`, without waiting.
    ///
    /// Errors: `InvalidData` for a message longer than the buffer (it is lost; give
    /// [`MAX_MESSAGE`] bytes to be safe from it), and what recv(2) reports.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
                Ok(0) => return Ok(Received::Closed),
                Ok(length) if length > buffer.len() => {
                    let reason = format!("message of {length} bytes in a buffer of {}", buffer.len());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
                Ok(length) => return Ok(Received::Message(length)),
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                // ECONNRESET: the other side closed with messages of ours unread. The kernel says so once,
                // ahead of the messages that it left us: they are still to be read, then the end.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// For an end that came over an exec(2): it must be one that [`Channel::pair`] made.
impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Self {
        Channel { fd }
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let (left, right) = Channel::pair().unwrap();
        let longest = vec![7_u8; MAX_MESSAGE];
        left.send(b"one").unwrap();
        left.send(&longest).unwrap();
        let mut buffer = vec![0; MAX_MESSAGE];
        assert_eq!(right.receive(&mut buffer).unwrap(), Received::Message(3));
        assert_eq!(&buffer[..3], b"one");
        assert_eq!(right.receive(&mut buffer).unwrap(), Received::Message(MAX_MESSAGE));
        assert_eq!(buffer, longest);
        assert_eq!(right.receive(&mut buffer).unwrap(), Received::Nothing);
    }

    #[test]
    fn last_words_are_read_before_the_end() {
        let (left, right) = Channel::pair().unwrap();
        right.send(b"never read by the other side").unwrap();
        left.send(b"last words").unwrap();
        drop(left);
        let mut buffer = [0; 64];
        assert_eq!(right.receive(&mut buffer).unwrap(), Received::Message(10));
        assert_eq!(right.receive(&mut buffer).unwrap(), Received::Closed);
        assert_eq!(right.receive(&mut buffer).unwrap(), Received::Closed);
        assert_eq!(right.send(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn full_channel_refuses_instead_of_blocking() {
        let (left, right) = Channel::pair().unwrap();
        let message = vec![0; MAX_MESSAGE];
        let error = (0..1000).find_map(|_| left.send(&message).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        right.receive(&mut vec![0; MAX_MESSAGE]).unwrap();
        left.send(b"room again").unwrap();
    }

    #[test]
    fn messages_of_a_wrong_size_are_refused() {
        let (left, right) = Channel::pair().unwrap();
        assert_eq!(left.send(b"").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(left.send(&vec![0; MAX_MESSAGE + 1]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        left.send(b"longer than four").unwrap();
        left.send(b"next").unwrap();
        let mut buffer = [0; 4];
        assert_eq!(right.receive(&mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(right.receive(&mut buffer).unwrap(), Received::Message(4));
    }
}
