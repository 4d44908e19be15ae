//! Main's loop: wait for a signal, a worker's word, a change of the interfaces or a deadline; act; again.
//! Everything that happens to the running daemon enters here.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use daemon_utils::clock;
use daemon_utils::process::{self, Exit};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::announce::announce;
use super::birth::Inheritance;
use super::children::{Child, Restart, State};
use super::reload::Wish;
use super::transition::{Reason, Verdict};
use super::upgrade::Attempt;
use super::watcher::Watcher;
use super::{Phase, Supervisor};
use crate::dhcp::quarantine::Quarantine;
use crate::event;
use crate::stats::Gauge;
use crate::workers::regions::Region;
use crate::workers::{Kind, Order, Word};

/// Interfaces often change several times in a row; they are looked at when they have been quiet for so long.
const INTERFACES_SETTLE: Duration = Duration::from_millis(200);
/// Where a reload of the interfaces failed, it is tried again after this time.
const INTERFACES_RETRY: Duration = Duration::from_secs(5);
/// Words of one worker that are heard before the others have their turn.
const WORDS_A_TURN: usize = 16;
/// How often it is looked at what workers of a version with another shared memory have counted.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// Longest sleep, so that nothing depends on an event alone.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

impl Supervisor {
    /// Runs until the daemon has stopped; the exit code.
    pub(super) fn run(&mut self) -> io::Result<i32> {
        loop {
            self.advance_transition();
            self.kill_hanging();
            self.start_pending();
            self.advance_stop();
            if let Phase::Over(code) = self.phase {
                return Ok(code);
            }
            self.sleep()?;
            while let Some(signal) = self.signals.next()? {
                self.on_signal(signal);
            }
            self.reap()?;
            self.listen_to_children();
            self.look_at_attempt();
            self.follow_old_workers();
            self.look_at_interfaces();
            self.look_at_file();
        }
    }

