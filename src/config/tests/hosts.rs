//! Reservations: how they are read, and what is printed about wrong ones.

use super::*;
use crate::config::model::Host;

/// The file with these lines below `hosts:` of the subnet 10.0.0.0/24; they begin in line 9.
fn with(lines: &str) -> String {
    format!(
        "dhcp:
  interfaces: [eth0]
  subnets:
    lan:
      network: 10.0.0.0/24
      lease_time: {{default: 2h, max: 4h}}
      options: {{routers: [10.0.0.1]}}
      hosts:
{lines}
"
    )
}

#[track_caller]
fn hosts_of(lines: &str) -> Vec<Host> {
    load(&with(lines)).unwrap_or_else(|report| panic!("{report}")).config.dhcp.subnets.remove(0).hosts
}

#[test]
fn host_has_the_keys_of_the_design() {
    let hosts = hosts_of(
        "        printer:
          mac: 00:11:22:33:44:55
          client_id: 01:00:11:22:33:44:55
          circuit_id: eth0/1
          remote_id: '0x0a0b'
          ip: 10.0.0.10
          hostname: printer
          lease_time: 3h
          next_server: 10.0.0.4
          server_name: boot
          boot_file: x
          options: {ntp-servers: [10.0.0.5]}
        laptop: {mac: [00-11-22-33-44-56, '00:11:22:33:44:57'], lease_time: {min: 1m}}
        phone: {client_id: phone-7}",
    );
    let [laptop, phone, printer] = &hosts[..] else { panic!("{hosts:?}") };
    assert_eq!(printer.macs, [[0, 0x11, 0x22, 0x33, 0x44, 0x55]]);
    assert_eq!(printer.client_id.as_deref(), Some(&[1, 0, 0x11, 0x22, 0x33, 0x44, 0x55][..]));
    assert_eq!(
        (printer.circuit_id.as_deref(), printer.remote_id.as_deref()),
        (Some(&b"eth0/1"[..]), Some(&[10, 11][..]))
    );
    assert_eq!((printer.ip, printer.hostname.as_deref()), (Some([10, 0, 0, 10].into()), Some("printer")));
    assert_eq!(printer.boot.next_server, Some([10, 0, 0, 4].into()));
    assert_eq!(
        (printer.boot.server_name.as_deref(), printer.boot.boot_file.as_deref()),
        (Some("boot"), Some("x"))
    );
    assert_eq!(printer.options["ntp-servers"][0], "10.0.0.5");
    assert_eq!((phone.client_id.as_deref(), phone.ip, phone.lease_time), (Some(&b"phone-7"[..]), None, None));
    assert_eq!(laptop.macs.len(), 2);
    let times = laptop.lease_time.unwrap();
    assert_eq!(
        [times.min, times.default, times.max].map(|time| time.as_secs()),
        [60, 7_200, 14_400],
        "the rest is the subnet's"
    );
}

#[test]
fn lease_time_of_a_host_is_held_against_its_subnets() {
    let expected = "
c.yaml:9: dhcp.subnets.lan.hosts.a.lease_time: default (1d) is longer than max (4h)
    9 |         a: {mac: 00:11:22:33:44:55, lease_time: 1d}
  hint: it must be min <= default <= max";
    refused(&with("        a: {mac: 00:11:22:33:44:55, lease_time: 1d}"), expected);
}

/// The one error of a host with these keys.
#[track_caller]
fn refused_host(keys: &str, key: &str, reason: &str, hint: &str) {
    let hint = if hint.is_empty() { String::new() } else { format!("\n  hint: {hint}") };
    let expected =
        format!("c.yaml:9: dhcp.subnets.lan.hosts.a{key}: {reason}\n    9 |         a: {{{keys}}}{hint}");
    refused(&with(&format!("        a: {{{keys}}}")), &expected);
}

#[test]
fn host_must_be_told_by_something() {
    let hint = "give its mac, client_id or circuit_id";
    refused_host("ip: 10.0.0.10", "", "nothing tells which client this is", hint);
    refused_host("mac: []", "", "nothing tells which client this is", hint);
    let hint = "a remote_id counts together with a circuit_id only";
    refused_host("remote_id: r", ".remote_id", "there is no circuit_id beside it", hint);
    refused_host("mac: '00:11', remote_id: r", ".remote_id", "there is no circuit_id beside it", hint);
}

