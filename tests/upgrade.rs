//! An upgrade in place: main executes the program on disk, keeps its PID, its sockets and what was counted, and nothing
//! that is asked meanwhile is lost; a program that cannot take over changes nothing.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::http::ask;
use common::proc::{all_gone, descriptors, family, named};
use common::traffic::{Connection, Traffic};
use common::{
    ALL, BINARY, Daemon, ECHO, children, eventually, is_alive, is_root, sh, signal, state, text, title,
};
use nix::sys::signal::Signal;

/// A daemon that was started from a copy of the program, which a test can replace.
struct Installed {
    daemon: Daemon,
    program: PathBuf,
}

impl Installed {
    fn start(yaml: &str) -> Self {
        let installed = Self::prepare(yaml);
        let output = installed.command(&["start"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        installed
    }

    fn prepare(yaml: &str) -> Self {
        let daemon = Daemon::prepare(yaml);
        let program = daemon.folder.path().join("echo-daemon");
        copy(Path::new(BINARY), &program);
        Self { daemon, program }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&self.daemon.config).args(args).stdin(Stdio::null());
        command
    }

    /// Puts something in the place of the program, as installers do: by a rename.
    fn install(&self, write: impl FnOnce(&Path)) {
        let (draft, new) = (self.program.with_extension("draft"), self.program.with_extension("new"));
        write(&draft);
        copy(&draft, &new);
        fs::remove_file(&draft).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &self.program).unwrap();
    }

    /// The same program as another file.
    fn install_copy(&self) {
        self.install(|path| {
            fs::copy(BINARY, path).unwrap();
        });
    }

    fn install_script(&self, script: &str) {
        self.install(|path| fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap());
    }

    /// The command `upgrade`, by the program under test: the one on disk may be anything.
    fn upgrade(&self) -> Output {
        self.daemon.run(&["upgrade"])
    }

    #[track_caller]
    fn upgrade_ok(&self) {
        let output = self.upgrade();
        let said = text(&output);
        assert!(output.status.success(), "{said}\n{}", self.daemon.log());
        assert!(said.starts_with("upgraded: version "), "{said}");
    }

    /// That the upgrade fails for this reason, and nobody noticed.
    #[track_caller]
    fn is_refused(&self, reason: &str) {
        let (main, address) = (self.daemon.pid(), self.daemon.endpoint("tcp"));
        let before = newest(main);
        let failed = self.count("UPGRADE_FAILED");
        let output = self.upgrade();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "no {reason:?} in {said}");
        assert_eq!(self.daemon.pid(), main);
        eventually("the old workers alone", || (newest(main) == before).then_some(()));
        eventually("the failure in the log", || (self.count("UPGRADE_FAILED") > failed).then_some(()));
        Connection::open(address).unwrap().ping(b"still served").unwrap();
    }

    fn count(&self, event: &str) -> usize {
        let event = format!(" {event} ");
        self.daemon.log().lines().filter(|line| line.contains(&event)).count()
    }

    fn executable(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.daemon.pid())).unwrap()
    }
}

/// Copies a program in another process: a child that another test forks meanwhile would hold the copy open for writing,
/// and nobody could execute it (ETXTBSY).
#[track_caller]
fn copy(from: &Path, to: &Path) {
    sh("cp", &[from.to_str().unwrap(), to.to_str().unwrap()]);
}

/// Main's workers by name, sorted by PID.
fn newest(main: i32) -> Vec<(i32, String)> {
    let mut all: Vec<_> = children(main).into_iter().filter_map(|pid| Some((pid, title(pid)?))).collect();
    all.sort();
    all
}

