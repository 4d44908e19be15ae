//! RFC 862 over one TCP connection: what comes is sent back, until the peer has no more.
//!
//! One buffer is all the memory there is: nothing more is read before what was read is sent, so a peer that does not
//! read is not read from either, and TCP slows it down.
//!
//! The socket is nonblocking and is tried before it is waited for. While a client sends faster than we echo, each
//! buffer costs one read and one write, as in the barest loop; ppoll(2), which alone can watch the lifeline and
//! the idle time beside the socket, is called only when there is nothing to read or no room to write. A read that did
//! not fill the buffer took all there was, so the next step is to wait. (Blocking reads with `SO_RCVTIMEO` would save
//! that call too, but would see the end of main only at each timeout.)
//!
//! Connections have `TCP_NODELAY`, so that no answer waits for the acknowledgement of the one before. That alone would
//! send each buffer in packets of its own, which halves the throughput; so a buffer that was full, after which more
//! is to be expected, is sent with `MSG_MORE`, and is pushed out as soon as there is nothing more after all.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use daemon_utils::process::brief::{self, Readiness, Woken};
use daemon_utils::socket::unacknowledged;
use nix::errno::Errno;
use nix::libc::{MSG_MORE, MSG_NOSIGNAL};
use socket2::SockRef;

use crate::stats::{Counter, Slot};

/// Buffers that may pass before the lifeline and signals are looked at and the bytes are counted, where no wait does so.
const ROUNDS: u32 = 256;

/// One connection and what its service depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Echo<'a> {
    /// The connection, nonblocking.
    pub(super) stream: BorrowedFd<'a>,
    /// Reads as ended when main is gone.
    pub(super) lifeline: BorrowedFd<'a>,
    /// How long no byte may move; zero: for ever.
    pub(super) idle_timeout: Duration,
    /// Where the bytes are counted.
    pub(super) slot: Slot,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer has sent all it had, and has been sent all of it.
    Closed,
    /// The peer broke the connection off, or the network did.
    Reset,
    /// No byte moved for `idle_timeout`.
    Idle,
    /// Main is gone: nobody would stop us any more.
    MainGone,
}

impl End {
    /// All of them, in their order.
    pub(super) const ALL: [Self; 4] = [Self::Closed, Self::Reset, Self::Idle, Self::MainGone];

    /// As the log says it.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::MainGone => "daemon-gone",
        }
    }
}

impl Echo<'_> {
    /// Serves the connection to its end and returns the bytes that were sent back. The caller closes it.
    #[inline]
    pub(super) fn run(self, buffer: &mut [u8]) -> (u64, End) {
        let mut tally = Tally { slot: self.slot, total: 0, counted: 0 };
        let end = self.pump(buffer, &mut tally);
        tally.count();
        (tally.total, end)
    }

    #[inline]
    fn pump(self, buffer: &mut [u8], tally: &mut Tally) -> End {
        let (mut rounds, mut held) = (0_u32, false);
        loop {
            let read = match brief::receive(self.stream, buffer) {
                // After a half-close too: all that was read has been handed to the kernel, which sends it before the
                // end (FIN) that closing adds.
                Ok(0) => return End::Closed,
                Ok(read) => read,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => 0,
                Err(_) => return End::Reset,
            };
            let full = read == buffer.len();
            if read == 0 && held {
                // Setting the option again sends what was held back (tcp(7)). It cannot fail on a TCP socket.
                let _ = SockRef::from(&self.stream).set_tcp_nodelay(true);
            }
            held = full;
            if let Err(end) = self.send_back(buffer.get(..read).unwrap_or_default(), full, tally) {
                return end;
            }
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(ROUNDS) {
                tally.count();
                if brief::is_readable(self.lifeline) {
                    return End::MainGone;
                }
            }
            if !full && let Err(end) = self.wait(Readiness::Read, tally) {
                return end;
            }
        }
    }

    #[inline]
    fn send_back(self, mut data: &[u8], more: bool, tally: &mut Tally) -> Result<(), End> {
        let flags = if more { MSG_NOSIGNAL | MSG_MORE } else { MSG_NOSIGNAL };
        while !data.is_empty() {
            match brief::send(self.stream, data, flags) {
                Ok(written) => {
                    tally.total += written as u64;
                    data = data.get(written..).unwrap_or_default();
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait(Readiness::Write, tally)?,
                Err(_) => return Err(End::Reset),
            }
        }
        Ok(())
    }

    /// Waits until the socket is worth another attempt.
    fn wait(self, readiness: Readiness, tally: &mut Tally) -> Result<(), End> {
        tally.count();
        let timeout = (!self.idle_timeout.is_zero()).then_some(self.idle_timeout);
        // The kernel reports room for writing late, when a third of its buffer is free. A peer that reads slowly is
        // not idle: its acknowledgements show it. Asked only where it can matter and, on reading, only after a timeout.
        let mut in_flight = match readiness {
            Readiness::Write if timeout.is_some() => unacknowledged(self.stream).ok(),
            Readiness::Read | Readiness::Write => None,
        };
        loop {
            // Nothing but a stop (SIGSTOP) comes between, so the whole time is waited for again: no clock is needed.
            match brief::wait((self.stream, readiness), self.lifeline, timeout) {
                Ok(Woken::Time) => {
                    let now_in_flight = unacknowledged(self.stream).unwrap_or(0);
                    if now_in_flight == 0 || in_flight == Some(now_in_flight) {
                        return Err(End::Idle);
                    }
                    in_flight = Some(now_in_flight);
                }
                Ok(Woken::Nothing) => {}
                Ok(Woken::Second) => return Err(End::MainGone),
                Ok(Woken::First) => return Ok(()),
                // EINVAL or ENOMEM: this process cannot wait, so it cannot serve.
                Err(_) => return Err(End::Reset),
            }
        }
    }
}

