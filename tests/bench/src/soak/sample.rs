//! What the daemon uses, second by second, and how fast it answers meanwhile.

use super::echo::Tally;
use super::ledger::{Counts, Ledger};
use crate::tree;
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One second of the run. Memory is counted once where processes share it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the beginning.
    pub(crate) at: f64,
    pub(crate) memory_mib: f64,
    pub(crate) main_memory_mib: f64,
    pub(crate) main_descriptors: usize,
    /// Of the worker that has most.
    pub(crate) worker_descriptors: usize,
    /// Without those of TCP clients.
    pub(crate) processes: usize,
    pub(crate) zombies: usize,
    pub(crate) cpu_seconds: f64,
    /// Lease file and write-ahead log.
    pub(crate) leases_mib: f64,
    pub(crate) log_mib: f64,
    pub(crate) acks: u64,
    /// Milliseconds from a DHCP client's first question to the answer; none where nobody asked.
    pub(crate) dhcp_p50: Option<f64>,
    pub(crate) dhcp_p99: Option<f64>,
    /// Milliseconds from connect to the echo.
    pub(crate) tcp_p99: Option<f64>,
}

const MIB: f64 = 1024.0 * 1024.0;

/// Takes a sample a second until the end is told.
pub(crate) fn each_second(
    main: i32,
    folder: &Path,
    ledger: &Ledger,
    tally: &Tally,
    began: Instant,
    end: &AtomicBool,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut due = Duration::from_secs(1);
    while !end.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        due += Duration::from_secs(1);
        let (counts, took) = ledger.take();
        samples.push(look(main, folder, began, counts, &took, &tally.take()));
    }
    samples
}

fn look(main: i32, folder: &Path, began: Instant, counts: Counts, dhcp: &[u32], tcp: &[u32]) -> Sample {
    let members = tree::members(main);
    let workers = || members.iter().filter(|member| !member.is_tcp_client() && !member.is_zombie);
    let of_workers = workers().filter(|member| member.pid != main).map(|member| descriptors(member.pid));
    let file = |name: &str| fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    Sample {
        at: began.elapsed().as_secs_f64(),
        memory_mib: tree::count(tree::pss_bytes(main)) / MIB,
        main_memory_mib: tree::count(tree::own_pss_bytes(main)) / MIB,
        main_descriptors: descriptors(main),
        worker_descriptors: of_workers.max().unwrap_or_default(),
        processes: workers().count(),
        zombies: members.iter().filter(|member| member.is_zombie).count(),
        cpu_seconds: tree::cpu_seconds(main),
        leases_mib: tree::count(file("state/leases.db") + file("state/leases.db-wal")) / MIB,
        log_mib: tree::count((0..=9).map(|n| file(&log_name(n))).sum()) / MIB,
        acks: counts.acks,
        dhcp_p50: quantile(dhcp, 50),
        dhcp_p99: quantile(dhcp, 99),
        tcp_p99: quantile(tcp, 99),
    }
}

fn log_name(n: u8) -> String {
    if n == 0 { "log".to_owned() } else { format!("log.{n}") }
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Of sorted microseconds, in milliseconds.
fn quantile(sorted: &[u32], percent: usize) -> Option<f64> {
    let at = (sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?);
    sorted.get(at).map(|micros| f64::from(*micros) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_there_is() {
        assert_eq!(quantile(&[], 50), None);
        assert_eq!(quantile(&[1000], 99), Some(1.0));
        let hundred: Vec<u32> = (1..=100).map(|n| n * 1000).collect();
        assert_eq!((quantile(&hundred, 50), quantile(&hundred, 99)), (Some(51.0), Some(100.0)));
    }
}
