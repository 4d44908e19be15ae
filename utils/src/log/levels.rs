//! Which records are wanted: a default level and levels of single modules. Used by the sender, which saves the
//! work for unwanted records, and by every output. Holds no state of its own.

use std::collections::BTreeMap;

use log::{Level, LevelFilter};

/// A default level and the levels of modules that differ from it.
///
/// A module is a path such as `dhcp` or `dhcp::handler`. It matches a record's target with or without the
/// target's first segment (the crate): `dhcp` matches `echo_daemon::dhcp` and all below it. The longest wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    default: LevelFilter,
    modules: BTreeMap<String, LevelFilter>,
}

impl Levels {
    /// The level of modules that are not listed, and the listed ones.
    pub fn new(default: LevelFilter, modules: BTreeMap<String, LevelFilter>) -> Self {
        Self { default, modules }
    }

    /// The level that holds for a record's target.
    pub fn level_of(&self, target: &str) -> LevelFilter {
        if self.modules.is_empty() {
            return self.default;
        }
        let inner = target.split_once("::").map_or("", |(_, rest)| rest);
        self.modules
            .iter()
            .filter(|(module, _)| is_within(target, module) || is_within(inner, module))
            .max_by_key(|(module, _)| module.len())
            .map_or(self.default, |(_, level)| *level)
    }

    /// Whether a record is wanted.
    pub fn allow(&self, target: &str, level: Level) -> bool {
        level <= self.level_of(target)
    }

    /// The most talkative of all levels: what the `log` facade must let through.
    pub fn most(&self) -> LevelFilter {
        self.modules.values().copied().fold(self.default, Ord::max)
    }
}

fn is_within(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_module_wins_and_names_match_whole_segments() {
        let modules = [("dhcp", LevelFilter::Debug), ("dhcp::handler", LevelFilter::Error)];
        let levels = Levels::new(
            LevelFilter::Info,
            modules.into_iter().map(|(name, level)| (name.to_owned(), level)).collect(),
        );
        assert_eq!(levels.level_of("echo_daemon::dhcp::scope"), LevelFilter::Debug);
        assert_eq!(levels.level_of("echo_daemon::dhcp::handler"), LevelFilter::Error);
        assert_eq!(levels.level_of("echo_daemon::dhcp_other"), LevelFilter::Info);
        assert_eq!(levels.level_of("dhcp"), LevelFilter::Debug);
        assert_eq!(levels.level_of("echo_daemon"), LevelFilter::Info);
        assert!(!levels.allow("echo_daemon::lease", Level::Debug));
        assert_eq!(levels.most(), LevelFilter::Debug);
    }
}
