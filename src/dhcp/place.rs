//! The place that a reply is made for: the levels of the configuration that hold for one client at one address, the
//! nearest first: host, class, pool, subnet.

use std::net::Ipv4Addr;

use crate::config::model::{Boot, Class, Host, LeaseTime, Pool, Subnet};
use crate::lease::SubnetId;

use super::Pipeline;
use super::client::Asker;
use super::options::{Layers, PlaceRef};

/// The levels that hold.
#[derive(Debug)]
pub(super) struct Place<'p> {
    pub(super) subnet: &'p Subnet,
    pub(super) pool: Option<&'p Pool>,
    /// The places of the client's classes among all of them, rising: the last applied counts most.
    pub(super) classes: &'p [usize],
    pub(super) all_classes: &'p [Class],
    pub(super) host: Option<&'p Host>,
    pub(super) options: Layers<'p>,
}

impl Pipeline {
    /// For an address that the client has or gets; it lies in a subnet of this generation.
    pub(super) fn place<'p>(&'p self, asker: &'p Asker<'_>, address: Ipv4Addr) -> Option<Place<'p>> {
        self.place_in(asker, self.topology.subnet_of(address)?, Some(address))
    }

    /// For an address of this subnet, or none at all.
    pub(super) fn place_in<'p>(
        &'p self,
        asker: &'p Asker<'_>,
        id: SubnetId,
        address: Option<Ipv4Addr>,
    ) -> Option<Place<'p>> {
        let subnet = self.config.dhcp.subnets.get(usize::from(id.0))?;
        let in_pool = address.and_then(|address| self.topology.pool_of(address));
        let pool = in_pool.and_then(|pool| self.pools.get(usize::from(pool.0)));
        // What a host is given counts on the subnet that lists it, not on the others of a shared network.
        let host = asker.host.and_then(|host| self.topology.host(host)).filter(|host| host.subnet == id);
        let place = in_pool.map_or(PlaceRef::Subnet(id), PlaceRef::Pool);
        let host_place = host.map(|host| (usize::from(id.0), host.place));
        Some(Place {
            subnet,
            pool: pool.and_then(|(_, pool)| subnet.pools.get(*pool)),
            classes: &asker.classes,
            all_classes: &self.config.dhcp.classes,
            host: host.and_then(|host| subnet.hosts.get(host.place)),
            options: self.options.layers(place, &asker.classes, host_place),
        })
    }
}

impl<'p> Place<'p> {
    /// The last applied first.
    fn classes(&self) -> impl Iterator<Item = &'p Class> + use<'p> {
        let all = self.all_classes;
        self.classes.iter().rev().filter_map(move |at| all.get(*at))
    }

    /// The lease times in force.
    pub(super) fn lease_time(&self) -> LeaseTime {
        let own = self.host.and_then(|host| host.lease_time);
        own.or_else(|| self.classes().find_map(|class| class.lease_time))
            .or_else(|| self.pool?.lease_time)
            .unwrap_or(self.subnet.common.lease_time)
    }

    /// `siaddr`.
    pub(super) fn next_server(&self) -> Option<Ipv4Addr> {
        self.nearest(|boot| boot.next_server).or(self.subnet.common.next_server)
    }

    /// `sname`.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.nearest(|boot| boot.server_name.as_deref()).or(self.subnet.common.server_name.as_deref())
    }

    /// `file`.
    pub(super) fn boot_file(&self) -> Option<&str> {
        self.nearest(|boot| boot.boot_file.as_deref()).or(self.subnet.common.boot_file.as_deref())
    }

    fn nearest<'s, T>(&'s self, field: impl Fn(&'s Boot) -> Option<T>) -> Option<T> {
        let host = self.host.map(|host| &host.boot);
        let pool = self.pool.map(|pool| &pool.boot);
        let classes = self.classes().map(|class| &class.boot);
        host.into_iter().chain(classes).chain(pool).find_map(field)
    }
}
