//! One snapshot of all figures: what `/metrics` and `status` show was true at one moment.

use super::metrics::{Counter, Gauge, Histogram};
use super::shared::{PoolFigures, Shared};

/// All figures at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// In the order of [`Counter::ALL`].
    pub counters: Vec<u64>,
    /// In the order of [`Gauge::ALL`].
    pub gauges: Vec<u64>,
    /// In the order of [`Histogram::ALL`].
    pub histograms: Vec<[u64; Histogram::WORDS]>,
    /// In the order of the configuration.
    pub pools: Vec<PoolSnapshot>,
}

/// One pool in a snapshot.
#[derive(Debug, Clone)]
pub struct PoolSnapshot {
    /// Its subnet's name.
    pub subnet: String,
    /// Its name.
    pub pool: String,
    /// Its figures.
    pub figures: PoolFigures,
}

impl Snapshot {
    /// Logs the main figures as the `STATS` line.
    pub fn log(&self) {
        let counter = |counter: Counter| self.counters.get(counter as usize).copied().unwrap_or_default();
        let gauge = |gauge: Gauge| self.gauges.get(gauge as usize).copied().unwrap_or_default();
        crate::event!(
            Stats,
            discovers = counter(Counter::DiscoverIn),
            requests = counter(Counter::RequestIn),
            acks = counter(Counter::AckOut),
            naks = counter(Counter::NakOut),
            granted = counter(Counter::LeaseGranted),
            renewed = counter(Counter::LeaseRenewed),
            released = counter(Counter::LeaseReleased),
            expired = counter(Counter::LeaseExpired),
            tcp_clients = gauge(Gauge::TcpClients),
            tcp_connections = counter(Counter::TcpAccepted),
            udp_datagrams = counter(Counter::UdpEchoed),
            log_dropped = counter(Counter::LogDropped);
            "figures since the start"
        );
    }

    /// Reads the shared memory; the pools' names come from the configuration and are added by the caller.
    pub fn take(shared: Shared) -> Self {
        Self {
            counters: Counter::ALL.iter().map(|cell| shared.counter(*cell)).collect(),
            gauges: Gauge::ALL.iter().map(|cell| shared.gauge(*cell)).collect(),
            histograms: Histogram::ALL.iter().map(|histogram| shared.histogram(*histogram)).collect(),
            pools: Vec::new(),
        }
    }
}
