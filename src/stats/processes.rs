//! What the processes of the daemon use, as proc(5) tells it. `stat` of any process may be read; the descriptors only of
//! those that the reader might trace, which is itself: the others are not dumpable.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::history::History;
use super::shared::{Occupant, Shared};

/// A name of processes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessName {
    /// Its number, below [`super::PROCESS_NAMES`]; it has the account of its CPU time.
    pub number: usize,
    /// As in `ps`: `main`, `tcp`, `dhcp 0`.
    pub name: String,
}

/// What the processes of one name use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFigures {
    /// The name.
    pub name: String,
    /// How many there are.
    pub count: u64,
    /// CPU time of all that ever had the name; to the second before it died for one that did.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Open descriptors, where they may be counted.
    pub open_fds: Option<u64>,
    /// Boot time at which the newest was forked.
    pub started: Option<Duration>,
}

/// Looks at main (slot 0) and at every process that has a slot. A name that nobody has at this moment keeps its account.
pub(super) fn look(
    shared: Shared,
    main: i32,
    names: &[ProcessName],
    name_of: impl Fn(&Occupant) -> Option<ProcessName>,
) -> Vec<ProcessFigures> {
    let (history, units) = (shared.history(), Units::of_system());
    let mut found: BTreeMap<ProcessName, Vec<Stat>> =
        names.iter().map(|name| (name.clone(), Vec::new())).collect();
    let workers = shared.slots().enumerate().filter_map(|(slot, one)| {
        let occupant = one.occupant()?;
        Some((slot, occupant.pid, name_of(&occupant)?))
    });
    let first = names.first().map(|name| (0, main, name.clone()));
    for (slot, pid, name) in first.into_iter().chain(workers) {
        // A number that belongs to a stranger by now is none of ours.
        let stat = Stat::read(pid, &units).filter(|stat| pid == main || stat.parent == main);
        if let Some(stat) = stat {
            // Main's children have accounts of their own.
            let used = if pid == main { stat.own_cpu } else { stat.own_cpu + stat.children_cpu };
            let used = u64::try_from(used.as_millis()).unwrap_or(u64::MAX);
            history.used(slot, pid, name.number, used);
            found.entry(name).or_default().push(stat);
        }
    }
    let seen =
        found.into_iter().filter(|(name, stats)| !stats.is_empty() || history.used_by(name.number) > 0);
    seen.map(|(name, stats)| figures(&name, &stats, history)).collect()
}

fn figures(name: &ProcessName, stats: &[Stat], history: History) -> ProcessFigures {
    ProcessFigures {
        name: name.name.clone(),
        count: stats.len() as u64,
        cpu: Duration::from_millis(history.used_by(name.number)),
        resident_bytes: (!stats.is_empty()).then(|| stats.iter().map(|stat| stat.resident_bytes).sum()),
        open_fds: stats
            .iter()
            .map(|stat| open_fds(stat.pid))
            .sum::<Option<u64>>()
            .filter(|_| !stats.is_empty()),
        started: stats.iter().map(|stat| stat.started).max(),
    }
}

fn open_fds(pid: i32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

/// What the numbers of proc(5) are counted in.
struct Units {
    ticks_a_second: u64,
    page_bytes: u64,
}

impl Units {
    fn of_system() -> Self {
        let ask = |what, usual| match sysconf(what) {
            Ok(Some(value)) => u64::try_from(value).ok().filter(|value| *value > 0).unwrap_or(usual),
            Ok(None) | Err(_) => usual,
        };
        Self { ticks_a_second: ask(SysconfVar::CLK_TCK, 100), page_bytes: ask(SysconfVar::PAGE_SIZE, 4096) }
    }

    fn time(&self, ticks: u64) -> Duration {
        Duration::from_millis(ticks.saturating_mul(1000) / self.ticks_a_second)
    }
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    pid: i32,
    parent: i32,
    own_cpu: Duration,
    children_cpu: Duration,
    started: Duration,
    resident_bytes: u64,
}

impl Stat {
    fn read(pid: i32, units: &Units) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, units)
    }

    /// Fields 3 and on of `proc_pid_stat(5)`; the name before them may hold anything.
    fn parse(pid: i32, text: &str, units: &Units) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        Some(Self {
            pid,
            parent: i32::try_from(field(4)?).ok()?,
            own_cpu: units.time(field(14)? + field(15)?),
            children_cpu: units.time(field(16)? + field(17)?),
            started: units.time(field(22)?),
            resident_bytes: field(24)?.saturating_mul(units.page_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Units = Units { ticks_a_second: 100, page_bytes: 4096 };

    #[test]
    fn stat_is_read_behind_a_name_with_spaces_and_parentheses() {
        let line =
            "42 (echo-daemon: a) S 1) S 7 7 7 0 -1 4194560 9 0 0 0 150 25 300 1 20 0 1 0 12345 99 11 18";
        let stat = Stat::parse(42, line, &UNITS).unwrap();
        assert_eq!(stat.parent, 7);
        assert_eq!((stat.own_cpu.as_millis(), stat.children_cpu.as_millis()), (1_750, 3_010));
        assert_eq!((stat.started.as_millis(), stat.resident_bytes), (123_450, 11 * 4096));
        assert_eq!(Stat::parse(42, "42 (cut", &UNITS), None);
    }

    #[test]
    fn own_process_is_seen() {
        let shared = Shared::create(0).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let name = |number, name: &str| ProcessName { number, name: name.into() };
        let names = [name(0, "main"), name(1, "tcp"), name(2, "udp")];
        shared.history().used(7, 1, 2, 40);
        let all = look(shared, pid, &names, |_| None);
        assert_eq!((all[0].name.as_str(), all[0].count), ("main", 1));
        assert_eq!(
            (all.len(), all[1].name.as_str(), all[1].count),
            (2, "udp", 0),
            "its CPU time is not forgotten"
        );
        assert!(all[0].resident_bytes.unwrap() > 100_000 && all[0].open_fds.unwrap() > 0);
    }
}
