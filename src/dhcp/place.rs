//! The place that a reply is made for: the levels of the configuration that hold for one client at one address, the
//! nearest first: host, class, pool, subnet.

use std::net::Ipv4Addr;

use crate::config::model::{Boot, Host, LeaseTime, Pool, Subnet};
use crate::lease::SubnetId;

use super::Pipeline;
use super::client::Asker;
use super::options::OptionSet;

/// The levels that hold.
#[derive(Debug)]
pub(super) struct Place<'p> {
    pub(super) subnet: &'p Subnet,
    pool: Option<&'p Pool>,
    host: Option<&'p Host>,
    pub(super) options: &'p OptionSet,
}

impl Pipeline {
    /// For an address that the client has or gets; it lies in a subnet of this generation.
    pub(super) fn place(&self, asker: &Asker<'_>, address: Ipv4Addr) -> Option<Place<'_>> {
        self.place_in(asker, self.topology.subnet_of(address)?, Some(address))
    }

    /// For an address that lies elsewhere, or none at all.
    pub(super) fn place_in(
        &self,
        asker: &Asker<'_>,
        id: SubnetId,
        address: Option<Ipv4Addr>,
    ) -> Option<Place<'_>> {
        let subnet = self.config.dhcp.subnets.get(usize::from(id.0))?;
        let in_pool = address.and_then(|address| self.topology.pool_of(address));
        let pool = in_pool.and_then(|pool| self.pools.get(usize::from(pool.0)));
        let pool = pool.and_then(|(_, pool)| subnet.pools.get(*pool));
        let options = match in_pool {
            Some(pool) => self.options.of_pool(pool)?,
            None => self.options.of_subnet(id)?,
        };
        Some(Place { subnet, pool, host: self.host_on(asker, id), options })
    }
}

impl Place<'_> {
    /// The lease times in force.
    pub(super) fn lease_time(&self) -> LeaseTime {
        let own = self.host.and_then(|host| host.lease_time);
        own.or_else(|| self.pool?.lease_time).unwrap_or(self.subnet.common.lease_time)
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
        host.into_iter().chain(pool).find_map(field)
    }
}
