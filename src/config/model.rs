//! The typed configuration: what the program means by what the administrator said.
//!
//! Made by the loader only after every check has passed, so nobody downstream checks again. Maps of the file
//! (subnets, pools) have become lists ordered by name. Paths are absolute.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use serde::Serialize;

use super::network::{AddressRange, Network};
use super::pattern::Pattern;

/// The whole configuration in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Process-wide settings.
    pub daemon: Daemon,
    /// The log outputs.
    pub logging: Logging,
    /// TCP echo.
    pub tcp: Tcp,
    /// UDP echo.
    pub udp: Udp,
    /// Control API over TCP (the Unix socket is `daemon.control_socket`).
    pub api: Api,
    /// DHCPv4.
    pub dhcp: Dhcp,
}

/// `daemon`: process-wide settings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Daemon {
    /// Whether `start` goes into the background.
    pub daemonize: bool,
    /// The locked PID file.
    pub pid_file: PathBuf,
    /// Unix socket of the control API.
    pub control_socket: PathBuf,
    /// Folder of the lease file and other state.
    pub state_dir: PathBuf,
    /// User that the workers run as where main is root.
    pub user: String,
    /// How long `stop` lets the children finish before SIGKILL.
    pub shutdown_timeout: Duration,
}

/// `logging`: outputs and levels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logging {
    /// Text log, rotated by size.
    pub log_file: PathBuf,
    /// Level of the text log and of the console.
    pub log_level: LevelFilter,
    /// Size in bytes at which a log file is rotated.
    pub max_log_size: u64,
    /// How many rotated files are kept.
    pub backup_count: u32,
    /// Level per module, overriding `log_level`.
    pub modules: BTreeMap<String, LevelFilter>,
    /// Whether records go to stderr too (always in the foreground).
    pub console: bool,
    /// JSON lines.
    pub json: JsonLog,
    /// Syslog.
    pub syslog: SyslogLog,
    /// Interval of the `STATS` line; zero: never.
    pub stats_interval: Duration,
}

/// `logging.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JsonLog {
    /// On or off.
    pub enabled: bool,
    /// The file, rotated like the text log.
    pub file: PathBuf,
    /// Lowest level written.
    pub level: LevelFilter,
}

/// `logging.syslog`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyslogLog {
    /// On or off.
    pub enabled: bool,
    /// A socket path such as `/dev/log`, or `udp://host:port`.
    pub address: String,
    /// Facility name as in syslog(3) without `LOG_`, in lower case: `daemon`, `local0`, ….
    pub facility: String,
    /// Lowest level sent.
    pub level: LevelFilter,
}

/// `tcp`: TCP echo (RFC 862).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tcp {
    /// On or off.
    pub enabled: bool,
    /// Addresses listened on.
    pub address: Vec<IpAddr>,
    /// Port; 0 lets the kernel choose.
    pub port: u16,
    /// Clients served at the same time, over all generations.
    pub max_clients: u32,
    /// What becomes of clients beyond that.
    pub when_full: WhenFull,
    /// Bytes of a client's buffer.
    pub buffer_size: usize,
    /// A client that moves no byte for so long is closed; zero: never.
    pub idle_timeout: Duration,
}

/// What becomes of a TCP client when all places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// It waits in the kernel's backlog.
    Wait,
    /// It is accepted and closed at once.
    Reject,
}

/// `udp`: UDP echo (RFC 862).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Udp {
    /// On or off.
    pub enabled: bool,
    /// Addresses listened on.
    pub address: Vec<IpAddr>,
    /// Port; 0 lets the kernel choose.
    pub udp_port: u16,
    /// Bytes of a receive slot; longer datagrams are echoed whole all the same.
    pub buffer_size: usize,
}

/// `api`: the control API over TCP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Api {
    /// Address and port; none: no listener.
    pub listen: Option<SocketAddr>,
    /// File whose first line is the bearer token that writing needs.
    pub token_file: Option<PathBuf>,
}

