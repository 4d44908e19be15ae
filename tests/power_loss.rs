//! Power is lost at any write: every write to the lease file, its logs and its folder is recorded with strace(1) while
//! clients take, renew and give back leases. Then the disk is put together as a loss of power could have left it, at many
//! moments: what was synced is there, of the rest nothing, all, a beginning or any sectors. Each acknowledged lease is in force there.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::dhcp::Client;
use common::{BINARY, Daemon, eventually, has, is_root, text};
use dhcproto::v4::{Message, MessageType};
use dhcproto::{Decodable, Decoder};

const YAML: &str = "tcp: {enabled: false}
udp: {enabled: false}
dhcp:
  interfaces: [lo]
  port: 0
  workers: 2
  conflict_check: {method: off}
  security: {client_rate: null}
  subnets:
    lan: {network: 10.77.0.0/24, interface: lo, pools: {main: {range: 10.77.0.10-10.77.0.89}}}
";

const THREADS: u32 = 3;
const CLIENTS: u32 = 20;

/// xorshift64* (Vigna 2016): the same choices for the same record.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }
}

// --- the record --------------------------------------------------------------------------------------------

/// A change of a file; files are numbered, for their names change.
enum Change {
    Write { file: usize, at: usize, bytes: Vec<u8> },
    Resize { file: usize, size: usize },
}

/// A change of the folder.
enum Naming {
    Make(String, usize),
    Rename(String, String),
    Remove(String),
}

/// Something with the lines of the trace at which it began and ended.
struct Timed<T> {
    what: T,
    began: usize,
    ended: usize,
}

/// Everything that matters of a trace.
#[derive(Default)]
struct Record {
    changes: Vec<Timed<Change>>,
    namings: Vec<Timed<Naming>>,
    /// Syncs that succeeded: of a file, or of the folder.
    syncs: Vec<Timed<Option<usize>>>,
    /// Line → an ACK was about to leave (with the client's address), or a RELEASE had come in.
    words: Vec<(usize, Ipv4Addr, Option<String>)>,
    lines: usize,
}

/// Text in which strace wrote all bytes in hexadecimal.
fn bytes(hex: &str) -> Vec<u8> {
    hex.split("\\x").skip(1).map(|byte| u8::from_str_radix(&byte[..2], 16).unwrap()).collect()
}

fn name(hex: &str) -> String {
    String::from_utf8(bytes(hex)).unwrap()
}

/// What stands between two texts, for each time they occur.
fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
}

impl Record {
    fn read(trace: &str, state: &Path) -> Self {
        let mut record = Self::default();
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut begun: HashMap<&str, (usize, &str)> = HashMap::new();
        let mut files = 0;
        let folder = state.to_str().unwrap();
        let prefix = format!("{folder}/leases.db");
        // The last line may be half written.
        let lines: Vec<&str> = trace.lines().collect();
        record.lines = lines.len() - 1;
        for (line, text) in lines[..lines.len() - 1].iter().enumerate() {
            let Some((pid, rest)) = text.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some(beginning) = rest.strip_suffix(" <unfinished ...>") {
                record.leaves(line, beginning);
                begun.insert(pid, (line, beginning));
                continue;
            }
            let (began, call) = if let Some(end) = rest.strip_prefix("<... ") {
                let Some((began, beginning)) = begun.remove(pid) else { continue };
                (began, format!("{beginning}{}", end.split_once('>').unwrap().1))
            } else {
                record.leaves(line, rest);
                (line, rest.to_owned())
            };
            record.comes(line, &call);
            let Some((asked, result)) = call.rsplit_once(" = ") else { continue };
            if result.starts_with('-') || result.starts_with('?') {
                continue;
            }
            let kind = asked.split('(').next().unwrap();
            let path = match kind {
                "openat" => between(asked, ", \"", "\"").next(),
                "rename" | "unlink" => between(asked, "(\"", "\"").next(),
                "pwrite64" | "ftruncate" | "fsync" | "fdatasync" => between(asked, "<", ">").next(),
                _ => None,
            };
            // A file without a name is of no interest any more.
            let Some(path) = path.filter(|path| !path.contains("(deleted)")).map(name) else { continue };
            if kind.ends_with("sync") && path == folder {
                record.syncs.push(Timed { what: None, began, ended: line });
                continue;
            }
            if !path.starts_with(&prefix) || path.ends_with("-shm") || path.ends_with("-lock") {
                continue;
            }
            let number = |part: &str| part.trim().trim_end_matches(')').parse::<usize>().unwrap();
            let last = || number(asked.trim_end().rsplit_once(", ").unwrap().1);
            match kind {
                "openat" => {
                    if asked.contains("O_CREAT") && !names.contains_key(&path) {
                        names.insert(path.clone(), files);
                        record.namings.push(Timed { what: Naming::Make(path, files), began, ended: line });
                        files += 1;
                    }
                    assert!(!asked.contains("O_TRUNC"), "not recorded: {asked}");
                }
                "unlink" => {
                    names.remove(&path);
                    record.namings.push(Timed { what: Naming::Remove(path), began, ended: line });
                }
                "rename" => {
                    let to = name(asked.rsplit_once(", \"").unwrap().1.trim_end_matches("\")"));
                    let file = names.remove(&path).unwrap();
                    names.insert(to.clone(), file);
                    record.namings.push(Timed { what: Naming::Rename(path, to), began, ended: line });
                }
                "pwrite64" => {
                    let bytes = bytes(between(asked, ", \"", "\"").next().unwrap());
                    assert_eq!(bytes.len(), number(result), "a write was cut short");
                    let what = Change::Write { file: names[&path], at: last(), bytes };
                    record.changes.push(Timed { what, began, ended: line });
                }
                "ftruncate" => {
                    let what = Change::Resize { file: names[&path], size: last() };
                    record.changes.push(Timed { what, began, ended: line });
                }
                _ => record.syncs.push(Timed { what: Some(names[&path]), began, ended: line }),
            }
        }
        record.changes.sort_by_key(|change| change.began);
        record
    }

