//! What the daemon says of its configuration: every mistake at once, each with its place and what to do, before
//! anything has changed; and what `--set` and the file's folder mean, also after a reload.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use common::{BASE, BINARY, Daemon, ECHO, folder, text};

/// Runs a command on a file of this text; the folder holds it as `c.yaml`.
fn run_on(yaml: &str, args: &[&str]) -> Output {
    let folder = folder();
    fs::write(folder.path().join("c.yaml"), yaml).unwrap();
    run_in(folder.path(), "c.yaml", args)
}

fn run_in(folder: &Path, file: &str, args: &[&str]) -> Output {
    Command::new(BINARY).args(["-c", file]).args(args).current_dir(folder).output().unwrap()
}

/// Both outputs of a `check` that must fail, without the last line feed.
#[track_caller]
fn refused(yaml: &str, args: &[&str]) -> String {
    let output = run_on(yaml, &[&["check"], args].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(output.stdout.is_empty(), "a report belongs on stderr: {}", text(&output));
    text(&output).trim_end().to_owned()
}

const MISTAKES: &str = "\
tcp:
  port: 70000
  prot: 5
  when_full: rejct
dhcp:
  interfaces: [lo]
  rapid_commit: perhaps
  lease_time: {default: 1h, max: 5m}
  options:
    routers: nope
    domain-name-servers: [10.0.0.1, x]
  subnets:
    lan:
      network: 10.0.0.7/24
    other:
      network: 10.1.0.0/24
      options: {interface-mtu: wide}
      pools:
        main: {range: 10.1.0.20-10.1.0.10}
";

// --- check -----------------------------------------------------------------------------------------------

#[test]
fn check_prints_every_mistake_of_every_layer_at_once_in_the_order_of_the_file() {
    let said = refused(MISTAKES, &[]);
    let places: Vec<&str> = said.lines().filter(|line| line.starts_with("c.yaml:")).collect();
    let expected = [
        ("c.yaml:2: tcp.port: ", "70000"),
        ("c.yaml:3: tcp.prot: ", "unknown key"),
        ("c.yaml:4: tcp.when_full: ", "rejct"),
        ("c.yaml:7: dhcp.rapid_commit: ", "\"perhaps\" is not true or false"),
        ("c.yaml:8: dhcp.lease_time: ", "longer than max"),
        ("c.yaml:10: dhcp.options.routers: ", "nope"),
        ("c.yaml:11: dhcp.options.domain-name-servers: ", "\"x\""),
        ("c.yaml:14: dhcp.subnets.lan.network: ", "host bits"),
        ("c.yaml:17: dhcp.subnets.other.options.interface-mtu: ", "wide"),
        ("c.yaml:19: dhcp.subnets.other.pools.main.range: ", "ends before it begins"),
    ];
    assert_eq!(places.len(), expected.len(), "{said}");
    for (line, (place, reason)) in places.iter().zip(expected) {
        assert!(line.starts_with(place) && line.contains(reason), "{line}\n  is not {place}…{reason}…");
    }
    // The line itself, and what to do.
    assert!(said.contains("\n    3 |   prot: 5\n  hint: did you mean port?"), "{said}");
    assert!(said.contains("hint: did you mean reject?"), "{said}");
}

#[test]
fn check_as_json_says_the_same() {
    let output = run_on(MISTAKES, &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 10, "{report:#}");
    let unknown = problems.iter().find(|problem| problem["key"] == "tcp.prot").unwrap();
    assert_eq!(
        (&unknown["file"], &unknown["line"], &unknown["column"]),
        (&"c.yaml".into(), &3.into(), &9.into())
    );
    assert_eq!((&unknown["severity"], &unknown["source"]), (&"error".into(), &"file".into()));
    assert_eq!(unknown["reason"], "unknown key");
    assert_eq!(unknown["hint"], "did you mean port?");
    let good = run_on(ECHO, &["check", "--json"]);
    assert!(good.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&good.stdout).unwrap()["problems"], Value::Array(vec![]));
}

