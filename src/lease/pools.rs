//! Subnets, pools, links and reservations of one configuration, laid out for look-ups by address. Made once a generation, shared
//! by the engine, the keeper and the pipeline; never changes.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::config::model::{Class, Common, Options, Subnet};
use crate::config::{AddressRange, Config, Network};
use crate::protocol::options::OptionValue;

use super::hosts::{HostId, HostSpec, Hosts};
use super::store::ClientRef;
use super::types::{PoolId, SubnetId};

/// One subnet.
#[derive(Debug, Clone)]
pub struct SubnetSpec {
    /// Its place in the configuration.
    pub id: SubnetId,
    /// Its name.
    pub name: Arc<str>,
    /// Its prefix.
    pub network: Network,
    /// Its pools, by name.
    pub pools: Vec<PoolId>,
    /// The subnets on its link, itself first.
    link: Vec<SubnetId>,
}

/// One pool of dynamic addresses.
#[derive(Debug, Clone)]
pub struct PoolSpec {
    /// Its place among all pools.
    pub id: PoolId,
    /// The subnet it belongs to.
    pub subnet: SubnetId,
    /// Its name.
    pub name: Arc<str>,
    /// First to last address.
    pub range: AddressRange,
    /// What of the range is never given out, in order and without overlap.
    blocked: Vec<AddressRange>,
}

/// Why a client may not have an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// It is reserved for another client.
    Reserved(HostId),
    /// It lies in no pool.
    NoPool,
    /// It is excluded, a router's, the server's, the network's own or the broadcast address.
    Never,
    /// It lies in a pool that is not open to the client.
    Closed(PoolId),
}

/// A link (broadcast domain): a client has one binding on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u16);

/// All subnets and pools.
#[derive(Debug)]
pub struct Topology {
    subnets: Vec<SubnetSpec>,
    pools: Vec<PoolSpec>,
    /// (first address, subnet), ascending; subnets do not overlap.
    subnet_order: Vec<(u32, SubnetId)>,
    /// (first address, pool), ascending; pools do not overlap.
    pool_order: Vec<(u32, PoolId)>,
    hosts: Hosts,
    /// Routers and server identifiers, of whatever level; those that are reserved for a host are its own routers.
    fixtures: BTreeSet<Ipv4Addr>,
}

impl Topology {
    /// Lays out the subnets of a checked configuration (no overlaps, at most 65,535 pools).
    pub fn new(config: &Config) -> Arc<Self> {
        Self::lay_out(&config.dhcp.common, &config.dhcp.subnets, &config.dhcp.classes)
    }

    pub(super) fn lay_out(common: &Common, specs: &[Subnet], classes: &[Class]) -> Arc<Self> {
        let mut subnets = Vec::with_capacity(specs.len());
        let mut pools: Vec<PoolSpec> = Vec::new();
        let fixtures = fixtures(common, specs, classes);
        // A reserved address is taken from the pool that it lies in, whichever subnet lists it.
        let reserved: BTreeSet<Ipv4Addr> =
            specs.iter().flat_map(|subnet| &subnet.hosts).filter_map(|host| host.ip).collect();
        let mut sharing: HashMap<&String, Vec<SubnetId>> = HashMap::new();
        for (i, subnet) in specs.iter().enumerate() {
            if let Some(name) = &subnet.shared_network {
                sharing.entry(name).or_default().push(SubnetId(narrow(i)));
            }
        }
        for (i, subnet) in specs.iter().enumerate() {
            let id = SubnetId(narrow(i));
            let mut own = Vec::new();
            for pool in &subnet.pools {
                let inside = pool.range.first()..=pool.range.last();
                let single = fixtures.range(inside.clone()).chain(reserved.range(inside)).copied();
                let blocked = blocked(pool.range, subnet.network, &subnet.exclude, single);
                let pool_id = PoolId(narrow(pools.len()));
                own.push(pool_id);
                pools.push(PoolSpec {
                    id: pool_id,
                    subnet: id,
                    name: pool.name.as_str().into(),
                    range: pool.range,
                    blocked,
                });
            }
            let shared = subnet.shared_network.as_ref().and_then(|name| sharing.get(name));
            let mut link: Vec<SubnetId> = shared.map_or_else(|| vec![id], Clone::clone);
            link.sort_by_key(|other| (*other != id, *other));
            subnets.push(SubnetSpec {
                id,
                name: subnet.name.as_str().into(),
                network: subnet.network,
                pools: own,
                link,
            });
        }
        let mut subnet_order: Vec<_> = subnets.iter().map(|s| (u32::from(s.network.first()), s.id)).collect();
        subnet_order.sort_unstable();
        let mut pool_order: Vec<_> = pools.iter().map(|p| (u32::from(p.range.first()), p.id)).collect();
        pool_order.sort_unstable();
        let mut topology =
            Self { subnets, pools, subnet_order, pool_order, hosts: Hosts::default(), fixtures };
        for (i, subnet) in specs.iter().enumerate() {
            let id = SubnetId(narrow(i));
            let link = topology.link_of(id);
            topology.hosts.add(id, link, subnet);
        }
        Arc::new(topology)
    }

