//! What a change of the configuration would do to leases: each is held against the configuration in force and against
//! the proposed one, by the pipeline's own judgement, and the differences are counted. Pure: leases in, counts out,
//! one lease at a time. For the command `config plan`.

mod judge;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Config;
use crate::lease::reader::{colons, printable};
use crate::lease::{Lease, PoolId};

use super::InterfaceInfo;
pub use judge::{Blind, Loss};
use judge::{Judge, Judged};
pub use terms::Difference;
use terms::{Levels, differences};

/// Leases that are named for each group.
const EXAMPLES: usize = 3;

/// The two configurations, and what was counted so far.
#[derive(Debug)]
pub struct Comparison {
    old: Judge,
    new: Judge,
    /// Leases and resting addresses, by pool.
    used: (HashMap<PoolId, u64>, HashMap<PoolId, u64>),
    total: u64,
    unaffected: u64,
    lost: BTreeMap<(String, String, &'static str), Group>,
    unserved: BTreeMap<(String, String, &'static str), Group>,
    changed: BTreeMap<(String, String, Rc<[Difference]>), Group>,
    /// What differs between two places, worked out once.
    known: HashMap<(Levels, Levels), Rc<[Difference]>>,
}

/// What the change would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeasePlan {
    /// Live leases that were looked at.
    pub total: u64,
    /// Those that notice nothing.
    pub unaffected: u64,
    /// Those that would lose their address, when their client renews at the latest.
    pub lost: Vec<LostGroup>,
    /// Those that would keep it on other terms.
    pub changed: Vec<ChangedGroup>,
    /// Those that the configuration in force does not serve either.
    pub unserved: Vec<LostGroup>,
    /// Pools of either configuration.
    pub pools: Vec<PoolPlan>,
    /// Classes that look at what a lease does not remember.
    pub blind: Vec<Blind>,
}

/// Leases that are lost for one reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LostGroup {
    /// The subnet now.
    pub subnet: String,
    /// The pool now; empty for a reservation.
    pub pool: String,
    /// Why, in a word that does not change.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<Example>,
}

/// Leases whose terms change in the same way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedGroup {
    /// The subnet now.
    pub subnet: String,
    /// The pool now; empty for a reservation.
    pub pool: String,
    /// What changes.
    pub changes: Vec<Difference>,
    /// How many leases.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<Example>,
}

/// One lease of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its client's hardware address, with colons.
    pub mac: String,
    /// Its client's name; empty if it sent none.
    pub hostname: String,
    /// The reason in full; empty where nothing is lost.
    pub detail: String,
}

/// A pool before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolPlan {
    /// Its subnet.
    pub subnet: String,
    /// Its name.
    pub pool: String,
    /// Now; none: there is no such pool.
    pub old: Option<Room>,
    /// Then; none: there is no such pool.
    pub new: Option<Room>,
}

/// The addresses of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Those that it can give out.
    pub addresses: u64,
    /// Those of them that nobody has. Leases that are lost count until they end.
    pub free: u64,
}

#[derive(Debug, Default)]
struct Group {
    count: u64,
    examples: Vec<Example>,
}

impl Comparison {
    /// Between two configurations that check out, each with the interfaces that it would serve now.
    pub fn new(old: (Arc<Config>, Vec<InterfaceInfo>), new: (Arc<Config>, Vec<InterfaceInfo>)) -> Self {
        Self {
            old: Judge::new(old.0, old.1),
            new: Judge::new(new.0, new.1),
            used: Default::default(),
            total: 0,
            unaffected: 0,
            lost: BTreeMap::new(),
            unserved: BTreeMap::new(),
            changed: BTreeMap::new(),
            known: HashMap::new(),
        }
    }

    /// Counts an address that rests: nobody gets it meanwhile.
    pub fn rest(&mut self, address: Ipv4Addr) {
        for (judge, used) in [(&self.old, &mut self.used.0), (&self.new, &mut self.used.1)] {
            if let Some(pool) = judge.pool_of(address) {
                *used.entry(pool).or_default() += 1;
            }
        }
    }

