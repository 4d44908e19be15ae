//! A configuration file. The first byte chooses its format: YAML, JSON or INI.

use echo_daemon::config::{ConfigManager, Loaded, Overlay, Report, changes_needing_restart};
use serde_json::Value;

use super::choice;
use super::world::manager;

/// Far longer ones are only slower.
const LONGEST: usize = 64 * 1024;

/// See the top of this file.
pub fn run(data: &[u8]) {
    let Some((format, text)) = choice(data) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    if text.len() > LONGEST {
        return;
    }
    let name = ["c.yaml", "c.json", "c.ini"][usize::from(format) % 3];
    // What finds the daemon of a broken file; whatever it says, it says something.
    if let Err(report) = manager(name, text).load_leniently() {
        is_told(&report);
    }
    match load(&manager(name, text)) {
        Err(report) => is_told(&report),
        Ok(loaded) => reads_the_same(&loaded),
    }
}

fn load(manager: &ConfigManager) -> Result<Loaded, Report> {
    manager.load_with_overlay(&Overlay::default(), echo_daemon::dhcp::check, |_| Vec::new())
}

/// A refusal says where and what.
fn is_told(report: &Report) {
    assert!(!report.problems.is_empty());
    for problem in &report.problems {
        assert!(!problem.reason.is_empty(), "{problem:?}");
    }
    assert!(!report.to_string().is_empty());
}

/// What is accepted can be shown, and what is shown is the same configuration.
fn reads_the_same(loaded: &Loaded) {
    let json = Value::Object(loaded.document.values.clone()).to_string();
    for (name, text) in [
        ("c.yaml", loaded.document.to_yaml(false)),
        ("c.yaml", loaded.document.to_yaml(true)),
        ("c.json", json),
    ] {
        // A file without a key is refused as an empty one.
        if loaded.document.values.is_empty() {
            continue;
        }
        let again = load(&manager(name, &text)).unwrap_or_else(|report| panic!("{report}\n{text}"));
        assert_eq!(again.config, loaded.config, "{text}");
        assert_eq!(again.document.values, loaded.document.values, "{text}");
        assert!(changes_needing_restart(&loaded.config, &again.config).is_empty());
    }
    let effective = loaded.effective.to_yaml(true);
    let whole = load(&manager("c.yaml", &effective)).unwrap_or_else(|report| panic!("{report}\n{effective}"));
    assert_eq!(whole.config, loaded.config, "{effective}");
}
