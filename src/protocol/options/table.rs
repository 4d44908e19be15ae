//! The option table: every DHCPv4 option of the IANA registry ("BOOTP Vendor Extensions and DHCP Options") that is
//! assigned, once, and two private ones. Configuration, checks and encoding follow from it.
//!
//! Names are those that Kea writes; where ISC dhcpd or the registry says otherwise, that name is the alias.

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its number, 1 to 254.
    pub code: u8,
    /// Its name in the configuration.
    pub name: &'static str,
    /// Another common name, accepted too.
    pub alias: Option<&'static str>,
    /// What its value is.
    pub kind: Kind,
}

/// What an option's value is, in the configuration and on the wire. Lists are one value or a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One address.
    Ip,
    /// One address or more.
    IpList,
    /// Addresses, or none at all (RFC 2132 §8.13).
    IpListOrNone,
    /// Pairs of addresses, `"10.1.0.0 255.255.0.0"` (RFC 2132 §4.3, §5.8).
    IpPairs,
    /// Routes, `"10.1.0.0/16 10.0.0.1"` (RFC 3442).
    Routes,
    /// A text of at least one byte, without NUL.
    Text,
    /// Domain names with compression (RFC 3397).
    Domains,
    /// Domain names without compression (RFC 1035 §3.1).
    PlainDomains,
    /// One domain name without compression.
    PlainDomain,
    /// Either addresses or domain names, behind a byte that says which (RFC 3361).
    SipServers,
    /// URIs, each behind its length (RFC 8572 §8.3).
    UriList,
    /// `true` or `false`.
    Bool,
    /// 0 to 255.
    U8,
    /// 0 to 65,535.
    U16,
    /// 0 to 4,294,967,295.
    U32,
    /// −2,147,483,648 to 2,147,483,647.
    I32,
    /// Numbers of 16 bits.
    U16List,
    /// A duration, `90s`, `1h` or bare seconds, 32 bits.
    Seconds,
    /// Whether they are the only ones, and addresses: `"true 10.0.0.1 10.0.0.2"` (RFC 2610 §3).
    SlpAgents,
    /// Whether it goes before the client's own, and scopes: `"true A,B"` (RFC 2610 §4).
    SlpScope,
    /// One server or more, each with its addresses: `["10.0.0.1 10.0.0.2", "10.0.0.3"]` (RFC 7291 §4).
    ServerLists,
    /// Bytes: hex digits, or a map such as `{text: …}`.
    Opaque,
    /// Sub-options, `{1: {ip: 10.0.0.4}, 6: {hex: "02"}}`, or bytes (RFC 2132 §8.4).
    SubOptions,
    /// Sub-options by enterprise number, `{4491: {2: {text: …}}}`, or bytes (RFC 3925 §4).
    VendorOptions,
    /// Values by enterprise number, `{4491: {text: …}}`, or bytes (RFC 3925 §3).
    VendorClasses,
    /// Never configured: why.
    Owned(&'static str),
}

