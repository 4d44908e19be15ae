//! Eight processes write one lease file at once: no address is ever leased to two clients, and what was acknowledged is in the file.
//!
//! A program of its own: it starts itself again for each process. Four act as DHCP workers, which also restart; two as the
//! api process does, with one connection for long; one as a command, which opens the file for one change; one is the
//! keeper. Their offers are not shared: the worst case, as if the shared memory had been lost each time. Each notes what
//! it did between the begin and the commit of a transaction, with the time; the story of all of them, told in the order of time,
//! must make sense and end with what is in the file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon_utils::clock::boot_time;
use echo_daemon::config::model::{Config, Durability};
use echo_daemon::config::{ConfigManager, Sources};
use echo_daemon::lease::{
    Access, Answer, Ask, Client, ClientKey, EngineSettings, HardwareAddress, Keeper, LeaseManager,
    LeaseState, Offered, Offers, PoolId, Released, Scope, SqliteStore, SubnetId, Timestamp, Topology,
    prepare,
};

const NAME: &str = "eight_processes_on_one_file_never_lease_an_address_twice_and_lose_no_lease";
const ROLES: [&str; 8] = ["worker", "worker", "worker", "worker", "api", "api", "command", "keeper"];
/// How long they race.
const RACE: Duration = Duration::from_secs(3);
/// More clients than addresses.
const CLIENTS: u32 = 40;
const POOL: (u32, u32) = (0x0a4d_0064, 30);

const YAML: &str = "
dhcp:
  interfaces: [lo]
  port: 0
  subnets: {lan: {network: 10.77.0.0/24, interface: lo, pools: {main: {range: 10.77.0.100-10.77.0.129}}}}
";

const LAN: Scope<'static> =
    Scope { subnets: &[SubnetId(0)], pools: &[PoolId(0)], host: None, checked: false };

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, role, number, folder] = arguments.as_slice()
        && flag == "--as"
    {
        return play(role, number.parse().unwrap(), Path::new(folder));
    }
    // As cargo's own harness: words without a dash choose tests by name.
    let mut wanted = arguments.iter().filter(|word| !word.starts_with('-')).peekable();
    if wanted.peek().is_some() && !wanted.any(|word| NAME.contains(word.as_str())) {
        println!("0 passed, 0 failed");
        return;
    }
    race();
    println!("ok {NAME}\n1 passed, 0 failed");
}

/// Prints the verdict that the summary of scripts/test reads, also where an assertion fails.
struct Verdict;

impl Drop for Verdict {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("FAILED {NAME}\n0 passed, 1 failed");
        }
    }
}

/// A process that is ended with its test.
struct Racer(Child);

impl Drop for Racer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn race() {
    let _verdict = Verdict;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yaml"), YAML).unwrap();
    prepare(&leases(folder.path()), Durability::Process).unwrap();
    let program = std::env::current_exe().unwrap();
    let racers: Vec<Racer> = ROLES
        .iter()
        .enumerate()
        .map(|(number, role)| {
            let mut command = Command::new(&program);
            command.args(["--as", role, &number.to_string()]).arg(folder.path());
            Racer(command.spawn().unwrap())
        })
        .collect();
    for (mut racer, role) in racers.into_iter().zip(ROLES) {
        assert!(racer.0.wait().unwrap().success(), "{role} has failed");
    }
    let mut story = Vec::new();
    for number in 0..ROLES.len() {
        let told = fs::read_to_string(notes(folder.path(), number)).unwrap();
        story.extend(told.lines().map(|line| Chapter::read(line, number)));
    }
    story.sort_by_key(|chapter| chapter.began);
    let held = tell(&story);
    assert_eq!(in_file(folder.path()), held, "the file does not say what was acknowledged");
    let grants =
        story.iter().flat_map(|chapter| &chapter.deeds).filter(|deed| matches!(deed, Deed::Granted(..)));
    assert!(grants.count() > 100, "hardly anything happened");
    for (number, role) in ROLES.iter().enumerate().filter(|(_, role)| **role != "keeper") {
        assert!(story.iter().any(|chapter| chapter.by == number), "{role} {number} did nothing");
    }
}

