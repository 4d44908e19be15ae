//! A damaged lease file is refused with what to do; `start --recover` keeps every lease that can be read, and the damaged
//! file beside it.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use common::dhcp::Client;
use common::lab::{dhcp_port, query};
use common::{Daemon, signal, text};
use nix::sys::signal::Signal;

/// A subnet on the loopback interface that a few thousand leases fit into.
const WIDE: &str = "
tcp: {enabled: false}
udp: {enabled: false}
dhcp:
  interfaces: [lo]
  port: 0
  workers: 1
  conflict_check: {method: off}
  subnets: {wide: {network: 127.0.0.0/8, interface: lo, pools: {main: {range: 127.10.0.0-127.10.255.255}}}}
";

/// A daemon that has served `WIDE` with so many imported leases, and has ended in order.
fn stopped_with(leases: u32) -> Daemon {
    let daemon = Daemon::start(WIDE);
    let rows: Vec<String> = (0..leases)
        .map(|n| {
            let [a, b] = [n / 250, n % 250];
            format!("127.10.{a}.{b},02:00:00:00:{a:02x}:{b:02x},2099-01-01 00:00:00\n")
        })
        .collect();
    let file = daemon.leases().with_file_name("import.csv");
    fs::write(&file, format!("ip,mac,expires\n{}", rows.concat())).unwrap();
    let said = daemon.run_ok(&["leases", "import", file.to_str().unwrap()]);
    assert!(said.starts_with(&format!("imported {leases}")), "{said}");
    daemon.run_ok(&["stop"]);
    daemon
}

fn addresses(daemon: &Daemon) -> BTreeSet<String> {
    query(daemon, "SELECT ip FROM lease_list").into_iter().map(|row| row.concat()).collect()
}

/// Files that were set aside, without their write-ahead logs.
fn aside(daemon: &Daemon) -> Vec<PathBuf> {
    let folder = daemon.leases().parent().unwrap().to_owned();
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("leases.db.damaged-") && !name.ends_with("-wal")
        })
        .collect();
    files.sort();
    files
}

/// A plain start is refused and changes nothing; `start --recover` serves. What the latter has said.
fn refused_then_recovered(daemon: &Daemon, reason: &str) -> String {
    let damaged = fs::read(daemon.leases()).unwrap();
    let refused = daemon.run(&["start"]);
    let words = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains(reason) && words.contains("start --recover"), "{words}");
    assert!(!daemon.pid_file().exists());
    assert_eq!(fs::read(daemon.leases()).unwrap(), damaged);
    let before = aside(daemon).len();
    let recovered = daemon.run(&["start", "--recover"]);
    let words = text(&recovered);
    assert!(recovered.status.success(), "{words}");
    let aside = aside(daemon);
    assert_eq!(aside.len(), before + 1);
    let kept = aside.last().unwrap();
    assert!(words.contains(kept.to_str().unwrap()), "{words}");
    assert_eq!(fs::read(kept).unwrap(), damaged, "as it was");
    let folder = fs::read_dir(daemon.leases().parent().unwrap()).unwrap();
    for entry in folder {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains("recover") && !name.contains("reading"), "{name} is left");
    }
    words
}

const PAGE: usize = 4096;

/// The page that a table begins with.
fn root(daemon: &Daemon, table: &str) -> usize {
    let connection = rusqlite::Connection::open(daemon.leases()).unwrap();
    let find = "SELECT rootpage FROM sqlite_master WHERE name = ?1";
    let root: i64 = connection.query_row(find, [table], |row| row.get(0)).unwrap();
    usize::try_from(root).unwrap()
}

/// Places of the pages that hold rows of the table `leases` (b-tree leaves of tables, type 13).
fn leaves(daemon: &Daemon) -> Vec<usize> {
    let file = fs::read(daemon.leases()).unwrap();
    let root = root(daemon, "leases");
    let page = |number: usize| &file[(number - 1) * PAGE..number * PAGE];
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    assert_eq!(page(root)[0], 5, "the table is large enough to have inner pages");
    let cells = number(&page(root)[3..5]);
    (0..cells)
        .map(|cell| number(&page(root)[12 + 2 * cell..14 + 2 * cell]))
        .map(|at| number(&page(root)[at..at + 4]))
        .filter(|leaf| page(*leaf)[0] == 13)
        .collect()
}