/// `dhcp`: the DHCPv4 server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dhcp {
    /// On or off.
    pub enabled: bool,
    /// Names of the interfaces served.
    pub interfaces: Vec<String>,
    /// Server port; 67 but for trials.
    pub port: u16,
    /// Worker processes, 1 to 16.
    pub workers: u16,
    /// Whether wrong requests on our links are answered by a NAK (RFC 2131 §4.3.2).
    pub authoritative: bool,
    /// How long an offered address is held for its client.
    pub offer_hold: Duration,
    /// How long a declined address rests.
    pub decline_hold: DeclineHold,
    /// How an address is tried before it is offered to a new client.
    pub conflict_check: ConflictCheck,
    /// Whether a DISCOVER with option 80 is answered by an ACK at once (RFC 4039).
    pub rapid_commit: bool,
    /// Whether option 118 of a client chooses its subnet (RFC 3011).
    pub subnet_selection: bool,
    /// What BOOTP clients get.
    pub bootp: Bootp,
    /// Option 81.
    pub fqdn: Fqdn,
    /// Who is heard, and how often.
    pub security: Security,
    /// The lease file.
    pub store: Store,
    /// Settings that subnets inherit.
    pub common: Common,
    /// Classes of clients, by `order` and then by name.
    pub classes: Vec<Class>,
    /// Subnets by name.
    pub subnets: Vec<Subnet>,
}

/// What may be said globally and per subnet; in a [`Subnet`] it is the resolved value, except for `options`,
/// which holds just what stands at this level (the origin of each option matters).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Common {
    /// What identifies a client.
    pub identify_by: IdentifyBy,
    /// Lease times.
    pub lease_time: LeaseTime,
    /// T1 as a fraction of the lease time (RFC 2131 §4.4.5).
    pub renew_at: f64,
    /// T2 as a fraction of the lease time.
    pub rebind_at: f64,
    /// Server identifier; none: the interface's address.
    pub server_id: Option<Ipv4Addr>,
    /// `siaddr`.
    pub next_server: Option<Ipv4Addr>,
    /// `sname`, at most 63 bytes.
    pub server_name: Option<String>,
    /// `file`, at most 127 bytes.
    pub boot_file: Option<String>,
    /// Options by their name as written, checked by the option table (protocol layer).
    pub options: Options,
}

/// Options as written: name (`routers`, `option-224`) → value.
pub type Options = BTreeMap<String, serde_json::Value>;

/// Lease times granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LeaseTime {
    /// Granted to a client that asks for none.
    pub default: Duration,
    /// Least granted.
    pub min: Duration,
    /// Most granted.
    pub max: Duration,
}

/// What identifies a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentifyBy {
    /// Option 61, else the hardware address (RFC 2131 §4.2).
    ClientId,
    /// The hardware address alone.
    Mac,
    /// The relay's circuit-id (RFC 3046), else as `ClientId`.
    CircuitId,
}

/// How long a declined address rests; doubles for an address that is declined again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeclineHold {
    /// The first time.
    pub first: Duration,
    /// At most.
    pub max: Duration,
}

/// `dhcp.store`: the lease file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Store {
    /// The SQLite file.
    pub path: PathBuf,
    /// What a commit survives.
    pub durability: Durability,
    /// How long and how large the lease history may grow.
    pub history: HistoryLimits,
}

/// What a committed lease survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// A power loss: fsync before each ACK.
    PowerLoss,
    /// A crash of the process only.
    Process,
}

/// `dhcp.store.history`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HistoryLimits {
    /// Ended intervals older than this go.
    pub keep: Duration,
    /// The oldest ended intervals go when all of them together are larger, in bytes.
    pub max_size: u64,
}

/// One subnet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subnet {
    /// Its name, the key in the file.
    pub name: String,
    /// Its prefix.
    pub network: Network,
    /// Interface it is attached to; none: found by the interface's address.
    pub interface: Option<String>,
    /// Relays (giaddr) outside the prefix that are on this subnet too.
    pub relays: Vec<Ipv4Addr>,
    /// Name of the shared network: subnets of one name share a link.
    pub shared_network: Option<String>,
    /// Times, boot fields and options.
    pub common: Common,
    /// Addresses never given out.
    pub exclude: Vec<AddressRange>,
    /// Pools by name.
    pub pools: Vec<Pool>,
    /// Clients with a reservation, by name.
    pub hosts: Vec<Host>,
}

/// One pool of dynamic addresses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pool {
    /// Its name, the key in the file.
    pub name: String,
    /// First to last address.
    pub range: AddressRange,
    /// Names of the classes whose members it is open to; none: to everybody.
    pub classes: Vec<String>,
    /// Lease times, where the pool has its own.
    pub lease_time: Option<LeaseTime>,
    /// Boot fields, where the pool has its own.
    pub boot: Boot,
    /// Options of this level.
    pub options: Options,
}

