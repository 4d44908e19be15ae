//! The documentation cannot rot: every path, test and command that it names exists, and its tables of keys hold what the program says.
//! What is made from the sources is looked at in `made.rs`.

#[path = "../common/mod.rs"]
mod common;
mod made;
mod unsafe_code;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use echo_daemon::config::{Config, ConfigManager, Report, Sources};

/// Folders at the root of the repository: a word in backquotes that begins with one is a path.
const FOLDERS: [&str; 7] = ["src/", "utils/", "tests/", "docs/", "config/", "scripts/", "fuzz/"];
/// Built, not kept.
const MADE: [&str; 3] = ["target/", "fuzz/corpus", "fuzz/artifacts"];

/// The repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every page: its path in the repository and its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("README.md"), root().join("SECURITY.md"), root().join("CHANGELOG.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// A page's lines with the language of the fenced block that they stand in; none outside of one.
fn lines(text: &str) -> impl Iterator<Item = (usize, Option<&str>, &str)> {
    let mut block = None;
    text.lines().enumerate().filter_map(move |(number, line)| {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            block = if block.is_some() { None } else { Some(language.trim()) };
            return None;
        }
        Some((number + 1, block, line))
    })
}

/// The words in backquotes of a line.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The targets of the links of a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn unbraced(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (choice, after))) => {
            choice.split(',').flat_map(|part| unbraced(&format!("{before}{part}{after}"))).collect()
        }
        None => vec![path.to_owned()],
    }
}

/// Whether a path of the repository exists; `*` at its end stands for anything.
fn exists(path: &str) -> bool {
    match path.strip_suffix('*') {
        Some(beginning) => {
            let beginning = root().join(beginning);
            let (folder, start) = if beginning.is_dir() {
                (beginning.as_path(), "".into())
            } else {
                (beginning.parent().unwrap(), beginning.file_name().unwrap().to_string_lossy())
            };
            let names = fs::read_dir(folder).into_iter().flatten().flatten();
            names.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with(&*start))
        }
        None => root().join(path).exists(),
    }
}

fn is_made(path: &str) -> bool {
    MADE.iter().any(|made| path.starts_with(made))
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_path_named_in_the_documentation_exists() {
    let mut problems = Vec::new();
    for (page, text) in pages() {
        for (number, _, line) in lines(&text).filter(|(_, block, _)| block.is_none()) {
            let paths = spans(line)
                .filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder)) && !span.contains(' '))
                .map(|span| span.split("::").next().unwrap_or(span));
            for path in paths.flat_map(unbraced).filter(|path| !is_made(path) && !exists(path)) {
                problems.push(format!("{}:{number}: there is no {path}", page.display()));
            }
            for link in links(line).filter(|link| !link.contains("://") && !link.starts_with('#')) {
                let file = link.split('#').next().unwrap_or(link);
                if !page.parent().unwrap().join(file).exists() {
                    problems.push(format!("{}:{number}: the link {link} leads nowhere", page.display()));
                }
            }
        }
    }
    report(&problems);
}

/// `src/lease/offers.rs::name_of_a_test`: the file must hold a function of that name.
#[test]
fn every_test_named_in_the_documentation_exists() {
    let mut problems = Vec::new();
    for (page, text) in pages() {
        for (number, _, line) in lines(&text).filter(|(_, block, _)| block.is_none()) {
            for (path, name) in spans(line).filter_map(|span| span.split_once(".rs::")) {
                let source = fs::read_to_string(root().join(format!("{path}.rs"))).unwrap_or_default();
                if !source.contains(&format!("fn {name}(")) {
                    problems.push(format!("{}:{number}: {path}.rs has no test {name}", page.display()));
                }
            }
        }
    }
    report(&problems);
}

/// Commands as the shell blocks and the texts show them, without what is around them.
fn command(line: &str) -> Option<Vec<String>> {
    let line = line.trim().trim_start_matches("$ ").trim_start_matches("sudo ");
    let rest = line.strip_prefix("./echo-daemon ").or_else(|| line.strip_prefix("echo-daemon "))?;
    let words = rest
        .split_whitespace()
        .take_while(|word| !word.starts_with(['#', '|', '>', '<', '&', ';']) && *word != "2>&1");
    Some(words.map(|word| word.trim_matches(['\'', '"']).to_owned()).collect())
}

#[test]
fn every_command_shown_in_the_documentation_parses() {
    let mut shown = BTreeMap::new();
    for (page, text) in pages() {
        for (number, block, line) in lines(&text) {
            let place = format!("{}:{number}", page.display());
            let found: Vec<Vec<String>> = match block {
                Some("sh") => command(line).into_iter().collect(),
                // What follows no prompt is what the command printed.
                Some("console") => {
                    let typed = line.strip_prefix("$ ").or_else(|| line.strip_prefix("client$ "));
                    typed.and_then(command).into_iter().collect()
                }
                Some(_) => Vec::new(),
                None => spans(line).filter_map(command).collect(),
            };
            for words in found {
                shown.entry(words).or_insert(place.clone());
            }
        }
    }
    assert!(shown.len() > 10, "hardly any command was found: {shown:?}");
    let mut problems = Vec::new();
    for (words, place) in shown {
        let output = Command::new(common::BINARY).args(&words).arg("--help").output().unwrap();
        if !output.status.success() {
            problems.push(format!("{place}: {words:?}: {}", common::text(&output)));
        }
    }
    report(&problems);
}

