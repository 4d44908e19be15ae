//! No ACK leaves before its lease is on disk, whatever happens to the lease file: under strace, locked, unlinked, full, damaged.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::dhcp::Client;
use common::echo::metric;
use common::lab::{self, LOOPBACK, count, dhcp_port, kind, lines};
use common::strace::Strace;
use common::{Daemon, eventually, has, is_root, signal, text};
use dhcproto::v4::{DhcpOption, MessageType};
use nix::sys::signal::Signal;

/// A client that does not wait long for an answer that must not come.
fn impatient(n: u32, port: u16) -> Client {
    let client = Client::new(n, port);
    client.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    client
}

// --- the fsync between receive and send ------------------------------------------------------------------

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Call {
    Receive,
    Write,
    Sync,
    Send,
}

/// What each line of the trace says; what had no effect is left out.
fn calls(trace: &str) -> Vec<Call> {
    let call = |line: &str| {
        // The ACK may arrive, and the trace be ended, before the call that sent it has returned.
        if line.contains("sendmmsg(") && line.contains("<detached") {
            return Some(Call::Send);
        }
        let done =
            line.rsplit_once("= ").and_then(|(_, result)| result.split(' ').next()?.parse::<i64>().ok())?;
        if line.contains("recvmmsg(") && done > 0 {
            Some(Call::Receive)
        } else if line.contains("sendmmsg(") && done > 0 {
            Some(Call::Send)
        } else if line.contains("leases.db-wal>") && line.contains("sync(") && done == 0 {
            Some(Call::Sync)
        } else {
            (line.contains("leases.db-wal>") && line.contains("pwrite64(")).then_some(Call::Write)
        }
    };
    trace.lines().filter_map(call).collect()
}

/// The calls from the receipt of a REQUEST to the sending of its ACK, without repetitions.
fn traced_request(durability: &str) -> Vec<Call> {
    let store = format!("workers: 1\n  store: {{durability: {durability}}}");
    let daemon = Daemon::start(&LOOPBACK.replace("port: 0", &format!("port: 0\n  {store}")));
    let client = Client::new(1, dhcp_port(&daemon));
    let offer = client.discover().expect("no offer");
    let file = daemon.folder.path().join("trace");
    let to = file.to_str().unwrap();
    let trace = Strace::attach(
        &[daemon.worker("dhcp 0")],
        &["-y", "-e", "trace=recvmmsg,sendmmsg,fsync,fdatasync,pwrite64", "-o", to],
    );
    client.socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ack = client.select(&offer).expect("no ack");
    assert_eq!(kind(&ack), MessageType::Ack);
    trace.finish();
    let text = fs::read_to_string(&file).unwrap();
    let mut calls = calls(&text);
    let sent =
        calls.iter().position(|call| *call == Call::Send).unwrap_or_else(|| panic!("no send in {text}"));
    calls.truncate(sent + 1);
    let received = calls.iter().rposition(|call| *call == Call::Receive);
    let mut calls =
        calls.split_off(received.unwrap_or_else(|| panic!("no receive before the send in {text}")));
    calls.dedup();
    calls
}

#[test]
fn ack_leaves_after_the_fsync_of_its_lease() {
    const TEST: &str = "ack_leaves_after_the_fsync_of_its_lease";
    if !is_root(TEST) || !has("strace", TEST) {
        return;
    }
    // The header of a write-ahead log that begins anew is written and synced before the rows.
    let durable = traced_request("power-loss");
    assert!(durable.ends_with(&[Call::Write, Call::Sync, Call::Send]), "{durable:?}");
    // Where the administrator does without it, there is none: so the trace would show it if it were missing.
    let fast = traced_request("process");
    assert!(fast.ends_with(&[Call::Write, Call::Send]), "{fast:?}");
}

// --- a lease file that cannot be written ----------------------------------------------------------------

