//! The control API as a client sees it: status, figures and reload, while others misbehave, over reloads and killed
//! workers.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;

use common::dhcp::Client;
use common::raw::{answer, control, request, socket_path, start_with_api, tcp};
use common::{Daemon, ECHO, PATIENCE, eventually};

const DHCP: &str = "\
tcp: {address: 127.0.0.1, port: 0}
udp: {address: 127.0.0.1, port: 0}
dhcp:
  interfaces: [lo]
  port: 0
  conflict_check: {method: \"off\"}
  store: {durability: process}
  subnets:
    demo: {network: 127.0.0.0/8, interface: lo, pools: {main: {range: 127.100.0.10-127.100.0.250}}}
";

// --- Prometheus text -------------------------------------------------------------------------------------

/// The samples of a text: `name{labels}` and the value.
type Samples = BTreeMap<String, f64>;

/// Parses the text format (version 0.0.4) strictly: each family says HELP and TYPE once, before its samples, and
/// stands in one piece. Returns the type of each family, and the samples.
#[track_caller]
fn parse(text: &str) -> (BTreeMap<String, String>, Samples) {
    assert!(text.ends_with('\n'));
    let (mut helped, mut types, mut samples) = (HashSet::new(), BTreeMap::new(), Samples::new());
    let mut family = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(helped.insert(name.to_owned()), "HELP of {name} stands twice");
            assert!(!words.is_empty(), "{line}");
            name.clone_into(&mut family);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family, "TYPE without its HELP");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "TYPE of {name} stands twice");
        } else {
            assert!(!line.is_empty() && !line.starts_with('#'), "{line:?}");
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let kind = &types[&family];
            let rest = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} stands in {family}"));
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&rest), "{line} stands in {family}");
            assert!(kind != "counter" || name.ends_with("_total"), "{line}");
            check_labels(&sample[name.len()..]);
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0, "{line}");
            assert!(samples.insert(sample.to_owned(), value).is_none(), "{sample} stands twice");
        }
    }
    assert_eq!(helped.len(), types.len());
    (types, samples)
}

#[track_caller]
fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let inner = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    for label in inner.unwrap_or_else(|| panic!("{labels}")).split(',') {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{labels}"));
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{labels}");
        assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{labels}");
    }
}

/// Of a snapshot that was taken after the call.
#[track_caller]
fn metrics(daemon: &Daemon) -> Samples {
    let called = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    eventually("a new snapshot", || {
        let answer = control(daemon, "GET", "/metrics");
        assert_eq!(answer.status, 200);
        let samples = parse(&answer.body).1;
        (samples["echo_daemon_snapshot_timestamp_seconds"] >= called).then_some(samples)
    })
}

/// Fails where a counter of `new` is less than in `old`.
#[track_caller]
fn never_back(old: &Samples, new: &Samples, when: &str) {
    for (sample, before) in old {
        let name = sample.split('{').next().unwrap();
        let counts = ["_total", "_bucket", "_count", "_sum"].iter().any(|ending| name.ends_with(ending));
        if counts {
            let now = new.get(sample).unwrap_or_else(|| panic!("{sample} is gone {when}"));
            assert!(now >= before, "{sample} went back from {before} to {now} {when}");
        }
    }
}

/// A TCP client that has been served.
fn connect(server: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream
}

