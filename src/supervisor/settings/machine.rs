//! A look at the machine that a configuration is meant for: what would keep a start from succeeding here and now, or
//! leave something unserved. For `check` and `config plan`; a start and a reload find out by doing it.
//!
//! Judged for the user who asks, since that is who would type `start`. What only a mightier user may do is a warning
//! for everybody else: the daemon may be meant to be root's. Changes nothing: a port is tried by opening its socket and
//! closing it at once.

mod holders;
mod paths;
mod ports;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use daemon_utils::pidfile::{self, Holder};
use daemon_utils::process::descendants;
use daemon_utils::socket::{self, Interface};
use nix::unistd::Pid;

use crate::api::token::Token;
use crate::config::{Config, Finding, Severity};

/// The daemon of the configuration that is looked at, if it runs.
#[derive(Debug, PartialEq, Eq)]
enum Daemon {
    /// It does not run.
    Stopped,
    /// It runs as these processes; none where its PID is not known.
    Running(Vec<Pid>),
}

/// What was found.
#[derive(Debug, Default)]
struct Findings(Vec<(Severity, Finding)>);

impl Findings {
    fn error(&mut self, key: impl Into<String>, reason: impl Into<String>, hint: impl Into<String>) {
        self.0.push((Severity::Error, (key.into(), reason.into(), Some(hint.into()))));
    }

    fn warning(&mut self, key: impl Into<String>, reason: impl Into<String>, hint: impl Into<String>) {
        self.0.push((Severity::Warning, (key.into(), reason.into(), Some(hint.into()))));
    }
}

/// Everything that this machine has against a configuration.
pub(super) fn look(config: &Config) -> Vec<(Severity, Finding)> {
    let mut findings = Findings::default();
    let daemon = daemon_of(&config.daemon.pid_file);
    // Where the kernel does not tell, nothing is missing.
    let interfaces = socket::interfaces().unwrap_or_default();
    check_interfaces(config, &interfaces, &mut findings);
    paths::check(config, &daemon, &mut findings);
    check_token(config, &mut findings);
    ports::check(config, &interfaces, &daemon, &mut findings);
    findings.0
}

fn daemon_of(pid_file: &Path) -> Daemon {
    match pidfile::holder(pid_file) {
        Ok(Holder::Running(Some(main))) => {
            Daemon::Running(std::iter::once(main).chain(descendants(main)).collect())
        }
        Ok(Holder::Running(None)) => Daemon::Running(Vec::new()),
        Ok(Holder::Nobody | Holder::Stale) | Err(_) => Daemon::Stopped,
    }
}

fn check_interfaces(config: &Config, present: &[Interface], findings: &mut Findings) {
    if !config.dhcp.enabled || present.is_empty() {
        return;
    }
    for (position, name) in config.dhcp.interfaces.iter().enumerate() {
        let key = format!("dhcp.interfaces[{position}]");
        match present.iter().find(|interface| interface.name == *name) {
            None => {
                let names: Vec<&str> = present.iter().map(|interface| interface.name.as_str()).collect();
                let hint =
                    format!("it is served as soon as it is there; this machine has {}", names.join(", "));
                findings.warning(key, format!("there is no interface {name}"), hint);
            }
            Some(interface) if interface.addresses.is_empty() => {
                let hint = format!("it is served as soon as it has one: ip address add … dev {name}");
                findings.warning(key, format!("{name} has no IPv4 address"), hint);
            }
            Some(_) => {}
        }
    }
}

fn check_token(config: &Config, findings: &mut Findings) {
    const KEY: &str = "api.token_file";
    let Some(path) = &config.api.token_file else { return };
    let shown = path.display();
    match Token::read(path) {
        Ok(None) => {
            let hint = format!("write a long random word into it: openssl rand -hex 32 > {shown}");
            findings.error(KEY, format!("{shown} is empty"), hint);
        }
        Ok(Some(_)) => {
            // The last three bits of the mode are what others may do.
            let open = path.metadata().is_ok_and(|found| found.mode() & 0o007 != 0);
            if open {
                let reason = format!("everybody on this machine can read or change {shown}");
                findings.warning(KEY, reason, format!("chmod 600 {shown}"));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let hint = "only who may read it can start the daemon".to_owned();
            findings.warning(KEY, format!("{shown} may not be read by this user"), hint);
        }
        Err(error) => {
            let hint = format!("make it: (umask 077; openssl rand -hex 32 > {shown})");
            findings.error(KEY, format!("{shown} could not be read: {}", paths::plain(&error)), hint);
        }
    }
}
