//! How fast the lease store is, and what it costs: some workers and the keeper on one lease file, each a process of its own,
//! as in the daemon but without packets. Not a test: `scripts/bench` measures what users get, this shows where it goes.
//!
//! ```text
//! cargo bench --bench leases -- --workers 2 --batch 64 --seconds 5 --mode exchange --folder /var/tmp
//! ```
//! An exchange is one batch of DISCOVERs without a write, then one of REQUESTs; `renew` renews leases in turn. The folder
//! must lie on a real disk. Each process starts this program again, for an SQLite connection must not be carried over a
//! fork.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures to look at"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use echo_daemon::config::model::{Config, Durability};
use echo_daemon::config::{ConfigManager, Sources};
use echo_daemon::lease::{
    Access, Answer, Ask, Client, ClientKey, EngineSettings, HardwareAddress, Keeper, LeaseClock,
    LeaseManager, Offered, Offers, PoolId, Scope, SqliteStore, SubnetId, Topology, prepare,
};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const YAML: &str = "
dhcp:
  interfaces: [lo]
  port: 0
  subnets: {lan: {network: 10.0.0.0/8, interface: lo, pools: {main: {range: 10.32.0.0-10.63.255.255}}}}
";

const LAN: Scope<'static> =
    Scope { subnets: &[SubnetId(0)], pools: &[PoolId(0)], host: None, checked: false };

#[derive(Parser, Debug, Clone)]
#[command(args_override_self = true)]
struct Settings {
    /// Processes that grant leases.
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Requests in one transaction.
    #[arg(long, default_value_t = 64)]
    batch: u32,
    /// Time measured.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// What is measured.
    #[arg(long, value_enum, default_value_t = Mode::Exchange)]
    mode: Mode,
    /// Clients of each worker in mode `renew`.
    #[arg(long, default_value_t = 10_000)]
    clients: u32,
    /// Leases a second of all workers together; 0: as fast as it goes.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Where the lease file is made.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Without the keeper.
    #[arg(long)]
    no_keeper: bool,
    /// Without fsync.
    #[arg(long)]
    no_sync: bool,
    /// What this process is: worker number, or `keeper`.
    #[arg(long, hide = true)]
    role: Option<String>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Exchange,
    Renew,
}

fn main() {
    let settings = Settings::parse();
    match settings.role.as_deref() {
        Some("keeper") => keep(&settings),
        Some(number) => work(&settings, number.parse().unwrap()),
        None => measure(&settings),
    }
}

// --- the measurement -------------------------------------------------------------------------------------

/// A process of this program that says when it is ready, and at its end what it did.
struct Player {
    process: Child,
    told: BufReader<ChildStdout>,
}

