//! JSON and INI beside YAML: the same configurations, and the same care for mistakes.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::config::formats::Format;

#[track_caller]
fn refused_as(name: &str, text: &str, expected: &str) {
    let printed = load_as(name, text).unwrap_err().to_string();
    assert_eq!(printed, expected.trim_matches('\n'), "\n--- printed:\n{printed}\n--- for:\n{text}");
}

#[test]
fn mistakes_in_json_are_reported_with_their_lines() {
    let text = r#"{
  "tcp": {"prot": 1, "port":
    70000},
  "dhcp": {"enabled": false, "security": {"deny": ["66:66:*",
      "zz:*"]}}
}"#;
    refused_as(
        "c.json",
        text,
        r#"
c.json:2: tcp.prot: unknown key
    2 |   "tcp": {"prot": 1, "port":
  hint: did you mean port?
c.json:3: tcp.port: 70000 is not a port; it must be 0 to 65535
    3 |     70000},
c.json:5: dhcp.security.deny[1]: "zz:*" fits no hardware address
    5 |       "zz:*"]}}
  hint: an address is written 00:11:22:33:44:55, in hex digits; a pattern may be 00:11:22:*"#,
    );
    refused_as(
        "c.json",
        "{\"tcp\": {\"port\": 1,}}",
        "c.json:1: trailing comma\n    1 | {\"tcp\": {\"port\": 1,}}\n  hint: no comma goes behind the last entry",
    );
    refused_as(
        "c.json",
        "{\"a\": 1,\n\"a\": 2}",
        "c.json:2: the key \"a\" stands twice in this section\n    2 | \"a\": 2}\n  hint: keep one of the two",
    );
}

#[test]
fn mistakes_in_ini_are_reported_with_their_lines() {
    let text = "\
[tcp]
prot = 1
port = 70000
[dhcp]
enabled = false
[dhcp.security]
deny = 66:66:*, zz:*
[dhcp.classes.x]
match.any = [{hostname: a},
  {hostnam: b}]
";
    refused_as(
        "c.conf",
        text,
        "
c.conf:2: tcp.prot: unknown key
    2 | prot = 1
  hint: did you mean port?
c.conf:3: tcp.port: 70000 is not a port; it must be 0 to 65535
    3 | port = 70000
c.conf:7: dhcp.security.deny[1]: \"zz:*\" fits no hardware address
    7 | deny = 66:66:*, zz:*
  hint: an address is written 00:11:22:33:44:55, in hex digits; a pattern may be 00:11:22:*
c.conf:10: dhcp.classes.x.match.any[1].hostnam: unknown key
    10 |   {hostnam: b}]
  hint: did you mean hostname?",
    );
    refused_as(
        "c.ini",
        "[tcp]\nport: 5\n",
        "c.ini:2: there is no = in this line\n    2 | port: 5\n  hint: a value is written KEY = VALUE, a section [NAME], a comment # TEXT",
    );
}

#[test]
fn a_real_network_reads_the_same_in_every_format() {
    let yaml = r#"
dhcp:
  interfaces: [eth0]
  lease_time: 2h
  options: {domain-name: example.org, domain-search: ["a.example", "b.example"], interface-mtu: 1400, option-224: {hex: "0a0b"}}
  classes:
    phones: {order: 5, match: {any: [{vendor-class: ["Cisco, Inc*", "snom*"]}, {mac: "00:04:13:*", not: {hostname: "*-pc"}}], option: {60: "x*"}}}
  subnets:
    lan:
      network: 10.0.0.0/24
      options: {classless-static-routes: ["10.1.0.0/16 10.0.0.1"]}
      pools: {main: {range: 10.0.0.100-10.0.0.199, classes: [phones]}}
      hosts: {printer: {mac: "00:11:22:33:44:55", client_id: "0x0a0b", ip: 10.0.0.10}}
"#;
    let ini = r"
[dhcp]
interfaces = eth0,
lease_time = 2h
options.domain-name = example.org
[dhcp.options]
domain-search = a.example, b.example
";
    // A section that a dotted key has begun can go on.
    let begun = load_as("c.ini", ini).unwrap();
    assert_eq!(begun.document.values["dhcp"]["options"]["domain-search"], json!(["a.example", "b.example"]));
    let ini = r#"
[dhcp]
interfaces = eth0,
lease_time = 2h
[dhcp.options]
domain-name = example.org
domain-search = a.example, b.example
interface-mtu = 1400
option-224.hex = "0a0b"
[dhcp.classes.phones]
order = 5
[dhcp.classes.phones.match]
any = [{vendor-class: ["Cisco, Inc*", "snom*"]},
       {mac: "00:04:13:*", not: {hostname: "*-pc"}}]
option.60 = x*
[dhcp.subnets.lan]
network = 10.0.0.0/24
options.classless-static-routes = 10.1.0.0/16 10.0.0.1,
[dhcp.subnets.lan.pools.main]
range = 10.0.0.100-10.0.0.199
classes = phones,
[dhcp.subnets.lan.hosts.printer]
mac = 00:11:22:33:44:55
client_id = 0x0a0b
ip = 10.0.0.10
"#;
    let loaded = load(yaml).unwrap_or_else(|report| panic!("{report}"));
    let json = serde_json::to_string_pretty(&serde_yaml::from_str::<Value>(yaml).unwrap()).unwrap();
    for (name, text) in [("c.json", json.as_str()), ("c.ini", ini)] {
        let other = load_as(name, text).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(loaded.document.values, other.document.values, "{name}");
        assert_eq!(loaded.config, other.config, "{name}");
    }
}

