//! What the runtime API has set: on disk before the answer, over every other source after any end of the daemon, and
//! believed only where main itself wrote it.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::PathBuf;

use common::http::Answer;
use common::raw::{control, send};
use common::{Daemon, ECHO, eventually, is_alive, is_root, sh, signal, text};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn patch(daemon: &Daemon, patch: &Value) -> Answer {
    send(daemon, "PATCH", "/v1/config", "application/merge-patch+json", "", &patch.to_string())
}

#[track_caller]
fn applied(daemon: &Daemon, values: &Value) {
    let answer = patch(daemon, values);
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn value(daemon: &Daemon, pointer: &str) -> Value {
    control(daemon, "GET", "/v1/config").json().pointer(pointer).cloned().unwrap_or_default()
}

fn overlay(daemon: &Daemon) -> PathBuf {
    daemon.folder.path().join("state/overlay.json")
}

fn kill(daemon: &Daemon) {
    let main = daemon.pid();
    signal(main, Signal::SIGKILL);
    eventually("the end of main", || (!is_alive(main)).then_some(()));
}

#[test]
fn values_outlast_a_stop_a_crash_and_an_edit_of_the_file() {
    let daemon = Daemon::start(ECHO);
    applied(&daemon, &json!({"tcp": {"max_clients": 33}, "logging": {"modules": {"dhcp": "TRACE"}}}));
    kill(&daemon);
    daemon.run_ok(&["start", "--set", "tcp.max_clients=44"]);
    assert_eq!(value(&daemon, "/tcp/max_clients"), 33, "it lies over the flags, too");
    daemon.write_config(&ECHO.replacen("port: 0", "port: 0, max_clients: 55", 1));
    daemon.run_ok(&["reload"]);
    assert_eq!(value(&daemon, "/tcp/max_clients"), 33);
    applied(&daemon, &json!({"logging": null}));
    assert_eq!(value(&daemon, "/logging/modules"), json!({}));
    daemon.run_ok(&["restart"]);
    assert_eq!(value(&daemon, "/tcp/max_clients"), 33);
}

#[test]
fn edited_value_that_is_hidden_is_warned_of_and_null_lets_it_through() {
    let daemon = Daemon::start(&ECHO.replacen("port: 0", "port: 0, max_clients: 55", 1));
    applied(&daemon, &json!({"tcp": {"max_clients": 33}}));
    let line = daemon.wait_log(&["CONFIG_WARNING", "tcp.max_clients"]);
    assert!(line.contains("33") && line.contains("55") && line.contains("config.yaml"), "{line}");
    let said = text(&daemon.run(&["check"]));
    assert!(said.contains("the runtime API has set it to 33"), "{said}");
    applied(&daemon, &json!({"tcp": {"max_clients": null}}));
    assert_eq!(value(&daemon, "/tcp/max_clients"), 55);
    // What another source says cannot be taken away by the API; what nobody says can.
    let refused = patch(&daemon, &json!({"tcp": {"max_clients": null}}));
    let problem = refused.is_problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("config.yaml"), "{problem}");
    applied(&daemon, &json!({"udp": {"buffer_size": null}}));
}

#[test]
fn patch_that_cannot_come_into_force_leaves_nothing_behind() {
    let daemon = Daemon::start(ECHO);
    applied(&daemon, &json!({"tcp": {"max_clients": 33}}));
    let before = fs::read_to_string(overlay(&daemon)).unwrap();
    // It checks out, and fails when main opens the sockets.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    patch(&daemon, &json!({"tcp": {"port": port, "max_clients": 34}})).is_problem(422);
    assert_eq!(fs::read_to_string(overlay(&daemon)).unwrap(), before);
    assert_eq!(value(&daemon, "/tcp/max_clients"), 33);
    daemon.run_ok(&["restart"]);
    assert_eq!(value(&daemon, "/tcp/max_clients"), 33);
}