    /// The host that a client is on a link, if the administrator lists it there.
    pub fn host_of(&self, link: LinkId, client: &ClientRef<'_>) -> Option<HostId> {
        self.hosts.find(link, client)
    }

    /// Whose reservation an address is.
    pub fn reserved_for(&self, address: Ipv4Addr) -> Option<HostId> {
        self.hosts.at(address)
    }

    /// A host by its id.
    pub fn host(&self, id: HostId) -> Option<&HostSpec> {
        self.hosts.get(id)
    }

    /// All hosts; [`HostId`] is the place in it.
    pub fn hosts(&self) -> &[HostSpec] {
        self.hosts.all()
    }

    /// All subnets; [`SubnetId`] is the place in it.
    pub fn subnets(&self) -> &[SubnetSpec] {
        &self.subnets
    }

    /// All pools; [`PoolId`] is the place in it.
    pub fn pools(&self) -> &[PoolSpec] {
        &self.pools
    }

    /// A subnet by its id.
    pub fn subnet(&self, id: SubnetId) -> Option<&SubnetSpec> {
        self.subnets.get(usize::from(id.0))
    }

    /// A pool by its id.
    pub fn pool(&self, id: PoolId) -> Option<&PoolSpec> {
        self.pools.get(usize::from(id.0))
    }

    /// The subnets that share the link of this one, it first; empty for an unknown id.
    pub fn link(&self, id: SubnetId) -> &[SubnetId] {
        self.subnet(id).map_or(&[], |s| &s.link)
    }

    /// The link of a subnet.
    pub fn link_of(&self, id: SubnetId) -> LinkId {
        LinkId(self.link(id).iter().map(|s| s.0).min().unwrap_or(id.0))
    }

    /// The link that an address lies on.
    pub fn link_at(&self, address: Ipv4Addr) -> Option<LinkId> {
        self.subnet_of(address).map(|subnet| self.link_of(subnet))
    }

    /// The subnet that holds an address.
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<SubnetId> {
        let id = at_or_below(&self.subnet_order, address)?;
        self.subnet(id)?.network.contains(address).then_some(id)
    }

    /// The pool that holds an address, also where the address is never given out.
    pub fn pool_of(&self, address: Ipv4Addr) -> Option<PoolId> {
        let id = at_or_below(&self.pool_order, address)?;
        self.pool(id)?.range.contains(address).then_some(id)
    }

    /// The pool that gives an address to whoever comes; none for one that is never given out or reserved.
    pub fn dynamic_pool_of(&self, address: Ipv4Addr) -> Option<PoolId> {
        self.pool_of(address).filter(|_| !self.never_given(address))
    }

    /// Whether a client that is this host, or none, and to whom these pools are open may have an address: one of the
    /// pools', or the one that is reserved for it.
    pub fn permits(&self, address: Ipv4Addr, host: Option<HostId>, pools: &[PoolId]) -> Result<(), Barred> {
        if let Some(owner) = self.reserved_for(address) {
            return if host == Some(owner) { Ok(()) } else { Err(Barred::Reserved(owner)) };
        }
        let pool = self.pool_of(address).ok_or(Barred::NoPool)?;
        if self.never_given(address) {
            return Err(Barred::Never);
        }
        if pools.contains(&pool) { Ok(()) } else { Err(Barred::Closed(pool)) }
    }

