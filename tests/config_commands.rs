//! `config show`, `config schema` and `config init` on the real binary: what is shown means the same when it is read
//! again, the schema accepts what the daemon accepts, and what `init` writes serves a real client.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::site::copy_of;
use common::{BINARY, Daemon, Namespace, eventually, folder, has, is_root, text};
use echo_daemon::config::{Config, ConfigManager, Report, Sources};
use echo_daemon::protocol::options;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Something at every level, with text that YAML could take for something else.
const RICH: &str = r##"
daemon: {pid_file: run/d.pid, state_dir: state, user: nobody, shutdown_timeout: 2500ms}
logging:
  log_file: ./log/d.log
  max_log_size: 1000
  modules: {dhcp: DEBUG, "a: b #": OFF, "on": trace}
  syslog: {address: "udp://[::1]:514", level: warning}
tcp: {address: "127.0.0.1, ::1", port: "0", idle_timeout: 0.3333}
udp: {port: 0}
api: {listen: null}
dhcp:
  enabled: no
  interfaces: [eth0, "1"]
  lease_time: 2m
  decline_hold: {first: 2d}
  server_name: "# yes: [no], {a: b} \"q\" 'é"
  boot_file: "true"
  options:
    domain-name: "on"
    domain-search: [example.org, example.com]
    option-224: {hex: "0a0b", always: true}
    vendor-encapsulated-options: {1: {ip: 10.0.0.4}, 6: {hex: "02"}}
    log-servers: null
  security: {allow: ["00-11-*", "0x02*"], client_rate: null, trusted_relays: [10.0.1.1, 10.9.0.0/24]}
  classes:
    "1e3":
      match: {any: [{mac: "00:*", not: {hostname: "*: #"}}, {option: {60: "0x01*", 61: ["a", "~"]}}], architecture: [7, 00009]}
      lease_time: 1h
    all: {match: {all: []}, drop: true, order: -5}
  subnets:
    "null":
      network: 10.0.0.0/24
      shared_network: "- x"
      server_id: null
      renew_at: 0.25
      lease_time: {max: 4h}
      exclude: 10.0.0.200
      options: {routers: 10.0.0.1}
      pools:
        main: {range: 10.0.0.100 - 10.0.0.199, classes: ["1e3"], lease_time: {default: infinite, max: infinite}}
      hosts:
        a: {mac: "AA-bb-cc-dd-ee-ff", ip: 10.0.0.10, hostname: "7", lease_time: 2m}
        b: {client_id: "01:02:03"}
        c: {client_id: "x\ty\u0007z"}
        d: {circuit_id: " eth0/1 ", remote_id: "0x0a0b", next_server: null}
"##;

/// A file with this content in a folder of its own.
fn file_of(name: &str, content: &str) -> (TempDir, PathBuf) {
    let folder = folder();
    let file = folder.path().join(name);
    fs::write(&file, content).unwrap();
    (folder, file)
}

fn load(file: &Path) -> Result<Config, Report> {
    let sources =
        Sources { file: Some(file.to_owned()), folder: Path::new("/").to_owned(), ..Sources::default() };
    ConfigManager::new(sources).load_with(options::check, |_| Vec::new()).map(|loaded| loaded.config)
}

fn run(args: &[&str], file: &Path) -> Output {
    let mut command = Command::new(BINARY);
    command.args(args).arg("-c").arg(file).stdin(Stdio::null());
    command.env("ECHO_DAEMON__LOGGING__STATS_INTERVAL", "7m").output().unwrap()
}

#[track_caller]
fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The examples of docs/configuration.md.
fn examples() -> Vec<String> {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

/// The files in config/ that the daemon accepts.
fn shipped() -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap();
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|file| load(file).is_ok()).collect();
    files.sort();
    for name in ["config.yaml", "lab.yaml"] {
        assert!(files.iter().any(|file| file.ends_with(name)), "{name} is not among {files:?}");
    }
    files
}

