//! Why an output cannot be used, in words for its user. Made by the outputs, shown by main and by the logger.

use std::io;
use std::path::PathBuf;

/// Why an output cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The path cannot be used with the rotation.
    #[error("could not use log file {path:?}: {reason}")]
    Name {
        /// The log file.
        path: PathBuf,
        /// What is wrong with the path.
        reason: &'static str,
    },
    /// The folder is missing and cannot be created.
    #[error("could not create the folder of log file {path:?}: {source}")]
    Folder {
        /// The log file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else than a file is there.
    #[error("could not open log file {path:?}: it is {kind}")]
    NotAFile {
        /// The log file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The file cannot be opened or created.
    #[error("could not open log file {path:?}: {source}")]
    Open {
        /// The log file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line could not be written.
    #[error("could not write log file {path:?}: {reason}")]
    Write {
        /// The log file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Two outputs would write to the same file, or one to the other's rotated files.
    #[error("could not use log file {path:?}: two outputs would write to it")]
    Shared {
        /// The log file.
        path: PathBuf,
    },
    /// No such syslog facility.
    #[error("unknown syslog facility {name:?}")]
    Facility {
        /// The name.
        name: String,
    },
    /// Not an address of a syslog daemon.
    #[error("could not understand syslog address {address:?}")]
    Address {
        /// The address.
        address: String,
    },
    /// The syslog daemon cannot be reached.
    #[error("could not send to syslog at {address:?}: {reason}")]
    Syslog {
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
    /// stderr cannot be written.
    #[error("could not write to the console: {reason}")]
    Console {
        /// Why not.
        reason: String,
    },
}

impl OutputError {
    /// What the user can do, as one line.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Name { .. } => "choose a plain path for the log file".to_owned(),
            Self::Folder { folder, .. } => {
                format!(
                    "create \"{}\" with write permission for the user that starts the daemon",
                    folder.display()
                )
            }
            Self::NotAFile { .. } => "name a regular file: links and devices are not followed".to_owned(),
            Self::Open { path, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("start as a user that may write \"{}\", or choose another log file", path.display())
            }
            Self::Shared { .. } => "give every output a file of its own".to_owned(),
            Self::Facility { .. } => {
                "facilities are daemon, user, local0 to local7, … (syslog(3))".to_owned()
            }
            Self::Address { .. } => "give an absolute path such as /dev/log, or udp://host:514".to_owned(),
            Self::Open { .. } | Self::Write { .. } | Self::Syslog { .. } | Self::Console { .. } => {
                return None;
            }
        })
    }
}
