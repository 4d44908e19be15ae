//! Reads the hosts of a subnet, with the checks that need one host only.

use std::collections::HashSet;

use super::address::Unicast;
use super::common::{GivenTimes, boot};
use super::identity::{AgentId, ClientId, HostName, Mac, with_colons};
use super::model::Host;
use super::network::Network;
use super::section::Section;
use super::subnet::host_range;

/// Reads every host of the section `subnet`; `above` are the subnet's lease times.
pub(super) fn read_all(subnet: &Section<'_>, network: Option<Network>, above: GivenTimes) -> Vec<Host> {
    subnet.named("hosts").into_iter().map(|(name, section)| read(name, &section, network, above)).collect()
}

fn read(name: String, section: &Section<'_>, network: Option<Network>, above: GivenTimes) -> Host {
    let lease_time = GivenTimes::own(section, above);
    let host = Host {
        name,
        macs: section.list("mac", Vec::new()).into_iter().map(|Mac(bytes)| bytes).collect(),
        client_id: section.nullable::<ClientId>("client_id").flatten().map(|id| id.0),
        circuit_id: section.nullable::<AgentId>("circuit_id").flatten().map(|id| id.0),
        remote_id: section.nullable::<AgentId>("remote_id").flatten().map(|id| id.0),
        ip: section.nullable::<Unicast>("ip").flatten().map(|address| address.0),
        hostname: section.nullable::<HostName>("hostname").flatten().map(|name| name.0),
        lease_time,
        boot: boot(section),
        options: section.raw("options"),
    };
    section.finish();
    check_identifiers(section, &host);
    check_address(section, &host, network);
    host
}

fn check_identifiers(section: &Section<'_>, host: &Host) {
    let sound = |key: &str| section.reader().is_sound(&section.key(key));
    let mut seen = HashSet::new();
    let several = host.macs.len() > 1;
    for (position, mac) in host.macs.iter().enumerate().filter(|_| sound("mac")) {
        let key = if several { format!("mac[{position}]") } else { "mac".to_owned() };
        if !seen.insert(mac) {
            section.error(&key, format!("{} is listed twice", with_colons(mac)), None);
        } else if let Some(hint) = odd_length(mac) {
            let reason = format!(
                "{} has {} bytes, and the hardware addresses of Ethernet and Wi-Fi have 6",
                with_colons(mac),
                mac.len()
            );
            section.reader().warning(&section.key(&key), reason, Some(hint));
        }
    }
    if host.circuit_id.is_none() && host.remote_id.is_some() && sound("circuit_id") {
        let hint = "a remote_id counts together with a circuit_id only".to_owned();
        section.error("remote_id", "there is no circuit_id beside it", Some(hint));
    } else if host.macs.is_empty()
        && host.client_id.is_none()
        && host.circuit_id.is_none()
        && ["mac", "client_id", "circuit_id", "remote_id"].into_iter().all(sound)
    {
        let hint = "give its mac, client_id or circuit_id".to_owned();
        section.reader().error(section.here(), "nothing tells which client this is", Some(hint));
    }
}

/// What is probably wrong with a hardware address that has nearly as many bytes as one of Ethernet. Other networks have
/// 1, 2 or 8 (`ARCnet`, `LocalTalk`, EUI-64).
fn odd_length(mac: &[u8]) -> Option<String> {
    match mac {
        // RFC 2132 §9.14: the hardware type, then the address.
        [1, rest @ ..] if rest.len() == 6 => {
            Some(format!("it looks like a client identifier; the address in it is {}", with_colons(rest)))
        }
        [_, _, _, _] | [_, _, _, _, _] => Some("look for a byte that is missing".to_owned()),
        [_, _, _, _, _, _, _] => Some("look for a byte that is too much".to_owned()),
        [..] => None,
    }
}

fn check_address(section: &Section<'_>, host: &Host, network: Option<Network>) {
    let (Some(address), Some(network)) = (host.ip, network) else { return };
    if network.is_host(address) {
        return;
    }
    let reason = if !network.contains(address) {
        format!("{address} is outside the subnet {network}")
    } else if address == network.first() {
        format!("{address} is the network address of {network}")
    } else {
        format!("{address} is the broadcast address of {network}")
    };
    let hint = host_range(network).map(|hosts| format!("the subnet's hosts are {hosts}"));
    section.error("ip", reason, hint);
}
