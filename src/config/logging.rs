//! Reads the section `logging`.

use std::time::Duration;

use log::LevelFilter;

use super::daemon::Paths;
use super::leaf::{Facility, SyslogAddress};
use super::model::{JsonLog, Logging, SyslogLog};
use super::section::Section;
use super::units::{Size, show_size};

/// Reads `logging`.
pub(super) fn read(section: Section<'_>, paths: &Paths) -> Logging {
    let sizes = Size(1)..=Size(1 << 40);
    let logging = Logging {
        log_file: section.path("log_file", paths.log_dir.join("echo-daemon.log")),
        log_level: section.get("log_level", LevelFilter::Info),
        max_log_size: section.within("max_log_size", Size(10_485_760), sizes, |size| show_size(*size)).0,
        backup_count: section.within("backup_count", 5, 0..=1_000, u32::to_string),
        modules: section.map("modules"),
        console: section.get("console", false),
        json: json(section.child("json"), paths),
        syslog: syslog(section.child("syslog")),
        stats_interval: section.get("stats_interval", Duration::from_secs(300)),
    };
    section.finish();
    logging
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
