//! The DHCP servers: how each is configured for the same network and started inside the server's namespace. What they
//! write goes to a folder on the disk that is measured. Conflict checks are off everywhere.

use crate::netns::{self, Cable, INTERFACE, SERVER};
use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fmt::{self, Write};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server has to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// The programs that are run.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Our daemon.
    pub(crate) daemon: PathBuf,
    /// The load generator.
    pub(crate) load: PathBuf,
    /// The ceiling of the TCP service, a C program.
    pub(crate) accept_fork: PathBuf,
    /// Where the packages of the peers were unpacked.
    pub(crate) peers: PathBuf,
}

impl Programs {
    /// A peer's program: an installed one, or the one of an unpacked package.
    pub(crate) fn peer(&self, name: &str) -> Option<PathBuf> {
        let unpacked = ["usr/sbin", "usr/bin"].into_iter().map(|folder| self.peers.join(folder));
        let system =
            ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].into_iter().map(PathBuf::from);
        system.chain(unpacked).map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// Where the libraries of unpacked packages are, for the dynamic linker.
    pub(crate) fn libraries(&self) -> OsString {
        let mut folders = vec![self.peers.join("usr/lib")];
        folders.extend(
            fs::read_dir(self.peers.join("usr/lib"))
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        );
        std::env::join_paths(folders).unwrap_or_default()
    }
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours, with so many workers.
    Ours(u8),
    /// Kea with several threads and leases in a CSV file.
    Kea,
    /// dnsmasq.
    Dnsmasq,
    /// ISC dhcpd.
    Dhcpd,
    /// The ceiling: everything is answered, nothing is stored.
    Answer,
}

/// In the order of the tables.
pub(crate) const ALL: [Kind; 7] =
    [Kind::Ours(1), Kind::Ours(2), Kind::Ours(4), Kind::Kea, Kind::Dnsmasq, Kind::Dhcpd, Kind::Answer];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(workers) => write!(f, "ours-{workers}"),
            Self::Kea => f.write_str("kea"),
            Self::Dnsmasq => f.write_str("dnsmasq"),
            Self::Dhcpd => f.write_str("dhcpd"),
            Self::Answer => f.write_str("answer"),
        }
    }
}

impl Kind {
    /// As the tables and plots call it.
    pub(crate) fn title(self) -> String {
        match self {
            Self::Ours(1) => "echo-daemon, 1 worker".to_owned(),
            Self::Ours(workers) => format!("echo-daemon, {workers} workers"),
            Self::Kea => "Kea, threads, memfile".to_owned(),
            Self::Dnsmasq => "dnsmasq".to_owned(),
            Self::Dhcpd => "ISC dhcpd".to_owned(),
            Self::Answer => "ceiling: answers, stores nothing".to_owned(),
        }
    }

    /// The peer's program, and the Debian package that has it.
    fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Kea => Some(("kea-dhcp4", "kea-dhcp4-server")),
            Self::Dnsmasq => Some(("dnsmasq", "dnsmasq-base")),
            Self::Dhcpd => Some(("dhcpd", "isc-dhcp-server")),
            Self::Ours(_) | Self::Answer => None,
        }
    }

    /// Why it cannot be measured here.
    pub(crate) fn missing(self, programs: &Programs) -> Option<String> {
        let (program, package) = self.program()?;
        programs.peer(program).is_none().then(|| format!("{program} (package {package}) could not be had"))
    }

    /// Clients that renew: as many as the server leases in a second or two, since getting the leases is not timed.
    pub(crate) fn renewing_clients(self) -> u32 {
        match self {
            Self::Ours(_) | Self::Kea | Self::Answer => 10_000,
            Self::Dnsmasq | Self::Dhcpd => 300,
        }
    }

    /// Starts it with an empty lease file in `folder`, which is emptied. It may not answer yet.
    pub(crate) fn start<'a>(
        self,
        programs: &Programs,
        cable: &'a Cable,
        folder: &Path,
    ) -> anyhow::Result<Running<'a>> {
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("could not empty \"{}\"", folder.display()))?;
        }
        make_folder(folder)?;
        let mut command = match self {
            Self::Ours(workers) => {
                return ours(programs, cable, folder, &Setting { workers, ..Setting::default() });
            }
            Self::Kea => kea(programs, cable, folder)?,
            Self::Dnsmasq => dnsmasq(programs, cable, folder)?,
            Self::Dhcpd => dhcpd(programs, cable, folder)?,
            Self::Answer => {
                let mut command = cable.server(&programs.load);
                command.args(["answer", "--listen", SERVER]);
                command
            }
        };
        spawn(&mut command, cable, folder).with_context(|| format!("could not start {self}"))
    }

    fn peer(self, programs: &Programs, cable: &Cable) -> anyhow::Result<Command> {
        let program = self.program().and_then(|(name, _)| programs.peer(name));
        let mut command = cable.server(program.with_context(|| format!("there is no {self} here"))?);
        command.env("LD_LIBRARY_PATH", programs.libraries());
        Ok(command)
    }
}