#[test]
fn what_is_shown_is_read_as_the_same_configuration() {
    let mut folders: Vec<(TempDir, PathBuf)> =
        examples().iter().chain([&RICH.to_owned()]).map(|yaml| file_of("config.yaml", yaml)).collect();
    let mut files: Vec<PathBuf> = folders.iter().map(|(_, file)| file.clone()).collect();
    files.extend(shipped());
    for file in files {
        let before = load(&file).unwrap_or_else(|report| panic!("{file:?}: {report}"));
        for flags in [&["config", "show"][..], &["config", "show", "--origin"]] {
            let shown = Command::new(BINARY).args(flags).arg("-c").arg(&file).output().unwrap();
            let shown = stdout(&shown);
            let again = file_of("again.yaml", &shown);
            let after = load(&again.1).unwrap_or_else(|report| panic!("{report}\n{shown}"));
            assert!(before == after, "{file:?}:\n{before:#?}\n{after:#?}\n{shown}");
            folders.push(again);
        }
    }
}

#[test]
fn every_value_is_shown_with_its_origin() {
    let (_folder, file) = file_of("config.yaml", RICH);
    let shown = stdout(&run(&["config", "show", "--origin", "--set", "tcp.max_clients=7"], &file));
    let line = |value: &str| {
        let found = shown.lines().find(|line| line.trim_start().starts_with(value));
        found.unwrap_or_else(|| panic!("no {value:?} in\n{shown}")).split_once("  # ").unwrap().1.to_owned()
    };
    let at = |number: usize| format!("{}:{number}", file.display());
    assert_eq!(line("user: nobody"), at(2));
    assert_eq!(line("max_clients: 7"), "--set tcp.max_clients=7");
    assert_eq!(line("stats_interval: 7m"), "$ECHO_DAEMON__LOGGING__STATS_INTERVAL");
    assert_eq!(line("when_full: wait"), "default");
    assert_eq!(line("udp_port: 0"), at(9), "by its further name");
    assert_eq!(line("default: 2m"), at(14));
    assert_eq!(line("option-224: {always: true, hex: \"0a0b\"}"), at(21));
    assert_eq!(line("range: 10.0.0.100-10.0.0.199"), at(40));
    assert!(shown.contains(&format!("pid_file: {}", file.with_file_name("run/d.pid").display())), "{shown}");
    // Sections in the order of the documentation.
    let sections: Vec<&str> = shown.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(sections, ["daemon:", "logging:", "tcp:", "udp:", "api:", "dhcp:"]);
}

#[test]
fn as_json_values_and_origins_stand_side_by_side() {
    let (_folder, file) = file_of("config.yaml", "tcp: {port: 9000}\ndhcp: {enabled: false}\n");
    let shown: Value = serde_json::from_str(&stdout(&run(&["config", "show", "--json"], &file))).unwrap();
    assert_eq!(shown["values"]["tcp"]["port"], 9000);
    assert_eq!(shown["values"]["udp"]["udp_port"], 8889);
    assert_eq!(
        shown["origins"]["tcp.port"],
        json!({"source": "file", "file": file, "line": 1, "column": 13})
    );
    assert_eq!(shown["origins"]["udp.udp_port"], json!({"source": "default"}));
}

#[test]
fn mistaken_configuration_is_not_shown() {
    let (_folder, file) = file_of("config.yaml", "tcp: {prot: 9000}\ndhcp: {enabled: false}\n");
    let output = run(&["config", "show"], &file);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(text(&output).contains("tcp.prot: unknown key"), "{}", text(&output));
}

#[test]
fn what_runs_is_shown_whatever_the_file_says_by_now_and_remembered_when_it_has_ended() {
    let daemon = Daemon::start(common::ECHO);
    daemon.write_config(&format!("{}logging: {{}}\n", common::ECHO.replace("port: 0", "port: 9999")));
    let running = daemon.run_ok(&["config", "show", "--running", "--origin"]);
    let line = running.lines().find(|line| line.starts_with("  port: ")).unwrap();
    assert!(line.starts_with("  port: 0 ") && line.ends_with("config.yaml:4"), "{line}");
    daemon.write_config(common::ECHO);
    assert_eq!(daemon.run_ok(&["config", "show"]), daemon.run_ok(&["config", "show", "--running"]));
    daemon.run_ok(&["stop"]);
    let last = daemon.run(&["config", "show", "--running", "--origin"]);
    assert!(String::from_utf8_lossy(&last.stderr).contains("not running: this is what was in force last"));
    assert_eq!(stdout(&last), running);
}

