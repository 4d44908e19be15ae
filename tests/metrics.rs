//! The figures: one snapshot for all of them, clean by promtool, exact over crashes and reloads; alerts, dashboard and
//! documentation name none that does not exist.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use common::dhcp::Client;
use common::echo::{connect, figure, metric, metrics, metrics_at_once, ping};
use common::{ALL, Daemon, PATIENCE, eventually, text};
use echo_daemon::stats::{Counter, Gauge, Histogram, Kind, families};
use nix::sys::signal::Signal;
use serde_json::Value;

const ACKS: &str = "echo_daemon_dhcp_messages_total{type=\"ack\",direction=\"out\"}";
const GRANTED: &str = "echo_daemon_dhcp_lease_events_total{event=\"granted\"}";
const ACCEPTED: &str = "echo_daemon_tcp_connections_total{result=\"accepted\"}";
const SUCCESSFUL: &str = "echo_daemon_config_last_reload_successful";
/// Workers that are killed under load.
const KILLS: u32 = 4;
const BYTES: &str = "echo_daemon_echo_bytes_total{protocol=\"tcp\"}";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `GET path` over the control socket.
#[track_caller]
fn get(daemon: &Daemon, path: &str) -> String {
    let mut stream = UnixStream::connect(daemon.folder.path().join("run/control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    body.to_owned()
}

#[track_caller]
fn stats(daemon: &Daemon) -> Value {
    serde_json::from_str(&get(daemon, "/v1/stats")).unwrap()
}

/// The path of promtool (Debian package prometheus; scripts/test fetches it); says that the test was skipped without.
fn promtool(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("promtool")).find(|tool| tool.exists());
    if found.is_none() {
        eprintln!("skipped: {test}: promtool is not installed");
    }
    found
}

#[track_caller]
fn run(tool: &Path, args: &[&str], input: &str) {
    let mut command = Command::new(tool);
    command
        .args(args)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {}", text(&output));
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let Some(promtool) = promtool("promtool_finds_nothing_to_say_about_the_metrics") else { return };
    let daemon = Daemon::start(ALL);
    Client::new(1, daemon.dhcp_port()).lease();
    daemon.run_ok(&["reload"]);
    metric(&daemon, ACKS);
    run(&promtool, &["check", "metrics"], &get(&daemon, "/metrics"));
}

#[test]
fn alerts_are_valid_and_fire_when_they_should() {
    let Some(promtool) = promtool("alerts_are_valid_and_fire_when_they_should") else { return };
    run(&promtool, &["check", "rules", "config/prometheus-alerts.yml"], "");
    run(&promtool, &["test", "rules", "tests/data/prometheus-alerts-test.yml"], "");
}

#[test]
fn every_query_of_the_dashboard_is_valid() {
    let Some(promtool) = promtool("every_query_of_the_dashboard_is_valid") else { return };
    let rules: Vec<Value> = queries()
        .iter()
        .map(|query| {
            let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
            serde_json::json!({"record": "x", "expr": query})
        })
        .collect();
    // JSON is YAML; two rules of one name and without labels would be a complaint.
    let rules: Vec<Value> = rules
        .into_iter()
        .enumerate()
        .map(|(number, mut rule)| {
            rule["record"] = format!("x{number}").into();
            rule
        })
        .collect();
    let folder = common::folder();
    let file = folder.path().join("rules.yml");
    fs::write(&file, serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string())
        .unwrap();
    run(&promtool, &["check", "rules", file.to_str().unwrap()], "");
}

/// Every expression of the dashboard.
fn queries() -> Vec<String> {
    let text = fs::read_to_string(root().join("config/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// Label values of the families that have a fixed set of them.
fn values() -> BTreeMap<(&'static str, &'static str), BTreeSet<&'static str>> {
    let cells = Counter::ALL.iter().map(|cell| (cell.family(), cell.labels()));
    let cells = cells.chain(Gauge::ALL.iter().map(|cell| (cell.family(), cell.labels())));
    let cells = cells.chain(Histogram::ALL.iter().map(|one| (one.family(), one.labels())));
    let mut values: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (family, labels) in cells {
        for (name, value) in labels {
            values.entry((family, *name)).or_default().insert(*value);
        }
    }
    values
}

/// What is wrong with the metrics that a text names, and with the labels in braces behind them.
fn faults(text: &str) -> Vec<String> {
    let (families, values) = (families(), values());
    let mut faults = Vec::new();
    for (at, _) in text.match_indices("echo_daemon_") {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        let found = families.iter().find(|family| {
            let parts = ["_bucket", "_sum", "_count"].iter();
            let mut parts = parts.filter_map(|part| name.strip_suffix(part));
            name == family.name || family.kind == Kind::Histogram && parts.any(|base| base == family.name)
        });
        let Some(family) = found else {
            faults.push(format!("there is no {name}"));
            continue;
        };
        let Some((labels, _)) = rest[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            continue;
        };
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let label_end =
                label.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(label.len());
            let (label, value) = label.split_at(label_end);
            // Those of Prometheus itself.
            if matches!(label, "instance" | "job" | "le") {
                continue;
            }
            if !family.labels.names().contains(&label) {
                faults.push(format!("{name} has no label {label}"));
            } else if let Some(known) = values.get(&(family.name, label)) {
                let wanted = value.trim_start_matches(['=', '~', '!']).trim_matches(['"', '\\', '\'']);
                for value in wanted.split('|').filter(|value| !known.contains(value) && !value.is_empty()) {
                    faults.push(format!("{name} has no {label} {value}"));
                }
            }
        }
    }
    faults
}

#[test]
fn metrics_named_in_alerts_dashboard_and_documentation_exist() {
    let wrong = "echo_daemon_nothing echo_daemon_errors_total{kinds=\"x\"} echo_daemon_errors_total{kind=\"x\"} \
                 echo_daemon_tcp_clients_sum";
    assert_eq!(faults(wrong).len(), 4, "the checker finds what is wrong: {:?}", faults(wrong));
    let mut texts: Vec<(String, String)> =
        ["config/prometheus-alerts.yml", "tests/data/prometheus-alerts-test.yml", "README.md"]
            .map(|name| (name.to_owned(), fs::read_to_string(root().join(name)).unwrap()))
            .into();
    texts.push(("config/grafana-dashboard.json".into(), queries().join("\n")));
    for entry in fs::read_dir(root().join("docs")).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "md") {
            texts.push((entry.path().display().to_string(), fs::read_to_string(entry.path()).unwrap()));
        }
    }
    let found = texts
        .iter()
        .flat_map(|(name, text)| faults(text).into_iter().map(move |fault| format!("{name}: {fault}")));
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_family_is_on_the_dashboard() {
    let queries = queries().join("\n");
    let missing: Vec<_> =
        families().into_iter().map(|family| family.name).filter(|name| !queries.contains(name)).collect();
    assert!(missing.is_empty(), "the dashboard does not show {missing:?}");
}

#[test]
fn every_alert_has_a_runbook_that_exists() {
    let alerts: Value =
        serde_yaml::from_str(&fs::read_to_string(root().join("config/prometheus-alerts.yml")).unwrap())
            .unwrap();
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    // As GitHub makes anchors: lower case, no punctuation, dashes for spaces.
    let anchor = |head: &str| {
        let kept = head.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
            .collect::<String>()
            .replace(' ', "-")
    };
    let anchors: BTreeSet<String> = page.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 11);
    for rule in rules {
        let runbook = rule["annotations"]["runbook"].as_str().unwrap();
        let anchor = runbook.strip_prefix("docs/operations.md#").unwrap();
        assert!(anchors.contains(anchor), "{}: {runbook}", rule["alert"]);
        assert!(page.contains(rule["alert"].as_str().unwrap()), "{} is not in its runbook", rule["alert"]);
    }
}