/// Every counter of `/metrics`, by name and labels.
fn counters(daemon: &Daemon) -> BTreeMap<String, f64> {
    let text = ask(daemon, "GET", "/metrics").body;
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples
        .filter(|(name, _)| {
            let family = name.split('{').next().unwrap();
            ["_total", "_count", "_sum", "_bucket"].iter().any(|end| family.ends_with(end))
        })
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Waits until so many upgrades were counted: figures are of the last full second.
#[track_caller]
fn upgrades(daemon: &Daemon, result: &str, count: usize) {
    let name = format!("echo_daemon_upgrades_total{{result=\"{result}\"}}");
    let wanted = count.to_string();
    eventually("the count of upgrades", || {
        let text = ask(daemon, "GET", "/metrics").body;
        text.lines().any(|line| line.rsplit_once(' ') == Some((&name, &wanted))).then_some(())
    });
}

/// Waits until only the workers of the newest generation are left, and none is a zombie.
#[track_caller]
fn settled(main: i32) {
    eventually("one generation", || {
        let alive = children(main);
        let clean = alive.iter().all(|pid| state(*pid).is_some_and(|state| state != 'Z'));
        let mut names: Vec<String> = alive.into_iter().filter_map(title).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        (clean && names.len() == all && names.iter().all(|name| name != "echo-daemon: trial")).then_some(())
    });
}

#[test]
fn replaced_program_runs_as_the_same_process_and_goes_on_counting() {
    let installed = Installed::start(ALL);
    let daemon = &installed.daemon;
    let main = daemon.pid();
    let old = installed.executable();
    let client = common::dhcp::Client::new(1, daemon.dhcp_port());
    client.lease();
    let mut lasting = Connection::open(daemon.endpoint("tcp")).unwrap();
    lasting.ping(b"before").unwrap();
    let workers = named(main, "dhcp 0");
    let granted = "echo_daemon_dhcp_lease_events_total{event=\"granted\"}";
    let before = eventually("the lease in the figures", || {
        Some(counters(daemon)).filter(|counters| counters.get(granted).is_some_and(|count| *count > 0.5))
    });
    let endpoints = daemon.status()["endpoints"].clone();
    installed.install_copy();
    assert_ne!(installed.executable(), old, "the old file has no name any more");
    installed.upgrade_ok();
    assert_eq!(daemon.pid(), main);
    assert_eq!(installed.executable(), installed.program);
    assert_eq!(title(main).unwrap(), "echo-daemon: main");
    all_gone(&workers);
    let status = daemon.status();
    assert_eq!((&status["generation"], &status["endpoints"]), (&2.into(), &endpoints));
    // The new api process looks at the figures at once.
    let after = counters(daemon);
    for (name, value) in &before {
        assert!(
            after.get(name).is_some_and(|now| now >= value),
            "{name}: {value} before, {:?}",
            after.get(name)
        );
    }
    upgrades(daemon, "applied", 1);
    client.lease();
    lasting.ping(b"after").unwrap();
    drop(lasting);
    settled(main);
    daemon.wait_log(&["UPGRADED", "generation 2 is in force"]);
    assert_eq!(installed.count("WORKER_DIED"), 0);
    let all = family(main);
    daemon.run_ok(&["stop"]);
    all_gone(&all);
    assert!(!daemon.pid_file().exists());
}

#[test]
fn upgrades_under_traffic_lose_nothing_and_leave_nothing_behind() {
    const UPGRADES: usize = 20;
    let installed = Installed::start(ALL);
    let daemon = &installed.daemon;
    let main = daemon.pid();
    let started = daemon.status()["uptime_secs"].as_u64().unwrap();
    installed.upgrade_ok();
    settled(main);
    let open = eventually("a count at rest", || {
        let first = descriptors(main);
        settled(main);
        (first == descriptors(main)).then_some(first)
    });
    let (tcp, udp, port) = (daemon.endpoint("tcp"), daemon.endpoint("udp"), daemon.dhcp_port());
    // Both files stay, so that a round takes two renames and no copy.
    let (spare, aside) =
        (installed.program.with_extension("spare"), installed.program.with_extension("aside"));
    copy(Path::new(BINARY), &spare);
    fs::File::open(&spare).unwrap().sync_all().unwrap();
    let traffic = Traffic::strict().lasting(tcp).lasting(tcp).tcp(tcp).udp(udp).dhcp(port).dhcp(port);
    for round in 0..UPGRADES {
        if round % 2 == 0 {
            fs::rename(&installed.program, &aside).unwrap();
            fs::rename(&spare, &installed.program).unwrap();
            fs::rename(&aside, &spare).unwrap();
        }
        if round % 3 == 0 {
            daemon.run_ok(&["reload"]);
        }
        installed.upgrade_ok();
    }
    let served = traffic.finish();
    println!("{UPGRADES} upgrades, {served} conversations in the meantime");
    assert!(served > 100, "{served}");
    for event in ["UPGRADE_FAILED", "WORKER_DIED", "WORKER_KILLED", "CONFIG_REFUSED", "DAEMON_WARNING"] {
        assert_eq!(installed.count(event), 0, "{event}");
    }
    settled(main);
    eventually("no more descriptors than before", || (descriptors(main).len() <= open.len()).then_some(()));
    assert!(daemon.status()["uptime_secs"].as_u64().unwrap() >= started);
    upgrades(daemon, "applied", UPGRADES + 1);
}

#[test]
fn program_that_cannot_take_over_leaves_the_old_one_serving() {
    let installed = Installed::start(ECHO);
    installed.install_script("echo no room in the inn >&2\nexit 3");
    installed.is_refused("exit code 3: no room in the inn");
    installed.install_script("exit 0");
    installed.is_refused("cannot take over");
    installed.install(|path| {
        let whole = fs::read(BINARY).unwrap();
        fs::write(path, &whole[..100_000]).unwrap();
    });
    installed.is_refused("cannot take over");
    installed.install(|path| fs::write(path, "no program\n").unwrap());
    installed.is_refused("could not execute it");
    fs::remove_file(&installed.program).unwrap();
    installed.is_refused("could not find program");
    installed.install_copy();
    fs::set_permissions(&installed.program, fs::Permissions::from_mode(0o777)).unwrap();
    installed.is_refused("may be written by everybody");
    fs::set_permissions(&installed.program, fs::Permissions::from_mode(0o644)).unwrap();
    installed.is_refused("cannot be executed");
    fs::set_permissions(&installed.program, fs::Permissions::from_mode(0o755)).unwrap();
    installed.daemon.write_config(&format!("{ECHO}nonsense: 1\n"));
    installed.is_refused("nonsense");
    installed.daemon.write_config(ECHO);
    installed.upgrade_ok();
    settled(installed.daemon.pid());
}

#[test]
fn program_that_hangs_is_given_up_and_nobody_waits_meanwhile() {
    let installed = Installed::start(ECHO);
    installed.install_script("exec sleep 1000");
    let daemon = &installed.daemon;
    let main = daemon.pid();
    let mut asker = daemon.command(&["upgrade"]);
    let asker = asker.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let hanging = eventually("the trial", || {
        children(main).into_iter().find(|pid| title(*pid).is_some_and(|title| title.starts_with("sleep")))
    });
    // A worker that dies meanwhile is replaced at once.
    let udp = named(main, "udp")[0];
    signal(udp, Signal::SIGKILL);
    common::proc::another(main, "udp", &[udp]);
    assert!(is_alive(hanging));
    let output = asker.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("did not end"), "{}", text(&output));
    all_gone(&[hanging]);
    daemon.run_ok(&["reload"]);
    // The daemon's end does not wait for a trial, either.
    daemon.signal(Signal::SIGUSR2);
    let hanging = eventually("the trial", || {
        children(main).into_iter().find(|pid| title(*pid).is_some_and(|title| title.starts_with("sleep")))
    });
    daemon.run_ok(&["stop"]);
    all_gone(&[hanging, main]);
}

