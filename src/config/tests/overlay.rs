//! The overlay of the runtime API: over what it wins, what it may not hold, how it is patched.

use serde_json::json;

use super::*;

const FILE: &str = "\
daemon: {state_dir: state}
tcp: {port: 1, max_clients: 2}
dhcp:
  enabled: false
  security: {client_rate: null}
";

/// A manager for a file in `folder`, whose state folder has this overlay.
fn manager(folder: &Path, overlay: &str) -> ConfigManager {
    std::fs::write(folder.join("c.yaml"), FILE).unwrap();
    std::fs::create_dir_all(folder.join("state")).unwrap();
    std::fs::write(folder.join("state/overlay.json"), overlay).unwrap();
    let set = vec!["tcp.buffer_size=512".to_owned()];
    let environment = BTreeMap::from([("ECHO_DAEMON__UDP__PORT".to_owned(), "5".into())]);
    ConfigManager::new(Sources { file: Some("c.yaml".into()), set, environment, ..sources(folder) })
}

fn parse(values: serde_json::Value) -> Result<Overlay, String> {
    Overlay::parse(values.to_string().as_bytes()).map_err(|report| report.to_string())
}

#[test]
fn overlay_wins_over_every_other_source_and_says_what_it_hides() {
    let folder = tempfile::tempdir().unwrap();
    let overlay = json!({"tcp": {"port": 9, "max_clients": 2, "buffer_size": 600}, "udp": {"port": 7},
        "dhcp": {"security": {"client_rate": {"packets": 3}}, "subnets": {"new": {"network": "10.0.0.0/24"}}}});
    let manager = manager(folder.path(), &overlay.to_string());
    let loaded = manager.load().unwrap_or_else(|report| panic!("{report}"));
    let tcp = &loaded.config.tcp;
    assert_eq!((tcp.port, tcp.max_clients, tcp.buffer_size, loaded.config.udp.udp_port), (9, 2, 600, 7));
    assert_eq!(loaded.document.origins["tcp.port"], Place::Api);
    assert_eq!(loaded.below.origins["tcp.port"].to_string(), "c.yaml:2");
    assert_eq!(loaded.below, manager.below_overlay().unwrap());
    assert_eq!(loaded.overlay.values()["udp"], json!({"udp_port": 7}));
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let hint = "\n  hint: PATCH /v1/config with null for it goes back to the file";
    assert_eq!(
        warnings,
        [
            format!(
                "runtime API: warning: dhcp.security.client_rate.packets: the runtime API has set it to 3, which hides null in c.yaml:5{hint}"
            ),
            format!(
                "runtime API: warning: tcp.port: the runtime API has set it to 9, which hides 1 in c.yaml:2{hint}"
            ),
        ]
    );
}

#[test]
fn candidate_is_checked_in_the_place_of_the_one_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path(), "{\"tcp\": {\"port\": 9}}");
    let load = |overlay: serde_json::Value| {
        manager.load_with_overlay(&parse(overlay).unwrap(), |_| Vec::new(), |_| Vec::new())
    };
    assert_eq!(load(json!({})).unwrap().config.tcp.port, 1);
    let refused = load(json!({"tcp": {"port": 70000, "prot": 1}})).unwrap_err().to_string();
    assert_eq!(
        refused,
        "runtime API: tcp.port: 70000 is not a port; it must be 0 to 65535
runtime API: tcp.prot: unknown key
  hint: did you mean port?"
    );
}

#[test]
fn what_nobody_sets_at_run_time_is_refused() {
    for (key, values) in [
        ("daemon", json!({"daemon": {"user": "root"}})),
        ("daemon", json!({"daemon": {}})),
        ("api", json!({"api": {"listen": "0.0.0.0:1"}})),
        ("dhcp.store.path", json!({"dhcp": {"store": {"path": "/x"}}})),
        ("logging.log_file", json!({"logging": {"log_file": "/x"}})),
        ("logging.json.file", json!({"logging": {"json": {"file": "/x"}}})),
        ("logging.syslog.address", json!({"logging": {"syslog": {"address": "udp://a:1"}}})),
    ] {
        let refused = parse(values.clone()).unwrap_err();
        assert!(
            refused.starts_with(&format!("runtime API: {key}: this cannot be set at run time")),
            "{refused}"
        );
        let patched = Overlay::default().patched(&values, &Document::default()).unwrap_err().to_string();
        assert_eq!(refused, patched);
    }
    // A section that vanishes would take its paths along.
    for section in ["logging", "dhcp"] {
        assert!(parse(json!({section: null})).unwrap_err().contains("an overlay holds no null"));
    }
    assert!(parse(json!({"dhcp": {"store": {"durability": "process"}, "interfaces": ["eth1"]}})).is_ok());
}

#[test]
fn size_and_depth_are_bounded() {
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!([deep]);
    }
    let refused = parse(json!({"a": deep})).unwrap_err();
    assert!(refused.contains("nested deeper than 32 levels"), "{refused}");
    let long = parse(json!({"a": "x".repeat(1 << 20)})).unwrap_err();
    assert!(long.contains("at most 1048576 bytes"), "{long}");
    let patched = Overlay::default().patched(&json!({"a": "x".repeat(1 << 20)}), &Document::default());
    assert!(patched.is_err());
    assert!(parse(json!([1])).unwrap_err().contains("this is no JSON object"));
    assert!(parse(json!({"udp": {"port": 1, "udp_port": 2}})).unwrap_err().contains("keep one of the two"));
}