    /// ACKs leave as soon as the call that sends them begins.
    fn leaves(&mut self, line: usize, call: &str) {
        if call.starts_with("sendmmsg(") {
            for message in between(call, "iov_base=\"", "\"").filter_map(message) {
                let is_ack = message.opts().msg_type() == Some(MessageType::Ack);
                if is_ack && !message.yiaddr().is_unspecified() {
                    let mac: Vec<String> =
                        message.chaddr().iter().map(|byte| format!("{byte:02x}")).collect();
                    self.words.push((line, message.yiaddr(), Some(mac.join(":"))));
                }
            }
        }
    }

    /// RELEASEs are there when the call that receives them ends.
    fn comes(&mut self, line: usize, call: &str) {
        if call.starts_with("recvmmsg(") {
            for message in between(call, "iov_base=\"", "\"").filter_map(message) {
                if message.opts().msg_type() == Some(MessageType::Release) {
                    self.words.push((line, message.ciaddr(), None));
                }
            }
        }
    }

    /// The leases that clients may rely upon before this line.
    fn promised(&self, before: usize) -> BTreeMap<Ipv4Addr, String> {
        let mut promised = BTreeMap::new();
        for (_, address, mac) in self.words.iter().filter(|(line, ..)| *line < before) {
            match mac {
                Some(mac) => promised.insert(*address, mac.clone()),
                None => promised.remove(address),
            };
        }
        promised
    }

    fn is_synced(&self, file: Option<usize>, ended: usize, before: usize) -> bool {
        self.syncs.iter().any(|sync| sync.what == file && ended < sync.began && sync.ended < before)
    }

    /// The files as power lost before this line may leave them; `-shm` never counts.
    fn disk(&self, before: usize, luck: Luck, dice: &mut Dice) -> BTreeMap<String, Vec<u8>> {
        let mut files: HashMap<usize, Vec<u8>> = HashMap::new();
        let begun = self.changes.iter().filter(|change| change.began < before);
        let pending: Vec<bool> = begun
            .clone()
            .map(|change| {
                let (Change::Write { file, .. } | Change::Resize { file, .. }) = change.what;
                !self.is_synced(Some(file), change.ended, before)
            })
            .collect();
        let cut = dice.below(pending.iter().filter(|pending| **pending).count() + 1);
        let mut seen = 0;
        for (change, pending) in begun.zip(pending) {
            seen += usize::from(pending);
            let mut arrives = |torn: bool| match luck {
                _ if !pending => true,
                Luck::None => false,
                Luck::All => true,
                Luck::Beginning => seen <= cut,
                Luck::Any | Luck::Torn => (luck == Luck::Any && torn) || dice.below(2) == 0,
            };
            match &change.what {
                Change::Resize { file, size } => {
                    if arrives(false) {
                        files.entry(*file).or_default().resize(*size, 0);
                    }
                }
                Change::Write { file, at, bytes } => {
                    if luck == Luck::Any && !arrives(false) {
                        continue;
                    }
                    for (n, sector) in bytes.chunks(512).enumerate() {
                        if !arrives(true) {
                            continue;
                        }
                        let (file, from) = (files.entry(*file).or_default(), at + n * 512);
                        let to = from + sector.len();
                        if file.len() < to {
                            file.resize(to, 0);
                        }
                        file[from..to].copy_from_slice(sector);
                    }
                }
            }
        }
        self.folder(before, luck, dice)
            .into_iter()
            .map(|(name, file)| (name, files.remove(&file).unwrap_or_default()))
            .collect()
    }

