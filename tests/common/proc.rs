//! What tests read about processes (proc(5)).

use std::fs;

use super::{children, eventually, title};

/// A process and everything below it, parents first.
pub fn family(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(children(parent));
        next += 1;
    }
    found
}

/// A line of `/proc/PID/status`, its blanks made one.
#[track_caller]
pub fn field(pid: i32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key}")).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the open descriptors of a process lead to, by number.
pub fn descriptors(pid: i32) -> Vec<(i32, String)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let number = |entry: &fs::DirEntry| entry.file_name().to_str().unwrap().parse().unwrap();
    let target = |entry: &fs::DirEntry| fs::read_link(entry.path()).ok();
    let mut all: Vec<(i32, String)> = entries
        .flatten()
        .filter_map(|entry| Some((number(&entry), target(&entry)?.display().to_string())))
        .collect();
    all.sort();
    all
}

/// The children of main that have this name in `ps`, without `echo-daemon: `.
pub fn named(main: i32, name: &str) -> Vec<i32> {
    let wanted = format!("echo-daemon: {name}");
    children(main).into_iter().filter(|pid| title(*pid).as_deref() == Some(&wanted)).collect()
}

/// Waits for a worker of this name that is none of those.
#[track_caller]
pub fn another(main: i32, name: &str, not: &[i32]) -> i32 {
    eventually(&format!("another {name}"), || named(main, name).into_iter().find(|pid| !not.contains(pid)))
}

/// Waits until none of these exists any more, not even as a zombie.
#[track_caller]
pub fn all_gone(pids: &[i32]) {
    for pid in pids {
        eventually(&format!("end of process {pid} ({:?})", title(*pid)), || {
            super::state(*pid).is_none().then_some(())
        });
    }
}
