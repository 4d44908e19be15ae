//! The two configurations that are compared: the one in force, and the file that is proposed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use daemon_utils::pidfile::{self, Holder};
use serde::Serialize;

use crate::cli::Invocation;
use crate::config::{ConfigManager, Document, Loaded, Place, Running, Sources};
use crate::supervisor::settings;

/// What the proposed file is held against.
#[derive(Debug, Serialize)]
#[serde(tag = "source", rename_all = "lowercase")]
pub(super) enum Against {
    /// What the running daemon has in force.
    Running {
        /// Since when, as in RFC 3339.
        since: String,
    },
    /// What was in force last: no daemon runs.
    Last {
        /// Since when, as in RFC 3339.
        since: String,
    },
    /// The file of `-c`.
    File {
        /// The file.
        file: PathBuf,
        /// Why it is not what was in force.
        reason: String,
    },
}

/// The file that is proposed.
pub(super) struct Proposed {
    pub(super) manager: ConfigManager,
    pub(super) shown: PathBuf,
}

/// Both sides. Errors: neither what is in force nor the file of `-c` can be read.
pub(super) fn of(invocation: &Invocation, file: &Path) -> Result<(Loaded, Against, Proposed), String> {
    let manager = invocation.manager()?;
    let cached = cached(&manager);
    let sources = |set: Vec<String>| {
        Sources::of_process(Some(file.to_owned()), set)
            .map_err(|error| format!("could not tell the current folder: {error}"))
    };
    let (old, against, sources, base) = match cached {
        Ok((last, settings, running)) => {
            let since = running.at.clone();
            let runs = matches!(pidfile::holder(&settings.config.daemon.pid_file), Ok(Holder::Running(_)));
            let against = if runs { Against::Running { since } } else { Against::Last { since } };
            // The daemon keeps to the flags and the environment that it was started with.
            let flags = flags(&running.below);
            let set = if invocation.set.is_empty() { flags } else { invocation.set.clone() };
            let mut sources = sources(set)?;
            for (name, value) in variables(&running.below) {
                sources.environment.entry(name).or_insert(value);
            }
            (settings, against, sources, last.base())
        }
        Err(reason) => {
            let settings = settings::load(&manager).map_err(|report| report.to_string())?;
            let against =
                Against::File { file: manager.sources().absolute_file().unwrap_or_default(), reason };
            (settings, against, sources(invocation.set.clone())?, manager.base())
        }
    };
    let manager = ConfigManager::new(sources).starting_at(base);
    Ok((old, against, Proposed { manager, shown: file.to_owned() }))
}

/// What was last in force, where this user may know it.
fn cached(manager: &ConfigManager) -> Result<(ConfigManager, Loaded, Running), String> {
    let plain = |report: crate::config::Report| {
        report.problems.first().map(|problem| problem.reason.clone()).unwrap_or_default()
    };
    let state_dir = manager.load_leniently().map_err(plain)?.daemon.state_dir;
    let running = Running::read(&state_dir).map_err(plain)?;
    let last = manager.last_good().map_err(plain)?;
    let settings = settings::load(&last).map_err(plain)?;
    Ok((last, settings, running))
}

/// Each `--set` of a document, in its order.
fn flags(document: &Document) -> Vec<String> {
    let flags = document.origins.values().filter_map(|place| match place {
        Place::Set { index, flag } => Some((*index, flag.clone())),
        Place::File { .. } | Place::Environment { .. } | Place::Api | Place::Default => None,
    });
    flags.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// The variables that a document has values of.
fn variables(document: &Document) -> Vec<(String, OsString)> {
    let named = document.origins.iter().filter_map(|(key, place)| match place {
        Place::Environment { variable } => Some((variable.clone(), document.find(key)?.to_string().into())),
        Place::File { .. } | Place::Set { .. } | Place::Api | Place::Default => None,
    });
    named.collect()
}
