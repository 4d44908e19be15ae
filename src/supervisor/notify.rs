//! What systemd is told (`sd_notify(3)`): only where it started us in the foreground and gave `NOTIFY_SOCKET`.

use sd_notify::NotifyState;

use super::Supervisor;

impl Supervisor {
    /// Every worker serves.
    pub(super) fn notify_ready(&self) {
        self.notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    }

    /// A reload has begun; `notify_ready` ends it, whatever came of it.
    pub(super) fn notify_reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.notify(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
            Err(error) => log::debug!("no monotonic clock for systemd: {error}"),
        }
    }

    /// The daemon is on its way down.
    pub(super) fn notify_stopping(&self) {
        self.notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    fn notify(&self, state: &[NotifyState<'_>]) {
        if self.foreground
            && let Err(error) = sd_notify::notify(state)
        {
            log::debug!("could not notify systemd: {error}");
        }
    }
}
