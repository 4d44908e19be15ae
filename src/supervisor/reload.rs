//! Reload: wishes for another configuration, their order, and the verdict to whoever asked. What a generation is and
//! how it comes into force is in `transition`.
//!
//! Wishes come by SIGHUP, from the watcher of the file, and from the api process (`reload`, `POST /v1/reload`,
//! `PATCH /v1/config`). So do wishes for an upgrade, which `upgrade` grants. One is granted at a time, in the order they came; the api process matches verdicts to its
//! questions by that order.

use std::collections::VecDeque;

use daemon_utils::clock::boot_time;
use daemon_utils::log::sender;
use nix::unistd::Pid;

use super::announce::announce;
use super::settings::InForce;
use super::transition::{Reason, Verdict};
use super::watcher::{Stamp, Watcher};
use super::{Supervisor, preflight, settings};
use crate::config::{Loaded, Overlay, Running};
use crate::event;
use crate::stats::Counter;
use crate::workers::{Order, Patch, UNSAVED, logger};

/// Most wishes that wait, over all who asked.
const MOST_WAITING: usize = 1024;

/// Another configuration is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// All sources are to be read anew; these api workers wait for the verdict.
    Reload(Vec<Pid>),
    /// The program on disk is to take this one's place; these api workers wait for the verdict.
    Upgrade(Vec<Pid>),
    /// A patch of this api worker's is to be laid over them.
    Patch(Pid, Patch),
}

impl Wish {
    /// Who waits for the verdict.
    fn askers(&self) -> &[Pid] {
        match self {
            Self::Reload(askers) | Self::Upgrade(askers) => askers,
            Self::Patch(asker, _) => std::slice::from_ref(asker),
        }
    }
}

/// Wishes that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    list: VecDeque<Wish>,
}

impl Wishes {
    /// Adds a wish; reloads that come one after the other while something else is under way become one. Errors: there
    /// are too many, and the wish comes back.
    pub(super) fn add(&mut self, wish: Wish) -> Result<(), Wish> {
        let waiting: usize = self.list.iter().map(|wish| wish.askers().len().max(1)).sum();
        match (wish, self.list.back_mut()) {
            // A signal wants no verdict, so it is no burden.
            (Wish::Reload(new), Some(Wish::Reload(askers))) if waiting < MOST_WAITING || new.is_empty() => {
                askers.extend(new);
            }
            (Wish::Upgrade(new), Some(Wish::Upgrade(askers))) if waiting < MOST_WAITING || new.is_empty() => {
                askers.extend(new);
            }
            (wish, _) if waiting < MOST_WAITING => self.list.push_back(wish),
            (wish, _) => return Err(wish),
        }
        Ok(())
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Wish> {
        self.list.iter()
    }

    /// The oldest one.
    pub(super) fn take(&mut self) -> Option<Wish> {
        self.list.pop_front()
    }
}

impl Supervisor {
    /// Notes a wish.
    pub(super) fn ask(&mut self, wish: Wish) {
        let refused = if self.is_stopping() {
            Err((wish, "the daemon is stopping"))
        } else {
            self.wishes.add(wish).map_err(|wish| (wish, "too many reloads are waiting already"))
        };
        if let Err((wish, reason)) = refused {
            self.refuse(&wish, reason);
        }
    }

    /// Answers a wish that is not granted.
    fn refuse(&mut self, wish: &Wish, reason: &str) {
        for pid in wish.askers() {
            self.tell_verdict(*pid, &Err(reason.to_owned()));
        }
    }

    /// The daemon stops: the api process waits for the answer to each question, and main waits for the api process.
    pub(super) fn refuse_all(&mut self) {
        while let Some(wish) = self.wishes.take() {
            self.refuse(&wish, "the daemon is stopping");
        }
    }

    /// Begins what a wish asks for.
    pub(super) fn grant(&mut self, wish: Wish) {
        if let Wish::Upgrade(askers) = wish {
            return self.begin_upgrade(askers);
        }
        self.notify_reloading();
        self.file_read = Stamp::of_source(&self.manager);
        if let Some(watcher) = &mut self.watcher {
            watcher.is_read(self.file_read);
        }
        let askers = wish.askers().to_vec();
        let read = match &wish {
            // The overlay in force, not the one in the state folder, which belongs to the workers' user.
            Wish::Reload(_) | Wish::Upgrade(_) => self.load(&self.in_force.loaded.overlay),
            Wish::Patch(_, patch) => settings::patched(&self.manager, &self.in_force.loaded, patch),
        };
        if let (Wish::Patch(..), Ok(loaded)) = (&wish, &read)
            && (&loaded.overlay, &loaded.document)
                == (&self.in_force.loaded.overlay, &self.in_force.loaded.document)
        {
            let words = Ok(format!("nothing has changed: generation {} is in force", self.generation));
            for pid in askers {
                self.tell_verdict(pid, &words);
            }
            self.notify_ready();
            return;
        }
        let begun = read.and_then(|loaded| self.check(loaded)).and_then(|in_force| {
            if let Wish::Patch(..) = wish {
                self.save_overlay(&in_force)?;
            }
            for warning in &in_force.loaded.warnings {
                announce!(self.shared, ConfigWarning; "{warning}");
            }
            self.begin_transition(Reason::Reload, in_force, askers.clone())
        });
        if let Err(reason) = begun {
            self.finish(Reason::Reload, askers, Err(reason));
        }
    }

    /// All sources with this overlay.
    pub(super) fn load(&self, overlay: &Overlay) -> Result<Loaded, String> {
        settings::load_with_overlay(&self.manager, overlay).map_err(|report| report.errors().to_string())
    }

