//! What lies where in the shared memory, as a description that outlives the program: an upgrade in place hands the memory
//! to another version. Where that lays it out in the same way it goes on with the same memory; else it makes one of its
//! own, and what means the same in both is carried over ([`Carried`]).
//!
//! Whoever changes what the words of a part mean, without changing how many there are, raises its number in `form`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::metrics::{Counter, Gauge};
use super::shared::{
    HAPPENED_AT, HEADER, HISTORY_AT, NOTES_AT, POOLS_AT, REST_AT, SLOT_HEAD, SLOT_WORDS, SLOTS, SLOTS_AT,
    Shared,
};
use crate::events::Event;

/// The layout of one version's shared memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Where the slots begin, how many there are and how many words each has.
    slots: (usize, usize, usize),
    /// What a slot counts: the name and its words within the slot.
    counters: Vec<Cells>,
    /// What of a slot is forgotten with its process.
    gauges: Vec<Cells>,
    /// The rest.
    parts: Vec<Cells>,
}

/// Some words with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Cells {
    name: String,
    at: usize,
    words: usize,
    /// What the words mean: only cells of one form can be copied.
    form: u64,
}

impl Layout {
    /// This program's, with these regions at the end.
    pub fn of_this_program(regions: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        let named = |family: &str, labels: &[(&str, &str)]| format!("{family}{labels:?}");
        let cell = |name: String, at: usize| Cells { name, at, words: 1, form: 1 };
        let gauges_at = SLOT_HEAD + Counter::COUNT;
        let counters =
            Counter::ALL.iter().map(|one| cell(named(one.family(), one.labels()), SLOT_HEAD + *one as usize));
        let histograms = Histogram::ALL.iter().map(|one| Cells {
            name: named(one.family(), one.labels()),
            at: gauges_at + Gauge::COUNT + *one as usize * Histogram::WORDS,
            words: Histogram::WORDS,
            form: hash(one.bounds().iter().flat_map(|bound| bound.to_le_bytes())),
        });
        let gauges =
            Gauge::ALL.iter().map(|one| cell(named(one.family(), one.labels()), gauges_at + *one as usize));
        let part = |name: &str, from: usize, to: usize| Cells {
            name: name.to_owned(),
            at: from,
            words: to - from,
            form: form(name),
        };
        let mut parts = vec![
            part("header", 0, HEADER),
            part("pools", POOLS_AT, NOTES_AT),
            part("errors", NOTES_AT, HAPPENED_AT),
            part("events", HAPPENED_AT, HISTORY_AT),
            part("history", HISTORY_AT, REST_AT),
        ];
        let mut at = REST_AT;
        for (name, words) in regions {
            parts.push(part(name, at, at + words));
            at += words;
        }
        Self {
            slots: (SLOTS_AT, SLOTS, SLOT_WORDS),
            counters: counters.chain(histograms).collect(),
            gauges: gauges.collect(),
            parts,
        }
    }
}

/// What the words of a part mean. Those that hold numbers of table rows mean something else when the table changes.
fn form(part: &str) -> u64 {
    match part {
        "events" | "log-limits" => {
            hash(Event::ALL.iter().flat_map(|event| event.id().bytes().chain([b'\n'])))
        }
        "history" => hash(Counter::ALL.iter().flat_map(|one| format!("{one:?}\n").into_bytes())),
        _ => 1,
    }
}

/// FNV-1a: the same in every build, unlike the standard library's.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Memory of another layout in which workers of the version before still count.
///
/// Each slot of the old memory goes on in the slot of the same number in the new one, so a new worker must not be given
/// the slot of one that lives.
#[derive(Debug)]
pub struct Carried {
    old: &'static [AtomicU64],
    new: Shared,
    /// Words of both memories: (old, new), and what of the old one was carried already.
    counters: Vec<(usize, usize, u64)>,
    /// Words of both memories by slot.
    gauges: Vec<(usize, usize, usize)>,
    parts: Vec<(usize, usize, usize)>,
}

impl Carried {
    /// Carries over everything that means the same in both memories. Nothing may count in `new` before.
    pub fn begin(old: &'static [AtomicU64], theirs: &Layout, new: Shared, ours: &Layout) -> Self {
        let both = |theirs: &[Cells], ours: &[Cells]| -> Vec<(usize, usize, usize)> {
            let same = |one: &Cells| {
                let found = ours.iter().find(|other| {
                    (&one.name, one.words, one.form) == (&other.name, other.words, other.form)
                })?;
                Some((one.at, found.at, one.words))
            };
            theirs.iter().filter_map(same).collect()
        };
        let (their_at, their_count, their_words) = theirs.slots;
        let (our_at, our_count, our_words) = ours.slots;
        let starts = |slot: usize| (their_at + slot * their_words, our_at + slot * our_words);
        let slots = 0..their_count.min(our_count);
        let mut carried = Self { old, new, counters: Vec::new(), gauges: Vec::new(), parts: Vec::new() };
        for slot in slots {
            let (from, to) = starts(slot);
            for (at, there, words) in both(&theirs.counters, &ours.counters) {
                carried.counters.extend((0..words).map(|word| (from + at + word, to + there + word, 0)));
            }
            for (at, there, _) in both(&theirs.gauges, &ours.gauges) {
                carried.gauges.push((slot, from + at, to + there));
            }
        }
        carried.parts = both(&theirs.parts, &ours.parts);
        carried.copy_parts();
        carried.follow(|_| false);
        carried
    }

