//! Classes: which of them a message belongs to, and what that means for the pools. Conditions are worked out once a
//! generation; they see the message and what a relay told of its sender, never a lease. Called by the scope stage and
//! for `explain`.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use crate::config::Config;
use crate::config::model::{Condition, Field};
use crate::config::pattern::Pattern;
use crate::lease::PoolId;
use crate::protocol::DhcpMessage;

use super::fits;

/// The classes of a configuration, in the order in which they are applied.
#[derive(Debug, Default)]
pub struct Classes {
    rules: Vec<Rule>,
    /// By [`PoolId`]: the classes that open it; none for a pool that is open to everybody.
    gates: Vec<Option<Box<[usize]>>>,
}

#[derive(Debug)]
struct Rule {
    condition: Condition,
    drop: bool,
}

/// The classes that a message belongs to, by their places in `config.dhcp.classes`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassSet {
    /// The first 64, which no packet has to get memory for.
    few: u64,
    /// The others, a bit each.
    more: Box<[u64]>,
}

/// What conditions are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) message: &'a DhcpMessage<'a>,
    /// Option 82.1, as the relay says or as it is remembered.
    pub(super) circuit_id: Option<&'a [u8]>,
    /// Option 82.2, likewise.
    pub(super) remote_id: Option<&'a [u8]>,
    /// giaddr, likewise.
    pub(super) relay: Option<Ipv4Addr>,
    /// The name of the interface that the message came in by.
    pub(super) interface: &'a str,
}

impl Classes {
    /// Pools are numbered as in [`crate::lease::Topology`]: subnet by subnet.
    pub fn new(config: &Config) -> Self {
        let classes = &config.dhcp.classes;
        let rules = classes.iter().map(|class| Rule { condition: class.condition.clone(), drop: class.drop });
        let place = |name: &String| classes.iter().position(|class| class.name == *name);
        let pools = config.dhcp.subnets.iter().flat_map(|subnet| &subnet.pools);
        // A gate whose classes are all unknown (the loader refuses that) would let nobody in.
        let gate = |names: &[String]| (!names.is_empty()).then(|| names.iter().filter_map(place).collect());
        Self { rules: rules.collect(), gates: pools.map(|pool| gate(&pool.classes)).collect() }
    }

    /// The classes that a message belongs to.
    pub(super) fn of(&self, facts: &Facts<'_>) -> ClassSet {
        let words = self.rules.len().div_ceil(64).saturating_sub(1);
        let mut set = ClassSet { few: 0, more: vec![0; words].into() };
        for (place, rule) in self.rules.iter().enumerate() {
            if holds(&rule.condition, facts) {
                set.insert(place);
            }
        }
        set
    }

    /// Whether one of the classes is answered with silence.
    pub fn drops(&self, set: &ClassSet) -> bool {
        set.iter().any(|place| self.rules.get(place).is_some_and(|rule| rule.drop))
    }

    /// Whether a pool is open to members of these classes.
    pub fn admits(&self, pool: PoolId, set: &ClassSet) -> bool {
        match self.gate(pool) {
            None => true,
            Some(gate) => gate.iter().any(|place| set.contains(*place)),
        }
    }

    /// Those of `all` that are open to members of these classes; the gated ones first, for they were made for them.
    pub fn pools<'a>(&self, all: &'a [PoolId], set: &ClassSet) -> Cow<'a, [PoolId]> {
        if all.iter().all(|pool| self.gate(*pool).is_none()) {
            return Cow::Borrowed(all);
        }
        let mut open: Vec<PoolId> = all.iter().copied().filter(|pool| self.admits(*pool, set)).collect();
        open.sort_by_key(|pool| self.gate(*pool).is_none());
        Cow::Owned(open)
    }

    fn gate(&self, pool: PoolId) -> Option<&[usize]> {
        self.gates.get(usize::from(pool.0))?.as_deref()
    }
}

impl ClassSet {
    /// Whether the class at this place is one of them.
    pub fn contains(&self, place: usize) -> bool {
        self.word(place / 64) >> (place % 64) & 1 == 1
    }

    /// Their places, rising: the order in which they are applied.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..=self.more.len()).flat_map(|word| {
            let mut bits = self.word(word);
            std::iter::from_fn(move || {
                let bit = usize::try_from(bits.trailing_zeros()).ok().filter(|bit| *bit < 64)?;
                bits &= bits - 1;
                Some(word * 64 + bit)
            })
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.few == 0 && self.more.iter().all(|word| *word == 0)
    }

    fn word(&self, word: usize) -> u64 {
        match word.checked_sub(1) {
            None => self.few,
            Some(more) => self.more.get(more).copied().unwrap_or(0),
        }
    }

    fn insert(&mut self, place: usize) {
        let word = match (place / 64).checked_sub(1) {
            None => Some(&mut self.few),
            Some(more) => self.more.get_mut(more),
        };
        if let Some(word) = word {
            *word |= 1 << (place % 64);
        }
    }
}

/// As deep as the file nests them, which the loader bounds.
fn holds(condition: &Condition, facts: &Facts<'_>) -> bool {
    match condition {
        Condition::All(all) => all.iter().all(|one| holds(one, facts)),
        Condition::Any(any) => any.iter().any(|one| holds(one, facts)),
        Condition::Not(one) => !holds(one, facts),
        Condition::Field(field, patterns) => patterns.iter().any(|pattern| has(*field, pattern, facts)),
    }
}

/// What is not there fits nothing.
fn has(field: Field, pattern: &Pattern, facts: &Facts<'_>) -> bool {
    let message = facts.message;
    let option = |code: u8| message.option(code);
    let is = |field: Option<&[u8]>| field.is_some_and(|field| fits::bytes(pattern, field));
    match field {
        Field::Mac => fits::colons(pattern, message.hardware().bytes()),
        Field::VendorClass => is(message.vendor_class()),
        Field::UserClass => is(message.user_class()) || message.user_class_parts().any(|part| is(Some(part))),
        Field::ClientId => {
            is(message.client_id()) || message.client_id().is_some_and(|id| fits::colons(pattern, id))
        }
        Field::Hostname => message.hostname().is_some_and(|name| fits::any_case(pattern, name)),
        Field::Architecture => {
            message.architectures().any(|number| fits::either(pattern, &number.to_be_bytes(), number))
        }
        Field::CircuitId => is(facts.circuit_id),
        Field::RemoteId => is(facts.remote_id),
        Field::Relay => facts.relay.is_some_and(|relay| fits::either(pattern, &relay.octets(), relay)),
        Field::Interface => is(Some(facts.interface.as_bytes())),
        Field::Option(code) => is(option(code)),
    }
}
