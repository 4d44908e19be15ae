//! `echo-load dhcp` against `echo-load answer` on loopback, by the built binary: a load without a fault, in each mode.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

const BINARY: &str = env!("CARGO_BIN_EXE_echo-load");

/// A running `echo-load answer`; killed on drop.
struct Answer {
    child: Child,
    address: String,
}

impl Answer {
    fn start() -> Self {
        let mut child = Command::new(BINARY)
            .args(["answer", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        Self { child, address: listening["listening"].as_str().unwrap().to_owned() }
    }

    /// Runs `echo-load dhcp` against it and returns what it prints.
    fn load(&self, args: &[&str]) -> Value {
        report(&self.address, args)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn report(server: &str, args: &[&str]) -> Value {
    let output = Command::new(BINARY)
        .args(["dhcp", "--server", server, "--relay", "127.0.0.1:0"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every exchange ended well.
fn assert_flawless(report: &Value, mode: &str, exchanges: u64) {
    assert_eq!((&report["mode"], &report["exchanges"]), (&mode.into(), &exchanges.into()), "{report}");
    for fault in ["lost", "naks", "wrong", "duplicates"] {
        assert_eq!(report[fault], 0, "{fault} in {report}");
    }
    assert_eq!(report["first_error"], Value::Null, "{report}");
    let latency = &report["latency_us"];
    let in_order = ["p50", "p90", "p99", "max"].map(|key| latency[key].as_f64().unwrap());
    assert!(in_order[0] > 0.0 && in_order.is_sorted(), "{report}");
    assert!(report["per_second"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn new_clients_get_leases() {
    let answer = Answer::start();
    for window in ["1", "100"] {
        let report = answer.load(&["--count", "1000", "--window", window]);
        assert_flawless(&report, "exchange", 1000);
        assert!(
            report["offer_us"]["p50"].as_f64() > Some(0.0) && report["ack_us"]["p50"].as_f64() > Some(0.0)
        );
    }
}

#[test]
fn clients_renew_in_turn() {
    let report = Answer::start().load(&["--mode", "renew", "--clients", "100", "--count", "350"]);
    assert_flawless(&report, "renew", 350);
    assert_eq!(report["offer_us"]["max"], 0.0);
}

#[test]
fn offers_alone_are_asked_for() {
    let report =
        Answer::start().load(&["--mode", "discover", "--count", "500", "--hostname", "--no-client-id"]);
    assert_flawless(&report, "discover", 500);
    assert_eq!(report["ack_us"]["max"], 0.0);
}

#[test]
fn clients_that_come_again_hold_one_address_each() {
    let report = Answer::start().load(&["--clients", "50", "--count", "500", "--rate", "100000"]);
    assert_flawless(&report, "exchange", 500);
    assert_eq!(report["window"], 50);
}

/// A server with the one address 10.0.0.7, which answers each packet with the type that `kind` makes of the packet's, and
/// ends after `packets`. Returns where it listens.
fn simple_server(
    packets: usize,
    mut kind: impl FnMut(u8) -> u8 + Send + 'static,
) -> (String, JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let mut packet = [0; 1500];
        for _ in 0..packets {
            let (length, peer) = socket.recv_from(&mut packet).unwrap();
            packet[0] = 2;
            packet[16..20].copy_from_slice(&[10, 0, 0, 7]);
            // The load's first option is the type.
            let options = [53, 1, kind(packet[242]), 54, 4, 10, 0, 0, 1, 51, 4, 0, 0, 0, 60, 255];
            packet[240..256].copy_from_slice(&options);
            socket.send_to(&packet[..length], peer).unwrap();
        }
    });
    (address, server)
}

#[test]
fn address_given_to_two_clients_is_a_duplicate() {
    let (address, server) = simple_server(6, |asked| if asked == 1 { 2 } else { 5 });
    let report = report(&address, &["--count", "3", "--window", "1"]);
    server.join().unwrap();
    assert_eq!((&report["exchanges"], &report["duplicates"]), (&3.into(), &2.into()), "{report}");
    assert_eq!(report["first_error"], "10.0.0.7 was acknowledged to two clients");
}

#[test]
fn refused_client_begins_anew() {
    let mut requests = 0;
    let (address, server) = simple_server(6, move |asked| {
        requests += u32::from(asked != 1);
        match asked {
            1 => 2,
            _ if requests < 3 => 6,
            _ => 5,
        }
    });
    let report = report(&address, &["--count", "1"]);
    server.join().unwrap();
    assert_eq!((&report["exchanges"], &report["naks"]), (&1.into(), &2.into()), "{report}");
    assert_eq!((&report["lost"], &report["wrong"]), (&0.into(), &0.into()), "{report}");
}
