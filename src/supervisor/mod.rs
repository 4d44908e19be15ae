//! The main process. It opens sockets, forks, waits, reaps, reloads; it parses no packet and opens no
//! database. [`start`] reads as the start order.
//!
//! | file | owns |
//! |---|---|
//! | [`settings`] | reading the configuration with every check of every layer |
//! | `preflight` | what is checked while the user still sees it: identity, folders, lease file, logs |
//! | `sockets` | every socket |
//! | `birth`, `job` | the fork of a worker, what each kind inherits |
//! | [`confinement`] | what each process may do once it is born |
//! | `children` | the table of workers, the back-off |
//! | `transition` | from one generation to the next |
//! | `run` | the loop |
//! | `reload`, `watcher` | wishes for another configuration, the file as one who wishes |
//! | `upgrade` | another program in main's place |
//! | `stop` | the end |
//! | `announce` | what is told to those who follow the daemon |
//! | `notify` | systemd |

mod announce;
mod birth;
mod children;
pub mod confinement;
mod job;
mod notify;
mod preflight;
mod reload;
mod run;
pub mod settings;
mod sockets;
mod stop;
mod transition;
pub mod upgrade;
mod watcher;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use daemon_utils::daemon::{self, Report, Side};
use daemon_utils::log::{Outputs, sender};
use daemon_utils::pidfile::{self, Holder, PidFile, PidFileError};
use daemon_utils::signal::Signals;
use daemon_utils::socket::InterfaceWatch;
use daemon_utils::{clock, process, title};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};

use crate::config::{Config, ConfigManager, Overlay};
use crate::event;
use crate::events::Event;
use crate::stats::layout::Carried;
use crate::stats::{Counter, Shared};
use crate::workers::{logger, regions};

use announce::announce;
use children::{BackOff, Child, Restart};
use preflight::Privilege;
use reload::Wishes;
use settings::InForce;
use sockets::Sockets;
use transition::{Reason, Transition, Verdict};
use upgrade::{Attempt, Before};
use watcher::{Stamp, Watcher};

/// Longest wait of the caller for the daemon's word; the transition's own deadline comes first.
const VERDICT_WITHIN: Duration = Duration::from_secs(120);

/// How long the processes of a daemon that was killed may take to be gone; they are dying when a start looks for them.
const REMAINS_GONE_WITHIN: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What main lives by.
const SIGNALS: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGCHLD];

/// Where the daemon stands.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Serving,
    StoppingWorkers { deadline: Instant, exit_code: i32 },
    StoppingLogger { deadline: Instant, exit_code: i32 },
    Over(i32),
}

/// The main process.
#[derive(Debug)]
struct Supervisor {
    manager: ConfigManager,
    in_force: InForce,
    privilege: Privilege,
    foreground: bool,
    /// The one before ended without a clean stop: its processes may still be dying.
    after_crash: bool,
    shared: Shared,
    /// The shared memory as a descriptor, for an upgrade.
    memory: OwnedFd,
    /// Another memory, in which workers up to this generation count.
    carried: Option<(Carried, u64)>,
    /// The program on disk, where its place could be told.
    program: Option<PathBuf>,
    /// A program that is being tried.
    attempt: Option<Attempt>,
    /// The way back from an upgrade under way.
    before: Option<Before>,
    signals: Signals,
    /// Reading end of the log socket, kept so that a logger can be replaced.
    log: OwnedFd,
    /// Reading end, which TCP clients watch, and the only writing end.
    lifeline: (OwnedFd, OwnedFd),
    watch: Option<InterfaceWatch>,
    sockets: Sockets,
    pid_file: Option<PidFile>,
    /// Says that the state folder is taken.
    state_lock: Option<PidFile>,
    /// Waits for the verdict on the start.
    report: Option<Report>,
    /// Why the start failed; told when everything is gone again.
    start_failure: Option<String>,
    phase: Phase,
    children: Vec<Child>,
    restarts: Vec<Restart>,
    back_off: BackOff,
    /// The generation in force, and the highest number given to one.
    generation: u64,
    last_generation: u64,
    transition: Option<Transition>,
    wishes: Wishes,
    /// Where `daemon.watch_config` is on.
    watcher: Option<Watcher>,
    /// The overlay before the patch that is being put into force.
    overlay_before: Option<Overlay>,
    /// What the configuration file was when it was read last.
    file_read: Option<Stamp>,
    interfaces_due: Option<Instant>,
    has_orphans: bool,
    /// Children of this process from before it was main: a script that ends in `exec echo-daemon start --foreground`
    /// leaves its own, such as a `2> >(logger)`. They are not ours to count, to wait for or to end.
    strangers: Vec<Pid>,
}