impl Kind {
    /// What the value is, in words, and an example as YAML; none for an option that belongs to the server.
    pub fn described(self) -> (&'static str, Option<&'static str>) {
        let (words, example) = match self {
            Self::Ip => ("one address", "10.0.0.1"),
            Self::IpList => ("addresses", "[10.0.0.1, 10.0.0.2]"),
            Self::IpListOrNone => ("addresses, or an empty list", "[10.0.0.1]"),
            Self::IpPairs => ("pairs of addresses", "[10.1.0.0 10.0.0.1]"),
            Self::Routes => ("routes", "[10.1.0.0/16 10.0.0.1, default 10.0.0.2]"),
            Self::Text => ("text", "example"),
            Self::Domains => ("domain names, compressed", "[example.org, example.com]"),
            Self::PlainDomains => ("domain names", "[example.org, example.com]"),
            Self::PlainDomain => ("one domain name", "example.org"),
            Self::SipServers => ("addresses or domain names", "[sip.example.org]"),
            Self::UriList => ("URIs", "[\"https://boot.example.org\"]"),
            Self::Bool => ("`true` or `false`", "true"),
            Self::U8 => ("a number up to 255", "64"),
            Self::U16 => ("a number up to 65535", "1500"),
            Self::U32 => ("a number up to 4294967295", "100000"),
            Self::I32 => ("a number, which may be negative", "-3600"),
            Self::U16List => ("numbers up to 65535", "[68, 1500]"),
            Self::Seconds => ("a duration", "30m"),
            Self::SlpAgents => ("whether these are the only ones, and addresses", "true 10.0.0.1 10.0.0.2"),
            Self::SlpScope => ("whether it goes before the client's own, and scopes", "\"true A,B\""),
            Self::ServerLists => ("servers, each with its addresses", "[10.0.0.1 10.0.0.2, 10.0.0.3]"),
            Self::Opaque => ("bytes", "\"0a0b\""),
            Self::SubOptions => ("sub-options, or bytes", "{1: {ip: 10.0.0.4}, 6: {hex: \"02\"}}"),
            Self::VendorOptions => ("sub-options by enterprise number, or bytes", "{4491: {2: {text: abc}}}"),
            Self::VendorClasses => ("values by enterprise number, or bytes", "{4491: {text: abc}}"),
            Self::Owned(why) => return (why, None),
        };
        (words, Some(example))
    }
}

/// All options, in the order of their codes.
pub fn table() -> &'static [OptionSpec] {
    TABLE
}

/// The row of a code.
pub fn by_code(code: u8) -> Option<&'static OptionSpec> {
    TABLE.binary_search_by_key(&code, |row| row.code).ok().and_then(|at| TABLE.get(at))
}

/// The row of a name or an alias.
pub fn by_name(name: &str) -> Option<&'static OptionSpec> {
    TABLE.iter().find(|row| row.name == name || row.alias == Some(name))
}

const fn row(code: u8, name: &'static str, alias: &'static str, kind: Kind) -> OptionSpec {
    OptionSpec { code, name, alias: if alias.is_empty() { None } else { Some(alias) }, kind }
}

