//! `bulk`: one connection, as many bytes as the service sends back.
//!
//! One thread writes and reads without blocking, and waits only where it can do neither: two threads would take both
//! of a small machine's cores from the server. The bytes repeat with a period that no buffer's size divides, so a byte
//! that is lost, doubled or moved shows, and checking is one comparison of memory.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use crate::histogram::per_second;

/// The period of the bytes: a prime.
const PERIOD: usize = 65_521;
/// Most bytes of one write or read.
const CHUNK: usize = 64 * 1024;
/// A service that neither takes nor gives a byte for so long is given up, in milliseconds.
const PATIENCE_MS: u16 = 5_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The echo service
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect: SocketAddr,
    /// How long
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = crate::seconds)]
    seconds: Duration,
}

#[derive(Serialize)]
struct Report {
    mode: &'static str,
    seconds: f64,
    /// Bytes that came back in time.
    bytes: u64,
    bytes_per_second: f64,
    /// Bytes that were sent and never came back: at the end every one is waited for.
    lost: u64,
    /// Whether something else came back.
    wrong: u64,
    first_error: Option<String>,
}

struct Stream {
    socket: TcpStream,
    /// `PERIOD` bytes of the pattern, and the beginning of the next ones.
    pattern: Vec<u8>,
    sent: u64,
    back: u64,
}

/// Runs for the time asked for, and then until all that was sent has come back.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let socket = TcpStream::connect(args.connect)
        .and_then(|socket| socket.set_nodelay(true).and(socket.set_nonblocking(true)).map(|()| socket))
        .with_context(|| format!("could not connect to {}", args.connect))?;
    let mut stream = Stream { socket, pattern: pattern(PERIOD + CHUNK), sent: 0, back: 0 };
    let started = Instant::now();
    let mut outcome = stream.pump(started + args.seconds);
    let (seconds, bytes) = (started.elapsed().as_secs_f64(), stream.back);
    if outcome.is_ok() {
        outcome = stream.drain();
    }
    let wrong = u64::from(matches!(outcome, Err(Failure::Wrong(_))));
    crate::print(&Report {
        mode: "bulk",
        seconds,
        bytes,
        bytes_per_second: per_second(bytes, seconds),
        lost: stream.sent - stream.back,
        wrong,
        first_error: outcome.err().map(|failure| failure.to_string()),
    })
}

#[derive(Debug)]
enum Failure {
    Wrong(u64),
    Closed(u64),
    Stuck,
    Broken(u64, std::io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(at) => write!(f, "the echo differs at byte {at} or within 64 KiB behind it"),
            Self::Closed(at) => write!(f, "the service closed the connection after {at} bytes of the echo"),
            Self::Stuck => write!(f, "no byte moved for {} s", PATIENCE_MS / 1000),
            Self::Broken(at, error) => write!(f, "after {at} bytes of the echo: {error}"),
        }
    }
}

impl Stream {
    fn pump(&mut self, until: Instant) -> Result<(), Failure> {
        let mut buffer = vec![0; CHUNK];
        while Instant::now() < until {
            let moved = self.write()? | self.read(&mut buffer)?;
            if !moved {
                self.wait(PollFlags::POLLIN | PollFlags::POLLOUT)?;
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Failure> {
        let mut buffer = vec![0; CHUNK];
        self.socket.shutdown(Shutdown::Write).map_err(|error| Failure::Broken(self.back, error))?;
        while self.back < self.sent {
            if !self.read(&mut buffer)? {
                self.wait(PollFlags::POLLIN)?;
            }
        }
        Ok(())
    }

    /// Whether anything was written.
    fn write(&mut self) -> Result<bool, Failure> {
        let start = place(self.sent);
        match self.socket.write(&self.pattern[start..start + CHUNK]) {
            Ok(count) => {
                self.sent += count as u64;
                Ok(count > 0)
            }
            Err(error) => self.harmless(error).map(|()| false),
        }
    }

    /// Whether anything was read.
    fn read(&mut self, buffer: &mut [u8]) -> Result<bool, Failure> {
        match self.socket.read(buffer) {
            Ok(0) => Err(Failure::Closed(self.back)),
            Ok(count) => {
                let start = place(self.back);
                if buffer[..count] != self.pattern[start..start + count] {
                    return Err(Failure::Wrong(self.back));
                }
                self.back += count as u64;
                Ok(true)
            }
            Err(error) => self.harmless(error).map(|()| false),
        }
    }

    fn harmless(&self, error: std::io::Error) -> Result<(), Failure> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
            _ => Err(Failure::Broken(self.back, error)),
        }
    }

    fn wait(&self, events: PollFlags) -> Result<(), Failure> {
        match poll(&mut [PollFd::new(self.socket.as_fd(), events)], PollTimeout::from(PATIENCE_MS)) {
            Ok(0) => Err(Failure::Stuck),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(Failure::Broken(self.back, error.into())),
        }
    }
}

/// Where in the pattern byte number `offset` of the stream stands.
fn place(offset: u64) -> usize {
    usize::try_from(offset % PERIOD as u64).unwrap_or_default()
}

/// Bytes without a period shorter than `PERIOD`.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let period: Vec<u8> = (0..PERIOD)
        .map(|_| {
            // xorshift64: any stream without a short period does.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    period.iter().copied().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shift_of_the_pattern_shows() {
        let pattern = pattern(PERIOD + CHUNK);
        assert_eq!(pattern[..CHUNK], pattern[PERIOD..]);
        for shift in [1, 2, 255, 256, 4096, 65_520] {
            assert_ne!(pattern[..4096], pattern[shift..shift + 4096], "{shift}");
        }
    }

    #[test]
    fn bytes_stand_at_their_offset_in_the_period() {
        assert_eq!(place(0), 0);
        assert_eq!(place(PERIOD as u64 - 1), PERIOD - 1);
        assert_eq!(place(PERIOD as u64 * 1_000_000 + 5), 5);
    }
}