#[test]
fn patch_and_reloads_at_once_each_get_their_own_verdict() {
    let daemon = Daemon::start(ECHO);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let daemon = &daemon;
            scope.spawn(move || match n % 2 {
                0 => applied(daemon, &json!({"tcp": {"max_clients": 100 + n}})),
                _ => drop(patch(daemon, &json!({"tcp": {"max_clients": -1}})).is_problem(422)),
            });
            scope.spawn(move || assert_eq!(control(daemon, "POST", "/v1/reload").status, 200));
        }
    });
    let last = value(&daemon, "/tcp/max_clients").as_u64().unwrap();
    assert!([100, 102, 104, 106].contains(&last), "{last}");
    let kept: Value = serde_json::from_str(&fs::read_to_string(overlay(&daemon)).unwrap()).unwrap();
    assert_eq!(kept, json!({"tcp": {"max_clients": last}}), "what is in force is what is kept");
}

#[test]
fn full_disk_refuses_a_patch_and_changes_nothing() {
    if !is_root("full_disk_refuses_a_patch_and_changes_nothing") {
        return;
    }
    let daemon = Daemon::prepare(ECHO);
    let state = daemon.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    sh("mount", &["-t", "tmpfs", "-o", "size=64k,mode=0755", "none", state.to_str().unwrap()]);
    daemon.run_ok(&["start"]);
    applied(&daemon, &json!({"tcp": {"max_clients": 33}}));
    let _ = fs::write(state.join("filler"), vec![0; 1 << 20]);
    let problem = patch(&daemon, &json!({"tcp": {"max_clients": 34}})).is_problem(507);
    assert!(problem["detail"].as_str().unwrap().contains("could not be saved"), "{problem}");
    assert_eq!(value(&daemon, "/tcp/max_clients"), 33);
    fs::remove_file(state.join("filler")).unwrap();
    applied(&daemon, &json!({"tcp": {"max_clients": 34}}));
    daemon.run_ok(&["stop"]);
    sh("umount", &["-l", state.to_str().unwrap()]);
}

/// The state folder is the workers' own: who took one over must neither reach main by it nor keep it from its work.
#[test]
fn overlay_that_a_worker_could_have_written_counts_for_nothing() {
    if !is_root("overlay_that_a_worker_could_have_written_counts_for_nothing") {
        return;
    }
    let daemon = Daemon::start(ECHO);
    applied(&daemon, &json!({"tcp": {"max_clients": 33}}));
    let worker = daemon.folder.path().join("state").metadata().unwrap().uid();
    let secret = daemon.folder.path().join("secret");
    fs::write(&secret, "{\"tcp\": {\"max_clients\": 1}} hush").unwrap();
    let away = || drop(fs::remove_file(overlay(&daemon)).or_else(|_| fs::remove_dir(overlay(&daemon))));
    let traps: [&dyn Fn(); 4] = [
        &|| chown(overlay(&daemon), Some(worker), None).unwrap(),
        &|| symlink(&secret, overlay(&daemon)).unwrap(),
        &|| fs::create_dir(overlay(&daemon)).unwrap(),
        &|| nix::unistd::mkfifo(&overlay(&daemon), nix::sys::stat::Mode::S_IRWXU).unwrap(),
    ];
    for (n, trap) in traps.iter().enumerate() {
        if n > 0 {
            away();
        }
        trap();
        // Main remembers what is in force.
        daemon.run_ok(&["reload"]);
        assert_eq!(value(&daemon, "/tcp/max_clients"), 33);
        // A new start does not, and tells.
        daemon.run_ok(&["stop"]);
        let said = text(&daemon.run(&["start"]));
        assert!(
            said.contains("overlay.json") && said.contains("left out") && !said.contains("hush"),
            "{said}"
        );
        assert_eq!(value(&daemon, "/tcp/max_clients"), 10);
        away();
        applied(&daemon, &json!({"tcp": {"max_clients": 33}}));
    }
    assert!(fs::read_to_string(&secret).unwrap().contains("hush"));
    // Root itself cannot use the file for what is not the API's business.
    daemon.run_ok(&["stop"]);
    fs::write(overlay(&daemon), r#"{"daemon": {"user": "root"}}"#).unwrap();
    let said = text(&daemon.run(&["start"]));
    assert!(said.contains("daemon: this cannot be set at run time"), "{said}");
    away();
    daemon.run_ok(&["start"]);
}

#[test]
fn patch_that_changes_nothing_forks_nothing() {
    let daemon = Daemon::start(ECHO);
    applied(&daemon, &json!({}));
    applied(&daemon, &json!({"tcp": {"max_clients": 33}}));
    applied(&daemon, &json!({"tcp": {"max_clients": 33}}));
    assert_eq!(daemon.status()["generation"], 2);
}
