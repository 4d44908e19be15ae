//! Workers hold no power that they do not need, and an ordinary user can run the whole daemon.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::proc::{family, field, named};
use common::traffic::Connection;
use common::{ALL, BINARY, Daemon, children, is_root, text, title};

/// nobody, on Debian and everywhere else that follows it.
const NOBODY: &str = "65534";

const CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

#[track_caller]
fn powerless(pid: i32, user: &str) {
    let name = title(pid);
    assert_eq!(field(pid, "Uid"), [user; 4].join(" "), "{name:?}");
    assert_eq!(field(pid, "Gid"), [user; 4].join(" "), "{name:?}");
    assert_eq!(field(pid, "Groups"), "", "{name:?}");
    for set in CAPABILITIES {
        assert_eq!(field(pid, set), "0000000000000000", "{set} of {name:?}");
    }
    assert_eq!(field(pid, "NoNewPrivs"), "1", "{name:?}");
}

#[test]
fn workers_of_root_are_an_ordinary_user_without_powers() {
    if !is_root("workers_of_root_are_an_ordinary_user_without_powers") {
        return;
    }
    let daemon = Daemon::start(ALL);
    let main = daemon.pid();
    let client = Connection::open(daemon.endpoint("tcp")).unwrap();
    let mut client = client;
    client.ping(b"hello").unwrap();
    assert_eq!(field(main, "Uid"), "0 0 0 0");
    let check = || {
        for name in ["tcp", "udp", "dhcp 0", "dhcp 1", "keeper", "api"] {
            powerless(named(main, name)[0], NOBODY);
        }
        powerless(named(main, "logger")[0], "0");
    };
    check();
    let of_client = children(named(main, "tcp")[0]);
    assert_eq!(of_client.len(), 1);
    powerless(of_client[0], NOBODY);
    // A later generation and a replaced worker likewise.
    daemon.run_ok(&["reload"]);
    check();
    let udp = named(main, "udp");
    common::signal(udp[0], nix::sys::signal::Signal::SIGKILL);
    powerless(common::proc::another(main, "udp", &udp), NOBODY);
    // What the workers write is theirs, the log is root's.
    let owner = |path: &str| fs::metadata(daemon.folder.path().join(path)).unwrap().uid();
    assert_eq!((owner("state"), owner("state/leases.db"), owner("log/echo-daemon.log")), (65534, 65534, 0));
}

#[test]
fn groups_of_the_caller_are_not_kept() {
    if !is_root("groups_of_the_caller_are_not_kept") || !common::has("setpriv", "groups_of_the_caller") {
        return;
    }
    let daemon = Daemon::prepare(ALL);
    let start = Command::new("setpriv")
        .args(["--groups", "4,24,27", BINARY, "-c"])
        .arg(&daemon.config)
        .arg("start")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(start.status.success(), "{}", text(&start));
    for pid in &family(daemon.pid())[1..] {
        assert_eq!(field(*pid, "Groups"), "", "{:?}", title(*pid));
    }
}

/// A command of the binary as nobody, at home in this folder, with nothing in the environment but HOME and what is
/// given.
fn as_nobody(home: &Path, environment: &[(&str, &Path)], args: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
        .arg(home.join("echo-daemon"));
    command.args(args).env_clear().env("HOME", home).envs(environment.iter().copied());
    command.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    text(output)
}

