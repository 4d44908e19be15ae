//! Where a configuration comes from: the file and `--set`, each a layer that hides the one before it, key by key.
//!
//! Owns the order of the sources and their merge, and remembers where each value came from. Knows no key. Used by
//! [`ConfigManager`](super::ConfigManager); JSON, INI, the environment and the overlay of the runtime API become
//! further [`Layer`]s.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::places::{FileText, Places};
use super::report::{Place, Problem, Report, Severity};
use super::{file, spelling, yaml};

/// The file that is read where nobody names one.
pub const DEFAULT_FILE: &str = "/etc/echo-daemon/config.yaml";

/// The environment variable that names the file.
pub const FILE_VARIABLE: &str = "ECHO_DAEMON_CONFIG";

/// Everything that a configuration is made of. Taken once, at the start, so that a reload gives the same answer
/// although the daemon's own folder and environment are others by then.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, relative to `folder`; none: built-in defaults and `set` alone.
    pub file: Option<PathBuf>,
    /// What followed each `--set`: `KEY=VALUE`.
    pub set: Vec<String>,
    /// The effective user; 0 chooses system paths as defaults, others paths of their own.
    pub euid: u32,
    /// The current folder of the caller, absolute.
    pub folder: PathBuf,
    /// The environment; `XDG_RUNTIME_DIR`, `XDG_STATE_HOME` and `HOME` count.
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

/// One source, ready to be merged.
struct Layer {
    /// Its position among the layers, by which its values are known again.
    position: usize,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.position.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

/// Reads and merges all sources. Errors: everything that keeps a source from being read at all.
pub(super) fn merge(sources: &Sources) -> Result<(Dict, Places), Report> {
    merge_with(sources, file::read)
}

/// The same with nothing of the file but its `daemon` section.
pub(super) fn merge_daemon_section(sources: &Sources) -> Result<(Dict, Places), Report> {
    merge_with(sources, file::read_daemon_section)
}

/// Reads a file that messages call by the first path.
type ReadFile = fn(&Path, &Path) -> Result<(Dict, FileText), Report>;

fn merge_with(sources: &Sources, read: ReadFile) -> Result<(Dict, Places), Report> {
    let mut problems = Vec::new();
    let mut figment = Figment::new();
    let mut text = None;
    if let Some(name) = &sources.file {
        match read(name, &sources.folder.join(name)) {
            Ok((dict, read)) => {
                figment = figment.merge(Layer { position: 0, dict });
                text = Some(read);
            }
            Err(found) => problems.extend(found.problems),
        }
    }
    for (index, flag) in sources.set.iter().enumerate() {
        match read_flag(flag) {
            Ok(dict) => figment = figment.merge(Layer { position: index + 1, dict }),
            Err((reason, hint)) => problems.push(Problem {
                severity: Severity::Error,
                place: Place::Set { index, flag: flag.clone() },
                key: String::new(),
                reason,
                hint,
                text: None,
            }),
        }
    }
    if !problems.is_empty() {
        return Err(Report::new(problems));
    }
    let merged = figment.data().map_err(|error| Report::from(Problem::of_file("", error.to_string())))?;
    let tree = merged.into_values().next().unwrap_or_default();
    let layer_of = |tag| figment.get_metadata(tag).and_then(|data| data.name.parse().ok());
    Ok((tree.clone(), Places::new(text, sources.set.clone(), &tree, layer_of)))
}

/// `KEY=VALUE`: a dotted key and a value in YAML.
fn read_flag(flag: &str) -> Result<Dict, (String, Option<String>)> {
    let example = || Some("write --set tcp.port=9000".to_owned());
    let (key, text) = flag.split_once('=').ok_or_else(|| ("no value is given".to_owned(), example()))?;
    let words: Vec<&str> = key.trim().split('.').collect();
    if words.iter().any(|word| word.is_empty()) {
        return Err((format!("\"{key}\" is not a key"), example()));
    }
    let value = yaml::value(text).map_err(|error| {
        let quoted = "text with characters that mean something in YAML needs quotes: KEY='\"VALUE\"'";
        (format!("the value cannot be read: {}", error.reason), Some(quoted.to_owned()))
    })?;
    let nested = words.into_iter().rev().fold(value, |value, word| {
        let mut dict = Dict::new();
        dict.insert(word.to_owned(), value);
        dict.into()
    });
    let Value::Dict(_, mut dict) = nested else { return Err(("no key is given".to_owned(), example())) };
    // A flag says one thing, so an alias cannot meet its twin here.
    spelling::rename_aliases(&mut dict);
    spelling::spell_out_lease_times(&mut dict);
    Ok(dict)
}
