//! The section `dhcp` but for what is in the network: the server's own settings.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::super::network::Network;
use super::super::pattern::Pattern;
use super::{Class, Subnet};

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

impl fmt::Display for IdentifyBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientId => "client-id",
            Self::Mac => "mac",
            Self::CircuitId => "circuit-id",
        })
    }
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

/// What BOOTP clients (RFC 951, RFC 1534 §2) get.
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