fn change(daemon: &Daemon, change: impl FnOnce(&mut Vec<u8>)) {
    let mut file = fs::read(daemon.leases()).unwrap();
    change(&mut file);
    fs::write(daemon.leases(), file).unwrap();
}

#[test]
fn destroyed_pages_cost_the_leases_on_them_and_no_others() {
    let daemon = stopped_with(2000);
    let all = addresses(&daemon);
    let leaves = leaves(&daemon);
    assert!(leaves.len() > 10);
    // One in the middle, and two with a sound one between them.
    let at = |leaf: usize| (leaf - 1) * PAGE;
    let destroyed = [leaves[3], leaves[7], leaves[9]];
    change(&daemon, |file| destroyed.iter().for_each(|leaf| file[at(*leaf)..at(*leaf) + PAGE].fill(0xff)));
    let words = refused_then_recovered(&daemon, "damaged");
    assert!(words.contains("unreadable places: "), "{words}");
    let kept = addresses(&daemon);
    assert!(kept.is_subset(&all));
    let most = 2000 / leaves.len() * 2;
    assert!(kept.len() < 2000 && 2000 - kept.len() <= 3 * most, "{} of 2000 with {most} a page", kept.len());
    // It goes on as a lease file does.
    let address = Client::new(77, dhcp_port(&daemon)).lease();
    assert!(addresses(&daemon).contains(&address.to_string()));
    daemon.run_ok(&["restart"]);
    assert!(addresses(&daemon).is_superset(&kept));
}

/// The history decides nothing, so a start does not look at all of it; the keeper finds out, and says what to do.
#[test]
fn damaged_history_stops_no_service_and_is_recovered_from() {
    let daemon = stopped_with(1000);
    let mut all = addresses(&daemon);
    let at = (root(&daemon, "lease_history") - 1) * PAGE;
    change(&daemon, |file| file[at..at + PAGE].fill(0xff));
    daemon.run_ok(&["start"]);
    all.insert(Client::new(77, dhcp_port(&daemon)).lease().to_string());
    daemon.wait_log(&["KEEPER_FAILED", "start --recover"]);
    daemon.run_ok(&["stop"]);
    let recovered = daemon.run(&["start", "--recover"]);
    assert!(recovered.status.success() && text(&recovered).contains("damaged"), "{}", text(&recovered));
    assert_eq!((aside(&daemon).len(), addresses(&daemon)), (1, all));
    daemon.run_ok(&["stop"]);
    // What is left is sound, the keeper's part included.
    daemon.run_ok(&["start", "--recover"]);
    assert_eq!(aside(&daemon).len(), 1);
}

#[test]
fn file_without_its_first_page_keeps_every_lease() {
    let daemon = stopped_with(1000);
    let all = addresses(&daemon);
    change(&daemon, |file| file[..PAGE].fill(0));
    refused_then_recovered(&daemon, "does not begin like an SQLite file");
    assert_eq!(addresses(&daemon), all);
}

#[test]
fn truncated_file_keeps_what_is_left_of_it() {
    let daemon = stopped_with(2000);
    let all = addresses(&daemon);
    let before = fs::metadata(daemon.leases()).unwrap().len();
    change(&daemon, |file| file.truncate(file.len() / 2 / PAGE * PAGE + 100));
    assert!(fs::metadata(daemon.leases()).unwrap().len() < before);
    refused_then_recovered(&daemon, "damaged");
    let kept = addresses(&daemon);
    assert!(kept.is_subset(&all) && !kept.is_empty(), "{} kept", kept.len());
}

