//! Values in the environment: which key a variable means, over what it wins, and what is said of mistakes.

use super::*;

const FILE: &str = "\
tcp: {port: 1, max_clients: 2}
dhcp:
  enabled: false
  options: {domain-name: file.example}
  subnets:
    My-Lan: {network: 10.0.0.0/24}
    a_b: {network: 10.0.1.0/24}
    a-b: {network: 10.0.2.0/24}
";

fn load_in(environment: &[(&str, &str)], set: &[&str]) -> Result<Loaded, Report> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.yaml"), FILE).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    let set = set.iter().map(|&flag| flag.to_owned()).collect();
    let file = Some(PathBuf::from("c.yaml"));
    ConfigManager::new(Sources { file, set, environment, ..sources(folder.path()) }).load()
}

fn good(environment: &[(&str, &str)], set: &[&str]) -> Loaded {
    load_in(environment, set).unwrap_or_else(|report| panic!("{report}"))
}

fn refusal(environment: &[(&str, &str)]) -> String {
    load_in(environment, &[]).map(|loaded| loaded.config).unwrap_err().to_string()
}

#[test]
fn variable_wins_over_the_file_and_a_flag_over_both() {
    let environment = [("ECHO_DAEMON__TCP__PORT", "2"), ("ECHO_DAEMON__TCP__MAX_CLIENTS", "3")];
    let loaded = good(&environment, &["tcp.port=4"]);
    assert_eq!((loaded.config.tcp.port, loaded.config.tcp.max_clients), (4, 3));
    assert_eq!(loaded.document.origins["tcp.port"].to_string(), "--set tcp.port=4");
    assert_eq!(loaded.document.origins["tcp.max_clients"].to_string(), "$ECHO_DAEMON__TCP__MAX_CLIENTS");
    assert_eq!(loaded.document.origins["dhcp.enabled"].to_string(), "c.yaml:3");
}

#[test]
fn values_are_yaml_and_the_longer_name_wins() {
    let environment = [
        ("ECHO_DAEMON__TCP", "{port: 5, max_clients: 6}"),
        ("ECHO_DAEMON__TCP__PORT", "7"),
        ("ECHO_DAEMON__TCP__ADDRESS", "127.0.0.1, ::1"),
        ("ECHO_DAEMON__UDP__PORT", "8"),
        ("ECHO_DAEMON__DHCP__LEASE_TIME", "2h"),
    ];
    let config = good(&environment, &["dhcp.lease_time.max=4h"]).config;
    assert_eq!((config.tcp.port, config.tcp.max_clients, config.udp.udp_port), (7, 6, 8));
    assert_eq!(config.tcp.address.len(), 2);
    assert_eq!(config.dhcp.common.lease_time.default, Duration::from_secs(7_200));
}

#[test]
fn names_are_those_of_the_file_in_any_case_and_with_dashes() {
    let loaded = good(
        &[
            ("ECHO_DAEMON__DHCP__SUBNETS__MY_LAN__OPTIONS__NTP_SERVERS", "10.0.0.5"),
            ("ECHO_DAEMON__DHCP__OPTIONS__DOMAIN_NAME", "other.example"),
            ("echo_daemon__dhcp__Classes__New_One__Match__Vendor_Class", "x*"),
            ("ECHO_DAEMON__DHCP__SUBNETS__a_b__RELAYS", "10.9.0.1"),
            ("ECHO_DAEMON_CONFIG", "/nowhere"),
            ("ECHO_DAEMONS__TCP__PORT", "x"),
        ],
        &[],
    );
    let dhcp = &loaded.document.values["dhcp"];
    assert_eq!(dhcp["subnets"]["My-Lan"]["options"]["ntp-servers"], "10.0.0.5");
    assert_eq!(dhcp["options"], serde_json::json!({"domain-name": "other.example"}));
    assert_eq!(dhcp["classes"]["new_one"]["match"]["vendor-class"], "x*");
    assert_eq!(dhcp["subnets"]["a_b"]["relays"], "10.9.0.1");
    assert_eq!(dhcp["subnets"].as_object().unwrap().len(), 3);
}

#[test]
fn mistakes_name_the_variable() {
    assert_eq!(
        refusal(&[("ECHO_DAEMON__TCP__PROT", "1"), ("ECHO_DAEMON__TCP__PORT", "70000")]),
        "$ECHO_DAEMON__TCP__PORT: tcp.port: 70000 is not a port; it must be 0 to 65535
$ECHO_DAEMON__TCP__PROT: tcp.prot: unknown key
  hint: did you mean port?"
    );
    let quotes = "hint: the value is YAML: text with characters that mean something there needs quotes";
    let said = refusal(&[("ECHO_DAEMON__UDP__ADDRESS", "*")]);
    assert!(said.starts_with("$ECHO_DAEMON__UDP__ADDRESS: the value cannot be read: "), "{said}");
    assert!(said.ends_with(quotes), "{said}");
    for name in ["ECHO_DAEMON__", "ECHO_DAEMON__TCP____PORT", "ECHO_DAEMON___TCP"] {
        let said = refusal(&[(name, "1")]);
        assert!(said.starts_with(&format!("${name}: the name is not a key")), "{said}");
    }
    let said = refusal(&[("ECHO_DAEMON__DHCP__SUBNETS__A_B__RELAYS", "10.9.0.1")]);
    assert!(said.contains("A_B may be a-b or a_b"), "{said}");
    let said = refusal(&[("ECHO_DAEMON__TCP__PORT", "1"), ("echo_daemon__tcp__port", "2")]);
    assert!(said.starts_with("$echo_daemon__tcp__port: $ECHO_DAEMON__TCP__PORT says the same key"), "{said}");
    let said = refusal(&[("ECHO_DAEMON__UDP__PORT", "1"), ("ECHO_DAEMON__UDP__UDP_PORT", "2")]);
    assert!(said.contains("says the same key"), "{said}");
}

#[test]
fn a_map_in_a_flag_or_variable_is_blamed_for_itself() {
    let findings = |_: &Config| vec![("dhcp.options.option-224".to_owned(), "wrong".to_owned(), None)];
    let folder = tempfile::tempdir().unwrap();
    let file = Some(folder.path().join("c.yaml"));
    std::fs::write(folder.path().join("c.yaml"), format!("{FILE}  # \n")).unwrap();
    let flag = "dhcp.options.option-224={u8: 700}";
    let set = vec![flag.to_owned()];
    let report = ConfigManager::new(Sources { file, set, ..sources(folder.path()) })
        .load_with(findings, |_| Vec::new())
        .unwrap_err();
    assert_eq!(report.to_string(), format!("--set {flag}: dhcp.options.option-224: wrong"));
    let said = refusal(&[("ECHO_DAEMON__DHCP__SUBNETS__NEW", "{relays: [10.9.0.1]}")]);
    assert!(
        said.starts_with("$ECHO_DAEMON__DHCP__SUBNETS__NEW: dhcp.subnets.new.network: this must be given"),
        "{said}"
    );
}
