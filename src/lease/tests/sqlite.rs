//! The lease file itself: preparation, catching up, failures, the list for people.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::config::model::Durability;

/// A lease file in a folder that goes with it.
pub(super) struct File {
    pub(super) folder: TempDir,
}

impl File {
    pub(super) fn new() -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap() };
        prepare(&file.path(), Durability::Process).unwrap();
        file
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("leases.db")
    }

    pub(super) fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), Durability::Process).unwrap()
    }

    pub(super) fn manager(&self, topology: &Arc<Topology>, offers: Offers) -> LeaseManager<SqliteStore> {
        LeaseManager::open(Arc::clone(topology), settings(), self.store(), offers).unwrap()
    }

    /// As an administrator's sqlite3.
    pub(super) fn foreign(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    pub(super) fn count(&self, sql: &str) -> i64 {
        self.foreign().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

pub(super) fn topology() -> Arc<Topology> {
    lan("10.0.0.100-10.0.0.199")
}

/// The time of the file, for what the list says of the present.
pub(super) fn present(file: &File) -> Timestamp {
    file.store().clock().unwrap().now()
}

#[test]
fn hardware_address_of_who_uses_an_address_is_kept_in_the_file() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    let address = ip("10.0.0.101");
    let by = client(9).hardware;
    engine.at(START, |m| m.conflict(address, Some(by))).unwrap();
    let lease = file.manager(&topology(), Offers::private()).lease_at(address).unwrap();
    assert_eq!((lease.state, lease.client.hardware), (LeaseState::Conflict, by));
    assert!(lease.client.key.as_bytes().is_empty(), "nobody holds it");
}

#[test]
fn lease_survives_a_restart_with_all_its_fields() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    let odd = Client {
        client_id: Some(b"\x01\xff\x00"[..].into()),
        hostname: Some(b"a\nb"[..].into()),
        relay: Some(ip("10.0.0.1")),
        circuit_id: Some(b"c\0"[..].into()),
        remote_id: Some(b""[..].into()),
        vendor_class: Some(b"PXE"[..].into()),
        ..client(1)
    };
    let address = ip("10.0.0.150");
    engine.at(START, |m| m.request(&odd, &LAN, Ask::Selecting(address), &hour));
    let lease = engine.lease_at(address).unwrap();
    drop(engine);
    assert_eq!(lease.client, odd);
    assert_eq!(file.manager(&topology(), Offers::private()).lease_at(address), Some(lease));
}

#[test]
fn other_worker_sees_what_was_committed_and_not_what_was_not() {
    let file = File::new();
    let offers = Offers::private();
    let mut one = file.manager(&topology(), offers);
    let mut two = file.manager(&topology(), offers);
    let address = one.lease(START, 1);
    two.begin(Access::Read, START).unwrap();
    assert_eq!(two.lease_at(address).unwrap().client, client(1));
    one.begin(Access::Write, START).unwrap();
    one.release(&client(1), address);
    two.begin(Access::Read, START).unwrap();
    assert_eq!(two.lease_at(address).unwrap().state, LeaseState::Active);
    one.commit().unwrap();
    two.begin(Access::Write, START).unwrap();
    assert_eq!(two.lease_at(address).unwrap().state, LeaseState::Released);
}

#[test]
fn locked_file_is_busy_and_nothing_has_happened() {
    let file = File::new();
    let mut store = file.store();
    store.set_patience(Duration::from_millis(1)).unwrap();
    let mut engine = LeaseManager::open(topology(), settings(), store, Offers::private()).unwrap();
    let address = engine.discover_at(START, 1).unwrap();
    let foreign = file.foreign();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(engine.begin(Access::Write, START), Err(StoreError::Busy { .. })));
    foreign.execute_batch("ROLLBACK").unwrap();
    assert_eq!(file.count("SELECT count(*) FROM lease_log"), 0);
    assert_eq!(acked(engine.ask_at(START, 1, Ask::Selecting(address))), Some(address));
}

