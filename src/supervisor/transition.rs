//! From one generation of workers to the next: fork the new one, wait until all of it is ready, let the old
//! one stop reading, let the new one begin, give the verdict. The start is a transition from nothing.
//!
//! ```text
//! Starting ── all ready ──▶ Switching ── all begun ──▶ (over: applied)
//!    └── one fails, or the deadline ──▶ (over: refused; the old generation never noticed)
//! ```
//!
//! While switching, each kind is handed over by itself: as soon as no old worker of a kind reads any more, the
//! new ones of that kind begin. What arrives in between waits in the sockets, which both inherit.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::announce::announce;
use super::birth::Inheritance;
use super::children::State;
use super::settings::InForce;
use super::sockets::{Sockets, Warning};
use super::{LOOK_AGAIN, REMAINS_GONE_WITHIN, Supervisor};
use crate::config::Config;
use crate::workers::{Kind, Order};

/// How long new workers may take to become ready: a large lease file has to be read.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// After `daemon.shutdown_timeout` the new workers no longer wait for an old one, which may be held up by a slow disk:
/// to kill it would lose the batch in its hands, and nothing forbids that both read. After so many times that long it
/// counts as hanging and is killed.
const LINGER: u32 = 5;

/// Why there is a new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The daemon starts.
    Start,
    /// The configuration is read anew.
    Reload,
    /// Another program has taken main's place.
    Upgrade,
    /// An interface came, went or was renumbered.
    Interfaces,
}

/// A transition under way.
#[derive(Debug)]
pub(super) struct Transition {
    pub(super) reason: Reason,
    pub(super) generation: u64,
    in_force: InForce,
    sockets: Sockets,
    kinds: Vec<Kind>,
    deadline: Instant,
    switching: bool,
    /// The api workers that asked for it and wait for the verdict.
    asked_by: Vec<Pid>,
}

/// How a transition ended.
pub(super) type Verdict = Result<String, String>;

impl Transition {
    /// Whether the workers are being exchanged just now.
    pub(super) fn is_switching(&self) -> bool {
        self.switching
    }
}

impl Supervisor {
    /// Forks a new generation of the given kinds. On an error nothing has changed.
    pub(super) fn begin_transition(
        &mut self,
        reason: Reason,
        in_force: InForce,
        asked_by: Vec<Pid>,
    ) -> Result<(), String> {
        let (sockets, warnings) = self.open_sockets(reason, &in_force.config)?;
        for (event, words) in warnings {
            self.warn(event, &words);
        }
        let kinds = match reason {
            Reason::Start | Reason::Reload | Reason::Upgrade => Kind::ALL.to_vec(),
            Reason::Interfaces => vec![Kind::Dhcp, Kind::Api],
        };
        self.last_generation += 1;
        let generation = self.last_generation;
        let inheritance = Inheritance { generation, in_force: &in_force, sockets: &sockets };
        let mut born = Vec::new();
        for kind in &kinds {
            for index in 0..kind.count(&in_force.config) {
                match self.spawn(*kind, index, inheritance) {
                    Ok(child) => self.children.push(child),
                    Err(error) => {
                        self.dismiss(generation);
                        if reason == Reason::Start {
                            sockets.unlink_control();
                        }
                        return Err(format!("could not fork {}: {error}", kind.process_name(index)));
                    }
                }
                born.push(kind.process_name(index));
            }
        }
        log::debug!("generation {generation} forked: {}", born.join(", "));
        let deadline = Instant::now() + READY_WITHIN;
        self.transition = Some(Transition {
            reason,
            generation,
            in_force,
            sockets,
            kinds,
            deadline,
            switching: false,
            asked_by,
        });
        Ok(())
    }