/// Bytes sent back, told to the shared memory now and then: an atomic operation for each write would show.
struct Tally {
    slot: Slot,
    total: u64,
    counted: u64,
}

impl Tally {
    #[inline]
    fn count(&mut self) {
        if self.total > self.counted {
            self.slot.add(Counter::EchoBytesTcp, self.total - self.counted);
            self.counted = self.total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Shared;
    use daemon_utils::process::lifeline;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::{AsFd, OwnedFd};
    use std::thread::JoinHandle;

    struct Served {
        client: TcpStream,
        /// The write end of the lifeline.
        main: OwnedFd,
        shared: Shared,
        ended: JoinHandle<(u64, End)>,
    }

    /// A connection served in a thread, as its process would.
    fn serve(idle_timeout: Duration, buffer_size: usize) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let (read, main) = lifeline().unwrap();
        let shared = Shared::create(0).unwrap();
        let ended = std::thread::spawn(move || {
            let slot = shared.slot(3);
            let echo = Echo { stream: stream.as_fd(), lifeline: read.as_fd(), idle_timeout, slot };
            echo.run(&mut vec![0; buffer_size])
        });
        Served { client, main, shared, ended }
    }

    #[test]
    fn all_that_was_sent_before_a_half_close_comes_back() {
        let Served { mut client, main, shared, ended } = serve(Duration::ZERO, 4096);
        let data: Vec<u8> = (0..1_000_003_u32).map(|i| u8::try_from(i % 253).unwrap()).collect();
        let mut writer = client.try_clone().unwrap();
        let sent = data.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        writing.join().unwrap();
        assert!(back == data);
        assert_eq!(ended.join().unwrap(), (1_000_003, End::Closed));
        assert_eq!(shared.counter(Counter::EchoBytesTcp), 1_000_003);
        drop(main);
    }

    #[test]
    fn silent_client_is_idle() {
        let Served { client, main, ended, .. } = serve(Duration::from_millis(20), 16);
        assert_eq!(ended.join().unwrap(), (0, End::Idle));
        drop((client, main));
    }

    #[test]
    fn client_that_never_reads_is_idle_in_the_end_and_costs_no_memory() {
        let Served { mut client, main, ended, .. } = serve(Duration::from_millis(100), 4096);
        // Ends when the service does, since then the kernel resets the connection.
        while client.write_all(&[0; 16_384]).is_ok() {}
        assert_eq!(ended.join().unwrap().1, End::Idle);
        drop(main);
    }

    #[test]
    fn end_of_main_ends_a_waiting_client() {
        let Served { mut client, main, ended, .. } = serve(Duration::ZERO, 16);
        client.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        drop(main);
        assert_eq!(ended.join().unwrap(), (5, End::MainGone));
    }

    #[test]
    fn end_of_main_ends_a_client_that_never_pauses() {
        let Served { client, main, ended, .. } = serve(Duration::ZERO, 16);
        let mut writer = client.try_clone().unwrap();
        let writing = std::thread::spawn(move || while writer.write_all(&[0; 16_384]).is_ok() {});
        let mut reader = client;
        reader.read_exact(&mut vec![0; 1_000_000]).unwrap();
        drop(main);
        while reader.read(&mut [0; 16_384]).is_ok_and(|read| read > 0) {}
        assert_eq!(ended.join().unwrap().1, End::MainGone);
        drop(reader);
        writing.join().unwrap();
    }

    #[test]
    fn reset_is_an_end_like_any_other() {
        let Served { client, main, ended, .. } = serve(Duration::ZERO, 16);
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(ended.join().unwrap(), (0, End::Reset));
        drop(main);
    }
}
