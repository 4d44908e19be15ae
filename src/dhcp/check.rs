//! The conflict check as the pipeline sees it: whether a client's new address is probed, and how. Sends nothing; the
//! worker does, and hands the same packet in again when it knows.

use std::net::Ipv4Addr;

use crate::config::model::ConflictMethod;
use crate::lease::{HardwareAddress, SubnetId};

use super::{Pipeline, Request};

/// What the worker can probe with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Means {
    /// The interfaces, by their index in the kernel, that have a socket for ARP.
    pub arp: Vec<u32>,
    /// Whether there is a socket for ICMP.
    pub icmp: bool,
}

/// How an address is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeMethod {
    /// ARP on the interface with this index.
    Arp(u32),
    /// ICMP echo, wherever the routes lead.
    Icmp,
}

/// A packet that waits for a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Park {
    /// The address to probe; it is held for the client.
    pub address: Ipv4Addr,
    /// How.
    pub method: ProbeMethod,
    /// Whose packet it is: its own answer is no conflict.
    pub client: HardwareAddress,
}

impl Pipeline {
    /// What is there to check addresses with; without a word of it, none is checked.
    #[must_use]
    pub fn with_means(mut self, means: Means) -> Self {
        self.means = means;
        self
    }

    /// How a new address is checked for the sender of this request, if it is: by ARP on its own link, by ICMP beyond a
    /// relay. On the loopback interface, where every address is our own, there is no conflict to find.
    pub(super) fn probe_method(&self, request: &Request<'_>) -> Option<ProbeMethod> {
        let interface = self.interface(request).filter(|interface| !interface.loopback)?;
        let relayed = request.message.relay().is_some();
        self.method(interface.index, relayed)
    }

    /// How the free addresses of a subnet are probed ahead of time, if they are; `is_relayed` says whether relays have
    /// asked for it lately. A subnet that nobody has asked for and that is not attached is left alone: who knows where
    /// a ping for it would go.
    pub fn probe_ahead(&self, subnet: SubnetId, is_relayed: bool) -> Option<ProbeMethod> {
        let subnet = self.config.dhcp.subnets.get(usize::from(subnet.0))?;
        match self.interfaces.iter().find(|interface| super::scope::is_attached(subnet, interface)) {
            Some(interface) if interface.loopback => None,
            Some(interface) => self.method(interface.index, false),
            None if is_relayed => self.method(0, true),
            None => None,
        }
    }

    fn method(&self, interface: u32, relayed: bool) -> Option<ProbeMethod> {
        let arp = self.means.arp.contains(&interface).then_some(ProbeMethod::Arp(interface));
        let icmp = self.means.icmp.then_some(ProbeMethod::Icmp);
        match (self.config.dhcp.conflict_check.method, relayed) {
            (ConflictMethod::Off, _) | (ConflictMethod::Arp, true) => None,
            (ConflictMethod::Arp, false) => arp,
            // A link without Ethernet addresses knows no ARP.
            (ConflictMethod::Auto, false) => arp.or(icmp),
            (ConflictMethod::Auto, true) | (ConflictMethod::Icmp, _) => icmp,
        }
    }
}