/// The rows of the tables of docs/configuration.md with these first two heads: key and value, without backquotes.
fn rows(heads: (&str, &str)) -> Vec<(usize, String, String)> {
    let text = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut rows = Vec::new();
    let mut inside = false;
    for (number, _, line) in lines(&text).filter(|(_, block, _)| block.is_none()) {
        let mut cells = line.split('|').map(str::trim).skip(1);
        match (cells.next(), cells.next()) {
            (Some(first), Some(second)) if (first, second) == heads => inside = true,
            (Some(key), Some(value)) if inside && key.starts_with('`') => {
                let bare = |cell: &str| cell.split('`').nth(1).unwrap_or_default().to_owned();
                rows.push((number, bare(key), bare(value)));
            }
            (Some(_), Some(_)) => {}
            _ => inside = false,
        }
    }
    rows
}

const DEFAULTS: (&str, &str) = ("key", "default");
const EXAMPLES: (&str, &str) = ("key", "example");

/// Loads a small configuration with these values set. DHCP is off, since it serves no interface by default.
fn load_with(set: &[String]) -> Result<Config, Report> {
    let folder = common::folder();
    let file = folder.path().join("config.yaml");
    let yaml = "\
dhcp:
  enabled: false
  classes: {NAME: {match: {mac: '*'}}}
  subnets:
    NAME:
      network: 10.0.0.0/24
      pools: {NAME: {range: 10.0.0.9}}
      hosts: {NAME: {mac: '00:11:22:33:44:55', circuit_id: x}}
";
    fs::write(&file, yaml).unwrap();
    let sources = Sources {
        file: Some(file),
        set: set.to_vec(),
        folder: Path::new("/").to_owned(),
        ..Sources::default()
    };
    ConfigManager::new(sources).load().map(|loaded| loaded.config)
}

#[test]
fn every_default_that_is_documented_is_the_default() {
    let rows = rows(DEFAULTS);
    assert!(rows.len() > 40, "hardly any key was found: {rows:?}");
    let plain = load_with(&[]).unwrap();
    let mut problems = Vec::new();
    // The small configuration says otherwise about this one.
    for (number, key, default) in rows.into_iter().filter(|(_, key, _)| key != "dhcp.enabled") {
        let said = match load_with(&[format!("{key}={default}")]) {
            _ if default.is_empty() => "no value".to_owned(),
            Ok(config) if config == plain => continue,
            Ok(_) => format!("{default} is not the default"),
            Err(report) => report.to_string(),
        };
        problems.push(format!("docs/configuration.md:{number}: {key}: {said}"));
    }
    report(&problems);
}

#[test]
fn every_key_that_is_documented_by_an_example_is_read() {
    let rows = rows(EXAMPLES);
    assert!(rows.len() > 8, "hardly any key was found: {rows:?}");
    let mut problems = Vec::new();
    for (number, key, example) in rows {
        if let Err(report) = load_with(&[format!("{key}={example}")]) {
            problems.push(format!("docs/configuration.md:{number}: {key}: {report}"));
        }
    }
    report(&problems);
}

/// What is given and what is meant: a whole configuration in the page is one without any mistake.
#[test]
fn every_configuration_that_is_shown_is_in_order() {
    let text = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let blocks: Vec<&str> =
        text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "hardly any example was found");
    for yaml in blocks {
        let folder = common::folder();
        let file = folder.path().join("config.yaml");
        fs::write(&file, yaml).unwrap();
        let sources = Sources { file: Some(file), folder: Path::new("/").to_owned(), ..Sources::default() };
        let loaded =
            ConfigManager::new(sources).load_with(echo_daemon::protocol::options::check, |_| Vec::new());
        let loaded = loaded.unwrap_or_else(|report| panic!("{report}\n{yaml}"));
        assert!(loaded.warnings.is_empty(), "{:?}\n{yaml}", loaded.warnings);
    }
}

/// The keys of the sections without names chosen by the user, by way of the typed configuration.
#[test]
fn every_key_that_is_read_is_documented() {
    fn keys(prefix: &str, value: &serde_json::Value, found: &mut BTreeSet<String>) {
        let section = value.as_object().filter(|section| !section.is_empty());
        // A duration is written as one value.
        match section.filter(|section| !section.contains_key("nanos")) {
            Some(section) => {
                for (name, value) in section {
                    keys(&format!("{prefix}{name}."), value, found);
                }
            }
            None => {
                found.insert(prefix.trim_end_matches('.').to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    keys("", &serde_json::to_value(load_with(&[]).unwrap()).unwrap(), &mut found);
    // `common` is no section of the file: its keys stand in `dhcp` and in each subnet.
    let found: BTreeSet<String> = found.into_iter().map(|key| key.replace("dhcp.common.", "dhcp.")).collect();
    let documented: BTreeSet<String> = rows(DEFAULTS).into_iter().map(|(_, key, _)| key).collect();
    // Documented by examples.
    let named = ["dhcp.classes", "dhcp.subnets"];
    let missing: Vec<_> =
        found.iter().filter(|key| !named.contains(&key.as_str()) && !documented.contains(*key)).collect();
    assert!(missing.is_empty(), "docs/configuration.md does not name {missing:?}");
}