fn dhcp_port(status: &Value) -> u16 {
    let endpoints = status["endpoints"].as_array().unwrap();
    let dhcp = endpoints.iter().find(|endpoint| endpoint["service"] == "dhcp").unwrap();
    dhcp["address"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

// --- what it says ----------------------------------------------------------------------------------------

#[test]
fn status_names_processes_ports_pools_and_clients() {
    let daemon = Daemon::start(DHCP);
    let _held = connect(daemon.endpoint("tcp"));
    let port = dhcp_port(&daemon.status());
    let leased = Client::new(1, port).lease();
    // The keeper refreshes the figures of the pools.
    let status = eventually("the lease in the figures", || {
        let status = control(&daemon, "GET", "/v1/status").json();
        (status["pools"][0]["leases"]["active"] == 1).then_some(status)
    });
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["pid"], &status["generation"]), (&daemon.pid().into(), &1.into()));
    assert_eq!(status["tcp_clients"], 1);
    assert!(status["uptime_secs"].is_u64() && status["recent_errors"].is_array());
    let processes = status["processes"].as_array().unwrap();
    let mut names: Vec<&str> = processes.iter().map(|process| process["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["api", "dhcp 0", "dhcp 1", "keeper", "logger", "main", "tcp", "udp"]);
    for process in processes {
        let pid = i32::try_from(process["pid"].as_i64().unwrap()).unwrap();
        let name = process["name"].as_str().unwrap();
        assert_eq!(common::title(pid).unwrap(), format!("echo-daemon: {name}"));
        assert_eq!((&process["generation"], &process["restarts"]), (&1.into(), &0.into()));
    }
    for endpoint in status["endpoints"].as_array().unwrap() {
        let address = endpoint["address"].as_str().unwrap();
        assert!(!address.ends_with(":0") && !address.ends_with(" 0"), "not the real port: {endpoint}");
    }
    let pool = &status["pools"][0];
    assert_eq!((&pool["subnet"], &pool["pool"]), (&"demo".into(), &"main".into()));
    assert_eq!((&pool["addresses"], &pool["free"]), (&241.into(), &240.into()), "{leased} is leased: {pool}");
    // The commands show the same.
    let shown = daemon.run_ok(&["status"]);
    assert!(
        shown.contains("TCP clients: 1") && shown.contains("dhcp 1") && shown.contains("demo"),
        "{shown}"
    );
}

#[test]
fn metrics_are_prometheus_text_with_the_documented_names() {
    let daemon = Daemon::start(DHCP);
    let mut held = connect(daemon.endpoint("tcp"));
    held.write_all(b"123456789").unwrap();
    held.read_exact(&mut [0; 9]).unwrap();
    Client::new(1, dhcp_port(&daemon.status())).lease();
    // A reply is counted when it has left, which its receiver may see first.
    eventually("two replies counted", || {
        (metrics(&daemon)["echo_daemon_dhcp_response_seconds_count"] >= 2.0).then_some(())
    });
    let answer = control(&daemon, "GET", "/metrics");
    assert!(answer.fields["content-type"].starts_with("text/plain; version=0.0.4"), "{:?}", answer.fields);
    let (types, samples) = parse(&answer.body);
    for (name, kind) in [
        ("dhcp_messages_total", "counter"),
        ("dhcp_dropped_total", "counter"),
        ("dhcp_lease_events_total", "counter"),
        ("dhcp_response_seconds", "histogram"),
        ("dhcp_commit_seconds", "histogram"),
        ("dhcp_batch_size", "histogram"),
        ("dhcp_leases", "gauge"),
        ("dhcp_pool_addresses", "gauge"),
        ("security_events_total", "counter"),
        ("errors_total", "counter"),
        ("socket_dropped_total", "counter"),
        ("tcp_clients", "gauge"),
        ("tcp_connections_total", "counter"),
        ("echo_bytes_total", "counter"),
        ("udp_datagrams_total", "counter"),
        ("worker_restarts_total", "counter"),
        ("reloads_total", "counter"),
        ("log_dropped_total", "counter"),
    ] {
        assert_eq!(types.get(&format!("echo_daemon_{name}")).map(String::as_str), Some(kind), "{name}");
    }
    let value = |sample: &str| samples[&format!("echo_daemon_{sample}")];
    let at_least =
        |sample: &str, least: f64| assert!(value(sample) >= least, "{sample} is {}", value(sample));
    at_least("dhcp_messages_total{type=\"discover\",direction=\"in\"}", 1.0);
    at_least("dhcp_messages_total{type=\"ack\",direction=\"out\"}", 1.0);
    at_least("dhcp_lease_events_total{event=\"granted\"}", 1.0);
    at_least("dhcp_response_seconds_count", 2.0);
    at_least("dhcp_commit_seconds_count", 1.0);
    at_least("dhcp_pool_addresses{subnet=\"demo\",pool=\"main\"}", 241.0);
    at_least("echo_bytes_total{protocol=\"tcp\"}", 10.0);
    at_least("tcp_connections_total{result=\"accepted\"}", 1.0);
    at_least("tcp_clients", 1.0);
    // A histogram's buckets rise to its count.
    for family in types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
        // Those of one family differ by a label: the first one stands for all.
        let counts = samples.keys().filter(|sample| sample.starts_with(&format!("{family}_count")));
        let count = counts.min().unwrap();
        let labels = count.split_once('{').map_or(String::new(), |(_, labels)| labels.replace('}', ","));
        let of = format!("{family}_bucket{{{labels}le=\"");
        let bound = |s: &str| s[of.len()..].trim_end_matches("\"}").parse::<f64>().unwrap();
        let mut buckets: Vec<(f64, f64)> =
            samples.iter().filter(|(s, _)| s.starts_with(&of)).map(|(s, v)| (bound(s), *v)).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.len() > 2 && buckets.is_sorted_by(|a, b| a.1 <= b.1), "{family}: {buckets:?}");
        assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, samples[count]));
    }
}

