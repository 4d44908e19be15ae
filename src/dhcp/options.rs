//! `OptionsManager`: which options a client gets. Compiled once per generation: every level is encoded and laid
//! over the one above it, option by option, so that a packet only filters.
//!
//! ```text
//! derived from the subnet → global → subnet → pool      the nearest wins; its origin is kept for `explain`
//! ```

use std::sync::Arc;

use crate::config::Config;
use crate::config::model::{Options, Subnet};
use crate::lease::{PoolId, SubnetId};
use crate::protocol::code;
use crate::protocol::options::OptionValue;

/// The compiled options of every subnet and pool.
#[derive(Debug)]
pub struct OptionsManager {
    subnets: Vec<OptionSet>,
    pools: Vec<OptionSet>,
}

/// The options of one place, ordered by code.
#[derive(Debug, Clone, Default)]
pub struct OptionSet {
    entries: Vec<Resolved>,
}

/// One option with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its number.
    pub code: u8,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// The level that it was set at.
    pub origin: Origin,
}

/// The level that an option was set at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Follows from the subnet's prefix.
    Derived,
    /// `dhcp.options`.
    Global,
    /// The subnet of this name.
    Subnet(Arc<str>),
    /// The pool of this name.
    Pool(Arc<str>),
}

impl OptionsManager {
    /// Compiles a configuration that [`crate::protocol::options::check()`] has passed; a value that does not
    /// encode would have been refused there and is left out here.
    pub fn new(config: &Config) -> Self {
        let mut manager = Self { subnets: Vec::new(), pools: Vec::new() };
        for subnet in &config.dhcp.subnets {
            let mut set = OptionSet::derived(subnet);
            set.lay_over(&config.dhcp.common.options, &Origin::Global);
            set.lay_over(&subnet.common.options, &Origin::Subnet(subnet.name.as_str().into()));
            for pool in &subnet.pools {
                let mut set = set.clone();
                set.lay_over(&pool.options, &Origin::Pool(pool.name.as_str().into()));
                manager.pools.push(set);
            }
            manager.subnets.push(set);
        }
        manager
    }

    /// For an address of a pool.
    pub fn of_pool(&self, pool: PoolId) -> Option<&OptionSet> {
        self.pools.get(usize::from(pool.0))
    }

    /// For an address of a subnet that is in no pool (INFORM).
    pub fn of_subnet(&self, subnet: SubnetId) -> Option<&OptionSet> {
        self.subnets.get(usize::from(subnet.0))
    }
}

/// What a client without a parameter request list gets first; the others follow by code.
const FIRST: [u8; 5] =
    [code::SUBNET_MASK, code::ROUTERS, code::DOMAIN_NAME_SERVERS, code::DOMAIN_NAME, code::BROADCAST_ADDRESS];

impl OptionSet {
    /// Mask and broadcast address, which the prefix gives away.
    fn derived(subnet: &Subnet) -> Self {
        let mut set = Self::default();
        set.put(code::SUBNET_MASK, &subnet.network.mask().octets(), Origin::Derived);
        if let Some(broadcast) = subnet.network.broadcast() {
            set.put(code::BROADCAST_ADDRESS, &broadcast.octets(), Origin::Derived);
        }
        set
    }

    fn lay_over(&mut self, options: &Options, origin: &Origin) {
        for (name, value) in options {
            if let Ok(option) = OptionValue::from_config(name, value) {
                self.put(option.code, &option.bytes, origin.clone());
            }
        }
    }

    fn put(&mut self, code: u8, bytes: &[u8], origin: Origin) {
        let resolved = Resolved { code, bytes: bytes.into(), origin };
        match self.entries.binary_search_by_key(&code, |entry| entry.code) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    *entry = resolved;
                }
            }
            Err(at) => self.entries.insert(at, resolved),
        }
    }

    /// The option of this code.
    pub fn get(&self, code: u8) -> Option<&Resolved> {
        self.entries.binary_search_by_key(&code, |entry| entry.code).ok().and_then(|at| self.entries.get(at))
    }

    /// All options by code, for `explain`.
    pub fn iter(&self) -> impl Iterator<Item = &Resolved> {
        self.entries.iter()
    }

    /// What a client gets that asked by this parameter request list, in its order and each once (RFC 2132 §9.8:
    /// "the server MAY return the options in the order requested").
    ///
    /// The subnet mask is sent when asked for, like every option: RFC 2131 table 3 does not require it. Where
    /// both it and the routers are sent, it goes first (RFC 2132 §3.3: MUST). A client that sends no list at
    /// all has not said that it wants nothing: it gets everything, the basics first.
    pub fn select(&self, list: Option<&[u8]>) -> Vec<(u8, &[u8])> {
        let mut chosen: Vec<(u8, &[u8])> = Vec::with_capacity(self.entries.len());
        let mut seen = [false; 256];
        let first = list.unwrap_or(&FIRST).iter().filter_map(|code| self.get(*code));
        let rest = if list.is_some() { &[][..] } else { self.entries.as_slice() };
        for entry in first.chain(rest) {
            if let Some(seen) = seen.get_mut(usize::from(entry.code))
                && !std::mem::replace(seen, true)
            {
                chosen.push((entry.code, &entry.bytes));
            }
        }
        mask_before_routers(&mut chosen);
        chosen
    }
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