#[test]
fn what_never_ran_is_not_shown_as_running() {
    let daemon = Daemon::prepare("dhcp: {enabled: false}\n");
    let output = daemon.run(&["config", "show", "--running"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("not running"), "{}", text(&output));
}

fn schema() -> Value {
    serde_json::from_slice(&Command::new(BINARY).args(["config", "schema"]).output().unwrap().stdout).unwrap()
}

/// `ECHO_DAEMON_BLESS=1` writes it anew.
#[test]
fn shipped_schema_is_what_the_command_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema.json");
    let printed = stdout(&Command::new(BINARY).args(["config", "schema"]).output().unwrap());
    if std::env::var_os("ECHO_DAEMON_BLESS").is_some() {
        fs::write(&path, &printed).unwrap();
    }
    let again = "ECHO_DAEMON_BLESS=1 cargo test --test config_commands writes it anew";
    assert!(fs::read_to_string(path).unwrap_or_default() == printed, "config/schema.json is old: {again}");
}

#[test]
fn every_key_of_the_schema_is_described() {
    fn walk(path: &str, schema: &Value, missing: &mut Vec<String>) {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            if inner["description"].as_str().is_none_or(str::is_empty) {
                missing.push(path.clone());
            }
            walk(&path, inner, missing);
        }
        for inner in schema["patternProperties"].as_object().into_iter().flat_map(|all| all.values()) {
            walk(path, inner, missing);
        }
    }
    let (schema, mut missing) = (schema(), Vec::new());
    walk("", &schema, &mut missing);
    walk("match", &schema["$defs"]["condition"], &mut missing);
    assert!(missing.is_empty(), "docs/configuration.md does not say what these are: {missing:?}");
}

/// Validates by a program that is not ours: python3-jsonschema. None where it is not installed.
fn verdicts(documents: &[Value], test: &str) -> Option<Vec<bool>> {
    const PROGRAM: &str = "import json, sys\n\
        from jsonschema import Draft202012Validator as Validator\n\
        schema, documents = json.load(sys.stdin)\n\
        Validator.check_schema(schema)\n\
        validator = Validator(schema)\n\
        json.dump([validator.is_valid(document) for document in documents], sys.stdout)\n";
    let able = |python: &&&str| {
        let import = ["-c", "from jsonschema import Draft202012Validator"];
        Command::new(python).args(import).output().is_ok_and(|output| output.status.success())
    };
    let Some(python) = ["/usr/bin/python3", "python3"].iter().find(able) else {
        eprintln!("skipped: {test}: python3-jsonschema is not installed");
        return None;
    };
    let mut child = Command::new(python)
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = serde_json::to_vec(&json!([schema(), documents])).unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    Some(serde_json::from_str(&stdout(&output)).unwrap())
}

/// The tree of a YAML text.
fn tree(yaml: &str) -> Value {
    serde_yaml::from_str(yaml).unwrap()
}

#[test]
fn whatever_is_shipped_and_shown_fits_the_schema() {
    let mut documents: Vec<Value> = examples().iter().map(|yaml| tree(yaml)).collect();
    // INI has text alone, which no schema looks at.
    let trees = shipped().into_iter().filter(|file| file.extension().is_none_or(|ending| ending != "ini"));
    documents.extend(trees.map(|file| tree(&fs::read_to_string(file).unwrap())));
    documents.extend([tree(RICH), Value::Null]);
    let Some(verdicts) = verdicts(&documents, "whatever_is_shipped_and_shown_fits_the_schema") else {
        return;
    };
    for (document, fits) in documents.iter().zip(verdicts) {
        assert!(fits, "{document:#}");
    }
}

/// Every place of a leaf: the keys from the outermost section inwards.
fn leaves(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, inner) in map {
                path.push(key.clone());
                leaves(inner, path, found);
                path.pop();
            }
        }
        None => found.push(path.clone()),
    }
}

fn with(document: &Value, path: &[String], value: &Value) -> Value {
    let mut document = document.clone();
    let mut place = &mut document;
    for key in path {
        place = &mut place[key];
    }
    *place = value.clone();
    document
}