/// What one transaction did, between its begin and its commit, in nanoseconds since boot.
struct Chapter {
    began: u128,
    ended: u128,
    by: usize,
    deeds: Vec<Deed>,
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Granted(Ipv4Addr, u32),
    Released(Ipv4Addr, u32),
}

impl Chapter {
    fn write(&self, to: &mut impl Write) {
        write!(to, "{} {}", self.began, self.ended).unwrap();
        for deed in &self.deeds {
            match deed {
                Deed::Granted(address, client) => write!(to, " + {address} {client}").unwrap(),
                Deed::Released(address, client) => write!(to, " - {address} {client}").unwrap(),
            }
        }
        writeln!(to).unwrap();
    }

    fn read(line: &str, by: usize) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let deed = |words: &[&str]| {
            let (address, client) = (words[1].parse().unwrap(), words[2].parse().unwrap());
            if words[0] == "+" { Deed::Granted(address, client) } else { Deed::Released(address, client) }
        };
        let (began, ended) = (words[0].parse().unwrap(), words[1].parse().unwrap());
        Self { began, ended, by, deeds: words[2..].chunks(3).map(deed).collect() }
    }
}

/// Follows the story; who holds what at its end.
fn tell(story: &[Chapter]) -> BTreeMap<Ipv4Addr, u32> {
    let mut held: BTreeMap<Ipv4Addr, u32> = BTreeMap::new();
    let mut before: Option<&Chapter> = None;
    for chapter in story {
        if let Some(before) = before {
            assert!(before.ended <= chapter.began, "{} and {} wrote at the same time", before.by, chapter.by);
        }
        before = Some(chapter);
        for deed in &chapter.deeds {
            match *deed {
                Deed::Granted(address, client) => {
                    let holder = held.get(&address).copied();
                    assert!(
                        holder.is_none_or(|holder| holder == client),
                        "{address} is granted to {client} by {}, and {holder:?} holds it",
                        chapter.by
                    );
                    // One lease for each client: its old one is over.
                    held.retain(|_, holder| *holder != client);
                    held.insert(address, client);
                }
                Deed::Released(address, client) => {
                    assert_eq!(held.remove(&address), Some(client), "released by {}", chapter.by);
                }
            }
        }
    }
    held
}

fn leases(folder: &Path) -> PathBuf {
    folder.join("leases.db")
}

fn notes(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("notes-{number}"))
}

/// What the file says, as an administrator reads it.
fn in_file(folder: &Path) -> BTreeMap<Ipv4Addr, u32> {
    let file = rusqlite::Connection::open(leases(folder)).unwrap();
    let mut rows = file.prepare("SELECT ip, mac FROM lease_list WHERE state = 'active'").unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let rows: Vec<(String, String)> = rows.query_map([], row).unwrap().map(Result::unwrap).collect();
    let number = |mac: &str| u32::from_str_radix(&mac[6..].replace(':', ""), 16).unwrap();
    rows.iter().map(|(ip, mac)| (ip.parse().unwrap(), number(mac))).collect()
}

// --- the processes ---------------------------------------------------------------------------------------

fn client(n: u32) -> Client {
    let hardware = HardwareAddress::new(1, &[&[2, 0], &n.to_be_bytes()[..]].concat()).unwrap();
    Client {
        key: ClientKey::by_hardware(&hardware),
        hardware,
        client_id: None,
        hostname: None,
        relay: None,
        circuit_id: None,
        remote_id: None,
        vendor_class: None,
    }
}

/// Which client of the test holds a lease.
fn number(client: &Client) -> u32 {
    (0..CLIENTS).find(|n| self::client(*n).key == client.key).unwrap()
}