impl Player {
    fn start(role: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(std::env::args_os().skip(1)).arg("--role").arg(role);
        command.arg("--folder").arg(folder);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(process.stdout.take().unwrap());
        Self { process, told }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn begin(&mut self) {
        writeln!(self.process.stdin.as_mut().unwrap(), "begin").unwrap();
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn measure(settings: &Settings) {
    let folder = tempfile::tempdir_in(&settings.folder).unwrap();
    fs::write(folder.path().join("config.yaml"), YAML).unwrap();
    let file = leases(folder.path());
    prepare(&file, Durability::PowerLoss).unwrap();
    let mut players: Vec<Player> = Vec::new();
    for number in 0..settings.workers {
        let mut player = Player::start(&number.to_string(), folder.path());
        assert_eq!(player.line(), "ready");
        players.push(player);
    }
    if !settings.no_keeper {
        let mut keeper = Player::start("keeper", folder.path());
        assert_eq!(keeper.line(), "ready");
        players.push(keeper);
    }
    players.iter_mut().for_each(Player::begin);
    let started = Instant::now();
    let mut largest = 0;
    let mut sizes = Vec::new();
    while started.elapsed().as_secs_f64() < settings.seconds {
        std::thread::sleep(Duration::from_millis(100));
        let size = fs::metadata(wal(&file)).map_or(0, |data| data.len());
        largest = largest.max(size);
        sizes.push(size / 1024 / 1024);
    }
    let mut leases = 0;
    for (number, player) in players.iter_mut().enumerate() {
        let line = player.line();
        if (number as u32) < settings.workers {
            leases += line.split(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
            println!("worker {number}: {line}");
        } else {
            println!("keeper: {line}");
        }
    }
    let each = sizes.len().div_ceil(20).max(1);
    let sizes: Vec<String> = sizes.iter().step_by(each).map(u64::to_string).collect();
    println!("write-ahead log: {} MiB at most; over time {}", largest >> 20, sizes.join(" "));
    println!("lease file: {} KiB", fs::metadata(&file).map_or(0, |data| data.len()) / 1024);
    println!("{:.0} leases/s", leases as f64 / settings.seconds);
}

fn leases(folder: &Path) -> PathBuf {
    folder.join("leases.db")
}

fn wal(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

// --- the processes ---------------------------------------------------------------------------------------

fn config(settings: &Settings) -> Config {
    let sources = Sources::of_process(Some(settings.folder.join("config.yaml")), Vec::new()).unwrap();
    ConfigManager::new(sources).load().unwrap().config
}

fn ready() {
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Seconds on the processor until now.
fn used() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

/// How long something took, again and again.
#[derive(Default)]
struct Times(Vec<u32>);

impl Times {
    fn note(&mut self, since: Instant) -> Instant {
        let now = Instant::now();
        self.0.push(u32::try_from((now - since).as_micros()).unwrap_or(u32::MAX));
        now
    }

    fn tell(mut self, name: &str) -> String {
        self.0.sort_unstable();
        let at = |share: f64| self.0.get((self.0.len() as f64 * share) as usize).copied().unwrap_or(0);
        let max = self.0.last().copied().unwrap_or(0);
        format!("{name} p50 {} p99 {} max {max} µs", at(0.5), at(0.99))
    }
}

fn client(n: u32) -> Client {
    let hardware = HardwareAddress::new(1, &[&[2, 0], &n.to_be_bytes()[..]].concat()).unwrap();
    let id = [&[1, 2, 0], &n.to_be_bytes()[..]].concat();
    Client {
        key: ClientKey::by_client_id(&id),
        hardware,
        client_id: Some(id.into()),
        hostname: Some(format!("host-{n}").into_bytes().into()),
        relay: Some(Ipv4Addr::new(10, 0, 0, 1)),
        circuit_id: None,
        remote_id: None,
        vendor_class: None,
    }
}

fn work(settings: &Settings, number: u32) {
    let config = config(settings);
    let path = leases(&settings.folder);
    let durability = if settings.no_sync { Durability::Process } else { Durability::PowerLoss };
    let store = SqliteStore::open(&path, durability).unwrap();
    let clock = store.clock().unwrap();
    let topology = Topology::new(&config);
    let mut worker = Worker {
        leases: LeaseManager::open(topology, EngineSettings::new(&config), store, Offers::private()).unwrap(),
        clock,
        held: Vec::new(),
        times: Default::default(),
        refused: 0,
        round: 0,
    };
    let clients = if settings.mode == Mode::Renew { settings.clients } else { settings.batch };
    let own = |n: u32| client(n * settings.workers + number);
    for first in (0..clients).step_by(settings.batch as usize) {
        worker.exchange((first..(first + settings.batch).min(clients)).map(own).collect());
    }
    worker.times = Default::default();
    ready();
    let (began, before) = (Instant::now(), used());
    let mut done = 0_u64;
    let mut next = clients;
    let pause = f64::from(settings.batch * settings.workers) / f64::from(settings.rate.max(1));
    let mut batches = 0_u32;
    while began.elapsed().as_secs_f64() < settings.seconds {
        if settings.rate > 0 {
            let due = Duration::from_secs_f64(pause * f64::from(batches));
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            batches += 1;
        }
        if settings.mode == Mode::Exchange {
            let end = next.wrapping_add(settings.batch);
            worker.exchange((next..end).map(own).collect());
            next = end;
        } else {
            worker.round = 1 + (done / u64::from(clients)) as u32;
            worker.renew(settings.batch as usize, (done % u64::from(clients)) as usize);
        }
        done += u64::from(settings.batch);
    }
    let cost = (used() - before) * 1e6 / done as f64;
    let [turn, handle, commit, whole] = worker.times;
    println!(
        "{done} leases, {cost:.2} µs of CPU each, {} refused; {}; {}; {}; {}",
        worker.refused,
        turn.tell("begin"),
        handle.tell("handle"),
        commit.tell("commit"),
        whole.tell("whole"),
    );
}

struct Worker {
    leases: LeaseManager<SqliteStore>,
    clock: LeaseClock,
    held: Vec<(Client, Ipv4Addr)>,
    /// Begin, handle, commit of what writes; all of it.
    times: [Times; 4],
    refused: u64,
    /// How often all clients have renewed.
    round: u32,
}

impl Worker {
    fn exchange(&mut self, clients: Vec<Client>) {
        let began = Instant::now();
        self.leases.begin(Access::Read, self.clock.now()).unwrap();
        let mut asks = Vec::with_capacity(clients.len());
        for client in clients {
            match self.leases.discover(&client, &LAN, None) {
                Offered::Address(address) => asks.push((client, address)),
                Offered::Probe(_) | Offered::Exhausted | Offered::Pressed => self.refused += 1,
            }
        }
        self.leases.commit().unwrap();
        self.write(began, &asks, Ask::Selecting);
        // The first ones are remembered, for renewals.
        if self.held.len() < 1_000_000 {
            self.held.extend(asks);
        }
    }

    fn renew(&mut self, count: usize, first: usize) {
        let held = std::mem::take(&mut self.held);
        let some = &held[first..(first + count).min(held.len())];
        self.write(Instant::now(), some, Ask::Renewing);
        self.held = held;
    }

    fn write(&mut self, began: Instant, asks: &[(Client, Ipv4Addr)], ask: fn(Ipv4Addr) -> Ask) {
        let start = Instant::now();
        // Renewed within the same second, a lease is not written again.
        self.leases.begin(Access::Write, self.clock.now().plus(self.round * 60)).unwrap();
        let [turn, handle, commit, whole] = &mut self.times;
        let begun = turn.note(start);
        for (client, address) in asks {
            let answer = self.leases.request(client, &LAN, ask(*address), &|_| 3600);
            self.refused += u64::from(!matches!(answer, Answer::Ack { .. }));
        }
        let handled = handle.note(begun);
        self.leases.commit().unwrap();
        commit.note(handled);
        whole.note(began);
    }
}

/// The loop of `workers::keeper`.
fn keep(settings: &Settings) {
    let config = config(settings);
    let limits = config.dhcp.store.history;
    let topology: Arc<Topology> = Topology::new(&config);
    let mut keeper = Keeper::open(&leases(&settings.folder), topology, limits).unwrap();
    ready();
    let (began, before) = (Instant::now(), used());
    let mut steps = Times::default();
    let mut unfolded = 0;
    while began.elapsed().as_secs_f64() < settings.seconds {
        let started = Instant::now();
        let step = keeper.step().unwrap();
        steps.note(started);
        unfolded = unfolded.max(keeper.unfolded());
        std::thread::sleep(step.pause);
    }
    let cost = used() - before;
    let (count, left) = (steps.0.len(), keeper.unfolded());
    println!(
        "{cost:.2} s of CPU, {count} steps, {}, {unfolded} rows unfolded at most, {left} at the end",
        steps.tell("step")
    );
}
