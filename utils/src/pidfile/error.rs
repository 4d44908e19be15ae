//! What can be wrong with a PID file.

use std::io;
use std::path::PathBuf;

use nix::unistd::Pid;

/// Why a PID file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// Somebody holds its lock.
    #[error("already running{}: PID file {path:?} is locked", with_pid(*pid))]
    Running {
        /// The file.
        path: PathBuf,
        /// The number in it, unless it has none.
        pid: Option<Pid>,
    },
    /// It is a symbolic link, which might lead to any file.
    #[error("PID file {path:?} is a symbolic link")]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// Something else than a file with one name stands there.
    #[error("PID file {path:?} is {found}")]
    NotRegular {
        /// Where.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The system refused something.
    #[error("could not use PID file {path:?}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

impl PidFileError {
    /// What the operator can do, if there is something; printed on a line of its own behind `hint: `.
    pub fn hint(&self) -> Option<String> {
        match self {
            PidFileError::Running { .. } => Some("use `stop` or `restart`".to_owned()),
            PidFileError::Symlink { .. } | PidFileError::NotRegular { .. } => {
                Some("remove it, or set daemon.pid_file to another path".to_owned())
            }
            PidFileError::Io { path, source } => {
                let folder = path.parent().unwrap_or(path).display();
                match source.kind() {
                    io::ErrorKind::NotFound => Some(format!("make the folder {folder}")),
                    io::ErrorKind::PermissionDenied => {
                        Some(format!("start as root, or set daemon.pid_file to a folder other than {folder}"))
                    }
                    _ => None,
                }
            }
        }
    }
}

fn with_pid(pid: Option<Pid>) -> String {
    pid.map(|pid| format!(" with PID {pid}")).unwrap_or_default()
}
