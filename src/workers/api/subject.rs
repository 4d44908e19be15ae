//! What the figures of this daemon are about: its pools, its files, the names of its processes.

use crate::config::Config;
use crate::stats::{FilePlace, Occupant, PROCESS_NAMES, PoolPlace, ProcessName, Subject};
use crate::workers::Kind;

/// What `dhcp.workers` may be at most.
const MOST_DHCP_WORKERS: u16 = 16;

/// What a configuration has.
pub(super) fn of(config: &Config, pools: Vec<PoolPlace>) -> Subject {
    let mut files = Vec::new();
    if config.dhcp.enabled {
        let leases = &config.dhcp.store.path;
        let mut wal = leases.clone().into_os_string();
        wal.push("-wal");
        files.push(FilePlace { file: "leases", path: leases.clone() });
        files.push(FilePlace { file: "leases_wal", path: wal.into() });
    }
    files.push(FilePlace { file: "log", path: config.logging.log_file.clone() });
    if config.logging.json.enabled {
        files.push(FilePlace { file: "log_json", path: config.logging.json.file.clone() });
    }
    Subject { pools, files, main: nix::unistd::getppid().as_raw(), names: names(), name_of }
}

/// All names that a process may have.
fn names() -> Vec<ProcessName> {
    let workers = Kind::ALL.into_iter().flat_map(|kind| {
        let count = if kind == Kind::Dhcp { MOST_DHCP_WORKERS } else { 1 };
        (0..count).filter_map(move |index| name(kind, index))
    });
    let main = ProcessName { number: 0, name: "main".to_owned() };
    std::iter::once(main).chain(workers).collect()
}

fn name_of(occupant: &Occupant) -> Option<ProcessName> {
    name(Kind::from_number(occupant.kind)?, u16::try_from(occupant.index).ok()?)
}

/// The name of a worker, and the number of its account: behind main those of the kinds, then the DHCP workers by index.
fn name(kind: Kind, index: u16) -> Option<ProcessName> {
    let number = match kind {
        Kind::Dhcp => 1 + Kind::ALL.len() + usize::from(index),
        Kind::Logger | Kind::Tcp | Kind::Udp | Kind::Keeper | Kind::Api => 1 + kind as usize,
    };
    (number < PROCESS_NAMES).then(|| ProcessName { number, name: kind.process_name(index) })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_process_has_an_account_of_its_own() {
        let names = names();
        let numbers: HashSet<usize> = names.iter().map(|name| name.number).collect();
        assert_eq!(numbers.len(), names.len());
        assert_eq!(names.len(), Kind::ALL.len() + usize::from(MOST_DHCP_WORKERS));
    }
}
