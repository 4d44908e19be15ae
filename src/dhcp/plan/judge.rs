//! What one configuration makes of a lease: the steps of the pipeline on what the lease remembers of its client, up to
//! the point where a renewal would be granted. Decides nothing that the pipeline and the engine decide otherwise.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Config;
use crate::config::model::{Condition, Field};
use crate::lease::{Barred, HostId, Lease, PoolId, Topology};
use crate::protocol::encode::{self, Header, Op, Options};
use crate::protocol::{DhcpMessage, DhcpParser, MessageType, code};

use super::super::rate::Rates;
use super::super::scope::{Link, LinkId};
use super::super::security::{Refusal, Verdict};
use super::super::{InterfaceInfo, Pipeline};
use super::Room;
use super::terms::{Levels, Terms};

/// One configuration.
#[derive(Debug)]
pub(super) struct Judge {
    pipeline: Pipeline,
    /// Addresses of the interfaces that it serves.
    own: HashSet<Ipv4Addr>,
}

/// A lease that goes on.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) levels: Levels,
}

/// How a client's messages find their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ways {
    /// From where the client is, they reach the link of its address.
    pub(super) arrives: bool,
    /// The client is known by the identity that the lease is under.
    pub(super) is_known: bool,
}

/// Why a client loses its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// DHCP is off.
    Off,
    /// The client is refused before anything is known of it.
    Refused(Refusal),
    /// The address is in no subnet.
    NoSubnet,
    /// What the client sends does not reach the link of its address any more.
    Unreached,
    /// The client is told from others in another way, so the lease is somebody else's.
    Identity,
    /// This class, by its place, is answered with silence.
    Dropped(usize),
    /// The address is the server's own.
    Own,
    /// It may not have the address.
    Barred(Barred),
    /// Another address is reserved for the client.
    Moves(Ipv4Addr),
}

/// A class that looks at what a lease does not remember, so its members are judged as if they did not send it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blind {
    /// The class.
    pub class: String,
    /// What it looks at.
    pub looks_at: Vec<String>,
}

impl Loss {
    /// A word for it that does not change.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "dhcp-off",
            Self::Refused(refusal) => match refusal {
                Refusal::Denied => "denied",
                Refusal::NotAllowed => "not-allowed",
                Refusal::UntrustedRelay => "untrusted-relay",
                Refusal::UnknownClient => "unknown-client",
                Refusal::RelayAddress
                | Refusal::ClientAddress
                | Refusal::Source
                | Refusal::ForeignSource
                | Refusal::RateLimited
                | Refusal::CircuitFull => "refused",
            },
            Self::NoSubnet => "no-subnet",
            Self::Unreached => "unreached",
            Self::Identity => "identity",
            Self::Dropped(_) => "class-drop",
            Self::Own => "server-address",
            Self::Barred(Barred::Reserved(_)) => "reserved-for-another",
            Self::Barred(Barred::NoPool) => "no-pool",
            Self::Barred(Barred::Never) => "excluded",
            Self::Barred(Barred::Closed(_)) => "pool-closed",
            Self::Moves(_) => "other-reservation",
        }
    }
}

impl Judge {
    pub(super) fn new(config: Arc<Config>, interfaces: Vec<InterfaceInfo>) -> Self {
        let own = interfaces.iter().flat_map(|interface| interface.addresses.iter().map(|(own, _)| *own));
        let own = own.collect();
        let topology = Topology::new(&config);
        Self { pipeline: Pipeline::new(config, topology, interfaces, Rates::default()), own }
    }

    /// Whether the lease would be renewed, and on which terms.
    pub(super) fn judge(&self, lease: &Lease) -> Result<Judged, Loss> {
        let Pipeline { config, topology, security, .. } = &self.pipeline;
        if !config.dhcp.enabled {
            return Err(Loss::Off);
        }
        let id = topology.subnet_of(lease.address).ok_or(Loss::NoSubnet)?;
        let link = self.link(lease).and_then(|id| self.pipeline.scopes.link(id)).ok_or(Loss::NoSubnet)?;
        let bytes = message_of(lease);
        let message = DhcpParser::parse(&bytes).map_err(|_| Loss::NoSubnet)?;
        security.wanted(&message).map_err(Loss::Refused)?;
        let asker = self.asker(lease, &message, link);
        if asker.dropped {
            let class = asker
                .classes
                .iter()
                .copied()
                .find(|place| config.dhcp.classes.get(*place).is_some_and(|class| class.drop));
            return Err(Loss::Dropped(class.unwrap_or_default()));
        }
        if let Verdict::Refuse(refusal) = security.judge_client(asker.host.is_some()) {
            return Err(Loss::Refused(refusal));
        }
        if self.own.contains(&lease.address) {
            return Err(Loss::Own);
        }
        topology.permits(lease.address, asker.host, &asker.pools).map_err(Loss::Barred)?;
        let reserved = asker.host.and_then(|host| topology.host(host)?.address);
        if let Some(reserved) = reserved.filter(|own| *own != lease.address && !self.own.contains(own)) {
            return Err(Loss::Moves(reserved));
        }
        let levels = Levels {
            subnet: id,
            pool: topology.pool_of(lease.address),
            classes: asker.classes.clone(),
            host: asker.host,
        };
        Ok(Judged { levels })
    }

