//! The table of log events: stable ID, level, limit, explanation. Everything that is logged with an ID stands here
//! once; [`event!`](crate::event) writes a record by it.

use std::fmt::Display;
use std::time::Duration;

use daemon_utils::log::Rate;
use log::Level;
use log::kv::{ToValue, Value};

/// The trail of who had which address: far above what a busy site needs, see docs/decisions/log-limits.md.
const AUDIT: Option<Rate> = per_second(1000);
/// What every client causes, be it one that was invented.
const CLIENTS: Option<Rate> = per_second(20);
/// What a client should not do, what went wrong: a few lines tell as much as all of them.
const FAULTS: Option<Rate> = per_second(1);

const fn per_second(records: u32) -> Option<Rate> {
    Rate::new(records, Duration::from_secs(1))
}

/// The limit of a row; one that names none has none: what only the daemon's own life and its administrator cause.
macro_rules! limit {
    () => {
        None
    };
    ($limit:ident) => {
        $limit
    };
}

/// Declares [`Event`] from one table.
macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident $id:literal $level:ident $($limit:ident)?;)+) => {
        /// What happened, as a stable ID that an administrator can search for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

            /// How often it is logged unless `logging.rate_limits` says otherwise; none: always. In all processes
            /// together; a minute's worth passes at once.
            pub const fn limit(self) -> Option<Rate> {
                match self { $(Self::$name => limit!($($limit)?),)+ }
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
    /// An upgrade in place has begun: the program on disk is tried in a child.
    UpgradeStarted "UPGRADE_STARTED" Info;
    /// The program on disk runs: main and every worker are of it, nothing was interrupted.
    Upgraded "UPGRADED" Info;
    /// An upgrade in place failed; the program that ran before goes on serving.
    UpgradeFailed "UPGRADE_FAILED" Error;
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
    /// Records of the event `name` were suppressed by its limit; at the level of that event. While the event goes on,
    /// its next record tells the number as `suppressed=`.
    LogEventsSuppressed "LOG_EVENTS_SUPPRESSED" Info;
    /// A log output does not work; it is tried again.
    LogOutputFailed "LOG_OUTPUT_FAILED" Error;
    /// The main figures, every `logging.stats_interval`.
    Stats "STATS" Info;
    /// A TCP client has connected and has a process of its own.
    TcpClientConnected "TCP_CLIENT_CONNECTED" Info CLIENTS;
    /// A TCP client's process has ended its service.
    TcpClientDisconnected "TCP_CLIENT_DISCONNECTED" Info CLIENTS;
    /// A TCP client was turned away because `tcp.max_clients` are being served.
    TcpClientRejected "TCP_CLIENT_REJECTED" Warn FAULTS;
    /// accept or fork failed for want of descriptors, processes or memory; tried again after a pause.
    TcpAcceptFailed "TCP_ACCEPT_FAILED" Error FAULTS;
    /// A UDP datagram was not echoed.
    UdpDatagramDropped "UDP_DATAGRAM_DROPPED" Debug FAULTS;
    /// A socket of the UDP echo service failed.
    UdpSocketFailed "UDP_SOCKET_FAILED" Error FAULTS;
    /// An address has been offered.
    DhcpLeaseOffered "DHCP_LEASE_OFFERED" Debug AUDIT;
    /// A lease has been granted; it is on disk.
    DhcpLeaseGranted "DHCP_LEASE_GRANTED" Info AUDIT;
    /// A lease has been prolonged; it is on disk.
    DhcpLeaseRenewed "DHCP_LEASE_RENEWED" Info AUDIT;
    /// A client has given its lease back.
    DhcpLeaseReleased "DHCP_LEASE_RELEASED" Info AUDIT;
    /// A lease has run out.
    DhcpLeaseExpired "DHCP_LEASE_EXPIRED" Info AUDIT;
    /// A client found its address in use; the address rests.
    DhcpLeaseDeclined "DHCP_LEASE_DECLINED" Warn CLIENTS;
    /// A quarter of a pool rests because clients declined addresses: further declines are not believed. Somebody makes
    /// them up, or many hosts use addresses of the pool without a lease.
    DhcpDeclinesDoubted "DHCP_DECLINES_DOUBTED" Warn FAULTS;
    /// An address answered a conflict check although it is not leased; it rests.
    DhcpAddressConflict "DHCP_ADDRESS_CONFLICT" Warn CLIENTS;
    /// One host answers for so many addresses that it must be a router with proxy ARP, or an attack.
    DhcpProxyArp "DHCP_PROXY_ARP" Warn FAULTS;
    /// A client that has an address was told options (DHCPINFORM).
    DhcpInformAnswered "DHCP_INFORM_ANSWERED" Debug AUDIT;
    /// A client's request was refused by a DHCPNAK.
    DhcpNakSent "DHCP_NAK_SENT" Info CLIENTS;
    /// No address is left for a client.
    DhcpPoolExhausted "DHCP_POOL_EXHAUSTED" Warn FAULTS;
    /// More packets come than can be answered: for the time being only clients that have or had a lease are. Either the machine
    /// is too slow for its clients, or somebody sends DISCOVERs under invented names.
    DhcpOverloaded "DHCP_OVERLOADED" Warn FAULTS;
    /// A packet was dropped: malformed, or not to be answered.
    DhcpPacketDropped "DHCP_PACKET_DROPPED" Debug FAULTS;
    /// A packet named a relay, a client or a sender by an address that no host can have; it was dropped.
    DhcpAddressSpoofed "DHCP_ADDRESS_SPOOFED" Debug FAULTS;
    /// A client was not heard: `dhcp.security.deny` names its hardware address.
    DhcpClientDenied "DHCP_CLIENT_DENIED" Debug FAULTS;
    /// A client was not heard: `dhcp.security.allow` does not name its hardware address.
    DhcpClientNotAllowed "DHCP_CLIENT_NOT_ALLOWED" Debug FAULTS;
    /// A relay was not heard: it lies outside `dhcp.security.trusted_relays`.
    DhcpRelayUntrusted "DHCP_RELAY_UNTRUSTED" Info FAULTS;
    /// A client sent more than `dhcp.security.client_rate`; what was too much was dropped.
    DhcpClientRateLimited "DHCP_CLIENT_RATE_LIMITED" Info FAULTS;
    /// A client was not answered: it has no reservation, and `dhcp.security.unknown_clients` is `ignore`.
    DhcpClientUnknown "DHCP_CLIENT_UNKNOWN" Debug FAULTS;
    /// A client got no lease: its circuit has `dhcp.security.max_leases_per_circuit` already.
    DhcpCircuitFull "DHCP_CIRCUIT_FULL" Info FAULTS;
    /// Handling one packet panicked; the packet was dropped, the service goes on.
    DhcpPacketPanicked "DHCP_PACKET_PANICKED" Error FAULTS;
    /// A worker died of a signal with this packet in hand; packets like it are dropped for ten minutes.
    DhcpPacketQuarantined "DHCP_PACKET_QUARANTINED" Error FAULTS;
    /// The lease file could not be written: no ACK leaves until it can.
    LeaseStoreFailed "LEASE_STORE_FAILED" Error FAULTS;
    /// The lease file works again.
    LeaseStoreRecovered "LEASE_STORE_RECOVERED" Info;
    /// A reply could not be sent.
    DhcpSendFailed "DHCP_SEND_FAILED" Warn FAULTS;
    /// The keeper could not finish a step on the lease file; it tries again.
    KeeperFailed "KEEPER_FAILED" Error FAULTS;
    /// The control API answered a request that changes something.
    ApiRequest "API_REQUEST" Info CLIENTS;
    /// Somebody who may not use the control API tried to; logged at most once a second.
    ApiDenied "API_DENIED" Warn FAULTS;
    /// The control API could not serve a connection.
    ApiFailed "API_FAILED" Error FAULTS;
}

/// Logs an event of the table with its level, its ID and key=value fields.
///
/// `event!(TcpClientConnected, peer = address; "client {address} connected")`
#[macro_export]
macro_rules! event {
    ($event:ident $(, $key:ident = $value:expr)* ; $($message:tt)+) => {
{
            #[allow(unused_imports, reason = "which one is needed hangs on the values")]
            use $crate::events::{AsText as _, AsValue as _};
            ::log::log!(
                $crate::events::Event::$event.level(),
                event = $crate::events::Event::$event.id()
                $(, $key = (&$crate::events::Fact(&$value)).fact())*;
                $($message)+
            )
        }
    };
}

/// A value of a record: a number, a truth value or text stays what it is, anything else becomes the text it shows as.
///
/// Method look-up finds [`AsValue`] first and falls back to [`AsText`], which asks for one more reference.
#[derive(Debug)]
pub struct Fact<'a, T: ?Sized>(pub &'a T);

