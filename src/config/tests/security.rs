//! Who is heard, the conflict check and the other switches of `dhcp`: defaults, values, and what is printed about
//! wrong ones.

use super::*;
use crate::config::model::{Bootp, ClientRate, ConflictMethod, Dhcp, IdentifyBy, UnknownClients};

/// The section `dhcp` with these lines, and a subnet.
#[track_caller]
fn dhcp_of(lines: &str) -> Dhcp {
    load(&with(lines)).unwrap_or_else(|report| panic!("{report}")).config.dhcp
}

/// The lines begin in line 3.
fn with(lines: &str) -> String {
    format!(
        "dhcp:\n  interfaces: [lo]\n  {lines}\n  subnets: {{a: {{network: 10.0.0.0/24, relays: [192.0.2.1]}}}}\n"
    )
}

#[test]
fn defaults_are_those_of_the_design() {
    let dhcp = dhcp_of("");
    assert_eq!(dhcp.conflict_check.method, ConflictMethod::Auto);
    assert_eq!(dhcp.conflict_check.timeout, Duration::from_millis(150));
    assert_eq!((dhcp.rapid_commit, dhcp.subnet_selection, dhcp.bootp), (false, false, Bootp::Dynamic));
    assert_eq!((dhcp.fqdn.suffix, dhcp.classes.len()), (None, 0));
    let security = dhcp.security;
    assert_eq!((security.allow.len(), security.deny.len(), security.trusted_relays.len()), (0, 0, 0));
    assert_eq!(security.unknown_clients, UnknownClients::Allow);
    assert_eq!(security.client_rate, Some(ClientRate { packets: 20, per: Duration::from_secs(10) }));
    assert_eq!(security.max_leases_per_circuit, 0);
}

#[test]
fn switches_are_read() {
    let dhcp = dhcp_of(
        "rapid_commit: true
  subnet_selection: yes
  bootp: reserved
  fqdn: {suffix: Example.org.}
  conflict_check: {method: icmp, timeout: 1s}",
    );
    assert_eq!((dhcp.rapid_commit, dhcp.subnet_selection, dhcp.bootp), (true, true, Bootp::Reserved));
    assert_eq!(dhcp.fqdn.suffix.as_deref(), Some("Example.org"));
    assert_eq!(
        (dhcp.conflict_check.method, dhcp.conflict_check.timeout),
        (ConflictMethod::Icmp, Duration::from_secs(1))
    );
    assert_eq!(dhcp_of("bootp: off").bootp, Bootp::Off);
    for (word, method) in
        [("arp", ConflictMethod::Arp), ("off", ConflictMethod::Off), ("auto", ConflictMethod::Auto)]
    {
        assert_eq!(dhcp_of(&format!("conflict_check: {{method: {word}}}")).conflict_check.method, method);
    }
}

#[test]
fn wrong_switches_are_refused() {
    let text = with(
        "rapid_commit: 2
  bootp: dynamc
  fqdn: {suffix: my_domain.org, sufix: x}
  conflict_check: {method: ping, timeout: 1ms}
  identify_by: circuit",
    );
    refused(
        &text,
        "
c.yaml:3: dhcp.rapid_commit: 2 is not true or false
    3 |   rapid_commit: 2
c.yaml:4: dhcp.bootp: \"dynamc\" is not one of dynamic, reserved, off
    4 |   bootp: dynamc
  hint: did you mean dynamic?
c.yaml:5: dhcp.fqdn.suffix: \"my_domain.org\" is not a domain name
    5 |   fqdn: {suffix: my_domain.org, sufix: x}
  hint: write my-domain.org
c.yaml:5: dhcp.fqdn.sufix: unknown key
    5 |   fqdn: {suffix: my_domain.org, sufix: x}
  hint: did you mean suffix?
c.yaml:6: dhcp.conflict_check.method: \"ping\" is not one of auto, arp, icmp, off
    6 |   conflict_check: {method: ping, timeout: 1ms}
c.yaml:6: dhcp.conflict_check.timeout: 1ms is out of range; it must be 10ms to 5s
    6 |   conflict_check: {method: ping, timeout: 1ms}
c.yaml:7: dhcp.identify_by: \"circuit\" is not one of client-id, mac, circuit-id
    7 |   identify_by: circuit
  hint: did you mean circuit-id?",
    );
}