    /// Counts a lease that is live now.
    pub fn weigh(&mut self, lease: &Lease) {
        self.total += 1;
        self.rest(lease.address);
        let (old, new) = (self.old.judge(lease), self.new.judge(lease));
        let (subnet, pool) = self.old.names(lease);
        match (old, fate(self.old.ways(lease), &self.new, lease, new)) {
            (Err(loss), Err(_)) => {
                let group = self.unserved.entry((subnet, pool, loss.name())).or_default();
                add(group, lease, || self.old.text(loss));
            }
            (_, Err(loss)) => {
                let group = self.lost.entry((subnet, pool, loss.name())).or_default();
                add(group, lease, || self.new.text(loss));
            }
            // Whom nobody served gets an address now; what it had before is not known.
            (Err(_), Ok(_)) => self.unaffected += 1,
            (Ok(old), Ok(new)) => {
                let known = self.known.entry((old.levels, new.levels));
                let changes = known.or_insert_with_key(|(old, new)| {
                    differences(&self.old.terms(old), &self.new.terms(new)).into()
                });
                if changes.is_empty() {
                    self.unaffected += 1;
                } else {
                    let group = self.changed.entry((subnet, pool, Rc::clone(changes))).or_default();
                    add(group, lease, String::new);
                }
            }
        }
    }

    /// What was counted.
    pub fn finish(self) -> LeasePlan {
        let lost = |groups: BTreeMap<(String, String, &'static str), Group>| {
            let group = |((subnet, pool, reason), Group { count, examples })| LostGroup {
                subnet,
                pool,
                reason,
                count,
                examples,
            };
            groups.into_iter().map(group).collect()
        };
        let mut pools: BTreeMap<(String, String), PoolPlan> = BTreeMap::new();
        for (name, room) in self.old.rooms(&self.used.0) {
            entry(&mut pools, name).old = Some(room);
        }
        for (name, room) in self.new.rooms(&self.used.1) {
            entry(&mut pools, name).new = Some(room);
        }
        let changed = self.changed.into_iter().map(|((subnet, pool, changes), group)| ChangedGroup {
            subnet,
            pool,
            changes: changes.to_vec(),
            count: group.count,
            examples: group.examples,
        });
        let blind = self.new.blind();
        LeasePlan {
            total: self.total,
            unaffected: self.unaffected,
            lost: lost(self.lost),
            changed: changed.collect(),
            unserved: lost(self.unserved),
            pools: pools.into_values().collect(),
            blind,
        }
    }
}

/// What becomes of a lease. A way that the configuration in force knows and the proposed one does not is a loss; one
/// that neither can tell (a relay that selects the link, an interface that is not there) says nothing.
fn fate(old: judge::Ways, new: &Judge, lease: &Lease, judged: Result<Judged, Loss>) -> Result<Judged, Loss> {
    let judged = judged?;
    let ways = new.ways(lease);
    if old.arrives && !ways.arrives {
        return Err(Loss::Unreached);
    }
    if old.is_known && !ways.is_known {
        return Err(Loss::Identity);
    }
    Ok(judged)
}

fn entry(
    pools: &mut BTreeMap<(String, String), PoolPlan>,
    (subnet, pool): (String, String),
) -> &mut PoolPlan {
    let key = (subnet.clone(), pool.clone());
    pools.entry(key).or_insert(PoolPlan { subnet, pool, old: None, new: None })
}

fn add(group: &mut Group, lease: &Lease, detail: impl FnOnce() -> String) {
    group.count += 1;
    if group.examples.len() < EXAMPLES {
        group.examples.push(Example {
            ip: lease.address,
            mac: colons(lease.client.hardware.bytes()),
            hostname: lease.client.hostname.as_deref().map(printable).unwrap_or_default(),
            detail: detail(),
        });
    }
}
