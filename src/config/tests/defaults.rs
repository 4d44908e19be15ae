//! What holds where nothing is said, what the shipped files say, and which source wins.

use super::*;
use crate::config::model::{Durability, IdentifyBy, WhenFull};

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file)
}

#[test]
fn shipped_files_load_without_any_problem() {
    for file in ["config.yaml", "config.json", "config.ini", "lab.yaml"] {
        for euid in [0, 1000] {
            let environment = BTreeMap::from([("HOME".to_owned(), "/home/me".into())]);
            let sources =
                Sources { file: Some(repository(file)), euid, environment, ..sources(Path::new("/")) };
            let loaded = ConfigManager::new(sources).load().unwrap_or_else(|report| panic!("{report}"));
            assert_eq!(loaded.warnings, []);
            assert_eq!(loaded.config.dhcp.subnets.len(), 1);
        }
    }
}

#[test]
fn shipped_files_say_the_same_in_every_format() {
    let loaded = ["config.yaml", "config.json", "config.ini"].map(|file| {
        ConfigManager::new(Sources { file: Some(repository(file)), ..sources(Path::new("/")) })
            .load()
            .unwrap()
    });
    let [yaml, json, ini] = &loaded;
    assert!(yaml.document.origins.len() > 50);
    for other in [json, ini] {
        assert_eq!(yaml.config, other.config);
        assert_eq!(yaml.document.values, other.document.values);
        assert!(yaml.document.origins.keys().eq(other.document.origins.keys()));
        // Each key is found in a line of its own file.
        assert!(
            other.document.origins.values().all(|place| matches!(place, Place::File { line: Some(_), .. }))
        );
    }
}

#[test]
fn shipped_file_says_the_defaults_of_the_services() {
    let folder = Path::new("/");
    let shipped = ConfigManager::new(Sources { file: Some(repository("config.yaml")), ..sources(folder) });
    let set = vec!["dhcp.enabled=false".to_owned()];
    let built_in = ConfigManager::new(Sources { set, ..sources(folder) }).load().unwrap().config;
    let shipped = shipped.load().unwrap().config;
    assert_eq!(shipped.daemon, built_in.daemon);
    assert_eq!(shipped.logging, built_in.logging);
    assert_eq!((shipped.tcp, shipped.udp, shipped.api), (built_in.tcp, built_in.udp, built_in.api));
    let (shipped, built_in) = (shipped.dhcp, built_in.dhcp);
    assert_eq!(shipped.store, built_in.store);
    assert_eq!(shipped.conflict_check, built_in.conflict_check);
    assert_eq!((shipped.security, shipped.classes), (built_in.security, built_in.classes));
    assert_eq!((shipped.bootp, shipped.fqdn), (built_in.bootp, built_in.fqdn));
    assert_eq!((shipped.rapid_commit, shipped.subnet_selection), (false, false));
}

#[test]
fn example_of_a_real_network_in_the_shipped_file_is_in_order() {
    let text = std::fs::read_to_string(repository("config.yaml")).unwrap();
    let (_, example) = text.split_once("# dhcp:").unwrap();
    let example: Vec<&str> = example.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
    let config =
        load(&format!("dhcp:{}\n", example.join("\n"))).unwrap_or_else(|report| panic!("{report}")).config;
    assert_eq!((config.dhcp.subnets.len(), config.dhcp.classes.len()), (2, 1));
    assert_eq!(config.dhcp.subnets[0].hosts.len(), 1);
    assert_eq!(config.dhcp.subnets[0].common.lease_time.default, Duration::from_secs(12 * 3_600));
    let text = std::fs::read_to_string(repository("config.ini")).unwrap();
    let (_, example) = text.split_once("\n; [dhcp]").unwrap();
    let example: Vec<&str> = example.lines().map(|line| line.trim_start_matches("; ")).collect();
    let ini = load_as("c.ini", &format!("[dhcp]\n{}\n", example.join("\n")))
        .unwrap_or_else(|report| panic!("{report}"));
    // But for routers, which are a list there and a single one here.
    assert_eq!(ini.config.dhcp.classes, config.dhcp.classes);
    for (ini, yaml) in ini.config.dhcp.subnets.iter().zip(&config.dhcp.subnets) {
        assert_eq!((&ini.pools, &ini.hosts, &ini.exclude), (&yaml.pools, &yaml.hosts, &yaml.exclude));
        assert_eq!((ini.network, ini.common.lease_time), (yaml.network, yaml.common.lease_time));
    }
    assert_eq!(ini.config.dhcp.subnets.len(), 2);
}

