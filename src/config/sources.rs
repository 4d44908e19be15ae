//! Where a configuration comes from, and in which order: file, environment, `--set`; later ones hide earlier ones, key
//! by key. The overlay of the runtime API goes over all of them, see [`ConfigManager`](super::ConfigManager).
//!
//! Owns the order of the sources. Knows no key.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::value::Dict;
use serde::{Deserialize, Serialize};

use super::layers::Layers;
use super::places::Base;
use super::report::{Place, Problem, Report, Severity};
use super::{environment, file, flag};

/// The file that is read where nobody names one.
pub const DEFAULT_FILE: &str = "/etc/echo-daemon/config.yaml";

/// The environment variable that names the file.
pub const FILE_VARIABLE: &str = "ECHO_DAEMON_CONFIG";

/// Everything that a configuration is made of. Taken once, at the start, so that a reload gives the same answer
/// although the daemon's own folder and environment are others by then.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sources {
    /// The file, relative to `folder`; none: built-in defaults and `set` alone.
    pub file: Option<PathBuf>,
    /// The text of the file, where it is not to be read: then `file` is but the name that messages call it by.
    pub text: Option<String>,
    /// What followed each `--set`: `KEY=VALUE`.
    pub set: Vec<String>,
    /// The effective user; 0 chooses system paths as defaults, others paths of their own.
    pub euid: u32,
    /// The current folder of the caller, absolute.
    pub folder: PathBuf,
    /// The environment: variables that begin with `ECHO_DAEMON__` say values; `XDG_RUNTIME_DIR`, `XDG_STATE_HOME` and
    /// `HOME` say default places of files.
    pub environment: BTreeMap<String, OsString>,
}

impl Sources {
    /// The sources as this process sees them. Errors: the current folder is gone, and something depends on it.
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> std::io::Result<Self> {
        let folder = match std::env::current_dir() {
            // Every relative path starts from the file's folder.
            Err(_) if file.as_ref().is_some_and(|file| file.is_absolute()) => PathBuf::from("/"),
            folder => folder?,
        };
        Ok(Self {
            file,
            text: None,
            set,
            euid: nix::unistd::geteuid().as_raw(),
            folder,
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .collect(),
        })
    }

    /// Whether the daemon runs as root.
    pub fn root(&self) -> bool {
        self.euid == 0
    }

    /// The configuration file as an absolute path.
    pub fn absolute_file(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|file| self.folder.join(file))
    }

    /// The folder that relative paths start from: the file's, else the caller's.
    pub fn base(&self) -> PathBuf {
        let parent = self.absolute_file().and_then(|file| file.parent().map(Path::to_owned));
        parent.unwrap_or_else(|| self.folder.clone())
    }
}

/// The file to read: `flag`, else `$ECHO_DAEMON_CONFIG`, else [`DEFAULT_FILE`].
pub fn find_file(flag: Option<PathBuf>) -> PathBuf {
    let named = || std::env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
    flag.or_else(named).unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
}

/// How much of the sources is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything.
    Whole,
    /// The section `daemon`: what is broken elsewhere does not count.
    DaemonSection,
}

/// Reads all sources but the overlay of the runtime API. Errors: everything that keeps a source from being read at all.
pub(super) fn read(sources: &Sources, extent: Extent) -> Result<Layers, Report> {
    let mut problems = Vec::new();
    let (base, dict) = match &sources.file {
        None => (Base::None, Dict::new()),
        Some(name) => match file::read(name, &sources.folder.join(name), sources.text.as_deref(), extent) {
            Ok((dict, text)) => (Base::File(text), dict),
            Err(found) => {
                problems.extend(found.problems);
                (Base::None, Dict::new())
            }
        },
    };
    // Names of variables are understood by what the file says.
    let environment = environment::read(&sources.environment, &dict);
    let mut layers = Layers::new(base, dict);
    for (place, dict) in environment.layers {
        layers.push(place, dict);
    }
    if extent == Extent::Whole {
        problems.extend(environment.problems);
    }
    for (index, flag) in sources.set.iter().enumerate() {
        let place = Place::Set { index, flag: flag.clone() };
        match flag::read(flag) {
            Ok(dict) => layers.push(place, dict),
            Err((reason, hint)) => problems.push(Problem {
                severity: Severity::Error,
                place,
                key: String::new(),
                reason,
                hint,
                text: None,
            }),
        }
    }
    if problems.is_empty() { Ok(layers) } else { Err(Report::new(problems)) }
}
