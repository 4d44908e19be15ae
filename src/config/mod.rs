//! The configuration: from what an administrator said to values that need no further check.
//!
//! Knows no packet and opens nothing but the configuration file. Used by the commands and by the supervisor; the
//! rest of the program sees [`Config`] alone.
//!
//! | step | file |
//! |---|---|
//! | read and merge the file and `--set`, remember where each value came from | `sources`, `file`, `spelling`, `yaml`, `tree`, `places` |
//! | read every key into its type, go on after an error, name unknown keys | `section`, `leaf`, `address`, `identity`, `field`, `units` |
//! | one file for the sections that belong together | `daemon`, `logging`, `echo`, `dhcp`, `common`, `class`, `security`, `subnet`, `host` |
//! | check the sections against each other | `checks` |
//! | show what is wrong | `report` |
//! | tell what a reload cannot change | `restart` |
//! | every key's value in force, and what each may be | `catalogue`, `schema` |
//! | write a configuration as YAML | `print` |
//! | the merged values and their origins, for people | `document` |

mod address;
mod catalogue;
mod checks;
mod class;
mod common;
mod daemon;
mod dhcp;
mod document;
mod echo;
mod field;
mod file;
mod host;
mod identity;
mod leaf;
mod logging;
pub mod model;
pub mod network;
pub mod pattern;
mod places;
mod print;
mod report;
mod restart;
mod schema;
mod section;
mod security;
mod sources;
mod spelling;
mod subnet;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod yaml;

pub use document::Document;
pub use identity::{hex_with_colons, with_colons};
pub use model::Config;
pub use network::{AddressRange, Network};
pub use print::scalar as yaml_scalar;
pub use report::{Place, Problem, Report, Severity};
pub use restart::changes_needing_restart;
pub use schema::schema;
pub use sources::{DEFAULT_FILE, FILE_VARIABLE, Sources, find_file};
pub use units::{DurationError, parse_duration};

use section::Reader;

/// Loads the configuration from its sources, as often as asked.
#[derive(Debug, Clone)]
pub struct ConfigManager {
    sources: Sources,
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
}

/// What a higher layer found wrong, or worth a look: the dotted key (such as `dhcp.subnets.lan.options.routers`), the reason, a hint.
pub type Finding = (String, String, Option<String>);

impl ConfigManager {
    /// A manager for these sources.
    pub fn new(sources: Sources) -> Self {
        Self { sources }
    }

    /// The sources it loads from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Reads what can be read, for commands that only need to find the running daemon: a wrong value elsewhere
    /// in the file, even one by which it is no YAML, must not keep anybody from stopping it. Errors: the sources
    /// cannot be read at all, or something under `daemon` is wrong.
    pub fn load_leniently(&self) -> Result<Config, Report> {
        let (tree, places) = sources::merge(&self.sources)
            .or_else(|whole| sources::merge_daemon_section(&self.sources).map_err(|_| whole))?;
        let base = self.sources.base();
        let reader = Reader::new(&tree, &places, &base);
        let config = read(&reader, &daemon::Paths::new(&self.sources));
        let mut problems = reader.into_problems();
        problems.retain(|problem| problem.severity == Severity::Error && problem.key.starts_with("daemon"));
        if problems.is_empty() { Ok(config) } else { Err(Report::new(problems)) }
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
        let (tree, places) = sources::merge(&self.sources)?;
        let base = self.sources.base();
        let reader = Reader::new(&tree, &places, &base);
        let config = read(&reader, &daemon::Paths::new(&self.sources));
        checks::check(&config, &reader);
        for (key, reason, hint) in errors(&config) {
            reader.error(&key, reason, hint);
        }
        for (key, reason, hint) in warnings(&config) {
            reader.warning(&key, reason, hint);
        }
        let effective = reader.effective();
        let problems = reader.into_problems();
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(Report::new(problems));
        }
        let document = Document::new(&tree, &places);
        Ok(Loaded { config, warnings: Report::new(problems).problems, document, effective })
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
