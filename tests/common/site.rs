//! A site for real DHCP clients: a server, a client, and between them a switch or a real relay, each in a network
//! namespace of its own. What the client says on its cable is heard and named by its state.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder};
use tempfile::TempDir;

use super::lab::{self, NO_ECHO, Sniffer};
use super::{Daemon, Namespace, eventually, folder};

/// What stands between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A switch: client and server share the link 10.0.0.0/24.
    Switch,
    /// isc-dhcp-relay with relay agent information; it drops replies that come back without it.
    IscRelay,
    /// dnsmasq as a relay.
    Dnsmasq,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Switch, Self::IscRelay, Self::Dnsmasq];

    /// The program of the relay.
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::Switch => None,
            Self::IscRelay => Some("dhcrelay"),
            Self::Dnsmasq => Some("dnsmasq"),
        }
    }

    /// The client's network, without its last octet.
    pub fn network(self) -> &'static str {
        if self == Self::Switch { "10.0.0" } else { "10.1.0" }
    }

    /// The router's address on the client's link: the server itself, or the relay.
    pub fn router(self) -> Ipv4Addr {
        format!("{}.1", self.network()).parse().unwrap()
    }
}

/// One pool on each side of the relay. Lease times are short enough to see a renewal and a rebinding, and long enough for
/// dhcpcd, which takes no lease of less than 20 seconds.
pub const SITE: &str = "
dhcp:
  interfaces: [srv0]
  lease_time: {default: 20s, min: 20s, max: 20s}
  renew_at: 0.1
  rebind_at: 0.2
  conflict_check: {method: off}
  options: {domain-name: example.org, domain-name-servers: [10.0.0.1]}
  security: {client_rate: null}
  subnets:
    lan:
      network: 10.0.0.0/24
      options: {routers: [10.0.0.1]}
      pools: {a: {range: 10.0.0.100-10.0.0.100}, b: {range: 10.0.0.110-10.0.0.199}}
    behind:
      network: 10.1.0.0/24
      options: {routers: [10.1.0.1]}
      pools: {a: {range: 10.1.0.100-10.1.0.100}, b: {range: 10.1.0.110-10.1.0.199}}
";

/// What dhclient and udhcpc do when they have learned something: dhclient tells it in $reason, udhcpc in $1. With a file
/// `refuse` beside it, it says once that the address is in use, which dhclient-script(8) does by its exit code.
const SCRIPT: &str = r#"#!/bin/sh
case ${reason:-$1} in
    PREINIT) ip link set "$interface" up ;;
    BOUND | RENEW | REBIND | REBOOT | bound | renew)
        if rm "${0%/*}/refuse" 2>/dev/null; then exit 1; fi
        ip -4 address replace "${new_ip_address:-$ip}/${new_subnet_mask:-$mask}" dev "$interface"
        ip -4 route replace default via "${new_routers:-$router}" dev "$interface"
        ;;
    EXPIRE | FAIL | RELEASE | STOP | deconfig) ip -4 address flush dev "$interface" ;;
esac
"#;

/// The middle is joined to the server by `mid0`, to the client by `mid1`, which is a port of its bridge `br0`.
pub struct Site {
    pub way: Way,
    pub daemon: Daemon,
    pub client: Namespace,
    pub middle: Namespace,
    pub folder: TempDir,
    relay: Option<Running>,
    _server: Namespace,
}

impl Site {
    pub fn new(way: Way) -> Self {
        Self::with(way, SITE)
    }

