//! Guards for tests that run the real binary: a daemon in a folder of its own, network namespaces, a DHCP client.
//! Whatever a guard made is gone when it is dropped, also when the test fails.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]

pub mod cable;
pub mod crowd;
pub mod dhcp;
pub mod echo;
pub mod http;
pub mod inject;
pub mod lab;
pub mod log;
pub mod netns;
pub mod octets;
pub mod proc;
pub mod raw;
pub mod site;
pub mod strace;
pub mod traffic;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use netns::Namespace;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_echo-daemon");
/// Longest wait for anything; a slow machine needs it, a fast one never waits so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Whether this test can run; says that it was skipped where it cannot.
pub fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test}: needs root");
    }
    root
}

/// Waits until `look` finds something.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder whose files the workers (another user) can reach.
pub fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("echo-daemon-test-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// What every test configuration begins with: all files in the test's folder, any port, quick shutdown.
pub const BASE: &str = "\
daemon: {pid_file: run/echo-daemon.pid, control_socket: run/control.sock, state_dir: state, user: nobody}
logging: {log_file: log/echo-daemon.log, log_level: DEBUG}
api: {listen: null}
";

/// Echo services on any port of loopback, no DHCP.
pub const ECHO: &str = "\
tcp: {address: 127.0.0.1, port: 0}
udp: {address: 127.0.0.1, port: 0}
dhcp: {enabled: false}
";

/// A running (or stopped) daemon with its own folder; stopped by force when dropped.
pub struct Daemon {
    pub folder: TempDir,
    pub config: PathBuf,
    pub namespace: Option<String>,
}

impl Daemon {
    /// Starts a daemon with [`BASE`] and this YAML.
    pub fn start(yaml: &str) -> Self {
        let daemon = Self::prepare(yaml);
        daemon.run_ok(&["start"]);
        daemon
    }

    /// The same in a network namespace.
    pub fn start_in(namespace: &Namespace, yaml: &str) -> Self {
        let mut daemon = Self::prepare(yaml);
        daemon.namespace = Some(namespace.name.clone());
        daemon.run_ok(&["start"]);
        daemon
    }

    /// Writes the configuration, starts nothing.
    pub fn prepare(yaml: &str) -> Self {
        let folder = folder();
        let config = folder.path().join("config.yaml");
        fs::write(&config, format!("{BASE}{yaml}")).unwrap();
        Self { folder, config, namespace: None }
    }

    /// Replaces the configuration file.
    pub fn write_config(&self, yaml: &str) {
        fs::write(&self.config, format!("{BASE}{yaml}")).unwrap();
    }

    /// A command of the binary with this daemon's configuration, in its namespace.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.namespace {
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, BINARY]);
                command
            }
            None => Command::new(BINARY),
        };
        command.arg("-c").arg(&self.config).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command of the binary.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed; its output.
    #[track_caller]
    pub fn run_ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}\n{}\n{}", output.status, text(&output), self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `status --json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.run_ok(&["status", "--json"])).unwrap()
    }

    /// PID of main, by the PID file.
    pub fn pid(&self) -> i32 {
        let text = fs::read_to_string(self.pid_file()).unwrap();
        text.trim().parse().unwrap()
    }

    pub fn pid_file(&self) -> PathBuf {
        self.folder.path().join("run/echo-daemon.pid")
    }

    pub fn leases(&self) -> PathBuf {
        self.folder.path().join("state/leases.db")
    }

    /// PIDs of the workers of this name (`tcp`, `dhcp 0`, …) in the newest generation.
    #[track_caller]
    pub fn worker(&self, name: &str) -> i32 {
        let status = self.status();
        let processes = status["processes"].as_array().unwrap().clone();
        let newest = processes
            .iter()
            .filter(|process| process["name"] == name)
            .max_by_key(|process| (process["generation"].as_u64(), process["pid"].as_i64()));
        let pid = newest.unwrap_or_else(|| panic!("no worker {name} in {status:#}"))["pid"].as_i64();
        i32::try_from(pid.unwrap()).unwrap()
    }

    /// Where a service listens (`tcp`, `udp`), the first address.
    #[track_caller]
    pub fn endpoint(&self, service: &str) -> SocketAddr {
        let status = self.status();
        let endpoints = status["endpoints"].as_array().unwrap();
        let endpoint = endpoints.iter().find(|endpoint| endpoint["service"] == service);
        endpoint.unwrap()["address"].as_str().unwrap().parse().unwrap()
    }

    /// The whole text log, rotated files first.
    pub fn log(&self) -> String {
        let path = self.folder.path().join("log/echo-daemon.log");
        let rotated = (1..=50).rev().map(|n| PathBuf::from(format!("{}.{n}", path.display())));
        rotated.chain([path.clone()]).filter_map(|path| fs::read_to_string(path).ok()).collect()
    }

    /// Waits until a line of the log holds all of these.
    #[track_caller]
    pub fn wait_log(&self, parts: &[&str]) -> String {
        eventually(&format!("log line with {parts:?} in:\n{}", self.log()), || {
            let log = self.log();
            log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.run(&["stop", "--force", "--timeout", "5s"]);
        if std::thread::panicking() {
            eprintln!("log of the daemon:\n{}", self.log());
        }
    }
}

/// Both outputs of a command as text.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Sends a signal.
pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

/// Stops a process, and waits until it has stopped.
#[track_caller]
pub fn freeze(pid: i32) {
    signal(pid, nix::sys::signal::Signal::SIGSTOP);
    eventually(&format!("stop of {pid}"), || (state(pid)? == 'T').then_some(()));
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// The state letter of a process (proc(5)).
pub fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The command line that `ps` shows.
pub fn title(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    Some(text.trim_end().to_owned())
}

/// PIDs of the children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|candidate| parent(*candidate) == Some(pid)).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Runs a program that must succeed; its standard output.
#[track_caller]
pub fn sh(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a program is installed; says that the test was skipped where it is not.
pub fn has(program: &str, test: &str) -> bool {
    let found = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists());
    if !found {
        eprintln!("skipped: {test}: {program} is not installed");
    }
    found
}

/// Everything on loopback, with DHCP on any port.
pub const ALL: &str = "\
tcp: {address: 127.0.0.1, port: 0, max_clients: 100}
udp: {address: 127.0.0.1, port: 0}
dhcp:
  interfaces: [lo]
  port: 0
  subnets:
    demo:
      network: 127.0.0.0/8
      interface: lo
      pools: {main: {range: 127.100.0.10-127.100.40.250}}
";

impl Daemon {
    /// The port at which DHCP is served on loopback.
    #[track_caller]
    pub fn dhcp_port(&self) -> u16 {
        let status = self.status();
        let endpoints = status["endpoints"].as_array().unwrap();
        let endpoint = endpoints.iter().find(|endpoint| endpoint["service"] == "dhcp").unwrap();
        endpoint["address"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Sends main a signal.
    pub fn signal(&self, which: nix::sys::signal::Signal) {
        signal(self.pid(), which);
    }
}