#[test]
fn wrong_identifiers_are_refused_once() {
    let meant = "write it as \"00:11:22:33:44:55\"";
    refused_host("mac: 0011.2233.4455", ".mac", "\"0011.2233.4455\" is not a hardware address", meant);
    refused_host(
        "mac: ['00:11', 0:1]",
        ".mac[1]",
        "\"0:1\" is not a hardware address",
        "write it as \"00:01\"",
    );
    refused_host("mac: printer", ".mac", "\"printer\" is not a hardware address of 1 to 16 bytes", meant);
    refused_host("mac: ['00:11', 00-11]", ".mac[1]", "00:11 is listed twice", "");
    let quotes = "write it in quotes: unquoted, 0x102 and 258 are numbers to YAML";
    refused_host("circuit_id: 0x0102", ".circuit_id", "258 is not text", quotes);
    refused_host("circuit_id: 0x0102, remote_id: r", ".circuit_id", "258 is not text", quotes);
    refused_host(
        "client_id: '0xz'",
        ".client_id",
        "\"0xz\" is not hex digits in pairs behind 0x",
        "for example \"0x0a0b\"",
    );
    refused_host(
        "mac: '00:11', hostname: my_printer",
        ".hostname",
        "\"my_printer\" is not a host name",
        "write my-printer",
    );
    refused_host("mac: '00:11', hostnam: x", ".hostnam", "unknown key", "did you mean hostname?");
}

#[test]
fn reserved_address_is_one_of_the_subnets_hosts() {
    let hosts = "the subnet's hosts are 10.0.0.1-10.0.0.254";
    for (address, reason, hint) in [
        ("10.0.1.10", "10.0.1.10 is outside the subnet 10.0.0.0/24", hosts),
        ("10.0.0.0", "10.0.0.0 is the network address of 10.0.0.0/24", hosts),
        ("10.0.0.255", "10.0.0.255 is the broadcast address of 10.0.0.0/24", hosts),
        ("224.0.0.1", "224.0.0.1 is not the address of one host", ""),
        (
            "10.0.0.1",
            "10.0.0.1 is a router of the subnet",
            "its clients would have the address of their own router",
        ),
    ] {
        refused_host(&format!("mac: '00:11', ip: {address}"), ".ip", reason, hint);
    }
}

#[test]
fn routers_and_server_of_every_level_are_not_reserved() {
    let text = "dhcp:
  interfaces: [eth0]
  server_id: 10.0.0.2
  options: {option-3: {ip: [10.0.0.3]}}
  subnets:
    lan:
      network: 10.0.0.0/24
      options: {routers: '10.0.0.4, 10.0.0.5'}
      pools: {p: {range: 10.0.0.100, options: {routers: 10.0.0.6}}}
      hosts:
        a: {mac: '00:02', ip: 10.0.0.2}
        b: {mac: '00:03', ip: 10.0.0.3}
        c: {mac: '00:05', ip: 10.0.0.5}
        d: {mac: '00:06', ip: 10.0.0.6}
        e: {mac: '00:07', ip: 10.0.0.7, options: {routers: 10.0.0.7}}
        f: {mac: '00:08', ip: 10.0.0.8, options: {routers: 10.0.0.9}}
        g: {mac: '00:09', ip: 10.0.0.9}
        h: {mac: '00:10', ip: 10.0.0.10}
  classes:
    phones: {match: {vendor-class: x}, options: {routers: [10.0.0.10]}}
";
    let hint = "its clients would have the address of their own router";
    let expected = format!(
        "
c.yaml:11: dhcp.subnets.lan.hosts.a.ip: 10.0.0.2 is the server's own (server_id)
    11 |         a: {{mac: '00:02', ip: 10.0.0.2}}
  hint: choose another address
c.yaml:12: dhcp.subnets.lan.hosts.b.ip: 10.0.0.3 is a router of the subnet
    12 |         b: {{mac: '00:03', ip: 10.0.0.3}}
  hint: {hint}
c.yaml:13: dhcp.subnets.lan.hosts.c.ip: 10.0.0.5 is a router of the subnet
    13 |         c: {{mac: '00:05', ip: 10.0.0.5}}
  hint: {hint}
c.yaml:14: dhcp.subnets.lan.hosts.d.ip: 10.0.0.6 is a router of the subnet
    14 |         d: {{mac: '00:06', ip: 10.0.0.6}}
  hint: {hint}
c.yaml:17: dhcp.subnets.lan.hosts.g.ip: 10.0.0.9 is a router of the subnet
    17 |         g: {{mac: '00:09', ip: 10.0.0.9}}
  hint: {hint}
c.yaml:18: dhcp.subnets.lan.hosts.h.ip: 10.0.0.10 is a router of the subnet
    18 |         h: {{mac: '00:10', ip: 10.0.0.10}}
  hint: {hint}
"
    );
    refused(text, &expected);
}

#[test]
fn excluded_addresses_and_those_of_a_pool_can_be_reserved() {
    let text = lan(
        "{exclude: [10.0.0.10], pools: {p: {range: 10.0.0.20-10.0.0.30}}, hosts: {a: {mac: '00:01', ip: 10.0.0.10}, b: {mac: '00:02', ip: 10.0.0.20}}}",
    );
    let text = text.replace("      network: 10.0.0.0/24\n      {", "      {network: 10.0.0.0/24, ");
    assert_eq!(warnings_of(&text), "");
}

