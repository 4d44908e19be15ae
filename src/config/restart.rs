//! What a reload cannot change: main holds these since its start, and the running processes are found by them.

use super::model::{Config, Daemon};

/// The keys that differ between `old` and `new` and take effect after a restart only.
pub fn changes_needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    // Taken apart in full, so that a new key cannot be forgotten here.
    let Daemon { daemonize, pid_file, control_socket, state_dir, user, watch_config: _, shutdown_timeout: _ } =
        &old.daemon;
    let rows = [
        ("daemon.daemonize", *daemonize != new.daemon.daemonize),
        ("daemon.pid_file", *pid_file != new.daemon.pid_file),
        ("daemon.control_socket", *control_socket != new.daemon.control_socket),
        ("daemon.state_dir", *state_dir != new.daemon.state_dir),
        ("daemon.user", *user != new.daemon.user),
        ("dhcp.store.path", old.dhcp.store.path != new.dhcp.store.path),
    ];
    rows.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
