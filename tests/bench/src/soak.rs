//! `echo-soak`: our daemon serves mixed traffic of hundreds of clients while it is reloaded, killed and upgraded; what it uses and how
//! fast it answers is looked at each second.
//!
//! | module | owns |
//! |---|---|
//! | `clients` `ledger` | DHCP clients behind relays · what they were told |
//! | `echo` | TCP, UDP and API traffic |
//! | `trouble` | reloads, kills, upgrades |
//! | `sample` | what each second looks like |
//! | `judge` `page` | the verdict · table and plot |

mod clients;
mod echo;
mod judge;
mod ledger;
mod page;
mod sample;
mod trouble;

use crate::netns::{self, Cable, INTERFACE, SERVER};
use crate::servers::{self, TCP_PORT, UDP_PORT};
use crate::{bench, document, place, tree};
use anyhow::{Context, ensure};
use clap::Parser;
use clients::Relay;
use echo::Tally;
use judge::Outcome;
use ledger::Ledger;
use page::Run;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trouble::{Subject, Troubles};

/// Relays, and clients behind each that stay.
const RELAYS: u8 = 4;
const CLIENTS: u32 = 100;
/// Leases are short, so that those of clients that do not come back run out within the run.
const LEASE: &str = "5m";
/// A lease that is about to end is not looked for in the file.
const ABOUT_TO_END: Duration = Duration::from_secs(60);

/// Runs the daemon under mixed traffic, with reloads, kills and upgrades, and looks whether everything stays as it is
#[derive(Debug, Parser)]
#[command(name = "scripts/soak", version)]
struct Args {
    /// How long; a run of less than 20 minutes is not judged for being flat
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: u64,
    /// Writes table and plot into docs/reliability.md and docs/reliability/ as well
    #[arg(long)]
    document: bool,
    /// Where results go, on a real disk [default: target/soak]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The repository
    #[arg(long, value_name = "FOLDER", default_value = ".", hide = true)]
    repo: PathBuf,
}

/// The program `echo-soak`.
pub fn soak() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo-soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let repo = fs::canonicalize(&args.repo).context("there is no such repository")?;
    let out = args.out.clone().unwrap_or_else(|| repo.join("target/soak"));
    servers::make_folder(&out)?;
    let out = fs::canonicalize(&out)?;
    place::require_disk(&out)?;
    ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces and port 67 take root\nhint: run scripts/soak as root"
    );
    bench::clean_up_on_signals()?;
    let run = soaked(Duration::from_mins(args.minutes), &out)?;
    let table = page::table(&run);
    println!("{table}");
    fs::write(out.join("result.md"), &table)?;
    fs::write(out.join("samples.json"), serde_json::to_string(&run.samples)?)?;
    page::draw(&out.join("soak.svg"), &run)?;
    eprintln!("results are in {}: result.md, samples.json, soak.svg", out.display());
    if args.document {
        document::fill_file(&repo.join("docs/reliability.md"), &[("soak", "Soak", table)])?;
        servers::make_folder(&repo.join("docs/reliability"))?;
        page::draw(&repo.join("docs/reliability/soak.svg"), &run)?;
    }
    ensure!(run.complaints.is_empty(), "{} things were found wrong", run.complaints.len());
    Ok(())
}

/// The whole run: start, traffic and trouble, verdict.
fn soaked(length: Duration, out: &Path) -> anyhow::Result<Run> {
    let folder = out.join("daemon");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("could not empty \"{}\"", folder.display()))?;
    }
    servers::make_folder(&folder)?;
    let program = std::env::current_exe()?.with_file_name("echo-daemon");
    let cable = Cable::new()?;
    for relay in 1..RELAYS {
        cable.add_client_address(&format!("10.64.0.{}", 2 + relay))?;
    }
    let config = configure(&folder)?;
    netns::finish(cable.server(&program).arg("start").arg("-c").arg(&config))?;
    let main =
        fs::read_to_string(folder.join("pid"))?.trim().parse().context("the PID file holds no number")?;
    let subject = Subject { program, config, main };
    let (ledger, tally, troubles) = (Ledger::default(), Tally::default(), Troubles::default());
    let (end, began) = (AtomicBool::new(false), Instant::now());
    let samples = std::thread::scope(|scope| -> anyhow::Result<Vec<sample::Sample>> {
        let (cable, ledger, tally, end) = (&cable, &ledger, &tally, &end);
        // Whatever fails, the others are told to end.
        let guard = End(end);
        let mut traffic = Vec::new();
        for number in 0..RELAYS {
            traffic.push(scope.spawn(move || -> anyhow::Result<()> {
                cable.enter_client()?;
                Relay::new(number, CLIENTS, ledger)?.run(end);
                Ok(())
            }));
        }
        let services: [fn(&Tally, &AtomicBool) -> anyhow::Result<()>; 3] = [
            |tally, end| {
                tally.short(end);
                Ok(())
            },
            |tally, end| {
                tally.long(end);
                Ok(())
            },
            Tally::datagrams,
        ];
        for service in services {
            traffic.push(scope.spawn(move || {
                cable.enter_client()?;
                service(tally, end)
            }));
        }
        let socket = folder.join("sock");
        scope.spawn(move || tally.scrape(&socket, end));
        let folder = &folder;
        let sampler = scope.spawn(move || sample::each_second(main, folder, ledger, tally, began, end));
        troubles.make(&subject, began, length, end);
        std::thread::sleep(length.saturating_sub(began.elapsed()));
        drop(guard);
        for thread in traffic {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        sampler.join().map_err(|_| anyhow::anyhow!("the sampler panicked"))
    })?;
    let outcome = outcome(&subject, &ledger, &tally)?;
    netns::finish(cable.server(&subject.program).arg("-c").arg(&subject.config).arg("stop"))?;
    let events = troubles.all();
    let complaints = judge::complaints(&outcome, &events, &samples, length);
    for complaint in &complaints {
        eprintln!("wrong: {complaint}");
    }
    Ok(Run {
        length,
        date: chrono::Local::now().format("%-d %B %Y").to_string(),
        machine: place::Machine::look(out),
        trends: judge::trends(&samples),
        traffic: traffic(&ledger, &tally, &outcome),
        samples,
        events,
        complaints,
    })
}

