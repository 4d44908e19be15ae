//! Which datagrams must not be echoed, because the answer would be answered in turn or hit somebody else.
//!
//! Whoever can forge a source address can make two services that answer everything talk to each other for ever
//! (CERT CA-1996-01). An echo must not be one of the two, and cannot ask who really sent a datagram; so it goes by what
//! an honest client never has: the source port of a service, a source that is no single host.
//!
//! Echoing does not amplify (as many bytes leave as came), except where one datagram reaches many echo services:
//! hence nothing that was sent to a broadcast or multicast address is answered.

use std::net::{IpAddr, SocketAddr};

/// Ports below this belong to services (RFC 6335 §6: system ports): echo 7, discard 9, daytime 13, qotd 17, chargen 19,
/// time 37, DNS 53, DHCP 67 and 68, TFTP 69, portmap 111, NTP 123, `NetBIOS` 137 and 138, SNMP 161, CLDAP 389, …. Clients
/// get ports from 1024 on (32768 on Linux, 49152 by RFC 6335), so the whole range is dropped: no list of the
/// dangerous ones among them would be complete.
const SYSTEM_PORTS: u16 = 1024;

/// Services above the system ports that are known to answer whatever they are sent, sorted: Microsoft SQL monitor
/// 1434, SSDP 1900, Apple Remote Desktop 3283, WS-Discovery 3702, SIP 5060, mDNS 5353, Ubiquiti discovery 10001,
/// memcached 11211, Source engine 27015, Quake 27910 and 27960. None lies where systems of today take clients' ports
/// from (32768 and up), so an honest client meets them only if it asks for one. All others of that range are echoed at a
/// limited rate ([`super::brake`]).
const TALKATIVE_PORTS: [u16; 11] = [1434, 1900, 3283, 3702, 5060, 5353, 10001, 11211, 27015, 27910, 27960];

/// Why a datagram is not echoed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    /// It came from a service's port, which would answer the echo.
    ServicePort,
    /// It came from the port that we serve: from this daemon, or from another one like it.
    EchoPort,
    /// Its source is unspecified, broadcast or multicast: no single host.
    NoHost,
    /// It was sent to a broadcast or multicast address: every echo service on the link would answer.
    ToMany,
    /// Its port may be a service's, and much has come from there ([`super::brake`]).
    TooFast,
}

impl Loop {
    /// As the log says it.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::ServicePort => "service-port",
            Self::EchoPort => "echo-port",
            Self::NoHost => "no-host",
            Self::ToMany => "to-many",
            Self::TooFast => "too-fast",
        }
    }
}

/// Says why a datagram from `peer` must not be echoed, if so.
///
/// `own_port` is the port of the socket it came in on. That rules out our own address and port, under
/// whichever of this machine's addresses, and the same service on other machines too. `asked` is the destination
/// in its header, `own` the own address that an answer would come from.
///
/// The broadcast address of a foreign subnet cannot be told by looking at it. The kernel refuses to send to those of
/// its own links, since the sockets lack `SO_BROADCAST`, and routers do not forward the others (RFC 2644).
pub(super) fn check(
    peer: SocketAddr,
    own_port: u16,
    asked: Option<IpAddr>,
    own: Option<IpAddr>,
) -> Result<(), Loop> {
    if peer.port() == own_port {
        return Err(Loop::EchoPort);
    }
    if peer.port() < SYSTEM_PORTS || TALKATIVE_PORTS.binary_search(&peer.port()).is_ok() {
        return Err(Loop::ServicePort);
    }
    let no_host = match peer.ip().to_canonical() {
        // 0.0.0.0/8 is "this network" (RFC 1122 §3.2.1.3), 240.0.0.0/4 is reserved and ends in the broadcast address.
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.is_multicast() || ip.octets()[0] >= 240,
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    if no_host {
        return Err(Loop::NoHost);
    }
    // The kernel says where an answer should come from, and for a broadcast or a group that is another address.
    if asked.is_some() && asked != own {
        return Err(Loop::ToMany);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN_PORT: u16 = 8889;

    fn from(peer: &str) -> Result<(), Loop> {
        let asked = Some("192.0.2.1".parse().unwrap());
        check(peer.parse().unwrap(), OWN_PORT, asked, asked)
    }

    #[test]
    fn ordinary_clients_are_echoed() {
        for peer in
            ["192.0.2.7:1024", "192.0.2.7:40000", "127.0.0.1:65535", "[2001:db8::1]:50000", "[::1]:50000"]
        {
            assert_eq!(from(peer), Ok(()), "{peer}");
        }
    }

    #[test]
    fn ports_of_services_are_dropped() {
        for port in [
            0, 1, 7, 9, 13, 17, 19, 37, 53, 67, 68, 69, 111, 123, 137, 138, 161, 389, 1023, 1900, 5353, 11211,
        ] {
            assert_eq!(from(&format!("192.0.2.7:{port}")), Err(Loop::ServicePort), "{port}");
        }
    }

    #[test]
    fn talkative_ports_are_sorted_and_none_is_a_clients_port() {
        assert!(TALKATIVE_PORTS.is_sorted());
        assert!(TALKATIVE_PORTS.iter().all(|port| (SYSTEM_PORTS..32_768).contains(port)));
    }

    #[test]
    fn own_port_is_dropped_on_every_address() {
        for peer in ["192.0.2.1:8889", "127.0.0.1:8889", "192.0.2.99:8889", "[::1]:8889"] {
            assert_eq!(from(peer), Err(Loop::EchoPort), "{peer}");
        }
    }

    #[test]
    fn sources_that_are_no_single_host_are_dropped() {
        for peer in [
            "0.0.0.0:5000",
            "255.255.255.255:5000",
            "224.0.0.1:5000",
            "239.255.255.250:5000",
            "[::]:5000",
            "[ff02::1]:5000",
            "[::ffff:224.0.0.1]:5000",
        ] {
            assert_eq!(from(peer), Err(Loop::NoHost), "{peer}");
        }
    }

    #[test]
    fn what_was_sent_to_many_is_dropped() {
        let peer = "192.0.2.7:40000".parse().unwrap();
        let own = Some("192.0.2.1".parse().unwrap());
        for asked in ["192.0.2.255", "255.255.255.255", "224.0.0.1"] {
            assert_eq!(
                check(peer, OWN_PORT, Some(asked.parse().unwrap()), own),
                Err(Loop::ToMany),
                "{asked}"
            );
        }
        let peer = "[2001:db8::7]:40000".parse().unwrap();
        assert_eq!(check(peer, OWN_PORT, Some("ff02::1".parse().unwrap()), None), Err(Loop::ToMany));
        assert_eq!(check(peer, OWN_PORT, None, None), Ok(()));
    }
}
