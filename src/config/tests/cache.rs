//! The configuration in force as it is kept, and the start with it where the file is broken.

use super::*;

fn manager(folder: &Path) -> ConfigManager {
    let text = "daemon: {state_dir: state}\ntcp: {port: 1}\ndhcp: {enabled: false, options: {option-224: {u8: 7}}}\n";
    std::fs::write(folder.join("c.yaml"), text).unwrap();
    std::fs::create_dir_all(folder.join("state")).unwrap();
    let set = vec!["tcp.max_clients=5".to_owned()];
    ConfigManager::new(Sources { file: Some("c.yaml".into()), set, ..sources(folder) })
}

#[test]
fn last_good_configuration_is_loaded_where_the_file_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let manager = manager(folder.path());
    std::fs::write(state.join("overlay.json"), "{\"udp\": {\"udp_port\": 9}}").unwrap();
    let loaded = manager.load().unwrap();
    Running::new(&manager, &loaded, 7).write(&state).unwrap();
    std::fs::write(folder.path().join("c.yaml"), "daemon:\n  state_dir: state\ntcp: [\n").unwrap();
    assert!(manager.load().is_err());
    let last_good = manager.last_good().unwrap_or_else(|report| panic!("{report}"));
    let again = last_good.load().unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(again.config, loaded.config);
    assert_eq!(again.document, loaded.document, "values and origins");
    assert_eq!((again.below, again.overlay), (loaded.below, loaded.overlay));
    assert_eq!(last_good.base(), folder.path());
    // Its problems still name the places, without lines that may have changed.
    let findings = |_: &Config| {
        ["tcp.port", "tcp.max_clients", "dhcp.options.option-224"]
            .map(|key| (key.to_owned(), "wrong".to_owned(), None))
            .to_vec()
    };
    let report = last_good.load_with(findings, |_| Vec::new()).unwrap_err().to_string();
    assert_eq!(
        report,
        "c.yaml:2: tcp.port: wrong\nc.yaml:3: dhcp.options.option-224: wrong\n--set tcp.max_clients=5: tcp.max_clients: wrong"
    );
    let running = Running::read(&state).unwrap();
    assert_eq!((running.generation, running.file), (7, Some(folder.path().join("c.yaml"))));
}

#[test]
fn cache_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    let path = folder.path().join("state").join(Running::FILE);
    let refused = |why: &str| {
        let said = manager.last_good().map(|_| ()).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{}: {why}", path.display())), "{said}");
    };
    refused("no configuration has been in force yet\n  hint: ");
    std::fs::write(&path, "{\"format\": 1").unwrap();
    refused("the configuration last in force is damaged: ");
    let loaded = manager.load().unwrap();
    let running = Running::new(&manager, &loaded, 1);
    let mut other = serde_json::to_value(&running).unwrap();
    other["format"] = 99.into();
    std::fs::write(&path, other.to_string()).unwrap();
    refused("this was written by another version (format 99)");
    other["overlay"] = serde_json::json!({"daemon": {"user": "root"}});
    std::fs::write(&path, other.to_string()).unwrap();
    refused(
        "the configuration last in force is damaged: runtime API: daemon: this cannot be set at run time",
    );
}