#[test]
fn locked_file_stops_acks_only_and_service_resumes_by_itself() {
    let daemon = Daemon::start(LOOPBACK);
    let port = dhcp_port(&daemon);
    let holder = Client::new(1, port);
    let held = holder.lease();
    let offer = Client::new(2, port).discover().expect("no offer");
    let program = rusqlite::Connection::open(daemon.leases()).unwrap();
    program.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = Instant::now();
    let client = impatient(2, port);
    let wish = [
        DhcpOption::RequestedIpAddress(offer.yiaddr()),
        DhcpOption::ServerIdentifier(lab::server_id(&offer).unwrap()),
    ];
    let request = client.message(MessageType::Request, &wish);
    // The first time each worker gives the other program a while.
    eventually("both workers find the file locked", || {
        client.send(&request);
        assert_eq!(client.receive(), None, "nothing may be acknowledged");
        let failed = |worker| lines(&daemon, &["ERROR", worker, "LEASE_STORE_FAILED"]) == 1;
        (failed("dhcp 0]") && failed("dhcp 1]")).then_some(())
    });
    let renewing = impatient(1, port);
    let mut renewal = renewing.message(MessageType::Request, &[]);
    renewal.set_ciaddr(held);
    renewing.send(&renewal);
    // Offers and status need no lease to be written.
    for n in 3..13 {
        // Each behind a REQUEST that tries the file again: the wait for it is short once it is known to be locked.
        renewing.send(&renewal);
        let newcomer = Client::new(n, port);
        newcomer.socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        newcomer.send(&newcomer.message(MessageType::Discover, &[]));
        let offered = newcomer.receive().expect("no offer within a second while the file is locked");
        assert_eq!(kind(&offered), MessageType::Offer);
    }
    assert_eq!(daemon.status()["endpoints"].as_array().unwrap().len(), 2);
    while locked.elapsed() < Duration::from_mins(1) {
        renewing.send(&renewal);
        assert_eq!(renewing.receive(), None, "nothing may be acknowledged");
    }
    assert_eq!(count(&daemon, "SELECT count(*) FROM lease_log"), 1);
    program.execute_batch("ROLLBACK").unwrap();
    let ack = lab::until(&client, &request, MessageType::Ack);
    assert_eq!(ack.yiaddr(), offer.yiaddr());
    assert_eq!(lab::until(&renewing, &renewal, MessageType::Ack).yiaddr(), held);
    daemon.wait_log(&["LEASE_STORE_RECOVERED"]);
    assert_eq!(lines(&daemon, &["WORKER_DIED"]), 0);
}

/// While these calls of the DHCP workers fail with EIO.
fn failing_calls_stop_acks_only(calls: &str) {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error=EIO"));
    let fault = |daemon: &Daemon| {
        let workers = [daemon.worker("dhcp 0"), daemon.worker("dhcp 1")];
        Strace::attach(&workers, &["-e", &trace, "-e", &inject, "-o", "/dev/null"])
    };
    fault_stops_acks_only(&Daemon::start(LOOPBACK), fault, Strace::finish);
}

/// From the fault to its end nothing is acknowledged, whoever asks, and it is said; afterwards everybody is served again.
fn fault_stops_acks_only<T>(daemon: &Daemon, fault: impl FnOnce(&Daemon) -> T, end: impl FnOnce(T)) {
    let port = dhcp_port(daemon);
    let held = Client::new(1, port).lease();
    let offer = Client::new(2, port).discover().expect("no offer");
    let fault = fault(daemon);
    let (renewing, client) = (impatient(1, port), impatient(2, port));
    let mut renewal = renewing.message(MessageType::Request, &[]);
    renewal.set_ciaddr(held);
    let wish = [
        DhcpOption::RequestedIpAddress(offer.yiaddr()),
        DhcpOption::ServerIdentifier(lab::server_id(&offer).unwrap()),
    ];
    let request = client.message(MessageType::Request, &wish);
    eventually("both workers find the disk failing", || {
        for (client, message) in [(&client, &request), (&renewing, &renewal)] {
            client.send(message);
            assert_eq!(client.receive(), None, "nothing may be acknowledged");
        }
        let failed = |worker| lines(daemon, &["ERROR", worker, "LEASE_STORE_FAILED"]) > 0;
        (failed("dhcp 0]") && failed("dhcp 1]")).then_some(())
    });
    assert!(Client::new(3, port).discover().is_some(), "offers need no disk");
    assert_eq!(daemon.status()["endpoints"].as_array().unwrap().len(), 2);
    assert!(metric(daemon, "echo_daemon_errors_total{kind=\"lease_store\"}") > 0);
    end(fault);
    assert_eq!(lab::until(&client, &request, MessageType::Ack).yiaddr(), offer.yiaddr());
    assert_eq!(lab::until(&renewing, &renewal, MessageType::Ack).yiaddr(), held);
    daemon.wait_log(&["LEASE_STORE_RECOVERED"]);
    assert_eq!(lines(daemon, &["WORKER_DIED"]), 0);
    // What was acknowledged is in the file that others read.
    let active = "SELECT count(DISTINCT address) FROM lease_list WHERE state = 'active'";
    assert_eq!(count(daemon, active), 2);
}