    pub fn with(way: Way, yaml: &str) -> Self {
        let (server, middle, client, folder) =
            (Namespace::new(), Namespace::new(), Namespace::new(), folder());
        server.join("srv0", &middle, "mid0");
        middle.join("mid1", &client, "cli0");
        server.address("srv0", "10.0.0.1/24");
        // A bridge in front of the relay keeps frames for other machines from it, as a network card would: dhcrelay reads
        // whatever comes in at its interface.
        middle.sh("ip", &["link", "add", "br0", "type", "bridge", "forward_delay", "0"]);
        middle.sh("ip", &["link", "set", "mid1", "master", "br0"]);
        middle.sh("ip", &["link", "set", "br0", "up"]);
        if way == Way::Switch {
            middle.sh("ip", &["link", "set", "mid0", "master", "br0"]);
        } else {
            middle.address("mid0", "10.0.0.2/24");
            middle.address("br0", "10.1.0.1/24");
            middle.sh("sysctl", &["-q", "-w", "net.ipv4.ip_forward=1"]);
            server.sh("ip", &["route", "add", "10.1.0.0/24", "via", "10.0.0.2"]);
        }
        let script = folder.path().join("script");
        fs::write(&script, SCRIPT).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let daemon = Daemon::start_in(&server, &format!("{NO_ECHO}{yaml}"));
        let mut site = Self { way, daemon, client, middle, folder, relay: None, _server: server };
        site.relay = site.start_relay();
        site
    }

    fn start_relay(&self) -> Option<Running> {
        let mut command = self.middle.command(self.way.program()?);
        match self.way {
            Way::Switch => return None,
            Way::IscRelay => {
                command.args(["-4", "-d", "--no-pid", "-a", "-iu", "mid0", "-id", "br0", "10.0.0.1"])
            }
            Way::Dnsmasq => command.args([
                "-k",
                "--conf-file=/dev/null",
                "--port=0",
                "--user=root",
                "--pid-file=",
                "--log-facility=-",
                "--log-dhcp",
                "--dhcp-relay=10.1.0.1,10.0.0.1",
            ]),
        };
        let relay = self.run("relay", command);
        // Both say so when they listen.
        let ready =
            if self.way == Way::IscRelay { "Sending on   Socket/fallback" } else { "DHCP relay from" };
        eventually("the relay listens", || relay.said().contains(ready).then_some(()));
        Some(relay)
    }

    /// Ends the relay; the machine goes on as a router.
    pub fn stop_relay(&mut self) {
        self.relay = None;
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a program; its words go to a file of that name.
    pub fn run(&self, name: &str, mut command: Command) -> Running {
        let words = self.path(&format!("{name}.words"));
        let file = fs::OpenOptions::new().create(true).append(true).open(&words).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Running { child: command.spawn().unwrap(), words }
    }

    /// The address on the client's interface.
    pub fn address(&self) -> Option<String> {
        let shown = self.client.sh("ip", &["-4", "-o", "addr", "show", "dev", "cli0"]);
        let address = shown.split_whitespace().skip_while(|word| *word != "inet").nth(1)?;
        Some(address.split('/').next().unwrap().to_owned())
    }

    pub fn mac(&self) -> String {
        let shown = self.client.sh("ip", &["-o", "link", "show", "dev", "cli0"]);
        shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned()
    }

    /// Waits until the client has configured its interface; checks that the lease file says the same.
    #[track_caller]
    pub fn wait_leased(&self) -> String {
        let address = eventually("the client configures its interface", || self.address());
        assert!(address.starts_with(self.way.network()), "{address}");
        self.daemon.wait_log(&["DHCP_LEASE_GRANTED", &address]);
        let subnet = if self.way == Way::Switch { "lan" } else { "behind" };
        let wanted = [address.clone(), self.mac(), subnet.into(), "active".into()];
        assert!(
            lab::query(&self.daemon, "SELECT ip, mac, subnet, state FROM lease_list")
                .contains(&wanted.into())
        );
        address
    }

    /// Unicast from the client no longer reaches anybody: its router has got a hardware address that nobody has.
    /// Broadcasts go their way, and so does what is sent to the client.
    pub fn block_unicast(&self) {
        let router = self.way.router().to_string();
        let nobody =
            ["neigh", "replace", &router, "lladdr", "02:de:ad:00:00:01", "nud", "permanent", "dev", "cli0"];
        self.client.sh("ip", &nobody);
    }

    /// Lets unicast through again.
    pub fn unblock_unicast(&self) {
        let router = self.way.router().to_string();
        self.client.sh("ip", &["neigh", "del", &router, "dev", "cli0"]);
    }

    /// The state of the one lease in the file.
    pub fn state_of(&self, address: &str) -> String {
        let rows = lab::query(&self.daemon, &format!("SELECT state FROM lease_list WHERE ip = '{address}'"));
        rows.concat().concat()
    }

    /// The ear on the client's cable.
    pub fn witness(&self) -> Witness {
        Witness { wire: Sniffer::new(&self.client), heard: Vec::new() }
    }
}

/// A program; ended when dropped, its words shown where the test fails.
pub struct Running {
    child: Child,
    words: PathBuf,
}

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.words).unwrap_or_default()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} said:\n{}", self.words.display(), self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The installed program may be confined to the system's folders, a copy is not. Another process copies: a thread that
/// forks meanwhile would pass the open copy on, and it could not be executed (ETXTBSY).
pub fn copy_of(program: &str, to: &Path) {
    let found = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(program));
    let from = found.iter().find(|path| path.exists()).unwrap();
    super::sh("cp", &[from.to_str().unwrap(), to.to_str().unwrap()]);
}

