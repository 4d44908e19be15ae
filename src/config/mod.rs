//! The configuration: from what an administrator said to values that need no further check.
//!
//! Knows no packet and opens nothing but the configuration file. Used by the commands and by the supervisor; the
//! rest of the program sees [`Config`] alone.
//!
//! | step | file |
//! |---|---|
//! | read the sources | `sources`: `file` with its `formats`, `environment`, `flag`; `overlay`; one spelling for all: `spelling` |
//! | merge them, remember where each value came from | `layers`, `tree`, `places` |
//! | read every key into its type, go on after an error, name unknown keys | `section`, `sound`, `leaf`, `address`, `identity`, `field`, `outputs`, `units` |
//! | one file for the sections that belong together | `daemon`, `logging`, `echo`, `dhcp`, `common`, `class`, `security`, `subnet`, `host` |
//! | check the sections against each other | `checks` |
//! | show what is wrong, and what may have been meant | `report`, `mistyped` |
//! | tell what a reload cannot change | `restart` |
//! | tell two configurations apart, for people | `changes` |
//! | every key's value in force, and what each may be | `catalogue`, `schema` |
//! | write a configuration as YAML | `print` |
//! | the merged values and their origins, for people; kept for the next start | `document`, `cache` |

use std::path::{Path, PathBuf};
use std::sync::Arc;

mod address;
mod cache;
mod catalogue;
mod changes;
mod checks;
mod class;
mod common;
mod daemon;
mod dhcp;
mod document;
mod echo;
mod environment;
mod field;
mod file;
mod flag;
mod formats;
mod host;
mod identity;
mod layers;
mod leaf;
mod logging;
pub mod mistyped;
pub mod model;
pub mod network;
mod outputs;
mod overlay;
pub mod pattern;
mod places;
mod print;
mod report;
mod restart;
mod schema;
mod section;
mod security;
mod sound;
mod sources;
mod spelling;
mod subnet;
#[cfg(test)]
mod tests;
mod tree;
mod units;

pub use cache::Running;
pub use changes::{KeyChange, Side, changes, sockets};
pub use document::Document;
pub use identity::{hex_with_colons, with_colons};
pub use model::Config;
pub use network::{AddressRange, Network};
pub use overlay::Overlay;
pub use print::scalar as yaml_scalar;
pub use report::{Place, Problem, Report, Severity};
pub use restart::changes_needing_restart;
pub use schema::schema;
pub use sources::{DEFAULT_FILE, FILE_VARIABLE, Sources, find_file};
pub use units::{DurationError, parse_duration, show_duration};

use layers::{Layers, Merged};
use overlay::Unreadable;
use places::Base;
use section::Reader;
use sources::Extent;

/// Loads the configuration from its sources, as often as asked.
#[derive(Debug, Clone)]
pub struct ConfigManager {
    sources: Sources,
    /// Taken instead of file, environment and flags.
    cached: Option<Arc<Running>>,
    /// Where relative paths start, if not at the file's folder.
    base: Option<PathBuf>,
}

/// A configuration in which no error was found.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What an operator should look at.
    pub warnings: Vec<Problem>,
    /// The same for people: every value as it was said, and where.
    pub document: Document,
    /// Every value in force, defaults included, and where it was said.
    pub effective: Document,
    /// The same without the overlay.
    pub below: Document,
    /// What the runtime API has set.
    pub overlay: Overlay,
}

/// What a higher layer found wrong, or worth a look: the dotted key (such as `dhcp.subnets.lan.options.routers`), the reason, a hint.
pub type Finding = (String, String, Option<String>);

impl ConfigManager {
    /// A manager for these sources.
    pub fn new(sources: Sources) -> Self {
        Self { sources, cached: None, base: None }
    }