/// Each key gets values that are wrong for most: whatever the daemon accepts, the schema accepts; what no value of
/// the key can be, the schema refuses as the daemon does.
#[test]
fn schema_and_daemon_agree_about_every_key() {
    const TEST: &str = "schema_and_daemon_agree_about_every_key";
    // Wrong by their type or range, for every key that the daemon refuses them for.
    let certain = [json!({"x": 1}), json!([[1]]), json!([{"x": 1}])];
    let further = [
        json!(-5),
        json!(0),
        json!(1),
        json!(0.5),
        json!(7),
        json!(70000),
        json!(99_999_999_999_i64),
        json!(true),
        json!(null),
        json!([]),
        json!(""),
        json!(" 12 "),
        json!("x"),
        json!("1,2"),
        json!("10m"),
        json!("infinite"),
        json!("5MiB"),
        json!("INFO"),
        json!("YES"),
        json!("10.0.0.7"),
        json!("10.0.0.0/24"),
        json!("10.0.0.7-10.0.0.9"),
        json!("127.0.0.1:9"),
        json!("::1"),
        json!("00:11:22:33:44:55"),
        json!("66-66-*"),
        json!("0x0a0b"),
        json!("0x"),
        json!("~/a"),
        json!("/a b"),
        json!("example.org."),
        json!(["10.0.0.7", "10.0.0.8"]),
        json!(["x", "y"]),
    ];
    let (_folder, file) = file_of("config.yaml", RICH);
    let shown: Value = serde_json::from_str(&stdout(&run(&["config", "show", "--json"], &file))).unwrap();
    let mut base = shown["values"].clone();
    // Keys that hold only where they are said, and conditions of every kind.
    base["dhcp"]["security"]["client_rate"] = json!({"packets": 20, "per": "10s"});
    base["dhcp"]["classes"]["all"]["match"] = json!({
        "mac": "*", "vendor-class": "*", "user-class": "*", "client-id": "*", "hostname": "*", "architecture": 7,
        "circuit-id": "*", "remote-id": "*", "relay": "*", "interface": "*", "option": {"60": "*"},
    });
    base["dhcp"]["subnets"]["null"]["interface"] = Value::Null;
    base["dhcp"]["options"] = json!({});
    let mut kinds = Vec::new();
    for option in options::table::table() {
        let words = option.kind.described();
        if let (_, Some(example)) = words
            && !kinds.contains(&words)
        {
            // One option of each kind.
            kinds.push(words);
            base["dhcp"]["options"][option.name] = tree(example);
        }
    }
    let scratch = folder();
    let read = |document: &Value| {
        let file = scratch.path().join("c.yaml");
        fs::write(&file, document.to_string()).unwrap();
        load(&file)
    };
    read(&base).unwrap_or_else(|report| panic!("{report}"));
    let accepts = |document: &Value| read(document).is_ok();
    let mut places = Vec::new();
    leaves(&base, &mut Vec::new(), &mut places);
    assert!(places.len() > 120, "hardly any key was found: {places:?}");
    let (mut documents, mut cases) = (Vec::new(), Vec::new());
    for (turn, place) in places.iter().enumerate() {
        let is_option = place.iter().any(|word| word == "options");
        for (number, value) in certain.iter().chain(&further).enumerate() {
            // A load takes its time: the values take turns, so that many keys meet each of them.
            if number >= certain.len() && !(number + turn).is_multiple_of(6) {
                continue;
            }
            // A list in a list of one is more than the codec of options looks at.
            if is_option && *value == certain[1] {
                continue;
            }
            let document = with(&base, place, value);
            let accepted = accepts(&document);
            let must_refuse = !accepted && number < certain.len() && !is_option;
            if accepted || must_refuse {
                cases.push((format!("{} = {value}", place.join(".")), accepted));
                documents.push(document);
            }
        }
        let mut sections = place.clone();
        sections.pop();
        sections.push("no_such_key".to_owned());
        let document = with(&base, &sections, &json!(1));
        // Within an option the codec knows what a schema does not.
        if !is_option && !accepts(&document) {
            cases.push((sections.join("."), false));
            documents.push(document);
        }
    }
    // Out of range, each in its own way.
    for (key, value) in [
        ("tcp.port", json!(65_536)),
        ("tcp.port", json!(-1)),
        ("tcp.port", json!("http")),
        ("tcp.max_clients", json!(0)),
        ("tcp.buffer_size", json!(16_777_217)),
        ("logging.backup_count", json!(1001)),
        ("logging.log_level", json!("LOUD")),
        ("dhcp.workers", json!(17)),
        ("dhcp.renew_at", json!(1)),
        ("dhcp.offer_hold", json!(3601)),
        ("dhcp.offer_hold", json!("soon")),
        ("dhcp.lease_time.default", json!(9)),
        ("dhcp.conflict_check.timeout", json!(6)),
        ("dhcp.server_id", json!("224.0.0.1")),
        ("dhcp.subnets.null.network", json!("10.0.0.0/33")),
        ("dhcp.subnets.null.hosts.a.mac", json!("0011.2233.4455")),
        ("dhcp.classes.all.match.mac", json!("zz:*")),
        ("dhcp.options.routers", json!("10.0.0.256")),
        ("dhcp.options.interface-mtu", json!(65_536)),
        ("dhcp.options.dhcp-message-type", json!(1)),
        ("daemon.shutdown_timeout", json!(0)),
        ("dhcp.security.client_rate.packets", json!(0)),
        ("api.listen", json!("localhost")),
    ] {
        let place: Vec<String> = key.split('.').map(str::to_owned).collect();
        let document = with(&base, &place, &value);
        assert!(!accepts(&document), "{key} = {value}");
        cases.push((format!("{key} = {value}"), false));
        documents.push(document);
    }
    let Some(verdicts) = verdicts(&documents, TEST) else { return };
    let wrong: Vec<_> = cases.iter().zip(verdicts).filter(|((_, right), fits)| right != fits).collect();
    assert!(wrong.is_empty(), "the schema says otherwise about {wrong:#?}");
}

