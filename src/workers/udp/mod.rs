//! The udp worker: RFC 862 over UDP, in batches.
//!
//! | file | owns |
//! |---|---|
//! | this one | the loop: what it waits for, what it is told |
//! | `socket` | one socket and one round of echoing on it |
//! | `sources`, `brake` | which datagrams must not be echoed · which only at a limited rate |
//!
//! A worker that dies leaves its sockets and what waits in them to the next one.

mod brake;
mod socket;
mod sources;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use daemon_utils::socket::DatagramBatch;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::socket::Socket;
use super::{Context, Heard, Order, Word, hear};
use crate::stats::Counter;

/// Datagrams in one system call.
const BATCH: usize = 64;
/// Batches taken from one socket before the others and the orders get their turn.
const ROUNDS: usize = 32;
/// No datagram is longer (RFC 768: its length has 16 bits), so all are echoed whole.
const LONGEST: usize = 65_535;

/// Serves until main says otherwise: returns after [`Order::Quiesce`], [`Order::Stop`] or the end of main, or with the
/// reason why the worker cannot go on. What was received has been answered by then.
pub fn run(context: &Context, sockets: Vec<OwnedFd>) -> Result<(), String> {
    Worker::new(context, sockets)
        .and_then(|mut worker| worker.serve())
        .map_err(|error| format!("udp worker: {error}"))
}

struct Worker<'a> {
    context: &'a Context,
    sockets: Vec<Socket>,
    batch: DatagramBatch,
    phase: Phase,
}

/// What the worker has been told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Ready,
    Serving,
    Over,
}

/// What is worth a look after a wait.
struct Woken {
    channel: bool,
    /// Numbers of the sockets that have something.
    sockets: Vec<usize>,
}

impl<'a> Worker<'a> {
    fn new(context: &'a Context, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let sockets = sockets.into_iter().map(Socket::new).collect::<io::Result<Vec<_>>>()?;
        let batch = DatagramBatch::new(BATCH, context.config.udp.buffer_size.min(LONGEST), LONGEST);
        context.say(&Word::Ready);
        Ok(Self { context, sockets, batch, phase: Phase::Ready })
    }

    fn serve(&mut self) -> io::Result<()> {
        while self.phase != Phase::Over {
            let woken = self.wait()?;
            if woken.channel {
                self.obey()?;
            }
            if self.phase == Phase::Serving {
                for number in woken.sockets {
                    self.echo(number);
                }
            }
        }
        Ok(())
    }

    fn echo(&mut self, number: usize) {
        let Some(socket) = self.sockets.get_mut(number) else { return };
        for _ in 0..ROUNDS {
            // Fewer than a batch holds: the socket was empty a moment ago, so waiting is next.
            if socket.echo(&mut self.batch, self.context.slot) < BATCH {
                return;
            }
        }
    }

    fn wait(&self) -> io::Result<Woken> {
        let now = Instant::now();
        let mut numbers = Vec::with_capacity(self.sockets.len());
        let mut fds = Vec::with_capacity(self.sockets.len() + 1);
        let mut pause = None;
        fds.push(PollFd::new(self.context.channel.as_fd(), PollFlags::POLLIN));
        for (number, socket) in self.sockets.iter().enumerate().filter(|_| self.phase == Phase::Serving) {
            // A socket that failed rests: it would be reported again at once.
            if let Some(left) = socket.pause(now) {
                pause = pause.into_iter().chain([left]).min();
            } else {
                fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
                numbers.push(number);
            }
        }
        let timeout = pause.map_or(PollTimeout::NONE, |pause| {
            PollTimeout::try_from(pause.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut woken = fds.iter().map(|fd| fd.any() == Some(true));
        let channel = woken.next().unwrap_or(false);
        Ok(Woken {
            channel,
            sockets: numbers.into_iter().zip(woken).filter(|each| each.1).map(|each| each.0).collect(),
        })
    }

    fn obey(&mut self) -> io::Result<()> {
        loop {
            match hear(&self.context.channel)? {
                Heard::Order(Order::Begin) => {
                    self.count_missed_drops();
                    self.phase = Phase::Serving;
                }
                // Between two batches nothing is owed to anybody.
                Heard::Order(Order::Quiesce) => {
                    self.context.say(&Word::Quiet);
                    self.phase = Phase::Over;
                    return Ok(());
                }
                Heard::Order(Order::Stop) | Heard::MainGone => {
                    self.phase = Phase::Over;
                    return Ok(());
                }
                Heard::Order(Order::Reopen | Order::Verdict(..)) => {}
                Heard::Nothing => return Ok(()),
            }
        }
    }

    /// Counts what the sockets dropped while no worker read them. Sockets count from their opening and the counter
    /// from the daemon's start, so the sockets' sum is never too high; where a reload replaced one it is too low, and
    /// then nothing is counted here.
    fn count_missed_drops(&self) {
        let dropped: u64 = self.sockets.iter().map(Socket::drops).sum();
        let counted = self.context.shared.counter(Counter::SocketDroppedUdp);
        self.context.slot.add(Counter::SocketDroppedUdp, dropped.saturating_sub(counted));
    }
}
