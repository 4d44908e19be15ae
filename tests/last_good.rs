//! The configuration in force is kept, and a daemon whose file is broken can be started with it.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

use common::{BASE, Daemon, ECHO, is_root, text};
use serde_json::Value;

fn cache(daemon: &Daemon) -> PathBuf {
    daemon.folder.path().join("state/running-config.json")
}

fn cached(daemon: &Daemon) -> Value {
    serde_json::from_str(&fs::read_to_string(cache(daemon)).unwrap()).unwrap()
}

fn with_clients(clients: u32) -> String {
    ECHO.replacen("port: 0", &format!("port: 0, max_clients: {clients}"), 1)
}

/// A daemon that served 7 clients, was stopped, and whose file is broken now.
fn broken() -> Daemon {
    let daemon = Daemon::start(&with_clients(7));
    daemon.run_ok(&["stop"]);
    daemon.write_config(&with_clients(7).replace("port: 0", "port: 99999"));
    daemon
}

#[test]
fn what_is_in_force_is_kept_with_its_origins_and_follows_each_reload() {
    let daemon = Daemon::prepare(&with_clients(7));
    daemon.run_ok(&["start", "--set", "tcp.buffer_size=8192"]);
    let kept = cached(&daemon);
    assert_eq!(
        (&kept["generation"], &kept["document"]["values"]["tcp"]["max_clients"]),
        (&1.into(), &7.into())
    );
    let origins = &kept["document"]["origins"];
    assert_eq!(
        (&origins["tcp.max_clients"]["line"], &origins["tcp.max_clients"]["source"]),
        (&4.into(), &"file".into())
    );
    assert_eq!(origins["tcp.buffer_size"]["flag"], "tcp.buffer_size=8192");
    daemon.write_config(&with_clients(8));
    daemon.run_ok(&["reload"]);
    let kept = cached(&daemon);
    assert_eq!(
        (&kept["generation"], &kept["document"]["values"]["tcp"]["max_clients"]),
        (&2.into(), &8.into())
    );
    // What is refused is not kept.
    daemon.write_config(&with_clients(0));
    assert!(!daemon.run(&["reload"]).status.success());
    assert_eq!(cached(&daemon), kept);
    // It may say more than others should know.
    assert_eq!(cache(&daemon).metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn broken_file_gives_way_to_what_was_in_force_only_where_that_is_asked_for() {
    let daemon = broken();
    let refused = daemon.run(&["start"]);
    assert!(!refused.status.success());
    let output = daemon.run(&["start", "--last-good"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("99999 is not a port") && said.contains("in force last"), "{said}");
    daemon.wait_log(&["99999 is not a port"]);
    // The daemon is the old one in all it does; the file counts again as soon as it is mended.
    let reload = daemon.run(&["reload"]);
    assert!(!reload.status.success() && text(&reload).contains("99999"), "{}", text(&reload));
    daemon.write_config(&with_clients(9));
    daemon.run_ok(&["reload"]);
    assert_eq!(cached(&daemon)["document"]["values"]["tcp"]["max_clients"], 9);
}

#[test]
fn sound_file_is_used_although_the_last_good_one_was_asked_for() {
    let daemon = Daemon::start(&with_clients(7));
    daemon.run_ok(&["stop"]);
    daemon.write_config(&with_clients(8));
    daemon.run_ok(&["start", "--last-good"]);
    assert_eq!(cached(&daemon)["document"]["values"]["tcp"]["max_clients"], 8);
}

#[test]
fn cache_that_is_damaged_or_missing_is_refused_with_both_reasons() {
    let daemon = broken();
    fs::write(cache(&daemon), "{").unwrap();
    let said = text(&daemon.run(&["start", "--last-good"]));
    assert!(said.contains("99999 is not a port") && said.contains("is damaged"), "{said}");
    fs::remove_file(cache(&daemon)).unwrap();
    let said = text(&daemon.run(&["start", "--last-good"]));
    assert!(
        said.contains("99999 is not a port") && said.contains("no configuration has been in force"),
        "{said}"
    );
}

/// The state folder is the workers' own: who took one over must not become root by it.
#[test]
fn cache_that_a_worker_could_have_written_is_not_believed() {
    if !is_root("cache_that_a_worker_could_have_written_is_not_believed") {
        return;
    }
    let daemon = broken();
    let owner = daemon.folder.path().join("state").metadata().unwrap().uid();
    assert_ne!(owner, 0, "the folder is not root's");
    let text_of_cache = fs::read_to_string(cache(&daemon)).unwrap();
    let refused = |why: &str| {
        let said = text(&daemon.run(&["start", "--last-good"]));
        assert!(said.contains("cannot be read") && said.contains(why), "{said}");
    };
    chown(cache(&daemon), Some(owner), None).unwrap();
    refused("belongs to");
    let elsewhere = daemon.folder.path().join("elsewhere.json");
    fs::write(&elsewhere, &text_of_cache).unwrap();
    fs::remove_file(cache(&daemon)).unwrap();
    symlink(&elsewhere, cache(&daemon)).unwrap();
    refused("link");
    fs::remove_file(cache(&daemon)).unwrap();
    fs::hard_link(&elsewhere, cache(&daemon)).unwrap();
    refused("several names");
    // A link in the place of the file is replaced, not written through.
    fs::remove_file(cache(&daemon)).unwrap();
    symlink(&elsewhere, cache(&daemon)).unwrap();
    daemon.write_config(&with_clients(3));
    daemon.run_ok(&["start"]);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), text_of_cache);
    assert!(!cache(&daemon).symlink_metadata().unwrap().is_symlink());
    assert!(BASE.contains("user: nobody"), "the workers are not root");
}
