//! Wrong files, and exactly what is printed about them.

use proptest::prelude::*;

use super::*;

#[test]
fn every_error_is_reported_at_once_with_its_line() {
    let text = "tcp:
  port: 70000
  enabled: maybe
  prot: 5
  max_clients: 0
udp: [1]
nonsense: 1
dhcp: {enabled: false}
";
    let expected = r#"
c.yaml:2: tcp.port: 70000 is not a port; it must be 0 to 65535
    2 |   port: 70000
c.yaml:3: tcp.enabled: "maybe" is not true or false
    3 |   enabled: maybe
c.yaml:4: tcp.prot: unknown key
    4 |   prot: 5
  hint: did you mean port?
c.yaml:5: tcp.max_clients: 0 is out of range; it must be 1 to 100000
    5 |   max_clients: 0
c.yaml:6: udp: a list is not a section
    6 | udp: [1]
  hint: write its keys on lines of their own, indented
c.yaml:7: nonsense: unknown key
    7 | nonsense: 1
  hint: known here: api, daemon, dhcp, logging, tcp, udp
"#;
    refused(text, expected);
}

#[test]
fn flow_and_null_values_are_found_in_their_line() {
    let text = "tcp: {port: null, address: [127.0.0.1,
  localhost], when_full: rejct}
dhcp: {}
";
    let expected = r#"
c.yaml:1: tcp.port: null is not a port; it must be 0 to 65535
    1 | tcp: {port: null, address: [127.0.0.1,
  hint: remove the key to get its default
c.yaml:2: tcp.address[1]: "localhost" is not an IP address
    2 |   localhost], when_full: rejct}
  hint: localhost is 127.0.0.1 and ::1
c.yaml:2: tcp.when_full: "rejct" is not one of wait, reject
    2 |   localhost], when_full: rejct}
  hint: did you mean reject?
c.yaml:3: dhcp.interfaces: there is no interface to serve
    3 | dhcp: {}
  hint: name the interfaces to serve, such as [eth0], or set dhcp.enabled to false
"#;
    refused(text, expected);
}

#[test]
fn anchored_values_are_reported_where_they_are_written() {
    let text = "tcp: &echo
  address: 127.0.0.1
  buffer_size: huge
udp: *echo
dhcp: {enabled: false}
";
    let expected = r#"
c.yaml:3: tcp.buffer_size: "huge" is not a size such as 4096, 10MiB or 1GiB
    3 |   buffer_size: huge
c.yaml:3: udp.buffer_size: "huge" is not a size such as 4096, 10MiB or 1GiB
    3 |   buffer_size: huge
"#;
    refused(text, expected);
}

#[test]
fn files_that_are_no_yaml_are_refused_with_their_line() {
    refused(
        "tcp:\n\tport: 1\n",
        "c.yaml:2: found character that cannot start any token\n    2 | \tport: 1\n  hint: indent with spaces: YAML does not allow tabs there",
    );
    refused(
        "tcp:\n  port: 1\n  port: 2\n",
        "c.yaml:3: tcp: the key \"port\" stands twice in this section\n    3 |   port: 2\n  hint: keep one of the two",
    );
    refused("tcp: {port: 1\nudp: 3\n", "c.yaml:2: did not find expected ',' or '}'\n    2 | udp: 3");
    refused(
        "tcp: a: b\n",
        "c.yaml:1: mapping values are not allowed in this context\n    1 | tcp: a: b\n  hint: check the indentation; text that holds `: ` needs quotes",
    );
    refused("a: *nope\n", "c.yaml:1: unknown anchor\n    1 | a: *nope");
    refused(
        "- 1\n",
        "c.yaml: the file holds a list, not keys with values\n  hint: a configuration begins with a key such as `tcp:`",
    );
    refused(
        "# nothing\n",
        "c.yaml: the file is empty\n  hint: examples to start from are config/config.yaml, config.json and config.ini",
    );
}

#[test]
fn dotted_and_doubled_names_get_a_hint() {
    refused(
        "tcp.port: 5\ndhcp: {enabled: false}",
        "c.yaml:1: tcp.port: unknown key\n    1 | tcp.port: 5\n  hint: a dot does not lead into a section: write port indented below tcp:",
    );
    refused(
        "udp:\n  udp_port: 2\n  port: 1",
        "c.yaml:3: udp.port: udp.udp_port says the same thing and is given too\n    3 |   port: 1\n  hint: keep one of the two",
    );
    let alias =
        "c.yaml:1: udp.udp_port: 99999 is not a port; it must be 0 to 65535\n    1 | udp: {port: 99999}";
    refused("udp: {port: 99999}\ndhcp: {enabled: false}", alias);
}