/// What differs between the runs of our daemon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) workers: u8,
    /// Whether new addresses are probed before they are offered.
    pub(crate) conflict_check: bool,
    /// The pool, or that of the whole network.
    pub(crate) pool: &'static str,
    /// The echo services, on the loopback.
    pub(crate) echo: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self { workers: 2, conflict_check: false, pool: "10.65.0.0-10.127.255.254", echo: false }
    }
}

/// Ports of our echo services inside the namespace.
pub(crate) const TCP_PORT: u16 = 8888;
pub(crate) const UDP_PORT: u16 = 8889;

/// A folder that a server under another user can go through.
pub(crate) fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("could not make \"{}\"", folder.display()))
}

/// The configuration file of our daemon. Apart from paths, sizes and the switches that DESIGN §11 names, the defaults.
pub(crate) fn configure(folder: &Path, setting: &Setting) -> anyhow::Result<PathBuf> {
    let Setting { workers, conflict_check, pool, echo } = setting;
    let check = if *conflict_check { "auto" } else { "off" };
    let base = folder.display();
    let mut text = String::new();
    writeln!(text, "daemon: {{pid_file: {base}/pid, control_socket: {base}/sock, state_dir: {base}/state}}")?;
    writeln!(text, "logging: {{log_file: {base}/log}}")?;
    writeln!(text, "tcp: {{enabled: {echo}, address: 127.0.0.1, port: {TCP_PORT}, max_clients: 100}}")?;
    writeln!(text, "udp: {{enabled: {echo}, address: 127.0.0.1, udp_port: {UDP_PORT}}}")?;
    writeln!(text, "api: {{listen: null}}")?;
    writeln!(text, "dhcp:")?;
    writeln!(
        text,
        "  interfaces: [{INTERFACE}]\n  workers: {workers}\n  conflict_check: {{method: {check}}}"
    )?;
    // A few thousand clients that renew as fast as they can look like an attack.
    writeln!(text, "  security: {{client_rate: null}}")?;
    writeln!(text, "  options: {{domain-name: example.org, domain-name-servers: [{SERVER}]}}")?;
    writeln!(
        text,
        "  subnets:\n    big:\n      network: 10.64.0.0/10\n      options: {{routers: [{SERVER}]}}"
    )?;
    writeln!(text, "      pools: {{main: {{range: {pool}}}}}")?;
    let path = folder.join("config.yaml");
    fs::write(&path, text).with_context(|| format!("could not write \"{}\"", path.display()))?;
    Ok(path)
}

/// Starts our daemon in a folder as it is; returns when it serves.
pub(crate) fn ours<'a>(
    programs: &Programs,
    cable: &'a Cable,
    folder: &Path,
    setting: &Setting,
) -> anyhow::Result<Running<'a>> {
    make_folder(folder)?;
    let config = configure(folder, setting)?;
    netns::finish(cable.server(&programs.daemon).arg("start").arg("-c").arg(&config))?;
    let pid = fs::read_to_string(folder.join("pid")).context("the daemon left no PID file")?;
    let pid = pid.trim().parse().context("the PID file holds no number")?;
    Ok(Running { pid, cable, how: How::Daemon })
}

