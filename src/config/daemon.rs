//! Reads the section `daemon`, and knows where the daemon's files are where nobody says so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::leaf::UserName;
use super::model::Daemon;
use super::section::Section;
use super::sources::Sources;
use super::units::show_duration;

/// Default places of files, which depend on the user.
pub(super) struct Paths {
    pub(super) pid_file: PathBuf,
    pub(super) control_socket: PathBuf,
    pub(super) state_dir: PathBuf,
    /// Folder of the log files.
    pub(super) log_dir: PathBuf,
}

impl Paths {
    /// The system's places for root; else the user's own (XDG Base Directory Specification).
    pub(super) fn new(sources: &Sources) -> Self {
        if sources.root() {
            return Self {
                pid_file: "/var/run/echo-daemon.pid".into(),
                control_socket: "/var/run/echo-daemon.sock".into(),
                state_dir: "/var/lib/echo-daemon".into(),
                log_dir: "/var/log".into(),
            };
        }
        // The specification says that a relative path is to be ignored.
        let folder =
            |name: &str| sources.environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let private = Path::new("/tmp").join(format!("echo-daemon-{}", sources.euid));
        let runtime = folder("XDG_RUNTIME_DIR").unwrap_or_else(|| private.clone());
        let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
        let state = state.unwrap_or(private).join("echo-daemon");
        Self {
            pid_file: runtime.join("echo-daemon.pid"),
            control_socket: runtime.join("echo-daemon.sock"),
            state_dir: state.clone(),
            log_dir: state,
        }
    }
}

/// Reads `daemon`.
pub(super) fn read(section: Section<'_>, paths: &Paths) -> Daemon {
    let timeouts = Duration::from_millis(100)..=Duration::from_secs(3_600);
    let daemon = Daemon {
        daemonize: section.get("daemonize", true),
        pid_file: section.path("pid_file", paths.pid_file.clone()),
        control_socket: section.path("control_socket", paths.control_socket.clone()),
        state_dir: section.path("state_dir", paths.state_dir.clone()),
        user: section.get("user", UserName("echo-daemon".to_owned())).0,
        watch_config: section.get("watch_config", false),
        shutdown_timeout: section
            .within("shutdown_timeout", Duration::from_secs(5), timeouts, |d| show_duration(*d)),
    };
    // The path of a Unix socket has a bound of its own (unix(7)): 108 bytes with the zero byte.
    if daemon.control_socket.as_os_str().len() > 107 {
        let path = daemon.control_socket.display();
        let hint = "name a shorter path".to_owned();
        section.error(
            "control_socket",
            format!("{path} is too long for a socket: at most 107 bytes"),
            Some(hint),
        );
    }
    section.finish();
    daemon
}
