//! What clients asked for lately, as the bytes that they got. Most clients of a pool send the same parameter request list,
//! so the options of a reply are laid down once and then copied. A pipeline never changes, so nothing here ever goes stale;
//! there is one for each worker, of bounded size. Used by the options manager alone.

use std::cell::{RefCell, RefMut};

use crate::lease::hash::sip13;
use crate::protocol::{Codes, encode};

use super::{Layers, PlaceRef};

/// How many are remembered; a power of two.
const SLOTS: usize = 256;
/// Longer lists are answered, but not remembered: a usual one has 10 to 20 codes.
const LIST_BYTES: usize = 64;
/// Nor are more bytes than a frame holds.
const BLOCK_BYTES: usize = 1500;
/// No secret is needed: who makes lists meet in one slot has them laid down each time, and nothing else.
const KEY: (u64, u64) = (0, 0);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Menus {
    /// By the hash of what was asked; whoever comes later stays.
    slots: RefCell<Vec<Menu>>,
}

/// What one parameter request list brings, at one place for members of the same classes.
#[derive(Debug, Clone, Default)]
pub struct Menu {
    /// None: nothing is remembered here.
    place: Option<PlaceRef>,
    classes: Vec<usize>,
    host: Option<(usize, usize)>,
    has_list: bool,
    list: Vec<u8>,
    codes: Codes,
    block: Vec<u8>,
}

impl Menus {
    pub(super) fn get(&self, layers: &Layers<'_>, list: Option<&[u8]>) -> RefMut<'_, Menu> {
        let mut slots = self.slots.borrow_mut();
        if slots.is_empty() {
            // Not before the first packet: a pipeline for a dry run answers one.
            slots.resize(SLOTS, Menu::default());
        }
        let slot = slot(layers, list);
        // There are SLOTS of them, and the slot is below that.
        let menu = RefMut::map(slots, |slots| &mut slots[slot]);
        if menu.is_for(layers, list) { menu } else { RefMut::map(menu, |menu| menu.fill(layers, list)) }
    }
}

impl Default for Menus {
    fn default() -> Self {
        Self { slots: RefCell::new(Vec::new()) }
    }
}

impl Menu {
    /// Which options these are.
    pub fn codes(&self) -> Codes {
        self.codes
    }

    /// Their bytes, code and length before each.
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    fn is_for(&self, layers: &Layers<'_>, list: Option<&[u8]>) -> bool {
        self.place == Some(layers.at)
            && self.has_list == list.is_some()
            && self.list == list.unwrap_or_default()
            && self.classes == layers.classes
            && self.host == layers.host_at
    }

    fn fill(&mut self, layers: &Layers<'_>, list: Option<&[u8]>) -> &mut Self {
        *self = Self::default();
        for (code, data) in layers.select(list) {
            self.codes.insert(code);
            encode::put(code, data, &mut self.block);
        }
        if list.is_none_or(|list| list.len() <= LIST_BYTES) && self.block.len() <= BLOCK_BYTES {
            self.place = Some(layers.at);
            self.classes.extend_from_slice(layers.classes);
            self.host = layers.host_at;
            self.has_list = list.is_some();
            self.list.extend_from_slice(list.unwrap_or_default());
        }
        self
    }
}

fn slot(layers: &Layers<'_>, list: Option<&[u8]>) -> usize {
    let place = match layers.at {
        PlaceRef::Pool(id) => u64::from(id.0),
        PlaceRef::Subnet(id) => 1 << 16 | u64::from(id.0),
    };
    let host = layers.host_at.map_or(0, |(subnet, host)| (subnet as u64) << 32 ^ host as u64 ^ 1 << 63);
    let mixed =
        layers.classes.iter().fold(place, |mixed, class| mixed.rotate_left(7) ^ *class as u64 ^ 1 << 20);
    let hash = sip13(KEY.0 ^ mixed, KEY.1 ^ host, list.unwrap_or_default());
    usize::try_from(hash % SLOTS as u64).unwrap_or(0)
}
