//! `config plan FILE`: what a change would do, before it is applied. Reads both configurations and the lease file, has
//! the DHCP layer judge every live lease by both, and shows the differences. Changes nothing.

mod show;
mod sides;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::super::leases::{become_owner, explained};
use super::super::{Invocation, Outcome, style};
use crate::config::{Config, KeyChange, Problem, Report, Side, changes, sockets};
use crate::dhcp::plan::{Comparison, LeasePlan};
use crate::dhcp::served_interfaces;
use crate::lease::{LeaseState, Reader};
use crate::supervisor::{say, settings};
use sides::{Against, Proposed};

/// The file that is proposed.
#[derive(Debug, Args)]
pub(in crate::cli) struct PlanArgs {
    /// The changed configuration file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Leases read at a time, so that a large lease file needs no large memory.
const PAGE: usize = 10_000;

/// Everything that would change.
#[derive(Debug, Serialize)]
struct Plan {
    /// The proposed file.
    file: PathBuf,
    /// What it is held against.
    against: Against,
    /// Whether a reload would take it into force.
    reload: Reload,
    /// What an operator should look at in the proposed file.
    warnings: Vec<Problem>,
    /// Keys whose value changes.
    keys: Vec<KeyChange>,
    sockets: Difference,
    interfaces: Difference,
    /// Worker processes, by name.
    workers: Difference,
    leases: LeasePlan,
}

/// What becomes of a reload.
#[derive(Debug, Serialize)]
struct Reload {
    /// False where a key needs a restart.
    accepted: bool,
    /// The keys that do.
    restart: Vec<String>,
}

/// Names that come and go.
#[derive(Debug, Serialize)]
struct Difference {
    added: Vec<String>,
    removed: Vec<String>,
}

pub(super) fn run(invocation: &Invocation, args: &PlanArgs) -> Outcome {
    let (old, against, proposed) = sides::of(invocation, &args.file)?;
    let Proposed { manager, shown } = proposed;
    let new = match settings::check(&manager) {
        Ok(new) => new,
        Err(report) => return refused(&report, args.json),
    };
    let keys = changes(
        Side { config: &old.config, document: &old.document },
        Side { config: &new.config, document: &new.document },
    );
    let restart: Vec<String> =
        keys.iter().filter(|change| change.restart).map(|change| change.key.clone()).collect();
    let plan = Plan {
        file: shown,
        against,
        reload: Reload { accepted: restart.is_empty(), restart },
        keys,
        sockets: Difference::between(sockets(&old.config), sockets(&new.config)),
        interfaces: Difference::between(served(&old.config), served(&new.config)),
        workers: Difference::between(workers(&old.config), workers(&new.config)),
        leases: leases(&old.config, &new.config)?,
        warnings: new.warnings,
    };
    if args.json {
        say(&serde_json::to_string_pretty(&plan).map_err(|error| error.to_string())?);
    } else {
        for warning in &plan.warnings {
            eprintln!("{warning}");
        }
        style::say(show::text(&plan).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(report: &Report, json: bool) -> Outcome {
    if json {
        say(&serde_json::to_string_pretty(report).map_err(|error| error.to_string())?);
    } else {
        eprintln!("{report}");
    }
    Ok(ExitCode::FAILURE)
}

/// Every live lease of the file that is in use, judged by both.
fn leases(old: &Config, new: &Config) -> Result<LeasePlan, String> {
    let side = |config: &Config| {
        let interfaces = served_interfaces(config);
        let interfaces = interfaces.map_err(|error| format!("could not list the interfaces: {error}"))?;
        Ok::<_, String>((Arc::new(config.clone()), interfaces))
    };
    let mut comparison = Comparison::new(side(old)?, side(new)?);
    let path = &old.dhcp.store.path;
    // Where nothing was ever leased there is no file.
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(comparison.finish());
    }
    become_owner(old)?;
    let reader = Reader::open(path).map_err(|error| explained(old, &error))?;
    let now = reader.times.now;
    let mut after = None;
    loop {
        let page = reader.page(after, PAGE).map_err(|error| explained(old, &error))?;
        for lease in page.iter().map(|recorded| &recorded.lease) {
            match lease.state_at(now) {
                LeaseState::Active => comparison.weigh(lease),
                LeaseState::Declined | LeaseState::Conflict if lease.expires > now => {
                    comparison.rest(lease.address);
                }
                LeaseState::Declined | LeaseState::Conflict | LeaseState::Expired | LeaseState::Released => {}
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.lease.address),
            _ => return Ok(comparison.finish()),
        }
    }
}

fn served(config: &Config) -> BTreeSet<String> {
    let enabled = config.dhcp.enabled;
    config.dhcp.interfaces.iter().filter(|_| enabled).cloned().collect()
}

fn workers(config: &Config) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    names.extend(config.tcp.enabled.then(|| "tcp".to_owned()));
    names.extend(config.udp.enabled.then(|| "udp".to_owned()));
    if config.dhcp.enabled {
        names.extend((0..config.dhcp.workers).map(|number| format!("dhcp {number}")));
        names.insert("keeper".to_owned());
    }
    names
}

impl Difference {
    fn between(old: BTreeSet<String>, new: BTreeSet<String>) -> Self {
        let added = new.difference(&old).cloned().collect();
        Self { added, removed: old.into_iter().filter(|name| !new.contains(name)).collect() }
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}
