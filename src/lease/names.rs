//! The names of subnets and pools as the cache keeps them: two bytes in each lease. Used by the cache alone.

use std::collections::HashMap;
use std::sync::Arc;

use super::cache::Spread;

/// Names of subnets and pools, each kept once.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: Vec<Arc<str>>,
    /// The names are the configuration's, so a quick hash will do.
    places: HashMap<Arc<str>, u16, Spread>,
    /// The two asked for last: neighbouring addresses are mostly of one subnet and one pool.
    recent: [u16; 2],
}

impl Names {
    /// Asked twice for each row, so there is no search through all of them. There are at most 65,535; those beyond, which only a
    /// lease file full of other configurations' names could have, are shown as empty.
    pub(super) fn place(&mut self, name: &str) -> u16 {
        let is = |place: &u16| self.all.get(usize::from(*place)).is_some_and(|known| **known == *name);
        if let Some(place) = self.recent.iter().copied().find(is) {
            return place;
        }
        let place = self.find(name);
        self.recent = [place, self.recent[0]];
        place
    }

    fn find(&mut self, name: &str) -> u16 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let Some(place) = u16::try_from(self.all.len()).ok().filter(|place| *place != u16::MAX) else {
            return u16::MAX;
        };
        let name: Arc<str> = name.into();
        self.all.push(Arc::clone(&name));
        self.places.insert(name, place);
        place
    }

    pub(super) fn get(&self, place: u16) -> Arc<str> {
        self.all.get(usize::from(place)).cloned().unwrap_or_else(|| "".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_kept_once_and_none_is_shown_as_another() {
        let mut names = Names::default();
        let places: Vec<u16> = (0..70_000).map(|n| names.place(&n.to_string())).collect();
        assert_eq!([0, 1, 65_534].map(|n: usize| names.place(&n.to_string())), [0, 1, 65_534]);
        assert_eq!([&*names.get(places[7]), &*names.get(places[65_534])], ["7", "65534"]);
        assert_eq!(&*names.get(places[69_999]), "");
        assert_eq!(names.all.len(), 65_535, "and no more however often they are asked for");
    }
}