#[test]
fn writers_of_ours_wait_for_each_other() {
    let file = File::new();
    let mut one = file.manager(&topology(), Offers::private());
    let mut store = file.store();
    store.set_patience(Duration::from_millis(1)).unwrap();
    one.begin(Access::Write, START).unwrap();
    assert!(matches!(store.begin(), Err(StoreError::Busy { .. })));
    one.abort();
    store.begin().unwrap();
}

#[test]
fn unlinked_file_is_never_acknowledged_from() {
    for part in ["leases.db", "leases.db-wal"] {
        let file = File::new();
        let mut engine = file.manager(&topology(), Offers::private());
        let address = engine.lease(START, 1);
        engine.begin(Access::Write, START).unwrap();
        engine.release(&client(1), address);
        std::fs::remove_file(file.folder.path().join(part)).unwrap();
        assert!(matches!(engine.commit(), Err(StoreError::Gone { .. })), "{part}");
        assert!(matches!(engine.begin(Access::Write, START), Err(StoreError::Gone { .. })));
        assert_eq!(engine.lease_at(address).unwrap().state, LeaseState::Active);
    }
}

#[test]
fn replaced_file_is_gone_too() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    std::fs::copy(file.path(), file.folder.path().join("copy")).unwrap();
    std::fs::rename(file.folder.path().join("copy"), file.path()).unwrap();
    assert!(matches!(engine.begin(Access::Write, START), Err(StoreError::Gone { .. })));
}

#[test]
fn gap_in_the_log_is_noticed_and_everything_read_anew() {
    let file = File::new();
    let offers = Offers::private();
    let (mut one, mut two) = (file.manager(&topology(), offers), file.manager(&topology(), offers));
    let first = one.lease(START, 1);
    let second = one.lease(START, 2);
    one.at(START, |m| m.release(&client(1), first));
    keeper::keeper(&file).finish().unwrap();
    file.foreign().execute_batch("DELETE FROM lease_log WHERE seq < 3").unwrap();
    two.begin(Access::Read, START).unwrap();
    assert_eq!(two.lease_at(first).unwrap().state, LeaseState::Released);
    assert_eq!(two.lease_at(second).unwrap().client, client(2));
    assert_eq!(two.gauges(), one.gauges());
    // The numbers go on where they were.
    two.lease(START, 3);
    assert_eq!(file.count("SELECT max(seq) FROM lease_log"), 4);
}

#[test]
fn new_file_is_private_to_its_owner_and_group() {
    let file = File::new();
    drop(file.manager(&topology(), Offers::private()));
    for entry in std::fs::read_dir(file.folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o027, 0, "{mode:o}");
    }
}

#[test]
fn prepare_keeps_what_is_there_and_its_clock() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    let address = engine.lease(START, 1);
    drop(engine);
    let clock = file.store().clock().unwrap();
    prepare(&file.path(), Durability::PowerLoss).unwrap();
    assert_eq!(file.store().clock().unwrap(), clock);
    assert!(file.manager(&topology(), Offers::private()).lease_at(address).is_some());
    // Another boot: the clock starts anew, never before the newest row.
    file.foreign().execute_batch("UPDATE meta SET value = 'other' WHERE key = 'boot_id'").unwrap();
    prepare(&file.path(), Durability::PowerLoss).unwrap();
    assert!(present(&file) >= START);
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    let refused = |wanted: &str| {
        let before = std::fs::read(&path).unwrap();
        let error = prepare(&path, Durability::Process).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains("leases.db"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    };
    std::fs::write(&path, "not a database, but long enough to look").unwrap();
    refused("does not begin like an SQLite file");
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    refused("another program");
    std::fs::remove_file(&path).unwrap();
    prepare(&path, Durability::Process).unwrap();
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    refused("schema version 99");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    let error = prepare(&path, Durability::Process).unwrap_err().to_string();
    assert!(error.contains("symbolic link") && !folder.path().join("elsewhere").exists(), "{error}");
}