#[test]
fn flags_are_named_as_the_place() {
    let report =
        |set: &[&str]| load_with("tcp: {port: 1}\ndhcp: {enabled: false}", set).unwrap_err().to_string();
    assert_eq!(
        report(&["tcp.port=70000", "tcp.max_clients=5", "udp.prot=1"]),
        "--set tcp.port=70000: tcp.port: 70000 is not a port; it must be 0 to 65535
--set udp.prot=1: udp.prot: unknown key
  hint: did you mean port?"
    );
    assert_eq!(
        report(&["tcp.port", ".a=1", "udp.address=*"]),
        "--set tcp.port: no value is given
  hint: write --set tcp.port=9000
--set .a=1: \".a\" is not a key
  hint: write --set tcp.port=9000
--set udp.address=*: the value cannot be read: did not find expected alphabetic or numeric character
  hint: text with characters that mean something in YAML needs quotes: KEY='\"VALUE\"'"
    );
}

#[test]
fn subnets_and_pools_must_make_sense() {
    let cases = [
        (
            "pools: {p: {range: 10.0.1.5-10.0.1.9}}",
            "p.range: 10.0.1.5-10.0.1.9 is outside the subnet 10.0.0.0/24\n    6 |       pools: {p: {range: 10.0.1.5-10.0.1.9}}\n  hint: the subnet's hosts are 10.0.0.1-10.0.0.254",
        ),
        (
            "pools: {p: {range: 10.0.0.0-10.0.0.9}}",
            "10.0.0.0-10.0.0.9 takes in the network address of 10.0.0.0/24",
        ),
        (
            "pools: {p: {range: 10.0.0.1-10.0.0.255}}",
            "takes in the broadcast address of 10.0.0.0/24\n    6 |       pools: {p: {range: 10.0.0.1-10.0.0.255}}\n  hint: write 10.0.0.1-10.0.0.254",
        ),
        (
            "pools: {p: {range: 10.0.0.9-10.0.0.5}}",
            "p.range: the range 10.0.0.9-10.0.0.5 ends before it begins",
        ),
        (
            "pools: {p: {}}",
            "p.range: this must be given\n    6 |       pools: {p: {}}\n  hint: for example range: 10.0.0.100-10.0.0.199",
        ),
        (
            "pools: {p: {range: 10.0.0.5-10.0.0.9}, q: {range: 10.0.0.9}}",
            "q.range: 10.0.0.9 overlaps pool p (10.0.0.5-10.0.0.9)",
        ),
        ("pools: {a b: {range: 10.0.0.5}}", "\"a b\" cannot be a name"),
        ("exclude: [10.0.0.3, 10.0.1.3]", "lan.exclude[1]: 10.0.1.3 is outside the subnet 10.0.0.0/24"),
        ("relays: [224.0.0.9]", "lan.relays[0]: 224.0.0.9 is not the address of one host"),
        (
            "interface: eth1",
            "lan.interface: eth1 is not served\n    6 |       interface: eth1\n  hint: add eth1 to dhcp.interfaces",
        ),
        ("interface: a/b", "lan.interface: \"a/b\" is not an interface name"),
        ("rebind_at: 0.4", "lan.rebind_at: renew_at (0.5) must be less than rebind_at (0.4)"),
        ("renew_at: 1", "lan.renew_at: 1 is not a fraction; it must lie between 0 and 1"),
        (
            "lease_time: 5s",
            "lan.lease_time.default: 5s is no lease time; it must be 10s to 36500d, in whole seconds, or infinite",
        ),
        ("lease_time: {min: 2h, default: 1h}", "lan.lease_time: min (2h) is longer than default (1h)"),
        (
            "server_name: abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnop",
            "the text is 68 bytes long; it must be at most 63",
        ),
        ("server_id: 255.255.255.255", "lan.server_id: 255.255.255.255 is not the address of one host"),
    ];
    for (line, expected) in cases {
        let printed = refusal_of(&lan(line));
        assert!(printed.starts_with("c.yaml:6: dhcp.subnets.lan."), "{printed}");
        assert!(printed.contains(expected), "\n--- printed:\n{printed}\n--- expected:\n{expected}");
        assert_eq!(printed.matches("c.yaml:").count(), 1, "one cause, one problem:\n{printed}");
    }
    assert!(load(&lan("pools: {p: {range: 10.0.0.1-10.0.0.254}}")).is_ok());
}

#[test]
fn both_addresses_of_a_slash_31_can_be_a_pool() {
    let text = "dhcp: {interfaces: lo, subnets: {a: {network: 10.0.0.0/31, pools: {p: {range: 10.0.0.0-10.0.0.1}}}}}";
    assert!(load(text).is_ok());
}

#[test]
fn subnets_must_be_canonical_and_apart() {
    let text = "dhcp:
  interfaces: [eth0]
  subnets:
    a: {network: 10.0.0.0/8}
    b: {network: 10.1.0.0/16}
    c: {network: 10.2.0.7/16}
    d: {pools: {p: {range: 1.2.3.4}}}
    e: {network: 224.0.0.0/24}
";
    let expected = r"
c.yaml:5: dhcp.subnets.b.network: 10.1.0.0/16 overlaps subnet a (10.0.0.0/8)
    5 |     b: {network: 10.1.0.0/16}
c.yaml:6: dhcp.subnets.c.network: 10.2.0.7/16 has host bits set; the network is 10.2.0.0/16
    6 |     c: {network: 10.2.0.7/16}
  hint: write 10.2.0.0/16
c.yaml:7: dhcp.subnets.d.network: this must be given
    7 |     d: {pools: {p: {range: 1.2.3.4}}}
  hint: for example network: 10.0.0.0/24
c.yaml:8: dhcp.subnets.e.network: 224.0.0.0/24 does not hold addresses of hosts alone
    8 |     e: {network: 224.0.0.0/24}
";
    refused(text, expected);
}