    /// Whether a configuration could be put into force now.
    pub(super) fn check(&self, loaded: Loaded) -> Result<InForce, String> {
        let old = &self.in_force.config;
        settings::refuse_what_needs_restart(old, &loaded.config)?;
        if !old.dhcp.enabled {
            // The start had no reason to: there may be no lease file yet, or one with the clock of another boot.
            preflight::lease_file(&loaded.config, &self.privilege, false)
                .map_err(|error| error.to_string())?;
        }
        InForce::of(loaded)
    }

    /// Puts the overlay of a configuration on disk before anybody hears that it is applied, and before anything changes:
    /// a full disk refuses a patch.
    fn save_overlay(&mut self, new: &InForce) -> Result<(), String> {
        let (old, new) = (&self.in_force.loaded.overlay, &new.loaded.overlay);
        if old == new {
            return Ok(());
        }
        let state_dir = &self.in_force.config.daemon.state_dir;
        new.write(state_dir).map_err(|error| format!("{UNSAVED}{state_dir:?}: {error}"))?;
        self.overlay_before = Some(old.clone());
        Ok(())
    }

    /// The configuration whose overlay was saved is in force, or is not: then the values before it come back.
    fn settle_overlay(&mut self, applied: bool) {
        let Some(before) = self.overlay_before.take().filter(|_| !applied) else { return };
        if let Err(error) = before.write(&self.in_force.config.daemon.state_dir) {
            event!(ConfigWarning; "the values of the runtime API could not be put back: {error}");
        }
    }

    /// Keeps what is in force for `config plan`, `config show --running` and `start --last-good`.
    pub(super) fn keep_running(&self) {
        let running = Running::new(&self.manager, &self.in_force.loaded, self.generation);
        if let Err(error) = running.write(&self.in_force.config.daemon.state_dir) {
            event!(ConfigWarning; "the configuration in force could not be kept: {error}");
        }
    }

    /// Tells everybody how a transition ended.
    pub(super) fn finish(&mut self, reason: Reason, asked_by: Vec<Pid>, verdict: Verdict) {
        match reason {
            Reason::Start => return self.finish_start(verdict),
            Reason::Upgrade => {
                sender::set_levels(settings::levels(&self.in_force.config));
                sender::set_limits(logger::limits(&self.in_force.config, self.shared));
                return self.finish_upgrade(asked_by, verdict);
            }
            Reason::Interfaces => self.finish_interfaces(&verdict),
            Reason::Reload => {
                let applied = verdict.is_ok();
                self.settle_overlay(applied);
                if applied {
                    self.keep_running();
                }
                let counter = if applied { Counter::ReloadApplied } else { Counter::ReloadRefused };
                self.shared.slot(0).count(counter);
                self.shared.reloaded(boot_time(), applied);
                // First: who has just asked for more wants to read of it.
                sender::set_levels(settings::levels(&self.in_force.config));
                sender::set_limits(logger::limits(&self.in_force.config, self.shared));
                match &verdict {
                    Ok(words) => {
                        announce!(self.shared, ConfigReloaded, generation = self.generation; "configuration applied: {words}");
                    }
                    Err(why) => {
                        announce!(self.shared, ConfigRefused; "configuration refused, nothing has changed: {why}");
                    }
                }
                self.watch_as_configured();
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

    // --- the file ----------------------------------------------------------------------------------------

    /// Watches the file or stops doing so, as `daemon.watch_config` says.
    pub(super) fn watch_as_configured(&mut self) {
        let file = self.manager.sources().absolute_file();
        match file.filter(|_| self.in_force.config.daemon.watch_config) {
            None => self.watcher = None,
            Some(file) if self.watcher.is_none() => match Watcher::new(file, self.file_read) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(errno) => event!(DaemonWarning; "could not watch the configuration file: {errno}"),
            },
            Some(_) => (),
        }
    }

    /// Takes a change of the file for a wish to reload, when the file is quiet.
    pub(super) fn look_at_file(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        watcher.look();
        // What is under way may have read the file as it is now, or before.
        if self.transition.is_none() && self.attempt.is_none() && watcher.is_due() {
            announce!(self.shared, ConfigFileChanged; "the configuration file has changed");
            self.ask(Wish::Reload(Vec::new()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reload(pid: i32) -> Wish {
        Wish::Reload(vec![Pid::from_raw(pid)])
    }

    fn patch(pid: i32) -> Wish {
        Wish::Patch(Pid::from_raw(pid), Patch { tag: String::new(), json: "{}".into() })
    }

    #[test]
    fn reloads_become_one_but_never_across_a_patch() {
        let mut wishes = Wishes::default();
        for wish in [reload(1), Wish::Reload(Vec::new()), reload(2), patch(1), reload(1)] {
            wishes.add(wish).unwrap();
        }
        assert_eq!(wishes.take(), Some(Wish::Reload(vec![Pid::from_raw(1), Pid::from_raw(2)])));
        assert_eq!(wishes.take(), Some(patch(1)));
        assert_eq!(wishes.take(), Some(reload(1)));
        assert_eq!(wishes.take(), None);
    }

    #[test]
    fn wishes_are_bounded_and_signals_are_still_heard() {
        let mut wishes = Wishes::default();
        for _ in 0..MOST_WAITING {
            wishes.add(patch(1)).unwrap();
        }
        assert_eq!(wishes.add(patch(1)), Err(patch(1)));
        let mut wishes = Wishes::default();
        for _ in 0..MOST_WAITING {
            wishes.add(reload(1)).unwrap();
        }
        assert_eq!(wishes.add(reload(1)), Err(reload(1)));
        assert_eq!(wishes.add(Wish::Reload(Vec::new())), Ok(()));
    }
}
