//! ICMP echo: whether somebody beyond a router uses an IPv4 address (RFC 792, RFC 2131 §2.2).
//!
//! Main opens one raw socket, which needs `CAP_NET_RAW`; the DHCP workers inherit it. Routing chooses the source address
//! and the interface. An answer is known by a mark and a token that only the asker could know, so any worker may read
//! any answer and nothing is remembered here.
//!
//! ```text
//! type 1 | code 1 | checksum 2 | identifier 2 | sequence 2 | mark 4 | zero 4 | token 8
//! ```

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrIn, recv, sendto};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// Begins the data of our requests, so that the kernel can tell our answers from those of other programs.
const MARK: [u8; 4] = *b"ecdm";
const MESSAGE_BYTES: usize = 24;

/// One question, and what comes back of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Who is asked, or who answers.
    pub address: Ipv4Addr,
    /// Comes back unchanged. To be made of a secret and the address, so that nobody else can answer.
    pub token: u64,
}

/// Opens the socket. It hears answers to requests of this module only; the kernel drops the rest for it.
///
/// # Errors
/// What socket(2) or setsockopt(2) report; `EPERM` without `CAP_NET_RAW`.
pub fn icmp_socket() -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.set_nonblocking(true)?;
    // Everything that came before the filters is no answer of ours either: it fails at the mark.
    ignore_other_types(&socket)?;
    socket.attach_filter(&filter())?;
    Ok(socket.into())
}

/// Asks `echo.address` whether it is there.
///
/// # Errors
/// What sendto(2) reports, for example `ENETUNREACH` without a route.
pub fn send_echo(fd: BorrowedFd<'_>, echo: Echo) -> io::Result<()> {
    let to = SockaddrIn::from(SocketAddrV4::new(echo.address, 0));
    sendto(fd.as_raw_fd(), &message(ECHO_REQUEST, echo.token), &to, MsgFlags::MSG_DONTWAIT)?;
    Ok(())
}

/// The next answer; none when nothing more is queued. Reads at most `patience` packets, so that a flood cannot hold the
/// caller. Whether the token is the one for the address is for the caller to check.
///
/// # Errors
/// What recv(2) reports.
pub fn receive_echo(fd: BorrowedFd<'_>, patience: usize) -> io::Result<Option<Echo>> {
    let mut buffer = [0; 128];
    for _ in 0..patience {
        match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => {
                let echo = parse(buffer.get(..length).unwrap_or_default());
                if echo.is_some() {
                    return Ok(echo);
                }
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn message(kind: u8, token: u64) -> [u8; MESSAGE_BYTES] {
    let token = token.to_be_bytes();
    // The identifier keeps the flows of a connection tracker apart; the token is what counts.
    let [.., high, low] = token;
    let mut message = [0; MESSAGE_BYTES];
    let parts: [&[u8]; 5] = [&[kind, 0, 0, 0, high, low, 0, 1], &MARK, &[0; 4], &token, &[]];
    for (place, byte) in message.iter_mut().zip(parts.iter().copied().flatten()) {
        *place = *byte;
    }
    let [high, low] = checksum(&message).to_be_bytes();
    message[2] = high;
    message[3] = low;
    message
}

/// An answer of ours in an IPv4 packet, its header included.
fn parse(packet: &[u8]) -> Option<Echo> {
    let version_and_length = *packet.first()?;
    let header_bytes = usize::from(version_and_length & 0xf) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let reply = packet.get(header_bytes.max(20)..)?.get(..MESSAGE_BYTES)?;
    let token: [u8; 8] = reply.get(16..24)?.try_into().ok()?;
    let ours = version_and_length >> 4 == 4
        && reply.first() == Some(&ECHO_REPLY)
        && reply.get(8..12) == Some(&MARK)
        && checksum(reply) == 0;
    ours.then(|| Echo { address: Ipv4Addr::from(source), token: u64::from_be_bytes(token) })
}

/// RFC 1071, over an even number of bytes; 0 over a message that holds a correct one.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.as_chunks::<2>().0 {
        sum += u32::from(u16::from_be_bytes(*pair));
    }
    // Two folds leave 16 bits of any sum that these few bytes can reach.
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// Only answers whose data begins with the mark.
fn filter() -> [SockFilter; 5] {
    const HEADER_TO_X: u16 = 0xb1; // BPF_LDX | BPF_B | BPF_MSH: 4 × (header length)
    const LOAD_WORD_AT_X: u16 = 0x40; // BPF_LD | BPF_W | BPF_IND
    const EQUALS: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    [
        SockFilter::new(HEADER_TO_X, 0, 0, 0),
        SockFilter::new(LOAD_WORD_AT_X, 0, 0, 8),
        SockFilter::new(EQUALS, 0, 1, u32::from_be_bytes(MARK)),
        SockFilter::new(RETURN, 0, 0, 128),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// `ICMP_FILTER` (raw(7)): a bit for each type that is not wanted.
fn ignore_other_types(socket: &Socket) -> io::Result<()> {
    const SOL_RAW: libc::c_int = 255;
    const ICMP_FILTER: libc::c_int = 1;
    let unwanted: u32 = !(1 << ECHO_REPLY);
    let length = libc::socklen_t::try_from(size_of_val(&unwanted)).unwrap_or_default();
    // SAFETY: the kernel reads `length` bytes, the size of `unwanted`, which is alive over the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), SOL_RAW, ICMP_FILTER, (&raw const unwanted).cast(), length)
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    /// An answer as the kernel hands it over, behind a header of `words` words.
    fn answer(words: u8, token: u64) -> Vec<u8> {
        let mut packet = vec![0; usize::from(words) * 4];
        packet[0] = 0x40 | words;
        packet[12..16].copy_from_slice(&ADDRESS.octets());
        packet.extend(message(ECHO_REPLY, token));
        packet
    }

    #[test]
    fn answer_gives_back_address_and_token() {
        for words in [5, 6, 15] {
            let echo = parse(&answer(words, 0x0102_0304_0506_0708));
            assert_eq!(echo, Some(Echo { address: ADDRESS, token: 0x0102_0304_0506_0708 }));
        }
    }

    #[test]
    fn what_is_no_answer_of_ours_is_nothing() {
        let good = answer(5, 77);
        for length in 0..good.len() {
            assert_eq!(parse(&good[..length]), None, "{length} bytes");
        }
        // Each byte counts: the version, the mark, the token, all under the checksum.
        for place in (0..1).chain(20..good.len()) {
            let mut bad = good.clone();
            bad[place] ^= 0xf0;
            assert_eq!(parse(&bad), None, "byte {place}");
        }
        let mut request = vec![0x45; 20];
        request.extend(message(ECHO_REQUEST, 77));
        assert_eq!(parse(&request), None);
        let mut short_header = good;
        short_header[0] = 0x40;
        assert_eq!(parse(&short_header).map(|echo| echo.token), Some(77), "no shorter than a header can be");
    }

    #[test]
    fn loopback_answers() {
        let socket = match icmp_socket() {
            Ok(socket) => socket,
            Err(error) => {
                // Without CAP_NET_RAW there is nothing to show.
                assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                return;
            }
        };
        let echo = Echo { address: Ipv4Addr::LOCALHOST, token: 0xfeed_0000_0000_0001 };
        send_echo(socket.as_fd(), echo).unwrap();
        loop {
            let mut watched = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            assert_ne!(poll(&mut watched, PollTimeout::from(10_000_u16)).unwrap(), 0, "no answer");
            // Other tests' answers pass here too.
            if receive_echo(socket.as_fd(), 16).unwrap() == Some(echo) {
                break;
            }
        }
    }
}
