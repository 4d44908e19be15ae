//! How a program that was executed in main's place becomes main, and how it is tried before.
//!
//! Everything that can fail comes first and changes nothing ([`prepare`]), so that the program before can still be
//! executed again with the same descriptors. The trial does the same and goes on to the configuration and the lease file.

use std::os::fd::{AsFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use daemon_utils::handover::{self as exec, Claimed, Inherited};
use daemon_utils::log::sender;
use daemon_utils::pidfile::PidFile;
use daemon_utils::signal::Signals;
use daemon_utils::socket::{Interface, InterfaceWatch};
use daemon_utils::{clock, process, title};
use nix::unistd::Pid;

use super::handover::{Dhcp, FORMAT, Handover, Listening, Wanted, Worker};
use super::{Before, NO, YES};
use crate::config::ConfigManager;
use crate::lease;
use crate::stats::layout::Carried;
use crate::stats::{Counter, Occupant, Shared};
use crate::supervisor::announce::announce;
use crate::supervisor::children::{BackOff, Child, Restart, State};
use crate::supervisor::preflight::{self, Privilege};
use crate::supervisor::reload::{Wish, Wishes};
use crate::supervisor::settings::{self, InForce};
use crate::supervisor::sockets::{DhcpListener, Listener, Sockets};
use crate::supervisor::transition::Reason;
use crate::supervisor::{Phase, SIGNALS, Supervisor};
use crate::workers::{Kind, Patch, logger, regions};

/// What main executes a program with.
#[derive(Debug)]
pub struct TakeOver {
    /// Number of the descriptor of what is handed over.
    pub state: RawFd,
    /// Number of the descriptor of the program before, to which there is a way back.
    pub back: Option<RawFd>,
    /// Why this program, which ran before, is executed again.
    pub because: Option<String>,
}

/// Becomes main and runs until the end; the exit code. With `only_try` it says on standard output whether it could, and
/// changes nothing. Errors: it cannot, and there is no way back.
pub fn take_over(with: &TakeOver, only_try: bool) -> Result<i32, String> {
    if only_try {
        let verdict = guarded(|| try_out(with.state));
        let (first, words, code) = match verdict {
            Ok(()) => (YES, env!("CARGO_PKG_VERSION").to_owned(), 0),
            Err(reason) => (NO, reason, 1),
        };
        let message = [&[first], words.as_bytes()].concat();
        // One write is one message. Main knows by the exit code if it did not arrive.
        let _ = nix::unistd::write(std::io::stdout(), &message);
        return Ok(code);
    }
    let name = c"echo-daemon";
    // The kernel's own name for us comes from the file, and would be a number after a way back.
    let _ = nix::sys::prctl::set_name(name);
    match guarded(|| prepare(with.state)) {
        Ok(prepared) => {
            let from = prepared.handover.version.clone();
            let asked_by = pids(&prepared.handover.asked_by);
            let supervisor = prepared
                .assemble(with.because.is_none())
                .map_err(|error| format!("could not take over: {error}"))?;
            Ok(supervisor.resume(&from, asked_by, with.because.clone()))
        }
        Err(reason) => Err(go_back_at_once(with, &reason)),
    }
}

/// Comes back only if there is no way: with what is to be said then.
fn go_back_at_once(with: &TakeOver, reason: &str) -> String {
    let (Some(back), None) = (with.back, &with.because) else { return reason.to_owned() };
    let arguments = ["echo-daemon", super::COMMAND, "--state", &with.state.to_string(), "--because", reason];
    let path = format!("/proc/self/fd/{back}");
    let error = exec::execute(Path::new(&path), &arguments.map(Into::into));
    format!("{reason}; the program before could not be executed again: {error}")
}

/// A panic is one more reason.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no reason");
        Err(format!("it panicked: {text}"))
    })
}

fn pids(numbers: &[i32]) -> Vec<Pid> {
    numbers.iter().copied().map(Pid::from_raw).collect()
}