#[test]
fn damaged_file_is_refused() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    engine.at(START, |m| {
        for n in 0..90 {
            m.request(&client(n), &LAN, Ask::Selecting(Ipv4Addr::from(0x0a00_0064 + n)), &hour);
        }
    });
    drop(engine);
    keeper::keeper(&file).finish().unwrap();
    file.foreign().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut bytes = std::fs::read(file.path()).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page[8..200].fill(0xa5);
    }
    std::fs::write(file.path(), bytes).unwrap();
    assert!(matches!(prepare(&file.path(), Durability::Process), Err(StoreError::Damaged { .. })));
}

#[test]
fn list_shows_every_committed_lease_folded_or_not_and_creates_nothing() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    let now = present(&file);
    let hostile = Client {
        hostname: Some(b"x\x1b[2J"[..].into()),
        client_id: Some(b"\x01\xab"[..].into()),
        ..client(2)
    };
    engine.at(now, |m| m.request(&client(1), &LAN, Ask::Selecting(ip("10.0.0.101")), &hour));
    keeper::keeper(&file).finish().unwrap();
    engine.at(now, |m| {
        m.request(&hostile, &LAN, Ask::Selecting(ip("10.0.0.102")), &hour);
        m.request(&client(3), &LAN, Ask::Selecting(ip("10.0.0.103")), &|_| u32::MAX);
        m.request(&client(1), &LAN, Ask::Selecting(ip("10.0.0.100")), &hour);
    });
    let found = |search: Search| {
        let found = search.run(&Reader::open(&file.path()).unwrap()).unwrap();
        let view = |lease| LeaseView::new(lease, found.times, Times::local);
        found.leases.iter().map(view).collect::<Vec<_>>()
    };
    let check = || {
        let rows = found(Search::default());
        let shown: Vec<_> =
            rows.iter().map(|r| (r.ip.as_str(), r.state.as_str(), r.hostname.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("10.0.0.100", "active", "host-1"),
                ("10.0.0.101", "released", "host-1"),
                ("10.0.0.102", "active", "x\\x1b[2J"),
                ("10.0.0.103", "active", "host-3"),
            ]
        );
        assert_eq!((rows[2].mac.as_str(), rows[2].client_id.as_str()), ("02:00:00:00:00:02", "01:ab"));
        assert_eq!((rows[3].expires.as_str(), rows[3].client_id.as_str()), ("never", ""));
        // The view for sqlite3 says the same.
        let sql = "SELECT ip, mac, coalesce(client_id, ''), hostname, subnet, pool, state, starts, expires \
                   FROM lease_list ORDER BY address";
        let foreign = file.foreign();
        let mut statement = foreign.prepare(sql).unwrap();
        let text =
            |row: &rusqlite::Row<'_>| (0..9).map(|i| row.get::<_, String>(i)).collect::<Result<Vec<_>, _>>();
        let view: Vec<_> = statement.query_map([], text).unwrap().map(Result::unwrap).collect();
        let ours: Vec<_> = rows
            .into_iter()
            .map(|r| {
                vec![r.ip, r.mac, r.client_id, r.hostname, r.subnet, r.pool, r.state, r.starts, r.expires]
            })
            .collect();
        assert_eq!(view, ours);
    };
    check();
    let one = |search| found(search).into_iter().map(|lease| lease.ip).collect::<Vec<_>>();
    assert_eq!(one(Search { state: Some(LeaseState::Released), ..Search::default() }), ["10.0.0.101"]);
    assert_eq!(one(Search { mac: Some(vec![2, 0, 0, 0, 0, 3]), ..Search::default() }), ["10.0.0.103"]);
    let page = Search { after: Some(ip("10.0.0.100")), limit: 2, ..Search::default() };
    assert_eq!(one(page), ["10.0.0.101", "10.0.0.102"]);
    // On a stopped daemon: SQLite's files are gone, and none comes back.
    drop(engine);
    let names = || {
        let entries = std::fs::read_dir(file.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    assert_eq!(before, ["leases.db", "leases.db-lock"]);
    assert_eq!(one(Search::default()).len(), 4);
    assert_eq!(names(), before);
    check();
}
