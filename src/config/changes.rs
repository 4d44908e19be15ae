//! What differs between two configurations: keys, as people wrote them, and sockets. For `config plan`; decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::document::Document;
use super::model::Config;
use super::restart::changes_needing_restart;

/// A key whose value changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyChange {
    /// The dotted key; a whole subnet, pool, host or class that comes or goes is one change.
    pub key: String,
    /// The value now; none: nothing is there.
    pub old: Option<Value>,
    /// Whether `old` is a default that nobody wrote.
    pub old_is_default: bool,
    /// The value then; none: nothing is there.
    pub new: Option<Value>,
    /// Whether `new` is a default that nobody wrote.
    pub new_is_default: bool,
    /// Whether it takes a restart: a reload is refused.
    pub restart: bool,
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What is in force or would be.
    pub config: &'a Config,
    /// The same as it was written.
    pub document: &'a Document,
}

/// Sections whose keys are names that the user chose; what has a new name is there as a whole.
const NAMED: [&str; 4] = ["subnets", "pools", "hosts", "classes"];

/// The keys whose values differ in effect, in their order. Another way to write the same value is no change.
pub fn changes(old: Side<'_>, new: Side<'_>) -> Vec<KeyChange> {
    let typed = |side: Side<'_>| serde_json::to_value(side.config).unwrap_or_default();
    let (old_typed, new_typed) = (typed(old), typed(new));
    let (old_keys, new_keys) = (flat(&old.document.values), flat(&new.document.values));
    let restart: BTreeSet<&str> = changes_needing_restart(old.config, new.config).into_iter().collect();
    let mut found: BTreeMap<String, KeyChange> = BTreeMap::new();
    let keys: BTreeSet<&String> = old_keys.keys().chain(new_keys.keys()).collect();
    for key in keys {
        if old_keys.get(key) == new_keys.get(key) {
            continue;
        }
        let key = whole(key, &old.document.values, &new.document.values);
        if !found.contains_key(key)
            && let Some(change) = change(key, (old, &old_typed), (new, &new_typed))
        {
            found.insert(key.to_owned(), change);
        }
    }
    for key in restart {
        // A default may change with the place of the file.
        if !found.contains_key(key)
            && let Some(change) = change(key, (old, &old_typed), (new, &new_typed))
        {
            found.insert(key.to_owned(), change);
        }
        if let Some(change) = found.get_mut(key) {
            change.restart = true;
        }
    }
    found.into_values().collect()
}

fn change(key: &str, old: (Side<'_>, &Value), new: (Side<'_>, &Value)) -> Option<KeyChange> {
    let (old_effect, new_effect) = (effect(old.1, key), effect(new.1, key));
    if old_effect.is_some() && old_effect == new_effect {
        return None;
    }
    let shown = |(side, _): (Side<'_>, &Value), effect: Option<&Value>| {
        let written = find(&side.document.values, key).cloned();
        let is_default = written.is_none() && effect.is_some();
        (written.or_else(|| effect.map(plain)), is_default)
    };
    let (old, old_is_default) = shown(old, old_effect);
    let (new, new_is_default) = shown(new, new_effect);
    Some(KeyChange { key: key.to_owned(), old, old_is_default, new, new_is_default, restart: false })
}

/// Every value that is no section, by its dotted key.
fn flat(values: &Map<String, Value>) -> BTreeMap<String, &Value> {
    fn into<'v>(values: &'v Map<String, Value>, path: &str, all: &mut BTreeMap<String, &'v Value>) {
        for (name, value) in values {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match value {
                Value::Object(inner) if !inner.is_empty() => into(inner, &key, all),
                _ => {
                    all.insert(key, value);
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    into(values, "", &mut all);
    all
}

/// `key` itself, or the named thing around it that only one of the two sides has.
fn whole<'k>(key: &'k str, old: &Map<String, Value>, new: &Map<String, Value>) -> &'k str {
    let mut named = false;
    let ends = key.match_indices('.').map(|(end, _)| end).chain([key.len()]);
    let mut start = 0;
    for end in ends {
        let Some((outer, word)) = key.get(..end).zip(key.get(start..end)) else { return key };
        if named && find(old, outer).is_some() != find(new, outer).is_some() {
            return outer;
        }
        named = NAMED.contains(&word);
        start = end + 1;
    }
    key
}

/// The value of a dotted key.
pub(super) fn find<'v>(values: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    // A name may hold a dot itself, as an option's or a module's does.
    if let Some(value) = values.get(key) {
        return Some(value);
    }
    key.match_indices('.').find_map(|(dot, _)| {
        let inner = values.get(key.get(..dot)?)?.as_object()?;
        find(inner, key.get(dot + 1..)?)
    })
}

