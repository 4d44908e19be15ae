//! `SecurityManager`: the stage between the parser and the scope, and once more behind it. Says whether a message is
//! heard at all: sanity of its addresses, patterns on hardware addresses, trust in relays, rates, unknown clients.
//!
//! Pure: the time and the shared memory are handed in. Called once per message for each of its two judgements.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::config::Config;
use crate::config::Network;
use crate::config::model::UnknownClients;
use crate::config::pattern::Pattern;
use crate::events;
use crate::protocol::DhcpMessage;
use crate::stats::Counter;

use super::InterfaceInfo;
use super::fits;
use super::outcome::{Event, Outcome, Silence, What};
use super::rate::{Limit, Rates};

/// The judge.
#[derive(Debug)]
pub struct SecurityManager {
    deny: Vec<Pattern>,
    allow: Vec<Pattern>,
    relays: Vec<Network>,
    unknown: UnknownClients,
    limit: Option<Limit>,
    rates: Rates,
}

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
    /// `deny` names the client.
    Denied,
    /// `allow` does not name the client.
    NotAllowed,
    /// The relay lies outside `trusted_relays`.
    UntrustedRelay,
    /// A RELEASE or DECLINE from an address that is not the client's. Said by the handler, which knows the leases.
    ForeignSource,
    /// The client has sent more than `client_rate`.
    RateLimited,
    /// The client has no reservation, and `unknown_clients` is `ignore`.
    UnknownClient,
    /// The client's circuit has `max_leases_per_circuit` already. Said by the handler, which knows the leases.
    CircuitFull,
}

impl Refusal {
    /// Its counter among the dropped packets.
    pub fn counter(self) -> Counter {
        self.row().0
    }

    /// Its counter among the events of the security stage.
    pub fn security_counter(self) -> Counter {
        self.row().1
    }

    /// What it is logged as.
    pub fn event(self) -> events::Event {
        self.row().2
    }

    /// The text of the log line.
    pub fn text(self) -> &'static str {
        self.row().3
    }

    /// The table of refusals.
    fn row(self) -> (Counter, Counter, events::Event, &'static str) {
        use Counter as C;
        use events::Event as E;
        let spoofed = |drop, text| (drop, C::SecuritySpoofed, E::DhcpAddressSpoofed, text);
        match self {
            Self::RelayAddress => spoofed(C::DropRelayAddress, "no relay has this address"),
            Self::ClientAddress => spoofed(C::DropClientAddress, "the client's address is no host's"),
            Self::Source => spoofed(C::DropSource, "the sender is no host"),
            Self::ForeignSource => spoofed(C::DropForeignSource, "the sender is not the client"),
            Self::Denied => (C::DropDenied, C::SecurityDenied, E::DhcpClientDenied, "the client is denied"),
            Self::NotAllowed => (
                C::DropNotAllowed,
                C::SecurityNotAllowed,
                E::DhcpClientNotAllowed,
                "the client is not allowed",
            ),
            Self::UntrustedRelay => (
                C::DropUntrustedRelay,
                C::SecurityUntrustedRelay,
                E::DhcpRelayUntrusted,
                "the relay is not trusted",
            ),
            Self::RateLimited => (
                C::DropRateLimited,
                C::SecurityRateLimited,
                E::DhcpClientRateLimited,
                "the client sends too much",
            ),
            Self::UnknownClient => (
                C::DropUnknownHost,
                C::SecurityUnknownClient,
                E::DhcpClientUnknown,
                "the client has no reservation",
            ),
            Self::CircuitFull => (
                C::DropCircuitFull,
                C::SecurityCircuitFull,
                E::DhcpCircuitFull,
                "the client's circuit is full",
            ),
        }
    }

    /// What becomes of a message that is refused before its link is known.
    pub(super) fn outcome(self, message: &DhcpMessage<'_>, from: SocketAddrV4) -> Outcome {
        let address = match self {
            Self::ClientAddress => Some(message.ciaddr()),
            Self::Source | Self::ForeignSource => Some(*from.ip()),
            Self::RelayAddress
            | Self::UntrustedRelay
            | Self::Denied
            | Self::NotAllowed
            | Self::RateLimited
            | Self::UnknownClient
            | Self::CircuitFull => message.relay(),
        };
        let (hardware, xid) = (*message.hardware(), message.xid());
        let event = Event { what: What::Refused(self), address, hardware, xid, subnet: None };
        Outcome::Silence { reason: Silence::Refused(self), event: Some(event) }
    }
}

