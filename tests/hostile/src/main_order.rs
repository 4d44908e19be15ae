//! What main accepts from the api process, which may have been taken over: words over their socket, and above all patches
//! of the configuration. Main's own functions judge; nothing is put into force.
//!
//! The first byte chooses: the bytes as they come over the socket; or a patch whose text they are; or as an order of main's,
//! which a worker reads.

use std::sync::LazyLock;

use echo_daemon::config::{ConfigManager, Overlay};
use echo_daemon::supervisor::settings;
use echo_daemon::workers::{Order, Patch, Word};
use serde_json::Value;

use super::choice;
use super::world::{CONFIG, LOADED, manager};

static MANAGER: LazyLock<ConfigManager> = LazyLock::new(|| manager("world.yaml", CONFIG));

/// See the top of this file.
pub fn run(data: &[u8]) {
    let Some((how, rest)) = choice(data) else { return };
    match how % 3 {
        0 => {
            let Some(word) = Word::decode(rest) else { return };
            assert_eq!(Word::decode(&word.encode()).as_ref(), Some(&word));
            if let Word::Patch(patch) = &word {
                judge(patch);
            }
        }
        1 => {
            let Ok(json) = std::str::from_utf8(rest) else { return };
            judge(&Patch { tag: String::new(), json: json.to_owned() });
        }
        _ => {
            let Some(order) = Order::decode(rest) else { return };
            let again = Order::decode(&order.encode());
            assert!(rest.len() > 4096 || again.as_ref() == Some(&order));
        }
    }
}

/// What main answers.
pub fn verdict(patch: &Patch) -> Result<String, String> {
    settings::patched(&MANAGER, &LOADED, patch).map(|_| "generation 2 is in force".to_owned())
}

/// Whoever took over the api process gains nothing: what only the file may say stays as the file says it.
pub fn judge(patch: &Patch) {
    let loaded = match settings::patched(&MANAGER, &LOADED, patch) {
        Ok(loaded) => loaded,
        Err(reason) => {
            assert!(!reason.is_empty());
            return;
        }
    };
    let (old, new) = (&LOADED.config, &loaded.config);
    assert!(patch.tag.is_empty() || patch.tag == LOADED.effective.tag());
    assert_eq!(old.daemon, new.daemon);
    assert_eq!(old.api, new.api);
    assert_eq!(old.dhcp.store.path, new.dhcp.store.path);
    assert_eq!(old.logging.log_file, new.logging.log_file);
    assert_eq!(old.logging.json.file, new.logging.json.file);
    assert_eq!(old.logging.syslog.address, new.logging.syslog.address);
    assert_eq!(
        (old.logging.max_log_size, old.logging.backup_count),
        (new.logging.max_log_size, new.logging.backup_count)
    );
    // What is kept over a restart is read again, and says the same.
    let kept = Overlay::parse(loaded.overlay.to_text().as_bytes()).expect("an overlay that was accepted");
    assert_eq!(kept, loaded.overlay);
    for key in ["daemon", "api"] {
        assert!(!kept.values().contains_key(key), "{key}");
    }
    // The same patch again changes nothing more.
    let value: Value = serde_json::from_str(&patch.json).expect("it was accepted");
    let twice = kept.patched(&value, &LOADED.below);
    assert!(
        twice.is_err() || twice.is_ok_and(|twice| twice == kept),
        "a merge patch is idempotent (RFC 7396)"
    );
}