    /// Names arrive in the order in which they were given, as in the journal of a file system.
    fn folder(&self, before: usize, luck: Luck, dice: &mut Dice) -> BTreeMap<String, usize> {
        let begun: Vec<_> = self.namings.iter().filter(|naming| naming.began < before).collect();
        let synced = begun.iter().rposition(|naming| self.is_synced(None, naming.ended, before));
        let sure = synced.map_or(0, |last| last + 1);
        let count = match luck {
            Luck::None => sure,
            Luck::All => begun.len(),
            Luck::Beginning | Luck::Any | Luck::Torn => sure + dice.below(begun.len() - sure + 1),
        };
        let mut names = BTreeMap::new();
        for naming in &begun[..count] {
            match &naming.what {
                Naming::Make(name, file) => drop(names.insert(name.clone(), *file)),
                Naming::Rename(from, to) => {
                    if let Some(file) = names.remove(from) {
                        names.insert(to.clone(), file);
                    }
                }
                Naming::Remove(name) => drop(names.remove(name)),
            }
        }
        names
    }
}

fn message(hex: &str) -> Option<Message> {
    Message::decode(&mut Decoder::new(&bytes(hex))).ok()
}

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    None,
    All,
    /// The first so many writes.
    Beginning,
    /// Any writes, each whole.
    Any,
    /// Any sectors of 512 bytes of any writes.
    Torn,
}

const LUCKS: [Luck; 5] = [Luck::None, Luck::All, Luck::Beginning, Luck::Any, Luck::Torn];

// --- the test ----------------------------------------------------------------------------------------------

/// Starts the daemon under strace, from its first system call on.
fn start_traced(daemon: &Daemon, trace: &Path) {
    let calls = "trace=openat,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,sendmmsg,recvmmsg";
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-y", "-xx", "-s", "70000", "-e", calls, "-o"]).arg(trace);
    // It lives on behind the command that it started, and would hold a pipe open.
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = strace.arg(BINARY).arg("-c").arg(&daemon.config).arg("start").status().unwrap();
    assert!(status.success(), "{status}\n{}", daemon.log());
}

/// Clients take, renew and give back leases for a while.
fn traffic(port: u16, time: Duration) {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut dice = Dice(u64::from(thread) + 77);
                let mut clients: Vec<(Client, Option<Ipv4Addr>)> =
                    (0..CLIENTS).map(|n| (Client::new(thread * CLIENTS + n + 1, port), None)).collect();
                while started.elapsed() < time {
                    let (client, held) = &mut clients[dice.below(CLIENTS as usize)];
                    client.xid = client.xid.wrapping_add(1);
                    match *held {
                        None => *held = Some(client.lease()),
                        Some(address) if dice.below(4) == 0 => {
                            client.release(address);
                            *held = None;
                        }
                        Some(address) => drop(client.renew(address)),
                    }
                }
            });
        }
    });
}

fn write_disk(disk: &BTreeMap<String, Vec<u8>>, state: &Path) {
    let _ = fs::remove_dir_all(state);
    fs::create_dir_all(state).unwrap();
    for (path, bytes) in disk {
        fs::write(state.join(Path::new(path).file_name().unwrap()), bytes).unwrap();
    }
}

/// What SQLite finds on the disk.
fn in_force(file: &Path) -> rusqlite::Result<BTreeMap<Ipv4Addr, String>> {
    let connection = rusqlite::Connection::open(file)?;
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(sound, "ok");
    let mut rows = connection.prepare("SELECT ip, mac FROM lease_list WHERE state = 'active'")?;
    let rows = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    rows.map(|row| row.map(|(ip, mac)| (ip.parse().unwrap(), mac))).collect()
}