    /// Opens what a configuration names. At a start after a crash the workers of before may hold a port still: they die
    /// with their main, and are waited for.
    fn open_sockets(&self, reason: Reason, config: &Config) -> Result<(Sockets, Vec<Warning>), String> {
        let deadline = Instant::now() + REMAINS_GONE_WITHIN;
        loop {
            match self.sockets.prepare(config) {
                Err(error)
                    if reason == Reason::Start
                        && self.after_crash
                        && error.is_in_use()
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(LOOK_AGAIN);
                }
                prepared => return prepared.map_err(|error| error.to_string()),
            }
        }
    }

    /// Goes as far as it can go now. Called after every event.
    pub(super) fn advance_transition(&mut self) {
        let Some(transition) = &self.transition else { return };
        let (generation, switching, deadline) =
            (transition.generation, transition.switching, transition.deadline);
        if !switching {
            let waiting =
                |child: &&super::Child| child.generation == generation && child.state == State::Starting;
            let late: Vec<String> = self.children.iter().filter(waiting).map(super::Child::name).collect();
            if !late.is_empty() {
                if Instant::now() >= deadline {
                    self.fail_transition(&format!("{} did not become ready", late.join(", ")));
                }
                return;
            }
            self.start_switching();
        }
        self.switch_kinds();
    }

    /// When [`Supervisor::advance_transition`] must be called again at the latest.
    pub(super) fn transition_deadline(&self) -> Option<Instant> {
        self.transition.as_ref().map(|transition| transition.deadline)
    }

    /// Whether this worker belongs to a generation that is not in force yet and cannot come into force
    /// without it.
    pub(super) fn is_awaited(&self, generation: u64) -> bool {
        self.transition.as_ref().is_some_and(|t| !t.switching && t.generation == generation)
    }

    /// Gives up the new generation; the old one goes on as if nothing had been. While workers are being exchanged
    /// only the end of the daemon does this.
    pub(super) fn fail_transition(&mut self, reason: &str) {
        let Some(transition) = self.transition.take() else { return };
        if transition.switching {
            // The old logger may have left already: the new one writes down how the daemon stops.
            let new = |child: &&mut super::Child| {
                child.generation == transition.generation && child.kind == Kind::Logger
            };
            for logger in self.children.iter_mut().filter(new).filter(|child| child.state == State::Ready) {
                logger.tell(&Order::Begin);
            }
        }
        self.dismiss(transition.generation);
        if transition.reason == Reason::Start {
            // These sockets were never main's, so nobody else would clean up behind them.
            transition.sockets.unlink_control();
        }
        self.finish(transition.reason, transition.asked_by, Err(reason.to_owned()));
    }

    fn start_switching(&mut self) {
        let Some(transition) = &mut self.transition else { return };
        transition.switching = true;
        transition.deadline = Instant::now() + self.in_force.config.daemon.shutdown_timeout;
        let (generation, kinds) = (transition.generation, transition.kinds.clone());
        self.restarts.retain(|restart| !kinds.contains(&restart.kind));
        for child in &mut self.children {
            if child.generation < generation && kinds.contains(&child.kind) && !child.is_leaving() {
                // One that never served has nothing to finish.
                let never_served = matches!(child.state, State::Starting | State::Ready);
                child.tell(&if never_served { Order::Stop } else { Order::Quiesce });
            }
        }
    }

    fn switch_kinds(&mut self) {
        let Some(transition) = &self.transition else { return };
        let (generation, late) = (transition.generation, Instant::now() >= transition.deadline);
        let linger = self.in_force.config.daemon.shutdown_timeout * LINGER;
        let mut all_begun = true;
        for kind in transition.kinds.clone() {
            let reads = |child: &&mut super::Child| {
                child.kind == kind
                    && child.generation < generation
                    && child.may_read()
                    && child.kill_at.is_none()
            };
            let mut still_reading = false;
            for child in self.children.iter_mut().filter(reads) {
                still_reading = true;
                if late && child.kill_at.is_none() {
                    child.kill_at = Some(Instant::now() + linger);
                    log::debug!("{} of generation {} is slow to leave", child.name(), child.generation);
                }
            }
            if still_reading && !late {
                all_begun = false;
                continue;
            }
            if let (Kind::Dhcp, Some((carried, _))) = (kind, &self.carried)
                && self.children.iter().any(|child| {
                    child.kind == kind && child.generation == generation && child.state == State::Ready
                })
            {
                // The last offers of workers that share another memory.
                carried.copy_parts();
            }
            for child in &mut self.children {
                if child.kind == kind && child.generation == generation && child.state == State::Ready {
                    child.tell(&Order::Begin);
                }
            }
        }
        if all_begun {
            self.complete_transition();
        }
    }

    /// Kills the old workers that neither read nor leave.
    pub(super) fn kill_hanging(&mut self) {
        let now = Instant::now();
        for child in self.children.iter_mut().filter(|child| child.kill_at.is_some_and(|at| at <= now)) {
            child.kill_at = None;
            child.state = State::Quiet;
            announce!(self.shared, WorkerKilled, pid = child.pid; "{} of generation {} did not stop reading in time",
                child.name(), child.generation);
            super::kill(child.pid);
        }
    }

    fn complete_transition(&mut self) {
        let Some(transition) = self.transition.take() else { return };
        self.generation = transition.generation;
        self.shared.set_generation(transition.generation);
        self.in_force = transition.in_force;
        for name in transition.sockets.interfaces_beyond(&self.sockets) {
            announce!(self.shared, InterfaceUp, interface = name; "{name} is served");
        }
        // Sockets that the new configuration no longer names close here.
        self.sockets = transition.sockets;
        let words = format!("generation {} is in force", transition.generation);
        self.finish(transition.reason, transition.asked_by, Ok(words));
    }

    /// Ends the workers of a generation that will not come into force. A logger that has begun ends with the last
    /// writer.
    fn dismiss(&mut self, generation: u64) {
        for child in self.children.iter_mut().filter(|child| child.generation == generation) {
            if child.kind != Kind::Logger || child.state != State::Serving {
                child.tell(&Order::Stop);
            }
        }
    }
}
