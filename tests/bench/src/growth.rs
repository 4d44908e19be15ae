//! What changes as the lease file grows: cost, memory, start-up, pages of leases; and the disk after an hour of
//! renewals. One worker, so that figures are of one process.

use crate::bench::Bench;
use crate::book::Book;
use crate::dhcp::faults;
use crate::load::Relay;
use crate::netns;
use crate::servers::{self, Running, Setting};
use crate::tree;
use anyhow::{Context, bail};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Leases in the file before the load.
const SIZES: [u32; 4] = [1, 10_000, 100_000, 1_000_000];
/// Exchanges of the load: few beside the leases that are there already.
const EXCHANGES: &str = "20000";
/// The first address of the pool.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 65, 0, 0);
/// A page of leases.
const PAGE: usize = 100;
/// Imported leases last so long.
const LIFE: chrono::Duration = chrono::Duration::days(30);
/// The name of a worker's process.
const WORKER: &str = "echo-daemon: dhcp";
/// How long the keeper has to finish its work.
const SETTLE: Duration = Duration::from_secs(60);

/// The sizes of a run.
pub(crate) fn sizes(quick: bool) -> &'static [u32] {
    let (most, _) = SIZES.split_at(if quick { 3 } else { 4 });
    most
}

/// Every size that a table may show.
pub(crate) fn all_sizes() -> [u32; 4] {
    SIZES
}

/// The book's subject for a size.
pub(crate) fn subject(size: u32) -> String {
    format!("growth-{size}")
}

/// One more round over the sizes.
pub(crate) fn round(bench: &Bench, book: &mut Book) -> anyhow::Result<()> {
    let setting = Setting { workers: 1, pool: "10.65.0.0-10.65.0.255", ..Setting::default() };
    let server = servers::ours(&bench.programs, &bench.cable, &bench.fresh("server")?, &setting)?;
    memory(book, "growth-small-pool", &server);
    drop(server);
    for &size in sizes(bench.quick) {
        bench.say(&format!("{size} leases"));
        one(bench, book, size).with_context(|| format!("{size} leases"))?;
    }
    Ok(())
}

fn one(bench: &Bench, book: &mut Book, size: u32) -> anyhow::Result<()> {
    let subject = subject(size);
    let prepared = prepared(bench, size)?;
    let folder = bench.fresh("server")?;
    copy(&prepared, &folder)?;
    let mut relay = Relay::new(&bench.cable, &bench.programs.load);
    let began = Instant::now();
    let setting = Setting { workers: 1, ..Setting::default() };
    let mut server = servers::ours(&bench.programs, &bench.cable, &folder, &setting)?;
    relay.wait()?;
    book.add(&subject, "first_ack_ms", millis(began));
    memory(book, &subject, &server);
    // The first ones touch memory that is new to the process.
    relay.dhcp(&["--window", "64", "--count", "2000"])?;
    let cpu = tree::cpu_seconds(server.pid);
    let report = relay.dhcp(&["--window", "64", "--count", EXCHANGES])?;
    let cpu = tree::cpu_seconds(server.pid) - cpu;
    faults(book, &subject, &report);
    book.add(&subject, "exchanges_w64", report.per_second);
    book.add(&subject, "cpu_per_10k", cpu / tree::count(report.exchanges.max(1)) * 10_000.0);
    pages(bench, book, &subject, &folder)?;
    book.add(&subject, "disk_mib", mib(disk(&folder)));
    server.require_alive()
}

fn memory(book: &mut Book, subject: &str, server: &Running<'_>) {
    for pid in tree::named(server.pid, WORKER).into_iter().take(1) {
        book.add(subject, "worker_pss", tree::count(tree::own_pss_bytes(pid)));
        book.add(subject, "worker_rss", tree::count(tree::rss_bytes(pid)));
    }
}

/// The time until the first page of leases is there, by the command and over the control socket.
fn pages(bench: &Bench, book: &mut Book, subject: &str, folder: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut command = bench.cable.server(&bench.programs.daemon);
    command.args(["leases", "list", "--csv", "-c"]).arg(folder.join("config.yaml"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let lines = child
        .stdout
        .take()
        .map(|out| BufReader::new(out).lines().take(PAGE + 1).map_while(Result::ok).count());
    book.add(subject, "list_page_ms", millis(began));
    let _ = child.kill();
    let _ = child.wait();
    anyhow::ensure!(lines.is_some_and(|lines| lines > 1), "leases list showed nothing");
    for (measure, query) in [("page_ms", ""), ("far_page_ms", "&after=10.70.0.0")] {
        let began = Instant::now();
        get(&folder.join("sock"), &format!("/v1/leases?limit={PAGE}{query}"))?;
        book.add(subject, measure, millis(began));
    }
    Ok(())
}

/// One GET over a Unix socket; the whole answer, which must be a good one.
fn get(socket: &Path, path: &str) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(socket).context("could not reach the control socket")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("{path}: {}", answer.lines().next().unwrap_or("no answer"));
    }
    Ok(answer)
}

/// The folder of a daemon with so many leases, which is made once and kept beside the results.
fn prepared(bench: &Bench, size: u32) -> anyhow::Result<PathBuf> {
    let folder = bench.folder(&format!("leases-{size}"));
    let done = folder.join("done");
    if done.exists() {
        return Ok(folder);
    }
    bench.say(&format!("making {size} leases"));
    let folder = bench.fresh(&format!("leases-{size}"))?;
    // The daemon makes the lease file; an import does not.
    drop(servers::ours(&bench.programs, &bench.cable, &folder, &Setting::default())?);
    let config = folder.join("config.yaml");
    let csv = folder.join("leases.csv");
    fs::write(&csv, rows(size, chrono::Utc::now() + LIFE)?)?;
    let mut command = bench.cable.server(&bench.programs.daemon);
    netns::finish(command.args(["leases", "import", "-c"]).arg(&config).arg(&csv))?;
    fs::remove_file(&csv)?;
    fs::write(&done, "")?;
    Ok(folder)
}

