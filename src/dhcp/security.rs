//! `SecurityManager`: the stage between the parser and the scope. Says whether a message is heard at all.
//!
//! So far sanity: addresses that no honest host can have, which a reply must never be sent to. Patterns, relay
//! trust and rates join here. Pure, called once per message.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::protocol::DhcpMessage;

use super::InterfaceInfo;

/// The judge. Stateless so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct SecurityManager;

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allow,
    /// Drop it, and count why.
    Refuse(Refusal),
}

/// Why a message is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// giaddr is no address of a host.
    RelayAddress,
    /// ciaddr is no address of a host.
    ClientAddress,
    /// The datagram's source is no address of a host, or its port is 0 where the answer would go there.
    Source,
}

impl Refusal {
    /// The label in counters.
    pub fn reason(self) -> &'static str {
        match self {
            Self::RelayAddress => "relay-address",
            Self::ClientAddress => "client-address",
            Self::Source => "source",
        }
    }
}

impl SecurityManager {
    /// Judges a message by itself and by the way it came.
    pub fn judge(&self, message: &DhcpMessage<'_>, interface: &InterfaceInfo, from: SocketAddrV4) -> Verdict {
        if message.relay().is_some_and(|relay| !is_host(relay, interface)) {
            return Verdict::Refuse(Refusal::RelayAddress);
        }
        let ciaddr = message.ciaddr();
        if !ciaddr.is_unspecified() && !is_host(ciaddr, interface) {
            return Verdict::Refuse(Refusal::ClientAddress);
        }
        let source = *from.ip();
        if !source.is_unspecified() && !is_host(source, interface) || interface.loopback && from.port() == 0 {
            return Verdict::Refuse(Refusal::Source);
        }
        Verdict::Allow
    }
}

/// Whether a host may have this address: neither 0/8, multicast, reserved nor broadcast (RFC 6890), and
/// loopback on the loopback interface only.
fn is_host(address: Ipv4Addr, interface: &InterfaceInfo) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224 && (interface.loopback || !address.is_loopback())
}