#[test]
fn failure_after_the_exec_brings_the_old_program_back() {
    let installed = Installed::start(ALL);
    let daemon = &installed.daemon;
    let main = daemon.pid();
    let mut lasting = Connection::open(daemon.endpoint("tcp")).unwrap();
    lasting.ping(b"before").unwrap();
    let before = counters(daemon);
    fs::File::open(&installed.program).unwrap().sync_all().unwrap();
    let traffic =
        Traffic::strict().tcp(daemon.endpoint("tcp")).udp(daemon.endpoint("udp")).dhcp(daemon.dhcp_port());
    let config = daemon.config.display();
    // What it was tried with is fine; then its configuration breaks, after main has executed it.
    let spoil =
        format!("case \"$*\" in *--back*) echo 'nonsense: 1' >>{config};; esac\nexec {BINARY} \"$@\"");
    installed.install_script(&spoil);
    let text_before = fs::read_to_string(&daemon.config).unwrap();
    for round in 1..=3 {
        installed.is_refused("nonsense");
        fs::write(&daemon.config, &text_before).unwrap();
        assert_eq!(daemon.pid(), main);
        assert!(installed.executable().ends_with("echo-daemon (deleted)"), "{:?}", installed.executable());
        let comm = fs::read_to_string(format!("/proc/{main}/comm")).unwrap();
        assert_eq!(comm.trim(), "echo-daemon");
        assert_eq!(title(main).unwrap(), "echo-daemon: main");
        upgrades(daemon, "failed", round);
    }
    traffic.finish();
    for (name, value) in &before {
        assert!(counters(daemon)[name] >= *value, "{name}");
    }
    lasting.ping(b"after").unwrap();
    // The new program becomes main, but its logger cannot start.
    let log = daemon.folder.path().join("log/echo-daemon.log");
    let (log, aside) = (log.display(), log.with_extension("aside"));
    installed.install_script(&format!(
        "case \"$*\" in *--back*) mv {log} {}; mkdir {log};; esac\nexec {BINARY} \"$@\"",
        aside.display()
    ));
    let output = installed.upgrade();
    fs::remove_dir(log.to_string()).unwrap();
    fs::rename(&aside, log.to_string()).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("logger could not start"), "{}", text(&output));
    daemon.wait_log(&["UPGRADE_FAILED", "logger could not start"]);
    lasting.ping(b"and after that").unwrap();
    installed.install_copy();
    installed.upgrade_ok();
    lasting.ping(b"and on").unwrap();
    drop(lasting);
    settled(main);
    let all = family(main);
    daemon.run_ok(&["stop"]);
    all_gone(&all);
}