    /// Whether a pool must not give this address out: excluded, reserved for a host, a router, the server
    /// itself, the network's own or the broadcast address.
    pub fn never_given(&self, address: Ipv4Addr) -> bool {
        let Some(pool) = self.pool_of(address).and_then(|id| self.pool(id)) else { return true };
        let after = pool.blocked.partition_point(|range| range.first() <= address);
        after.checked_sub(1).and_then(|i| pool.blocked.get(i)).is_some_and(|range| range.contains(address))
    }
}

impl Topology {
    /// Whether nobody can ever lease an address of a subnet, with a reservation or without: the network's own and the
    /// broadcast address, routers, the server itself.
    pub fn is_fixture(&self, address: Ipv4Addr) -> bool {
        let end = || {
            let subnet = self.subnet_of(address).and_then(|id| self.subnet(id));
            subnet.is_some_and(|subnet| !subnet.network.is_host(address))
        };
        end() || (self.fixtures.contains(&address) && self.reserved_for(address).is_none())
    }
}

impl PoolSpec {
    /// What of the range is never given out, in order and without overlap.
    pub fn blocked(&self) -> &[AddressRange] {
        &self.blocked
    }
}

/// The configuration check bounds subnets and pools far below.
fn narrow(place: usize) -> u16 {
    u16::try_from(place).unwrap_or(u16::MAX)
}

fn at_or_below<T: Copy>(order: &[(u32, T)], address: Ipv4Addr) -> Option<T> {
    let after = order.partition_point(|(first, _)| *first <= u32::from(address));
    order.get(after.checked_sub(1)?).map(|(_, id)| *id)
}

/// Every router that any level names and every server identifier: what one client is told is there for all of them.
fn fixtures(common: &Common, specs: &[Subnet], classes: &[Class]) -> BTreeSet<Ipv4Addr> {
    let of_subnet = |subnet: &Subnet| {
        let pools = subnet.pools.iter().flat_map(|pool| routers(&pool.options));
        let hosts = subnet.hosts.iter().flat_map(|host| routers(&host.options));
        let own = routers(&subnet.common.options).into_iter().chain(subnet.common.server_id);
        pools.chain(hosts).chain(own).collect::<Vec<_>>()
    };
    let classes = classes.iter().flat_map(|class| routers(&class.options));
    let global = routers(&common.options).into_iter().chain(common.server_id);
    specs.iter().flat_map(of_subnet).chain(classes).chain(global).collect()
}

/// The addresses that the option `routers` (3) names at one level, in whatever spelling.
fn routers(options: &Options) -> Vec<Ipv4Addr> {
    const ROUTERS: u8 = 3;
    let values = options.iter().filter_map(|(name, value)| OptionValue::from_config(name, value).ok());
    let routers = values.filter(|value| value.code == ROUTERS);
    routers.flat_map(|value| value.bytes.chunks_exact(4).map(address).collect::<Vec<_>>()).collect()
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    <[u8; 4]>::try_from(bytes).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from)
}

fn blocked(
    range: AddressRange,
    network: Network,
    exclude: &[AddressRange],
    single: impl Iterator<Item = Ipv4Addr>,
) -> Vec<AddressRange> {
    let ends = [network.first(), network.last()].into_iter().filter(|end| !network.is_host(*end));
    let singles = single.chain(ends).filter_map(|a| AddressRange::new(a, a));
    let mut all: Vec<AddressRange> =
        exclude.iter().copied().chain(singles).filter(|r| r.overlaps(range)).collect();
    all.sort_unstable();
    let mut merged: Vec<AddressRange> = Vec::with_capacity(all.len());
    for next in all {
        let joined = merged
            .last()
            .filter(|last| last.last() >= next.first())
            .and_then(|last| AddressRange::new(last.first(), last.last().max(next.last())));
        match (joined, merged.last_mut()) {
            (Some(joined), Some(last)) => *last = joined,
            _ => merged.push(next),
        }
    }
    merged
}
