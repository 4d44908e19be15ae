//! What stands in the lease file, as people, commands and other programs read it: the log, the folded leases, the history.

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::dhcp::Client;
use common::lab::{self, LOOPBACK, count, dhcp_port, kind, query};
use common::{Daemon, eventually};
use dhcproto::v4::{DhcpOption, MessageType};
use serde_json::Value;

#[test]
fn log_view_leases_and_history_tell_one_story() {
    let daemon = Daemon::start(LOOPBACK);
    let client = Client::new(0x0a0b_0c0d, dhcp_port(&daemon));
    let named = [DhcpOption::Hostname("laptop".into()), DhcpOption::ClientIdentifier(vec![0, 0x6c, 0x61])];
    let offer = client.ask(&client.message(MessageType::Discover, &named)).expect("no offer");
    let wish = [
        DhcpOption::RequestedIpAddress(offer.yiaddr()),
        DhcpOption::ServerIdentifier(lab::server_id(&offer).unwrap()),
    ];
    let ask = [named.as_slice(), &wish].concat();
    let ack = client.ask(&client.message(MessageType::Request, &ask)).expect("no ack");
    let address = ack.yiaddr();
    // At once: nobody has folded it yet, or somebody has; the view shows it either way.
    let columns = "ip, mac, client_id, hostname, subnet, pool, state";
    let shown = query(&daemon, &format!("SELECT {columns} FROM lease_list"));
    let row = |state: &str| {
        [&address.to_string(), "02:00:0a:0b:0c:0d", "00:6c:61", "laptop", "lan", "main", state]
            .map(str::to_owned)
    };
    assert_eq!(shown, [row("active")]);
    let until = "SELECT (strftime('%s', expires) - strftime('%s', starts)), abs(strftime('%s', starts) - \
                 strftime('%s', 'now', 'localtime')) < 60 FROM lease_list";
    assert_eq!(query(&daemon, until), [["3600", "1"]], "local time, an hour apart");
    assert_eq!(query(&daemon, "SELECT seq, event FROM lease_log"), [["1", "granted"]]);
    wait_folded(&daemon, 1);
    let number = u32::from(address);
    assert_eq!(query(&daemon, "SELECT address, state FROM leases"), [[number.to_string(), "0".into()]]);
    let history = "SELECT address, ended, ends - starts FROM lease_history";
    assert_eq!(query(&daemon, history), [[number.to_string(), "active".into(), "3600".into()]]);
    assert_eq!(query(&daemon, &format!("SELECT {columns} FROM lease_list")), [row("active")]);
    let mut renewal = client.message(MessageType::Request, &named);
    renewal.set_ciaddr(address);
    client.ask(&renewal).expect("no ack");
    let mut release = client.message(MessageType::Release, &named);
    release.set_ciaddr(address);
    client.send(&release);
    daemon.wait_log(&["DHCP_LEASE_RELEASED"]);
    let events = query(&daemon, "SELECT event FROM lease_log ORDER BY seq").concat();
    assert_eq!(
        (events.first().map(String::as_str), events.last().map(String::as_str)),
        (Some("granted"), Some("released"))
    );
    assert_eq!(query(&daemon, &format!("SELECT {columns} FROM lease_list")), [row("released")]);
    wait_folded(&daemon, events.len() as u64);
    let history = query(&daemon, "SELECT address, ended FROM lease_history");
    assert_eq!(history, [[number.to_string(), "released".to_owned()]], "renewals of one holder are one row");
    assert_eq!(query(&daemon, &format!("SELECT {columns} FROM lease_list")), [row("released")]);
}

/// The keeper has folded the log up to this row.
#[track_caller]
fn wait_folded(daemon: &Daemon, to: u64) {
    eventually("the keeper folds the log", || {
        (count(daemon, "SELECT value FROM meta WHERE key = 'folded_to'") >= to).then_some(())
    });
}

