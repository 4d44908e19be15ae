//! Network namespaces that a test makes for itself, joined by veth pairs. Names are unique over all tests and
//! runs; everything goes when the guard is dropped.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::sh;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with loopback up.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    /// Makes one. Needs root.
    pub fn new() -> Self {
        let name = format!("echod-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        sh("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.sh("ip", &["link", "set", "lo", "up"]);
        namespace
    }

    /// Joins two namespaces by a veth pair with these interface names, both up. Addresses are the caller's.
    pub fn join(&self, interface: &str, other: &Self, other_interface: &str) {
        self.sh(
            "ip",
            &[
                "link",
                "add",
                interface,
                "type",
                "veth",
                "peer",
                "name",
                other_interface,
                "netns",
                &other.name,
            ],
        );
        self.sh("ip", &["link", "set", interface, "up"]);
        other.sh("ip", &["link", "set", other_interface, "up"]);
    }

    /// Gives an interface an address: `10.0.0.1/24`.
    pub fn address(&self, interface: &str, address: &str) {
        self.sh("ip", &["addr", "add", address, "dev", interface]);
    }

    /// A command inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).stdin(Stdio::null());
        command
    }

    /// Runs a program inside that must succeed; its standard output.
    #[track_caller]
    pub fn sh(&self, program: &str, args: &[&str]) -> String {
        let all: Vec<&str> =
            ["netns", "exec", &self.name, program].into_iter().chain(args.iter().copied()).collect();
        sh("ip", &all)
    }
}

impl Drop for Namespace {
    /// Nobody stays behind in it: some clients leave helpers of their own when they are killed.
    fn drop(&mut self) {
        let inside = Command::new("ip").args(["netns", "pids", &self.name]).output();
        let inside =
            inside.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for pid in inside.lines().filter_map(|line| line.trim().parse().ok()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}