#[test]
fn good_file_and_shipped_files_pass() {
    let output = run_on(ECHO, &["check"]);
    assert!(
        output.status.success() && text(&output).contains("c.yaml: no mistakes found"),
        "{}",
        text(&output)
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["config/config.yaml", "config/lab.yaml"] {
        // Whoever has the usual ports on this machine is no fault of the file, nor is an interface that scripts/lab makes.
        let any = ["tcp.port=0", "udp.udp_port=0", "api.listen=null", "dhcp.port=0", "dhcp.enabled=false"];
        let any = any.iter().take(if file.ends_with("lab.yaml") { 5 } else { 4 });
        let flags: Vec<&str> = any.flat_map(|flag| ["--set", *flag]).collect();
        let output = run_in(folder, file, &[&["check"], flags.as_slice()].concat());
        assert!(output.status.success(), "{file}: {}", text(&output));
        assert!(output.stderr.is_empty(), "{file} has warnings: {}", text(&output));
    }
}

// --- the machine -----------------------------------------------------------------------------------------

/// A file that this machine has nothing against, with these lines.
fn local(lines: &str) -> String {
    let folders = "daemon: {pid_file: run/p, control_socket: run/c, state_dir: state, user: nobody}\n";
    format!("{folders}logging: {{log_file: log/l}}\n{lines}")
}

#[test]
fn ports_of_other_programs_are_refused_by_check_with_who_has_them() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let any = UdpSocket::bind("0.0.0.0:0").unwrap();
    let api = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |address: std::io::Result<std::net::SocketAddr>| address.unwrap().port();
    let (tcp, udp, dhcp, api) =
        (port(tcp.local_addr()), port(udp.local_addr()), port(any.local_addr()), port(api.local_addr()));
    // The sockets stay open until the end of the test.
    let said = refused(
        &local(&format!(
            "tcp: {{address: 127.0.0.1, port: {tcp}}}\nudp: {{address: 127.0.0.1, port: {udp}}}\napi: {{listen: \"127.0.0.1:{api}\"}}\n\
             dhcp: {{interfaces: [lo], port: {dhcp}, subnets: {{a: {{network: 127.0.0.0/8}}}}}}\n"
        )),
        &[],
    );
    let me = std::process::id();
    for (line, key, protocol, place) in [
        (3, "tcp.port", format!("TCP port {tcp}"), " of 127.0.0.1"),
        (4, "udp.udp_port", format!("UDP port {udp}"), " of 127.0.0.1"),
        (5, "api.listen", format!("TCP port {api}"), " of 127.0.0.1"),
        (6, "dhcp.port", format!("UDP port {dhcp}"), " on lo"),
    ] {
        let start = format!("c.yaml:{line}: {key}: {protocol}{place} is in use by ");
        let line = said.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("no {start} in\n{said}"));
        assert!(line.ends_with(&format!("(PID {me})")), "{line}");
    }
    assert_eq!(said.matches("hint: stop it, or choose another port").count(), 4, "{said}");
    drop((any, said));
}