    fn asker<'p>(
        &'p self,
        lease: &Lease,
        message: &DhcpMessage<'_>,
        link: &'p Link,
    ) -> super::super::client::Asker<'p> {
        let attached = self.link(lease).and_then(|link| self.pipeline.scopes.interfaces_of(link).next());
        let interface = attached.filter(|_| lease.client.relay.is_none());
        let interface = interface.and_then(|at| self.pipeline.interfaces.get(at));
        let name = interface.map_or("", |interface| interface.name.as_str());
        self.pipeline.asker(lease.client.clone(), message, link, name, None)
    }

    pub(super) fn ways(&self, lease: &Lease) -> Ways {
        let Pipeline { config, topology, scopes, .. } = &self.pipeline;
        let here = self.link(lease);
        let arrives = match (here, lease.client.relay) {
            (None, _) => false,
            (Some(_), Some(relay)) => scopes.of_relay(topology, relay) == here,
            (Some(link), None) => scopes.interfaces_of(link).next().is_some(),
        };
        let first = here.and_then(|link| scopes.link(link)).and_then(|link| link.subnets().first());
        let first = first.and_then(|id| config.dhcp.subnets.get(usize::from(id.0)));
        let identity = first.and_then(|subnet| lease.client.identity(subnet.common.identify_by));
        Ways { arrives, is_known: identity.as_ref() == Some(&lease.client.key) }
    }

    fn link(&self, lease: &Lease) -> Option<LinkId> {
        self.pipeline.scopes.of_address(&self.pipeline.topology, lease.address)
    }

    /// Subnet and pool of a lease: by the address, else as it was written.
    pub(super) fn names(&self, lease: &Lease) -> (String, String) {
        let topology = &self.pipeline.topology;
        match topology.subnet_of(lease.address).and_then(|id| topology.subnet(id)) {
            Some(subnet) => {
                let pool = topology.pool_of(lease.address).and_then(|id| topology.pool(id));
                (subnet.name.to_string(), pool.map(|pool| pool.name.to_string()).unwrap_or_default())
            }
            None => (lease.subnet.to_string(), lease.pool.to_string()),
        }
    }

    /// The pool whose free addresses a lease of this address diminishes.
    pub(super) fn pool_of(&self, address: Ipv4Addr) -> Option<PoolId> {
        self.pipeline.topology.dynamic_pool_of(address).filter(|_| !self.own.contains(&address))
    }

    pub(super) fn rooms(&self, used: &HashMap<PoolId, u64>) -> Vec<((String, String), Room)> {
        let topology = &self.pipeline.topology;
        let room = |pool: &crate::lease::PoolSpec| {
            let blocked = pool.blocked().iter().map(|range| {
                let (first, last) =
                    (range.first().max(pool.range.first()), range.last().min(pool.range.last()));
                crate::config::AddressRange::new(first, last).map_or(0, crate::config::AddressRange::size)
            });
            let own = self.own.iter().filter(|own| topology.dynamic_pool_of(**own) == Some(pool.id)).count();
            let taken = blocked.sum::<u64>() + own as u64;
            let addresses = pool.range.size().saturating_sub(taken);
            let free = addresses.saturating_sub(used.get(&pool.id).copied().unwrap_or_default());
            Room { addresses, free }
        };
        let named = |pool: &crate::lease::PoolSpec| {
            let subnet = topology.subnet(pool.subnet).map(|subnet| subnet.name.to_string());
            (subnet.unwrap_or_default(), pool.name.to_string())
        };
        topology.pools().iter().map(|pool| (named(pool), room(pool))).collect()
    }

    /// What holds at these levels.
    pub(super) fn terms(&self, levels: &Levels) -> Terms {
        Terms::of(&self.pipeline, levels)
    }

    /// A reason in full.
    pub(super) fn text(&self, loss: Loss) -> String {
        let Pipeline { config, topology, .. } = &self.pipeline;
        let host = |id: HostId| {
            let spec = topology.host(id);
            let subnet = spec.and_then(|spec| config.dhcp.subnets.get(usize::from(spec.subnet.0)));
            let name = subnet.zip(spec).and_then(|(subnet, spec)| {
                Some(format!("{}.{}", subnet.name, subnet.hosts.get(spec.place)?.name))
            });
            name.unwrap_or_default()
        };
        match loss {
            Loss::Off => "dhcp.enabled is false".to_owned(),
            Loss::Refused(refusal) => refusal.text().to_owned(),
            Loss::NoSubnet => "the address is in no subnet".to_owned(),
            Loss::Unreached => "no interface or relay leads from the client to this subnet".to_owned(),
            Loss::Identity => "identify_by tells the client from others in another way".to_owned(),
            Loss::Dropped(place) => {
                let class = config.dhcp.classes.get(place).map(|class| class.name.as_str());
                format!("class {} is answered with silence", class.unwrap_or_default())
            }
            Loss::Own => "the address is the server's own".to_owned(),
            Loss::Barred(Barred::Reserved(owner)) => format!("the address is reserved for {}", host(owner)),
            Loss::Barred(Barred::NoPool) => "the address is in no pool and not reserved".to_owned(),
            Loss::Barred(Barred::Never) => "the address is excluded, a router's or the server's".to_owned(),
            Loss::Barred(Barred::Closed(pool)) => {
                let name = topology.pool(pool).map(|pool| pool.name.to_string()).unwrap_or_default();
                format!("pool {name} is not open to the client")
            }
            Loss::Moves(address) => format!("{address} is reserved for the client"),
        }
    }

    /// Classes that look at what a lease does not remember.
    pub(super) fn blind(&self) -> Vec<Blind> {
        let classes = self.pipeline.config.dhcp.classes.iter();
        let blind = classes.map(|class| {
            let mut looks_at = Vec::new();
            unremembered(&class.condition, &mut looks_at);
            looks_at.sort();
            looks_at.dedup();
            Blind { class: class.name.clone(), looks_at }
        });
        blind.filter(|blind| !blind.looks_at.is_empty()).collect()
    }
}