#[test]
fn ordinary_user_starts_probes_and_stops() {
    let test = "ordinary_user_starts_probes_and_stops";
    if !is_root(test) || !common::has("setpriv", test) {
        return;
    }
    let home = common::folder();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // The build folder may be root's alone.
    fs::copy(BINARY, home.path().join("echo-daemon")).unwrap();
    let runtime = home.path().join("runtime");
    fs::create_dir(&runtime).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o777)).unwrap();
    let config = home.path().join("config.yaml");
    fs::write(&config, format!("api: {{listen: null}}\n{ALL}")).unwrap();
    let environment = [("XDG_RUNTIME_DIR", runtime.as_path()), ("ECHO_DAEMON_CONFIG", config.as_path())];
    let run = |args: &[&str]| as_nobody(home.path(), &environment, args);
    let _guard = Stop { home: home.path(), environment: &environment };

    good(&run(&["start"]));
    let main: i32 = fs::read_to_string(runtime.join("echo-daemon.pid")).unwrap().trim().parse().unwrap();
    let tree = family(main);
    assert_eq!(tree.len(), 8);
    for pid in &tree[1..] {
        powerless(*pid, NOBODY);
    }
    let status: serde_json::Value = serde_json::from_str(&good(&run(&["status", "--json"]))).unwrap();
    assert_eq!(status["pid"], main);
    good(&run(&["probe"]));
    good(&run(&["reload"]));
    let state = home.path().join(".local/state/echo-daemon");
    for file in ["leases.db", "echo-daemon.log"] {
        assert_eq!(fs::metadata(state.join(file)).unwrap().uid(), 65534, "{file}");
    }
    assert!(runtime.join("echo-daemon.sock").exists());
    assert!(good(&run(&["leases", "list"])).contains("ip"));
    assert_eq!(good(&run(&["stop"])).trim(), "stopped");
    common::proc::all_gone(&tree);
    assert_eq!(run(&["status"]).status.code(), Some(3));
    assert_eq!(good(&run(&["stop"])).trim(), "not running");
    assert!(!runtime.join("echo-daemon.pid").exists() && !runtime.join("echo-daemon.sock").exists());
    // $XDG_STATE_HOME wins over $HOME.
    let other = home.path().join("xdg");
    let environment = [environment[0], environment[1], ("XDG_STATE_HOME", other.as_path())];
    good(&as_nobody(home.path(), &environment, &["start"]));
    assert!(other.join("echo-daemon/leases.db").exists());
    good(&as_nobody(home.path(), &environment, &["stop"]));
}

#[test]
fn ordinary_user_is_told_what_needs_root() {
    let test = "ordinary_user_is_told_what_needs_root";
    if !is_root(test) || !common::has("setpriv", test) {
        return;
    }
    let home = common::folder();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::copy(BINARY, home.path().join("echo-daemon")).unwrap();
    let config = home.path().join("config.yaml");
    fs::write(&config, "api: {listen: null}\nudp: {enabled: false}\ndhcp: {enabled: false}\n").unwrap();
    let (runtime, file) = (home.path().join("run"), config.as_path());
    let environment = [("XDG_RUNTIME_DIR", runtime.as_path()), ("ECHO_DAEMON_CONFIG", file)];
    let _guard = Stop { home: home.path(), environment: &environment };
    for (set, words) in
        [("daemon.pid_file=/etc/echo-daemon.pid", "start as root"), ("daemon.state_dir=/etc/x", "/etc/x")]
    {
        let output = as_nobody(home.path(), &environment, &["start", "--set", set]);
        assert_eq!(output.status.code(), Some(1), "{set}");
        assert!(text(&output).contains(words), "{}", text(&output));
    }
    // A daemon of root's is out of its reach, and that is said.
    let roots =
        Daemon::start("tcp: {address: 127.0.0.1, port: 0}\nudp: {enabled: false}\ndhcp: {enabled: false}\n");
    let config = roots.config.as_path();
    let output = as_nobody(home.path(), &[("ECHO_DAEMON_CONFIG", config)], &["stop"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("not permitted") || text(&output).contains("denied"), "{}", text(&output));
    assert!(common::is_alive(roots.pid()));
}

/// Stops what the test left running.
struct Stop<'a> {
    home: &'a Path,
    environment: &'a [(&'a str, &'a Path)],
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let _ = as_nobody(self.home, self.environment, &["stop", "--force", "--timeout", "5s"]);
    }
}
