//! The configuration that the targets run under: a bit of everything that a packet can meet. Read once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use echo_daemon::config::model::Config;
use echo_daemon::config::{ConfigManager, Loaded, Overlay, Report, Sources};

/// Pools, reservations, classes, relays, circuits, a shared network, BOOTP; no conflict check, which would need a network.
pub(crate) const CONFIG: &str = r#"
daemon: {pid_file: /nowhere/pid, control_socket: /nowhere/sock, state_dir: /nowhere/state, user: root}
logging: {log_file: /nowhere/log}
dhcp:
  interfaces: [lo, eth0]
  rapid_commit: true
  subnet_selection: true
  lease_time: {default: 1h, min: 2m, max: infinite}
  boot_file: boot.0
  fqdn: {suffix: example.org}
  conflict_check: {method: "off"}
  options:
    domain-name: example.org
    domain-name-servers: [10.0.0.2, 10.0.0.3]
    domain-search: [eng.example.org, example.org]
    v6-only-preferred: 1800
    option-224: {hex: "0a0b", always: true}
    option-225: {text: "a text of some length that takes room in a reply, so that not everything fits where it should"}
    option-226: {text: "another text of some length that takes room in a reply, so that lesser options have to move away"}
    option-227: {text: "a third text of some length that takes room in a reply, so that lesser options overload the header"}
  classes:
    uefi: {order: 10, match: {vendor-class: "PXEClient:Arch:00007*"}, next_server: 10.0.0.4, boot_file: ipxe.efi}
    phones:
      order: 20
      match: {any: [{mac: "00:04:13:*"}, {user-class: "phone*", not: {hostname: "*-pc"}}, {option: {60: "0x70*"}}]}
      options: {vendor-encapsulated-options: {1: {ip: 10.0.0.9}, 2: {text: x}}}
    gone: {order: 30, match: {hostname: "gone*", circuit-id: "*"}, drop: true}
  subnets:
    lan:
      network: 10.0.0.0/24
      interface: eth0
      exclude: [10.0.0.105]
      server_name: lan-server
      options: {routers: [10.0.0.1, 10.0.0.106], classless-static-routes: ["10.1.0.0/16 10.0.0.1", "default 10.0.0.1"], ntp-servers: null}
      pools:
        main: {range: 10.0.0.100-10.0.0.110, options: {interface-mtu: 1400, auto-config: 0}}
        phones: {range: 10.0.0.120-10.0.0.122, classes: [phones], lease_time: {default: 5m}}
      hosts:
        printer: {mac: "00:11:22:33:44:55", ip: 10.0.0.10, hostname: printer, options: {domain-name: null}}
        byid: {client_id: "01:02:03", ip: 10.0.0.101}
    more: {network: 10.2.0.0/24, shared_network: campus, relays: [10.9.0.7], pools: {main: {range: 10.2.0.10-10.2.0.11}}}
    most: {network: 10.3.0.0/24, shared_network: campus, pools: {main: {range: 10.3.0.10-10.3.0.12}}}
    far:
      network: 10.9.0.0/24
      relays: [172.16.0.9]
      identify_by: circuit-id
      lease_time: infinite
      pools: {main: {range: 10.9.0.100-10.9.0.103}}
      hosts: {port: {circuit_id: "port7", remote_id: "sw1", ip: 10.9.0.50}}
    demo: {network: 127.0.0.0/8, interface: lo, identify_by: mac, pools: {main: {range: 127.100.0.10-127.100.0.12}}}
  security: {deny: ["66:66:*"], client_rate: {packets: 1000, per: 1s}, max_leases_per_circuit: 2}
"#;

/// [`CONFIG`] as the daemon has it in force.
pub(crate) static LOADED: LazyLock<Loaded> = LazyLock::new(|| {
    manager("world.yaml", CONFIG)
        .load_with_overlay(&Overlay::default(), echo_daemon::dhcp::check, |_| Vec::new())
        .unwrap_or_else(|report: Report| panic!("{report}"))
});

/// The same for whoever shares it.
pub(crate) static WORLD: LazyLock<Arc<Config>> = LazyLock::new(|| Arc::new(LOADED.config.clone()));

/// Loads a text as the file of this name, and nothing else.
pub(crate) fn manager(name: &str, text: &str) -> ConfigManager {
    ConfigManager::new(Sources {
        file: Some(Path::new(name).to_owned()),
        text: Some(text.to_owned()),
        set: Vec::new(),
        euid: 0,
        folder: "/nowhere".into(),
        environment: BTreeMap::new(),
    })
}