/// What came of a start, in the process that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// The daemon runs in the background.
    Running {
        /// Its PID; none where it has ended since.
        pid: Option<i32>,
        /// What it serves, for people.
        words: String,
    },
    /// This process was main or a child of it, and is to end with this code.
    Ended(i32),
}

/// How a start is to go.
#[derive(Debug, Clone, Copy, Default)]
pub struct StartWishes {
    /// This process itself becomes main, as also where the configuration says so.
    pub foreground: bool,
    /// A configuration that does not check out gives way to the one that was in force last.
    pub last_good: bool,
    /// A damaged lease file gives way to what can be read of it.
    pub recover: bool,
}

/// Starts the daemon. `warn` gets what an operator should know, before anything is forked.
///
/// The caller comes back when every worker serves or with the reason why not.
pub fn start(manager: ConfigManager, wishes: StartWishes, warn: &dyn Fn(&str)) -> Result<Started, String> {
    // Before anything owns a descriptor.
    daemon::sanitize().map_err(|error| format!("could not put the process in order: {error}"))?;
    let program = upgrade::program::of_process();
    let file_read = Stamp::of_source(&manager);
    let (loaded, mut warnings) = settings::load_for_start(&manager, wishes.last_good)?;
    refuse_if_running(&loaded.config)?;
    // A clean stop takes the PID file away.
    let after_crash = matches!(pidfile::holder(&loaded.config.daemon.pid_file), Ok(Holder::Stale));
    let in_force = InForce::of(loaded)?;
    let config = Arc::clone(&in_force.config);
    let privilege = preflight::privilege(&config, &mut warnings).map_err(|error| error.to_string())?;
    preflight::folders(&config, &privilege).map_err(|error| error.to_string())?;
    let saved =
        preflight::lease_file(&config, &privilege, wishes.recover).map_err(|error| error.to_string())?;
    warnings.extend(saved);
    Outputs::check(&logger::outputs(&config, false)).map_err(|error| with_hint(&error, error.hint()))?;
    for warning in &warnings {
        warn(warning);
    }

    let foreground = wishes.foreground || !config.daemon.daemonize;
    let report = if foreground {
        Report::foreground()
    } else {
        match daemon::daemonize().map_err(|error| format!("could not become a daemon: {error}"))? {
            Side::Caller(verdict) => {
                let words = verdict.wait(Some(VERDICT_WITHIN))?;
                let pid = find_running(&config)?.and_then(|running| running.pid);
                return Ok(Started::Running { pid: pid.map(Pid::as_raw), words });
            }
            Side::Daemon(report) => report,
        }
    };
    // From here on the daemon's own words are the report's; nobody reads its stderr.
    let start = Start { program, file_read, foreground, after_crash };
    match Supervisor::set_up(manager, start, in_force, privilege) {
        Ok(supervisor) => Ok(Started::Ended(supervisor.serve(report, warnings))),
        Err(reason) if foreground => Err(reason),
        Err(reason) => {
            report.failed(&reason);
            Ok(Started::Ended(1))
        }
    }
}

/// How a start came about.
struct Start {
    program: Option<PathBuf>,
    file_read: Option<Stamp>,
    foreground: bool,
    after_crash: bool,
}

