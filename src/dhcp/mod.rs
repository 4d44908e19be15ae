//! The DHCP pipeline, from the bytes of a packet to the bytes of its answer. Pure: bytes and lease engine in, one
//! [`Outcome`] out; no socket, no SQL, no clock. The DHCP worker calls it, and `explain` runs the same code.
//!
//! ```text
//! Packet ── accept ─▶ Request ── handle ─▶ Outcome
//!           │                    │
//!           │ parser    bytes → DhcpMessage (protocol layer)
//!           │ security  is it heard at all: addresses, patterns, relays, rates
//!           │ scope     which link, hence which subnets and pools
//!                                │ client    who asks: identity, classes, reservation, open pools
//!                                │ handler   one function per message type; asks the lease engine
//!                                │ check     whether the address is probed first: then the packet waits
//!                                │ place     the levels that hold: subnet, pool, classes, host
//!                                │ options   global → subnet → pool → class → host, filtered by what was asked for
//!                                │ reply     header, destination, encoding
//! ```
//! The worker commits between `handle` and the sending of what [`Outcome::Reply`] holds.

pub mod check;
pub mod classes;
pub mod client;
mod dry_run;
pub mod explain;
mod fits;
mod handler;
pub mod leases;
pub mod options;
pub mod outcome;
mod place;
pub mod plan;
pub mod quarantine;
pub mod question;
pub mod rate;
mod reply;
pub mod scope;
pub mod security;
mod terms;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use daemon_utils::socket::Interface;

use crate::config::Config;
use crate::config::model::Subnet;
use crate::lease::Topology;
use crate::protocol::{DhcpMessage, DhcpParser, MessageType};

use check::Means;
use classes::Classes;
pub use dry_run::{DryRunError, Knowledge, Question, dry_run, served_interfaces};
use leases::Leases;
use options::OptionsManager;
pub use outcome::{Destination, Event, Outcome, Reply, ReplyKind, Silence, What};
use rate::Rates;
use scope::{LinkId, ScopeTable};
use security::{Refusal, SecurityManager, Verdict};

/// Everything that a generation needs to answer packets, worked out once.
#[derive(Debug)]
pub struct Pipeline {
    config: Arc<Config>,
    topology: Arc<Topology>,
    interfaces: Vec<InterfaceInfo>,
    /// By [`crate::lease::PoolId`]: the places of subnet and pool in the configuration.
    pools: Vec<(usize, usize)>,
    /// Server identifiers that the configuration names.
    server_ids: Vec<Ipv4Addr>,
    scopes: ScopeTable,
    classes: Classes,
    security: SecurityManager,
    options: OptionsManager,
    means: Means,
}

/// An interface that the server listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// Its name.
    pub name: String,
    /// Its index in the kernel.
    pub index: u32,
    /// Its IPv4 addresses with their prefix lengths, the first one first choice.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Whether it is the loopback interface.
    pub loopback: bool,
}

impl From<&Interface> for InterfaceInfo {
    fn from(interface: &Interface) -> Self {
        Self {
            name: interface.name.clone(),
            index: interface.index,
            addresses: interface.addresses.clone(),
            loopback: interface.loopback,
        }
    }
}

/// A packet as the socket gave it.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The UDP payload.
    pub bytes: &'a [u8],
    /// Index of the interface that it came in by.
    pub interface: u32,
    /// Who sent it.
    pub from: SocketAddrV4,
    /// The destination in its IP header, where the socket tells it.
    pub to: Option<Ipv4Addr>,
    /// When it was received: time since boot.
    pub at: Duration,
}

/// A message that is heard, from a known link.
#[derive(Debug)]
pub struct Request<'a> {
    message: DhcpMessage<'a>,
    link: LinkId,
    /// Its place in the pipeline's list.
    interface: usize,
    from: SocketAddrV4,
    to: Option<Ipv4Addr>,
    /// A DISCOVER that is to be answered by an ACK (RFC 4039).
    rapid: bool,
}

impl Request<'_> {
    /// Step 2: whether handling it may change the lease file, so that it needs the write transaction.
    pub fn writes(&self) -> bool {
        match self.message.kind() {
            MessageType::Request | MessageType::Release | MessageType::Decline | MessageType::Bootp => true,
            MessageType::Discover => self.rapid,
            MessageType::Inform
            | MessageType::Offer
            | MessageType::Ack
            | MessageType::Nak
            | MessageType::Other(_) => false,
        }
    }

    /// The message itself.
    pub fn message(&self) -> &DhcpMessage<'_> {
        &self.message
    }
}

/// What is wrong with the DHCP part of a configuration beyond its shape: (dotted key, reason, hint).
pub fn check(config: &Config) -> Vec<(String, String, Option<String>)> {
    crate::protocol::options::check(config)
}

impl Pipeline {
    /// For a configuration that has passed [`check()`]. The interfaces are those of `dhcp.interfaces` that exist; the
    /// rates are those that all workers share, or the default for a dry run.
    pub fn new(
        config: Arc<Config>,
        topology: Arc<Topology>,
        interfaces: Vec<InterfaceInfo>,
        rates: Rates,
    ) -> Self {
        let scopes = ScopeTable::new(&config, &topology, &interfaces);
        let options = OptionsManager::new(&config);
        let subnets = &config.dhcp.subnets;
        let pools =
            subnets.iter().enumerate().flat_map(|(s, subnet)| (0..subnet.pools.len()).map(move |p| (s, p)));
        let pools = pools.collect();
        let server_ids = subnets.iter().filter_map(|subnet| subnet.common.server_id);
        let server_ids = config.dhcp.common.server_id.into_iter().chain(server_ids).collect();
        let security = SecurityManager::new(&config, rates);
        let classes = Classes::new(&config);
        Self {
            config,
            topology,
            interfaces,
            pools,
            server_ids,
            scopes,
            classes,
            security,
            options,
            means: Means::default(),
        }
    }