/// Whether this program could take over: all but the fork of its workers.
fn try_out(state: RawFd) -> Result<(), String> {
    let prepared = prepare(state)?;
    let old = &prepared.in_force;
    let manager = ConfigManager::new(prepared.handover.sources.clone());
    let loaded = settings::load_with_overlay(&manager, &old.loaded.overlay)
        .map_err(|report| report.errors().to_string())?;
    settings::refuse_what_needs_restart(&old.config, &loaded.config)?;
    let new = InForce::of(loaded)?;
    if old.config.dhcp.enabled && new.config.dhcp.enabled {
        // The workers of the program before write to it: here it is only looked at.
        let look = |path: &Path, durability| lease::SqliteStore::open(path, durability).map(|_| None);
        preflight::with_lease_file(&new.config, &prepared.privilege, look)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// All that could fail, done.
struct Prepared {
    handover: Handover,
    inherited: Inherited,
    memory: &'static [AtomicU64],
    in_force: InForce,
    privilege: Privilege,
}

/// Reads what is handed over and looks whether it can be used. Changes nothing.
fn prepare(state: RawFd) -> Result<Prepared, String> {
    let text =
        exec::read_document(state).map_err(|error| format!("could not read what is handed over: {error}"))?;
    let handover: Handover = serde_json::from_slice(&text).map_err(|error| {
        format!("what is handed over is not understood: {error}\nhint: echo-daemon restart")
    })?;
    if handover.format != FORMAT {
        return Err(format!(
            "version {} hands over in format {}, version {} knows {FORMAT}\nhint: echo-daemon restart",
            handover.version,
            handover.format,
            env!("CARGO_PKG_VERSION")
        ));
    }
    let lost = |error| format!("a descriptor that is handed over cannot be used: {error}");
    let inherited = Inherited::check(&handover.descriptors()).map_err(lost)?;
    let memory = inherited.map(handover.memory).map_err(lost)?;
    for worker in &handover.children {
        if Kind::from_number(worker.kind).is_none() && worker.state != State::Stopping {
            return Err(format!("there is a worker of kind {}, which is not known", worker.kind));
        }
    }
    let manager = ConfigManager::of_running(handover.sources.clone(), handover.running.clone());
    let loaded = manager.and_then(|manager| settings::load(&manager)).map_err(|report| {
        format!("the configuration in force is not understood\nhint: echo-daemon restart\n{report}")
    })?;
    let in_force = InForce {
        config: Arc::new(loaded.config.clone()),
        loaded: Arc::new(loaded),
        token: handover.token.clone(),
    };
    let privilege =
        preflight::privilege(&in_force.config, &mut Vec::new()).map_err(|error| error.to_string())?;
    Ok(Prepared { handover, inherited, memory, in_force, privilege })
}

impl Prepared {
    /// Main as it was, in this program. `with_way_back`: the program before may have to be executed again.
    fn assemble(self, with_way_back: bool) -> std::io::Result<Supervisor> {
        let Self { handover, inherited, memory, in_force, privilege } = self;
        // Those that came during the exec wait: the set was blocked all the time.
        let signals = Signals::block(&SIGNALS)?;
        process::become_subreaper()?;
        let ours = regions::layout();
        let same = Shared::of_words(memory, regions::WORDS).filter(|_| handover.layout == ours);
        let other = match same {
            Some(_) => None,
            None => Some(Shared::create_kept(regions::WORDS)?),
        };
        let mut ours_already = vec![signals.as_fd()];
        ours_already.extend(other.iter().map(|(_, fd)| fd.as_fd()));
        let mut fds = inherited.claim(&ours_already)?;
        let old_memory = fds.take(handover.memory)?;
        let (shared, kept_memory, carried, memory_before) = match (same, other) {
            (Some(shared), _) => (shared, old_memory, None, None),
            (None, Some((shared, fd))) => {
                let carried = Carried::begin(memory, &handover.layout, shared, &ours);
                let last = handover.last_generation;
                (shared, fd, Some((carried, last)), Some((old_memory, handover.layout)))
            }
            (None, None) => return Err(std::io::Error::other("no shared memory")),
        };
        let executable = fds.take(handover.executable)?;
        let before =
            with_way_back.then_some(Before { executable, version: handover.version, memory: memory_before });
        let mut children = Vec::new();
        let mut strangers = pids(&handover.strangers);
        for worker in handover.children {
            let pid = Pid::from_raw(worker.pid);
            match child(worker, shared, carried.is_some(), &mut fds)? {
                Some(child) => children.push(child),
                // A kind of the version that failed, on its way out.
                None => strangers.push(pid),
            }
        }
        let now = Instant::now();
        let restart =
            |&(kind, index): &(u64, u16)| Some(Restart { kind: Kind::from_number(kind)?, index, at: now });
        let control = handover.control.map(|(path, fd)| fds.take(fd).map(|fd| (path, fd))).transpose()?;
        let sockets = Sockets {
            tcp: listeners(handover.tcp, &mut fds)?,
            udp: listeners(handover.udp, &mut fds)?,
            dhcp: handover.dhcp.into_iter().map(|one| dhcp(one, &mut fds)).collect::<Result<_, _>>()?,
            packet: handover.packet.map(|fd| fds.take(fd)).transpose()?,
            arp: handover
                .arp
                .into_iter()
                .map(|(index, fd)| fds.take(fd).map(|fd| (index, fd)))
                .collect::<Result<_, _>>()?,
            icmp: handover.icmp.map(|fd| fds.take(fd)).transpose()?,
            control,
            api: listeners(handover.api.into_iter().collect(), &mut fds)?.pop(),
        };
        let mut wishes = Wishes::default();
        for wish in handover.wishes {
            // There were no more than may wait.
            let _ = wishes.add(match wish {
                Wanted::Reload(askers) => Wish::Reload(pids(&askers)),
                Wanted::Upgrade(askers) => Wish::Upgrade(pids(&askers)),
                Wanted::Patch(asker, tag, json) => Wish::Patch(Pid::from_raw(asker), Patch { tag, json }),
            });
        }
        let dropped = shared.slot(0).cell(Counter::LogDropped);
        sender::install(fds.take(handover.log.1)?, "main", settings::levels(&in_force.config), dropped);
        sender::set_limits(logger::limits(&in_force.config, shared));
        Ok(Supervisor {
            manager: ConfigManager::new(handover.sources),
            in_force,
            privilege,
            foreground: handover.foreground,
            after_crash: false,
            shared,
            memory: kept_memory,
            carried,
            program: Some(handover.program),
            attempt: None,
            before,
            signals,
            log: fds.take(handover.log.0)?,
            lifeline: (fds.take(handover.lifeline.0)?, fds.take(handover.lifeline.1)?),
            watch: InterfaceWatch::open().ok(),
            sockets,
            pid_file: Some(PidFile::adopt(fds.take(handover.pid_file.1)?, handover.pid_file.0)),
            state_lock: Some(PidFile::adopt(fds.take(handover.state_lock.1)?, handover.state_lock.0)),
            report: None,
            start_failure: None,
            phase: Phase::Serving,
            children,
            restarts: handover.dead.iter().filter_map(restart).collect(),
            back_off: BackOff::default(),
            generation: handover.generation,
            last_generation: handover.last_generation,
            transition: None,
            wishes,
            watcher: None,
            overlay_before: None,
            file_read: handover.file_read,
            // Nobody listened to the kernel for a moment.
            interfaces_due: Some(now),
            has_orphans: handover.has_orphans,
            strangers,
        })
    }
}

/// A worker of the program before; none where its kind is not known.
fn child(worker: Worker, shared: Shared, moved: bool, fds: &mut Claimed) -> std::io::Result<Option<Child>> {
    let channel = fds.take(worker.channel)?.into();
    let Some(kind) = Kind::from_number(worker.kind) else { return Ok(None) };
    let slot = shared.slot(worker.slot);
    if moved {
        slot.occupy(&Occupant {
            kind: kind.number(),
            index: worker.index.into(),
            pid: worker.pid,
            generation: worker.generation,
            started: clock::boot_time().saturating_sub(worker.age),
        });
    }
    let now = Instant::now();
    Ok(Some(Child {
        pid: Pid::from_raw(worker.pid),
        kind,
        index: worker.index,
        generation: worker.generation,
        slot_index: worker.slot,
        slot,
        channel,
        state: worker.state,
        since: now.checked_sub(worker.age).unwrap_or(now),
        complaint: worker.complaint,
        deaf: worker.deaf,
        kill_at: worker.kill_in.map(|left| now + left),
    }))
}

fn listeners(all: Vec<Listening>, fds: &mut Claimed) -> std::io::Result<Vec<Listener>> {
    all.into_iter()
        .map(|one| Ok(Listener { asked: one.asked, bound: one.bound, fd: fds.take(one.fd)? }))
        .collect()
}

fn dhcp(one: Dhcp, fds: &mut Claimed) -> std::io::Result<DhcpListener> {
    let interface = Interface {
        name: one.name,
        index: one.index,
        mac: one.mac,
        addresses: one.addresses,
        up: one.up,
        loopback: one.loopback,
    };
    Ok(DhcpListener { interface, asked: one.asked, bound: one.bound, fd: fds.take(one.fd)? })
}

impl Supervisor {
    /// Goes on where the program before stopped, with workers of its own. `because`: this is the program that ran before,
    /// and its workers serve.
    fn resume(mut self, from: &str, asked_by: Vec<Pid>, because: Option<String>) -> i32 {
        title::set("echo-daemon: main");
        // Unblocking and blocking anew may have thrown a SIGCHLD away.
        if let Err(error) = self.reap() {
            return self.give_up(&format!("main cannot go on: {error}"));
        }
        if let Some(reason) = because {
            self.finish_upgrade(asked_by, Err(reason));
            return self.run_to_the_end();
        }
        log::debug!("version {} has taken over from {from}", env!("CARGO_PKG_VERSION"));
        if let Err(reason) = self.begin_upgraded_generation(asked_by.clone()) {
            self.finish_upgrade(asked_by, Err(reason));
        }
        self.run_to_the_end()
    }

    fn begin_upgraded_generation(&mut self, asked_by: Vec<Pid>) -> Result<(), String> {
        self.file_read = crate::supervisor::watcher::Stamp::of_source(&self.manager);
        let loaded = self.load(&self.in_force.loaded.overlay)?;
        let had_leases = self.in_force.config.dhcp.enabled;
        let new = self.check(loaded)?;
        if had_leases && new.config.dhcp.enabled {
            // An older version's file; the workers of the program before understand what is only added to.
            let prepare = |path: &Path, durability| lease::prepare_if_needed(path, durability).map(|()| None);
            preflight::with_lease_file(&new.config, &self.privilege, prepare)
                .map_err(|error| error.to_string())?;
        }
        for warning in &new.loaded.warnings {
            announce!(self.shared, ConfigWarning; "{warning}");
        }
        self.begin_transition(Reason::Upgrade, new, asked_by)
    }
}
