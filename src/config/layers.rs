//! The stack of sources while they are merged, key by key: later ones hide earlier ones.
//!
//! Owns the merge (by figment, which keeps with each value the layer that it came from). Knows no key and no format.
//! Filled by the sources, from the lowest to the highest.

use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};

use super::places::{Base, Places};
use super::report::{Place, Problem, Report};

/// Sources that have been read, lowest first.
#[derive(Clone)]
pub(super) struct Layers {
    figment: Figment,
    base: Base,
    /// Where the values of each layer over the base were said.
    above: Vec<Place>,
}

/// All layers as one.
pub(super) struct Merged {
    pub(super) tree: Dict,
    pub(super) places: Places,
}

impl Layers {
    /// `base` tells where the values of `dict` were said.
    pub(super) fn new(base: Base, dict: Dict) -> Self {
        Self { figment: Figment::new().merge(Layer { position: 0, dict }), base, above: Vec::new() }
    }

    /// Adds values that were said at `place` and hide those of all layers before.
    pub(super) fn push(&mut self, place: Place, dict: Dict) {
        self.above.push(place);
        let layer = Layer { position: self.above.len(), dict };
        self.figment = std::mem::take(&mut self.figment).merge(layer);
    }

    /// The merged values. Errors: figment's own, of which none is known for layers that are trees already.
    pub(super) fn tree(&self) -> Result<Dict, Report> {
        let merged =
            self.figment.data().map_err(|error| Report::from(Problem::of_file("", error.to_string())))?;
        Ok(merged.into_values().next().unwrap_or_default())
    }

    /// The merged values and where each was said. Errors: as `tree`.
    pub(super) fn merged(&self) -> Result<Merged, Report> {
        let tree = self.tree()?;
        let layer_of = |tag| self.figment.get_metadata(tag).and_then(|data| data.name.parse().ok());
        let places = Places::new(self.base.clone(), self.above.clone(), &tree, layer_of);
        Ok(Merged { tree, places })
    }
}

/// One source as figment takes it.
struct Layer {
    /// Its position among the layers, by which its values are known again.
    position: usize,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.position.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}
