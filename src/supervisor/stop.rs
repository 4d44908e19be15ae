//! The end: in the order that the seeds and DESIGN §1 give. Workers stop accepting, finish the batch in hand
//! and end; the sockets are closed; the PID file goes; the logger, which sees the end of its last writer, is
//! last; then main exits.

use std::time::{Duration, Instant};

use daemon_utils::log::sender;
use daemon_utils::pidfile::PidFile;
use nix::sys::signal::Signal;

use super::announce::announce;
use super::children::State;
use super::{Phase, Supervisor, kill, signal};
use crate::event;
use crate::events::Event;
use crate::supervisor::sockets::Sockets;
use crate::workers::{Kind, Order, logger};

/// How long the logger may take to write out what it has: longer than a worker, since its lines are kept.
const LOGGER_WITHIN: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Whether the daemon is on its way down.
    pub(super) fn is_stopping(&self) -> bool {
        match self.phase {
            Phase::Serving => false,
            Phase::StoppingWorkers { .. } | Phase::StoppingLogger { .. } | Phase::Over(_) => true,
        }
    }

    /// Tells every worker to stop. `exit_code` is main's in the end.
    pub(super) fn begin_stop(&mut self, reason: &str) {
        if !self.is_stopping() {
            announce!(self.shared, DaemonStopping; "stopping: {reason}");
            self.stop_with(0);
        }
    }

    /// The same without a word, after a failed start.
    pub(super) fn stop_with(&mut self, exit_code: i32) {
        self.notify_stopping();
        self.stop_upgrading();
        self.fail_transition("the daemon is stopping");
        self.refuse_all();
        self.watcher = None;
        // Where that was the start, it has failed.
        let exit_code = if self.start_failure.is_some() { 1 } else { exit_code };
        self.restarts.clear();
        let deadline = Instant::now() + self.in_force.config.daemon.shutdown_timeout;
        self.phase = Phase::StoppingWorkers { deadline, exit_code };
        for child in self.children.iter_mut().filter(|child| child.kind != Kind::Logger) {
            child.tell(&Order::Stop);
        }
        for pid in self.orphans() {
            signal(pid, Signal::SIGTERM);
        }
    }

    /// When [`Supervisor::advance_stop`] must be called again at the latest.
    pub(super) fn stop_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::StoppingWorkers { deadline, .. } | Phase::StoppingLogger { deadline, .. } => {
                Some(deadline)
            }
            Phase::Serving | Phase::Over(_) => None,
        }
    }

    /// Goes as far as it can go now. Called after every event.
    pub(super) fn advance_stop(&mut self) {
        if let Phase::StoppingWorkers { deadline, exit_code } = self.phase {
            if self.children.iter().any(|child| child.kind != Kind::Logger) || !self.orphans().is_empty() {
                if Instant::now() >= deadline {
                    self.kill_workers();
                    let deadline = Instant::now() + self.in_force.config.daemon.shutdown_timeout;
                    self.phase = Phase::StoppingWorkers { deadline, exit_code };
                }
                return;
            }
            self.clean_up();
            self.phase = Phase::StoppingLogger { deadline: Instant::now() + LOGGER_WITHIN, exit_code };
        }
        if let Phase::StoppingLogger { deadline, exit_code } = self.phase {
            if self.children.is_empty() {
                self.phase = Phase::Over(exit_code);
            } else if Instant::now() >= deadline {
                for child in &self.children {
                    kill(child.pid);
                }
                self.phase = Phase::StoppingLogger { deadline: Instant::now() + LOGGER_WITHIN, exit_code };
            }
        }
    }

    fn kill_workers(&mut self) {
        for child in self.children.iter().filter(|child| child.kind != Kind::Logger) {
            announce!(self.shared, WorkerKilled, pid = child.pid; "{} did not end in time", child.name());
            kill(child.pid);
        }
        for pid in self.orphans() {
            kill(pid);
        }
    }

    /// What main itself holds: sockets, PID file, its end of the log.
    fn clean_up(&mut self) {
        self.sockets.unlink_control();
        self.sockets = Sockets::default();
        // Every worker has ended: nothing is suppressed any more.
        for rest in sender::take_suppressed() {
            log::log!(
                logger::level_of(rest.event), event = Event::LogEventsSuppressed.id(), name = rest.event, count = rest.count;
                "{} records of {} were suppressed by its rate limit", rest.count, rest.event
            );
        }
        event!(SocketsClosed; "listening sockets closed");
        if let Some(Err(error)) = self.state_lock.take().map(PidFile::remove) {
            event!(DaemonWarning; "lock of the state folder not removed: {error}");
        }
        if let Some(pid_file) = self.pid_file.take() {
            match pid_file.remove() {
                Ok(()) => event!(PidFileRemoved; "PID file removed"),
                Err(error) => event!(DaemonWarning; "PID file not removed: {error}"),
            }
        }
        event!(DaemonStopped; "stopped");
        sender::close();
        // A logger that waits for its turn (a reload was under way) must not wait for it for ever. If it is gone already,
        // nothing of that may stand behind the last line.
        for child in self.children.iter_mut().filter(|child| child.state != State::Serving) {
            child.tell(&Order::Begin);
        }
    }
}