/// A namespace with one interface `srv0` at this address and a client's `cli0` at the other end.
fn site(address: &str) -> (Namespace, Namespace) {
    let (server, client) = (Namespace::new(), Namespace::new());
    server.join("srv0", &client, "cli0");
    server.address("srv0", address);
    (server, client)
}

fn init(server: &Namespace, args: &[&str]) -> Output {
    server.command(BINARY).args(["config", "init"]).args(args).output().unwrap()
}

#[test]
fn proposed_pool_leaves_out_who_is_there_already() {
    if !is_root("proposed_pool_leaves_out_who_is_there_already") {
        return;
    }
    for (address, gateway, range, routers) in [
        ("10.50.0.1/24", None, "10.50.0.128-10.50.0.254", "10.50.0.1"),
        ("10.50.0.1/24", Some("10.50.0.254"), "10.50.0.128-10.50.0.253", "10.50.0.254"),
        ("10.50.0.200/24", Some("10.50.0.1"), "10.50.0.128-10.50.0.199", "10.50.0.1"),
        ("10.50.1.1/16", None, "10.50.128.0-10.50.255.254", "10.50.1.1"),
        ("20.50.1.1/8", None, "20.255.128.0-20.255.255.254", "20.50.1.1"),
        ("10.50.0.2/30", None, "10.50.0.1", "10.50.0.2"),
        ("10.50.0.0/31", None, "10.50.0.1", "10.50.0.0"),
    ] {
        let (server, _client) = site(address);
        if let Some(gateway) = gateway {
            server.sh("ip", &["route", "add", "default", "via", gateway]);
        }
        let written = tree(&stdout(&init(&server, &["--interface", "srv0"])));
        let lan = &written["dhcp"]["subnets"]["lan"];
        let facts = (&lan["pools"]["main"]["range"], &lan["options"]["routers"]);
        assert_eq!(facts, (&json!(range), &json!([routers])), "{address} {gateway:?}");
    }
    let (server, _client) = site("10.50.0.1/32");
    let refusal = init(&server, &["--interface", "srv0"]);
    assert_eq!(refusal.status.code(), Some(1));
    assert!(text(&refusal).contains("no address left for a client"), "{}", text(&refusal));
}

