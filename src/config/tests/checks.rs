//! Checks that look at several keys, hints beside mistyped values, and how long the checks of many take.

use std::fmt::Write as _;
use std::time::Instant;

use super::*;

#[test]
fn mistyped_addresses_and_ranges_have_a_hint() {
    let text = "dhcp:
  interfaces: [eth0]
  server_id: 10.0.0.256
  subnets:
    a: {network: 10.0.0.0/255.255.255.0}
    b: {network: 10.0.1, relays: [10.9.0.1/24]}
    c:
      network: 10.0.2.0/24
      exclude: [10.0.2.5-9]
      pools: {p: {range: 10.0.2.99-10.0.2.10}, q: {range: 10.0.2.0/24}}
      hosts: {h: {mac: 00:11:22:33:44:55, ip: 010.0.2.7}}
";
    refused(
        text,
        r#"
c.yaml:3: dhcp.server_id: "10.0.0.256" is not an IPv4 address
    3 |   server_id: 10.0.0.256
  hint: 256 is more than 255
c.yaml:5: dhcp.subnets.a.network: "10.0.0.0/255.255.255.0" is not a network such as 10.0.0.0/24
    5 |     a: {network: 10.0.0.0/255.255.255.0}
  hint: write 10.0.0.0/24
c.yaml:6: dhcp.subnets.b.network: "10.0.1" is not a network such as 10.0.0.0/24
    6 |     b: {network: 10.0.1, relays: [10.9.0.1/24]}
  hint: an address has four numbers, here are 3
c.yaml:6: dhcp.subnets.b.relays[0]: "10.9.0.1/24" is not an IPv4 address
    6 |     b: {network: 10.0.1, relays: [10.9.0.1/24]}
  hint: one address is meant here: write 10.9.0.1
c.yaml:9: dhcp.subnets.c.exclude[0]: "10.0.2.5-9" is not an address or a range such as 10.0.0.100-10.0.0.199
    9 |       exclude: [10.0.2.5-9]
  hint: write 10.0.2.5-10.0.2.9
c.yaml:10: dhcp.subnets.c.pools.p.range: the range 10.0.2.99-10.0.2.10 ends before it begins
    10 |       pools: {p: {range: 10.0.2.99-10.0.2.10}, q: {range: 10.0.2.0/24}}
  hint: write 10.0.2.10-10.0.2.99
c.yaml:10: dhcp.subnets.c.pools.q.range: "10.0.2.0/24" is not an address or a range such as 10.0.0.100-10.0.0.199
    10 |       pools: {p: {range: 10.0.2.99-10.0.2.10}, q: {range: 10.0.2.0/24}}
  hint: write 10.0.2.1-10.0.2.254
c.yaml:11: dhcp.subnets.c.hosts.h.ip: "010.0.2.7" is not an IPv4 address
    11 |       hosts: {h: {mac: 00:11:22:33:44:55, ip: 010.0.2.7}}
  hint: write 10.0.2.7, without zeros in front
"#,
    );
}

#[test]
fn hardware_address_with_a_byte_too_few_or_too_many_is_a_warning() {
    let hosts = "hosts:
        a: {mac: 00:11:22:33:44}
        b: {mac: [00:11:22:33:44:55, 01:00:11:22:33:44:66]}
        c: {mac: 00:11:22:33:44:55:66:77}
        d: {mac: '00:01'}";
    let expected = "\
c.yaml:7: warning: dhcp.subnets.lan.hosts.a.mac: 00:11:22:33:44 has 5 bytes, and the hardware addresses of Ethernet and Wi-Fi have 6
    7 |         a: {mac: 00:11:22:33:44}
  hint: look for a byte that is missing
c.yaml:8: warning: dhcp.subnets.lan.hosts.b.mac[1]: 01:00:11:22:33:44:66 has 7 bytes, and the hardware addresses of Ethernet and Wi-Fi have 6
    8 |         b: {mac: [00:11:22:33:44:55, 01:00:11:22:33:44:66]}
  hint: it looks like a client identifier; the address in it is 00:11:22:33:44:66";
    assert_eq!(warnings_of(&lan(hosts)), expected);
}

#[test]
fn circuits_without_trusted_relays_are_a_warning_for_each_kind_of_use() {
    let text = "dhcp:
  interfaces: [eth0]
  identify_by: circuit-id
  security: {max_leases_per_circuit: 2}
  subnets:
    lan:
      network: 10.0.0.0/24
      hosts: {a: {circuit_id: port1}, b: {circuit_id: port2}}
";
    let why = "and dhcp.security.trusted_relays is empty: any host on a link can pose as a relay";
    let hint = "hint: list the addresses of your relays in dhcp.security.trusted_relays";
    let expected = format!(
        "c.yaml:3: warning: dhcp.identify_by: clients are told apart by the circuit that a relay names, {why}
    3 |   identify_by: circuit-id
  {hint}
c.yaml:4: warning: dhcp.security.max_leases_per_circuit: leases are limited by the circuit that a relay names, {why}
    4 |   security: {{max_leases_per_circuit: 2}}
  {hint}
c.yaml:8: warning: dhcp.subnets.lan.hosts.a.circuit_id: host a and 1 more are known by circuits that a relay names, {why}
    8 |       hosts: {{a: {{circuit_id: port1}}, b: {{circuit_id: port2}}}}
  {hint}"
    );
    assert_eq!(warnings_of(text), expected);
    let trusted =
        text.replace("{max_leases_per_circuit: 2}", "{max_leases_per_circuit: 2, trusted_relays: 10.0.0.1}");
    assert_eq!(warnings_of(&trusted), "");
}