/// The value in force: the typed configuration has lists of named things, and levels of its own for what is inherited.
fn effect<'v>(typed: &'v Value, key: &str) -> Option<&'v Value> {
    let (word, rest) = key.split_once('.').map_or((key, None), |(word, rest)| (word, Some(rest)));
    let inner = match typed {
        Value::Object(map) => {
            let levels = ["common", "boot"].into_iter().filter_map(|level| map.get(level)?.get(word));
            map.get(word).into_iter().chain(levels).next()?
        }
        Value::Array(items) => items.iter().find(|item| item.get("name").is_some_and(|name| name == word))?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    rest.map_or(Some(inner), |rest| effect(inner, rest))
}

/// A value in force as it would be written: durations are kept as seconds and nanoseconds.
fn plain(value: &Value) -> Value {
    match (value.get("secs").and_then(Value::as_u64), value.get("nanos").and_then(Value::as_u64)) {
        (Some(secs), Some(nanos)) => super::units::show_duration(
            std::time::Duration::from_secs(secs) + std::time::Duration::from_nanos(nanos),
        )
        .into(),
        _ => value.clone(),
    }
}

/// Every socket that services listen on, as it is shown to people.
pub fn sockets(config: &Config) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    if config.tcp.enabled {
        let at = |address| std::net::SocketAddr::new(address, config.tcp.port);
        all.extend(config.tcp.address.iter().map(|address| format!("TCP echo {}", at(*address))));
    }
    if config.udp.enabled {
        let at = |address| std::net::SocketAddr::new(address, config.udp.udp_port);
        all.extend(config.udp.address.iter().map(|address| format!("UDP echo {}", at(*address))));
    }
    all.extend(config.api.listen.map(|listen| format!("control API {listen}")));
    if config.dhcp.enabled {
        let port = config.dhcp.port;
        all.extend(config.dhcp.interfaces.iter().map(|name| format!("DHCP {name} port {port}")));
    }
    all.insert(format!("control socket {}", config.daemon.control_socket.display()));
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    fn between(old: &str, new: &str) -> Vec<(String, Option<Value>, Option<Value>, bool)> {
        let (old, new) = (load(old).unwrap(), load(new).unwrap());
        let side = |loaded: &'static super::super::Loaded| Side {
            config: &loaded.config,
            document: &loaded.document,
        };
        let (old, new) = (Box::leak(Box::new(old)), Box::leak(Box::new(new)));
        let all = changes(side(old), side(new));
        all.into_iter().map(|change| (change.key, change.old, change.new, change.restart)).collect()
    }

    const OFF: &str = "dhcp: {enabled: false}\n";

    #[test]
    fn another_way_to_write_a_value_is_no_change() {
        let new = format!("tcp: {{idle_timeout: 5m, enabled: yes, port: 8888}}\n{OFF}");
        assert_eq!(between(OFF, &new), []);
        assert_eq!(between("dhcp: {enabled: false, lease_time: 1h}\n", OFF), []);
    }

    #[test]
    fn changed_keys_have_their_values_and_defaults() {
        let new = format!("tcp: {{idle_timeout: 1m, port: 9000}}\ndaemon: {{user: nobody}}\n{OFF}");
        let expected = [
            ("daemon.user", Some("echo-daemon".into()), Some("nobody".into()), true),
            ("tcp.idle_timeout", Some("5m".into()), Some("1m".into()), false),
            ("tcp.port", Some(8888.into()), Some(9000.into()), false),
        ];
        assert_eq!(
            between(OFF, &new),
            expected.map(|(key, old, new, restart)| (key.to_owned(), old, new, restart))
        );
    }

    #[test]
    fn what_comes_or_goes_as_a_whole_is_one_change() {
        let text = |subnets: &str| format!("dhcp:\n  interfaces: [lo]\n  subnets:\n{subnets}");
        let old = text("    a: {network: 10.0.0.0/24, pools: {p: {range: 10.0.0.9}}}\n");
        let new = text(
            "    a: {network: 10.0.0.0/24, options: {domain-name: x}, pools: {q: {range: 10.0.0.8}}}\n    b: {network: 10.0.1.0/24}\n",
        );
        let keys: Vec<_> = between(&old, &new)
            .into_iter()
            .map(|(key, old, new, _)| (key, old.is_some(), new.is_some()))
            .collect();
        let expected = [
            ("dhcp.subnets.a.options.domain-name", false, true),
            ("dhcp.subnets.a.pools.p", true, false),
            ("dhcp.subnets.a.pools.q", false, true),
            ("dhcp.subnets.b", false, true),
        ];
        assert_eq!(keys, expected.map(|(key, old, new)| (key.to_owned(), old, new)));
    }

    #[test]
    fn sockets_are_those_of_enabled_services() {
        let config = load(
            "tcp: {port: 1}\nudp: {enabled: false}\napi: {listen: null}\ndaemon: {control_socket: /s}\ndhcp: {interfaces: [lo], port: 67}\n",
        );
        let all: Vec<String> = sockets(&config.unwrap().config).into_iter().collect();
        assert_eq!(all, ["DHCP lo port 67", "TCP echo 127.0.0.1:1", "TCP echo [::1]:1", "control socket /s"]);
    }
}