    /// Step 1: from bytes to a request that is heard, or the silence that is all it gets.
    pub fn accept<'a>(&self, packet: &Packet<'a>) -> Result<Request<'a>, Outcome> {
        self.hear(packet, true)
    }

    /// Step 1 for a packet that was accepted before and has waited for a probe since: it is not judged twice, for it would
    /// count twice.
    pub fn accept_again<'a>(&self, packet: &Packet<'a>) -> Result<Request<'a>, Outcome> {
        self.hear(packet, false)
    }

    fn hear<'a>(&self, packet: &Packet<'a>, judge: bool) -> Result<Request<'a>, Outcome> {
        let message = DhcpParser::parse(packet.bytes).map_err(Silence::Malformed)?;
        let at = self.interfaces.iter().position(|interface| interface.index == packet.interface);
        let (at, interface) =
            at.and_then(|at| Some((at, self.interfaces.get(at)?))).ok_or(Silence::UnknownInterface)?;
        if judge
            && let Verdict::Refuse(refusal) = self.security.judge(&message, interface, packet.from, packet.at)
        {
            return Err(refusal.outcome(&message, packet.from));
        }
        let link = self
            .scopes
            .find(&self.topology, &message, at, packet.to, self.config.dhcp.subnet_selection)
            .ok_or(Silence::UnknownSubnet)?;
        if let Some(refusal) = self.nobodys(&message, interface) {
            return Err(refusal.outcome(&message, packet.from));
        }
        let dhcp = &self.config.dhcp;
        let rapid = dhcp.rapid_commit && message.kind() == MessageType::Discover && message.rapid_commit();
        Ok(Request { rapid, message, link, interface: at, from: packet.from, to: packet.to })
    }

    /// A network's own and its broadcast address are no relay's and no client's: an answer there would go to the whole
    /// link. Nor are we a relay of our own.
    fn nobodys(&self, message: &DhcpMessage<'_>, interface: &InterfaceInfo) -> Option<Refusal> {
        let of_a_host = |address: Ipv4Addr| {
            let subnet = self.topology.subnet_of(address).and_then(|id| self.topology.subnet(id));
            subnet.is_none_or(|subnet| subnet.network.is_host(address))
        };
        let own = |address| interface.addresses.iter().any(|(own, _)| *own == address);
        let wrong_relay = |relay| !of_a_host(relay) || (!interface.loopback && own(relay));
        if message.relay().is_some_and(wrong_relay) {
            return Some(Refusal::RelayAddress);
        }
        (!message.ciaddr().is_unspecified() && !of_a_host(message.ciaddr())).then_some(Refusal::ClientAddress)
    }

    /// Whether the configuration names a relay by its address.
    fn names_relay(&self, relay: Ipv4Addr) -> bool {
        self.config.dhcp.subnets.iter().any(|subnet| subnet.relays.contains(&relay))
            || self.security.names_relay(relay)
    }

    /// Step 3: what becomes of it. Nothing may leave before the engine's changes are committed.
    pub fn handle<L: Leases>(&self, request: &Request<'_>, leases: &mut L) -> Outcome {
        self.decide(request, leases)
    }

    fn interface(&self, request: &Request<'_>) -> Option<&InterfaceInfo> {
        self.interfaces.get(request.interface)
    }

    fn first_subnet(&self, request: &Request<'_>) -> Option<&Subnet> {
        let first = self.scopes.link(request.link)?.subnets().first()?;
        self.config.dhcp.subnets.get(usize::from(first.0))
    }

    /// The server identifier of replies on this subnet: what the relay demands (RFC 5107 §4), else what the
    /// configuration says, else our own address there. Clients send their renewals to it (RFC 2131 §4.1).
    fn server_id(&self, request: &Request<'_>, subnet: &Subnet) -> Option<Ipv4Addr> {
        override_of(request).or(subnet.common.server_id).or_else(|| self.own_address(request, Some(subnet)))
    }

    /// Our address that the other side can reach: the one that it has reached already, else the interface's
    /// address within the subnet, else the interface's first.
    fn own_address(&self, request: &Request<'_>, subnet: Option<&Subnet>) -> Option<Ipv4Addr> {
        let interface = self.interface(request)?;
        let addresses = || interface.addresses.iter().map(|(address, _)| *address);
        let asked = request.to.filter(|to| addresses().any(|address| address == *to));
        let within =
            || addresses().find(|address| subnet.is_some_and(|subnet| subnet.network.contains(*address)));
        asked.or_else(within).or_else(|| addresses().next())
    }

    /// Whether a server identifier means this server: configured, an address of an interface, the address that
    /// the packet was sent to, or the one that its relay has us use.
    fn is_ours(&self, server: Ipv4Addr, request: &Request<'_>) -> bool {
        let of_interface =
            |interface: &InterfaceInfo| interface.addresses.iter().any(|(address, _)| *address == server);
        self.server_ids.contains(&server)
            || self.interfaces.iter().any(of_interface)
            || request.to == Some(server) && !server.is_broadcast()
            || override_of(request) == Some(server)
    }
}

/// RFC 5107: only a relay says so, and only one whose link we know has come this far.
fn override_of(request: &Request<'_>) -> Option<Ipv4Addr> {
    request.message.relay()?;
    request.message.relay_information()?.server_id_override()
}