#[test]
fn sections_must_not_get_in_each_others_way() {
    let text = "tcp: {port: 9167, address: 0.0.0.0}
udp: {udp_port: 67, address: []}
daemon: {pid_file: /tmp/x, shutdown_timeout: 1ms}
logging: {log_file: /tmp/./x, log_level: LOUD, backup_count: -1, syslog: {address: host, facility: local9}}
dhcp: {interfaces: [lo, lo], workers: 17, offer_hold: 2h, decline_hold: {first: 2h, max: 1h}}
";
    let printed = refusal_of(text);
    for expected in [
        "c.yaml:1: tcp.port: TCP port 9167 is taken by api.listen already",
        "c.yaml:2: udp.address: there is no address to listen on",
        "c.yaml:3: daemon.shutdown_timeout: 1ms is out of range; it must be 100ms to 1h",
        "c.yaml:4: logging.log_file: /tmp/x is used for daemon.pid_file already",
        "c.yaml:4: logging.log_level: \"LOUD\" is not one of TRACE, DEBUG, INFO, WARN, WARNING, ERROR, CRITICAL, OFF",
        "c.yaml:4: logging.backup_count: -1 is out of range",
        "c.yaml:4: logging.syslog.address: \"host\" is not /dev/log or udp://HOST:PORT",
        "c.yaml:4: logging.syslog.facility: \"local9\" is not one of",
        "c.yaml:5: dhcp.interfaces[1]: lo is listed twice",
        "c.yaml:5: dhcp.workers: 17 is out of range; it must be 1 to 16",
        "c.yaml:5: dhcp.offer_hold: 2h is out of range; it must be 1s to 1h",
        "c.yaml:5: dhcp.decline_hold.first: first (2h) is longer than max (1h)",
    ] {
        assert!(printed.contains(expected), "missing: {expected}\n{printed}");
    }
    let clash = refusal_of("udp: {udp_port: 67}\ndhcp: {interfaces: lo, port: 67}");
    assert!(clash.contains("dhcp.port: UDP port 67 is taken by udp.udp_port already"), "{clash}");
}

#[test]
fn service_without_subnets_or_token_is_a_warning() {
    let loaded = load("api: {listen: 0.0.0.0:9167}\ndhcp:\n  interfaces: [lo]\n").unwrap();
    let printed: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        printed[0].starts_with("c.yaml:1: warning: api.listen: 0.0.0.0:9167 is not a loopback address"),
        "{printed:?}"
    );
    assert!(printed[1].starts_with("c.yaml:2: warning: dhcp.subnets: there is no subnet"), "{printed:?}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str| {
        let file = Some(PathBuf::from(name));
        ConfigManager::new(Sources { file, ..sources(folder.path()) }).load().unwrap_err().to_string()
    };
    assert_eq!(
        load("missing.yaml"),
        "missing.yaml: the file could not be read: no such file or directory
  hint: name the configuration file with -c FILE or in $ECHO_DAEMON_CONFIG"
    );
    std::fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    assert_eq!(load("folder.yaml"), "folder.yaml: this is a folder, not a file");
    std::fs::write(folder.path().join("latin.yaml"), b"tcp:\n  # caf\xe9\n").unwrap();
    assert_eq!(load("latin.yaml"), "latin.yaml:2: the file is not UTF-8 text\n  hint: save it as UTF-8");
    assert_eq!(
        load("config.toml"),
        "config.toml: files ending in .toml cannot be read\n  hint: name a file ending in .yaml, .yml, .json, .ini or .conf"
    );
    assert!(load("config").contains("no ending"));
}

/// Pieces that a slip of the hand may leave in a file.
const SLIPS: &[&str] = &[
    "",
    " ",
    "\t",
    "\n",
    ":",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "*x",
    "&x ",
    "<<: ",
    "null",
    "-1",
    "9999999999999999999999",
    "é",
    "\u{0}",
    "---\n",
    "#",
    "!x ",
    "? ",
    "1e400",
    "~",
];

/// The shipped file, and the whole configurations of the documentation, which show what it leaves out.
fn examples() -> Vec<String> {
    let read =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let page = read("docs/configuration.md");
    let shown = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    std::iter::once(read("config/config.yaml")).chain(shown.map(str::to_owned)).collect()
}

proptest! {
    #[test]
    fn no_file_makes_the_loader_panic(
        example in any::<prop::sample::Index>(),
        slips in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, prop::sample::select(SLIPS)), 1..4),
    ) {
        let examples = examples();
        let mut text: Vec<char> = example.get(&examples).chars().collect();
        for (place, removed, slip) in slips {
            let start = place.index(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, slip.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(report) = load(&text) {
            prop_assert!(!report.to_string().is_empty());
        }
    }
}
