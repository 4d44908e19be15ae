//! Real DHCP clients get, renew and release a lease over a veth pair. Each runs in a network namespace with files of
//! its own, and configures nothing but the interface there.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use common::lab::{self, NO_ECHO};
use common::{Daemon, Namespace, eventually, folder, has, is_root, signal};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Short enough to see a renewal, long enough for dhcpcd, which takes no lease of less than 20 seconds.
const LAN: &str = "
dhcp:
  interfaces: [srv0]
  lease_time: {default: 30s, min: 30s, max: 30s}
  renew_at: 0.1
  options: {domain-name: example.org, domain-name-servers: [10.0.0.1]}
  subnets:
    lan:
      network: 10.0.0.0/24
      options: {routers: [10.0.0.1]}
      pools: {main: {range: 10.0.0.100-10.0.0.199}}
";

/// What a client does when it has learned something: dhclient tells it in $reason, udhcpc in $1.
const SCRIPT: &str = r#"#!/bin/sh
case ${reason:-$1} in
    PREINIT) ip link set "$interface" up ;;
    BOUND | RENEW | REBIND | REBOOT | bound | renew)
        ip -4 address replace "${new_ip_address:-$ip}/${new_subnet_mask:-$mask}" dev "$interface"
        ;;
    EXPIRE | FAIL | RELEASE | STOP | deconfig) ip -4 address flush dev "$interface" ;;
esac
"#;

/// A daemon, a namespace for the client on the other end of the cable, and a folder for its files.
struct Lab {
    daemon: Daemon,
    client: Namespace,
    folder: TempDir,
    _server: Namespace,
}

impl Lab {
    fn new() -> Self {
        let (server, client, folder) = (Namespace::new(), Namespace::new(), folder());
        server.join("srv0", &client, "cli0");
        server.address("srv0", "10.0.0.1/24");
        let script = folder.path().join("script");
        fs::write(&script, SCRIPT).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let daemon = Daemon::start_in(&server, &format!("{NO_ECHO}{LAN}"));
        Self { daemon, client, folder, _server: server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a client program; its words go to a file.
    fn run(&self, mut command: Command) -> Running {
        let words = self.path("words");
        let file = fs::File::create(&words).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Running { child: command.spawn().unwrap(), words }
    }

    /// The address on the client's interface.
    fn address(&self) -> Option<String> {
        let shown = self.client.sh("ip", &["-4", "-o", "addr", "show", "dev", "cli0"]);
        let address = shown.split_whitespace().skip_while(|word| *word != "inet").nth(1)?;
        Some(address.split('/').next().unwrap().to_owned())
    }

    fn mac(&self) -> String {
        let shown = self.client.sh("ip", &["-o", "link", "show", "dev", "cli0"]);
        shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned()
    }

    /// The client has configured its interface, and the lease file says the same.
    #[track_caller]
    fn wait_leased(&self) -> String {
        let address = eventually("the client configures its interface", || self.address());
        self.daemon.wait_log(&["DHCP_LEASE_GRANTED", &address]);
        let rows = lab::query(&self.daemon, "SELECT ip, mac, subnet, pool, state FROM lease_list");
        assert_eq!(rows, [[address.clone(), self.mac(), "lan".into(), "main".into(), "active".into()]]);
        address
    }

    #[track_caller]
    fn wait_renewed(&self, address: &str) {
        self.daemon.wait_log(&["DHCP_LEASE_RENEWED", &format!("renewed {address} ")]);
        assert_eq!(self.address().as_deref(), Some(address));
    }

    #[track_caller]
    fn wait_released(&self, address: &str) {
        self.daemon.wait_log(&["DHCP_LEASE_RELEASED", &format!("released {address} ")]);
        let rows = lab::query(&self.daemon, "SELECT ip, state FROM lease_list");
        assert_eq!(rows, [[address, "released"]]);
        assert_eq!(lab::lines(&self.daemon, &["DHCP_NAK_SENT"]), 0);
        assert_eq!(lab::lines(&self.daemon, &["DHCP_LEASE_DECLINED"]), 0);
    }
}

/// A client program; ended when dropped, its words shown where the test fails.
struct Running {
    child: Child,
    words: PathBuf,
}

impl Running {
    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the client said:\n{}", fs::read_to_string(&self.words).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn can_run(program: &str, test: &str) -> bool {
    is_root(test) && has(program, test)
}

/// The installed dhclient may be confined to the system's folders, a copy is not.
fn copy_of(program: &str, to: &Path) {
    let found = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(program));
    fs::copy(found.iter().find(|path| path.exists()).unwrap(), to).unwrap();
}

#[test]
fn dhclient_gets_renews_and_releases_a_lease() {
    if !can_run("dhclient", "dhclient_gets_renews_and_releases_a_lease") {
        return;
    }
    let lab = Lab::new();
    let program = lab.path("dhclient");
    copy_of("dhclient", &program);
    fs::write(lab.path("conf"), "request subnet-mask, routers, domain-name, domain-name-servers;\n").unwrap();
    let dhclient = |mode: &str| {
        let mut command = lab.client.command(program.to_str().unwrap());
        command.args(["-4", "-v", mode]);
        for (flag, file) in [("-sf", "script"), ("-lf", "leases"), ("-pf", "pid"), ("-cf", "conf")] {
            command.arg(flag).arg(lab.path(file));
        }
        command.arg("cli0");
        command
    };
    let _client = lab.run(dhclient("-d"));
    let address = lab.wait_leased();
    lab.wait_renewed(&address);
    assert!(dhclient("-r").output().unwrap().status.success());
    lab.wait_released(&address);
}

#[test]
fn udhcpc_gets_renews_and_releases_a_lease() {
    if !can_run("udhcpc", "udhcpc_gets_renews_and_releases_a_lease") {
        return;
    }
    let lab = Lab::new();
    let mut command = lab.client.command("udhcpc");
    command.args(["-f", "-i", "cli0", "-s"]).arg(lab.path("script"));
    let client = lab.run(command);
    let address = lab.wait_leased();
    signal(client.pid(), Signal::SIGUSR1);
    lab.wait_renewed(&address);
    signal(client.pid(), Signal::SIGUSR2);
    lab.wait_released(&address);
}

#[test]
fn dhcpcd_gets_renews_and_releases_a_lease() {
    if !can_run("dhcpcd", "dhcpcd_gets_renews_and_releases_a_lease") {
        return;
    }
    let lab = Lab::new();
    fs::write(lab.path("conf"), "").unwrap();
    let mut command = lab.client.command("unshare");
    // It keeps its files in fixed places: there it gets empty ones of its own.
    command.args(["-m", "sh", "-c"]).arg(
        "mount -t tmpfs none /run && mount -t tmpfs none /var/lib && mkdir -p /run/dhcpcd /var/lib/dhcpcd && \
         exec dhcpcd -B -4 -A -L -d -f \"$0\" -c /bin/true cli0",
    );
    command.arg(lab.path("conf"));
    let client = lab.run(command);
    let address = lab.wait_leased();
    lab.wait_renewed(&address);
    signal(client.pid(), Signal::SIGALRM);
    lab.wait_released(&address);
}