#[test]
fn check_of_a_running_daemon_is_clean_and_that_of_another_one_in_its_place_is_not() {
    // An address of this test's own, so that nobody else has the port there.
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = format!("127.77.{high}.{}", low.clamp(1, 254));
    let yaml = format!(
        "tcp: {{address: {address}, port: 8888}}\nudp: {{address: {address}, port: 8889}}\ndhcp: {{enabled: false}}\n"
    );
    let daemon = Daemon::start(&yaml);
    let output = daemon.run(&["check"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
    // Another daemon, with files of its own, wants the same port.
    let other = Daemon::prepare(&yaml);
    let output = other.run(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    for service in ["tcp.port: TCP port 8888", "udp.udp_port: UDP port 8889"] {
        let by = format!("{service} of {address} is in use by echo-daemon");
        assert!(said.contains(&by) && said.contains(&format!("(PID {})", daemon.pid())), "{said}");
    }
}

#[test]
fn paths_that_cannot_be_made_are_refused_by_check() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::create_dir(folder.path().join("other")).unwrap();
    let yaml = "daemon: {pid_file: file/run/p, control_socket: folder, state_dir: file, user: nobody}
logging: {log_file: /proc/x/log, json: {enabled: true, file: other}}
tcp: {enabled: false}
udp: {enabled: false}
api: {listen: null}
dhcp: {enabled: false}
";
    fs::write(folder.path().join("c.yaml"), yaml).unwrap();
    let output = run_in(folder.path(), "c.yaml", &["check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    let at = |name: &str| folder.path().join(name).display().to_string();
    for line in [
        format!("c.yaml:1: daemon.pid_file: {} is not a folder", at("file")),
        format!("c.yaml:1: daemon.control_socket: {} is a folder", at("folder")),
        format!("c.yaml:1: daemon.state_dir: {} is not a folder", at("file")),
        "c.yaml:2: logging.log_file: /proc is the kernel's and holds no files of others".to_owned(),
        format!("c.yaml:2: logging.json.file: {} is a folder", at("other")),
    ] {
        assert!(said.contains(&format!("{line}\n")), "no {line} in\n{said}");
    }
    assert_eq!(said.matches("hint: name another place").count(), 5, "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "a check makes nothing");
}

#[test]
fn state_folder_that_the_workers_may_not_enter_is_refused_by_check() {
    if !common::is_root("state_folder_that_the_workers_may_not_enter_is_refused_by_check") {
        return;
    }
    let folder = folder();
    let private = folder.path().join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let yaml = local("tcp: {port: 0}\nudp: {port: 0}\napi: {listen: null}\ndhcp: {interfaces: [lo], port: 0, subnets: {a: {network: 127.0.0.0/8}}}\n")
        .replace("state_dir: state", "state_dir: private/state");
    fs::write(folder.path().join("c.yaml"), yaml).unwrap();
    let output = run_in(folder.path(), "c.yaml", &["check"]);
    let reason =
        format!("daemon.state_dir: {} is closed to user nobody, as whom the workers run", private.display());
    assert!(!output.status.success() && text(&output).contains(&reason), "{}", text(&output));
    fs::set_permissions(&private, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(run_in(folder.path(), "c.yaml", &["check"]).status.success());
}

#[test]
fn path_that_only_another_user_may_write_is_a_warning() {
    if !common::is_root("path_that_only_another_user_may_write_is_a_warning") {
        return;
    }
    let folder = folder();
    let yaml = local("tcp: {port: 0}\nudp: {port: 0}\napi: {listen: null}\ndhcp: {enabled: false}\n");
    fs::write(folder.path().join("c.yaml"), yaml).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", BINARY, "-c", "c.yaml", "check"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let said = text(&output);
    if said.contains("Permission denied") && said.contains("setpriv") {
        eprintln!("skipped: another user cannot reach {BINARY}");
        return;
    }
    assert!(output.status.success(), "{said}");
    let reason = format!(
        "c.yaml:1: warning: daemon.state_dir: this user may not write there: {}: permission denied",
        folder.path().display()
    );
    assert!(said.contains(&reason), "{said}");
}

#[test]
fn missing_interfaces_are_warnings_with_those_that_are_there() {
    let yaml = local(
        "tcp: {port: 0}\nudp: {port: 0}\napi: {listen: null}\ndhcp: {interfaces: [lo, nosuch0], port: 0, subnets: {a: {network: 127.0.0.0/8}}}\n",
    );
    let output = run_on(&yaml, &["check"]);
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("c.yaml:6: warning: dhcp.interfaces[1]: there is no interface nosuch0\n"),
        "{said}"
    );
    assert!(said.contains("hint: it is served as soon as it is there; this machine has "), "{said}");
}

#[test]
fn token_file_must_be_there_and_be_kept_to_oneself() {
    let folder = folder();
    let token = folder.path().join("token");
    let yaml = local(
        "tcp: {port: 0}\nudp: {port: 0}\napi: {listen: null, token_file: token}\ndhcp: {enabled: false}\n",
    );
    fs::write(folder.path().join("c.yaml"), yaml).unwrap();
    let check = || {
        let output = run_in(folder.path(), "c.yaml", &["check"]);
        (output.status.success(), text(&output))
    };
    let (good, said) = check();
    let reason = format!("c.yaml:5: api.token_file: {} could not be read: no such file", token.display());
    assert!(!good && said.contains(&reason) && said.contains("hint: make it: (umask 077;"), "{said}");
    fs::write(&token, "\n").unwrap();
    assert!(check().1.contains("token is empty"), "{}", check().1);
    fs::write(&token, "secret\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let (good, said) = check();
    let reason = format!(
        "c.yaml:5: warning: api.token_file: everybody on this machine can read or change {}",
        token.display()
    );
    assert!(good && said.contains(&reason) && said.contains("hint: chmod 600 "), "{said}");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!check().1.contains("warning"), "{}", check().1);
}

#[test]
fn address_of_another_machine_is_refused_by_check() {
    let yaml = local(
        "tcp: {address: 192.0.2.77, port: 0}\nudp: {address: 192.0.2.77, port: 9999}\napi: {listen: null}\ndhcp: {enabled: false}\n",
    );
    let said = refused(&yaml, &[]);
    assert!(
        said.contains("c.yaml:4: udp.udp_port: no interface of this machine has the address 192.0.2.77"),
        "{said}"
    );
}

#[test]
fn syntax_errors_are_reported_with_their_line() {
    assert_eq!(
        refused("tcp:\n  port: 1\n\tbad: 2\n", &[]).lines().next().unwrap(),
        "c.yaml:3: found a tab character that violates indentation"
    );
    let doubled = refused("tcp:\n  port: 1\n  port: 2\n", &[]);
    assert!(doubled.starts_with("c.yaml:3: tcp: the key \"port\" stands twice in this section"), "{doubled}");
    let unclosed = refused("tcp: {port: 1\nudp: 3\n", &[]);
    assert!(unclosed.starts_with("c.yaml:2: "), "{unclosed}");
}

#[test]
fn files_that_cannot_be_read_are_reported_with_a_hint() {
    let folder = folder();
    for (file, reason) in [
        ("missing.yaml", "missing.yaml: the file could not be read: no such file or directory"),
        ("folder.yaml", "folder.yaml: this is a folder"),
        ("c.toml", "c.toml: files ending in .toml cannot be read"),
        ("latin.yaml", "latin.yaml:2: the file is not UTF-8 text"),
        ("empty.yaml", "empty.yaml: the file is empty"),
    ] {
        match file {
            "folder.yaml" => fs::create_dir(folder.path().join(file)).unwrap(),
            "latin.yaml" => fs::write(folder.path().join(file), b"tcp:\n  x: \xe4\n").unwrap(),
            "missing.yaml" => (),
            _ => fs::write(folder.path().join(file), "").unwrap(),
        }
        let output = run_in(folder.path(), file, &["check"]);
        assert_eq!(output.status.code(), Some(1), "{file}");
        assert!(text(&output).starts_with(reason), "{file}: {}", text(&output));
    }
}

#[test]
fn set_is_checked_like_the_file_and_named_as_the_place() {
    let said = refused(
        "tcp: {prot: 1}\ndhcp: {enabled: false}\n",
        &["--set", "tcp.port=70000", "--set", "udp.prot=1"],
    );
    assert!(said.contains("c.yaml:1: tcp.prot: unknown key"), "{said}");
    assert!(said.contains("--set tcp.port=70000: tcp.port: 70000 is not a port"), "{said}");
    assert!(said.contains("--set udp.prot=1: udp.prot: unknown key\n  hint: did you mean port?"), "{said}");
    let said = refused(ECHO, &["--set", "tcp.port", "--set", ".x=1", "--set", "udp.address=*"]);
    for expected in
        ["--set tcp.port: no value is given", "--set .x=1: \".x\" is not a key", "--set udp.address=*: "]
    {
        assert!(said.contains(expected), "{said}");
    }
    assert!(said.contains("hint: write --set tcp.port=9000"), "{said}");
}

#[test]
fn mistakes_in_classes_hosts_and_security_are_reported_together() {
    let yaml = "\
dhcp:
  interfaces: [lo]
  security: {deny: [\"zz:*\"]}
  classes:
    pxe: {boot_file: pxelinux.0}
    uefi: {match: {vendor_class: \"PXEClient*\"}, options: {routers: nope}}
  subnets:
    lan:
      network: 10.0.0.0/24
      pools:
        main: {range: 10.0.0.100-10.0.0.199, classes: [ufi]}
      hosts:
        printer: {mac: 0011.2233.4455, ip: 10.0.0.10}
        scanner: {mac: \"00:11:22:33:44:66\", ip: 10.0.1.10}
        plotter: {mac: \"00:11:22:33:44:66\", options: {ntp-servers: nope}}
";
    // What other programs of this machine serve is none of this.
    let own = ["tcp.enabled=false", "udp.enabled=false", "api.listen=null", "dhcp.port=0"];
    let said = refused(yaml, &own.map(|set| ["--set", set]).concat());
    let expected = "\
c.yaml:3: dhcp.security.deny[0]: \"zz:*\" fits no hardware address
    3 |   security: {deny: [\"zz:*\"]}
  hint: an address is written 00:11:22:33:44:55, in hex digits; a pattern may be 00:11:22:*
c.yaml:5: dhcp.classes.pxe.match: this must be given: the class would hold for everybody
    5 |     pxe: {boot_file: pxelinux.0}
  hint: write `match: {all: []}` if everybody is meant
c.yaml:6: dhcp.classes.uefi.match.vendor_class: unknown key
    6 |     uefi: {match: {vendor_class: \"PXEClient*\"}, options: {routers: nope}}
  hint: did you mean vendor-class?
c.yaml:6: dhcp.classes.uefi.options.routers: ";
    assert!(said.starts_with(expected), "{said}");
    for line in [
        "c.yaml:11: dhcp.subnets.lan.pools.main.classes[0]: there is no class \"ufi\"\n",
        "  hint: did you mean uefi?\n",
        "c.yaml:13: dhcp.subnets.lan.hosts.printer.mac: \"0011.2233.4455\" is not a hardware address\n",
        "  hint: write it as \"00:11:22:33:44:55\"\n",
        "c.yaml:14: dhcp.subnets.lan.hosts.scanner.ip: 10.0.1.10 is outside the subnet 10.0.0.0/24\n",
        "  hint: the subnet's hosts are 10.0.0.1-10.0.0.254\n",
        "c.yaml:14: dhcp.subnets.lan.hosts.scanner.mac: 00:11:22:33:44:66 belongs to host plotter already\n",
        "c.yaml:15: dhcp.subnets.lan.hosts.plotter.options.ntp-servers: ",
    ] {
        assert!(said.contains(line), "no {line} in\n{said}");
    }
    assert_eq!(said.matches("c.yaml:").count(), 9, "{said}");
}

#[test]
fn options_of_the_wrong_type_are_reported_at_every_level() {
    let yaml = "\
dhcp:
  interfaces: [lo]
  options:
    domain-name-servers: example.org
    no-such-option: 1
    option-224: {hex: xyz}
  subnets:
    lan:
      network: 10.0.0.0/24
      options:
        routers:
          - 10.0.0.1
          - 10.0.0.256
      pools:
        main:
          range: 10.0.0.10-10.0.0.20
          options:
            default-ip-ttl: 300
";
    let said = refused(yaml, &[]);
    for line in [
        "c.yaml:4: dhcp.options.domain-name-servers: ",
        "c.yaml:5: dhcp.options.no-such-option: ",
        "c.yaml:6: dhcp.options.option-224: ",
        "dhcp.subnets.lan.options.routers: ",
        "c.yaml:18: dhcp.subnets.lan.pools.main.options.default-ip-ttl: ",
    ] {
        assert!(said.lines().any(|l| l.starts_with("c.yaml:") && l.contains(line)), "no {line} in\n{said}");
    }
}

// --- start -----------------------------------------------------------------------------------------------

#[test]
fn start_with_a_bad_file_prints_the_report_and_leaves_nothing() {
    let folder = folder();
    fs::write(folder.path().join("c.yaml"), format!("{BASE}{MISTAKES}")).unwrap();
    let checked = run_in(folder.path(), "c.yaml", &["check"]);
    let started = run_in(folder.path(), "c.yaml", &["start"]);
    assert_eq!(started.status.code(), Some(1));
    let report = text(&checked);
    assert!(text(&started).contains(report.trim_end()), "{}\n  is not\n{report}", text(&started));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["c.yaml"]);
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let daemon = Daemon::prepare(ECHO);
    let elsewhere = folder();
    let parent = daemon.folder.path().parent().unwrap();
    let relative = daemon.config.strip_prefix(parent).unwrap().to_owned();
    let started =
        Command::new(BINARY).arg("-c").arg(&relative).arg("start").current_dir(parent).output().unwrap();
    assert!(started.status.success(), "{}", text(&started));
    for path in ["run/echo-daemon.pid", "run/control.sock", "log/echo-daemon.log", "state"] {
        assert!(daemon.folder.path().join(path).exists(), "{path} is not beside the file");
    }
    // The running daemon has "/" as its folder, and still finds the file.
    daemon.run_ok(&["reload"]);
    // And the commands find the daemon from anywhere.
    let status = daemon.command(&["status"]).current_dir(elsewhere.path()).output().unwrap();
    assert!(status.status.success(), "{}", text(&status));
}

#[test]
fn set_wins_over_the_file_also_after_reloads() {
    let daemon = Daemon::prepare(ECHO);
    daemon.run_ok(&["start", "--set", "tcp.max_clients=1", "--set", "tcp.when_full=reject"]);
    let server = daemon.endpoint("tcp");
    let mut held = TcpStream::connect(server).unwrap();
    held.write_all(b"x").unwrap();
    held.read_exact(&mut [0]).unwrap();
    let is_rejected = || {
        let mut second = TcpStream::connect(server).unwrap();
        second.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let _ = second.write_all(b"x");
        !matches!(second.read(&mut [0]), Ok(1))
    };
    assert!(is_rejected(), "--set has no effect");
    // Both the command and the daemon keep to what was set at the start.
    daemon.write_config(&ECHO.replace("port: 0}\nudp", "port: 0, max_clients: 50, when_full: wait}\nudp"));
    daemon.run_ok(&["reload"]);
    assert_eq!(daemon.endpoint("tcp"), server);
    assert!(is_rejected(), "the reload has forgotten --set");
    daemon.wait_log(&["TCP_CLIENT_REJECTED"]);
}

// --- reload ----------------------------------------------------------------------------------------------

#[test]
fn reload_of_a_bad_file_changes_nothing_and_says_why() {
    let daemon = Daemon::start(ECHO);
    let (before, server) = (daemon.status(), daemon.endpoint("tcp"));
    daemon.write_config(&ECHO.replace("port: 0", "prot: 0"));
    let refused = daemon.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused);
    let reason = format!("{}:4: tcp.prot: unknown key", daemon.config.display());
    assert!(said.contains(&reason) && said.contains("hint: did you mean port?"), "{said}");
    assert!(said.contains(":5: udp.prot: unknown key"), "every mistake at once: {said}");
    let line = daemon.wait_log(&["CONFIG_REFUSED"]);
    assert!(line.contains(&reason), "{line}");
    // The signal gets the same verdict, in the log.
    common::signal(daemon.pid(), nix::sys::signal::Signal::SIGHUP);
    common::eventually("a second refusal", || {
        (daemon.log().matches("CONFIG_REFUSED").count() == 2).then_some(())
    });
    let after = daemon.status();
    let processes = |status: &Value| {
        let pids = status["processes"].as_array().unwrap().iter();
        pids.map(|p| (p["name"].to_string(), p["pid"].to_string())).collect::<Vec<_>>()
    };
    assert_eq!(processes(&after), processes(&before));
    assert_eq!((&after["generation"], &after["endpoints"]), (&before["generation"], &before["endpoints"]));
    assert!(TcpStream::connect(server).is_ok());
    let remembered = after["recent_errors"].to_string();
    assert!(remembered.contains("CONFIG_REFUSED"), "{remembered}");
    daemon.write_config(ECHO);
    daemon.run_ok(&["reload"]);
}

#[test]
fn reload_of_a_file_that_is_no_yaml_or_gone_is_refused_too() {
    let daemon = Daemon::start(ECHO);
    let generation = daemon.status()["generation"].clone();
    let good = fs::read_to_string(&daemon.config).unwrap();
    fs::write(&daemon.config, format!("{good}tcp: [\n")).unwrap();
    common::signal(daemon.pid(), nix::sys::signal::Signal::SIGHUP);
    daemon.wait_log(&["CONFIG_REFUSED", "config.yaml:"]);
    let refused = daemon.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("config.yaml:"), "{}", text(&refused));
    fs::remove_file(&daemon.config).unwrap();
    common::signal(daemon.pid(), nix::sys::signal::Signal::SIGHUP);
    daemon.wait_log(&["CONFIG_REFUSED", "no such file"]);
    fs::write(&daemon.config, good).unwrap();
    assert_eq!(daemon.status()["generation"], generation);
}

#[test]
fn reload_refuses_what_only_a_restart_can_change() {
    let daemon = Daemon::start(ECHO);
    let good = fs::read_to_string(&daemon.config).unwrap();
    fs::write(&daemon.config, good.replace("state_dir: state", "state_dir: elsewhere")).unwrap();
    let refused = daemon.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused);
    assert!(
        said.contains("daemon.state_dir") && said.contains("cannot change while the daemon runs"),
        "{said}"
    );
    assert!(said.contains("hint: echo-daemon restart"), "{said}");
    fs::write(&daemon.config, good).unwrap();
}