    fn sleep(&self) -> io::Result<()> {
        let now = Instant::now();
        // What cannot be acted on now must not wake us.
        let interfaces = self.interfaces_due.filter(|_| !self.is_changing() && !self.is_stopping());
        let file = self.watcher.as_ref().and_then(Watcher::deadline).filter(|_| !self.is_changing());
        // One that was refused at once leaves the next one waiting.
        let wish = (!self.is_changing() && !self.wishes.is_empty()).then_some(now);
        let attempt = self.attempt.as_ref().map(Attempt::deadline);
        let follow = self.carried.is_some().then(|| now + FOLLOW_EVERY);
        let deadlines =
            [self.transition_deadline(), self.stop_deadline(), interfaces, file, wish, attempt, follow];
        let restarts = self.restarts.iter().map(|restart| restart.at).filter(|_| !self.is_switching());
        let kills = self.children.iter().filter_map(|child| child.kill_at);
        let next = deadlines.into_iter().flatten().chain(restarts).chain(kills).min();
        let most = next.map_or(LONGEST_SLEEP, |next| next.saturating_duration_since(now).min(LONGEST_SLEEP));
        // Rounded up: waking before the deadline would only mean another turn.
        let millis = most.as_millis() + u128::from(most.subsec_nanos() % 1_000_000 != 0);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut watched = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        // A channel whose worker is gone reports an end for ever; the reaping deals with it.
        let channels = self.children.iter().filter(|child| !child.deaf);
        watched.extend(channels.map(|child| PollFd::new(child.channel.as_fd(), PollFlags::POLLIN)));
        watched.extend(self.watch.iter().map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)));
        watched.extend(self.watcher.iter().map(|watcher| PollFd::new(watcher.as_fd(), PollFlags::POLLIN)));
        let attempt = self.attempt.iter().filter(|attempt| !attempt.is_deaf());
        watched.extend(attempt.map(|attempt| PollFd::new(attempt.descriptor(), PollFlags::POLLIN)));
        match poll(&mut watched, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGTERM | Signal::SIGINT => self.begin_stop(&format!("{signal} received")),
            Signal::SIGHUP => self.ask(Wish::Reload(Vec::new())),
            Signal::SIGUSR1 => self.reopen_logs(),
            Signal::SIGUSR2 => self.ask(Wish::Upgrade(Vec::new())),
            _ => (),
        }
    }

    fn reopen_logs(&mut self) {
        for child in self.children.iter_mut().filter(|child| child.kind == Kind::Logger) {
            child.tell(&Order::Reopen);
        }
        event!(LogReopened; "log files are opened anew");
    }

    // --- workers ---------------------------------------------------------------------------------------

    pub(super) fn reap(&mut self) -> io::Result<()> {
        while let Some((pid, exit)) = process::reap()? {
            match self.children.iter().position(|child| child.pid == pid) {
                Some(place) => {
                    let child = self.children.swap_remove(place);
                    self.on_death(child, exit);
                }
                None if self.attempt.as_ref().is_some_and(|attempt| attempt.pid == pid) => {
                    self.conclude_attempt(exit);
                }
                None if self.strangers.contains(&pid) => self.strangers.retain(|stranger| *stranger != pid),
                // A TCP client whose worker died before it: main is a subreaper.
                None => log::debug!("process {pid} of a dead worker has ended: {exit}"),
            }
        }
        self.count_orphans();
        Ok(())
    }

    /// TCP clients whose worker died still count, exactly.
    fn count_orphans(&mut self) {
        if self.has_orphans {
            let orphans = self.orphans().len();
            self.has_orphans = orphans > 0;
            self.shared.slot(0).set(Gauge::TcpClients, orphans as u64);
        }
    }

    /// Children that are no workers: TCP clients whose worker died.
    pub(super) fn orphans(&self) -> Vec<Pid> {
        let known = |pid: &Pid| {
            self.strangers.contains(pid)
                || self.children.iter().any(|child| child.pid == *pid)
                || self.attempt.as_ref().is_some_and(|attempt| attempt.pid == *pid)
        };
        process::children().into_iter().filter(|pid| !known(pid)).collect()
    }

    fn on_death(&mut self, mut child: Child, exit: Exit) {
        // Its last words may still be in the channel.
        while let Some(word) = child.hear() {
            if let Word::Failed(reason) = word {
                child.complaint = Some(reason);
            }
        }
        self.follow_old_workers();
        self.quarantine(&child, exit);
        child.slot.vacate();
        self.has_orphans |= child.kind == Kind::Tcp;
        let (name, generation) = (child.name(), child.generation);
        let why = child.complaint.clone().unwrap_or_else(|| exit.to_string());
        if child.is_leaving() || self.is_stopping() {
            announce!(self.shared, WorkerStopped, pid = child.pid; "{name} of generation {generation} has ended ({exit})");
        } else if self.is_awaited(generation) {
            self.fail_transition(&format!("{name} could not start: {why}"));
        } else {
            self.shared.slot(0).count(child.kind.restarts());
            let pause = self.back_off.pause(child.kind, child.index, child.since.elapsed());
            self.restarts.push(Restart { kind: child.kind, index: child.index, at: Instant::now() + pause });
            announce!(self.shared, WorkerDied, pid = child.pid; "{name} has died: {why}; forked again in {} ms", pause.as_millis());
        }
    }

    /// A DHCP worker that died of a fault had one packet in hand: the next one does not handle it. SIGKILL and SIGTERM are
    /// somebody's wish, SIGBUS comes from a disk that does not give back what was mapped: no packet's doing.
    fn quarantine(&self, child: &Child, exit: Exit) {
        if child.kind != Kind::Dhcp {
            return;
        }
        let innocent = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGBUS].map(|signal| signal as i32);
        let blame = matches!(exit, Exit::Signal(signal) if !innocent.contains(&signal));
        let quarantine = Quarantine::new(Region::Quarantine.of(self.shared));
        if let Some(packet) = quarantine.bury(child.pid.as_raw(), blame, clock::boot_time()) {
            let hex = packet.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            announce!(self.shared, DhcpPacketQuarantined, pid = child.pid;
                "{} died with this packet in hand, and none like it is handled for ten minutes: {hex}", child.name());
        }
    }

    /// Whether the workers are being exchanged just now.
    fn is_switching(&self) -> bool {
        self.transition.as_ref().is_some_and(super::Transition::is_switching)
    }

    /// Whether something is under way that another wish has to wait for.
    fn is_changing(&self) -> bool {
        self.transition.is_some() || self.attempt.is_some()
    }

    /// Forks what died, when its time has come, and reads the configuration anew where that waits.
    fn start_pending(&mut self) {
        if self.is_stopping() {
            return;
        }
        if !self.is_switching() {
            self.restart_dead();
        }
        if !self.is_changing() {
            if let Some(wish) = self.wishes.take() {
                self.grant(wish);
            } else if self.interfaces_due.is_some_and(|due| due <= Instant::now()) {
                self.interfaces_due = None;
                self.serve_changed_interfaces();
            }
        }
    }

    fn restart_dead(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.restarts).into_iter().partition(|r| r.at <= now);
        self.restarts = later;
        let due: Vec<Restart> = due;
        for Restart { kind, index, .. } in due {
            if index >= kind.count(&self.in_force.config) {
                continue;
            }
            let (generation, sockets) = (self.generation, &self.sockets);
            let inheritance = Inheritance { generation, in_force: &self.in_force, sockets };
            match self.spawn(kind, index, inheritance) {
                Ok(child) => self.children.push(child),
                Err(error) => {
                    let pause = self.back_off.pause(kind, index, Duration::ZERO);
                    self.restarts.push(Restart { kind, index, at: now + pause.max(INTERFACES_SETTLE) });
                    announce!(self.shared, WorkerFailed; "could not fork {}: {error}", kind.process_name(index));
                }
            }
        }
    }

    fn listen_to_children(&mut self) {
        for place in 0..self.children.len() {
            // A worker that was taken over and never stops speaking must not keep main from the others.
            for _ in 0..WORDS_A_TURN {
                let Some(word) = self.children[place].hear() else { break };
                self.on_word(place, word);
            }
        }
    }

    fn on_word(&mut self, place: usize, word: Word) {
        // Only a generation that is not in force yet waits for the others of its own. After a change of interfaces the
        // kinds that it did not concern are of an older generation, and serve all the same.
        let pending = self.transition.as_ref().map(|transition| transition.generation);
        let stopping = self.is_stopping();
        let child = &mut self.children[place];
        match word {
            Word::Ready if child.state == State::Starting => {
                child.state = State::Ready;
                announce!(self.shared, WorkerStarted, pid = child.pid; "{} of generation {} is ready", child.name(), child.generation);
                if Some(child.generation) != pending && !stopping {
                    child.tell(&Order::Begin);
                }
            }
            Word::Quiet if child.state == State::Quiescing => {
                child.state = State::Quiet;
                child.kill_at = None;
            }
            Word::Failed(reason) => child.complaint = Some(reason),
            Word::Reload if child.kind == Kind::Api => {
                let pid = child.pid;
                self.ask(Wish::Reload(vec![pid]));
            }
            Word::Upgrade if child.kind == Kind::Api => {
                let pid = child.pid;
                self.ask(Wish::Upgrade(vec![pid]));
            }
            Word::Patch(patch) if child.kind == Kind::Api => {
                let pid = child.pid;
                self.ask(Wish::Patch(pid, patch));
            }
            Word::Ready | Word::Quiet | Word::Reload | Word::Upgrade | Word::Patch(_) => {
                log::debug!("{} said {word:?} in state {:?}: passed over", child.name(), child.state);
            }
        }
    }

    // --- interfaces ------------------------------------------------------------------------------------

    fn look_at_interfaces(&mut self) {
        let changed = match self.watch.as_ref().map(daemon_utils::socket::InterfaceWatch::changed) {
            None | Some(Ok(false)) => false,
            Some(Ok(true)) => true,
            Some(Err(error)) => {
                log::debug!("could not read the interface changes: {error}");
                true
            }
        };
        if changed && self.in_force.config.dhcp.enabled {
            self.interfaces_due = Some(Instant::now() + INTERFACES_SETTLE);
        }
    }

    /// A change of the interfaces has been taken into force, or could not be.
    pub(super) fn finish_interfaces(&mut self, verdict: &Verdict) {
        match verdict {
            Ok(words) => log::debug!("interfaces have changed: {words}"),
            Err(why) => {
                announce!(self.shared, InterfaceDown; "could not serve the changed interfaces: {why}");
                self.interfaces_due = Some(Instant::now() + INTERFACES_RETRY);
            }
        }
    }

    fn serve_changed_interfaces(&mut self) {
        if !self.sockets.interfaces_changed(&self.in_force.config) {
            return;
        }
        if let Err(reason) = self.begin_transition(Reason::Interfaces, self.in_force.clone(), Vec::new()) {
            self.finish(Reason::Interfaces, Vec::new(), Err(reason));
        }
    }
}
