//! The DHCP clients that people use live with the server: they get a lease, renew it, rebind, come back after a reboot, give it
//! back, decline an address that is in use, and get over a refusal; on the server's link and behind real relays. Each runs in a
//! network namespace with files of its own, and configures nothing but the interface there.

mod common;

use std::fs;
use std::process::Command;

use common::lab::NO_ECHO;
use common::site::{Running, SITE, Said, Site, Way, Witness, copy_of};
use common::{eventually, has, is_root, lab, signal};
use nix::sys::signal::Signal;

/// A client program at a site.
trait Program {
    /// Starts it in the foreground.
    fn start(site: &Site) -> Running;
    /// Makes it give its lease back.
    fn release(site: &Site, running: &mut Running);
    /// Makes it renew early; nothing where it does so only when the time has come.
    fn renew(_running: &Running) {}
    /// Its machine loses its power and comes up again; the client asks for what it had, in state INIT-REBOOT.
    fn reboot(site: &Site, running: &mut Running, wire: &mut Witness) {
        signal(running.pid(), Signal::SIGKILL);
        eventually("the client is gone", || running.has_ended().then_some(()));
        site.client.sh("ip", &["addr", "flush", "dev", "cli0"]);
        wire.forget();
        *running = Self::start(site);
        wire.wait_acked(Said::InitReboot);
    }
    /// Whether it remembers its lease at all.
    const REMEMBERS: bool = true;
    /// Whether it declines an address that is in use.
    const DECLINES: bool = true;
}

struct Dhclient;
struct Udhcpc;
struct Dhcpcd;
struct Networkd;

impl Dhclient {
    fn command(site: &Site, mode: &str) -> Command {
        let program = site.path("dhclient");
        if !program.exists() {
            copy_of("dhclient", &program);
            fs::write(site.path("conf"), "request subnet-mask, routers, domain-name, domain-name-servers;\n")
                .unwrap();
        }
        let mut command = site.client.command(program.to_str().unwrap());
        command.args(["-4", "-v", mode]);
        for (flag, file) in [("-sf", "script"), ("-lf", "leases"), ("-pf", "pid"), ("-cf", "conf")] {
            command.arg(flag).arg(site.path(file));
        }
        command.arg("cli0");
        command
    }
}

impl Program for Dhclient {
    fn start(site: &Site) -> Running {
        site.run("dhclient", Self::command(site, "-d"))
    }

    fn release(site: &Site, _: &mut Running) {
        assert!(Self::command(site, "-r").output().unwrap().status.success());
    }
}

impl Program for Udhcpc {
    fn start(site: &Site) -> Running {
        let mut command = site.client.command("udhcpc");
        command.args(["-f", "-a200", "-A", "1", "-i", "cli0", "-s"]).arg(site.path("script"));
        site.run("udhcpc", command)
    }

    fn release(_: &Site, running: &mut Running) {
        signal(running.pid(), Signal::SIGUSR2);
    }

    fn renew(running: &Running) {
        signal(running.pid(), Signal::SIGUSR1);
    }

    /// It keeps nothing on disk and knows no INIT-REBOOT.
    const REMEMBERS: bool = false;
}

/// A command in the client's namespace with its own folders in places where a program expects them.
fn with_folders(site: &Site, folders: &str, command: &str) -> Command {
    let mounts: Vec<String> = folders
        .split(' ')
        .map(|folder| {
            let own = site.path(&folder.replace('/', "-"));
            fs::create_dir_all(&own).unwrap();
            format!("mount --bind {} {folder}", own.display())
        })
        .collect();
    let mut sh = site.client.command("unshare");
    sh.args(["-m", "sh", "-ec"]).arg(format!("{}\n{command}", mounts.join("\n")));
    sh
}

impl Program for Dhcpcd {
    fn start(site: &Site) -> Running {
        let conf = site.path("conf");
        fs::write(&conf, "").unwrap();
        let run = format!(
            "mkdir -p /run/dhcpcd /var/lib/dhcpcd\nexec dhcpcd -B -4 -L -d -f {} -c /bin/true cli0",
            conf.display()
        );
        site.run("dhcpcd", with_folders(site, "/run /var/lib", &run))
    }

    fn release(_: &Site, running: &mut Running) {
        signal(running.pid(), Signal::SIGALRM);
    }
}

const NETWORKD: &str = "/lib/systemd/systemd-networkd";

impl Program for Networkd {
    fn start(site: &Site) -> Running {
        let network = "[Match]\nName=cli0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\
                       IgnoreCarrierLoss=no\n";
        // Under a read-only /sys it waits for no udev; without a bus it goes on by itself.
        let run = format!(
            "mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp\n\
             chown -R systemd-network: /run/systemd/netif\n\
             mkdir -p /run/systemd/network\n\
             printf '{}' >/run/systemd/network/10-test.network\n\
             mount -o remount,ro /sys\n\
             export SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console\n\
             exec {NETWORKD}",
            network.replace('\n', "\\n")
        );
        site.run("networkd", with_folders(site, "/run", &run))
    }

    fn release(_: &Site, running: &mut Running) {
        signal(running.pid(), Signal::SIGTERM);
    }

    /// It forgets its lease when it ends. When the cable was out it asks for the same address, which is the same to the server.
    fn reboot(site: &Site, _: &mut Running, wire: &mut Witness) {
        site.middle.sh("ip", &["link", "set", "mid1", "down"]);
        eventually("the address is gone", || site.address().is_none().then_some(()));
        wire.forget();
        site.middle.sh("ip", &["link", "set", "mid1", "up"]);
        wire.wait_acked(Said::InitReboot);
    }