/// Leases of neighbouring addresses, as `leases import` reads them.
fn rows(size: u32, expires: chrono::DateTime<chrono::Utc>) -> anyhow::Result<String> {
    let expires = expires.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut text = "ip,mac,expires\n".to_owned();
    for n in 0..size {
        let ip = Ipv4Addr::from_bits(FIRST.to_bits() + n);
        let [a, b, c, d] = n.to_be_bytes();
        writeln!(text, "{ip},02:ee:{a:02x}:{b:02x}:{c:02x}:{d:02x},{expires}")?;
    }
    Ok(text)
}

/// The leases with their owner, as cp(1) does it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut command = std::process::Command::new("cp");
    netns::finish(command.arg("-a").arg(from.join("state")).arg(to))?;
    Ok(())
}

/// Clients that get a lease of an hour and renew it twice, at full speed; then the disk, once the keeper has finished.
pub(crate) fn hour(bench: &Bench, book: &mut Book) -> anyhow::Result<()> {
    const SUBJECT: &str = "hour";
    let clients: u32 = if bench.quick { 10_000 } else { 100_000 };
    bench.say(&format!("an hour of renewals by {clients} clients"));
    let folder = bench.fresh("server")?;
    let server = servers::ours(&bench.programs, &bench.cable, &folder, &Setting::default())?;
    let mut relay = Relay::new(&bench.cable, &bench.programs.load);
    relay.wait()?;
    let (count, twice) = (clients.to_string(), (clients * 2).to_string());
    let report =
        relay.dhcp(&["--mode", "renew", "--clients", &count, "--count", &twice, "--window", "64"])?;
    faults(book, SUBJECT, &report);
    book.add(SUBJECT, "clients", f64::from(clients));
    book.add(SUBJECT, "disk_at_once_mib", mib(disk(&folder)));
    let began = Instant::now();
    let (mut size, mut since) = (disk(&folder), Instant::now());
    while since.elapsed() < Duration::from_secs(4) && began.elapsed() < SETTLE {
        std::thread::sleep(Duration::from_millis(200));
        let now = disk(&folder);
        if now != size {
            (size, since) = (now, Instant::now());
        }
    }
    book.add(SUBJECT, "settled_secs", since.duration_since(began).as_secs_f64());
    book.add(SUBJECT, "disk_mib", mib(size));
    for (name, measure) in [("leases.db", "db_mib"), ("leases.db-wal", "wal_mib")] {
        let bytes = fs::metadata(folder.join("state").join(name)).map_or(0, |file| file.len());
        book.add(SUBJECT, measure, mib(bytes));
    }
    book.add(SUBJECT, "bytes_per_client", tree::count(size) / f64::from(clients));
    drop(server);
    Ok(())
}

/// New clients, one by one, where each address is probed before it is offered. They come through a relay, so the probe
/// is an ICMP echo.
pub(crate) fn offers(bench: &Bench, book: &mut Book) -> anyhow::Result<()> {
    const SUBJECT: &str = "offers";
    bench.say("offers with the conflict check");
    let folder = bench.fresh("server")?;
    let setting = Setting { conflict_check: true, ..Setting::default() };
    let server = servers::ours(&bench.programs, &bench.cable, &folder, &setting)?;
    let mut relay = Relay::new(&bench.cable, &bench.programs.load);
    relay.wait()?;
    // A server has been up for a while when a client comes: it probes 20 addresses each second ahead of time, and so
    // many are asked for.
    let (ahead, seconds) = if bench.quick { (5, "2") } else { (13, "5") };
    std::thread::sleep(Duration::from_secs(ahead));
    let report =
        relay.dhcp(&["--mode", "discover", "--rate", "50", "--window", "64", "--seconds", seconds])?;
    faults(book, SUBJECT, &report);
    book.add(SUBJECT, "p50_us", report.offer_us.p50);
    book.add(SUBJECT, "p99_us", report.offer_us.p99);
    book.add(SUBJECT, "max_us", report.offer_us.max);
    book.add(SUBJECT, "offers", tree::count(report.exchanges));
    drop(server);
    Ok(())
}

/// Bytes of all files of the lease store, their blocks on the disk not rounded.
fn disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder.join("state")).into_iter().flatten().flatten();
    let leases = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("leases.db"));
    leases.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

fn mib(bytes: u64) -> f64 {
    tree::count(bytes) / 1024.0 / 1024.0
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_an_import_reads() {
        let expires = "2026-12-01T00:00:00Z".parse().unwrap();
        let text = rows(258, expires).unwrap();
        assert_eq!(text.lines().count(), 259);
        assert!(text.starts_with("ip,mac,expires\n10.65.0.0,02:ee:00:00:00:00,2026-12-01T00:00:00Z\n"));
        assert!(text.ends_with("10.65.1.1,02:ee:00:00:01:01,2026-12-01T00:00:00Z\n"));
    }

    #[test]
    fn disk_counts_the_lease_store_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        for (name, bytes) in [("leases.db", 10), ("leases.db-wal", 5), ("overlay.json", 100)] {
            fs::write(folder.path().join("state").join(name), vec![0; bytes]).unwrap();
        }
        assert_eq!(disk(folder.path()), 15);
    }
}