#[test]
fn built_in_defaults_are_those_of_the_design() {
    let config = config_of("{}".trim_matches(['{', '}']), &[]);
    assert!(config.daemon.daemonize);
    assert_eq!(config.daemon.shutdown_timeout, Duration::from_secs(5));
    assert_eq!((config.logging.max_log_size, config.logging.backup_count), (10_485_760, 5));
    assert_eq!((config.tcp.port, config.tcp.max_clients, config.tcp.buffer_size), (8888, 10, 4096));
    assert_eq!((config.tcp.when_full, config.tcp.address.len()), (WhenFull::Wait, 2));
    assert_eq!((config.udp.udp_port, config.udp.buffer_size), (8889, 4096));
    assert_eq!(config.api.listen, Some("127.0.0.1:9167".parse().unwrap()));
    let dhcp = &config.dhcp;
    assert_eq!((dhcp.port, dhcp.workers, dhcp.common.identify_by), (67, 2, IdentifyBy::ClientId));
    assert_eq!(dhcp.common.lease_time.max, Duration::from_secs(86_400));
    assert_eq!(dhcp.decline_hold.first, Duration::from_secs(600));
    assert_eq!(dhcp.store.durability, Durability::PowerLoss);
    assert_eq!(dhcp.store.path, Path::new("/var/lib/echo-daemon/leases.db"));
    assert_eq!(dhcp.store.history.max_size, 1 << 30);
}

/// The files of an ordinary user with this environment.
fn paths_of_user(environment: &[(&str, &str)]) -> (PathBuf, PathBuf, PathBuf) {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    let set = vec!["dhcp.enabled=false".to_owned()];
    let sources = Sources { set, euid: 1000, environment, ..sources(Path::new("/")) };
    let config = ConfigManager::new(sources).load().unwrap().config;
    assert_eq!(config.logging.log_file.parent(), Some(config.daemon.state_dir.as_path()));
    assert_eq!(config.logging.json.file.parent(), Some(config.daemon.state_dir.as_path()));
    (config.daemon.pid_file, config.daemon.control_socket, config.daemon.state_dir)
}

#[test]
fn root_has_system_paths_and_a_user_has_its_own() {
    let root = config_of("", &[]);
    assert_eq!(root.daemon.pid_file, Path::new("/var/run/echo-daemon.pid"));
    assert_eq!(root.logging.log_file, Path::new("/var/log/echo-daemon.log"));

    let (pid, socket, state) = paths_of_user(&[("XDG_RUNTIME_DIR", "/run/user/1000"), ("HOME", "/home/me")]);
    assert_eq!(pid, Path::new("/run/user/1000/echo-daemon.pid"));
    assert_eq!(socket, Path::new("/run/user/1000/echo-daemon.sock"));
    assert_eq!(state, Path::new("/home/me/.local/state/echo-daemon"));

    let (pid, _, state) =
        paths_of_user(&[("XDG_STATE_HOME", "/s"), ("HOME", "/home/me"), ("XDG_RUNTIME_DIR", "rel")]);
    assert_eq!(pid, Path::new("/tmp/echo-daemon-1000/echo-daemon.pid"), "a relative XDG path does not count");
    assert_eq!(state, Path::new("/s/echo-daemon"));

    let (_, _, state) = paths_of_user(&[]);
    assert_eq!(state, Path::new("/tmp/echo-daemon-1000/echo-daemon"));
}

#[test]
fn later_sources_win_key_by_key_and_lists_are_replaced() {
    let file = "tcp: {port: 1000, max_clients: 7, address: [127.0.0.1, 127.0.0.2]}\nudp: {port: 2000}";
    let config =
        config_of(file, &["tcp.port=3000", "tcp.port=4000", "tcp.address=[127.0.0.9]", "udp.udp_port=5"]);
    assert_eq!((config.tcp.port, config.tcp.max_clients), (4000, 7));
    assert_eq!(config.tcp.address, [std::net::IpAddr::from([127, 0, 0, 9])]);
    assert_eq!(config.udp.udp_port, 5, "the alias and the name are one key");
    assert_eq!(config_of(file, &["udp.port=6"]).udp.udp_port, 6);
    assert_eq!(config_of(file, &["tcp=null"]).tcp.port, 8888, "null for a section: its defaults");
}

#[test]
fn lease_times_may_be_infinite() {
    let text = "dhcp:
  interfaces: lo
  lease_time: {max: infinite}
  subnets:
    a: {network: 10.0.0.0/24, lease_time: infinite}
    b: {network: 10.0.1.0/24}";
    let subnets = load(text).unwrap().config.dhcp.subnets;
    let for_ever = Duration::from_secs(u32::MAX.into());
    let [a, b] = [&subnets[0], &subnets[1]].map(|subnet| subnet.common.lease_time);
    assert_eq!((a.default, a.max), (for_ever, for_ever));
    assert_eq!((b.default, b.max), (Duration::from_secs(3600), for_ever));
}

