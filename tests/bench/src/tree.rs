//! What a process and all its descendants use: CPU time and memory, from /proc.

use nix::unistd::{SysconfVar, sysconf};
use std::collections::BTreeMap;
use std::fs;

/// One line of /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    is_zombie: bool,
    parent: i32,
    /// Own time, and that of children that were waited for.
    ticks: u64,
}

/// CPU seconds of a process and its descendants, those that ended (and were waited for) included.
pub(crate) fn cpu_seconds(root: i32) -> f64 {
    let stats = stats();
    let ticks: u64 =
        family(&stats, root).iter().filter_map(|pid| stats.get(pid)).map(|stat| stat.ticks).sum();
    // sysconf(3): always known on Linux, 100 nearly everywhere.
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    count(ticks) / count(u64::try_from(per_second).unwrap_or(100))
}

/// Memory of a process and its descendants in bytes, where what several share is counted once (proportional set size).
pub(crate) fn pss_bytes(root: i32) -> u64 {
    family(&stats(), root).iter().map(|pid| own_pss_bytes(*pid)).sum()
}

/// The same of one process.
pub(crate) fn own_pss_bytes(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    kib(&rollup, "Pss:").unwrap_or_default() * 1024
}

/// Resident memory of one process in bytes.
pub(crate) fn rss_bytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kib(&status, "VmRSS:").unwrap_or_default() * 1024
}

/// The descendants whose command line begins with these words, in the order of their names.
pub(crate) fn named(root: i32, words: &str) -> Vec<i32> {
    let mut found: Vec<(String, i32)> = family(&stats(), root)
        .into_iter()
        .filter_map(|pid| {
            Some((String::from_utf8(fs::read(format!("/proc/{pid}/cmdline")).ok()?).ok()?, pid))
        })
        .filter(|(line, _)| line.starts_with(words))
        .collect();
    found.sort();
    found.into_iter().map(|(_, pid)| pid).collect()
}

/// One process of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: i32,
    /// It has ended, and nobody has waited for it yet.
    pub(crate) is_zombie: bool,
    /// As `ps` shows it.
    pub(crate) title: String,
}

impl Member {
    /// What it does, such as `dhcp 0`; the same for all processes of TCP clients.
    pub(crate) fn role(&self) -> &str {
        let role = self.title.strip_prefix("echo-daemon: ").unwrap_or(&self.title);
        if self.is_tcp_client() { "tcp client" } else { role }
    }

    /// Whether it serves one TCP client: `tcp ADDRESS:PORT`.
    pub(crate) fn is_tcp_client(&self) -> bool {
        self.title.strip_prefix("echo-daemon: tcp ").is_some_and(|rest| rest.contains(':'))
    }
}

/// A process and its descendants.
pub(crate) fn members(root: i32) -> Vec<Member> {
    let stats = stats();
    let title = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).trim_end_matches(['\0', ' ']).to_owned()
    };
    let member = |pid: i32| Some(Member { pid, is_zombie: stats.get(&pid)?.is_zombie, title: title(&pid) });
    family(&stats, root).into_iter().filter_map(member).collect()
}

/// A count as a number to calculate with; exact below 2⁵³.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn count(count: u64) -> f64 {
    count as f64
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn stats() -> BTreeMap<i32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// `proc_pid_stat(5)`: the name in parentheses may hold anything; behind it state, ppid, …, utime, stime, cutime, cstime.
fn parse(stat: &str) -> Option<Stat> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let times = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok());
    let is_zombie = fields.first() == Some(&"Z");
    Some(Stat { is_zombie, parent: fields.get(1)?.parse().ok()?, ticks: times.sum::<Option<u64>>()? })
}

/// The process and everybody below it.
fn family(stats: &BTreeMap<i32, Stat>, root: i32) -> Vec<i32> {
    let mut members = vec![root];
    let mut next = 0;
    while let Some(&parent) = members.get(next) {
        members.extend(stats.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_anything_in_it() {
        let line = "7 (a) b (c)) S 3 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0";
        assert_eq!(parse(line), Some(Stat { is_zombie: false, parent: 3, ticks: 100 }));
        assert!(parse(&line.replace(") S", ") Z")).unwrap().is_zombie);
        assert_eq!(parse("7 (a) S 3"), None);
    }

    #[test]
    fn family_is_everybody_below() {
        let stat = |parent| Stat { is_zombie: false, parent, ticks: 1 };
        let stats = BTreeMap::from([(1, stat(0)), (5, stat(1)), (6, stat(5)), (7, stat(6)), (8, stat(1))]);
        assert_eq!(family(&stats, 5), [5, 6, 7]);
    }

    #[test]
    fn roles_of_clients_bear_no_address() {
        let member = |title: &str| Member { pid: 1, is_zombie: false, title: title.to_owned() };
        assert_eq!(member("echo-daemon: tcp 192.0.2.7:40112").role(), "tcp client");
        assert_eq!(member("echo-daemon: tcp").role(), "tcp");
        assert_eq!(member("echo-daemon: dhcp 0").role(), "dhcp 0");
    }

    #[test]
    fn own_memory_is_known() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(rss_bytes(own) > 100_000);
        assert!(own_pss_bytes(own) > 0);
        assert_eq!(kib("Rss: 5 kB\nPss:    12 kB\n", "Pss:"), Some(12));
    }
}