impl SecurityManager {
    /// By `dhcp.security`, with the rates that all workers share.
    pub fn new(config: &Config, rates: Rates) -> Self {
        let security = &config.dhcp.security;
        Self {
            deny: security.deny.clone(),
            allow: security.allow.clone(),
            relays: security.trusted_relays.clone(),
            unknown: security.unknown_clients,
            limit: security.client_rate.as_ref().map(Limit::new),
            rates,
        }
    }

    /// Judges a message by itself and by the way it came, `at` this time since boot. The rate comes last: what is refused
    /// for another reason takes nothing from it.
    pub fn judge(
        &self,
        message: &DhcpMessage<'_>,
        interface: &InterfaceInfo,
        from: SocketAddrV4,
        at: Duration,
    ) -> Verdict {
        let verdict = sane(message, interface, from)
            .and_then(|()| self.wanted(message))
            .and_then(|()| self.paced(message, at));
        verdict.map_or_else(Verdict::Refuse, |()| Verdict::Allow)
    }

    /// Judges a client once it is known whether the administrator lists it as a host.
    pub fn judge_client(&self, known: bool) -> Verdict {
        match self.unknown {
            UnknownClients::Ignore if !known => Verdict::Refuse(Refusal::UnknownClient),
            UnknownClients::Ignore | UnknownClients::Allow => Verdict::Allow,
        }
    }

    /// Whether the lists of the configuration let a message through.
    pub(super) fn wanted(&self, message: &DhcpMessage<'_>) -> Result<(), Refusal> {
        let named =
            |list: &[Pattern]| list.iter().any(|pattern| fits::colons(pattern, message.hardware().bytes()));
        if named(&self.deny) {
            return Err(Refusal::Denied);
        }
        if !self.allow.is_empty() && !named(&self.allow) {
            return Err(Refusal::NotAllowed);
        }
        let trusted =
            |relay| self.relays.is_empty() || self.relays.iter().any(|network| network.contains(relay));
        if message.relay().is_some_and(|relay| !trusted(relay)) {
            return Err(Refusal::UntrustedRelay);
        }
        Ok(())
    }

    /// Whether `trusted_relays` names this very address; a prefix names none of its addresses.
    pub(super) fn names_relay(&self, relay: Ipv4Addr) -> bool {
        self.relays.iter().any(|network| network.prefix() == 32 && network.contains(relay))
    }

    /// A client is its hardware address (or its client-id, where it sends none) behind its relay and circuit: so nobody
    /// elsewhere uses up its rate by pretending to be it.
    fn paced(&self, message: &DhcpMessage<'_>, at: Duration) -> Result<(), Refusal> {
        let Some(limit) = &self.limit else { return Ok(()) };
        let hardware = message.hardware().bytes();
        let identity = if hardware.is_empty() { message.client_id() } else { Some(hardware) };
        // Who has neither is not answered anyway.
        let Some(identity) = identity else { return Ok(()) };
        let behind = message.relay().map_or(0, |relay| {
            let circuit = message.relay_information().and_then(|information| information.circuit_id());
            self.rates.hash(u64::from(u32::from(relay)), circuit.unwrap_or_default())
        });
        if self.rates.take(self.rates.hash(behind, identity), limit, at) {
            Ok(())
        } else {
            Err(Refusal::RateLimited)
        }
    }
}

/// Addresses that no honest host can have, and that a reply must never be sent to.
fn sane(message: &DhcpMessage<'_>, interface: &InterfaceInfo, from: SocketAddrV4) -> Result<(), Refusal> {
    if message.relay().is_some_and(|relay| !is_host(relay, interface)) {
        return Err(Refusal::RelayAddress);
    }
    let ciaddr = message.ciaddr();
    if !ciaddr.is_unspecified() && !is_host(ciaddr, interface) {
        return Err(Refusal::ClientAddress);
    }
    let source = *from.ip();
    if !source.is_unspecified() && !is_host(source, interface) || interface.loopback && from.port() == 0 {
        return Err(Refusal::Source);
    }
    Ok(())
}

/// Whether a host may have this address: neither 0/8, multicast, reserved nor broadcast (RFC 6890), and
/// loopback on the loopback interface only.
fn is_host(address: Ipv4Addr, interface: &InterfaceInfo) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224 && (interface.loopback || !address.is_loopback())
}