    /// Carries what was counted since the last time; for slots whose process of the old version `lives`, what it holds
    /// too.
    pub fn follow(&mut self, lives: impl Fn(usize) -> bool) {
        let new = self.new.words();
        for (from, to, taken) in &mut self.counters {
            if let (Some(from), Some(to)) = (self.old.get(*from), new.get(*to)) {
                let now = from.load(Relaxed);
                if now > *taken {
                    to.fetch_add(now - *taken, Relaxed);
                    *taken = now;
                }
            }
        }
        for (_, from, to) in self.gauges.iter().filter(|(slot, _, _)| lives(*slot)) {
            if let (Some(from), Some(to)) = (self.old.get(*from), new.get(*to)) {
                to.store(from.load(Relaxed), Relaxed);
            }
        }
    }

    /// Copies the parts that mean the same: once more when the old workers have stopped and the new ones have not begun,
    /// so that what was offered last is known to them.
    pub fn copy_parts(&self) {
        let new = self.new.words();
        for (from, to, words) in &self.parts {
            if let (Some(from), Some(to)) = (self.old.get(*from..from + words), new.get(*to..to + words)) {
                for (from, to) in from.iter().zip(to) {
                    to.store(from.load(Relaxed), Relaxed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stats::Occupant;

    fn ours() -> Layout {
        Layout::of_this_program([("offers", 10), ("rates", 5)])
    }

    /// An older version: without the first counter and with smaller slots, other regions before ours.
    fn theirs() -> Layout {
        let mut layout = ours();
        layout.counters.remove(0);
        for cells in layout.counters.iter_mut().chain(&mut layout.gauges) {
            cells.at -= 1;
        }
        layout.slots = (SLOTS_AT, SLOTS - 6, SLOT_WORDS - 1);
        for part in &mut layout.parts[1..] {
            part.at -= SLOT_WORDS;
        }
        layout.parts.last_mut().unwrap().form = 2;
        layout
    }

    #[test]
    fn layout_survives_its_own_text_and_parts_do_not_overlap() {
        let layout = ours();
        let text = serde_json::to_string(&layout).unwrap();
        assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), layout);
        for pair in layout.parts[1..].windows(2) {
            assert_eq!(pair[0].at + pair[0].words, pair[1].at, "{pair:?}");
        }
        assert_ne!(ours(), theirs());
    }

    #[test]
    fn counters_of_another_layout_go_on_by_name_and_never_twice() {
        let (old, new) = (Shared::create(15).unwrap(), Shared::create(15).unwrap());
        let (theirs, ours) = (theirs(), ours());
        let acks = |of: &Layout| of.counters.iter().find(|one| one.name.contains("ack")).unwrap().at;
        let word = |slot: usize| &old.words()[SLOTS_AT + slot * (SLOT_WORDS - 1) + acks(&theirs)];
        word(3).store(7, Relaxed);
        let mut carried = Carried::begin(old.words(), &theirs, new, &ours);
        assert_eq!((new.counter(Counter::AckOut), new.slot(3).counter(Counter::AckOut)), (7, 7));
        new.slot(4).add(Counter::AckOut, 10);
        word(3).store(9, Relaxed);
        carried.follow(|_| true);
        carried.follow(|_| true);
        assert_eq!(new.counter(Counter::AckOut), 19);
        assert_eq!(Counter::ALL.iter().map(|one| new.counter(*one)).sum::<u64>(), 19, "nothing else counts");
    }

    #[test]
    fn gauges_of_those_who_live_and_parts_of_one_form_are_carried() {
        let (old, new) = (Shared::create(15).unwrap(), Shared::create(15).unwrap());
        let (theirs, ours) = (theirs(), ours());
        let clients = theirs.gauges.iter().find(|one| one.name.contains("tcp_clients")).unwrap().at;
        for slot in [2, 3] {
            old.words()[SLOTS_AT + slot * (SLOT_WORDS - 1) + clients].store(4, Relaxed);
        }
        let part = |name: &str| theirs.parts.iter().find(|one| one.name == name).unwrap().at;
        old.words()[part("offers") + 9].store(77, Relaxed);
        old.words()[part("rates")].store(88, Relaxed);
        let mut carried = Carried::begin(old.words(), &theirs, new, &ours);
        let occupant = Occupant { kind: 1, index: 0, pid: 9, generation: 1, started: Duration::from_secs(1) };
        new.slot(3).occupy(&occupant);
        carried.follow(|slot| slot == 3);
        assert_eq!(new.gauge(Gauge::TcpClients), 4);
        assert_eq!(new.rest()[9].load(Relaxed), 77);
        assert_eq!(new.rest()[10].load(Relaxed), 0, "another form");
    }
}
