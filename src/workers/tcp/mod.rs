//! The tcp worker: accept → fork → echo (RFC 862), one process for each client.
//!
//! | file | owns |
//! |---|---|
//! | this one | the loop: what it waits for, what it is told |
//! | `accept` | taking connections in, turning them away, pausing where the system has no more to give |
//! | `places` | `max_clients` over all generations |
//! | `children` | the client processes, as their parent sees them |
//! | `client` | one client process |
//! | `echo` | the service itself |
//!
//! Clients are not bound to this process. Where it dies, they go on, and main reaps and counts them.

mod accept;
mod children;
mod client;
mod echo;
mod places;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use daemon_utils::signal::{Signal, Signals};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::accept::Acceptor;
use self::children::Children;
use self::places::Places;
use super::{Context, Heard, Order, Word, hear};

/// How often the worker looks for a free place while clients that another process reaps hold some.
const OTHERS: Duration = Duration::from_millis(250);

/// Serves the connections of `listeners`, which main holds too, until main says otherwise. Clients watch `lifeline`,
/// the read end of the pipe whose only write end is main's.
///
/// Returns after [`Order::Quiesce`] (once the last client has left), [`Order::Stop`], the end of main, or with the
/// reason why the worker cannot go on.
pub fn run(context: &Context, listeners: Vec<OwnedFd>, lifeline: OwnedFd) -> Result<(), String> {
    Worker::new(context, listeners, lifeline)
        .and_then(Worker::serve)
        .map_err(|error| format!("tcp worker: {error}"))
}

/// What the worker has been told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing yet.
    Ready,
    /// Serve.
    Serving,
    /// A newer generation accepts; this one keeps its clients until they leave.
    Quiescing,
    /// The clients have been told to end; those that have not by then are killed.
    Stopping(Option<Instant>),
    /// Main is gone. The clients see that themselves.
    Orphaned,
}

struct Worker<'a> {
    context: &'a Context,
    signals: Signals,
    acceptor: Acceptor<'a>,
    children: Children,
    places: Places,
    phase: Phase,
}

/// What is worth a look after a wait.
struct Woken {
    channel: bool,
    signals: bool,
    /// Numbers of the listeners that have a connection.
    listeners: Vec<usize>,
}

impl<'a> Worker<'a> {
    fn new(context: &'a Context, listeners: Vec<OwnedFd>, lifeline: OwnedFd) -> io::Result<Self> {
        // SIGTERM is read and thrown away, as a worker must; its default is there for the clients, which let it in while they wait.
        let signals = Signals::block(&[Signal::SIGCHLD, Signal::SIGTERM])?;
        let places = Places::new(context.shared, context.slot, context.config.tcp.max_clients);
        let children = Children::new(places, context.slot);
        let acceptor = Acceptor::new(context, listeners, lifeline, places);
        context.say(&Word::Ready);
        Ok(Self { context, signals, acceptor, children, places, phase: Phase::Ready })
    }

    fn serve(mut self) -> io::Result<()> {
        while !self.finished() {
            let woken = self.wait()?;
            if woken.channel {
                self.obey()?;
            }
            if woken.signals {
                // One read: what is left makes the next wait return at once.
                self.signals.next()?;
                self.children.reap()?;
            }
            if self.phase == Phase::Serving {
                for number in woken.listeners {
                    self.acceptor.accept(number, &mut self.children);
                }
            }
            self.kill_stragglers();
        }
        Ok(())
    }

    fn finished(&self) -> bool {
        match self.phase {
            Phase::Ready | Phase::Serving => false,
            Phase::Quiescing | Phase::Stopping(_) => self.children.is_empty(),
            Phase::Orphaned => true,
        }
    }

    fn wait(&self) -> io::Result<Woken> {
        let now = Instant::now();
        let listeners = match self.phase {
            Phase::Serving => self.acceptor.willing(now),
            Phase::Ready | Phase::Quiescing | Phase::Stopping(_) | Phase::Orphaned => &[],
        };
        let mut fds = Vec::with_capacity(listeners.len() + 2);
        fds.push(PollFd::new(self.context.channel.as_fd(), PollFlags::POLLIN));
        fds.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        fds.extend(listeners.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
        let timeout = self.patience(now).map_or(PollTimeout::NONE, |wait| {
            PollTimeout::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut woken = fds.iter().map(|fd| fd.any() == Some(true));
        let (channel, signals) = (woken.next().unwrap_or(false), woken.next().unwrap_or(false));
        let listeners = woken.enumerate().filter(|(_, woken)| *woken).map(|(number, _)| number).collect();
        Ok(Woken { channel, signals, listeners })
    }

    /// How long to wait at most; none where only an event matters.
    fn patience(&self, now: Instant) -> Option<Duration> {
        let pause = match self.phase {
            Phase::Serving => self.acceptor.pause(now),
            Phase::Stopping(Some(kill_at)) => Some(kill_at.saturating_duration_since(now)),
            Phase::Ready | Phase::Quiescing | Phase::Stopping(None) | Phase::Orphaned => None,
        };
        let others = self.phase == Phase::Serving && !self.places.room() && self.places.has_others();
        pause.into_iter().chain(others.then_some(OTHERS)).min()
    }

    fn obey(&mut self) -> io::Result<()> {
        loop {
            match hear(&self.context.channel)? {
                Heard::Order(Order::Begin) => {
                    if self.phase == Phase::Ready {
                        self.phase = Phase::Serving;
                    }
                }
                Heard::Order(Order::Quiesce) => {
                    self.acceptor.close();
                    self.phase = Phase::Quiescing;
                    self.context.say(&Word::Quiet);
                }
                Heard::Order(Order::Stop) => {
                    self.acceptor.close();
                    self.children.signal(Signal::SIGTERM);
                    // The other half of the time is main's, which waits for this process.
                    let patience = self.context.config.daemon.shutdown_timeout / 2;
                    self.phase = Phase::Stopping(Instant::now().checked_add(patience));
                }
                Heard::Order(Order::Reopen | Order::Verdict(..)) => {}
                Heard::Nothing => return Ok(()),
                Heard::MainGone => {
                    self.phase = Phase::Orphaned;
                    return Ok(());
                }
            }
        }
    }

    /// Kills the clients that have not ended when told to (a stopped process cannot).
    fn kill_stragglers(&mut self) {
        if let Phase::Stopping(Some(kill_at)) = self.phase
            && Instant::now() >= kill_at
        {
            self.children.signal(Signal::SIGKILL);
            self.phase = Phase::Stopping(None);
        }
    }
}
