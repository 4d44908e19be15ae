//! The table of living worker processes and what is known of each. Only bookkeeping; nothing here forks.

use std::time::{Duration, Instant};

use daemon_utils::channel::{Channel, Received};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::stats::Slot;
use crate::workers::{Kind, MAX_TEXT, Order, Word};

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Forked, has not said that it is ready.
    Starting,
    /// Could serve, has not been told to.
    Ready,
    /// Serves.
    Serving,
    /// Was told that a newer generation takes over.
    Quiescing,
    /// No longer reads; leaves when it is done.
    Quiet,
    /// Was told to stop.
    Stopping,
}

/// One living worker.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) kind: Kind,
    pub(super) index: u16,
    pub(super) generation: u64,
    pub(super) slot_index: usize,
    pub(super) slot: Slot,
    pub(super) channel: Channel,
    pub(super) state: State,
    pub(super) since: Instant,
    /// What it said of its failure, if it did.
    pub(super) complaint: Option<String>,
    /// It has closed its channel: it is about to be reaped.
    pub(super) deaf: bool,
    /// When it is killed, since it should have stopped reading long ago.
    pub(super) kill_at: Option<Instant>,
}

impl Child {
    pub(super) fn name(&self) -> String {
        self.kind.process_name(self.index)
    }

    /// Gives an order. A worker that cannot take it is about to be reaped.
    pub(super) fn tell(&mut self, order: &Order) {
        match order {
            Order::Begin => self.state = State::Serving,
            Order::Quiesce => self.state = State::Quiescing,
            Order::Stop => self.state = State::Stopping,
            Order::Reopen | Order::Verdict(..) => (),
        }
        if let Err(error) = self.channel.send(&order.encode()) {
            log::debug!("could not tell {} {order:?}: {error}", self.name());
        }
    }

    /// The next word it said, if any; what is no word is passed over.
    pub(super) fn hear(&mut self) -> Option<Word> {
        let mut buffer = vec![0; MAX_TEXT + 1];
        loop {
            match self.channel.receive(&mut buffer) {
                Ok(Received::Message(length)) => {
                    if let Some(word) = buffer.get(..length).and_then(Word::decode) {
                        return Some(word);
                    }
                }
                Ok(Received::Nothing) => return None,
                Ok(Received::Closed) | Err(_) => {
                    self.deaf = true;
                    return None;
                }
            }
        }
    }

    /// Whether it is on its way out, so that its end is no surprise.
    pub(super) fn is_leaving(&self) -> bool {
        match self.state {
            State::Quiescing | State::Quiet | State::Stopping => true,
            State::Starting | State::Ready | State::Serving => false,
        }
    }

    /// Whether it may still read from its sockets.
    pub(super) fn may_read(&self) -> bool {
        match self.state {
            State::Serving | State::Quiescing | State::Stopping => true,
            State::Starting | State::Ready | State::Quiet => false,
        }
    }
}

/// A worker that died and when it is forked again.
#[derive(Debug)]
pub(super) struct Restart {
    pub(super) kind: Kind,
    pub(super) index: u16,
    pub(super) at: Instant,
}

/// How long a worker must have lived for its death to count as the first.
const HEALTHY: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Deaths in a row of each worker, for the back-off.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    deaths: Vec<((Kind, u16), u32)>,
}

impl BackOff {
    /// The pause before a worker that lived for `lived` is forked again: none at first, then 20 ms doubling
    /// to 30 s.
    pub(super) fn pause(&mut self, kind: Kind, index: u16, lived: Duration) -> Duration {
        let place = self.deaths.iter().position(|(who, _)| *who == (kind, index));
        let place = place.unwrap_or_else(|| {
            self.deaths.push(((kind, index), 0));
            self.deaths.len() - 1
        });
        let deaths = &mut self.deaths[place].1;
        *deaths = if lived >= HEALTHY { 1 } else { deaths.saturating_add(1) };
        match *deaths {
            0 | 1 => Duration::ZERO,
            more => FIRST_PAUSE.saturating_mul(1 << (more - 2).min(20)).min(LONGEST_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_a_worker_stays_alive() {
        let mut back_off = BackOff::default();
        let mut pause = |lived| back_off.pause(Kind::Udp, 0, Duration::from_secs(lived)).as_millis();
        assert_eq!([pause(0), pause(0), pause(0), pause(0)], [0, 20, 40, 80]);
        assert_eq!(pause(11), 0);
        assert_eq!(pause(0), 20);
        for _ in 0..40 {
            pause(0);
        }
        assert_eq!(pause(0), 30_000);
    }

    #[test]
    fn workers_of_one_kind_are_counted_apart() {
        let mut back_off = BackOff::default();
        back_off.pause(Kind::Dhcp, 0, Duration::ZERO);
        assert_eq!(back_off.pause(Kind::Dhcp, 1, Duration::ZERO), Duration::ZERO);
    }
}
