//! `OptionsManager`: which options a client gets. Compiled once per generation: every level is encoded, and a packet
//! only looks through the few levels that apply to it.
//!
//! ```text
//! derived from the subnet → global → subnet → pool → class (by order) → host      the nearest wins, option by option
//! └──────────── laid over each other once ───────┘ └── compiled, found per packet ─┘
//! ```
//! The origin of each option is kept for `explain`.

mod menu;
mod set;

use std::cell::RefMut;

use crate::config::Config;
use crate::config::model::{Host, Subnet};
use crate::lease::{PoolId, SubnetId};
use crate::protocol::{Codes, code};

pub use menu::Menu;
use menu::Menus;
pub use set::{OptionSet, Origin, Resolved};

/// The compiled options of every level.
#[derive(Debug)]
pub struct OptionsManager {
    subnets: Vec<OptionSet>,
    pools: Vec<OptionSet>,
    /// By the place in `dhcp.classes`.
    classes: Vec<OptionSet>,
    /// By the place of the subnet, then of the host in it.
    hosts: Vec<Vec<OptionSet>>,
    menus: Menus,
}

/// Where an address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceRef {
    /// In a pool.
    Pool(PoolId),
    /// In a subnet but in none of its pools: a reservation outside of them, or an INFORM.
    Subnet(SubnetId),
}

/// The levels that apply to one packet. Copies nothing: every look-up goes through them, the nearest first.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    at: PlaceRef,
    host_at: Option<(usize, usize)>,
    place: Option<&'a OptionSet>,
    all_classes: &'a [OptionSet],
    classes: &'a [usize],
    host: Option<&'a OptionSet>,
}

impl OptionsManager {
    /// Compiles a configuration that [`crate::protocol::options::check()`] has passed; a value that does not
    /// encode would have been refused there and is left out here.
    pub fn new(config: &Config) -> Self {
        let dhcp = &config.dhcp;
        let mut manager = Self {
            subnets: Vec::new(),
            pools: Vec::new(),
            classes: Vec::new(),
            hosts: Vec::new(),
            menus: Menus::default(),
        };
        for subnet in &dhcp.subnets {
            let mut set = derived(subnet);
            set.lay_over(&dhcp.common.options, &Origin::Global);
            set.lay_over(&subnet.common.options, &Origin::Subnet(subnet.name.as_str().into()));
            for pool in &subnet.pools {
                let mut set = set.clone();
                set.lay_over(&pool.options, &Origin::Pool(pool.name.as_str().into()));
                manager.pools.push(set);
            }
            manager.subnets.push(set);
            manager.hosts.push(subnet.hosts.iter().map(of_host).collect());
        }
        for class in &dhcp.classes {
            let mut set = OptionSet::default();
            set.lay_over(&class.options, &Origin::Class(class.name.as_str().into()));
            manager.classes.push(set);
        }
        manager
    }

    /// The levels for an address at this place, for a client in these classes and with this reservation.
    ///
    /// `classes` are places in `config.dhcp.classes`, rising; `host` is the place of a subnet in
    /// `config.dhcp.subnets` and of the host in it. A place that does not exist adds nothing.
    pub fn layers<'a>(
        &'a self,
        place: PlaceRef,
        classes: &'a [usize],
        host: Option<(usize, usize)>,
    ) -> Layers<'a> {
        let (at, host_at) = (place, host);
        let place = match at {
            PlaceRef::Pool(id) => self.pools.get(usize::from(id.0)),
            PlaceRef::Subnet(id) => self.subnets.get(usize::from(id.0)),
        };
        let host = host.and_then(|(subnet, host)| self.hosts.get(subnet)?.get(host));
        Layers { at, host_at, place, all_classes: &self.classes, classes, host }
    }

    /// What [`Layers::select`] says, as the bytes of a reply; remembered.
    pub fn menu(&self, layers: &Layers<'_>, list: Option<&[u8]>) -> RefMut<'_, Menu> {
        self.menus.get(layers, list)
    }
}

/// Mask and broadcast address, which the prefix gives away.
fn derived(subnet: &Subnet) -> OptionSet {
    let mut set = OptionSet::default();
    set.put(code::SUBNET_MASK, &subnet.network.mask().octets(), Origin::Derived);
    if let Some(broadcast) = subnet.network.broadcast() {
        set.put(code::BROADCAST_ADDRESS, &broadcast.octets(), Origin::Derived);
    }
    set
}

