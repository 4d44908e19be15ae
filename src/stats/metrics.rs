//! The metric table: every counter and gauge that processes keep in shared memory, its labels, its meaning and its place
//! in `/v1/stats`. Histograms stand in [`super::histogram`], figures that the collector works out in [`super::family`]. The
//! exposition, the statistics, docs/metrics.md and the layout of the shared memory follow from these three.

/// Declares an enum of cells from one table: families of a metric name with help, each with its label sets.
macro_rules! cells {
    ($(#[$meta:meta])* $enum:ident { $($family:literal $help:literal at $place:literal { $($cell:ident { $($label:ident = $value:literal),* },)+ })+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the table names each by metric and labels")]
        #[repr(usize)]
        pub enum $enum { $($($cell,)+)+ }

        impl $enum {
            /// All of them, in the order of the shared memory.
            pub const ALL: &'static [Self] = &[$($(Self::$cell,)+)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Name of the metric family.
            pub const fn family(self) -> &'static str {
                match self { $($(Self::$cell => $family,)+)+ }
            }

            /// What the family means.
            pub const fn help(self) -> &'static str {
                match self { $($(Self::$cell => $help,)+)+ }
            }

            /// Where the family stands in `/v1/stats` (`stats::document`).
            pub const fn place(self) -> &'static str {
                match self { $($(Self::$cell => $place,)+)+ }
            }

            /// The value of its first label: what sets it apart within its family, as a rule.
            pub fn label(self) -> &'static str {
                self.labels().first().map_or("", |(_, value)| value)
            }

            /// Label names and values.
            pub const fn labels(self) -> &'static [(&'static str, &'static str)] {
                match self { $($(Self::$cell => &[$((stringify!($label), $value)),*],)+)+ }
            }
        }
    };
}

