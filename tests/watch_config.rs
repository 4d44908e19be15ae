//! `daemon.watch_config`: a change of the configuration file on disk is taken into force, however it was made, once and
//! when it is whole.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{BASE, Daemon, ECHO, eventually};

fn yaml(watch: bool, clients: u32) -> String {
    let daemon = format!("user: nobody, watch_config: {watch}}}");
    let echo = ECHO.replacen("port: 0", &format!("port: 0, max_clients: {clients}"), 1);
    format!("{}{echo}", BASE.replace("user: nobody}", &daemon))
}

/// A daemon that watches its file.
fn watching() -> Daemon {
    let daemon = Daemon::prepare("");
    fs::write(&daemon.config, yaml(true, 10)).unwrap();
    daemon.run_ok(&["start"]);
    daemon
}

fn generation(daemon: &Daemon) -> u64 {
    daemon.status()["generation"].as_u64().unwrap()
}

#[track_caller]
fn reaches(daemon: &Daemon, wanted: u64) {
    eventually("a new generation", || (generation(daemon) == wanted).then_some(()));
}

fn refusals(daemon: &Daemon) -> usize {
    daemon.log().matches("CONFIG_REFUSED").count()
}

#[test]
fn edits_in_place_and_by_rename_are_taken_into_force_once_each() {
    let daemon = watching();
    assert_eq!(generation(&daemon), 1);
    fs::write(&daemon.config, yaml(true, 11)).unwrap();
    reaches(&daemon, 2);
    let new = daemon.config.with_extension("new");
    fs::write(&new, yaml(true, 12)).unwrap();
    fs::rename(&new, &daemon.config).unwrap();
    reaches(&daemon, 3);
    // The way of editors that keep a backup: for a moment there is no file.
    fs::rename(&daemon.config, daemon.config.with_extension("bak")).unwrap();
    fs::write(&daemon.config, yaml(true, 13)).unwrap();
    reaches(&daemon, 4);
    // A reload by hand takes the edit with it: the watcher has nothing left to do. What it does is seen by the next edit.
    fs::write(&daemon.config, yaml(true, 14)).unwrap();
    daemon.run_ok(&["reload"]);
    assert_eq!(generation(&daemon), 5);
    fs::write(&daemon.config, yaml(true, 15)).unwrap();
    reaches(&daemon, 6);
    assert_eq!(refusals(&daemon), 0, "{}", daemon.log());
}

#[test]
fn broken_file_is_refused_and_the_mended_one_taken() {
    let daemon = watching();
    fs::write(&daemon.config, yaml(true, 10).replacen("port: 0", "port: 99999", 1)).unwrap();
    let line = daemon.wait_log(&["CONFIG_REFUSED", "99999 is not a port"]);
    assert!(line.contains("nothing has changed"), "{line}");
    assert_eq!(generation(&daemon), 1);
    fs::write(&daemon.config, yaml(true, 11)).unwrap();
    reaches(&daemon, 2);
    assert_eq!(refusals(&daemon), 1);
}

#[test]
fn link_that_is_turned_is_a_change() {
    let daemon = Daemon::prepare("");
    let at = |name: &str| daemon.folder.path().join(name);
    for (name, clients) in [("one", 10), ("two", 11)] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("config.yaml"), yaml(true, clients)).unwrap();
    }
    symlink("one", at("data")).unwrap();
    fs::remove_file(&daemon.config).unwrap();
    symlink("data/config.yaml", &daemon.config).unwrap();
    daemon.run_ok(&["start"]);
    symlink("two", at("next")).unwrap();
    fs::rename(at("next"), at("data")).unwrap();
    reaches(&daemon, 2);
}

#[test]
fn watching_is_switched_on_and_off_by_a_reload() {
    let daemon = Daemon::prepare("");
    fs::write(&daemon.config, yaml(false, 10)).unwrap();
    daemon.run_ok(&["start"]);
    fs::write(&daemon.config, yaml(true, 10)).unwrap();
    daemon.run_ok(&["reload"]);
    // This edit is seen, and switches off again.
    fs::write(&daemon.config, yaml(false, 11)).unwrap();
    reaches(&daemon, 3);
    let main = daemon.pid();
    // Main says that the generation is in force a moment before it has done the rest.
    eventually("no watch", || {
        let mut links = fs::read_dir(format!("/proc/{main}/fd")).unwrap().flatten();
        let is_watch = |to: std::path::PathBuf| to.ends_with("anon_inode:inotify");
        (!links.any(|fd| fs::read_link(fd.path()).is_ok_and(is_watch))).then_some(())
    });
}
