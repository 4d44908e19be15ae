//! Who sends a message: the client with its identity, the classes it belongs to, the host that it is, the pools that
//! are open to it. The second half of the pipeline's scope stage; it needs to know the leases.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use crate::config::model::IdentifyBy;
use crate::lease::{Client, ClientKey, ClientRef, HostId, PoolId, Scope, ShortBytes};
use crate::protocol::DhcpMessage;

use super::check::ProbeMethod;
use super::classes::Facts;
use super::leases::Leases;
use super::outcome::{Outcome, Silence};
use super::scope::Link;
use super::security::Verdict;
use super::{Pipeline, Request};

/// Who asks.
#[derive(Debug)]
pub(super) struct Asker<'p> {
    pub(super) client: Client,
    /// Places in `dhcp.classes`, in the order in which they are applied.
    pub(super) classes: Vec<usize>,
    /// Whether one of them is answered with silence.
    pub(super) dropped: bool,
    pub(super) host: Option<HostId>,
    pub(super) pools: Cow<'p, [PoolId]>,
    /// How an address is checked that is new to the client, if it is.
    pub(super) check: Option<ProbeMethod>,
}

/// What a relay has told of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// giaddr.
    pub relay: Option<Ipv4Addr>,
    /// Option 82.1.
    pub circuit_id: Option<ShortBytes>,
    /// Option 82.2.
    pub remote_id: Option<ShortBytes>,
}

impl Pipeline {
    /// Finds out who asks; an outcome where nobody can be told from others.
    pub(super) fn recognise<L: Leases>(
        &self,
        request: &Request<'_>,
        leases: &L,
    ) -> Result<Asker<'_>, Outcome> {
        let link = self.scopes.link(request.link).ok_or(Silence::UnknownSubnet)?;
        let first = self.first_subnet(request).ok_or(Silence::UnknownSubnet)?;
        let message = &request.message;
        let client = of(message, first.common.identify_by, leases).ok_or(Silence::NoIdentity)?;
        let interface = self.interface(request).map_or("", |interface| interface.name.as_str());
        let check = self.probe_method(request);
        Ok(self.asker(client, message, link, interface, check))
    }

    /// What follows from who sends a message on this link.
    pub(super) fn asker<'p>(
        &'p self,
        client: Client,
        message: &DhcpMessage<'_>,
        link: &'p Link,
        interface: &str,
        check: Option<ProbeMethod>,
    ) -> Asker<'p> {
        let classes = self.classes.of(&Facts {
            message,
            circuit_id: client.circuit_id.as_deref(),
            remote_id: client.remote_id.as_deref(),
            relay: client.relay,
            interface,
        });
        let host = link.subnets().first().and_then(|subnet| {
            self.topology.host_of(self.topology.link_of(*subnet), &ClientRef::from(&client))
        });
        let pools = self.classes.pools(link.pools(), &classes);
        let dropped = self.classes.drops(&classes);
        Asker { client, classes: classes.iter().collect(), dropped, host, pools, check }
    }

    /// Whether a client is answered at all, now that it is known who it is.
    pub(super) fn admit(&self, request: &Request<'_>, asker: &Asker<'_>) -> Result<(), Outcome> {
        if asker.dropped {
            return Err(Silence::Class.into());
        }
        match self.security.judge_client(asker.host.is_some()) {
            Verdict::Allow => Ok(()),
            Verdict::Refuse(refusal) => Err(refusal.outcome(&request.message, request.from)),
        }
    }
}

impl Asker<'_> {
    /// As the lease engine takes it.
    pub(super) fn scope<'s>(&'s self, link: &'s super::scope::Link) -> Scope<'s> {
        Scope { subnets: link.subnets(), pools: &self.pools, host: self.host, checked: self.check.is_some() }
    }
}

/// The client of a message; none where nothing identifies it.
///
/// What a relay says counts, and nobody else's option 82: it decides about reservations and identities, and a client on
/// our own link could write into it what it likes. A renewal goes past the relay (RFC 2131 §4.3.2), so what the relay
/// said is taken from the lease then.
fn of<L: Leases>(message: &DhcpMessage<'_>, identify_by: IdentifyBy, leases: &L) -> Option<Client> {
    let owned = |bytes: Option<&[u8]>| bytes.map(ShortBytes::from);
    let told = match message.relay() {
        Some(relay) => {
            let information = message.relay_information();
            Some(Whereabouts {
                relay: Some(relay),
                circuit_id: owned(information.and_then(|information| information.circuit_id())),
                remote_id: owned(information.and_then(|information| information.remote_id())),
            })
        }
        None if message.ciaddr().is_unspecified() => None,
        None => leases.whereabouts(message.ciaddr(), message.hardware()),
    };
    let told = told.unwrap_or_default();
    let mut client = Client {
        key: ClientKey::from_bytes(&[]),
        hardware: *message.hardware(),
        client_id: owned(message.client_id()),
        hostname: owned(message.hostname()),
        vendor_class: owned(message.vendor_class()),
        relay: told.relay,
        circuit_id: told.circuit_id,
        remote_id: told.remote_id,
    };
    client.key = client.identity(identify_by)?;
    Some(client)
}