#[test]
fn identity_is_chosen_globally_and_per_subnet() {
    let text = "dhcp:
  interfaces: [lo]
  identify_by: mac
  subnets:
    a: {network: 10.0.0.0/24}
    b: {network: 10.0.1.0/24, identify_by: circuit-id}
    c: {network: 10.0.2.0/24, identify_by: client-id}
";
    let dhcp = load(text).unwrap().config.dhcp;
    assert_eq!(dhcp.common.identify_by, IdentifyBy::Mac);
    let of: Vec<IdentifyBy> = dhcp.subnets.iter().map(|subnet| subnet.common.identify_by).collect();
    assert_eq!(of, [IdentifyBy::Mac, IdentifyBy::CircuitId, IdentifyBy::ClientId]);
}

#[test]
fn security_is_read() {
    let dhcp = dhcp_of(
        "security:
    allow: ['00:11:*', 00-22-33-44-55-66]
    deny: '66:66:*, 0x6767*'
    unknown_clients: ignore
    trusted_relays: [10.0.0.1, 192.0.2.0/24]
    client_rate: {packets: 5}
    max_leases_per_circuit: 3",
    );
    let security = dhcp.security;
    let shown = |patterns: &[crate::config::pattern::Pattern]| {
        patterns.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(shown(&security.allow), ["00:11:*", "00:22:33:44:55:66"]);
    assert_eq!(shown(&security.deny), ["66:66:*", "0x6767*"]);
    assert_eq!(security.unknown_clients, UnknownClients::Ignore);
    let relays: Vec<String> = security.trusted_relays.iter().map(ToString::to_string).collect();
    assert_eq!(relays, ["10.0.0.1/32", "192.0.2.0/24"]);
    assert_eq!(security.client_rate, Some(ClientRate { packets: 5, per: Duration::from_secs(10) }));
    assert_eq!(security.max_leases_per_circuit, 3);
}

#[test]
fn null_is_no_rate_limit() {
    assert_eq!(dhcp_of("security: {client_rate: null}").security.client_rate, None);
    let set = |flags: &[&str]| {
        load_with(&with("security: {client_rate: {packets: 7}}"), flags)
            .unwrap()
            .config
            .dhcp
            .security
            .client_rate
    };
    assert_eq!(set(&["dhcp.security.client_rate=null"]), None);
    assert_eq!(
        set(&["dhcp.security.client_rate.per=1m"]),
        Some(ClientRate { packets: 7, per: Duration::from_secs(60) })
    );
}

#[test]
fn wrong_security_is_refused() {
    let text = with(
        "security:
    allow: zz:*
    deny: ['66:66:*', 66.66.66.66.66.66, '']
    unknown_clients: deny
    trusted_relays: [router, 10.0.0.1/24, 0.0.0.0]
    client_rate: {packets: 0, per: 10ms, burst: 1}
    max_leases_per_circuit: -1",
    );
    let hint = "an address is written 00:11:22:33:44:55, in hex digits; a pattern may be 00:11:22:*";
    refused(&text, &format!("
c.yaml:4: dhcp.security.allow: \"zz:*\" fits no hardware address
    4 |     allow: zz:*
  hint: {hint}
c.yaml:5: dhcp.security.deny[1]: \"66.66.66.66.66.66\" fits no hardware address
    5 |     deny: ['66:66:*', 66.66.66.66.66.66, '']
  hint: {hint}
c.yaml:5: dhcp.security.deny[2]: the pattern is empty
    5 |     deny: ['66:66:*', 66.66.66.66.66.66, '']
c.yaml:6: dhcp.security.unknown_clients: \"deny\" is not one of allow, ignore
    6 |     unknown_clients: deny
c.yaml:7: dhcp.security.trusted_relays[0]: \"router\" is not an address such as 10.0.0.1 or a network such as 10.0.0.0/24
    7 |     trusted_relays: [router, 10.0.0.1/24, 0.0.0.0]
c.yaml:7: dhcp.security.trusted_relays[1]: 10.0.0.1/24 has host bits set; the network is 10.0.0.0/24
    7 |     trusted_relays: [router, 10.0.0.1/24, 0.0.0.0]
  hint: write 10.0.0.0/24
c.yaml:7: dhcp.security.trusted_relays[2]: 0.0.0.0 is not the address of one host
    7 |     trusted_relays: [router, 10.0.0.1/24, 0.0.0.0]
c.yaml:8: dhcp.security.client_rate.packets: 0 is out of range; it must be 1 to 1000000
    8 |     client_rate: {{packets: 0, per: 10ms, burst: 1}}
c.yaml:8: dhcp.security.client_rate.per: 10ms is out of range; it must be 1s to 1h
    8 |     client_rate: {{packets: 0, per: 10ms, burst: 1}}
c.yaml:8: dhcp.security.client_rate.burst: unknown key
    8 |     client_rate: {{packets: 0, per: 10ms, burst: 1}}
  hint: known here: packets, per
c.yaml:9: dhcp.security.max_leases_per_circuit: -1 is out of range; it must be 0 to 4294967295
    9 |     max_leases_per_circuit: -1"));
}

#[test]
fn pattern_for_no_usual_address_is_a_warning() {
    assert_eq!(
        warnings_of(&with("security: {deny: ['66:66']}")),
        "c.yaml:3: warning: dhcp.security.deny: \"66:66\" fits no hardware address of 6 bytes, as Ethernet and Wi-Fi have
    3 |   security: {deny: ['66:66']}
  hint: write \"66:66:*\" for all that begin so"
    );
}

#[test]
fn trusted_relay_of_no_subnet_is_a_warning() {
    assert_eq!(
        warnings_of(&with("security: {trusted_relays: [10.0.0.9, 192.0.2.1, 192.0.0.0/16, 10.0.0.0/8]}")),
        ""
    );
    assert_eq!(
        warnings_of(&with("security: {trusted_relays: [192.0.2.2, 172.16.0.0/12]}")),
        "c.yaml:3: warning: dhcp.security.trusted_relays[0]: no subnet accepts the relay 192.0.2.2
    3 |   security: {trusted_relays: [192.0.2.2, 172.16.0.0/12]}
  hint: list it in the `relays` of a subnet; this key only narrows what subnets accept
c.yaml:3: warning: dhcp.security.trusted_relays[1]: no subnet accepts a relay in 172.16.0.0/12
    3 |   security: {trusted_relays: [192.0.2.2, 172.16.0.0/12]}
  hint: list them in the `relays` of a subnet; this key only narrows what subnets accept
c.yaml:4: warning: dhcp.subnets.a.relays[0]: 192.0.2.1 is none of dhcp.security.trusted_relays, so it gets no answer
    4 |   subnets: {a: {network: 10.0.0.0/24, relays: [192.0.2.1]}}
  hint: add it there, or remove it here"
    );
}

#[test]
fn ignoring_everybody_is_a_warning() {
    assert_eq!(
        warnings_of(&with("security: {unknown_clients: ignore}")),
        "c.yaml:3: warning: dhcp.security.unknown_clients: only clients with a reservation are answered, and there is no reservation
    3 |   security: {unknown_clients: ignore}
  hint: describe the clients under dhcp.subnets.NAME.hosts"
    );
}

#[test]
fn reload_applies_all_of_it() {
    let old = load(&with("")).unwrap().config;
    let text = with(
        "rapid_commit: true\n  bootp: off\n  conflict_check: {method: off}\n  security: {client_rate: null}\n  classes: {x: {match: {mac: '*'}}}",
    );
    let new = load(&text.replace("relays:", "hosts: {a: {mac: '00:11'}}, relays:")).unwrap().config;
    assert!(changes_needing_restart(&old, &new).is_empty());
}
