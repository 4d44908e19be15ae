//! One spelling for what can be said in two ways, so that sources which chose different ones still merge.
//!
//! Works on the tree of one source, before the merge. Called for every source.

use figment::value::{Dict, Value};

/// What can be said under two names: section, further name, the name that the program reads.
const ALIASES: &[(&str, &str, &str)] = &[("udp", "port", "udp_port")];

/// The further names of keys in `section`.
pub(super) fn aliases_in(section: &str) -> impl Iterator<Item = &'static str> {
    ALIASES.iter().filter(move |(of, ..)| *of == section).map(|(_, alias, _)| *alias)
}

/// Every key of `section` that has a further name: that name, then the key.
pub(super) fn renamed_in(section: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    ALIASES.iter().filter(move |(of, ..)| *of == section).map(|(_, alias, key)| (*alias, *key))
}

/// A further name that a source used.
pub(super) struct Alias {
    /// The key as written.
    pub(super) written: String,
    /// The key that the program reads.
    pub(super) key: String,
    /// Whether the source has `key` too; then what was `written` is dropped.
    pub(super) doubled: bool,
}

/// Gives every value the name that the program reads, and tells which had another.
pub(super) fn rename_aliases(dict: &mut Dict) -> Vec<Alias> {
    let mut used = Vec::new();
    for (section, alias, key) in ALIASES {
        let Some(Value::Dict(_, dict)) = dict.get_mut(*section) else { continue };
        let Some(value) = dict.remove(*alias) else { continue };
        let doubled = dict.contains_key(*key);
        if !doubled {
            dict.insert((*key).to_owned(), value);
        }
        used.push(Alias { written: format!("{section}.{alias}"), key: format!("{section}.{key}"), doubled });
    }
    used
}

/// `lease_time: 2h` means `lease_time: {default: 2h}`; said so before the merge, a later source may still add to it.
pub(super) fn spell_out_lease_times(dict: &mut Dict) {
    let Some(Value::Dict(_, dhcp)) = dict.get_mut("dhcp") else { return };
    spell_out_lease_time(dhcp);
    sections(dhcp, "classes").for_each(spell_out_lease_time);
    for subnet in sections(dhcp, "subnets") {
        spell_out_lease_time(subnet);
        sections(subnet, "pools").for_each(spell_out_lease_time);
        sections(subnet, "hosts").for_each(spell_out_lease_time);
    }
}

fn spell_out_lease_time(dict: &mut Dict) {
    if let Some(value) = dict.get_mut("lease_time")
        && !matches!(value, Value::Dict(..) | Value::Empty(..))
    {
        let default = Dict::from([("default".to_owned(), value.clone())]);
        *value = default.into();
    }
}

fn sections<'a>(dict: &'a mut Dict, key: &str) -> impl Iterator<Item = &'a mut Dict> {
    let inner = match dict.get_mut(key) {
        Some(Value::Dict(_, inner)) => Some(inner),
        _ => None,
    };
    let dict_of = |value| match value {
        &mut Value::Dict(_, ref mut dict) => Some(dict),
        _ => None,
    };
    inner.into_iter().flat_map(Dict::values_mut).filter_map(dict_of)
}