cells! {
    /// Counters: they only rise, whatever crashes.
    Counter {
        "echo_daemon_dhcp_messages_total" "DHCP messages by type and direction" at "dhcp.messages.{direction}.{type}" {
            DiscoverIn { type = "discover", direction = "in" },
            RequestIn { type = "request", direction = "in" },
            DeclineIn { type = "decline", direction = "in" },
            ReleaseIn { type = "release", direction = "in" },
            InformIn { type = "inform", direction = "in" },
            BootpIn { type = "bootp", direction = "in" },
            OtherIn { type = "other", direction = "in" },
            OfferOut { type = "offer", direction = "out" },
            AckOut { type = "ack", direction = "out" },
            NakOut { type = "nak", direction = "out" },
            BootpOut { type = "bootp", direction = "out" },
        }
        "echo_daemon_dhcp_dropped_total" "DHCP packets that got no answer, by reason" at "dhcp.dropped.{reason}" {
            DropTooShort { reason = "too-short" },
            DropNotARequest { reason = "not-a-request" },
            DropHardwareLength { reason = "hardware-length" },
            DropCookie { reason = "cookie" },
            DropOptionTruncated { reason = "option-truncated" },
            DropOverloadTruncated { reason = "overload-truncated" },
            DropOptionLength { reason = "option-length" },
            DropRelayAddress { reason = "relay-address" },
            DropClientAddress { reason = "client-address" },
            DropSource { reason = "source" },
            DropForeignSource { reason = "foreign-source" },
            DropDenied { reason = "denied" },
            DropNotAllowed { reason = "not-allowed" },
            DropUntrustedRelay { reason = "untrusted-relay" },
            DropRateLimited { reason = "rate-limited" },
            DropUnknownHost { reason = "unknown-host" },
            DropCircuitFull { reason = "circuit-full" },
            DropUnknownInterface { reason = "unknown-interface" },
            DropUnknownSubnet { reason = "unknown-subnet" },
            DropNotForServers { reason = "not-for-servers" },
            DropNoIdentity { reason = "no-identity" },
            DropIncomplete { reason = "incomplete" },
            DropBareRequest { reason = "bare-request" },
            DropOtherServer { reason = "other-server" },
            DropExhausted { reason = "exhausted" },
            DropNoPool { reason = "no-pool" },
            DropOverload { reason = "overload" },
            DropStranger { reason = "stranger" },
            DropClass { reason = "class" },
            DropBootp { reason = "bootp" },
            DropQuarantined { reason = "quarantined" },
            DropNotHolder { reason = "not-holder" },
            DropDoubted { reason = "doubted-decline" },
            DropOvertaken { reason = "overtaken" },
            DropNoServerAddress { reason = "no-server-address" },
            DropUnknownClient { reason = "unknown-client" },
            DropNotAuthoritative { reason = "not-authoritative" },
            DropEncoding { reason = "encoding" },
            DropUnchecked { reason = "unchecked" },
            DropTruncated { reason = "truncated" },
            DropLeaseStore { reason = "lease-store" },
            DropPanic { reason = "panic" },
            DropSendFailed { reason = "send-failed" },
        }
        "echo_daemon_dhcp_lease_events_total" "What happened to leases" at "dhcp.leases.{event}" {
            LeaseOffered { event = "offered" },
            LeaseGranted { event = "granted" },
            LeaseRenewed { event = "renewed" },
            LeaseReleased { event = "released" },
            LeaseExpired { event = "expired" },
            LeaseDeclined { event = "declined" },
            LeaseConflict { event = "conflict" },
        }
        "echo_daemon_dhcp_probes_total" "Addresses probed for a conflict, by when and with what" at "dhcp.probes.sent.{when}.{method}" {
            ProbeArp { method = "arp", when = "packet" },
            ProbeIcmp { method = "icmp", when = "packet" },
            ProbeAheadArp { method = "arp", when = "ahead" },
            ProbeAheadIcmp { method = "icmp", when = "ahead" },
        }
        "echo_daemon_dhcp_probe_results_total" "What probes found: nobody, somebody, or the client itself" at "dhcp.probes.results.{result}" {
            ProbeSilent { result = "silent" },
            ProbeAnswered { result = "answered" },
            ProbeHarmless { result = "harmless" },
        }
        "echo_daemon_dhcp_parked_total" "DHCP packets that had to wait for a probe" at "dhcp.parked.total" {
            Parked { },
        }
        "echo_daemon_security_events_total" "Events of the security stage" at "security.{event}" {
            SecurityProxyArp { event = "proxy_arp" },
            SecuritySpoofed { event = "spoofed_address" },
            SecurityDenied { event = "denied" },
            SecurityNotAllowed { event = "not_allowed" },
            SecurityUntrustedRelay { event = "untrusted_relay" },
            SecurityRateLimited { event = "rate_limited" },
            SecurityUnknownClient { event = "unknown_client" },
            SecurityCircuitFull { event = "circuit_full" },
            SecurityDoubted { event = "doubted_decline" },
            SecurityApiToken { event = "api_token_wrong" },
            SecurityApiForbidden { event = "api_peer_forbidden" },
        }
        "echo_daemon_errors_total" "Errors by kind" at "errors.{kind}" {
            ErrorStore { kind = "lease_store" },
            ErrorSend { kind = "send" },
            ErrorReceive { kind = "receive" },
            ErrorPanic { kind = "panic" },
            ErrorAccept { kind = "accept" },
            ErrorFork { kind = "fork" },
            ErrorKeeper { kind = "keeper" },
            ErrorApi { kind = "api" },
            ErrorLog { kind = "log_output" },
        }
        "echo_daemon_socket_dropped_total" "Datagrams that the kernel dropped because a socket's queue was full" at "sockets.{socket}.dropped" {
            SocketDroppedDhcp { socket = "dhcp" },
            SocketDroppedUdp { socket = "udp" },
        }
        "echo_daemon_tcp_connections_total" "TCP connections by what became of them" at "tcp.connections.{result}" {
            TcpAccepted { result = "accepted" },
            TcpRejected { result = "rejected" },
            TcpFailed { result = "failed" },
            TcpIdle { result = "idle" },
            TcpReset { result = "reset" },
        }
        "echo_daemon_echo_bytes_total" "Bytes echoed" at "echo_bytes.{protocol}" {
            EchoBytesTcp { protocol = "tcp" },
            EchoBytesUdp { protocol = "udp" },
        }
        "echo_daemon_udp_datagrams_total" "UDP datagrams by what became of them" at "udp.datagrams.{result}" {
            UdpEchoed { result = "echoed" },
            UdpLoop { result = "loop" },
            UdpFailed { result = "failed" },
        }
        "echo_daemon_worker_restarts_total" "Workers forked again after they died" at "restarts.{worker}" {
            RestartLogger { worker = "logger" },
            RestartTcp { worker = "tcp" },
            RestartUdp { worker = "udp" },
            RestartDhcp { worker = "dhcp" },
            RestartKeeper { worker = "keeper" },
            RestartApi { worker = "api" },
        }
        "echo_daemon_reloads_total" "Reloads by result" at "config.reloads.{result}" {
            ReloadApplied { result = "applied" },
            ReloadRefused { result = "refused" },
        }
        "echo_daemon_upgrades_total" "Upgrades in place by result" at "upgrades.{result}" {
            UpgradeApplied { result = "applied" },
            UpgradeFailed { result = "failed" },
        }
        "echo_daemon_log_dropped_total" "Log records dropped because the logger could not keep up" at "logs.dropped" {
            LogDropped { },
        }
    }
}

cells! {
    /// Gauges that processes keep in their own slots; the value is the sum.
    Gauge {
        "echo_daemon_tcp_clients" "TCP clients being served" at "tcp.clients" {
            TcpClients { },
        }
        "echo_daemon_dhcp_waiting_packets" "DHCP packets that wait for a probe now" at "dhcp.parked.now" {
            Waiting { },
        }
        "echo_daemon_dhcp_offers" "Addresses that are held for a client that was offered them" at "dhcp.offers" {
            Offers { },
        }
        "echo_daemon_dhcp_lease_log_rows" "Rows of lease_log that the keeper has not folded into leases yet" at "dhcp.store.unfolded_rows" {
            UnfoldedRows { },
        }
        "echo_daemon_socket_queue_bytes" "Memory of the datagrams that wait in a socket's queue" at "sockets.{socket}.queue_bytes" {
            QueueDhcp { socket = "dhcp" },
        }
        "echo_daemon_socket_queue_limit_bytes" "Memory that a socket's queue may take before the kernel drops datagrams" at "sockets.{socket}.queue_limit_bytes" {
            QueueLimitDhcp { socket = "dhcp" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_are_unique_within_a_family() {
        let mut seen = std::collections::HashSet::new();
        for counter in Counter::ALL {
            assert!(seen.insert((counter.family(), counter.labels())), "{counter:?} stands twice");
            assert!(counter.family().ends_with("_total"));
        }
    }
}