#[test]
fn leases_that_were_not_folded_yet_are_kept_too() {
    let daemon = Daemon::start(WIDE);
    let leased: BTreeSet<String> =
        (0..20).map(|n| Client::new(n, dhcp_port(&daemon)).lease().to_string()).collect();
    // What they were granted stands in the write-ahead log.
    signal(daemon.pid(), Signal::SIGKILL);
    common::eventually("the end of the daemon", || {
        daemon.run(&["status"]).status.code().filter(|code| *code == 3)
    });
    change(&daemon, |file| {
        let middle = file.len() / 2;
        file[..100].fill(0);
        file[middle..middle + 8].fill(0xff);
    });
    let daemon_said = daemon.run(&["start", "--recover"]);
    assert!(daemon_said.status.success(), "{}", text(&daemon_said));
    assert_eq!(addresses(&daemon), leased);
    let port = dhcp_port(&daemon);
    for (n, address) in (0..20).zip((0..20).map(|n| Client::new(n, port).lease().to_string())) {
        assert!(leased.contains(&address), "client {n} keeps an address that it had");
    }
}

#[test]
fn file_of_a_later_version_is_kept_as_far_as_it_is_understood() {
    let daemon = stopped_with(300);
    let all = addresses(&daemon);
    let open = rusqlite::Connection::open(daemon.leases()).unwrap();
    open.execute_batch("ALTER TABLE leases ADD COLUMN later TEXT; PRAGMA user_version = 9;").unwrap();
    open.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).unwrap();
    drop(open);
    refused_then_recovered(&daemon, "version 9");
    assert_eq!(addresses(&daemon), all);
}

#[test]
fn row_that_is_no_lease_is_taken_from_the_log_or_left_out() {
    let daemon = stopped_with(300);
    let all = addresses(&daemon);
    let last = "(SELECT max(address) FROM leases)";
    let break_in = |table: &str| {
        let open = rusqlite::Connection::open(daemon.leases()).unwrap();
        let sql = format!("UPDATE {table} SET state = 77 WHERE address = {last}");
        assert_eq!(open.execute(&sql, []).unwrap(), 1);
    };
    break_in("leases");
    daemon.run_ok(&["start", "--recover"]);
    assert_eq!((aside(&daemon).len(), addresses(&daemon)), (1, all.clone()));
    daemon.run_ok(&["stop"]);
    break_in("leases");
    break_in("lease_log");
    daemon.run_ok(&["start", "--recover"]);
    assert_eq!((aside(&daemon).len(), addresses(&daemon).len()), (2, all.len() - 1));
}

#[test]
fn what_is_no_database_at_all_is_set_aside() {
    let daemon = stopped_with(1);
    fs::write(daemon.leases(), "these are not leases").unwrap();
    refused_then_recovered(&daemon, "SQLite");
    assert!(addresses(&daemon).is_empty());
    Client::new(7, dhcp_port(&daemon)).lease();
}

#[test]
fn another_programs_database_is_left_alone() {
    let daemon = stopped_with(1);
    fs::remove_file(daemon.leases()).unwrap();
    let open = rusqlite::Connection::open(daemon.leases()).unwrap();
    open.execute_batch("CREATE TABLE invoices (number INTEGER); PRAGMA application_id = 7;").unwrap();
    drop(open);
    let before = fs::read(daemon.leases()).unwrap();
    let refused = daemon.run(&["start", "--recover"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("another program"), "{}", text(&refused));
    assert_eq!((fs::read(daemon.leases()).unwrap(), aside(&daemon).len()), (before, 0));
}

#[test]
fn sound_file_is_left_as_it_is() {
    let daemon = stopped_with(10);
    let all = addresses(&daemon);
    daemon.run_ok(&["start", "--recover"]);
    assert_eq!((aside(&daemon).len(), addresses(&daemon)), (0, all));
}

#[test]
fn exchange_that_a_crash_has_cut_short_is_finished_by_the_next_start() {
    let daemon = stopped_with(50);
    let all = addresses(&daemon);
    let path = |end: &str| daemon.leases().with_file_name(format!("leases.db{end}"));
    // The new file is whole; the old one has lost its write-ahead log already.
    common::sh("cp", &["-a", daemon.leases().to_str().unwrap(), path(".recovered").to_str().unwrap()]);
    change(&daemon, |file| file.truncate(PAGE));
    daemon.run_ok(&["start"]);
    assert_eq!(addresses(&daemon), all);
    assert!(!path(".recovered").exists());
    assert_eq!(aside(&daemon).len(), 1);
}