#[test]
fn unknown_paths_and_methods_get_problem_documents() {
    let daemon = Daemon::start(ECHO);
    let missing = control(&daemon, "GET", "/v1/nothing").is_problem(404);
    assert!(missing["detail"].as_str().unwrap().contains("/v1/nothing"), "{missing}");
    let wrong = control(&daemon, "DELETE", "/v1/status");
    wrong.is_problem(405);
    assert!(wrong.fields["allow"].contains("GET"), "{wrong:?}");
    control(&daemon, "GET", "/v1/reload").is_problem(405);
    assert_eq!(daemon.status()["generation"], 1, "GET reloads nothing");
    let head = {
        let mut stream = UnixStream::connect(socket_path(&daemon)).unwrap();
        stream.write_all(request("HEAD", "/v1/status", "").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

// --- reload ----------------------------------------------------------------------------------------------

#[test]
fn reload_answers_with_the_verdict() {
    let daemon = Daemon::start(ECHO);
    let applied = control(&daemon, "POST", "/v1/reload");
    assert_eq!((applied.status, &applied.json()["applied"]), (200, &Value::Bool(true)));
    assert_eq!(daemon.status()["generation"], 2);
    daemon.write_config("tcp: {prot: 1}\ndhcp: {enabled: false}\n");
    let refused = control(&daemon, "POST", "/v1/reload").is_problem(422);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("config.yaml:4: tcp.prot: unknown key"), "{detail}");
    assert_eq!(daemon.status()["generation"], 2);
    daemon.write_config(ECHO);
    let samples = metrics(&daemon);
    let reloads =
        ["applied", "refused"].map(|r| samples[&format!("echo_daemon_reloads_total{{result=\"{r}\"}}")]);
    assert!(reloads.iter().all(|count| (count - 1.0).abs() < 0.5), "{reloads:?}");
}

#[test]
fn concurrent_reloads_each_get_a_verdict() {
    let daemon = Daemon::start(ECHO);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..3).map(|_| control(&daemon, "POST", "/v1/reload").status).collect::<Vec<_>>()
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), [200; 3]);
        }
    });
    // One after the other was at least three; every one of them had its own generation at most.
    let generation = daemon.status()["generation"].as_u64().unwrap();
    assert!((4..=25).contains(&generation), "generation {generation}");
    eventually("old api workers are gone", || {
        let status = daemon.status();
        let names = status["processes"].as_array().unwrap().iter().map(|p| p["name"].clone());
        (names.filter(|name| name == "api").count() == 1).then_some(())
    });
}

#[test]
fn request_on_a_connection_from_before_a_reload_is_answered() {
    let daemon = start_with_api("{listen: \"127.0.0.1:0\"}", None);
    let mut early = UnixStream::connect(socket_path(&daemon)).unwrap();
    let mut early_tcp = TcpStream::connect(daemon.endpoint("api")).unwrap();
    daemon.run_ok(&["reload"]);
    early.write_all(request("POST", "/v1/reload", "").as_bytes()).unwrap();
    early_tcp.write_all(request("GET", "/v1/status", "").as_bytes()).unwrap();
    assert_eq!(answer(early).status, 200);
    assert_eq!(answer(early_tcp).status, 200);
    assert_eq!(daemon.status()["generation"], 3);
}

#[test]
fn half_a_request_disturbs_neither_others_nor_reload_nor_stop() {
    let daemon = start_with_api("{listen: \"127.0.0.1:0\"}", None);
    let server = daemon.endpoint("api");
    let mut silent: Vec<UnixStream> =
        (0..20).map(|_| UnixStream::connect(socket_path(&daemon)).unwrap()).collect();
    for (n, stream) in silent.iter_mut().enumerate() {
        let half: &[u8] = match n % 3 {
            0 => b"",
            1 => b"GET /v1/sta",
            _ => b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
        };
        stream.write_all(half).unwrap();
    }
    let mut rubbish = TcpStream::connect(server).unwrap();
    rubbish.write_all(b"\x16\x03\x01\x00\xff\r\n\r\n").unwrap();
    let mut huge = TcpStream::connect(server).unwrap();
    // More of a head than anybody needs: it is refused, or the connection ends.
    let _ = huge.write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)).as_bytes());
    let started = Instant::now();
    assert_eq!(control(&daemon, "GET", "/v1/status").status, 200);
    assert_eq!(control(&daemon, "POST", "/v1/reload").status, 200);
    daemon.run_ok(&["reload"]);
    assert!(tcp(server, "GET", "/v1/status", "").json()["generation"].as_u64() >= Some(3));
    // Processes of former generations do not wait for such clients.
    eventually("one api process is left", || {
        let status = daemon.status();
        let names = status["processes"].as_array().unwrap().iter().map(|p| p["name"].clone());
        (names.filter(|name| name == "api").count() == 1).then_some(())
    });
    // Whoever takes all places of one door leaves those of the other.
    let _flood: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(server).unwrap()).collect();
    assert_eq!(control(&daemon, "GET", "/v1/status").status, 200);
    silent.push(UnixStream::connect(socket_path(&daemon)).unwrap());
    silent.last_mut().unwrap().write_all(b"GET /v1/sta").unwrap();
    daemon.run_ok(&["stop", "--timeout", "20s"]);
    assert!(started.elapsed() < Duration::from_secs(15), "it took {:?}", started.elapsed());
    assert!(!daemon.log().contains("WORKER_KILLED"), "a worker had to be killed");
}