/// Refuses to start beside a daemon that runs. One that was killed just now is waited for.
fn refuse_if_running(config: &Config) -> Result<(), String> {
    let deadline = Instant::now() + REMAINS_GONE_WITHIN;
    let found = loop {
        match find_running(config)? {
            Some(Running { pid: Some(pid), .. }) if process::is_ending(pid) && Instant::now() < deadline => {
                std::thread::sleep(LOOK_AGAIN);
            }
            found => break found,
        }
    };
    match found {
        None => Ok(()),
        Some(Running { pid: Some(pid), .. }) => Err(format!("already running with PID {pid}")),
        Some(Running { pid: None, .. }) => {
            Err("already running (its PID file does not say its PID)".to_owned())
        }
    }
}

/// A daemon that runs, and the locked file that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its PID, if the file says it.
    pub pid: Option<Pid>,
    /// The PID file, or where that was deleted or overwritten, the lock of the state folder.
    pub lock: PathBuf,
}

/// Looks for the daemon of this configuration by its locks.
pub fn find_running(config: &Config) -> Result<Option<Running>, String> {
    let mut nameless = None;
    for lock in [config.daemon.pid_file.clone(), state_lock(config)] {
        match pidfile::holder(&lock) {
            Ok(Holder::Running(pid @ Some(_))) => return Ok(Some(Running { pid, lock })),
            Ok(Holder::Running(None)) => nameless = nameless.or(Some(Running { pid: None, lock })),
            Ok(Holder::Nobody | Holder::Stale) => (),
            // Others may not look into the state folder; the PID file is for everybody.
            Err(_) if lock != config.daemon.pid_file => (),
            Err(error) => return Err(with_hint(&error, error.hint())),
        }
    }
    Ok(nameless)
}

fn state_lock(config: &Config) -> PathBuf {
    config.daemon.state_dir.join("daemon.lock")
}

impl Supervisor {
    /// The daemon's first steps: PID file, signals, shared memory. Sockets and workers come with the first
    /// generation.
    fn set_up(
        manager: ConfigManager,
        start: Start,
        in_force: InForce,
        privilege: Privilege,
    ) -> Result<Self, String> {
        let config = Arc::clone(&in_force.config);
        let refuse = |error: PidFileError| with_hint(&error, error.hint());
        let pid_file = PidFile::acquire(&config.daemon.pid_file).map_err(refuse)?;
        pid_file.write(getpid()).map_err(refuse)?;
        // Two daemons with PID files of their own must not share leases: each would offer what the other has offered.
        let claim = state_lock(&config);
        let state_lock = match PidFile::acquire(&claim).and_then(|lock| lock.write(getpid()).map(|()| lock)) {
            Ok(lock) => lock,
            Err(error) => {
                let _ = pid_file.remove();
                let hint = "hint: two daemons need a pid_file, a control_socket and a state_dir each";
                let folder = config.daemon.state_dir.display();
                return Err(format!("state folder {folder} is in use: {error}\n{hint}"));
            }
        };
        let prepare = || -> io::Result<Self> {
            let signals = Signals::block(&SIGNALS)?;
            process::become_subreaper()?;
            let (shared, memory) = Shared::create_kept(regions::WORDS)?;
            let (writer, log) = daemon_utils::log::pair()?;
            let dropped = shared.slot(0).cell(Counter::LogDropped);
            sender::install(writer, "main", settings::levels(&config), dropped);
            sender::set_limits(logger::limits(&config, shared));
            Ok(Self {
                signals,
                shared,
                memory,
                carried: None,
                program: start.program,
                attempt: None,
                before: None,
                log,
                lifeline: process::lifeline()?,
                watch: InterfaceWatch::open().ok(),
                manager,
                in_force,
                privilege,
                foreground: start.foreground,
                after_crash: start.after_crash,
                sockets: Sockets::default(),
                pid_file: None,
                state_lock: None,
                report: None,
                start_failure: None,
                phase: Phase::Serving,
                children: Vec::new(),
                restarts: Vec::new(),
                back_off: BackOff::default(),
                generation: 0,
                last_generation: 0,
                transition: None,
                wishes: Wishes::default(),
                watcher: None,
                overlay_before: None,
                file_read: start.file_read,
                interfaces_due: None,
                has_orphans: false,
                strangers: process::children(),
            })
        };
        match prepare() {
            Ok(supervisor) => {
                Ok(Self { pid_file: Some(pid_file), state_lock: Some(state_lock), ..supervisor })
            }
            Err(error) => {
                let _ = state_lock.remove();
                let _ = pid_file.remove();
                Err(format!("could not start: {error}"))
            }
        }
    }