/// The first example of each format in the documentation says the same as the others.
#[test]
fn documentation_shows_one_configuration_in_every_format() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let [yaml, json, ini] = ["yaml", "json", "ini"].map(|format| {
        let text =
            page.split(&format!("```{format}\n")).nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        load_as(&format!("c.{format}"), text).unwrap_or_else(|report| panic!("{report}")).document.values
    });
    assert_eq!(yaml, json);
    assert_eq!(yaml, ini);
}

#[test]
fn byte_order_mark_and_windows_line_ends_are_accepted() {
    for (name, text) in [
        ("c.yaml", "tcp:\n  port: 70000\ndhcp:\n  enabled: false\n"),
        ("c.json", "{\n\"tcp\": {\"port\": 70000},\n\"dhcp\": {\"enabled\": false}\n}\n"),
        ("c.ini", "[tcp]\nport = 70000\n[dhcp]\nenabled = false\n"),
    ] {
        let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        let said = load_as(name, &text).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{name}:2: tcp.port: 70000 is not a port")), "{said}");
        assert!(load_as(name, &text.replace("70000", "7000")).is_ok(), "{text}");
    }
}

#[test]
fn daemon_is_found_by_a_broken_file_of_any_format() {
    for (name, text) in [
        ("c.yaml", "tcp: {port: [\ndaemon:\n  pid_file: /x/y.pid\nudp: }\n"),
        ("c.json", "{\"tcp\": {\"port\": },\n \"daemon\": {\"pid_file\": \"/x/y.pid\"}, oops"),
        ("c.ini", "oops\n[daemon]\npid_file = /x/y.pid\n[tcp\n"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        let environment = BTreeMap::from([("ECHO_DAEMON__TCP__PORT".to_owned(), "*oops".into())]);
        let sources = Sources { file: Some(name.into()), environment, ..sources(folder.path()) };
        let manager = ConfigManager::new(sources);
        assert!(manager.load().is_err(), "{name}");
        let config = manager.load_leniently().unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(config.daemon.pid_file, Path::new("/x/y.pid"), "{name}");
    }
}

/// The same tree as INI, with a section for each section that is not within a list.
fn as_ini(values: &Map<String, Value>, path: &str, text: &mut String) {
    let quoted = |name: &str| format!("\"{name}\"");
    let is_section = |value: &Value| value.as_object().is_some_and(|inner| !inner.is_empty());
    for (name, value) in values.iter().filter(|(_, value)| !is_section(value)) {
        text.push_str(&format!("{} = {value}\n", quoted(name)));
    }
    for (name, value) in values.iter().filter(|(_, value)| is_section(value)) {
        let path = if path.is_empty() { quoted(name) } else { format!("{path}.{}", quoted(name)) };
        text.push_str(&format!("[{path}] ; a section\n"));
        as_ini(value.as_object().unwrap(), &path, text);
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000..1000_i32).prop_map(|number| Value::from(f64::from(number) / 8.0 + 0.0625)),
        "[a-zA-Z0-9 ,;#'\"\\[\\]{}:=.*?\\\\äöü-]{0,12}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z0-9_-]{1,6}", inner, 0..4)
                .prop_map(|entries| entries.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn any_tree_reads_the_same_in_every_format(
        values in prop::collection::btree_map("[a-z]{1,6}", any_value(), 1..5)
    ) {
        let values: Map<String, Value> = values.into_iter().collect();
        let mut ini = String::new();
        as_ini(&values, "", &mut ini);
        let expected = Value::Object(values);
        let yaml = serde_yaml::to_string(&expected).unwrap();
        for (format, text) in [(Format::Yaml, yaml), (Format::Json, format!("{expected:#}")), (Format::Ini, ini)] {
            let read = format.parse(&text);
            prop_assert!(read.is_ok(), "{read:?}\n{text}");
            let (dict, index) = read.unwrap();
            let said = tree::to_json(&dict.into());
            prop_assert_eq!(&said, &expected, "{:?}\n{}", format, text);
            // Whatever is said has a line, but for what saphyr does not understand.
            let known = said.as_object().unwrap().keys().all(|key| index.has(key));
            prop_assert!(known || format == Format::Yaml, "{}", text);
        }
    }
}
