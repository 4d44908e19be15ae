//! Scope: which link a message came from, hence which subnets and pools may serve it.
//!
//! Knows addresses and interfaces only; who the client is does not matter here. Called by the pipeline's first
//! step and for `explain`.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::config::Config;
use crate::config::model::Subnet;
use crate::lease::{PoolId, SubnetId, Topology};
use crate::protocol::{DhcpMessage, MessageType};

use super::InterfaceInfo;

/// The subnets that share one link, with their pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    subnets: Vec<SubnetId>,
    pools: Vec<PoolId>,
}

/// A link by its place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkId(usize);

/// Every way to a link, worked out once per generation.
#[derive(Debug)]
pub(super) struct ScopeTable {
    links: Vec<Link>,
    by_subnet: Vec<LinkId>,
    /// The links on an interface, first choice first.
    by_interface: Vec<Vec<LinkId>>,
    by_relay: HashMap<Ipv4Addr, LinkId>,
}

impl Link {
    /// The subnets of the link, the first one first choice.
    pub fn subnets(&self) -> &[SubnetId] {
        &self.subnets
    }

    /// All pools of these subnets, in their order.
    pub fn pools(&self) -> &[PoolId] {
        &self.pools
    }
}

impl ScopeTable {
    pub(super) fn new(config: &Config, topology: &Topology, interfaces: &[InterfaceInfo]) -> Self {
        let mut table = Self {
            links: Vec::new(),
            by_subnet: Vec::new(),
            by_interface: Vec::new(),
            by_relay: HashMap::new(),
        };
        let subnets = &config.dhcp.subnets;
        for id in ids(subnets) {
            let link = table.intern(topology, topology.link(id).to_vec());
            table.by_subnet.push(link);
        }
        for interface in interfaces {
            let mut links = Vec::new();
            for (subnet, link) in subnets.iter().zip(&table.by_subnet) {
                if is_attached(subnet, interface) && !links.contains(link) {
                    links.push(*link);
                }
            }
            table.by_interface.push(links);
        }
        for (subnet, link) in subnets.iter().zip(table.by_subnet.clone()) {
            for relay in &subnet.relays {
                // A relay that several subnets list says which one it means by link selection; else the first.
                table.by_relay.entry(*relay).or_insert(link);
            }
        }
        table
    }

    pub(super) fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(id.0)
    }

    /// The link of a message that came in by the interface at this place of the list; none: unknown subnet. `by_option`
    /// says whether a client may choose it by option 118.
    pub(super) fn find(
        &self,
        topology: &Topology,
        message: &DhcpMessage<'_>,
        interface: usize,
        to: Option<Ipv4Addr>,
        by_option: bool,
    ) -> Option<LinkId> {
        let selected = message.subnet_selection().filter(|_| by_option);
        if let Some(relay) = message.relay() {
            let link = self.of_relay(topology, relay)?;
            // RFC 3527 §3: the sub-option goes before giaddr. Only a relay that we know may say so.
            return match message.relay_information().and_then(|information| information.link_selection()) {
                Some(selected) => self.of_address(topology, selected),
                // RFC 3011 §2: it goes before giaddr, and after what the relay itself says (RFC 3527 §4).
                None => match selected {
                    Some(selected) => self.of_address(topology, selected),
                    None => Some(link),
                },
            };
        }
        if let Some(selected) = selected {
            return self.of_address(topology, selected);
        }
        // Subnets on one interface that are no shared network are links of their own: a client is served on the
        // one whose address it has or wants, a new one on the first.
        let named = [message.ciaddr(), message.requested_address().unwrap_or(Ipv4Addr::UNSPECIFIED)];
        let named = named.into_iter().find(|address| !address.is_unspecified());
        let of_named = named.and_then(|address| self.of_address(topology, address));
        let here = self.by_interface.get(interface).map_or(&[][..], Vec::as_slice);
        if let Some(link) = of_named.filter(|link| here.contains(link)) {
            return Some(link);
        }
        // A client that renews by unicast may sit behind a router, without giaddr (RFC 2131 §4.3.2, RENEWING).
        // A broadcast was sent on our own link, so there a foreign ciaddr is that of a client that has moved.
        let routed =
            matches!(message.kind(), MessageType::Request | MessageType::Release | MessageType::Inform)
                && !message.ciaddr().is_unspecified()
                && to != Some(Ipv4Addr::BROADCAST);
        of_named.filter(|_| routed).or_else(|| here.first().copied())
    }

    /// The link that a relay is on.
    pub(super) fn of_relay(&self, topology: &Topology, relay: Ipv4Addr) -> Option<LinkId> {
        self.by_relay.get(&relay).copied().or_else(|| self.of_address(topology, relay))
    }

    /// The places of the interfaces that a link is attached to.
    pub(super) fn interfaces_of(&self, link: LinkId) -> impl Iterator<Item = usize> {
        self.by_interface.iter().enumerate().filter(move |(_, links)| links.contains(&link)).map(|(at, _)| at)
    }

    /// The link of the subnet that holds an address.
    pub(super) fn of_address(&self, topology: &Topology, address: Ipv4Addr) -> Option<LinkId> {
        self.by_subnet.get(usize::from(topology.subnet_of(address)?.0)).copied()
    }

    fn intern(&mut self, topology: &Topology, subnets: Vec<SubnetId>) -> LinkId {
        if let Some(known) = self.links.iter().position(|link| link.subnets == subnets) {
            return LinkId(known);
        }
        // In the order of the subnets, so that the first subnet of a shared network fills first.
        let of = |subnet: &SubnetId| {
            let subnet = *subnet;
            topology.pools().iter().filter(move |pool| pool.subnet == subnet).map(|pool| pool.id)
        };
        let pools = subnets.iter().flat_map(of).collect();
        self.links.push(Link { subnets, pools });
        LinkId(self.links.len() - 1)
    }
}

fn ids(subnets: &[Subnet]) -> impl Iterator<Item = SubnetId> {
    (0..=u16::MAX).take(subnets.len()).map(SubnetId)
}

/// By name where the file gives one, else by an address of the interface within the prefix.
pub(super) fn is_attached(subnet: &Subnet, interface: &InterfaceInfo) -> bool {
    match &subnet.interface {
        Some(name) => *name == interface.name,
        None => interface.addresses.iter().any(|(address, _)| subnet.network.contains(*address)),
    }
}