/// Tells the others to end when it goes, also by an error.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The defaults but for paths, addresses, the short lease, and a pool that strangers walk through.
fn configure(folder: &Path) -> anyhow::Result<PathBuf> {
    let base = folder.display();
    let text = format!(
        "daemon: {{pid_file: {base}/pid, control_socket: {base}/sock, state_dir: {base}/state}}\n\
         logging: {{log_file: {base}/log}}\n\
         tcp: {{address: {SERVER}, port: {TCP_PORT}, max_clients: 200}}\n\
         udp: {{address: {SERVER}, udp_port: {UDP_PORT}}}\n\
         api: {{listen: null}}\n\
         dhcp:\n  interfaces: [{INTERFACE}]\n  security: {{client_rate: null}}\n  conflict_check: {{method: off}}\n  \
         lease_time: {{default: {LEASE}, min: {LEASE}, max: {LEASE}}}\n  \
         subnets:\n    lan:\n      network: 10.64.0.0/10\n      options: {{routers: [{SERVER}]}}\n      \
         pools: {{main: {{range: 10.65.0.0-10.65.15.255}}}}\n"
    );
    let path = folder.join("config.yaml");
    fs::write(&path, text).with_context(|| format!("could not write \"{}\"", path.display()))?;
    Ok(path)
}

/// What the clients hold against what the lease file says, and what else is left.
fn outcome(subject: &Subject, ledger: &Ledger, tally: &Tally) -> anyhow::Result<Outcome> {
    let mut command = std::process::Command::new(&subject.program);
    command.arg("-c").arg(&subject.config).args(["leases", "list", "--json", "--state", "active"]);
    let listed: serde_json::Value = serde_json::from_slice(&netns::finish(&mut command)?)?;
    let text =
        |row: &serde_json::Value, key: &str| row.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let rows = listed.as_array().into_iter().flatten();
    let listed: BTreeSet<(String, String)> =
        rows.filter_map(|row| Some((text(row, "ip")?, text(row, "mac")?))).collect();
    let held = ledger.in_force(ABOUT_TO_END);
    let missing = held.iter().filter(|(address, client)| {
        let [a, b, c, d] = client.to_be_bytes();
        !listed.contains(&(address.to_string(), format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")))
    });
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Outcome {
        faults: ledger.faults(),
        leases: held.len(),
        missing: missing.count(),
        zombies: tree::members(subject.main).iter().filter(|member| member.is_zombie).count(),
        tcp_failed: load(&tally.tcp_failed),
        tcp_cut: load(&tally.tcp_cut),
        udp_lost: load(&tally.udp_lost),
        api_failed: load(&tally.api_failed),
    })
}

fn traffic(ledger: &Ledger, tally: &Tally, outcome: &Outcome) -> Vec<(&'static str, u64)> {
    let (counts, _) = ledger.take();
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    vec![
        ("ACKs", counts.acks),
        ("RELEASEs", counts.released),
        ("DHCP messages that had to be sent again", counts.repeated),
        ("NAKs to clients that asked for what was offered", counts.refused),
        ("clients that got no answer, an address twice, or a NAK for their own lease", counts.faults),
        ("leases in force at the end", outcome.leases as u64),
        ("of these not in the lease file", outcome.missing as u64),
        ("TCP connections of 1 KiB", load(&tally.tcp)),
        ("of these failed", outcome.tcp_failed),
        ("long TCP connections cut, of 30 at a time", outcome.tcp_cut),
        ("UDP datagrams echoed", load(&tally.udp)),
        ("UDP datagrams lost", outcome.udp_lost),
        ("API requests", load(&tally.api)),
        ("API requests that failed", outcome.api_failed),
    ]
}