    /// A manager that loads what was last in force, from the cache in the state folder, in the place of file,
    /// environment and `--set`: to start although the file is broken. Where the state folder is, the file says if it
    /// can still be told. Errors: that is not to be told, or the cache cannot be used.
    pub fn last_good(&self) -> Result<Self, Report> {
        let state_dir = self.load_leniently()?.daemon.state_dir;
        let running = Running::read(&state_dir)?;
        Ok(Self { sources: self.sources.clone(), cached: Some(Arc::new(running)), base: None })
    }

    /// A manager that loads what another process of this daemon has in force, from that and nothing else. Errors: it was
    /// written by another version.
    pub fn of_running(sources: Sources, running: Running) -> Result<Self, Report> {
        Ok(Self { sources, cached: Some(Arc::new(running.known(Path::new(Running::FILE))?)), base: None })
    }

    /// The sources it loads from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The same with relative paths starting elsewhere: for a draft that is to take another file's place.
    #[must_use]
    pub fn starting_at(self, base: PathBuf) -> Self {
        Self { base: Some(base), ..self }
    }

    /// The folder that relative paths start from.
    pub fn base(&self) -> PathBuf {
        if let Some(base) = &self.base {
            return base.clone();
        }
        self.cached.as_ref().map_or_else(|| self.sources.base(), |running| running.base.clone())
    }

    /// Reads what can be read, for commands that only need to find the running daemon: a wrong value elsewhere
    /// in the file, even one by which it is no YAML, JSON or INI, must not keep anybody from stopping it. Errors: the
    /// sources cannot be read at all, or something under `daemon` is wrong.
    pub fn load_leniently(&self) -> Result<Config, Report> {
        let layers = self
            .layers()
            .or_else(|whole| sources::read(&self.sources, Extent::DaemonSection).map_err(|_| whole))?;
        let Merged { tree, places } = layers.merged()?;
        let base = self.base();
        let reader = Reader::new(&tree, &places, &base);
        let config = read(&reader, &daemon::Paths::new(&self.sources));
        let mut problems = reader.into_problems();
        problems.retain(|problem| problem.severity == Severity::Error && problem.key.starts_with("daemon"));
        if problems.is_empty() { Ok(config) } else { Err(Report::new(problems)) }
    }

    /// What all sources but the overlay say. Errors: a source cannot be read at all.
    pub fn below_overlay(&self) -> Result<Document, Report> {
        let Merged { tree, places } = self.layers()?.merged()?;
        Ok(Document::new(&tree, &places))
    }

    /// All sources but the overlay.
    fn layers(&self) -> Result<Layers, Report> {
        match &self.cached {
            None => sources::read(&self.sources, Extent::Whole),
            Some(running) => {
                let Document { values, origins } = running.below.clone();
                Ok(Layers::new(Base::Noted(origins), tree::dict_of_json(&values)))
            }
        }
    }

    /// Reads all sources anew. Errors: everything that is wrong with them, at once.
    pub fn load(&self) -> Result<Loaded, Report> {
        self.load_with(|_| Vec::new(), |_| Vec::new())
    }

    /// The same with the checks of a higher layer, so that what they find is reported together with all else.
    ///
    /// `errors` and `warnings` get what could be read, with defaults in the place of what is wrong.
    pub fn load_with(
        &self,
        errors: impl FnOnce(&Config) -> Vec<Finding>,
        warnings: impl FnOnce(&Config) -> Vec<Finding>,
    ) -> Result<Loaded, Report> {
        self.load_looking(errors, warnings, |_| Vec::new())
    }

    /// The same with a look at what the configuration names. What is found there counts only where the key was read
    /// without an error: else a default stands in for it.
    pub fn load_looking(
        &self,
        errors: impl FnOnce(&Config) -> Vec<Finding>,
        warnings: impl FnOnce(&Config) -> Vec<Finding>,
        look: impl FnOnce(&Config) -> Vec<(Severity, Finding)>,
    ) -> Result<Loaded, Report> {
        let layers = self.layers()?;
        let (overlay, notes) = self.own_overlay(&layers)?;
        self.finish(layers, &overlay, notes, errors, warnings, look)
    }

