//! The configuration with the checks of every layer, and what main derives from it. Used at the start, at each
//! reload, and by the commands.

mod machine;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use daemon_utils::log::Levels;
use daemon_utils::socket;

use crate::api::token::Token;
use crate::config::{Config, ConfigManager, Finding, Loaded, Overlay, Report, changes_needing_restart};
use crate::protocol::options;
use crate::workers::{Patch, STALE};

/// What a generation is born with: a configuration that main could put into force.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    pub(super) config: Arc<Config>,
    /// The same with the origin of every value, and the overlay of the runtime API.
    pub(super) loaded: Arc<Loaded>,
    /// The bearer token of the API.
    pub(super) token: Option<Token>,
}

impl InForce {
    /// Reads what the configuration names. Errors: the token's file.
    pub(super) fn of(loaded: Loaded) -> Result<Self, String> {
        let token = token(&loaded.config)?;
        Ok(Self { config: Arc::new(loaded.config.clone()), loaded: Arc::new(loaded), token })
    }
}

/// Reads all sources and lets every layer check them. Errors: all of them, each with its place.
pub fn load(manager: &ConfigManager) -> Result<Loaded, Report> {
    manager.load_with(options::check, own_addresses)
}

/// The same for a start, with the warnings in words. Where the sources are refused and `last_good` is wanted, what was in
/// force last takes their place, and the reasons are among the warnings.
pub(super) fn load_for_start(
    manager: &ConfigManager,
    last_good: bool,
) -> Result<(Loaded, Vec<String>), String> {
    let (loaded, mut warnings) = match load(manager) {
        Ok(loaded) => (loaded, Vec::new()),
        Err(refused) if last_good => {
            let loaded = manager.last_good().and_then(|cached| load(&cached)).map_err(|report| {
                format!(
                    "{refused}\nthe configuration that was in force last cannot be used either:\n{report}"
                )
            })?;
            let words = "the configuration was refused; the one that was in force last is used instead";
            (loaded, vec![format!("{words}:\n{refused}")])
        }
        Err(refused) => return Err(refused.to_string()),
    };
    warnings.extend(loaded.warnings.iter().map(|problem| problem.reason.clone()));
    Ok((loaded, warnings))
}

/// The same with this overlay in the place of the one that the state folder holds.
pub(super) fn load_with_overlay(manager: &ConfigManager, overlay: &Overlay) -> Result<Loaded, Report> {
    manager.load_with_overlay(overlay, options::check, own_addresses)
}

/// The sources with a patch of the api process over them and over what it has set before. Nobody has looked at the patch
/// yet: main believes nothing of it. `now` is what is in force. Errors: it is refused, in words for whoever sent it.
pub fn patched(manager: &ConfigManager, now: &Loaded, patch: &Patch) -> Result<Loaded, String> {
    if !patch.tag.is_empty() && patch.tag != now.effective.tag() {
        return Err(format!("{STALE}the configuration is another one by now\nhint: read it again"));
    }
    let value: serde_json::Value =
        serde_json::from_str(&patch.json).map_err(|error| format!("the patch is no JSON: {error}"))?;
    let overlay = now.overlay.patched(&value, &now.below).map_err(|report| report.errors().to_string())?;
    load_with_overlay(manager, &overlay).map_err(|report| report.errors().to_string())
}

/// The same with a look at this machine (`machine`): for who asks whether a start or a reload would succeed.
pub fn check(manager: &ConfigManager) -> Result<Loaded, Report> {
    manager.load_looking(options::check, own_addresses, machine::look)
}