/// A host's `hostname` is its option 12, unless its options say otherwise.
fn of_host(host: &Host) -> OptionSet {
    let mut set = OptionSet::default();
    let origin = Origin::Host(host.name.as_str().into());
    if let Some(name) = &host.hostname {
        set.put(code::HOST_NAME, name.as_bytes(), origin.clone());
    }
    set.lay_over(&host.options, &origin);
    set
}

/// What a client without a parameter request list gets first; the others follow by code.
const FIRST: [u8; 5] =
    [code::SUBNET_MASK, code::ROUTERS, code::DOMAIN_NAME_SERVERS, code::DOMAIN_NAME, code::BROADCAST_ADDRESS];

impl<'a> Layers<'a> {
    /// The option of this code that is in force: from the nearest level that says anything of it. None where no
    /// level does, and where the nearest one unsets it.
    pub fn get(&self, code: u8) -> Option<&'a Resolved> {
        let entry = self.host.and_then(|set| set.find(code)).or_else(|| {
            let of = |class: &usize| self.all_classes.get(*class)?.find(code);
            self.classes.iter().rev().find_map(of).or_else(|| self.place?.find(code))
        });
        entry?.value.as_ref()
    }

    /// Every option in force with its origin, by code; for `explain`.
    pub fn iter(&self) -> impl Iterator<Item = &'a Resolved> {
        let this = *self;
        self.codes(OptionSet::codes).iter().filter_map(move |code| this.get(code))
    }

    /// What a client gets that asked by this parameter request list, in its order and each once (RFC 2132 §9.8:
    /// "the server MAY return the options in the order requested"). Behind these stand, by code, the options that
    /// the configuration marks `always`.
    ///
    /// The subnet mask is sent when asked for, like every option: RFC 2131 table 3 does not require it. Where
    /// both it and the routers are sent, it goes first (RFC 2132 §3.3: MUST). A client that sends no list at
    /// all has not said that it wants nothing: it gets everything, the basics first. But nobody is told unasked to do
    /// without IPv4 (RFC 8925 §3.3).
    pub fn select(&self, list: Option<&[u8]>) -> Vec<(u8, &'a [u8])> {
        let mut chosen: Vec<(u8, &'a [u8])> = Vec::with_capacity(list.map_or(16, |list| list.len().min(64)));
        let mut seen = Codes::default();
        let routed = self.has_routes_for(list);
        for code in list.unwrap_or(&FIRST) {
            if seen.insert(*code)
                && let Some(entry) = self.get(*code)
                && (entry.always || !(routed && superseded(*code)))
            {
                chosen.push((*code, &entry.bytes));
            }
        }
        let rest = if list.is_some() { OptionSet::always } else { OptionSet::codes };
        for code in self.codes(rest).iter() {
            if let Some(entry) = self.get(code)
                && (entry.always || list.is_none() && code != code::V6_ONLY_PREFERRED)
                && seen.insert(code)
            {
                chosen.push((code, &entry.bytes));
            }
        }
        mask_before_routers(&mut chosen);
        chosen
    }

    /// The nearest first.
    fn levels(self) -> impl Iterator<Item = &'a OptionSet> {
        let classes = self.classes.iter().rev().filter_map(move |class| self.all_classes.get(*class));
        self.host.into_iter().chain(classes).chain(self.place)
    }

    /// The codes of all levels together.
    fn codes(self, of: impl Fn(&OptionSet) -> Codes) -> Codes {
        self.levels().fold(Codes::default(), |all, set| all.union(of(set)))
    }

    /// Whether the client asked for classless routes and gets them.
    fn has_routes_for(&self, list: Option<&[u8]>) -> bool {
        list.is_some_and(|list| list.contains(&code::CLASSLESS_ROUTES))
            && self.get(code::CLASSLESS_ROUTES).is_some()
    }
}

/// RFC 3442, page 5: to a client that requests classless routes and gets them, the server SHOULD NOT send routers
/// and static routes. Those marked `always` go out all the same: such a client ignores them.
fn superseded(code: u8) -> bool {
    matches!(code, code::ROUTERS | code::STATIC_ROUTES)
}

fn mask_before_routers(chosen: &mut [(u8, &[u8])]) {
    let at = |wanted: u8| chosen.iter().position(|(code, _)| *code == wanted);
    if let (Some(routers), Some(mask)) = (at(code::ROUTERS), at(code::SUBNET_MASK))
        && routers < mask
        && let Some(run) = chosen.get_mut(routers..=mask)
    {
        run.rotate_right(1);
    }
}