#[test]
fn class_of_an_interface_that_is_not_served_is_a_warning() {
    let text = "dhcp:
  interfaces: [eth0, eth1]
  classes:
    a: {match: {interface: \"eth*\"}}
    b: {match: {interface: [eth1, eth2]}}
    c: {match: {any: [{mac: \"00:*\"}, {not: {interface: wlan0}}]}}
  subnets: {lan: {network: 10.0.0.0/24}}
";
    let expected = "\
c.yaml:5: warning: dhcp.classes.b.match.interface: \"eth2\" fits none of dhcp.interfaces, so no client comes in there
    5 |     b: {match: {interface: [eth1, eth2]}}
  hint: served are eth0, eth1
c.yaml:6: warning: dhcp.classes.c.match: \"wlan0\" fits none of dhcp.interfaces, so no client comes in there
    6 |     c: {match: {any: [{mac: \"00:*\"}, {not: {interface: wlan0}}]}}
  hint: served are eth0, eth1";
    assert_eq!(warnings_of(text), expected);
}

#[test]
fn relay_that_is_listed_twice_is_refused() {
    let expected = "
c.yaml:6: dhcp.subnets.lan.relays[1]: 192.0.2.1 is listed twice
    6 |       relays: [192.0.2.1, 192.0.2.1]
  hint: remove one of the two";
    refused(&lan("relays: [192.0.2.1, 192.0.2.1]"), expected);
}

#[test]
fn every_overlap_is_found_wherever_the_two_stand() {
    let text = "dhcp:
  interfaces: [eth0]
  subnets:
    a: {network: 10.2.0.0/24}
    b: {network: 10.0.0.0/8}
    c: {network: 10.1.0.0/24}
    d:
      network: 11.0.0.0/24
      pools: {p: {range: 11.0.0.50-11.0.0.60}, q: {range: 11.0.0.10-11.0.0.90}, r: {range: 11.0.0.90}, s: {range: 11.0.0.91}}
";
    let said = refusal_of(text);
    let reasons: Vec<&str> = said.lines().filter(|line| line.starts_with("c.yaml")).collect();
    assert_eq!(
        reasons,
        [
            "c.yaml:5: dhcp.subnets.b.network: 10.0.0.0/8 overlaps subnet a (10.2.0.0/24)",
            "c.yaml:6: dhcp.subnets.c.network: 10.1.0.0/24 overlaps subnet b (10.0.0.0/8)",
            "c.yaml:9: dhcp.subnets.d.pools.q.range: 11.0.0.10-11.0.0.90 overlaps pool p (11.0.0.50-11.0.0.60)",
            "c.yaml:9: dhcp.subnets.d.pools.r.range: 11.0.0.90 overlaps pool q (11.0.0.10-11.0.0.90)",
        ]
    );
}

/// So many subnets with one pool and five hosts each; every host has what is wrong, if anything.
fn many(subnets: u32, wrong: &str) -> String {
    let mut text = "dhcp:\n  interfaces: [eth0]\n  subnets:\n".to_owned();
    for n in 0..subnets {
        let (a, b) = (n / 256, n % 256);
        let _ = writeln!(
            text,
            "    s{n}:\n      network: 10.{a}.{b}.0/24\n      pools: {{p: {{range: 10.{a}.{b}.100-10.{a}.{b}.199}}}}\n      hosts:"
        );
        for h in 1..=5 {
            let _ = writeln!(
                text,
                "        h{h}: {{mac: \"00:11:{a:02x}:{b:02x}:00:0{h}\", ip: 10.{a}.{b}.{h}{wrong}}}"
            );
        }
    }
    text
}

/// The time for four times as much is compared with that for one: a check that looks at every pair takes sixteen times
/// as long. The best of several counts, since the machine may be busy.
fn grows(wrong: &str) -> f64 {
    let best = |text: &str| {
        let one = || {
            let started = Instant::now();
            let _ = load(text);
            started.elapsed().as_secs_f64()
        };
        (0..3).map(|_| one()).fold(f64::INFINITY, f64::min)
    };
    best(&many(1200, wrong)) / best(&many(300, wrong))
}

#[test]
fn checks_of_thousands_take_as_long_as_there_are_things_to_check() {
    assert!(load(&many(20, "")).is_ok());
    assert!(refusal_of(&many(20, ", hosst: x")).matches("unknown key").count() == 100);
    let (good, bad) = (grows(""), grows(", hosst: x"));
    assert!(good < 10.0 && bad < 10.0, "{good} and {bad} times as long for 4 times as much");
}
