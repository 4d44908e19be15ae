//! `echo-load fsync`: how often a second the disk makes an appended block durable. Nothing that syncs each change by
//! itself can be faster.

use crate::histogram::{Histogram, Micros};
use anyhow::Context;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write: a folder on the disk that is to be measured
    #[arg(long)]
    folder: PathBuf,
    /// For how long
    #[arg(long, value_parser = crate::seconds, default_value = "5")]
    seconds: Duration,
    /// Bytes of each append
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    bytes: u32,
}

#[derive(Serialize)]
struct Report {
    bytes: u32,
    seconds: f64,
    syncs: u64,
    per_second: f64,
    latency_us: Micros,
}

/// Measures and prints the report. The file has no name and is gone with the process.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut file = tempfile::tempfile_in(&args.folder)
        .with_context(|| format!("could not make a file in {}", args.folder.display()))?;
    let block = vec![0x5a; usize::try_from(args.bytes)?];
    let mut latencies = Histogram::new();
    let begin = Instant::now();
    let mut now = begin;
    while now.duration_since(begin) < args.seconds {
        file.write_all(&block).and_then(|()| file.sync_data()).context("could not write and sync")?;
        let done = Instant::now();
        latencies.record(done.duration_since(now));
        now = done;
    }
    let seconds = now.duration_since(begin).as_secs_f64();
    crate::print(&Report {
        bytes: args.bytes,
        seconds,
        syncs: latencies.count(),
        per_second: latencies.per_second(seconds),
        latency_us: latencies.micros(),
    })
}