/// Reservations of addresses that this machine itself has: their clients get others. Only a warning, since the file may
/// be meant for another machine.
fn own_addresses(config: &Config) -> Vec<Finding> {
    if !config.dhcp.enabled {
        return Vec::new();
    }
    // Where the kernel does not tell, there is nothing to warn of.
    let interfaces = socket::interfaces().unwrap_or_default();
    let own: HashMap<Ipv4Addr, &str> = interfaces
        .iter()
        .flat_map(|one| one.addresses.iter().map(|(address, _)| (*address, one.name.as_str())))
        .collect();
    let hosts =
        config.dhcp.subnets.iter().flat_map(|subnet| subnet.hosts.iter().map(move |host| (subnet, host)));
    hosts
        .filter_map(|(subnet, host)| {
            let address = host.ip?;
            let interface = own.get(&address)?;
            let key = format!("dhcp.subnets.{}.hosts.{}.ip", subnet.name, host.name);
            let reason = format!(
                "host {} of subnet {} reserves {address}, which is the server's own address on {interface}",
                host.name, subnet.name
            );
            Some((
                key,
                reason,
                Some("choose another address: the host gets one of a pool meanwhile".to_owned()),
            ))
        })
        .collect()
}

/// Refuses a reload that changes what only a restart can change.
pub(super) fn refuse_what_needs_restart(old: &Config, new: &Config) -> Result<(), String> {
    let keys = changes_needing_restart(old, new);
    if keys.is_empty() {
        return Ok(());
    }
    // A restart looks for the daemon by the new file, and would leave this one running beside the new one.
    let hint = if keys.contains(&"daemon.pid_file") {
        "stop the daemon with the file as it was, then start it with the new one"
    } else {
        "echo-daemon restart"
    };
    Err(format!("{} cannot change while the daemon runs\nhint: {hint}", keys.join(", ")))
}

/// Reads the bearer token of the API while main still may.
fn token(config: &Config) -> Result<Option<Token>, String> {
    let Some(path) = &config.api.token_file else { return Ok(None) };
    match Token::read(path).map_err(|error| format!("could not read token file {path:?}: {error}"))? {
        Some(token) => Ok(Some(token)),
        None => Err(format!(
            "token file {path:?} is empty\nhint: write a long random word into it: openssl rand -hex 32"
        )),
    }
}

/// The levels at which processes speak: the most talkative output decides.
pub(super) fn levels(config: &Config) -> Levels {
    let logging = &config.logging;
    let mut most = logging.log_level;
    if logging.json.enabled {
        most = most.max(logging.json.level);
    }
    if logging.syslog.enabled {
        most = most.max(logging.syslog.level);
    }
    Levels::new(most, logging.modules.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn reservation_of_an_address_of_this_machine_is_worth_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        let load = |line: &str| {
            let text = format!(
                "dhcp:\n  interfaces: [lo]\n  subnets:\n    lan:\n      network: 127.0.0.0/24\n      hosts:\n{line}"
            );
            std::fs::write(&file, text).unwrap();
            let sources = Sources::of_process(Some(file.clone()), Vec::new()).unwrap();
            load(&ConfigManager::new(sources)).unwrap().warnings
        };
        assert_eq!(load("        a: {mac: '00:01', ip: 127.0.0.2}"), []);
        let warnings = load("        a: {mac: '00:01', ip: 127.0.0.1}");
        assert_eq!(
            warnings
                .iter()
                .map(|warning| (warning.key.as_str(), warning.reason.as_str()))
                .collect::<Vec<_>>(),
            [(
                "dhcp.subnets.lan.hosts.a.ip",
                "host a of subnet lan reserves 127.0.0.1, which is the server's own address on lo"
            )]
        );
    }

    #[test]
    fn who_changes_the_pid_file_is_not_sent_to_restart() {
        let config = |set: &str| {
            let set = ["dhcp.enabled=false", set].map(str::to_owned).to_vec();
            let sources = Sources::of_process(None, set).unwrap();
            load(&ConfigManager::new(sources)).unwrap().config
        };
        let old = config("daemon.pid_file=/tmp/one.pid");
        let reason = |set| refuse_what_needs_restart(&old, &config(set)).unwrap_err();
        assert!(reason("daemon.pid_file=/tmp/two.pid").contains("hint: stop the daemon"));
    }
}