#[test]
fn interfaces_that_cannot_be_served_are_refused_with_what_to_do() {
    if !is_root("interfaces_that_cannot_be_served_are_refused_with_what_to_do") {
        return;
    }
    let (server, client) = site("10.50.0.1/24");
    let refusal = |namespace: &Namespace, interface: &str| {
        let output = init(namespace, &["--interface", interface]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        text(&output)
    };
    assert_eq!(
        refusal(&server, "eht0"),
        "echo-daemon: there is no interface \"eht0\"\nhint: this machine has srv0 (10.50.0.1/24)\n"
    );
    assert!(refusal(&server, "lo").contains("loopback interface"));
    assert!(refusal(&client, "cli0").contains("hint: give it one that stays: ip addr add"));
}

#[test]
fn file_that_is_there_is_kept_unless_told_otherwise() {
    if !is_root("file_that_is_there_is_kept_unless_told_otherwise") {
        return;
    }
    let (server, _client) = site("10.50.0.1/24");
    let (_folder, file) = file_of("new.yaml", "# mine\n");
    let name = file.to_str().unwrap();
    let refused = init(&server, &["--interface", "srv0", "--output", name]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("--force replaces it"), "{}", text(&refused));
    assert_eq!(fs::read_to_string(&file).unwrap(), "# mine\n");
    stdout(&init(&server, &["--interface", "srv0", "--output", name, "--force"]));
    assert!(fs::read_to_string(&file).unwrap().contains("interfaces: [srv0]"));
}

/// What a new administrator does: `init`, `check`, `start`; then a real client comes.
#[test]
fn what_init_writes_serves_a_real_client() {
    const TEST: &str = "what_init_writes_serves_a_real_client";
    if !is_root(TEST) || !has("dhclient", TEST) {
        return;
    }
    let (server, client) = site("10.50.0.1/24");
    let mut daemon = Daemon::prepare("");
    let resolver = PathBuf::from(format!("/etc/netns/{}", server.name));
    fs::create_dir_all(&resolver).unwrap();
    let guard = Removed(resolver.clone());
    fs::write(
        resolver.join("resolv.conf"),
        "nameserver 127.0.0.53\nnameserver 10.50.0.3\nsearch lab.example\n",
    )
    .unwrap();
    fs::remove_file(&daemon.config).unwrap();
    stdout(&init(&server, &["--interface", "srv0", "--output", daemon.config.to_str().unwrap()]));
    drop(guard);
    let written = fs::read_to_string(&daemon.config).unwrap();
    let check = server.command(BINARY).args(["check", "-c"]).arg(&daemon.config).output().unwrap();
    assert!(check.status.success() && check.stderr.is_empty(), "{}\n{written}", text(&check));
    // Only the places of the daemon's files are the test's.
    fs::write(&daemon.config, format!("{}{written}", common::BASE)).unwrap();
    daemon.namespace = Some(server.name.clone());
    daemon.run_ok(&["start"]);

    let path = |name: &str| daemon.folder.path().join(name);
    copy_of("dhclient", &path("dhclient"));
    let told = path("told");
    let script = format!(
        "#!/bin/sh\n[ \"$reason\" = BOUND ] && echo \"$new_ip_address $new_routers $new_domain_name \
         $new_domain_name_servers $new_dhcp_lease_time\" > {0}.new && mv {0}.new {0}\nexit 0\n",
        told.display()
    );
    fs::write(path("script"), script).unwrap();
    common::sh("chmod", &["+x", path("script").to_str().unwrap()]);
    fs::write(path("conf"), "request subnet-mask, routers, domain-name, domain-name-servers;\n").unwrap();
    let mut dhclient = client.command(path("dhclient").to_str().unwrap());
    dhclient.args(["-4", "-d"]);
    for (flag, name) in
        [("-sf", "script"), ("-lf", "dhclient.leases"), ("-pf", "dhclient.pid"), ("-cf", "conf")]
    {
        dhclient.arg(flag).arg(path(name));
    }
    let mut running = dhclient.arg("cli0").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let said = eventually("a lease", || fs::read_to_string(&told).ok());
    let _ = running.kill();
    let _ = running.wait();
    let words: Vec<&str> = said.split_whitespace().collect();
    let last: u8 = words[0].strip_prefix("10.50.0.").unwrap().parse().unwrap();
    assert!((128..=254).contains(&last), "{said}");
    assert_eq!(words[1..], ["10.50.0.1", "lab.example", "10.50.0.3", "43200"]);
}

/// A folder that goes when the test is over.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