#[test]
fn patch_merges_and_null_goes_back_to_the_other_sources() {
    let folder = tempfile::tempdir().unwrap();
    let below = manager(folder.path(), "{}").below_overlay().unwrap();
    let patch = |overlay: &Overlay, patch: serde_json::Value| {
        overlay.patched(&patch, &below).map_err(|report| report.to_string())
    };
    let one =
        patch(&Overlay::default(), json!({"tcp": {"port": 9, "idle_timeout": "1m"}, "udp": {"port": 8}}))
            .unwrap();
    assert_eq!(Overlay::parse(one.to_text().as_bytes()), Ok(one.clone()));
    let two =
        patch(&one, json!({"tcp": {"port": null}, "udp": {"udp_port": null, "enabled": null}})).unwrap();
    assert_eq!(*two.values(), *json!({"tcp": {"idle_timeout": "1m"}}).as_object().unwrap());
    assert!(patch(&two, json!({"tcp": {"idle_timeout": null}})).unwrap().is_empty());
    assert!(patch(&one, json!({"tcp": null, "udp": null})).unwrap().is_empty(), "a section goes whole");
    // A lease time in short can be added to.
    let time = patch(&one, json!({"dhcp": {"lease_time": "2h"}})).unwrap();
    let time = patch(&time, json!({"dhcp": {"lease_time": {"max": "4h"}}})).unwrap();
    assert_eq!(time.values()["dhcp"]["lease_time"], json!({"default": "2h", "max": "4h"}));
    // What others say.
    for (values, expected) in [
        (
            json!({"tcp": {"max_clients": null}}),
            "runtime API: tcp.max_clients: this is said in c.yaml:2, not by the runtime API\n  hint: edit it there, then reload",
        ),
        (
            json!({"tcp": {"buffer_size": null}}),
            "runtime API: tcp.buffer_size: this is said by --set tcp.buffer_size=512, not by the runtime API\n  hint: start the daemon without it",
        ),
        (
            json!({"udp": {"udp_port": null}}),
            "runtime API: udp.udp_port: this is said by $ECHO_DAEMON__UDP__PORT, not by the runtime API\n  hint: start the daemon without it",
        ),
        (
            json!({"dhcp": {"security": null}}),
            "runtime API: dhcp.security: this is said in c.yaml:5, not by the runtime API\n  hint: edit it there, then reload",
        ),
        (json!([]), "runtime API: a patch is a JSON object"),
    ] {
        assert_eq!(patch(&Overlay::default(), values).unwrap_err(), expected);
    }
    let nothing = json!({"tcp": {"nobody": null}, "dhcp": {"subnets": {"x": {"relays": null}}}});
    assert!(patch(&Overlay::default(), nothing).unwrap().is_empty());
}

#[test]
fn overlay_that_is_wrong_is_refused_and_one_that_cannot_be_believed_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path(), "{\"tcp\": ");
    let path = folder.path().join("state/overlay.json");
    let refused = |why: &str| {
        let said = manager.load().map(|loaded| loaded.config).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{}: ", path.display())) && said.contains(why), "{said}");
        assert!(manager.load_leniently().is_ok(), "a running daemon is found all the same");
    };
    refused("this is no JSON object: EOF while parsing");
    std::fs::write(&path, "{\"daemon\": {\"user\": \"root\"}}").unwrap();
    refused("daemon: this cannot be set at run time");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    let warnings = manager.load().unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.reason.contains("it is a symbolic link")), "{warnings:?}");
}

/// Every key that takes the absolute path of a file is out of reach, or known to be no path on the server. The keys are
/// those of the documentation, which names every key that is read (`tests/docs/main.rs`).
#[test]
fn no_path_can_be_set_at_run_time() {
    // Texts for clients and of clients, which the server opens nowhere.
    const TEXTS: [&str; 10] = [
        "server_name",
        "boot_file",
        "shared_network",
        "client_id",
        "circuit_id",
        "remote_id",
        "hostname",
        "vendor-class",
        "user-class",
        "client-id",
    ];
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let keys: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|key| key.contains('.') && !key.contains(' '))
        .collect();
    assert!(keys.len() > 100, "hardly any key was found: {keys:?}");
    let base = "
dhcp:
  enabled: false
  classes: {NAME: {match: {mac: '*'}}}
  subnets: {NAME: {network: 10.0.0.0/24, pools: {NAME: {range: 10.0.0.9}}, hosts: {NAME: {circuit_id: x}}}}
";
    let mut paths = Vec::new();
    for key in keys {
        let takes_paths = ["/an/absolute/path", "/an/absolute/path.d/"]
            .into_iter()
            .all(|path| load_with(base, &[&format!("{key}={path}")]).is_ok());
        let last = key.rsplit('.').next().unwrap_or_default();
        if !takes_paths || TEXTS.contains(&last) || key.contains(".match.") {
            continue;
        }
        paths.push(key);
        let nested = key.rsplit('.').fold(json!("/x"), |value, word| json!({word: value}));
        let refused = parse(nested).unwrap_err();
        assert!(refused.contains("this cannot be set at run time"), "{key}: {refused}");
    }
    for known in [
        "daemon.state_dir",
        "logging.log_file",
        "logging.syslog.address",
        "dhcp.store.path",
        "api.token_file",
    ] {
        assert!(paths.contains(&known), "{known} is not among {paths:?}");
    }
}
