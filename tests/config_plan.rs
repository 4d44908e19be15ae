//! `config plan FILE`: what it says of a change, on a running daemon with real leases, and that it happens so when the
//! change is applied.

mod common;

use std::fs;
use std::net::Ipv4Addr;
use std::process::Output;

use serde_json::Value;

use common::octets::{ACK, NAK, Question, Speaker, loopback, serve};
use common::{BASE, Daemon, text};

/// Three leases: 0 gets the address reserved to nobody yet, all lie in .100 to .109.
const SUBNETS: &str = "    lan:
      network: 10.77.0.0/24
      interface: lo
      options: {routers: [10.77.0.1], domain-name: example.org}
      pools: {main: {range: 10.77.0.100-10.77.0.109}}";

/// Writes a draft beside the configuration and plans it.
fn plan_output(daemon: &Daemon, yaml: &str, more: &[&str]) -> Output {
    let draft = daemon.folder.path().join("draft.yaml");
    fs::write(&draft, format!("{BASE}{yaml}")).unwrap();
    daemon.run(&[&["config", "plan", draft.to_str().unwrap()], more].concat())
}

#[track_caller]
fn plan(daemon: &Daemon, yaml: &str) -> Value {
    let output = plan_output(daemon, yaml, &["--json"]);
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn apply(daemon: &Daemon, yaml: &str) {
    daemon.write_config(yaml);
    daemon.run_ok(&["reload"]);
}

fn leased(speaker: &Speaker, n: u32) -> (Question, Ipv4Addr) {
    let discover = Question::discover(n).asking(&[1, 3, 15]).with(12, format!("box-{n}").as_bytes());
    let address = speaker.lease(&discover).yiaddr();
    (discover, address)
}

/// The groups of `lost`, as reason, count and the first address.
fn lost(plan: &Value) -> Vec<(String, u64, String)> {
    let groups = plan["leases"]["lost"].as_array().unwrap().iter();
    groups
        .map(|group| {
            let first = group["examples"][0]["ip"].as_str().unwrap().to_owned();
            (group["reason"].as_str().unwrap().to_owned(), group["count"].as_u64().unwrap(), first)
        })
        .collect()
}

#[test]
fn same_file_changes_nothing() {
    let yaml = loopback("", SUBNETS);
    let (daemon, speaker) = serve(&yaml);
    leased(&speaker, 1);
    let plan = plan(&daemon, &yaml);
    assert_eq!(plan["against"]["source"], "running", "{plan:#}");
    assert_eq!(
        (&plan["keys"], &plan["leases"]["unaffected"]),
        (&Value::Array(vec![]), &1.into()),
        "{plan:#}"
    );
    let said = text(&plan_output(&daemon, &yaml, &[]));
    assert!(said.contains("no key changes: a reload would do nothing"), "{said}");
}

#[test]
fn lost_addresses_are_named_and_really_lost_after_the_reload() {
    let (daemon, speaker) = serve(&loopback("", SUBNETS));
    let clients: Vec<_> = (1..=3).map(|n| leased(&speaker, n)).collect();
    let taken = clients[0].1;
    let new = loopback(
        "",
        &format!(
            "{SUBNETS}\n      hosts: {{printer: {{mac: 00:11:22:33:44:55, ip: {taken}}}}}\n      exclude: [{}]",
            clients[1].1
        ),
    );
    let before = daemon.run_ok(&["leases", "list", "--json"]);
    let plan = plan(&daemon, &new);
    let mut expected = vec![
        ("reserved-for-another".to_owned(), 1, taken.to_string()),
        ("excluded".to_owned(), 1, clients[1].1.to_string()),
    ];
    expected.sort();
    assert_eq!(lost(&plan), expected, "{plan:#}");
    assert_eq!((&plan["leases"]["total"], &plan["leases"]["unaffected"]), (&3.into(), &1.into()), "{plan:#}");
    let pool = &plan["leases"]["pools"][0];
    assert_eq!((&pool["old"]["free"], &pool["new"]["free"]), (&7.into(), &7.into()), "{plan:#}");
    assert_eq!((&pool["old"]["addresses"], &pool["new"]["addresses"]), (&10.into(), &8.into()), "{plan:#}");
    assert_eq!(daemon.run_ok(&["leases", "list", "--json"]), before, "a plan changes nothing");
    let said = text(&plan_output(&daemon, &new, &[]));
    assert!(
        said.contains(
            "live leases: 3; 2 would lose their address, 0 keep it on other terms, 1 notice nothing"
        ),
        "{said}"
    );
    assert!(said.contains("the address is reserved for lan.printer"), "{said}");
    apply(&daemon, &new);
    let kinds: Vec<_> =
        clients.iter().map(|(client, address)| speaker.renew(client, *address).kind()).collect();
    assert_eq!(kinds, [Some(NAK), Some(NAK), Some(ACK)]);
}

#[test]
fn changed_options_are_named_and_really_change_after_the_reload() {
    let (daemon, speaker) = serve(&loopback("", SUBNETS));
    let clients: Vec<_> = (1..=2).map(|n| leased(&speaker, n)).collect();
    let new = loopback("  lease_time: 2h", &SUBNETS.replace("example.org", "example.net"));
    let plan = plan(&daemon, &new);
    let group = &plan["leases"]["changed"][0];
    assert_eq!(
        (&group["count"], &group["subnet"], &group["pool"]),
        (&2.into(), &"lan".into(), &"main".into())
    );
    let changes = group["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{plan:#}");
    assert_eq!(
        (&changes[0]["name"], &changes[0]["old"], &changes[0]["new"]),
        (&"domain-name".into(), &"example.org".into(), &"example.net".into())
    );
    assert_eq!(changes[1]["name"], "lease_time");
    let keys: Vec<&str> =
        plan["keys"].as_array().unwrap().iter().filter_map(|key| key["key"].as_str()).collect();
    assert_eq!(keys, ["dhcp.lease_time.default", "dhcp.subnets.lan.options.domain-name"]);
    apply(&daemon, &new);
    let (client, address) = &clients[0];
    let ack = speaker.renew(client, *address);
    assert_eq!((ack.kind(), ack.text(15), ack.number(51)), (Some(ACK), "example.net".to_owned(), 7200));
}

#[test]
fn client_that_is_denied_loses_its_lease_and_gets_no_answer() {
    let (daemon, speaker) = serve(&loopback("", SUBNETS));
    let (client, address) = leased(&speaker, 1);
    let denied = "security: {client_rate: null, deny: [\"02:00:00:00:00:01\"]}";
    let new = loopback("", SUBNETS).replace("security: {client_rate: null}", denied);
    assert_eq!(lost(&plan(&daemon, &new)), [("denied".to_owned(), 1, address.to_string())]);
    apply(&daemon, &new);
    speaker.assert_silent(&client.becoming(common::octets::REQUEST, &[]).ciaddr(address));
}

#[test]
fn what_was_edited_in_place_is_held_against_what_runs() {
    let (daemon, _) = serve(&loopback("", SUBNETS));
    daemon.write_config(&loopback("  workers: 3", SUBNETS).replace("  workers: 1\n", ""));
    let file = daemon.config.to_str().unwrap().to_owned();
    let plan: Value = serde_json::from_str(&daemon.run_ok(&["config", "plan", &file, "--json"])).unwrap();
    assert_eq!(plan["keys"][0]["key"], "dhcp.workers", "{plan:#}");
    assert_eq!((&plan["keys"][0]["old"], &plan["keys"][0]["new"]), (&1.into(), &3.into()));
    assert_eq!(plan["workers"]["added"], serde_json::json!(["dhcp 1", "dhcp 2"]));
}

#[test]
fn restarts_sockets_and_interfaces_are_told() {
    let (daemon, _) = serve(&loopback("", SUBNETS));
    let new = loopback("", SUBNETS)
        .replace("tcp: {enabled: false}", "tcp: {address: 127.0.0.1, port: 0}")
        .replace("interfaces: [lo]", "interfaces: [lo, nosuch0]")
        .replace("dhcp:\n", "dhcp:\n  store: {path: other.db}\n");
    let plan = plan(&daemon, &new);
    assert_eq!(plan["reload"]["accepted"], false, "{plan:#}");
    assert_eq!(plan["reload"]["restart"], serde_json::json!(["dhcp.store.path"]));
    assert_eq!(plan["sockets"]["added"], serde_json::json!(["DHCP nosuch0 port 0", "TCP echo 127.0.0.1:0"]));
    assert_eq!(plan["interfaces"]["added"], serde_json::json!(["nosuch0"]));
    assert_eq!(plan["workers"]["added"], serde_json::json!(["tcp"]));
    assert!(plan["warnings"].to_string().contains("there is no interface nosuch0"), "{plan:#}");
    let said = text(&plan_output(&daemon, &new, &[]));
    let refusal = "a reload would be refused: dhcp.store.path cannot change while the daemon runs";
    assert!(
        said.contains(refusal) && said.contains("hint: put the file in place, then echo-daemon restart"),
        "{said}"
    );
    daemon.write_config(&new);
    assert_eq!(daemon.run(&["reload"]).status.code(), Some(1));
}

#[test]
fn draft_with_mistakes_is_refused_with_all_of_them() {
    let (daemon, _) = serve(&loopback("", SUBNETS));
    let new = loopback("  rapid_commit: perhaps", &SUBNETS.replace("10.77.0.109", "10.78.0.109"));
    let output = plan_output(&daemon, &new, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("draft.yaml:") && said.contains("dhcp.rapid_commit: \"perhaps\""), "{said}");
    assert!(said.contains("dhcp.subnets.lan.pools.main.range: "), "{said}");
    let output = plan_output(&daemon, &new, &["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), report["problems"].as_array().unwrap().len()),
        (Some(1), 2),
        "{report:#}"
    );
}

#[test]
fn plan_works_on_a_stopped_daemon_and_before_the_first_start() {
    let yaml = loopback("", SUBNETS);
    let never = Daemon::prepare(&yaml);
    let told = plan(&never, &yaml.replace("example.org", "example.net"));
    // The folder of the daemon is there as soon as somebody started it.
    let nowhere = &told["against"];
    assert_eq!((&nowhere["source"], &told["leases"]["total"]), (&"file".into(), &0.into()), "{told:#}");
    assert!(!never.folder.path().join("state").exists(), "a plan makes nothing");
    let (daemon, speaker) = serve(&yaml);
    let (_, address) = leased(&speaker, 1);
    daemon.run_ok(&["stop"]);
    let moved = yaml.replace("10.77.0.100-10.77.0.109", "10.77.0.200-10.77.0.209");
    let told = plan(&daemon, &moved);
    assert_eq!(told["against"]["source"], "last", "{told:#}");
    assert_eq!(lost(&told), [("no-pool".to_owned(), 1, address.to_string())]);
}

#[test]
fn flags_of_the_running_daemon_hold_for_the_draft_too() {
    let yaml = loopback("", SUBNETS);
    let daemon = Daemon::prepare(&yaml);
    daemon.run_ok(&["start", "--set", "dhcp.rapid_commit=true"]);
    assert_eq!(plan(&daemon, &yaml)["keys"], Value::Array(vec![]));
}