#[rustfmt::skip]
static TABLE: &[OptionSpec] = &[
    row(1, "subnet-mask", "", Kind::Ip),
    row(2, "time-offset", "", Kind::I32),
    row(3, "routers", "", Kind::IpList),
    row(4, "time-servers", "", Kind::IpList),
    row(5, "name-servers", "ien116-name-servers", Kind::IpList),
    row(6, "domain-name-servers", "", Kind::IpList),
    row(7, "log-servers", "", Kind::IpList),
    row(8, "cookie-servers", "", Kind::IpList),
    row(9, "lpr-servers", "", Kind::IpList),
    row(10, "impress-servers", "", Kind::IpList),
    row(11, "resource-location-servers", "", Kind::IpList),
    row(12, "host-name", "", Kind::Text),
    row(13, "boot-size", "", Kind::U16),
    row(14, "merit-dump", "", Kind::Text),
    row(15, "domain-name", "", Kind::Text),
    row(16, "swap-server", "", Kind::Ip),
    row(17, "root-path", "", Kind::Text),
    row(18, "extensions-path", "extensions-path-name", Kind::Text),
    row(19, "ip-forwarding", "", Kind::Bool),
    row(20, "non-local-source-routing", "", Kind::Bool),
    row(21, "policy-filter", "", Kind::IpPairs),
    row(22, "max-dgram-reassembly", "", Kind::U16),
    row(23, "default-ip-ttl", "", Kind::U8),
    row(24, "path-mtu-aging-timeout", "", Kind::Seconds),
    row(25, "path-mtu-plateau-table", "", Kind::U16List),
    row(26, "interface-mtu", "", Kind::U16),
    row(27, "all-subnets-local", "", Kind::Bool),
    row(28, "broadcast-address", "", Kind::Ip),
    row(29, "perform-mask-discovery", "", Kind::Bool),
    row(30, "mask-supplier", "", Kind::Bool),
    row(31, "router-discovery", "", Kind::Bool),
    row(32, "router-solicitation-address", "", Kind::Ip),
    row(33, "static-routes", "", Kind::IpPairs),
    row(34, "trailer-encapsulation", "", Kind::Bool),
    row(35, "arp-cache-timeout", "", Kind::Seconds),
    row(36, "ieee802-3-encapsulation", "", Kind::Bool),
    row(37, "default-tcp-ttl", "", Kind::U8),
    row(38, "tcp-keepalive-interval", "", Kind::Seconds),
    row(39, "tcp-keepalive-garbage", "", Kind::Bool),
    row(40, "nis-domain", "", Kind::Text),
    row(41, "nis-servers", "", Kind::IpList),
    row(42, "ntp-servers", "", Kind::IpList),
    row(43, "vendor-encapsulated-options", "", Kind::SubOptions),
    row(44, "netbios-name-servers", "", Kind::IpList),
    row(45, "netbios-dd-server", "netbios-dd-servers", Kind::IpList),
    row(46, "netbios-node-type", "", Kind::U8),
    row(47, "netbios-scope", "", Kind::Text),
    row(48, "font-servers", "", Kind::IpList),
    row(49, "x-display-manager", "x-display-managers", Kind::IpList),
    row(50, "dhcp-requested-address", "", Kind::Owned("the client's wish, never the server's to send")),
    row(51, "dhcp-lease-time", "", Kind::Owned("the lease decides it; see `lease_time`")),
    row(52, "dhcp-option-overload", "", Kind::Owned("set by the server where a reply needs it")),
    row(53, "dhcp-message-type", "", Kind::Owned("every reply has its own")),
    row(54, "dhcp-server-identifier", "", Kind::Owned("see `server_id`")),
    row(55, "dhcp-parameter-request-list", "", Kind::Owned("sent by clients only")),
    row(56, "dhcp-message", "", Kind::Owned("sent in a NAK only")),
    row(57, "dhcp-max-message-size", "", Kind::Owned("sent by clients only")),
    row(58, "dhcp-renewal-time", "", Kind::Owned("derived from the lease; see `renew_at`")),
    row(59, "dhcp-rebinding-time", "", Kind::Owned("derived from the lease; see `rebind_at`")),
    row(60, "vendor-class-identifier", "", Kind::Text),
    row(61, "dhcp-client-identifier", "", Kind::Owned("echoed from the client (RFC 6842)")),
    row(62, "nwip-domain-name", "nwip-domain", Kind::Text),
    row(63, "nwip-suboptions", "", Kind::SubOptions),
    row(64, "nisplus-domain-name", "nisplus-domain", Kind::Text),
    row(65, "nisplus-servers", "", Kind::IpList),
    row(66, "tftp-server-name", "", Kind::Text),
    row(67, "boot-file-name", "bootfile-name", Kind::Text),
    row(68, "mobile-ip-home-agent", "", Kind::IpListOrNone),
    row(69, "smtp-server", "smtp-servers", Kind::IpList),
    row(70, "pop-server", "pop-servers", Kind::IpList),
    row(71, "nntp-server", "nntp-servers", Kind::IpList),
    row(72, "www-server", "www-servers", Kind::IpList),
    row(73, "finger-server", "finger-servers", Kind::IpList),
    row(74, "irc-server", "irc-servers", Kind::IpList),
    row(75, "streettalk-server", "streettalk-servers", Kind::IpList),
    row(76, "streettalk-directory-assistance-server", "streettalk-directory-assistance-servers", Kind::IpList),
    row(77, "user-class", "", Kind::Opaque),
    row(78, "slp-directory-agent", "", Kind::SlpAgents),
    row(79, "slp-service-scope", "", Kind::SlpScope),
    row(80, "rapid-commit", "", Kind::Owned("set by the server; see `rapid_commit`")),
    row(81, "fqdn", "", Kind::Owned("the answer to the client's; see `fqdn`")),
    row(82, "dhcp-agent-options", "relay-agent-information", Kind::Owned("echoed from the relay (RFC 3046)")),
    row(83, "isns", "", Kind::Opaque),
    row(85, "nds-servers", "", Kind::IpList),
    row(86, "nds-tree-name", "", Kind::Text),
    row(87, "nds-context", "", Kind::Text),
    row(88, "bcms-controller-names", "", Kind::PlainDomains),
    row(89, "bcms-controller-address", "", Kind::IpList),
    row(90, "authenticate", "", Kind::Owned("authentication (RFC 3118) is not served")),
    row(91, "client-last-transaction-time", "", Kind::Owned("belongs to lease queries, which are not served")),
    row(92, "associated-ip", "", Kind::Owned("belongs to lease queries, which are not served")),
    row(93, "client-system", "client-architecture", Kind::U16List),
    row(94, "client-ndi", "", Kind::Opaque),
    row(95, "ldap-url", "", Kind::Text),
    row(97, "uuid-guid", "", Kind::Opaque),
    row(98, "uap-servers", "", Kind::Text),
    row(99, "geoconf-civic", "", Kind::Opaque),
    row(100, "pcode", "tz-posix", Kind::Text),
    row(101, "tcode", "tz-name", Kind::Text),
    row(108, "v6-only-preferred", "", Kind::Seconds),
    row(109, "option-dhcp4o6-s46-saddr", "", Kind::Opaque),
    row(112, "netinfo-server-address", "", Kind::IpList),
    row(113, "netinfo-server-tag", "", Kind::Text),
    row(114, "v4-captive-portal", "captive-portal", Kind::Text),
    row(116, "auto-config", "", Kind::U8),
    row(117, "name-service-search", "", Kind::U16List),
    row(118, "subnet-selection", "", Kind::Owned("sent by clients and relays only")),
    row(119, "domain-search", "", Kind::Domains),
    row(120, "sip-servers", "", Kind::SipServers),
    row(121, "classless-static-route", "classless-static-routes", Kind::Routes),
    row(122, "cablelabs-client-configuration", "", Kind::SubOptions),
    row(123, "geoconf", "", Kind::Opaque),
    row(124, "vivco-suboptions", "vendor-identifying-vendor-class", Kind::VendorClasses),
    row(125, "vivso-suboptions", "vendor-identifying-vendor-options", Kind::VendorOptions),
    row(128, "tftp-server-ip-address", "", Kind::Opaque),
    row(129, "call-server-ip-address", "", Kind::Opaque),
    row(130, "discrimination-string", "", Kind::Opaque),
    row(131, "remote-statistics-server", "", Kind::Opaque),
    row(132, "vlan-id-8021q", "", Kind::Opaque),
    row(133, "l2-priority-8021q", "", Kind::Opaque),
    row(134, "diffserv-code-point", "", Kind::Opaque),
    row(135, "http-proxy", "", Kind::Opaque),
    row(136, "pana-agent", "", Kind::IpList),
    row(137, "v4-lost", "", Kind::PlainDomain),
    row(138, "capwap-ac-v4", "", Kind::IpList),
    row(139, "mos-ipv4-address", "", Kind::SubOptions),
    row(140, "mos-ipv4-fqdn", "", Kind::SubOptions),
    row(141, "sip-ua-cs-domains", "", Kind::PlainDomains),
    row(142, "andsf-ipv4-address", "", Kind::IpList),
    row(143, "v4-sztp-redirect", "", Kind::UriList),
    row(144, "geoloc", "", Kind::Opaque),
    row(145, "forcerenew-nonce-capable", "", Kind::Opaque),
    row(146, "rdnss-selection", "", Kind::Opaque),
    row(147, "v4-dots-ri", "", Kind::PlainDomain),
    row(148, "v4-dots-address", "", Kind::IpList),
    row(150, "tftp-server-address", "", Kind::IpList),
    row(151, "status-code", "", Kind::Owned("belongs to lease queries, which are not served")),
    row(152, "base-time", "", Kind::Owned("belongs to lease queries, which are not served")),
    row(153, "start-time-of-state", "", Kind::Owned("belongs to lease queries, which are not served")),
    row(154, "query-start-time", "", Kind::Owned("belongs to lease queries, which are not served")),
    row(155, "query-end-time", "", Kind::Owned("belongs to lease queries, which are not served")),
    row(156, "dhcp-state", "", Kind::Owned("belongs to lease queries, which are not served")),
    row(157, "data-source", "", Kind::Owned("belongs to lease queries, which are not served")),
    row(158, "v4-pcp-server", "", Kind::ServerLists),
    row(159, "v4-portparams", "", Kind::Opaque),
    row(161, "mud-url", "", Kind::Text),
    row(162, "v4-dnr", "", Kind::Opaque),
    row(175, "etherboot", "", Kind::Opaque),
    row(176, "ip-telephone", "", Kind::Opaque),
    row(177, "packetcable-cablehome", "", Kind::SubOptions),
    row(208, "pxelinux-magic", "", Kind::Opaque),
    row(209, "pxelinux-configfile", "configfile", Kind::Text),
    row(210, "pxelinux-pathprefix", "pathprefix", Kind::Text),
    row(211, "pxelinux-reboottime", "reboottime", Kind::Seconds),
    row(212, "option-6rd", "6rd", Kind::Opaque),
    row(213, "v4-access-domain", "", Kind::PlainDomain),
    row(220, "subnet-allocation", "", Kind::Opaque),
    row(221, "virtual-subnet-selection", "vss", Kind::Opaque),
    // Of the codes for private use (224 to 254) these two mean the same everywhere: Windows clients ask for routes by
    // 249 too, in the format of 121, and web browsers for their proxy by 252.
    row(249, "ms-classless-static-routes", "", Kind::Routes),
    row(252, "wpad-url", "wpad", Kind::Text),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_rise_and_names_are_unique() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        let mut names = BTreeSet::new();
        for row in TABLE {
            assert!(names.insert(row.name), "{}", row.name);
            assert!(row.alias.is_none_or(|alias| names.insert(alias)), "{:?}", row.alias);
        }
    }

    /// The registry as of 2026: 0 and 255 are markers, 224 to 254 private.
    #[test]
    fn every_assigned_code_has_a_row_and_no_other() {
        let unassigned = [84, 96, 110, 111, 115, 126, 127, 149, 160, 222, 223];
        let gaps = [102..=107, 163..=174, 178..=207, 214..=219];
        for code in 1..=223 {
            let assigned = !unassigned.contains(&code) && !gaps.iter().any(|gap| gap.contains(&code));
            assert_eq!(by_code(code).is_some(), assigned, "{code}");
        }
        let private: Vec<u8> = (224..=254).filter(|code| by_code(*code).is_some()).collect();
        assert_eq!(private, [249, 252]);
    }

    #[test]
    fn names_of_the_documentation_are_there() {
        for (name, code) in [
            ("routers", 3),
            ("domain-name-servers", 6),
            ("domain-name", 15),
            ("ntp-servers", 42),
            ("vendor-encapsulated-options", 43),
            ("tftp-server-name", 66),
            ("boot-file-name", 67),
            ("domain-search", 119),
            ("classless-static-routes", 121),
        ] {
            assert_eq!(by_name(name).map(|row| row.code), Some(code));
            assert_eq!(by_code(code).map(|row| row.code), Some(code));
        }
    }

    #[test]
    fn what_the_server_owns_is_marked() {
        for code in [50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 80, 81, 82] {
            assert!(matches!(by_code(code).unwrap().kind, Kind::Owned(_)), "{code}");
        }
    }
}
