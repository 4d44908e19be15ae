//! The birth of a worker: the fork, and what the child does before its loop runs. From here on the child is on
//! its own; it never returns into main's code.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use daemon_utils::channel::Channel;
use daemon_utils::log::sender;
use daemon_utils::{clock, process, sandbox, signal, title};
use nix::unistd::{Pid, getpid};

use super::Supervisor;
use super::children::{Child, State};
use super::confinement::{self, Process};
use super::job::Job;
use super::settings::{self, InForce};
use super::sockets::Sockets;
use crate::event;
use crate::stats::{Counter, Occupant, SLOTS, Slot};
use crate::workers::{Context, Kind, Word, logger, regions};

/// What a generation is born with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inheritance<'a> {
    pub(super) generation: u64,
    pub(super) in_force: &'a InForce,
    pub(super) sockets: &'a Sockets,
}

impl Supervisor {
    /// Forks one worker and enters it into the table.
    pub(super) fn spawn(&self, kind: Kind, index: u16, inheritance: Inheritance<'_>) -> io::Result<Child> {
        let slot_index = self.free_slot()?;
        let slot = self.shared.slot(slot_index);
        let (channel, childs_end) = Channel::pair()?;
        let main = getpid();
        let pid = process::spawn(|| self.live(kind, index, inheritance, childs_end, slot, main))?;
        slot.occupy(&Occupant {
            kind: kind.number(),
            index: index.into(),
            pid: pid.as_raw(),
            generation: inheritance.generation,
            started: clock::boot_time(),
        });
        let generation = inheritance.generation;
        let (state, since) = (State::Starting, Instant::now());
        Ok(Child {
            pid,
            kind,
            index,
            generation,
            slot_index,
            slot,
            channel,
            state,
            since,
            complaint: None,
            deaf: false,
            kill_at: None,
        })
    }

    fn free_slot(&self) -> io::Result<usize> {
        // Slot 0 is main's.
        (1..SLOTS)
            .find(|index| !self.children.iter().any(|child| child.slot_index == *index))
            .ok_or_else(|| io::Error::other("too many workers of old generations are still alive"))
    }

    /// The child's whole life, as an exit code.
    fn live(
        &self,
        kind: Kind,
        index: u16,
        inheritance: Inheritance<'_>,
        channel: Channel,
        slot: Slot,
        main: Pid,
    ) -> i32 {
        let config = Arc::clone(&inheritance.in_force.config);
        let context = Context { index, config, channel, shared: self.shared, slot };
        let outcome = self
            .enter(kind, index, inheritance, &context, main)
            .map_err(|error| error.to_string())
            .and_then(|job| job.run(&context));
        match outcome {
            Ok(()) => 0,
            Err(reason) => {
                context.say(&Word::Failed(reason));
                1
            }
        }
    }

    /// Makes a worker of the forked copy of main. The order matters: descriptors while main's tables are
    /// whole, privileges before PDEATHSIG (which setuid(2) clears), that before the calls for it are taken away.
    fn enter(
        &self,
        kind: Kind,
        index: u16,
        inheritance: Inheritance<'_>,
        context: &Context,
        main: Pid,
    ) -> io::Result<Job> {
        signal::ignore_in_worker();
        // The message and the place of a panic belong into the log: nobody reads a worker's stderr.
        std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
        let name = kind.process_name(index);
        title::set(&format!("echo-daemon: {name}"));
        // No client waits for it, and on a small machine a client's worker would wait for its turn.
        if kind == Kind::Keeper {
            process::give_way();
        }
        process::raise_oom_score(kind.oom_score());
        if kind.knows_no_leases() {
            regions::leave_leases(self.shared)?;
        }
        let job = Job::inherit(self, kind, inheritance)?;
        let mut keep = job.descriptors();
        keep.push(context.channel.as_fd());
        // The standard ones stay open too.
        let descriptors = keep.len() + 3;
        if kind == Kind::Logger {
            // Below it nothing can be made but files.
            logger::make_folders(&context.config);
            // It must not hold the end that others write to, or it would never see their end.
            process::keep_only(&keep)?;
            sender::forget();
        } else {
            sender::with_descriptor(|log| {
                process::keep_only(&keep.into_iter().chain(log).collect::<Vec<_>>())
            })?;
            sender::rename(&name);
            sender::count_drops_in(context.slot.cell(Counter::LogDropped));
            sender::set_levels(settings::levels(&context.config));
            sender::set_limits(logger::limits(&context.config, self.shared));
        }
        let privileges = match kind {
            Kind::Logger => &self.privilege.logger,
            Kind::Tcp | Kind::Udp | Kind::Dhcp | Kind::Keeper | Kind::Api => &self.privilege.worker,
        };
        for warning in sandbox::apply(privileges).map_err(io::Error::other)? {
            event!(DaemonWarning; "{name}: {warning}");
        }
        // The logger ends when its last writer has: killed with main, it could lose their last lines.
        if kind != Kind::Logger {
            process::die_with_parent(main)?;
        }
        let to = confinement::of(Process::Worker(kind), &context.config, descriptors);
        sandbox::confine(&to.map_err(io::Error::other)?).map_err(io::Error::other)?;
        Ok(job)
    }
}
