//! The configuration in force, kept in the state folder: for `config show --running`, `config plan`, and to start with
//! it where the file is broken.
//!
//! Written by main at the start and at each reload. Like everything in the state folder it is believed only where the
//! reader itself or root wrote it. Owns the file, decides nothing.

use std::io;
use std::path::{Path, PathBuf};

use daemon_utils::state_file;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::overlay::Overlay;
use super::report::{Problem, Report};

/// Largest cache that is read, in bytes: more than the largest configuration file, which stands in it twice with the
/// place of each key.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The layout of the file; another number is another version's.
const FORMAT: u32 = 1;

/// A configuration in force, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    format: u32,
    /// The configuration file as an absolute path.
    pub file: Option<PathBuf>,
    /// The folder that relative paths start from.
    pub base: PathBuf,
    /// The generation of workers that it was put into force with.
    pub generation: u64,
    /// When, as in RFC 3339.
    pub at: String,
    /// The merged values and their origins, as in [`Loaded::document`](super::Loaded::document).
    pub document: Document,
    /// The same without the overlay.
    pub below: Document,
    /// What the runtime API had set.
    pub overlay: Overlay,
}

impl Running {
    /// Its name in `daemon.state_dir`.
    pub const FILE: &str = "running-config.json";

    /// What was loaded from `sources` and is in force as of now.
    pub fn new(manager: &super::ConfigManager, loaded: &super::Loaded, generation: u64) -> Self {
        Self {
            format: FORMAT,
            file: manager.sources().absolute_file(),
            base: manager.base(),
            generation,
            at: chrono::Local::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, false),
            document: loaded.document.clone(),
            below: loaded.below.clone(),
            overlay: loaded.overlay.clone(),
        }
    }

    /// Writes it to `state_dir`, for the owner alone. Errors: it could not be written; the one before is still there.
    pub fn write(&self, state_dir: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        state_file::replace(&state_dir.join(Self::FILE), &text, 0o600)
    }

    /// Reads the one in `state_dir`. Errors: there is none, somebody else could have written it, or it is damaged.
    pub fn read(state_dir: &Path) -> Result<Self, Report> {
        let path = state_dir.join(Self::FILE);
        let failed = |reason: String| Report::from(Problem::of_file(&path, reason));
        let text = state_file::read_owned(&path, MAX_BYTES)
            .map_err(|error| failed(format!("the configuration last in force cannot be read: {error}")))?
            .ok_or_else(|| {
                let problem = Problem::of_file(&path, "no configuration has been in force yet");
                Report::from(problem.with_hint("the daemon writes this file whenever it starts or reloads"))
            })?;
        let running: Self = serde_json::from_slice(&text)
            .map_err(|error| failed(format!("the configuration last in force is damaged: {error}")))?;
        running.known(&path)
    }

    /// The same if this version knows its format.
    pub(super) fn known(self, path: &Path) -> Result<Self, Report> {
        if self.format == FORMAT {
            return Ok(self);
        }
        let reason = format!("this was written by another version (format {})", self.format);
        Err(Problem::of_file(path, reason).into())
    }
}