#[test]
fn sync_that_fails_stops_acks_only_and_service_resumes_by_itself() {
    if has("strace", "sync_that_fails_stops_acks_only_and_service_resumes_by_itself") {
        failing_calls_stop_acks_only("fsync,fdatasync");
    }
}

#[test]
fn write_that_fails_stops_acks_only_and_service_resumes_by_itself() {
    if has("strace", "write_that_fails_stops_acks_only_and_service_resumes_by_itself") {
        failing_calls_stop_acks_only("pwrite64");
    }
}

/// Files that not even root may write, nor who has them open (chattr(1)), as on a disk that the kernel has made read-only.
struct Immutable(Vec<String>);

impl Immutable {
    fn mark(&self, how: &str) -> bool {
        Command::new("chattr").arg(how).args(&self.0).output().unwrap().status.success()
    }

    fn new(files: Vec<String>) -> Option<Self> {
        let files = Self(files);
        files.mark("+i").then_some(files)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        self.mark("-i");
    }
}

#[test]
fn file_that_nobody_may_write_stops_acks_only_and_service_resumes_by_itself() {
    const TEST: &str = "file_that_nobody_may_write_stops_acks_only_and_service_resumes_by_itself";
    if !has("chattr", TEST) || !is_root(TEST) {
        return;
    }
    let daemon = Daemon::start(LOOPBACK);
    let files = || ["", "-wal"].map(|end| format!("{}{end}", daemon.leases().display())).to_vec();
    if Immutable::new(files()).is_none() {
        eprintln!("skipped: {TEST}: no file can be made immutable here");
        return;
    }
    fault_stops_acks_only(&daemon, |_| Immutable::new(files()).unwrap(), drop);
}

#[test]
fn deleted_file_stops_acks_with_an_alarm_and_is_never_made_anew() {
    let daemon = Daemon::start(LOOPBACK);
    let port = dhcp_port(&daemon);
    let client = impatient(1, port);
    let leased = client.lease();
    let newcomer = impatient(2, port);
    let offer = newcomer.discover().expect("no offer");
    fs::remove_file(daemon.leases()).unwrap();
    for (client, address) in [(&client, leased), (&newcomer, offer.yiaddr())] {
        let mut renewal = client.message(MessageType::Request, &[]);
        renewal.set_ciaddr(address);
        for _ in 0..3 {
            client.send(&renewal);
            assert_eq!(client.receive(), None);
        }
    }
    let alarm = daemon.wait_log(&["ERROR", "LEASE_STORE_FAILED", "dhcp"]);
    assert!(alarm.contains("leases.db"), "{alarm}");
    // A worker that is forked anew finds no file either.
    signal(daemon.worker("dhcp 0"), Signal::SIGKILL);
    daemon.wait_log(&["WORKER_DIED", "dhcp 0 has died: killed"]);
    eventually("the new worker has looked for the file", || {
        (lines(&daemon, &["WORKER_DIED", "dhcp 0"]) > 1).then_some(())
    });
    assert!(!daemon.leases().exists(), "an empty file would lease every address again");
}

