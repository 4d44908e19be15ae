//! The proof that what is measured is durable: system calls of the workers under load, and their sandbox.

use crate::bench::Bench;
use crate::book::Book;
use crate::load::Relay;
use crate::servers::{self, Setting};
use crate::trace::Verdict;
use crate::tree;
use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// The book's subject.
pub(crate) const SUBJECT: &str = "durability";

/// Follows all DHCP workers of the default configuration for a moment of load, and reads what limits them.
pub(crate) fn run(bench: &Bench, book: &mut Book) -> anyhow::Result<()> {
    bench.say("system calls and sandbox of the workers");
    let folder = bench.fresh("server")?;
    let server = servers::ours(&bench.programs, &bench.cable, &folder, &Setting::default())?;
    let mut relay = Relay::new(&bench.cable, &bench.programs.load);
    relay.wait()?;
    let workers = tree::named(server.pid, "echo-daemon: dhcp");
    let first = workers.first().context("there is no dhcp worker")?;
    let status = fs::read_to_string(format!("/proc/{first}/status")).context("the worker is gone")?;
    book.note(SUBJECT, "sandbox", sandbox(&status));
    let Some(strace) = bench.programs.peer("strace") else {
        book.note(SUBJECT, "missing", "strace (package strace) could not be had");
        return Ok(());
    };
    let file = folder.join("trace");
    let mut command = std::process::Command::new(strace);
    // All of a message as far as its first option, in hexadecimal.
    command
        .args(["-f", "-xx", "-s", "280", "-e", "trace=recvmmsg,sendmmsg,fsync,fdatasync", "-o"])
        .arg(&file);
    for worker in &workers {
        command.arg("-p").arg(worker.to_string());
    }
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let words = child.stderr.take().context("strace has no stderr")?;
    // Kept open to the end: strace ends where nobody listens.
    let mut lines = BufReader::new(words).lines().map_while(Result::ok);
    let attached = lines.by_ref().filter(|line| line.contains("attached")).take(workers.len()).count();
    let report = relay.dhcp(&["--window", "64", "--seconds", "2"]);
    let threads = workers.iter().flat_map(|worker| threads(*worker)).collect();
    let _ = kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT);
    let _ = child.wait();
    drop(lines);
    if attached < workers.len() {
        bail!("strace could not attach to the workers");
    }
    report?;
    let verdict = Verdict::of(&fs::read_to_string(&file)?, &threads);
    for (name, count) in
        [("acks", verdict.acks), ("syncs", verdict.syncs), ("acks_before_sync", verdict.early)]
    {
        book.add(SUBJECT, name, tree::count(count));
    }
    drop(server);
    Ok(())
}

/// Each thread of a process, with the process.
fn threads(pid: i32) -> Vec<(String, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), pid.to_string())).collect()
}

/// What the kernel says of a process: `proc_pid_status(5)`.
fn sandbox(status: &str) -> String {
    let wanted = ["Uid:", "NoNewPrivs:", "Seccomp:", "CapEff:", "CapPrm:", "CapBnd:"];
    let found = wanted.into_iter().filter_map(|name| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(format!("{name} {}", value.split_whitespace().next().unwrap_or_default()))
    });
    found.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_is_told_in_one_line() {
        let status =
            "Name:\tx\nUid:\t65534\t65534\t1\t1\nNoNewPrivs:\t1\nSeccomp:\t2\nCapEff:\t0000000000000000\n";
        assert_eq!(sandbox(status), "Uid: 65534, NoNewPrivs: 1, Seccomp: 2, CapEff: 0000000000000000");
    }
}