    /// Version 252 notices the conflict, gives the address up and says nothing, whatever `SendDecline=` says.
    const DECLINES: bool = false;
}

/// The whole life of a lease on one way to the server.
fn live<P: Program>(way: Way) {
    let site = Site::new(way);
    let mut wire = site.witness();
    let mut client = P::start(&site);
    wire.wait(&[Said::Discover, Said::Offer, Said::Selecting, Said::Ack]);
    let address = site.wait_leased();
    P::renew(&client);
    wire.wait_acked(Said::Renewing);
    site.daemon.wait_log(&["DHCP_LEASE_RENEWED", &format!("renewed {address} ")]);
    site.block_unicast();
    wire.forget();
    wire.wait_acked(Said::Rebinding);
    site.unblock_unicast();
    if P::REMEMBERS {
        P::reboot(&site, &mut client, &mut wire);
        assert_eq!(site.wait_leased(), address);
    }
    P::release(&site, &mut client);
    wire.wait(&[Said::Release]);
    site.daemon.wait_log(&["DHCP_LEASE_RELEASED", &format!("released {address} ")]);
    assert_eq!(site.state_of(&address), "released");
    for never in ["DHCP_NAK_SENT", "DHCP_LEASE_DECLINED", "WORKER_DIED"] {
        assert_eq!(lab::lines(&site.daemon, &[never]), 0, "{never}");
    }
}

/// The first address of the pool is in use by another machine on the link; the client notices and gets the next one.
fn decline<P: Program>() {
    let site = Site::new(Way::Switch);
    site.middle.address("br0", "10.0.0.100/24");
    fs::write(site.path("refuse"), "").unwrap();
    let mut wire = site.witness();
    let _client = P::start(&site);
    wire.wait(&[Said::Offer, Said::Selecting, Said::Ack, Said::Decline]);
    site.daemon.wait_log(&["DHCP_LEASE_DECLINED", "10.0.0.100 "]);
    wire.wait(&[Said::Discover, Said::Offer, Said::Selecting, Said::Ack]);
    let address = site.wait_leased();
    assert_ne!(address, "10.0.0.100");
    assert_eq!(site.state_of("10.0.0.100"), "declined");
}

/// The client's address is no longer in the pool: it is refused at the next renewal and gets another one.
fn renumber<P: Program>() {
    let site = Site::new(Way::Switch);
    let mut wire = site.witness();
    let client = P::start(&site);
    assert_eq!(site.wait_leased(), "10.0.0.100");
    let others = SITE.replace("a: {range: 10.0.0.100-10.0.0.100}, ", "");
    site.daemon.write_config(&format!("{NO_ECHO}{others}"));
    site.daemon.run_ok(&["reload"]);
    wire.forget();
    P::renew(&client);
    wire.wait(&[Said::Nak, Said::Discover, Said::Offer, Said::Selecting, Said::Ack]);
    eventually("the client takes its new address", || {
        site.address().filter(|address| address.starts_with("10.0.0.1") && address != "10.0.0.100")
    });
    assert_ne!(site.state_of("10.0.0.100"), "active");
}

/// Each way, the declined address and the refused one at the same time: most of it is waiting for the client.
fn everything<P: Program>(program: &str, test: &str) {
    if !is_root(test) || !has(program, test) {
        return;
    }
    std::thread::scope(|scope| {
        for way in Way::ALL {
            if way.program().is_none_or(|relay| has(relay, test)) {
                scope.spawn(move || live::<P>(way));
            }
        }
        scope.spawn(renumber::<P>);
        if P::DECLINES {
            scope.spawn(decline::<P>);
        }
    });
}

#[test]
fn dhclient_lives_with_the_server_and_behind_relays() {
    everything::<Dhclient>("dhclient", "dhclient_lives_with_the_server_and_behind_relays");
}

#[test]
fn udhcpc_lives_with_the_server_and_behind_relays() {
    everything::<Udhcpc>("udhcpc", "udhcpc_lives_with_the_server_and_behind_relays");
}

#[test]
fn dhcpcd_lives_with_the_server_and_behind_relays() {
    everything::<Dhcpcd>("dhcpcd", "dhcpcd_lives_with_the_server_and_behind_relays");
}

#[test]
fn networkd_lives_with_the_server_and_behind_relays() {
    everything::<Networkd>(
        "../lib/systemd/systemd-networkd",
        "networkd_lives_with_the_server_and_behind_relays",
    );
}

#[test]
fn address_that_another_machine_uses_is_not_even_offered() {
    const TEST: &str = "address_that_another_machine_uses_is_not_even_offered";
    if !is_root(TEST) || !has("udhcpc", TEST) {
        return;
    }
    let site = Site::with(Way::Switch, &SITE.replace("{method: off}", "{method: auto}"));
    site.middle.address("br0", "10.0.0.100/24");
    // What was looked at before the other machine came is of no worth.
    site.daemon.run_ok(&["restart"]);
    let mut wire = site.witness();
    let _client = Udhcpc::start(&site);
    wire.wait(&[Said::Discover, Said::Offer, Said::Selecting, Said::Ack]);
    assert_ne!(site.wait_leased(), "10.0.0.100");
    site.daemon.wait_log(&["DHCP_ADDRESS_CONFLICT", "10.0.0.100"]);
    assert_eq!(site.state_of("10.0.0.100"), "conflict");
    assert_eq!(lab::lines(&site.daemon, &["DHCP_LEASE_DECLINED"]), 0);
}
