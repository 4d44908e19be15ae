//! Where a configuration comes from: the file and `--set`, each a layer that hides the one before it, key by key.
//!
//! Owns reading and merging, and remembers where each value came from. Knows the shape of the configuration only
//! where one thing can be said in two ways. Used by [`ConfigManager`](super::ConfigManager); JSON, INI, the
//! environment and the overlay of the runtime API become further [`Layer`]s.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::places::{FileText, Places};
use super::report::{Place, Problem, Report, Severity};
use super::yaml;

/// The file that is read where nobody names one.
pub const DEFAULT_FILE: &str = "/etc/echo-daemon/config.yaml";

/// The environment variable that names the file.
pub const FILE_VARIABLE: &str = "ECHO_DAEMON_CONFIG";

/// Largest configuration file, in bytes; more is taken for a wrong path such as a device.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What can be said under two names: as written → the name that the program reads.
const ALIASES: &[(&str, &str, &str)] = &[("udp", "port", "udp_port")];

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
    /// The sources as this process sees them. Errors: the current folder is gone.
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> std::io::Result<Self> {
        Ok(Self {
            file,
            set,
            euid: nix::unistd::geteuid().as_raw(),
            folder: std::env::current_dir()?,
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
    let mut problems = Vec::new();
    let mut figment = Figment::new();
    let mut file = None;
    if let Some(name) = &sources.file {
        match read_file(name, &sources.folder.join(name)) {
            Ok((dict, text)) => {
                figment = figment.merge(Layer { position: 0, dict });
                file = Some(text);
            }
            Err(found) => problems.extend(found),
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
    Ok((tree.clone(), Places::new(file, sources.set.clone(), &tree, layer_of)))
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
    rename_aliases(&mut dict, |_, _| {}, |_, _| {});
    spell_out_lease_times(&mut dict);
    Ok(dict)
}

fn read_file(name: &Path, path: &Path) -> Result<(Dict, FileText), Vec<Problem>> {
    check_ending(name).map_err(|problem| vec![problem])?;
    let text = read_text(name, path).map_err(|problem| vec![problem])?;
    let mut dict = yaml::parse(&text).map_err(|error| {
        let mut problem = Problem::of_file(name, error.reason);
        if let Some(mark) = error.at {
            let place = Place::File { file: name.into(), line: Some(mark.line), column: Some(mark.column) };
            problem.place = place;
            problem.text = text.lines().nth(mark.line.saturating_sub(1)).map(str::to_owned);
        }
        problem.hint = error.hint.map(str::to_owned);
        vec![problem]
    })?;
    let mut file = FileText::new(name.to_owned(), &text, yaml::Index::new(&text));
    let mut twins = Vec::new();
    let mut renamed = Vec::new();
    rename_aliases(
        &mut dict,
        |written, key| twins.push((written.to_owned(), key.to_owned())),
        |written, key| renamed.push((written.to_owned(), key.to_owned())),
    );
    for (written, key) in renamed {
        file.index.alias(&written, &key);
    }
    if !twins.is_empty() {
        let twin = |(written, key): (String, String)| {
            let mut problem = file.problem(&written, format!("{key} says the same thing and is given too"));
            problem.hint = Some("keep one of the two".to_owned());
            problem
        };
        return Err(twins.into_iter().map(twin).collect());
    }
    spell_out_lease_times(&mut dict);
    Ok((dict, file))
}

fn check_ending(name: &Path) -> Result<(), Problem> {
    match name.extension().and_then(|ending| ending.to_str()) {
        Some("yaml" | "yml") => Ok(()),
        Some(ending) => {
            let reason = format!("files ending in .{ending} cannot be read in this version");
            Err(Problem::of_file(name, reason).with_hint("name a file ending in .yaml or .yml"))
        }
        None => Err(Problem::of_file(name, "the file has no ending that tells its format")
            .with_hint("name a file ending in .yaml or .yml")),
    }
}

fn read_text(name: &Path, path: &Path) -> Result<String, Problem> {
    let failed = |what: &str, error: std::io::Error| {
        let problem = Problem::of_file(name, format!("{what}: {}", plain(&error)));
        if error.kind() == std::io::ErrorKind::NotFound {
            let how = format!("name the configuration file with -c FILE or in ${FILE_VARIABLE}");
            return problem.with_hint(how);
        }
        problem
    };
    let file = std::fs::File::open(path).map_err(|error| failed("the file could not be opened", error))?;
    if file.metadata().is_ok_and(|data| data.is_dir()) {
        return Err(Problem::of_file(name, "this is a folder, not a file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed("the file could not be read", error))?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(Problem::of_file(name, format!("the file is larger than {FILE_MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let mut problem = Problem::of_file(name, "the file is not UTF-8 text");
        problem.place = Place::File { file: name.into(), line: Some(line), column: None };
        problem.with_hint("save it as UTF-8")
    })
}

/// The reason without the number that the standard library adds.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Gives each alias the name that the program reads. `twin` is told where both names are given.
fn rename_aliases(dict: &mut Dict, mut twin: impl FnMut(&str, &str), mut renamed: impl FnMut(&str, &str)) {
    for (section, alias, key) in ALIASES {
        let Some(Value::Dict(_, dict)) = dict.get_mut(*section) else { continue };
        let Some(value) = dict.remove(*alias) else { continue };
        let (written, full) = (format!("{section}.{alias}"), format!("{section}.{key}"));
        if dict.contains_key(*key) {
            twin(&written, &full);
        } else {
            dict.insert((*key).to_owned(), value);
            renamed(&written, &full);
        }
    }
}

/// `lease_time: 2h` means `lease_time: {default: 2h}`; said so before the merge, a later source may still add to it.
fn spell_out_lease_times(dict: &mut Dict) {
    let Some(Value::Dict(_, dhcp)) = dict.get_mut("dhcp") else { return };
    spell_out_lease_time(dhcp);
    for subnet in sections(dhcp, "subnets") {
        spell_out_lease_time(subnet);
        for pool in sections(subnet, "pools") {
            spell_out_lease_time(pool);
        }
    }
}

fn spell_out_lease_time(dict: &mut Dict) {
    if let Some(value) = dict.get_mut("lease_time")
        && !matches!(value, Value::Dict(..) | Value::Empty(..))
    {
        let default = Dict::from([("default".to_owned(), value.clone())]);
        *value = default.into();
    }
}

fn sections<'a>(dict: &'a mut Dict, key: &str) -> impl Iterator<Item = &'a mut Dict> {
    let inner = match dict.get_mut(key) {
        Some(Value::Dict(_, inner)) => Some(inner),
        _ => None,
    };
    let dict_of = |value| match value {
        &mut Value::Dict(_, ref mut dict) => Some(dict),
        _ => None,
    };
    inner.into_iter().flat_map(Dict::values_mut).filter_map(dict_of)
}