#[test]
fn keeper_prunes_a_long_log() {
    // The keeper leaves 10,000 rows for those who catch up, so this log is written by other means: as a foreign
    // writer that appends well-formed rows would.
    let daemon = Daemon::start(LOOPBACK);
    let client = Client::new(1, dhcp_port(&daemon));
    let leased = client.lease();
    let file = rusqlite::Connection::open(daemon.leases()).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    let columns = "event, address, client, hw_type, mac, client_id, hostname, hostname_raw, subnet, pool, state, \
                   starts, expires, declines, relay, circuit_id, remote_id, vendor_class";
    let append = format!(
        "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 14000) INSERT INTO lease_log \
         (seq, at, {columns}) SELECT n.i, l.at, {} FROM n, lease_log AS l WHERE l.seq = 1",
        columns.replace("event", "'renewed'")
    );
    file.execute(&append, []).unwrap();
    wait_folded(&daemon, 14_000);
    eventually("the keeper prunes the log", || {
        (count(&daemon, "SELECT count(*) FROM lease_log") < 12_000).then_some(())
    });
    assert_eq!(count(&daemon, "SELECT max(seq) FROM lease_log"), 14_000);
    assert_eq!(query(&daemon, "SELECT ip, state FROM lease_list"), [[leased.to_string(), "active".into()]]);
    assert_eq!(count(&daemon, "SELECT count(*) FROM lease_history"), 1);
    assert_eq!(client.renew(leased).map(|answer| kind(&answer)), Some(MessageType::Ack));
}

#[test]
fn lease_that_runs_out_is_said_and_shown() {
    let daemon = Daemon::start(
        &LOOPBACK.replace("port: 0", "port: 0\n  lease_time: {default: 10s, min: 10s, max: 10s}"),
    );
    let port = dhcp_port(&daemon);
    let client = Client::new(1, port);
    let leased = client.lease();
    let line = daemon.wait_log(&["DHCP_LEASE_EXPIRED", &leased.to_string()]);
    assert!(line.contains("mac=02:00:00:00:00:01") && line.contains("keeper"), "{line}");
    assert_eq!(query(&daemon, "SELECT ip, state FROM lease_list"), [[leased.to_string(), "expired".into()]]);
    assert_eq!(list(&daemon)[0]["state"], "expired");
    let secs = "SELECT expires - starts FROM lease_log WHERE event = 'granted'";
    assert_eq!(count(&daemon, secs), 10);
    wait_folded(&daemon, 2);
    assert_eq!(query(&daemon, "SELECT ended FROM lease_history"), [["expired"]]);
    // It is the client's until somebody needs it.
    assert_eq!(client.discover().unwrap().yiaddr(), leased);
}

fn list(daemon: &Daemon) -> Vec<Value> {
    let shown: Value = serde_json::from_str(&daemon.run_ok(&["leases", "list", "--json"])).unwrap();
    shown.as_array().unwrap().clone()
}

#[test]
fn list_shows_the_leases_of_a_running_and_of_a_stopped_daemon() {
    let daemon = Daemon::start(LOOPBACK);
    let port = dhcp_port(&daemon);
    let mut leased: Vec<Ipv4Addr> = (1..=3).map(|n| Client::new(n, port).lease()).collect();
    let released = leased[2];
    Client::new(3, port).release(released);
    daemon.wait_log(&["DHCP_LEASE_RELEASED"]);
    leased.sort_unstable();
    for state in ["running", "stopped"] {
        let rows = list(&daemon);
        let ips: Vec<&str> = rows.iter().map(|row| row["ip"].as_str().unwrap()).collect();
        assert_eq!(ips, leased.iter().map(ToString::to_string).collect::<Vec<_>>(), "{state}");
        for row in &rows {
            let wanted = if row["ip"] == released.to_string() { "released" } else { "active" };
            assert_eq!(
                (row["state"].as_str(), row["subnet"].as_str()),
                (Some(wanted), Some("lan")),
                "{state}"
            );
            assert!(row["mac"].as_str().unwrap().starts_with("02:00:00:00:00:0"));
        }
        let csv = daemon.run_ok(&["leases", "list", "--csv", "--state", "active"]);
        let mut table = csv.lines();
        assert_eq!(table.next(), Some("ip,mac,client_id,hostname,subnet,pool,state,starts,expires"));
        assert_eq!(table.count(), 2, "{csv}");
        if state == "running" {
            daemon.run_ok(&["stop"]);
        }
    }
}
