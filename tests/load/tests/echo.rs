//! The load for the echo services against the bare loops, by the built binary on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_echo-load");

/// A listener that ends with its guard.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self { child, address: said["listening"].as_str().unwrap().to_owned() }
    }

    fn of(subcommand: &str) -> Self {
        Self::start(Command::new(BINARY).args([subcommand, "--listen", "127.0.0.1:0"]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(subcommand: &str, address: &str, arguments: &[&str]) -> Value {
    let output = Command::new(BINARY)
        .args([subcommand, "--connect", address, "--seconds", "0.3"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn lines_of_many_clients_come_back_from_the_forking_server() {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("accept_fork_echo");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("accept_fork_echo.c");
    let built = Command::new("cc").args(["-O2", "-Wall", "-Werror", "-o"]).arg(&program).arg(source).status();
    let Ok(built) = built else {
        eprintln!("skipped: there is no C compiler");
        return;
    };
    assert!(built.success());
    let server = Server::start(Command::new(program).arg("0"));
    for clients in ["1", "8"] {
        let report = load("tcp", &server.address, &["--clients", clients]);
        assert!(report["connections"].as_u64() > Some(0), "{report}");
        assert_eq!((&report["wrong"], &report["failed"]), (&0.into(), &0.into()), "{report}");
        assert!(report["latency_us"]["p50"].as_f64() > Some(0.0), "{report}");
    }
}

#[test]
fn bytes_come_back_from_the_bare_loop() {
    let server = Server::of("bulk-loop");
    // One connection after another.
    for _ in 0..2 {
        let report = load("bulk", &server.address, &[]);
        assert!(report["bytes"].as_u64() > Some(0), "{report}");
        assert_eq!((&report["wrong"], &report["lost"]), (&0.into(), &0.into()), "{report}");
        assert_eq!(report["first_error"], Value::Null);
    }
}

#[test]
fn datagrams_of_any_size_come_back_from_the_bare_loop() {
    let server = Server::of("udp-loop");
    for (window, bytes) in [("1", "8"), ("64", "64"), ("200", "1400"), ("2", "4096")] {
        let report = load("udp", &server.address, &["--window", window, "--bytes", bytes]);
        assert!(report["datagrams"].as_u64() > Some(0), "{report}");
        assert_eq!((&report["wrong"], &report["duplicates"]), (&0.into(), &0.into()), "{report}");
        assert_eq!(report["first_error"], Value::Null);
    }
}

#[test]
fn changed_echoes_are_wrong() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Ends with the test program.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 32];
            while stream.read_exact(&mut bytes).is_ok() {
                bytes[7] ^= 1;
                let _ = stream.write_all(&bytes);
            }
        }
    });
    let report = load("tcp", &address, &[]);
    assert!(report["wrong"].as_u64() > Some(0) && report["connections"] == 0, "{report}");
    assert!(report["first_error"].is_string());
    assert_eq!(load("bulk", &address, &[])["wrong"], 1);

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
            bytes[9] ^= 1;
            let _ = socket.send_to(&bytes[..length], peer);
        }
    });
    let report = load("udp", &address, &["--window", "4"]);
    assert!(report["wrong"].as_u64() > Some(0) && report["datagrams"] == 0, "{report}");
}

#[test]
fn absent_services_are_an_error() {
    // Bound and closed again: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = Command::new(BINARY).args(["bulk", "--connect", &address]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address));
    let report = load("tcp", &address, &[]);
    assert!(report["failed"].as_u64() > Some(0), "{report}");
}