/// Options that a lease keeps.
const REMEMBERED: [u8; 4] = [code::HOST_NAME, code::VENDOR_CLASS, code::CLIENT_ID, code::RELAY_INFORMATION];

fn unremembered(condition: &Condition, found: &mut Vec<String>) {
    match condition {
        Condition::All(inner) | Condition::Any(inner) => {
            for condition in inner {
                unremembered(condition, found);
            }
        }
        Condition::Not(inner) => unremembered(inner, found),
        Condition::Field(field, _) => match field {
            Field::UserClass => found.push("user-class".to_owned()),
            Field::Architecture => found.push("architecture".to_owned()),
            Field::Interface => found.push("interface".to_owned()),
            Field::Option(number) if !REMEMBERED.contains(number) => found.push(format!("option {number}")),
            Field::Option(_)
            | Field::Mac
            | Field::VendorClass
            | Field::ClientId
            | Field::Hostname
            | Field::CircuitId
            | Field::RemoteId
            | Field::Relay => {}
        },
    }
}

/// The renewal that the client of a lease would send, as far as the lease remembers it. Through its relay, for what a
/// relay said counts as long as the lease lives.
fn message_of(lease: &Lease) -> Vec<u8> {
    let client = &lease.client;
    let kind = [MessageType::Request.number()];
    let header = Header {
        op: Op::Request,
        xid: 0,
        secs: 0,
        flags: 0,
        ciaddr: lease.address,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: client.relay.unwrap_or(Ipv4Addr::UNSPECIFIED),
        hardware: client.hardware,
        server_name: &[],
        boot_file: &[],
    };
    let mut agent = Vec::new();
    for (number, value) in [(1, &client.circuit_id), (2, &client.remote_id)] {
        if let Some(value) = value
            && let Ok(length) = u8::try_from(value.len())
        {
            agent.extend([number, length]);
            agent.extend_from_slice(value);
        }
    }
    let fields = [
        (code::HOST_NAME, client.hostname.as_deref()),
        (code::VENDOR_CLASS, client.vendor_class.as_deref()),
        (code::CLIENT_ID, client.client_id.as_deref()),
        (code::RELAY_INFORMATION, (!agent.is_empty()).then_some(agent.as_slice())),
    ];
    let mut required: Vec<(u8, &[u8])> = vec![(code::MESSAGE_TYPE, &kind)];
    required.extend(fields.into_iter().filter_map(|(number, value)| Some((number, value?))));
    let mut bytes = Vec::new();
    let all = Options { required: &required, wanted: &[], relay: None };
    // A message that does not fit is not parsed either, and the lease is judged as one that cannot be served.
    if encode::encode(&header, &all, usize::from(u16::MAX), &mut bytes).is_err() {
        bytes.clear();
    }
    bytes
}