#[test]
fn all_forms_show_the_same_snapshot() {
    let daemon = Daemon::start(ALL);
    Client::new(1, daemon.dhcp_port()).lease();
    metric(&daemon, ACKS);
    // A tick may come between two requests.
    let (text, stats) = eventually("two answers of one second", || {
        let (text, stats) = (metrics_at_once(&daemon), stats(&daemon));
        let taken: f64 = figure(&text, "echo_daemon_snapshot_timestamp_seconds")?.parse().ok()?;
        ((stats["timestamp"].as_f64()? - taken).abs() < 1e-6).then_some((text, stats))
    });
    for (sample, place) in [
        (ACKS, "/dhcp/messages/out/ack"),
        (GRANTED, "/dhcp/leases/granted"),
        ("echo_daemon_dhcp_response_seconds_count", "/dhcp/latency/response/count"),
        ("echo_daemon_dhcp_stage_seconds_count{stage=\"handle\"}", "/dhcp/latency/stages/handle/count"),
        ("echo_daemon_dhcp_leases{subnet=\"demo\",pool=\"main\",state=\"active\"}", "/pools/0/leases/active"),
        ("echo_daemon_dhcp_pool_available_addresses{subnet=\"demo\",pool=\"main\"}", "/pools/0/available"),
        ("echo_daemon_process_resident_memory_bytes{process=\"main\"}", "/processes/0/resident_memory_bytes"),
        ("echo_daemon_file_size_bytes{file=\"leases\"}", "/files/0/size_bytes"),
        ("echo_daemon_config_generation", "/generation"),
    ] {
        let shown: f64 = figure(&text, sample).unwrap_or_else(|| panic!("no {sample}")).parse().unwrap();
        let same = stats
            .pointer(place)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("nothing at {place}: {stats:#}"));
        assert!((shown - same).abs() < 1e-6, "{sample} is {shown}, {place} is {same}");
    }
    let names: BTreeSet<&str> = stats["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| process["process"].as_str().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["main", "logger", "tcp", "udp", "dhcp 0", "dhcp 1", "keeper", "api"]));
    assert!(
        stats["dhcp"]["store"]["last_commit"].as_f64().unwrap() > stats["start_time"].as_f64().unwrap() - 1.0
    );
    assert!(stats["dhcp"]["latency"]["stages"]["queue"]["count"].as_u64().unwrap() >= 2);
    assert!(stats["files"][0]["filesystem_free_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn what_follows_an_offer_shows_in_the_gauges() {
    let daemon = Daemon::start(ALL);
    let client = Client::new(1, daemon.dhcp_port());
    let offer = client.discover().unwrap();
    common::echo::wait_metric(&daemon, "echo_daemon_dhcp_offers", 1);
    client.select(&offer).unwrap();
    common::echo::wait_metric(&daemon, "echo_daemon_dhcp_offers", 0);
    common::echo::wait_metric(
        &daemon,
        "echo_daemon_dhcp_leases{subnet=\"demo\",pool=\"main\",state=\"active\"}",
        1,
    );
    common::echo::wait_metric(&daemon, "echo_daemon_dhcp_lease_log_rows", 0);
    assert!(metric(&daemon, "echo_daemon_socket_queue_limit_bytes{socket=\"dhcp\"}") > 100_000);
}

#[test]
fn last_reload_shows_with_its_result() {
    let daemon = Daemon::start(ALL);
    let text = metrics(&daemon);
    assert_eq!(figure(&text, SUCCESSFUL), None, "there was none yet");
    daemon.run_ok(&["reload"]);
    assert_eq!(metric(&daemon, SUCCESSFUL), 1);
    daemon.write_config("tcp: {prot: 1}\n");
    assert!(!daemon.run(&["reload"]).status.success());
    assert_eq!(metric(&daemon, SUCCESSFUL), 0);
    assert_eq!(stats(&daemon)["config"]["reloads"]["refused"], 1);
    daemon.write_config(ALL);
}

#[test]
fn rates_go_on_over_a_reload_and_the_death_of_the_api_process() {
    let daemon = Daemon::start(ALL);
    eventually("a rate over ten seconds", || stats(&daemon)["rates"]["acks"]["10s"].as_f64());
    daemon.run_ok(&["reload"]);
    assert!(stats(&daemon)["rates"]["acks"]["10s"].is_number(), "the new process knows the past");
    let pid = daemon.worker("api");
    common::signal(pid, Signal::SIGKILL);
    eventually("a new api process", || {
        let status: Value = serde_json::from_slice(&daemon.run(&["status", "--json"]).stdout).ok()?;
        let mut processes = status["processes"].as_array()?.iter();
        processes.any(|process| process["name"] == "api" && process["pid"] != pid).then_some(())
    });
    assert!(stats(&daemon)["rates"]["acks"]["10s"].is_number(), "the process after that too");
    assert!(metric(&daemon, "echo_daemon_worker_restarts_total{worker=\"api\"}") >= 1);
}

#[test]
fn counters_are_what_clients_saw_over_reloads_under_load() {
    let daemon = Daemon::start(ALL);
    let (port, server) = (daemon.dhcp_port(), daemon.endpoint("tcp"));
    let (stop, leases, echoes) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (stop, leases, echoes) = (&stop, &leases, &echoes);
            scope.spawn(move || {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    Client::new(1 + thread + 2 * n, port).lease();
                    leases.fetch_add(1, Ordering::Relaxed);
                    let stream: TcpStream = connect(server);
                    ping(&stream, b"echo");
                    echoes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..5 {
            let before = leases.load(Ordering::Relaxed);
            daemon.run_ok(&["reload"]);
            eventually("more leases", || (leases.load(Ordering::Relaxed) > before + 10).then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (leases, echoes) = (u64::from(leases.into_inner()), u64::from(echoes.into_inner()));
    // A worker counts what it has sent a moment after its client has it.
    common::echo::wait_metric(&daemon, ACKS, leases);
    let text = metrics(&daemon);
    let value = |name: &str| figure(&text, name).unwrap().parse::<u64>().unwrap();
    assert_eq!((value(GRANTED), value(ACKS)), (leases, leases));
    assert_eq!((value(ACCEPTED), value(BYTES)), (echoes, 4 * echoes));
    assert_eq!(value("echo_daemon_dhcp_response_seconds_count"), 2 * leases);
}

#[test]
fn counters_are_exact_over_killed_workers() {
    let daemon = Daemon::start(ALL);
    let (port, server) = (daemon.dhcp_port(), daemon.endpoint("tcp"));
    let mut last = BTreeMap::new();
    for round in 1..=4_u32 {
        for n in 0..10 {
            Client::new(100 * round + n, port).lease();
            ping(&connect(server), b"1234567");
        }
        let leases = u64::from(10 * round);
        common::echo::wait_metric(&daemon, ACKS, leases);
        common::echo::wait_metric(&daemon, BYTES, 7 * leases);
        let text = metrics(&daemon);
        for name in [GRANTED, ACKS, ACCEPTED] {
            assert_eq!(figure(&text, name), Some(leases.to_string().as_str()), "{name} in round {round}");
        }
        never_back(&mut last, &text);
        for name in ["dhcp 0", "dhcp 1", "tcp", "keeper"] {
            common::signal(daemon.worker(name), Signal::SIGKILL);
        }
        common::echo::wait_metric(
            &daemon,
            "echo_daemon_worker_restarts_total{worker=\"dhcp\"}",
            2 * u64::from(round),
        );
    }
}

/// Counters and histograms, CPU time among them, rise or stay.
fn never_back(last: &mut BTreeMap<String, f64>, text: &str) {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let now: BTreeMap<String, f64> = lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(name, _)| {
            let family = name.split('{').next().unwrap_or_default();
            ["_total", "_bucket", "_count", "_sum"].iter().any(|end| family.ends_with(end))
        })
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect();
    for (name, before) in &*last {
        assert!(
            now.get(name).is_some_and(|now| now >= before),
            "{name} was {before} and is {:?}",
            now.get(name)
        );
    }
    *last = now;
}

#[test]
fn counters_never_go_back_while_workers_are_killed_under_load() {
    let daemon = Daemon::start(ALL);
    let port = daemon.dhcp_port();
    let (stop, leases) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut last = BTreeMap::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let client = Client::new(n, port);
                // What was in the hands of a worker that is killed is sent again soon.
                client.socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
                client.lease();
                leases.fetch_add(1, Ordering::Relaxed);
            }
        });
        for kill in 1..=KILLS {
            let before = leases.load(Ordering::Relaxed);
            eventually("more leases", || (leases.load(Ordering::Relaxed) > before + 20).then_some(()));
            common::signal(daemon.worker("dhcp 0"), Signal::SIGKILL);
            common::echo::wait_metric(
                &daemon,
                "echo_daemon_worker_restarts_total{worker=\"dhcp\"}",
                kill.into(),
            );
            never_back(&mut last, &metrics(&daemon));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let leases = u64::from(leases.into_inner());
    let counted = eventually("the last batch is counted", || {
        let counted = metric(&daemon, ACKS);
        (counted + 64 * u64::from(KILLS) >= leases).then_some(counted)
    });
    // One client at a time: a kill hides one ACK at most, and one sent twice is counted twice.
    assert!(
        counted + u64::from(KILLS) >= leases && counted <= leases + 2 * u64::from(KILLS),
        "{counted} of {leases}"
    );
}