fn kea(programs: &Programs, cable: &Cable, folder: &Path) -> anyhow::Result<Command> {
    let base = folder.display();
    let config = serde_json::json!({"Dhcp4": {
        "interfaces-config": {"interfaces": [INTERFACE], "dhcp-socket-type": "udp"},
        "lease-database": {"type": "memfile", "persist": true, "name": format!("{base}/kea-leases4.csv"), "lfc-interval": 0},
        "multi-threading": {"enable-multi-threading": true},
        "valid-lifetime": 3600, "renew-timer": 1800, "rebind-timer": 3150,
        "option-data": [
            {"name": "domain-name", "data": "example.org"},
            {"name": "domain-name-servers", "data": SERVER},
            {"name": "routers", "data": SERVER}
        ],
        "subnet4": [{"subnet": "10.64.0.0/10", "pools": [{"pool": "10.65.0.0-10.127.255.254"}]}],
        // As an administrator of a busy server has it: a line for each lease would cost it a quarter.
        "loggers": [{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": format!("{base}/kea.log")}]}]
    }});
    let path = write(folder, "kea.json", &serde_json::to_string_pretty(&config)?)?;
    let mut command = Kind::Kea.peer(programs, cable)?;
    command.arg("-c").arg(path).env("KEA_PIDFILE_DIR", folder).env("KEA_LOCKFILE_DIR", folder);
    Ok(command)
}

fn dnsmasq(programs: &Programs, cable: &Cable, folder: &Path) -> anyhow::Result<Command> {
    let base = folder.display();
    let config = format!(
        "port=0\ninterface={INTERFACE}\nbind-interfaces\nuser=root\nno-ping\nno-resolv\nno-hosts\nquiet-dhcp\n\
         dhcp-authoritative\ndhcp-range=10.65.0.0,10.127.255.254,255.192.0.0,1h\ndhcp-lease-max=4000000\n\
         domain=example.org\ndhcp-option=option:router,{SERVER}\ndhcp-option=option:dns-server,{SERVER}\n\
         dhcp-leasefile={base}/dnsmasq.leases\npid-file={base}/dnsmasq.pid\n"
    );
    let path = write(folder, "dnsmasq.conf", &config)?;
    let mut command = Kind::Dnsmasq.peer(programs, cable)?;
    command.arg("--keep-in-foreground").arg("-C").arg(path);
    Ok(command)
}

fn dhcpd(programs: &Programs, cable: &Cable, folder: &Path) -> anyhow::Result<Command> {
    // It makes a record of each address of a pool when it starts, so a smaller pool than the others'. Without the
    // threshold of 0 it would answer a renewal from memory and store nothing.
    let config = format!(
        "authoritative;\ndefault-lease-time 3600;\nmax-lease-time 3600;\nping-check false;\nddns-update-style none;\n\
         dhcp-cache-threshold 0;\noption domain-name \"example.org\";\noption domain-name-servers {SERVER};\n\
         subnet 10.64.0.0 netmask 255.192.0.0 {{ option routers {SERVER}; range 10.65.0.0 10.65.255.254; }}\n"
    );
    let path = write(folder, "dhcpd.conf", &config)?;
    let leases = write(folder, "dhcpd.leases", "")?;
    let mut command = Kind::Dhcpd.peer(programs, cable)?;
    command.args(["-4", "-f", "-q", "-cf"]).arg(path).arg("-lf").arg(leases);
    command.arg("-pf").arg(folder.join("dhcpd.pid")).arg(INTERFACE);
    Ok(command)
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("could not write \"{}\"", path.display()))?;
    Ok(path)
}

/// Starts a program that stays in the foreground; its words go to a file in the folder.
pub(crate) fn spawn<'a>(
    command: &mut Command,
    cable: &'a Cable,
    folder: &Path,
) -> anyhow::Result<Running<'a>> {
    let words = File::create(folder.join("words"))?;
    let child = command.stdout(Stdio::from(words.try_clone()?)).stderr(Stdio::from(words)).spawn()?;
    let pid = i32::try_from(child.id())?;
    Ok(Running { pid, cable, how: How::Child(child) })
}

/// A server that runs. Dropped, it is stopped, and whoever is left of it is killed.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    /// The process above all of its others.
    pub(crate) pid: i32,
    cable: &'a Cable,
    how: How,
}

#[derive(Debug)]
enum How {
    /// It went into the background.
    Daemon,
    /// It is a child of this process.
    Child(Child),
}

impl Running<'_> {
    /// Whether it still runs, which it must.
    pub(crate) fn require_alive(&mut self) -> anyhow::Result<()> {
        let gone = match &mut self.how {
            How::Daemon => !self.exists(),
            How::Child(child) => child.try_wait()?.is_some(),
        };
        if gone {
            bail!("it has ended before its time");
        }
        Ok(())
    }

    fn exists(&self) -> bool {
        kill(Pid::from_raw(self.pid), None).is_ok()
    }

    /// Stops it as its administrator would, so that what it holds is written.
    fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
        let until = Instant::now() + GRACE;
        while self.require_alive().is_ok() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.stop();
        self.cable.clear();
        if let How::Child(child) = &mut self.how {
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_configuration_differs_only_where_it_was_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        let plain = fs::read_to_string(configure(folder.path(), &Setting::default()).unwrap()).unwrap();
        assert!(
            plain.contains("workers: 2")
                && plain.contains("method: off")
                && plain.contains("tcp: {enabled: false")
        );
        let setting = Setting { workers: 4, conflict_check: true, pool: "10.65.0.0-10.65.0.255", echo: true };
        let other = fs::read_to_string(configure(folder.path(), &setting).unwrap()).unwrap();
        assert!(
            other.contains("workers: 4")
                && other.contains("method: auto")
                && other.contains("tcp: {enabled: true")
        );
        assert!(!plain.contains("durability"), "the default is an fsync for each commit");
    }

    #[test]
    fn names_of_servers_are_unique() {
        let names: std::collections::BTreeSet<String> = ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
