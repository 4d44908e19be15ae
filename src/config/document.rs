//! The merged configuration for people and programs: each value as it was said, and where it was said.
//!
//! Made with the typed configuration, from the same tree; shown by `config show` and the control API, kept in the
//! cache of the configuration in force. Decides nothing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use figment::value::{Dict, Value};
use serde::{Deserialize, Serialize};

use super::places::Places;
use super::report::Place;
use super::tree;

/// A merged configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Document {
    /// The values, keyed as in a configuration file.
    pub values: serde_json::Map<String, serde_json::Value>,
    /// Where each value was said, by its dotted key; lists count as one value.
    pub origins: BTreeMap<String, Place>,
}

impl Document {
    /// Of a merged tree.
    pub(super) fn new(tree: &Dict, places: &Places) -> Self {
        let mut document = Self::default();
        for (name, value) in tree {
            document.values.insert(name.clone(), tree::to_json(value));
        }
        document.note(tree, "", places);
        document
    }

    fn note(&mut self, dict: &Dict, path: &str, places: &Places) {
        for (name, value) in dict {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match value {
                Value::Dict(_, inner) if !inner.is_empty() => self.note(inner, &key, places),
                _ => {
                    self.origins.insert(key.clone(), places.origin(&key));
                }
            }
        }
    }

    /// Where `key` was said: its own place, or the first of those within a section; none where nobody says it.
    pub(super) fn place_of(&self, key: &str) -> Option<&Place> {
        let inner = format!("{key}.");
        let within =
            || self.origins.range(inner.clone()..).next().filter(|(name, _)| name.starts_with(&inner));
        self.origins.get(key).or_else(|| within().map(|(_, place)| place))
    }

    /// The value of `key`, if somebody says it.
    pub(super) fn value_of(&self, key: &str) -> Option<&serde_json::Value> {
        let mut words = key.split('.');
        let first = self.values.get(words.next()?)?;
        words.try_fold(first, |value, word| value.get(word))
    }

    /// The value of a dotted key.
    pub fn find(&self, key: &str) -> Option<&serde_json::Value> {
        super::changes::find(&self.values, key)
    }

    /// A word that changes whenever a value does: the entity tag of the API (RFC 9110 §8.8.3), without its quotes.
    pub fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        // A map of serde_json is sorted by key, so equal values have equal text.
        serde_json::Value::Object(self.values.clone()).to_string().hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}