#[test]
fn moved_file_is_missed_and_found_again() {
    let daemon = Daemon::start(LOOPBACK);
    let client = impatient(1, dhcp_port(&daemon));
    let leased = client.lease();
    let aside = daemon.folder.path().join("aside.db");
    fs::rename(daemon.leases(), &aside).unwrap();
    // Another file in its place is not it either.
    fs::copy(&aside, daemon.leases()).unwrap();
    let mut renewal = client.message(MessageType::Request, &[]);
    renewal.set_ciaddr(leased);
    client.send(&renewal);
    daemon.wait_log(&["ERROR", "LEASE_STORE_FAILED", "dhcp"]);
    assert_eq!(client.receive(), None);
    fs::rename(&aside, daemon.leases()).unwrap();
    assert_eq!(lab::until(&client, &renewal, MessageType::Ack).yiaddr(), leased);
}

/// A small file system, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size},mode=0755,uid={}", nobody());
        common::sh("mount", &["-t", "tmpfs", "-o", &options, "none", at.to_str().unwrap()]);
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn nobody() -> nix::unistd::Uid {
    nix::unistd::User::from_name("nobody").unwrap().unwrap().uid
}

#[test]
fn full_disk_stops_acks_only_and_service_resumes_by_itself() {
    if !is_root("full_disk_stops_acks_only_and_service_resumes_by_itself") {
        return;
    }
    let daemon = Daemon::prepare(LOOPBACK);
    let disk = SmallDisk::new(daemon.folder.path().join("state"), "2m");
    daemon.run_ok(&["start"]);
    let port = dhcp_port(&daemon);
    let client = impatient(1, port);
    let leased = client.lease();
    let ballast = disk.0.join("ballast");
    let filled =
        fs::File::create(&ballast).and_then(|mut file| std::io::copy(&mut std::io::repeat(0), &mut file));
    assert!(filled.is_err());
    let newcomer = impatient(2, port);
    // What is left of the last page may hold a few more leases.
    let offer = eventually("the lease file cannot grow", || {
        let offer = newcomer.discover().expect("no offer");
        let wish = [
            DhcpOption::RequestedIpAddress(offer.yiaddr()),
            DhcpOption::ServerIdentifier(lab::server_id(&offer).unwrap()),
        ];
        newcomer.send(&newcomer.message(MessageType::Request, &wish));
        let granted = newcomer.receive().is_some();
        if granted {
            newcomer.release(offer.yiaddr());
        }
        (!granted).then_some(offer)
    });
    let line = daemon.wait_log(&["ERROR", "LEASE_STORE_FAILED", "dhcp"]);
    assert!(line.contains("full"), "{line}");
    assert_eq!(kind(&newcomer.discover().expect("no offer while the disk is full")), MessageType::Offer);
    fs::remove_file(&ballast).unwrap();
    let mut renewal = client.message(MessageType::Request, &[]);
    renewal.set_ciaddr(leased);
    assert_eq!(lab::until(&client, &renewal, MessageType::Ack).yiaddr(), leased);
    // The other worker may not have noticed yet that it can write again.
    let select = || newcomer.discover().and_then(|offer| newcomer.select(&offer));
    assert_eq!(eventually("a lease for the newcomer", select).yiaddr(), offer.yiaddr());
    assert_eq!(lines(&daemon, &["WORKER_DIED"]), 0);
    daemon.run_ok(&["stop"]);
}

#[test]
fn file_that_cannot_be_used_is_refused_with_the_reason_and_left_alone() {
    let daemon = Daemon::start(LOOPBACK);
    daemon.run_ok(&["stop"]);
    let refuse = |reason: &str| {
        let before = fs::read(daemon.leases()).unwrap();
        let output = daemon.run(&["start"]);
        let words = text(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains("leases.db") && words.contains(reason), "{words}");
        assert!(!daemon.pid_file().exists());
        assert_eq!(fs::read(daemon.leases()).unwrap(), before);
    };
    let open = || rusqlite::Connection::open(daemon.leases()).unwrap();
    let set = |pragma: &str, value: i64| open().pragma_update(None, pragma, value).unwrap();
    let version: i64 = open().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    set("user_version", version + 1);
    refuse(&format!("version {}", version + 1));
    set("user_version", version);
    let id: i64 = open().pragma_query_value(None, "application_id", |row| row.get(0)).unwrap();
    set("application_id", 7);
    refuse("another program");
    set("application_id", id);
    daemon.run_ok(&["start"]);
    daemon.run_ok(&["stop"]);
    fs::write(daemon.leases(), "these are not leases").unwrap();
    refuse("SQLite");
}