/// Values that a record can carry with their type.
pub trait AsValue<'a> {
    /// The value.
    fn fact(&self) -> Value<'a>;
}

/// Values that show as text.
pub trait AsText<'a> {
    /// The text.
    fn fact(&self) -> Value<'a>;
}

impl<'a, T: ToValue> AsValue<'a> for Fact<'a, T> {
    fn fact(&self) -> Value<'a> {
        self.0.to_value()
    }
}

impl<'a, T: Display> AsText<'a> for &Fact<'a, T> {
    fn fact(&self) -> Value<'a> {
        Value::from_display(self.0)
    }
}

#[cfg(test)]
#[allow(clippy::needless_borrow, reason = "the reference is what the macro has")]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_truth_values_stay_what_they_are() {
        let (number, text) = (7_usize, "x".to_owned());
        let address = std::net::Ipv4Addr::LOCALHOST;
        assert_eq!((&Fact(&number)).fact().to_u64(), Some(7));
        assert_eq!((&Fact(&-3_i64)).fact().to_i64(), Some(-3));
        assert_eq!((&Fact(&true)).fact().to_bool(), Some(true));
        assert_eq!((&Fact(&text)).fact().to_borrowed_str(), Some("x"));
        assert_eq!((&Fact(&"reason")).fact().to_borrowed_str(), Some("reason"));
        assert_eq!((&Fact(&address)).fact().to_string(), "127.0.0.1");
        assert_eq!((&Fact(&address)).fact().to_u64(), None);
    }

    #[test]
    fn a_busy_site_is_never_limited_and_what_an_attacker_causes_always() {
        for event in Event::ALL {
            let in_a_second = event.limit().map(|limit| limit.in_time(Duration::from_secs(1)));
            let audit = event.id().starts_with("DHCP_LEASE_") && *event != Event::DhcpLeaseDeclined;
            assert_eq!(
                audit,
                in_a_second.is_some_and(|lines| lines >= 500.0) && *event != Event::DhcpInformAnswered
            );
            let from_outside = ["DHCP_", "TCP_", "UDP_"].iter().any(|head| event.id().starts_with(head));
            assert!(!from_outside || event.limit().is_some(), "{event:?}");
        }
    }

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
