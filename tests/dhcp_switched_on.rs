//! A reload may switch DHCP on: the lease file is made ready then, as a start would have done.

mod common;

use common::dhcp::Client;
use common::{Daemon, ECHO, sh};
use dhcproto::v4::MessageType;

const ON: &str = "\
tcp: {enabled: false}
udp: {enabled: false}
dhcp: {interfaces: [lo], port: 0, subnets: {demo: {network: 127.0.0.0/8, interface: lo, pools: {main: {range: 127.100.0.10-127.100.0.50}}}}}
";

#[test]
fn a_reload_that_switches_dhcp_on_makes_the_lease_file() {
    let daemon = Daemon::start(ECHO);
    assert!(!daemon.leases().exists());
    daemon.write_config(ON);
    daemon.run_ok(&["reload"]);
    Client::new(1, daemon.dhcp_port()).lease();
}

#[test]
fn a_lease_file_of_another_boot_gets_the_clock_of_this_one() {
    let daemon = Daemon::start(ON);
    let client = Client::new(1, daemon.dhcp_port());
    let address = client.lease();
    daemon.run_ok(&["stop"]);
    let path = daemon.leases();
    let path = path.to_str().unwrap();
    if !common::has("sqlite3", "a_lease_file_of_another_boot_gets_the_clock_of_this_one") {
        return;
    }
    // As the boot before left it: its boot time had come much further than ours.
    let newest = sh(
        "sqlite3",
        &[
            path,
            "SELECT max(at) FROM (SELECT value AS at FROM meta WHERE key = 'newest' UNION SELECT max(at) FROM lease_log)",
        ],
    );
    sh(
        "sqlite3",
        &[
            path,
            "UPDATE meta SET value = 'another' WHERE key = 'boot_id'; UPDATE meta SET value = value - 1000000000 WHERE key = 'clock_offset'",
        ],
    );
    daemon.write_config(ECHO);
    daemon.run_ok(&["start"]);
    daemon.write_config(ON);
    daemon.run_ok(&["reload"]);
    let client = Client::new(1, daemon.dhcp_port());
    let reply = client.renew(address).expect("an answer");
    assert_eq!(reply.opts().msg_type(), Some(MessageType::Ack));
    let renewed = sh("sqlite3", &[path, "SELECT at FROM lease_log ORDER BY seq DESC LIMIT 1"]);
    let [newest, renewed] = [newest, renewed].map(|text| text.trim().parse::<i64>().unwrap());
    assert!(renewed >= newest, "lease time went from {newest} back to {renewed}");
}
