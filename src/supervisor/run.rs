//! Main's loop: wait for a signal, a worker's word, a change of the interfaces or a deadline; act; again.
//! Everything that happens to the running daemon enters here.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use daemon_utils::clock::boot_time;
use daemon_utils::log::sender;
use daemon_utils::process::{self, Exit};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::birth::Inheritance;
use super::children::{Child, Restart, State};
use super::settings::InForce;
use super::transition::{Reason, Verdict};
use super::{Phase, Supervisor, preflight, settings};
use crate::event;
use crate::stats::{Counter, Gauge};
use crate::workers::{Kind, Order, Word};

/// Interfaces often change several times in a row; they are looked at when they have been quiet for so long.
const INTERFACES_SETTLE: Duration = Duration::from_millis(200);
/// Where a reload of the interfaces failed, it is tried again after this time.
const INTERFACES_RETRY: Duration = Duration::from_secs(5);
/// Words of one worker that are heard before the others have their turn.
const WORDS_A_TURN: usize = 16;
/// Questions for a reload that wait for the next one; all of them get its verdict.
const MOST_WAITING: usize = 1024;
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
            self.look_at_interfaces();
        }
    }

    fn sleep(&self) -> io::Result<()> {
        let now = Instant::now();
        // What cannot be acted on now must not wake us.
        let interfaces = self.interfaces_due.filter(|_| self.transition.is_none() && !self.is_stopping());
        let deadlines = [self.transition_deadline(), self.stop_deadline(), interfaces];
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
        match poll(&mut watched, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGTERM | Signal::SIGINT => self.begin_stop(&format!("{signal} received")),
            Signal::SIGHUP => self.ask_reload(None),
            Signal::SIGUSR1 => self.reopen_logs(),
            Signal::SIGUSR2 => event!(DaemonWarning; "an upgrade in place is not available in this version"),
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

    fn reap(&mut self) -> io::Result<()> {
        while let Some((pid, exit)) = process::reap()? {
            match self.children.iter().position(|child| child.pid == pid) {
                Some(place) => {
                    let child = self.children.swap_remove(place);
                    self.on_death(child, exit);
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
        let known =
            |pid: &Pid| self.strangers.contains(pid) || self.children.iter().any(|child| child.pid == *pid);
        process::children().into_iter().filter(|pid| !known(pid)).collect()
    }

    fn on_death(&mut self, mut child: Child, exit: Exit) {
        // Its last words may still be in the channel.
        while let Some(word) = child.hear() {
            if let Word::Failed(reason) = word {
                child.complaint = Some(reason);
            }
        }
        child.slot.vacate();
        self.has_orphans |= child.kind == Kind::Tcp;
        let (name, generation) = (child.name(), child.generation);
        let why = child.complaint.clone().unwrap_or_else(|| exit.to_string());
        if child.is_leaving() || self.is_stopping() {
            event!(WorkerStopped, pid = child.pid; "{name} of generation {generation} has ended ({exit})");
        } else if self.is_awaited(generation) {
            self.fail_transition(&format!("{name} could not start: {why}"));
        } else {
            self.shared.slot(0).count(child.kind.restarts());
            let pause = self.back_off.pause(child.kind, child.index, child.since.elapsed());
            self.restarts.push(Restart { kind: child.kind, index: child.index, at: Instant::now() + pause });
            event!(WorkerDied, pid = child.pid; "{name} has died: {why}; forked again in {} ms", pause.as_millis());
        }
    }

    /// Whether the workers are being exchanged just now.
    fn is_switching(&self) -> bool {
        self.transition.as_ref().is_some_and(super::Transition::is_switching)
    }

    /// Forks what died, when its time has come, and reads the configuration anew where that waits.
    fn start_pending(&mut self) {
        if self.is_stopping() {
            return;
        }
        if !self.is_switching() {
            self.restart_dead();
        }
        if self.transition.is_none() {
            if let Some(asked_by) = self.reload_asked.take() {
                self.reload(asked_by);
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
                    event!(WorkerFailed; "could not fork {}: {error}", kind.process_name(index));
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
                event!(WorkerStarted, pid = child.pid; "{} of generation {} is ready", child.name(), child.generation);
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
                self.ask_reload(Some(pid));
            }
            Word::Ready | Word::Quiet | Word::Reload | Word::Patch(_) => {
                log::debug!("{} said {word:?} in state {:?}: passed over", child.name(), child.state);
            }
        }
    }

    // --- reload ----------------------------------------------------------------------------------------

    /// Notes that a reload is wanted; several wishes that come while one is under way become one.
    fn ask_reload(&mut self, asked_by: Option<Pid>) {
        if self.is_stopping() {
            if let Some(pid) = asked_by {
                self.tell_verdict(pid, &Err("the daemon is stopping".to_owned()));
            }
            return;
        }
        let waiting = self.reload_asked.get_or_insert_default();
        if waiting.len() < MOST_WAITING {
            waiting.extend(asked_by);
        } else if let Some(pid) = asked_by {
            self.tell_verdict(pid, &Err("too many reloads are waiting already".to_owned()));
        }
    }

    fn reload(&mut self, asked_by: Vec<Pid>) {
        self.notify_reloading();
        let outcome = settings::load(&self.manager)
            .map_err(|report| report.to_string())
            .and_then(|loaded| {
                settings::refuse_what_needs_restart(&self.in_force.config, &loaded.config)?;
                if !self.in_force.config.dhcp.enabled {
                    // The start had no reason to: there may be no lease file yet, or one with the clock of another boot.
                    preflight::lease_file(&loaded.config, &self.privilege)
                        .map_err(|error| error.to_string())?;
                }
                let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
                InForce::of(loaded).map(|in_force| (in_force, warnings))
            })
            .and_then(|(in_force, warnings)| {
                for warning in warnings {
                    event!(ConfigWarning; "{warning}");
                }
                self.begin_transition(Reason::Reload, in_force, asked_by.clone())
            });
        if let Err(reason) = outcome {
            self.finish(Reason::Reload, asked_by, Err(reason));
        }
    }

    /// Tells everybody how a transition ended.
    pub(super) fn finish(&mut self, reason: Reason, asked_by: Vec<Pid>, verdict: Verdict) {
        match reason {
            Reason::Start => return self.finish_start(verdict),
            Reason::Interfaces => match &verdict {
                Ok(words) => log::debug!("interfaces have changed: {words}"),
                Err(why) => {
                    event!(InterfaceDown; "could not serve the changed interfaces: {why}");
                    self.interfaces_due = Some(Instant::now() + INTERFACES_RETRY);
                }
            },
            Reason::Reload => {
                let applied = verdict.is_ok();
                let counter = if applied { Counter::ReloadApplied } else { Counter::ReloadRefused };
                self.shared.slot(0).count(counter);
                self.shared.reloaded(boot_time(), applied);
                // First: who has just asked for more wants to read of it.
                sender::set_levels(settings::levels(&self.in_force.config));
                match &verdict {
                    Ok(words) => {
                        event!(ConfigReloaded, generation = self.generation; "configuration applied: {words}");
                    }
                    Err(why) => event!(ConfigRefused; "configuration refused, nothing has changed: {why}"),
                }
                self.notify_ready();
            }
        }
        for pid in asked_by {
            self.tell_verdict(pid, &verdict);
        }
    }

    pub(super) fn tell_verdict(&mut self, pid: Pid, verdict: &Verdict) {
        let order = match verdict {
            Ok(words) => Order::Verdict(true, words.clone()),
            Err(reason) => Order::Verdict(false, reason.clone()),
        };
        if let Some(child) = self.children.iter_mut().find(|child| child.pid == pid) {
            child.tell(&order);
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

    fn serve_changed_interfaces(&mut self) {
        if !self.sockets.interfaces_changed(&self.in_force.config) {
            return;
        }
        if let Err(reason) = self.begin_transition(Reason::Interfaces, self.in_force.clone(), Vec::new()) {
            self.finish(Reason::Interfaces, Vec::new(), Err(reason));
        }
    }
}
