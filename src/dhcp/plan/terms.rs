//! The terms of a lease at one place: options, times, boot fields, as text, and how two of them differ.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::config::model::LeaseTime;
use crate::lease::{HostId, PoolId, SubnetId};
use crate::protocol::options::{name, show};

use super::super::Pipeline;
use super::super::options::PlaceRef;
use super::super::place::Place;

/// The levels that hold for a lease; leases with the same levels have the same terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Levels {
    pub(super) subnet: SubnetId,
    pub(super) pool: Option<PoolId>,
    /// Places in `dhcp.classes`, rising.
    pub(super) classes: Vec<usize>,
    pub(super) host: Option<HostId>,
}

/// Everything that a client is told, by name.
#[derive(Debug, Default)]
pub(super) struct Terms(BTreeMap<String, String>);

/// One thing that a client is told, before and after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// An option as IANA names it, or a key such as `lease_time`.
    pub name: String,
    /// Now; none: it is not told.
    pub old: Option<String>,
    /// Then; none: it is not told.
    pub new: Option<String>,
}

impl Terms {
    pub(super) fn of(pipeline: &Pipeline, levels: &Levels) -> Self {
        let Some(subnet) = pipeline.config.dhcp.subnets.get(usize::from(levels.subnet.0)) else {
            return Self::default();
        };
        let pool = levels.pool.and_then(|pool| pipeline.pools.get(usize::from(pool.0)));
        let host = levels.host.and_then(|host| pipeline.topology.host(host));
        let host = host.filter(|host| host.subnet == levels.subnet);
        let at = levels.pool.map_or(PlaceRef::Subnet(levels.subnet), PlaceRef::Pool);
        let host_place = host.map(|host| (usize::from(levels.subnet.0), host.place));
        let place = Place {
            subnet,
            pool: pool.and_then(|(_, pool)| subnet.pools.get(*pool)),
            classes: &levels.classes,
            all_classes: &pipeline.config.dhcp.classes,
            host: host.and_then(|host| subnet.hosts.get(host.place)),
            options: pipeline.options.layers(at, &levels.classes, host_place),
        };
        let mut terms = BTreeMap::new();
        for option in place.options.iter() {
            let always = if option.always { ", always" } else { "" };
            terms.insert(name(option.code), format!("{}{always}", show(option.code, &option.bytes)));
        }
        let common = &subnet.common;
        terms.insert("lease_time".to_owned(), lease_time(place.lease_time()));
        terms.insert("renew_at".to_owned(), common.renew_at.to_string());
        terms.insert("rebind_at".to_owned(), common.rebind_at.to_string());
        let address = |address: Option<Ipv4Addr>| address.map(|address| address.to_string());
        let fields = [
            ("server_id", address(common.server_id)),
            ("next_server", address(place.next_server())),
            ("server_name", place.server_name().map(str::to_owned)),
            ("boot_file", place.boot_file().map(str::to_owned)),
        ];
        terms.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Self(terms)
    }
}

fn lease_time(time: LeaseTime) -> String {
    let shown = crate::config::show_duration;
    format!("{} ({} to {})", shown(time.default), shown(time.min), shown(time.max))
}

/// What differs, by name.
pub(super) fn differences(old: &Terms, new: &Terms) -> Vec<Difference> {
    let names: std::collections::BTreeSet<&String> = old.0.keys().chain(new.0.keys()).collect();
    let differs = names.into_iter().filter(|name| old.0.get(*name) != new.0.get(*name));
    differs
        .map(|name| Difference {
            name: name.clone(),
            old: old.0.get(name).cloned(),
            new: new.0.get(name).cloned(),
        })
        .collect()
}
