//! Tests of the whole loader: files as users write them, and exactly what users read when they are wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

mod cache;
mod checks;
mod classes;
mod defaults;
mod environment;
mod formats;
mod hosts;
mod links;
mod overlay;
mod refusals;
mod security;

/// The sources of a caller in `folder`, as root and with an empty environment.
fn sources(folder: &Path) -> Sources {
    Sources { folder: folder.to_owned(), ..Sources::default() }
}

/// Loads `text` as the file `c.yaml` with the given `--set` flags.
fn load_with(text: &str, set: &[&str]) -> Result<Loaded, Report> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.yaml"), text).unwrap();
    let set = set.iter().map(|&flag| flag.to_owned()).collect();
    let file = Some(PathBuf::from("c.yaml"));
    ConfigManager::new(Sources { file, set, ..sources(folder.path()) }).load()
}

/// Loads `text` as a file of this name.
fn load_as(name: &str, text: &str) -> Result<Loaded, Report> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    ConfigManager::new(Sources { file: Some(name.into()), ..sources(folder.path()) }).load()
}

pub(super) fn load(text: &str) -> Result<Loaded, Report> {
    load_with(text, &[])
}

/// The configuration of `text`, to which a DHCP section that is in order was added.
fn config_of(text: &str, set: &[&str]) -> Config {
    load_with(&format!("{text}\ndhcp: {{enabled: false}}\n"), set)
        .unwrap_or_else(|report| panic!("{report}"))
        .config
}

fn refusal_of(text: &str) -> String {
    load(text).map(|loaded| loaded.config).unwrap_err().to_string()
}

/// Checks that `text` is refused with exactly `expected`.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let printed = refusal_of(text);
    assert_eq!(printed, expected.trim_matches('\n'), "\n--- printed:\n{printed}\n--- for:\n{text}");
}

/// A file whose subnet `lan` (10.0.0.0/24) has this further line.
fn lan(line: &str) -> String {
    format!("dhcp:\n  interfaces: [eth0]\n  subnets:\n    lan:\n      network: 10.0.0.0/24\n      {line}\n")
}

/// The warnings of a file that is accepted, as they are printed.
#[track_caller]
fn warnings_of(text: &str) -> String {
    let loaded = load(text).unwrap_or_else(|report| panic!("{report}"));
    loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