/// Boot fields at a level that may override them one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// `siaddr`.
    pub next_server: Option<Ipv4Addr>,
    /// `sname`.
    pub server_name: Option<String>,
    /// `file`.
    pub boot_file: Option<String>,
}

/// `dhcp.conflict_check`: whether somebody uses an address already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConflictCheck {
    /// How it is found out.
    pub method: ConflictMethod,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// How a conflict is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictMethod {
    /// By ARP on an attached subnet, by ICMP echo through a relay.
    Auto,
    /// By ARP, on attached subnets only.
    Arp,
    /// By ICMP echo everywhere.
    Icmp,
    /// Not at all.
    Off,
}

/// What BOOTP clients (RFC 951) get. They never renew, so what they get is theirs for ever (RFC 1534 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bootp {
    /// Their reservation, else an address of a pool.
    Dynamic,
    /// Their reservation only.
    Reserved,
    /// No answer.
    Off,
}

/// `dhcp.fqdn`: option 81 (RFC 4702).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fqdn {
    /// Completes a name without a domain.
    pub suffix: Option<String>,
}

/// `dhcp.security`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Security {
    /// Hardware addresses that are heard; empty: all.
    pub allow: Vec<Pattern>,
    /// Hardware addresses that are not heard; goes before `allow`.
    pub deny: Vec<Pattern>,
    /// Whether clients without a reservation are answered.
    pub unknown_clients: UnknownClients,
    /// Relays (giaddr) that are heard; empty: all that a subnet accepts.
    pub trusted_relays: Vec<Network>,
    /// How often one client is heard; none: without limit.
    pub client_rate: Option<ClientRate>,
    /// Active leases that one circuit (option 82) may have; 0: without limit.
    pub max_leases_per_circuit: u32,
}

/// `dhcp.security.unknown_clients`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownClients {
    /// They are served like all others.
    Allow,
    /// Only clients with a reservation are answered.
    Ignore,
}

/// `dhcp.security.client_rate`: so many packets in so much time, from 1 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClientRate {
    /// Packets.
    pub packets: u32,
    /// Time.
    pub per: Duration,
}

/// A class of clients.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    /// Its name, the key in the file.
    pub name: String,
    /// Classes are applied in rising order; a later one lays its values over an earlier one's.
    pub order: i32,
    /// Who belongs to it.
    pub condition: Condition,
    /// Whether its members are answered with silence.
    pub drop: bool,
    /// Lease times, where the class has its own.
    pub lease_time: Option<LeaseTime>,
    /// Boot fields, where the class has its own.
    pub boot: Boot,
    /// Options of this level.
    pub options: Options,
}

/// What a message must be like.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Each of these holds (so an empty list holds always).
    All(Vec<Condition>),
    /// At least one of these holds.
    Any(Vec<Condition>),
    /// This does not hold.
    Not(Box<Condition>),
    /// The field is there and fits at least one of the patterns.
    Field(Field, Vec<Pattern>),
}

/// What a pattern is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// The hardware address.
    Mac,
    /// Option 60.
    VendorClass,
    /// Option 77: the whole of it, or one of its parts (RFC 3004).
    UserClass,
    /// Option 61.
    ClientId,
    /// Option 12, or the host part of option 81.
    Hostname,
    /// Option 93, one of its numbers (RFC 4578).
    Architecture,
    /// Option 82.1.
    CircuitId,
    /// Option 82.2.
    RemoteId,
    /// giaddr.
    Relay,
    /// The interface that the message came in by.
    Interface,
    /// An option by its number.
    Option(u8),
}

/// A client that the administrator knows. It is found by any one of its identifiers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Host {
    /// Its name, the key in the file.
    pub name: String,
    /// Its hardware addresses, 1 to 16 bytes each; of several, one uses the address at a time.
    pub macs: Vec<Vec<u8>>,
    /// Option 61.
    pub client_id: Option<Vec<u8>>,
    /// Option 82.1.
    pub circuit_id: Option<Vec<u8>>,
    /// Option 82.2, which must fit too where it is given; never without `circuit_id`.
    pub remote_id: Option<Vec<u8>>,
    /// Its address; none: one of a pool.
    pub ip: Option<Ipv4Addr>,
    /// Its name for option 12.
    pub hostname: Option<String>,
    /// Lease times, where the host has its own.
    pub lease_time: Option<LeaseTime>,
    /// Boot fields, where the host has its own.
    pub boot: Boot,
    /// Options of this level.
    pub options: Options,
}