// --- figures that last -----------------------------------------------------------------------------------

#[test]
fn counters_never_go_back_over_reloads_and_killed_workers() {
    let daemon = Daemon::start(DHCP);
    let (server, port) = (daemon.endpoint("tcp"), dhcp_port(&daemon.status()));
    let mut last = metrics(&daemon);
    let mut next = 0;
    let mut traffic = |daemon: &Daemon, last: &mut Samples, when: &str| {
        for _ in 0..3 {
            next += 1;
            drop(connect(server));
            Client::new(next, port).lease();
        }
        let now = metrics(daemon);
        never_back(last, &now, when);
        let granted = "echo_daemon_dhcp_lease_events_total{event=\"granted\"}";
        assert!(now[granted] >= f64::from(next), "{granted} is {} {when}", now[granted]);
        let accepted = "echo_daemon_tcp_connections_total{result=\"accepted\"}";
        assert!(now[accepted] >= f64::from(next), "{accepted} is {} {when}", now[accepted]);
        *last = now;
    };
    traffic(&daemon, &mut last, "at first");
    daemon.run_ok(&["reload"]);
    traffic(&daemon, &mut last, "after a reload");
    for (name, kind) in [
        ("dhcp 0", "dhcp"),
        ("dhcp 1", "dhcp"),
        ("tcp", "tcp"),
        ("udp", "udp"),
        ("keeper", "keeper"),
        ("api", "api"),
        ("logger", "logger"),
    ] {
        let pid = daemon.worker(name);
        common::signal(pid, Signal::SIGKILL);
        eventually(&format!("a new {name}"), || {
            let status = daemon.run(&["status", "--json"]);
            let status: Value = serde_json::from_slice(&status.stdout).ok()?;
            let mut processes = status["processes"].as_array()?.iter();
            processes.any(|p| p["name"] == name && p["pid"] != pid).then_some(())
        });
        traffic(&daemon, &mut last, &format!("after {name} was killed"));
        let restarts = last[&format!("echo_daemon_worker_restarts_total{{worker=\"{kind}\"}}")];
        assert!(restarts >= 1.0, "{kind}: {restarts}");
    }
    daemon.run_ok(&["reload"]);
    traffic(&daemon, &mut last, "after another reload");
}

#[test]
fn tcp_clients_are_counted_right_over_a_reload_and_a_killed_worker() {
    let daemon = Daemon::start(ECHO);
    let server = daemon.endpoint("tcp");
    let clients = |expected: f64| {
        eventually(&format!("{expected} clients in the figures"), || {
            (metrics(&daemon)["echo_daemon_tcp_clients"] - expected).abs().lt(&0.5).then_some(())
        });
    };
    let mut held: Vec<TcpStream> = (0..4).map(|_| connect(server)).collect();
    clients(4.0);
    daemon.run_ok(&["reload"]);
    clients(4.0);
    held.push(connect(server));
    clients(5.0);
    common::signal(daemon.worker("tcp"), Signal::SIGKILL);
    eventually("the new worker serves", || {
        let mut stream = TcpStream::connect(server).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.write_all(b"x").ok()?;
        stream.read_exact(&mut [0]).ok()?;
        held.push(stream);
        Some(())
    });
    clients(6.0);
    // All of them are still served, by processes of three workers.
    for stream in &mut held {
        stream.write_all(b"still").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"still");
    }
    held.drain(..3);
    clients(3.0);
    assert_eq!(control(&daemon, "GET", "/v1/status").json()["tcp_clients"], 3);
    held.clear();
    clients(0.0);
}