#[test]
fn signal_alone_upgrades_and_reloads_wait_their_turn() {
    let installed = Installed::start(ECHO);
    let daemon = &installed.daemon;
    let main = daemon.pid();
    installed.install_copy();
    daemon.signal(Signal::SIGUSR2);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_log(&["UPGRADED"]);
    eventually("the reload", || (daemon.status()["generation"] == 3).then_some(()));
    assert_eq!((daemon.pid(), installed.executable()), (main, installed.program.clone()));
    // Several at a time each get a verdict.
    let callers: Vec<_> = ["upgrade", "reload", "upgrade", "upgrade", "reload"]
        .iter()
        .map(|what| daemon.command(&[what]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for caller in callers {
        let output = caller.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    settled(main);
}

#[test]
fn tree_ends_with_main_after_an_upgrade_and_the_next_start_succeeds() {
    let installed = Installed::start(ALL);
    let daemon = &installed.daemon;
    installed.upgrade_ok();
    let mut client = Connection::open(daemon.endpoint("tcp")).unwrap();
    client.ping(b"a process of its own").unwrap();
    let main = daemon.pid();
    settled(main);
    let all = family(main);
    assert!(text(&daemon.run(&["start"])).contains("already running"), "the locks are held");
    signal(main, Signal::SIGKILL);
    all_gone(&all);
    daemon.run_ok(&["start"]);
}

#[test]
fn foreground_stays_attached_and_an_ordinary_user_may_upgrade() {
    let installed = Installed::prepare(ECHO);
    let daemon = &installed.daemon;
    let mut command = installed.command(&["start", "--foreground"]);
    if is_root("as an ordinary user") {
        for name in ["", "config.yaml", "echo-daemon"] {
            let path = daemon.folder.path().join(name);
            nix::unistd::chown(&path, Some(65534.into()), Some(65534.into())).unwrap();
        }
        command.uid(65534).gid(65534);
    }
    let mut main = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(main.id()).unwrap();
    eventually("the start", || daemon.run(&["status"]).status.success().then_some(()));
    for _ in 0..2 {
        installed.install_copy();
        if nix::unistd::geteuid().is_root() {
            nix::unistd::chown(&installed.program, Some(65534.into()), Some(65534.into())).unwrap();
        }
        installed.upgrade_ok();
        settled(pid);
    }
    assert_eq!(installed.executable(), installed.program);
    assert!(main.try_wait().unwrap().is_none(), "it has left the terminal");
    signal(pid, Signal::SIGINT);
    let output = main.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(text(&output).contains(" UPGRADED "), "the console: {}", text(&output));
}
