//! What must agree between subnets of one link, and between the times of an offer: exactly what is printed.

use super::*;

#[test]
fn subnets_of_one_link_identify_clients_in_the_same_way() {
    let text = "dhcp:
  interfaces: [eth0]
  identify_by: mac
  subnets:
    a: {network: 10.0.0.0/24, shared_network: campus}
    b:
      network: 10.0.1.0/24
      shared_network: campus
      identify_by: client-id
    c: {network: 10.0.2.0/24, shared_network: other, identify_by: circuit-id}
    d: {network: 10.0.3.0/24, identify_by: circuit-id}
";
    let expected = "
c.yaml:9: dhcp.subnets.b.identify_by: client-id differs from mac of subnet a, which shares the link campus
    9 |       identify_by: client-id
  hint: make it the same for all subnets of the shared network
c.yaml:10: warning: dhcp.subnets.c.identify_by: clients are told apart by the circuit that a relay names, and dhcp.security.trusted_relays is empty: any host on a link can pose as a relay
    10 |     c: {network: 10.0.2.0/24, shared_network: other, identify_by: circuit-id}
  hint: list the addresses of your relays in dhcp.security.trusted_relays";
    refused(text, expected);
    assert!(load(&text.replace("      identify_by: client-id\n", "      identify_by: mac\n")).is_ok());
}

#[test]
fn of_two_subnets_the_one_that_says_its_identity_is_blamed() {
    let text = "dhcp:
  interfaces: [eth0]
  subnets:
    a: {network: 10.0.0.0/24, shared_network: campus, identify_by: mac}
    b: {network: 10.0.1.0/24, shared_network: campus}
";
    let said = refusal_of(text);
    assert!(said.starts_with("c.yaml:4: dhcp.subnets.a.identify_by: mac differs from client-id"), "{said}");
}

#[test]
fn offer_outlasts_the_probe_of_its_address() {
    let text = |line: &str| format!("dhcp:\n  enabled: false\n  conflict_check: {{timeout: 2s}}\n  {line}\n");
    let expected = "
c.yaml:4: dhcp.offer_hold: 2s is not longer than dhcp.conflict_check.timeout (2s)
    4 |   offer_hold: 2s
  hint: the offer would be over before the address has been probed";
    refused(&text("offer_hold: 2s"), expected);
    assert!(load(&text("offer_hold: 3s")).is_ok());
    let off = "dhcp:\n  enabled: false\n  conflict_check: {method: off, timeout: 2s}\n  offer_hold: 2s\n";
    assert!(load(off).is_ok());
}