    /// The same with `overlay` in the place of the one in the state folder: to see whether it would do.
    pub fn load_with_overlay(
        &self,
        overlay: &Overlay,
        errors: impl FnOnce(&Config) -> Vec<Finding>,
        warnings: impl FnOnce(&Config) -> Vec<Finding>,
    ) -> Result<Loaded, Report> {
        self.finish(self.layers()?, overlay, Vec::new(), errors, warnings, |_| Vec::new())
    }

    /// The overlay in the state folder that the other sources name, and warnings about it. Errors: it is there and
    /// cannot be used.
    fn own_overlay(&self, layers: &Layers) -> Result<(Overlay, Vec<Problem>), Report> {
        if let Some(running) = &self.cached {
            return Ok((running.overlay.clone(), Vec::new()));
        }
        let Merged { tree, places } = layers.merged()?;
        let base = self.base();
        let reader = Reader::new(&tree, &places, &base);
        let state_dir =
            daemon::read(reader.root().child("daemon"), &daemon::Paths::new(&self.sources)).state_dir;
        let is_file = |path: &Path| std::fs::metadata(path).is_ok_and(|found| !found.is_dir());
        if !reader.is_sound("daemon.state_dir") || state_dir.ancestors().any(is_file) {
            // It is reported with everything else.
            return Ok((Overlay::default(), Vec::new()));
        }
        match Overlay::read(&state_dir) {
            Ok(overlay) => Ok((overlay, Vec::new())),
            Err(Unreadable::LeftOut(problem)) => Ok((Overlay::default(), vec![(*problem).as_warning()])),
            Err(Unreadable::Wrong(report)) => Err(report),
        }
    }

    fn finish(
        &self,
        mut layers: Layers,
        overlay: &Overlay,
        notes: Vec<Problem>,
        errors: impl FnOnce(&Config) -> Vec<Finding>,
        warnings: impl FnOnce(&Config) -> Vec<Finding>,
        look: impl FnOnce(&Config) -> Vec<(Severity, Finding)>,
    ) -> Result<Loaded, Report> {
        let merged = layers.merged()?;
        let below = Document::new(&merged.tree, &merged.places);
        layers.push(Place::Api, overlay.dict());
        let Merged { tree, places } = layers.merged()?;
        let base = self.base();
        let reader = Reader::new(&tree, &places, &base);
        let config = read(&reader, &daemon::Paths::new(&self.sources));
        checks::check(&config, &reader);
        for (key, reason, hint) in errors(&config) {
            reader.error(&key, reason, hint);
        }
        let hidden = overlay.hidden(&below).into_iter().filter(|(key, ..)| reader.is_sound(key));
        for (key, reason, hint) in warnings(&config).into_iter().chain(hidden.collect::<Vec<_>>()) {
            reader.warning(&key, reason, hint);
        }
        let seen = look(&config).into_iter().filter(|(_, (key, ..))| reader.is_sound(key));
        for (severity, (key, reason, hint)) in seen.collect::<Vec<_>>() {
            match severity {
                Severity::Error => reader.error(&key, reason, hint),
                Severity::Warning => reader.warning(&key, reason, hint),
            }
        }
        let effective = reader.effective();
        let mut problems = reader.into_problems();
        problems.extend(notes);
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(Report::new(problems));
        }
        let document = Document::new(&tree, &places);
        let warnings = Report::new(problems).problems;
        Ok(Loaded { config, warnings, document, effective, below, overlay: overlay.clone() })
    }
}

/// Reads every section.
fn read(reader: &Reader<'_>, paths: &daemon::Paths) -> Config {
    let root = reader.root();
    let daemon = daemon::read(root.child("daemon"), paths);
    let config = Config {
        logging: logging::read(root.child("logging"), paths),
        tcp: echo::tcp(root.child("tcp")),
        udp: echo::udp(root.child("udp")),
        api: echo::api(root.child("api")),
        dhcp: dhcp::read(root.child("dhcp"), &daemon.state_dir),
        daemon,
    };
    root.finish();
    config
}
