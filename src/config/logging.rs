//! Reads the section `logging`.

use std::collections::BTreeMap;
use std::time::Duration;

use daemon_utils::log::Rate;
use log::LevelFilter;

use super::daemon::Paths;
use super::model::{JsonLog, Logging, SyslogLog};
use super::outputs::{Facility, RateLimit, SyslogAddress};
use super::section::{Section, nearest};
use super::units::{Size, show_size};
use crate::events::Event;

/// Reads `logging`.
pub(super) fn read(section: Section<'_>, paths: &Paths) -> Logging {
    let sizes = Size(1)..=Size(1 << 40);
    let logging = Logging {
        log_file: section.path("log_file", paths.log_dir.join("echo-daemon.log")),
        log_level: section.get("log_level", LevelFilter::Info),
        max_log_size: section.within("max_log_size", Size(10_485_760), sizes, |size| show_size(*size)).0,
        backup_count: section.within("backup_count", 5, 0..=1_000, u32::to_string),
        modules: modules(&section),
        console: section.get("console", false),
        json: json(section.child("json"), paths),
        syslog: syslog(section.child("syslog")),
        rate_limits: rate_limits(&section),
        stats_interval: section.get("stats_interval", Duration::from_secs(300)),
    };
    section.finish();
    logging
}

/// The parts of the program that `logging.modules` can name; a test holds them against src/.
const MODULES: [&str; 20] = [
    "api",
    "cli",
    "config",
    "dhcp",
    "events",
    "lease",
    "protocol",
    "stats",
    "supervisor",
    "workers",
    "workers::api",
    "workers::dhcp",
    "workers::keeper",
    "workers::kind",
    "workers::logger",
    "workers::order",
    "workers::pace",
    "workers::regions",
    "workers::tcp",
    "workers::udp",
];

/// A name that nothing speaks under is only a warning: other crates speak too, and a newer version may know it.
fn modules(section: &Section<'_>) -> BTreeMap<String, LevelFilter> {
    let levels: BTreeMap<String, LevelFilter> = section.map("modules");
    for name in levels.keys() {
        let inner = name.strip_prefix("echo_daemon::").unwrap_or(name);
        let mut words = inner.split("::");
        let (first, second) = (words.next().unwrap_or_default(), words.next());
        let known = match (first, second) {
            ("echo_daemon" | "daemon_utils", _) => true,
            ("workers", Some(second)) => MODULES.contains(&format!("workers::{second}").as_str()),
            (first, _) => MODULES.contains(&first),
        };
        if !known {
            let hint = nearest(inner, MODULES.into_iter()).map_or_else(
                || format!("modules are {}", MODULES.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            let reason = format!("no module of echo-daemon is named \"{}\"", name.escape_debug());
            section.reader().warning(&section.key(&format!("modules.{name}")), reason, Some(hint));
        }
    }
    levels
}

/// By event, in any case, since the environment has its own.
fn rate_limits(section: &Section<'_>) -> BTreeMap<&'static str, Option<Rate>> {
    let given: BTreeMap<String, RateLimit> = section.map("rate_limits");
    let ids = || Event::ALL.iter().map(|event| event.id());
    let mut limits = BTreeMap::new();
    for (name, limit) in given {
        if let Some(id) = ids().find(|id| id.eq_ignore_ascii_case(&name)) {
            limits.insert(id, limit.0);
            continue;
        }
        let hint = nearest(&name, ids())
            .map_or_else(|| "docs/events.md has them all".to_owned(), |near| format!("did you mean {near}?"));
        section.error(&format!("rate_limits.{name}"), "there is no such event", Some(hint));
    }
    limits
}

fn json(section: Section<'_>, paths: &Paths) -> JsonLog {
    let json = JsonLog {
        enabled: section.get("enabled", false),
        file: section.path("file", paths.log_dir.join("echo-daemon.json")),
        level: section.get("level", LevelFilter::Info),
    };
    section.finish();
    json
}

fn syslog(section: Section<'_>) -> SyslogLog {
    let syslog = SyslogLog {
        enabled: section.get("enabled", false),
        address: section.get("address", SyslogAddress("/dev/log".to_owned())).0,
        facility: section.get("facility", Facility("daemon".to_owned())).0,
        level: section.get("level", LevelFilter::Info),
    };
    section.finish();
    syslog
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn list_of_modules_is_what_the_program_is_made_of() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let names = |folder: &Path, head: &str| {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                if !["main", "lib", "mod"].contains(&name) {
                    names.push(format!("{head}{name}"));
                }
            }
            names
        };
        let mut found = [names(&source, ""), names(&source.join("workers"), "workers::")].concat();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, MODULES);
    }
}