#[test]
fn address_is_reserved_once() {
    let lines = "        a: {mac: '00:01', ip: 10.0.0.10}\n        b: {mac: '00:02', ip: 10.0.0.10}";
    let expected = "
c.yaml:10: dhcp.subnets.lan.hosts.b.ip: 10.0.0.10 is reserved for host a of subnet lan already
    10 |         b: {mac: '00:02', ip: 10.0.0.10}
  hint: a host may list several macs, of which one uses the address at a time";
    refused(&with(lines), expected);
}

#[test]
fn client_has_one_host_on_a_link() {
    let lines = "        a: {mac: 00:11:22:33:44:55, client_id: 'x', circuit_id: c, remote_id: r}
        b: {mac: [00:11:22:33:44:56, 00-11-22-33-44-55]}
        c: {client_id: '0x78'}
        d: {circuit_id: '0x63', remote_id: r}
        e: {circuit_id: c, remote_id: other}
        f: {circuit_id: c}
        g: {circuit_id: c}";
    let expected = "
c.yaml:9: warning: dhcp.subnets.lan.hosts.a.circuit_id: host a and 4 more are known by circuits that a relay names, and dhcp.security.trusted_relays is empty: any host on a link can pose as a relay
    9 |         a: {mac: 00:11:22:33:44:55, client_id: 'x', circuit_id: c, remote_id: r}
  hint: list the addresses of your relays in dhcp.security.trusted_relays
c.yaml:10: dhcp.subnets.lan.hosts.b.mac[1]: 00:11:22:33:44:55 belongs to host a already
    10 |         b: {mac: [00:11:22:33:44:56, 00-11-22-33-44-55]}
c.yaml:11: dhcp.subnets.lan.hosts.c.client_id: this client_id belongs to host a already
    11 |         c: {client_id: '0x78'}
c.yaml:12: dhcp.subnets.lan.hosts.d.circuit_id: this circuit_id with this remote_id belongs to host a already
    12 |         d: {circuit_id: '0x63', remote_id: r}
c.yaml:15: dhcp.subnets.lan.hosts.g.circuit_id: this circuit_id belongs to host f already
    15 |         g: {circuit_id: c}";
    refused(&with(lines), expected);
}

#[test]
fn link_is_a_subnet_or_a_shared_network() {
    let text = |shared: &str| {
        format!(
            "dhcp:
  interfaces: [eth0]
  subnets:
    a: {{network: 10.0.0.0/24, hosts: {{x: {{mac: '00:01'}}}}}}
    b: {{network: 10.0.1.0/24, {shared}hosts: {{y: {{mac: '00:01'}}}}}}
    c: {{network: 10.0.2.0/24, {shared}hosts: {{x: {{mac: '00:01'}}}}}}
"
        )
    };
    assert!(load(&text("")).is_ok(), "a client may move between links");
    refused(
        &text("shared_network: a, "),
        "
c.yaml:6: dhcp.subnets.c.hosts.x.mac: 00:01 belongs to host y of subnet b already
    6 |     c: {network: 10.0.2.0/24, shared_network: a, hosts: {x: {mac: '00:01'}}}
  hint: both subnets share the link a",
    );
}

#[test]
fn pool_without_a_free_address_is_a_warning() {
    let text = "dhcp:
  interfaces: [eth0]
  subnets:
    lan:
      network: 10.0.0.0/24
      exclude: [10.0.0.12-10.0.0.13]
      pools:
        p: {range: 10.0.0.10-10.0.0.13}
        q: {range: 10.0.0.20-10.0.0.21}
      hosts:
        a: {mac: '00:01', ip: 10.0.0.11}
        b: {mac: '00:02', ip: 10.0.0.10}
        c: {mac: '00:03', ip: 10.0.0.21}
        d: {mac: '00:04'}
";
    assert_eq!(warnings_of(text), "c.yaml:8: warning: dhcp.subnets.lan.pools.p.range: every address of 10.0.0.10-10.0.0.13 is reserved or excluded
    8 |         p: {range: 10.0.0.10-10.0.0.13}
  hint: clients without a reservation get nothing from this pool");
    assert_eq!(warnings_of(&text.replace("12-10.0.0.13", "13")), "");
}

#[test]
fn single_values_of_a_host_can_be_set() {
    let set = ["dhcp.subnets.lan.hosts.a.ip=10.0.0.11", "dhcp.subnets.lan.hosts.a.lease_time.min=1m"];
    let host = load_with(&with("        a: {mac: '00:11', lease_time: 1h}"), &set).unwrap();
    let host = &host.config.dhcp.subnets[0].hosts[0];
    assert_eq!((host.ip, host.lease_time.unwrap().min.as_secs()), (Some([10, 0, 0, 11].into()), 60));
}