#[track_caller]
fn check(promised: &BTreeMap<Ipv4Addr, String>, found: &BTreeMap<Ipv4Addr, String>, moment: &str) {
    for (address, mac) in promised {
        assert_eq!(found.get(address), Some(mac), "{address}, acknowledged to {mac}, {moment}");
    }
}

/// How many moments are looked at; `ECHO_DAEMON_POWER_LOSS` asks for more.
fn moments() -> usize {
    std::env::var("ECHO_DAEMON_POWER_LOSS").ok().and_then(|text| text.parse().ok()).unwrap_or(48)
}

#[test]
fn acknowledged_leases_survive_a_loss_of_power_at_any_write() {
    const TEST: &str = "acknowledged_leases_survive_a_loss_of_power_at_any_write";
    if !is_root(TEST) || !has("strace", TEST) {
        return;
    }
    let daemon = Daemon::prepare(YAML);
    let (trace, state) = (daemon.folder.path().join("trace"), daemon.folder.path().join("state"));
    start_traced(&daemon, &trace);
    traffic(daemon.dhcp_port(), Duration::from_secs(3));
    daemon.run_ok(&["stop"]);
    let record = eventually("end of the trace", || {
        let text = fs::read_to_string(&trace).unwrap();
        let ended = text.matches("+++ exited").count() + text.matches("+++ killed").count();
        let begun: std::collections::HashSet<&str> =
            text.lines().filter_map(|line| line.split(' ').next()).collect();
        (ended >= begun.len()).then(|| Record::read(&text, &state))
    });
    let first = record.words.first().expect("no ACK was traced").0;
    let acks = record.words.iter().filter(|(.., mac)| mac.is_some()).count();
    assert!(acks > 20, "{acks} ACKs");
    let served = record.changes.iter().filter(|change| change.began > first).count();
    eprintln!(
        "{acks} ACKs, {} changes, {served} since the first ACK, {} syncs",
        record.changes.len(),
        record.syncs.len()
    );
    // Each ACK has its moment: when it leaves. So have all writes and syncs, before and after they took place.
    let mut all: Vec<usize> = record.words.iter().map(|(line, ..)| line + 1).collect();
    all.extend(record.changes.iter().flat_map(|change| [change.began + 1, change.ended + 1]));
    all.extend(record.syncs.iter().flat_map(|sync| [sync.began + 1, sync.ended + 1]));
    all.extend(record.namings.iter().map(|naming| naming.ended + 1));
    all.sort_unstable();
    all.dedup();
    let (early, late): (Vec<usize>, Vec<usize>) = all.into_iter().partition(|line| *line <= first);
    let mut dice = Dice(20_261_123);
    let after = Daemon::prepare(YAML);
    let after_state = after.folder.path().join("state");
    for n in 0..moments() {
        let line = late[dice.below(late.len())];
        let promised = record.promised(line);
        for luck in LUCKS {
            let moment =
                format!("power lost before line {line} of the trace, {luck:?} of what was not synced");
            write_disk(&record.disk(line, luck, &mut dice), &after_state);
            if n % 12 == 0 && luck != Luck::Any {
                starts(&after, &promised, &moment);
            } else {
                let found = in_force(&after.leases()).unwrap_or_else(|e| panic!("{e}, {moment}"));
                check(&promised, &found, &moment);
            }
        }
    }
    // While the file is made nothing is promised yet, but the next start must not be refused.
    for n in 0..moments() / 6 {
        let line = early[dice.below(early.len())];
        let luck = LUCKS[n % LUCKS.len()];
        write_disk(&record.disk(line, luck, &mut dice), &after_state);
        starts(&after, &BTreeMap::new(), &format!("new file, power lost before line {line}, {luck:?}"));
    }
}

/// The daemon itself starts on this disk, and knows the leases.
#[track_caller]
fn starts(daemon: &Daemon, promised: &BTreeMap<Ipv4Addr, String>, moment: &str) {
    common::sh("chown", &["-R", "nobody", daemon.folder.path().join("state").to_str().unwrap()]);
    let output = daemon.run(&["start"]);
    assert!(output.status.success(), "start refused, {moment}: {}", text(&output));
    let found = common::crowd::in_file(daemon);
    check(promised, &found, moment);
    daemon.run_ok(&["stop", "--force"]);
}
