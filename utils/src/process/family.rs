//! Parents, children and descendants.

use std::collections::HashMap;
use std::io;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

/// The code of a child that found its parent gone. Nobody is left to read it but the subreaper.
const ORPHANED: i32 = 1;

/// SIGKILL for this process when `parent` ends, by whatever way. If it has ended already, this process ends here.
///
/// Must come after credentials are dropped: a change of user clears the setting (prctl(2)). `parent` is the PID
/// that the parent read before its fork; comparing closes the race with its end. It is the parent's *thread*
/// that counts, so the parent must have one.
pub fn die_with_parent(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        super::end(ORPHANED);
    }
    Ok(())
}

/// Whether a process is on its way out, or gone: SIGKILL was sent to it, which the kernel may not have carried out yet.
pub fn is_ending(pid: Pid) -> bool {
    const SIGKILL: u64 = 1 << (Signal::SIGKILL as u64 - 1);
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let fields =
        |name: &'static str| status.lines().filter_map(move |line| line.strip_prefix(name)).map(str::trim);
    // proc(5): the signals that wait for the process are a mask in hex.
    let mut killed = fields("SigPnd:").chain(fields("ShdPnd:"));
    fields("State:").any(|state| state.starts_with(['Z', 'X']))
        || killed.any(|mask| u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & SIGKILL != 0))
}

/// From now on orphaned descendants become children of this process, which must reap them.
pub fn become_subreaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// The children of this process, which must have one thread; those that ended and were not reaped included.
/// Empty where a sandbox hides /proc.
pub fn children() -> Vec<Pid> {
    // Absent where the kernel was built without CONFIG_PROC_CHILDREN.
    match std::fs::read_to_string("/proc/thread-self/children") {
        Ok(list) => list.split_ascii_whitespace().filter_map(parse_pid).collect(),
        Err(_) => scan().into_iter().filter(|&(_, parent)| parent == getpid()).map(|(pid, _)| pid).collect(),
    }
}

/// All descendants of a process, parents before their children, those that ended and were not reaped included.
///
/// A snapshot of moving things: who forks during it may be missed, so ask again until nobody is left.
pub fn descendants(of: Pid) -> Vec<Pid> {
    let mut by_parent: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for (pid, parent) in scan() {
        by_parent.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut next = Some(of);
    let mut visited = 0;
    while let Some(parent) = next {
        // Removing guards against a circle, which reused numbers could feign.
        found.extend(by_parent.remove(&parent).unwrap_or_default());
        next = found.get(visited).copied();
        visited += 1;
    }
    found
}

/// (process, its parent) for every process that can be seen.
fn scan() -> Vec<(Pid, Pid)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = parse_pid(entry.file_name().to_str()?)?;
            let stat = std::fs::read(entry.path().join("stat")).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect()
}

/// The parent in a line of `/proc/PID/stat` (`proc_pid_stat(5)`). The name in parentheses may hold anything, also
/// parentheses and blanks, so fields are counted from the last one.
fn parent_in(stat: &[u8]) -> Option<Pid> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    // Parent 0 stands for "none in this PID namespace".
    fields.split_ascii_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().filter(|&number: &i32| number > 0).map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_is_found_behind_any_name() {
        assert_eq!(parent_in(b"12 (sh) S 7 12 12"), Some(Pid::from_raw(7)));
        assert_eq!(parent_in(b"12 (a) S 9 (b) R 7 1"), Some(Pid::from_raw(7)));
        assert_eq!(parent_in(b"12 (\xff )) S 7 1"), Some(Pid::from_raw(7)));
        assert_eq!(parent_in(b"12 (sh"), None);
        assert_eq!(parent_in(b""), None);
    }

    #[test]
    fn this_process_descends_from_its_parent() {
        assert!(descendants(getppid()).contains(&getpid()));
    }
}