#[test]
fn null_is_a_value() {
    assert_eq!(config_of("api: {listen: null}", &[]).api.listen, None);
    assert_eq!(config_of("api: {listen: 127.0.0.1:1}", &["api.listen="]).api.listen, None);
    let text = "dhcp:
  interfaces: lo
  next_server: 10.0.0.9
  subnets:
    a: {network: 10.0.0.0/24, next_server: null}
    b: {network: 10.0.1.0/24}";
    let subnets = load(text).unwrap().config.dhcp.subnets;
    assert_eq!(subnets[0].common.next_server, None, "null hides what is inherited");
    assert_eq!(subnets[1].common.next_server, Some([10, 0, 0, 9].into()));
}

#[test]
fn relative_paths_start_from_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(
        inner.join("c.yaml"),
        "daemon: {pid_file: ./x.pid, state_dir: state}\ndhcp: {enabled: false}",
    )
    .unwrap();
    let file = Some(PathBuf::from("inner/c.yaml"));
    let set = vec!["logging.log_file=my.log".to_owned()];
    let config = ConfigManager::new(Sources { file, set, ..sources(folder.path()) }).load().unwrap().config;
    assert_eq!(config.daemon.pid_file, inner.join("x.pid"));
    assert_eq!(config.logging.log_file, inner.join("my.log"));
    assert_eq!(
        config.dhcp.store.path,
        inner.join("state/leases.db"),
        "the lease file is relative to state_dir"
    );
}

#[test]
fn lease_times_are_inherited_and_bounds_that_nobody_gave_make_room() {
    let text = "dhcp:
  interfaces: [lo]
  lease_time: {default: 2h, max: 4h}
  subnets:
    a:
      network: 10.0.0.0/24
      lease_time: 1m
      pools:
        x: {range: 10.0.0.5-10.0.0.9, lease_time: {max: 3m}}
        y: {range: 10.0.0.15, boot_file: pxe}
";
    let dhcp = load(text).unwrap().config.dhcp;
    let seconds = |time: Duration| time.as_secs();
    let global = dhcp.common.lease_time;
    assert_eq!([global.min, global.default, global.max].map(seconds), [300, 7_200, 14_400]);
    let subnet = dhcp.subnets[0].common.lease_time;
    assert_eq!([subnet.min, subnet.default, subnet.max].map(seconds), [60, 60, 14_400]);
    let pools = &dhcp.subnets[0].pools;
    let pool = pools[0].lease_time.unwrap();
    assert_eq!([pool.min, pool.default, pool.max].map(seconds), [60, 60, 180]);
    assert_eq!((pools[1].lease_time, pools[1].boot.boot_file.as_deref()), (None, Some("pxe")));
    // The short form and a single key of the long form meet.
    let merged = load_with(text, &["dhcp.subnets.a.lease_time.min=30s"]).unwrap().config;
    assert_eq!(seconds(merged.dhcp.subnets[0].common.lease_time.default), 60);
}

#[test]
fn findings_of_higher_layers_are_reported_with_all_others_and_get_their_line() {
    let text = "dhcp:
  interfaces: [lo]
  prot: 1
  subnets:
    lan:
      network: 10.0.0.0/24
      options:
        routers: [10.0.0.1, nonsense]
";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.yaml"), text).unwrap();
    let (file, set) = (Some("c.yaml".into()), vec!["dhcp.options.domain-name=5".to_owned()]);
    let manager = ConfigManager::new(Sources { file, set, ..sources(folder.path()) });
    let report = manager.load_with(
        |config| {
            assert_eq!(config.dhcp.subnets[0].common.options["routers"][1], "nonsense");
            vec![
                ("dhcp.subnets.lan.options.routers[1]".to_owned(), "not an address".to_owned(), None),
                ("dhcp.options.domain-name".to_owned(), "not a name".to_owned(), None),
            ]
        },
        |_| Vec::new(),
    );
    assert_eq!(
        report.unwrap_err().to_string(),
        "c.yaml:3: dhcp.prot: unknown key\n    3 |   prot: 1\n  hint: did you mean port?
c.yaml:8: dhcp.subnets.lan.options.routers[1]: not an address\n    8 |         routers: [10.0.0.1, nonsense]
--set dhcp.options.domain-name=5: dhcp.options.domain-name: not a name"
    );
}

#[test]
fn keys_that_need_a_restart_are_named() {
    let old = config_of("", &[]);
    assert!(changes_needing_restart(&old, &config_of("tcp: {port: 9}", &[])).is_empty());
    let new = config_of("daemon: {user: me, shutdown_timeout: 1s, state_dir: /x}", &[]);
    assert_eq!(changes_needing_restart(&old, &new), ["daemon.state_dir", "daemon.user", "dhcp.store.path"]);
}

#[test]
fn flag_names_the_file_before_environment_and_default() {
    assert_eq!(find_file(Some("mine.yaml".into())), Path::new("mine.yaml"));
}