fn play(role: &str, number: usize, folder: &Path) {
    let sources = Sources::of_process(Some(folder.join("config.yaml")), Vec::new()).unwrap();
    let config = ConfigManager::new(sources).load().unwrap().config;
    let mut racer = Player {
        path: leases(folder),
        topology: Topology::new(&config),
        config,
        dice: u64::try_from(number).unwrap() + 77,
        notes: BufWriter::new(File::create(notes(folder, number)).unwrap()),
    };
    let began = Instant::now();
    match role {
        "worker" => {
            while began.elapsed() < RACE {
                let mut engine = racer.open();
                for _ in 0..40 {
                    racer.batch(&mut engine);
                }
            }
        }
        "api" => {
            let mut engine = racer.open();
            while began.elapsed() < RACE {
                racer.release_one(&mut engine);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        "command" => {
            while began.elapsed() < RACE {
                let mut engine = racer.open();
                racer.release_one(&mut engine);
            }
        }
        _ => {
            let limits = racer.config.dhcp.store.history;
            let mut keeper = Keeper::open(&racer.path, Arc::clone(&racer.topology), limits).unwrap();
            while began.elapsed() < RACE {
                keeper.step().unwrap();
                keeper.fold_step().unwrap();
            }
            keeper.finish().unwrap();
        }
    }
    racer.notes.flush().unwrap();
}

struct Player {
    path: PathBuf,
    config: Config,
    topology: Arc<Topology>,
    dice: u64,
    notes: BufWriter<File>,
}

type Engine = LeaseManager<SqliteStore>;

impl Player {
    fn open(&self) -> Engine {
        let dhcp = &self.config.dhcp;
        let settings = EngineSettings {
            offer_hold: dhcp.offer_hold,
            authoritative: true,
            decline_hold: dhcp.decline_hold,
            reserved: Vec::new(),
            max_leases_per_circuit: 0,
        };
        let store = SqliteStore::open(&self.path, Durability::Process).unwrap();
        LeaseManager::open(Arc::clone(&self.topology), settings, store, Offers::private()).unwrap()
    }

    /// xorshift64* (Vigna 2016).
    fn below(&mut self, bound: u32) -> u32 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        u32::try_from(self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }

    /// Some messages of some clients in one transaction.
    fn batch(&mut self, engine: &mut Engine) {
        self.write(engine, |player, engine, deeds| {
            for _ in 0..=player.below(4) {
                let n = player.below(CLIENTS);
                match player.below(4) {
                    0 => player.release(engine, n, deeds),
                    1 => {
                        // An address of the pool, whoever may have it.
                        let address = Ipv4Addr::from(POOL.0 + player.below(POOL.1));
                        let ask = [Ask::Selecting, Ask::Renewing][player.below(2) as usize](address);
                        request(engine, n, ask, deeds);
                    }
                    _ => {
                        if let Offered::Address(address) = engine.discover(&client(n), &LAN, None) {
                            request(engine, n, Ask::Selecting(address), deeds);
                        }
                    }
                }
            }
        });
    }

    /// Ends somebody's lease.
    fn release_one(&mut self, engine: &mut Engine) {
        self.write(engine, |player, engine, deeds| {
            let n = player.below(CLIENTS);
            player.release(engine, n, deeds);
        });
    }

    #[expect(clippy::unused_self, reason = "reads like the others")]
    fn release(&self, engine: &mut Engine, n: u32, deeds: &mut Vec<Deed>) {
        let range = engine.topology().pools()[0].range;
        let mut addresses = (u32::from(range.first())..=u32::from(range.last())).map(Ipv4Addr::from);
        let held = |address| {
            let lease = engine.lease_at(address)?;
            (lease.state == LeaseState::Active && number(&lease.client) == n).then_some(lease)
        };
        let Some(lease) = addresses.find_map(held) else { return };
        if engine.release(&client(n), lease.address) == Released::Done {
            deeds.push(Deed::Released(lease.address, n));
        }
    }

    /// One transaction; noted where it was committed.
    fn write(&mut self, engine: &mut Engine, work: impl FnOnce(&mut Self, &mut Engine, &mut Vec<Deed>)) {
        // A writer that is kept waiting too long gets no turn; its clients ask again.
        if engine.begin(Access::Write, now()).is_err() {
            return;
        }
        let began = boot_time().as_nanos();
        let mut deeds = Vec::new();
        work(self, engine, &mut deeds);
        let ended = boot_time().as_nanos();
        if engine.commit().is_ok() {
            Chapter { began, ended, by: 0, deeds }.write(&mut self.notes);
        }
    }
}

fn request(engine: &mut Engine, n: u32, ask: Ask, deeds: &mut Vec<Deed>) {
    if let Answer::Ack { address, .. } = engine.request(&client(n), &LAN, ask, &|_| 3600) {
        deeds.push(Deed::Granted(address, n));
    }
}

/// The same hour for everybody.
fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(since_epoch.as_secs())
}
