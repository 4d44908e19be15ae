//! Two network namespaces joined by a cable, and the promise that nothing of them stays: not after an error, and not
//! after Ctrl-C.

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The server's address, in a network of 4 million.
pub(crate) const SERVER: &str = "10.64.0.1";
/// The relay's.
pub(crate) const RELAY: &str = "10.64.0.2";
/// The network's prefix length.
const PREFIX: u8 = 10;
/// The interface's name on both sides.
pub(crate) const INTERFACE: &str = "eth0";
/// How long processes have to be gone after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was made and is not yet removed.
static MADE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The two ends. Dropped, they are removed, with every process in them.
#[derive(Debug)]
pub(crate) struct Cable {
    server: String,
    client: String,
}

impl Cable {
    /// Makes both namespaces, named after this process. Needs root.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let name = |side: &str| format!("echo-bench-{}-{side}", std::process::id());
        let cable = Self { server: name("s"), client: name("c") };
        for name in [&cable.server, &cable.client] {
            run("ip", ["netns", "add", name])?;
            made().push(name.clone());
            run("ip", ["-n", name, "link", "set", "lo", "up"])?;
        }
        let Self { server, client } = &cable;
        run(
            "ip",
            [
                "-n", server, "link", "add", INTERFACE, "type", "veth", "peer", "name", INTERFACE, "netns",
                client,
            ],
        )?;
        for (name, address) in [(server, SERVER), (client, RELAY)] {
            run("ip", ["-n", name, "addr", "add", &format!("{address}/{PREFIX}"), "dev", INTERFACE])?;
            run("ip", ["-n", name, "link", "set", INTERFACE, "up"])?;
        }
        Ok(cable)
    }

    /// A command on the server's side.
    pub(crate) fn server(&self, program: impl AsRef<OsStr>) -> Command {
        inside(&self.server, program.as_ref())
    }

    /// A command on the side of the relay.
    pub(crate) fn client(&self, program: impl AsRef<OsStr>) -> Command {
        inside(&self.client, program.as_ref())
    }

    /// Another address for the relays' side.
    pub(crate) fn add_client_address(&self, address: &str) -> anyhow::Result<()> {
        run("ip", ["-n", &self.client, "addr", "add", &format!("{address}/{PREFIX}"), "dev", INTERFACE])
    }

    /// Has the calling thread, and it alone, open its sockets on the side of the relay from now on (setns(2)).
    pub(crate) fn enter_client(&self) -> anyhow::Result<()> {
        let path = format!("/run/netns/{}", self.client);
        let namespace = std::fs::File::open(&path).with_context(|| format!("could not open \"{path}\""))?;
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }

    /// Kills whoever is left on the server's side, so that the next server finds its ports free.
    pub(crate) fn clear(&self) {
        clear(&self.server);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        remove_all();
    }
}

/// ip-netns(8) executes the program in its own place: the child's PID is the program's.
fn inside(namespace: &str, program: &OsStr) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program).stdin(Stdio::null());
    command
}

/// Removes every namespace of this process and whoever is in it. Called when the cable goes, and by a signal.
pub(crate) fn remove_all() {
    for name in made().drain(..) {
        clear(&name);
        let _ = Command::new("ip").args(["netns", "del", &name]).output();
    }
}

fn made() -> MutexGuard<'static, Vec<String>> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn clear(namespace: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = pids(namespace);
        if left.is_empty() || Instant::now() > until {
            return;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes of a namespace that still run: what is only left to be reaped is gone.
fn pids(namespace: &str) -> Vec<i32> {
    let output = Command::new("ip").args(["netns", "pids", namespace]).output();
    let output =
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    output.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Runs a program that must succeed.
pub(crate) fn run<'a>(program: &str, args: impl IntoIterator<Item = &'a str>) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    finish(&mut command)?;
    Ok(())
}

/// Runs a command to its end, which must be a good one; its standard output.
pub(crate) fn finish(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("could not run {shown}"))?;
    if !output.status.success() {
        bail!("{shown}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
