//! The table of log events: stable ID, level, explanation. Everything that is logged with an ID stands here
//! once; [`event!`](crate::event) writes a record by it.

use log::Level;

/// Declares [`Event`] from one table.
macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident $id:literal $level:ident;)+) => {
        /// What happened, as a stable ID that an administrator can search for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Event { $($(#[doc = $doc])+ $name,)+ }

        impl Event {
            /// All events, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable ID in the log.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// The level it is logged at.
            pub const fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)+ }
            }

            /// Logs a text under this event, where the event is known only when the program runs.
            pub fn log(self, text: &str) {
                log::log!(self.level(), event = self.id(); "{text}");
            }

            /// What it means, for people.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

events! {
    /// The daemon has begun to start.
    DaemonStarting "DAEMON_STARTING" Info;
    /// Every worker serves.
    DaemonReady "DAEMON_READY" Info;
    /// SIGTERM or SIGINT arrived: the tree is being taken down.
    DaemonStopping "DAEMON_STOPPING" Info;
    /// The listening sockets are closed.
    SocketsClosed "SOCKETS_CLOSED" Info;
    /// The PID file is gone.
    PidFileRemoved "PID_FILE_REMOVED" Info;
    /// Everything but the logger has ended; the last line of a clean stop.
    DaemonStopped "DAEMON_STOPPED" Info;
    /// Start or stop met a condition that an operator should know.
    DaemonWarning "DAEMON_WARNING" Warn;
    /// A worker process is ready to serve.
    WorkerStarted "WORKER_STARTED" Info;
    /// A worker process has ended as it was told to.
    WorkerStopped "WORKER_STOPPED" Info;
    /// A worker process ended by itself or was killed; it is forked again.
    WorkerDied "WORKER_DIED" Error;
    /// A worker process could not be started; it is tried again after a pause.
    WorkerFailed "WORKER_FAILED" Error;
    /// A worker did not end, or did not stop reading, within `daemon.shutdown_timeout` and was killed.
    WorkerKilled "WORKER_KILLED" Warn;
    /// The configuration file has changed on disk and is read anew (`daemon.watch_config`).
    ConfigFileChanged "CONFIG_FILE_CHANGED" Info;
    /// A new configuration is in force.
    ConfigReloaded "CONFIG_RELOADED" Info;
    /// A new configuration was refused; the previous one stays in force.
    ConfigRefused "CONFIG_REFUSED" Error;
    /// The configuration holds something that an operator should look at.
    ConfigWarning "CONFIG_WARNING" Warn;
    /// An interface is served from now on.
    InterfaceUp "INTERFACE_UP" Info;
    /// An interface is missing, gone or without an address; it is served as soon as it is there.
    InterfaceDown "INTERFACE_DOWN" Warn;
    /// The log files have been opened anew.
    LogReopened "LOG_REOPENED" Info;
    /// Records were dropped because an output was full or slow.
    LogRecordsDropped "LOG_RECORDS_DROPPED" Warn;
    /// A log output does not work; it is tried again.
    LogOutputFailed "LOG_OUTPUT_FAILED" Error;
    /// The main figures, every `logging.stats_interval`.
    Stats "STATS" Info;
    /// A TCP client has connected and has a process of its own.
    TcpClientConnected "TCP_CLIENT_CONNECTED" Info;
    /// A TCP client's process has ended its service.
    TcpClientDisconnected "TCP_CLIENT_DISCONNECTED" Info;
    /// A TCP client was turned away because `tcp.max_clients` are being served.
    TcpClientRejected "TCP_CLIENT_REJECTED" Warn;
    /// accept or fork failed for want of descriptors, processes or memory; tried again after a pause.
    TcpAcceptFailed "TCP_ACCEPT_FAILED" Error;
    /// A UDP datagram was not echoed.
    UdpDatagramDropped "UDP_DATAGRAM_DROPPED" Debug;
    /// A socket of the UDP echo service failed.
    UdpSocketFailed "UDP_SOCKET_FAILED" Error;
    /// An address has been offered.
    DhcpLeaseOffered "DHCP_LEASE_OFFERED" Debug;
    /// A lease has been granted; it is on disk.
    DhcpLeaseGranted "DHCP_LEASE_GRANTED" Info;
    /// A lease has been prolonged; it is on disk.
    DhcpLeaseRenewed "DHCP_LEASE_RENEWED" Info;
    /// A client has given its lease back.
    DhcpLeaseReleased "DHCP_LEASE_RELEASED" Info;
    /// A lease has run out.
    DhcpLeaseExpired "DHCP_LEASE_EXPIRED" Info;
    /// A client found its address in use; the address rests.
    DhcpLeaseDeclined "DHCP_LEASE_DECLINED" Warn;
    /// An address answered a conflict check although it is not leased; it rests.
    DhcpAddressConflict "DHCP_ADDRESS_CONFLICT" Warn;
    /// One host answers for so many addresses that it must be a router with proxy ARP, or an attack.
    DhcpProxyArp "DHCP_PROXY_ARP" Warn;
    /// A client that has an address was told options (DHCPINFORM).
    DhcpInformAnswered "DHCP_INFORM_ANSWERED" Debug;
    /// A client's request was refused by a DHCPNAK.
    DhcpNakSent "DHCP_NAK_SENT" Info;
    /// No address is left for a client.
    DhcpPoolExhausted "DHCP_POOL_EXHAUSTED" Warn;
    /// A packet was dropped: malformed, or not to be answered.
    DhcpPacketDropped "DHCP_PACKET_DROPPED" Debug;
    /// A packet named a relay, a client or a sender by an address that no host can have; it was dropped.
    DhcpAddressSpoofed "DHCP_ADDRESS_SPOOFED" Debug;
    /// A client was not heard: `dhcp.security.deny` names its hardware address.
    DhcpClientDenied "DHCP_CLIENT_DENIED" Debug;
    /// A client was not heard: `dhcp.security.allow` does not name its hardware address.
    DhcpClientNotAllowed "DHCP_CLIENT_NOT_ALLOWED" Debug;
    /// A relay was not heard: it lies outside `dhcp.security.trusted_relays`.
    DhcpRelayUntrusted "DHCP_RELAY_UNTRUSTED" Info;
    /// A client sent more than `dhcp.security.client_rate`; what was too much was dropped.
    DhcpClientRateLimited "DHCP_CLIENT_RATE_LIMITED" Info;
    /// A client was not answered: it has no reservation, and `dhcp.security.unknown_clients` is `ignore`.
    DhcpClientUnknown "DHCP_CLIENT_UNKNOWN" Debug;
    /// A client got no lease: its circuit has `dhcp.security.max_leases_per_circuit` already.
    DhcpCircuitFull "DHCP_CIRCUIT_FULL" Info;
    /// Handling one packet panicked; the packet was dropped, the service goes on.
    DhcpPacketPanicked "DHCP_PACKET_PANICKED" Error;
    /// The lease file could not be written: no ACK leaves until it can.
    LeaseStoreFailed "LEASE_STORE_FAILED" Error;
    /// The lease file works again.
    LeaseStoreRecovered "LEASE_STORE_RECOVERED" Info;
    /// A reply could not be sent.
    DhcpSendFailed "DHCP_SEND_FAILED" Warn;
    /// The keeper could not finish a step on the lease file; it tries again.
    KeeperFailed "KEEPER_FAILED" Error;
    /// The control API answered a request that changes something.
    ApiRequest "API_REQUEST" Info;
    /// Somebody who may not use the control API tried to; logged at most once a second.
    ApiDenied "API_DENIED" Warn;
    /// The control API could not serve a connection.
    ApiFailed "API_FAILED" Error;
}

/// Logs an event of the table with its level, its ID and key=value fields.
///
/// `event!(TcpClientConnected, peer = address; "client {address} connected")`
#[macro_export]
macro_rules! event {
    ($event:ident $(, $key:ident = $value:expr)* ; $($message:tt)+) => {
        ::log::log!(
            $crate::events::Event::$event.level(),
            event = $crate::events::Event::$event.id() $(, $key:% = $value)*;
            $($message)+
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_in_capitals() {
        let mut seen = std::collections::HashSet::new();
        for event in Event::ALL {
            assert!(seen.insert(event.id()), "{} stands twice", event.id());
            assert!(event.id().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
            assert!(!event.explanation().is_empty());
        }
    }
}