    /// Forks the first generation and runs until the end; main's exit code.
    fn serve(mut self, report: Report, warnings: Vec<String>) -> i32 {
        self.report = Some(report);
        title::set("echo-daemon: main");
        event!(DaemonStarting; "echo-daemon {} starts", env!("CARGO_PKG_VERSION"));
        for warning in warnings {
            event!(DaemonWarning; "{warning}");
        }
        if let Err(reason) = self.begin_transition(Reason::Start, self.in_force.clone(), Vec::new()) {
            self.finish_start(Err(reason));
        }
        self.run_to_the_end()
    }

    /// The loop, then the last words; main's exit code.
    fn run_to_the_end(mut self) -> i32 {
        match self.run() {
            Ok(code) => {
                if let (Some(reason), Some(report)) = (self.start_failure.take(), self.report.take()) {
                    report.failed(&reason);
                }
                code
            }
            Err(error) => self.give_up(&format!("main cannot go on: {error}")),
        }
    }

    /// The verdict on the start: the caller is told, or everything is taken down again and then it is told.
    fn finish_start(&mut self, verdict: Verdict) {
        match verdict {
            Ok(_) => {
                self.shared.set_started(clock::boot_time());
                let words = self.welcome();
                announce!(self.shared, DaemonReady, pid = getpid(); "every worker serves");
                self.notify_ready();
                self.watch_as_configured();
                self.keep_running();
                if let Some(report) = self.report.take() {
                    report.ready(&words);
                }
            }
            Err(reason) => {
                self.start_failure = Some(reason);
                self.stop_with(1);
            }
        }
    }

    fn welcome(&self) -> String {
        let mut words = format!("echo-daemon is running, PID {}", getpid());
        for (service, address) in self.sockets.endpoints() {
            words.push_str(&format!("\n  {service:<8} {address}"));
        }
        words.push_str(&format!("\n  {:<8} {}", "log", self.in_force.config.logging.log_file.display()));
        words
    }

    /// Something that main cannot work without is broken: no child may stay, nor the PID file.
    fn give_up(&mut self, reason: &str) -> i32 {
        log::error!("{reason}");
        for child in &self.children {
            kill(child.pid);
        }
        for lock in [self.state_lock.take(), self.pid_file.take()].into_iter().flatten() {
            let _ = lock.remove();
        }
        if let Some(report) = self.report.take() {
            report.failed(reason);
        }
        1
    }

    /// Logs a warning of main's and, while the caller waits, shows it to them.
    fn warn(&mut self, event: Event, text: &str) {
        event.log(text);
        announce::keep(self.shared, event, None, text);
        if let Some(report) = &mut self.report {
            report.warning(text);
        }
    }
}

/// Whether something that was to be printed got lost.
static OUTPUT_LOST: AtomicBool = AtomicBool::new(false);

/// Prints a line on stdout. A reader that has gone away changes nothing of what was done; a full disk is told of, and
/// remembered for the exit code ([`output_lost`]).
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
        && !OUTPUT_LOST.swap(true, Ordering::Relaxed)
    {
        eprintln!("echo-daemon: could not write: {error}");
    }
}

/// Whether [`say`] could not print what it was given.
pub fn output_lost() -> bool {
    OUTPUT_LOST.load(Ordering::Relaxed)
}

/// An error and what to do about it, on a line of its own.
pub fn with_hint(error: &impl std::fmt::Display, hint: Option<String>) -> String {
    hint.map_or_else(|| error.to_string(), |hint| format!("{error}\nhint: {hint}"))
}

/// SIGKILL to a child of main's that has not been reaped yet, so its PID is its own.
fn kill(pid: Pid) {
    signal(pid, Signal::SIGKILL);
}

fn signal(pid: Pid, signal: Signal) {
    if let Err(errno) = nix::sys::signal::kill(pid, signal) {
        log::debug!("could not send {signal} to {pid}: {errno}");
    }
}
