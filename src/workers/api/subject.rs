//! What the figures of this daemon are about: its pools, its files, the names of its processes.

use crate::config::Config;
use crate::stats::{FilePlace, Occupant, PROCESS_NAMES, PoolPlace, ProcessName, Subject};
use crate::workers::Kind;

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
    let main = (nix::unistd::getppid().as_raw(), ProcessName { number: 0, name: "main".to_owned() });
    Subject { pools, files, main, name_of }
}

/// The name of a worker, and the number of its account: behind main those of the kinds, then the DHCP workers by index.
fn name_of(occupant: &Occupant) -> Option<ProcessName> {
    let kind = Kind::from_number(occupant.kind)?;
    let index = u16::try_from(occupant.index).ok()?;
    let number = match kind {
        Kind::Dhcp => 1 + Kind::ALL.len() + usize::from(index),
        Kind::Logger | Kind::Tcp | Kind::Udp | Kind::Keeper | Kind::Api => 1 + kind as usize,
    };
    (number < PROCESS_NAMES).then(|| ProcessName { number, name: kind.process_name(index) })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_process_has_an_account_of_its_own() {
        let mut seen = HashSet::from([0]);
        for kind in Kind::ALL {
            for index in 0..if kind == Kind::Dhcp { 16 } else { 1 } {
                let occupant =
                    Occupant { kind: kind.number(), index, pid: 1, generation: 1, started: Duration::ZERO };
                let name = name_of(&occupant).unwrap();
                assert!(seen.insert(name.number), "{name:?}");
            }
        }
    }
}