/// What was said on the client's cable. A REQUEST is named by the client's state (RFC 2131 table 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Discover,
    Selecting,
    InitReboot,
    Renewing,
    Rebinding,
    Offer,
    Ack,
    Nak,
    Decline,
    Release,
    Inform,
}

/// Hears the cable.
pub struct Witness {
    wire: Sniffer,
    heard: Vec<Said>,
}

impl Witness {
    /// Waits until this is said, and after it an ACK comes.
    #[track_caller]
    pub fn wait_acked(&mut self, question: Said) {
        self.wait(&[question, Said::Ack]);
    }

    /// Waits until these have been said one after the other, whatever else in between, since the last wait; forgets
    /// what was said up to there.
    #[track_caller]
    pub fn wait(&mut self, wanted: &[Said]) {
        let what = format!("{wanted:?} on the client's cable");
        let mut shown = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(&what, || {
                self.listen();
                shown = format!("{:?}", self.heard);
                let mut left = wanted.iter().peekable();
                let end = self.heard.iter().position(|said| {
                    left.next_if(|wanted| *wanted == said);
                    left.peek().is_none()
                })?;
                self.heard.drain(..=end);
                Some(())
            });
        }));
        if let Err(panic) = found {
            eprintln!("heard: {shown}");
            std::panic::resume_unwind(panic);
        }
    }

    /// Forgets what was said so far.
    pub fn forget(&mut self) {
        self.listen();
        self.heard.clear();
    }

    fn listen(&mut self) {
        while let Some(frame) = self.wire.next() {
            self.heard.extend(said(&frame));
        }
    }
}

/// What an Ethernet frame with a DHCP message says.
fn said(frame: &[u8]) -> Option<Said> {
    let udp = frame.get(..12).and_then(|_| frame.get(14..))?;
    // IPv4 with UDP from or to port 67.
    let header = usize::from(udp.first()? & 0xf) * 4;
    if frame[12..14] != [8, 0] || *udp.get(9)? != 17 {
        return None;
    }
    let is_broadcast = udp.get(16..20)? == [255; 4];
    let message = udp.get(header + 8..)?;
    let ports = udp.get(header..header + 4)?;
    if ports[..2] != [0, 67] && ports[2..] != [0, 67] {
        return None;
    }
    let message = Message::decode(&mut Decoder::new(message)).ok()?;
    Some(match message.opts().msg_type()? {
        MessageType::Discover => Said::Discover,
        MessageType::Offer => Said::Offer,
        MessageType::Ack => Said::Ack,
        MessageType::Nak => Said::Nak,
        MessageType::Decline => Said::Decline,
        MessageType::Release => Said::Release,
        MessageType::Inform => Said::Inform,
        MessageType::Request => request(&message, is_broadcast),
        _ => return None,
    })
}

fn request(message: &Message, is_broadcast: bool) -> Said {
    if matches!(message.opts().get(OptionCode::ServerIdentifier), Some(DhcpOption::ServerIdentifier(_))) {
        Said::Selecting
    } else if message.ciaddr().is_unspecified() {
        Said::InitReboot
    } else if is_broadcast {
        Said::Rebinding
    } else {
        Said::Renewing
    }
}
