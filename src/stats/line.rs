//! The `STATS` line of the log: the main figures of a snapshot, as numbers.

use super::histogram::Histogram;
use super::metrics::{Counter, Gauge};
use super::rates::RATES;
use super::snapshot::Snapshot;

impl Snapshot {
    /// Logs the main figures. Counts are since the start; rates and quantiles are of the last minute, or of what is known of
    /// it, and 0 where nothing happened in it. Times are in milliseconds.
    pub fn log(&self) {
        let counter = |counter: Counter| self.counter(counter);
        let rate = |name: &str| {
            let place = RATES.iter().position(|(known, _)| *known == name);
            let longest = place.and_then(|place| self.rates.get(place)?.iter().rev().find_map(|rate| *rate));
            longest.map_or(0.0, round)
        };
        let quantile = |histogram: Histogram, q| {
            let words = self.last_minute.get(histogram as usize).or(self.histograms.get(histogram as usize));
            words.and_then(|words| histogram.quantile(words, q)).map_or(0.0, |secs| round(secs * 1e3))
        };
        let leases =
            |place: usize| self.pools.iter().filter_map(|pool| pool.figures.leases.get(place)).sum::<u64>();
        let available = self.pools.iter().map(|pool| pool.figures.available()).sum::<u64>();
        let dropped = Counter::ALL.iter().filter(|cell| cell.family() == Counter::DropPanic.family());
        let errors = Counter::ALL.iter().filter(|cell| cell.family() == Counter::ErrorStore.family());
        let memory = self.processes.iter().filter_map(|process| process.resident_bytes).sum::<u64>();
        crate::event!(
            Stats,
            discovers = counter(Counter::DiscoverIn),
            requests = counter(Counter::RequestIn),
            acks = counter(Counter::AckOut),
            naks = counter(Counter::NakOut),
            dropped = dropped.map(|cell| counter(*cell)).sum::<u64>(),
            acks_per_second = rate("acks"),
            response_p50_ms = quantile(Histogram::DhcpResponse, 0.5),
            response_p99_ms = quantile(Histogram::DhcpResponse, 0.99),
            commit_p99_ms = quantile(Histogram::DhcpCommit, 0.99),
            granted = counter(Counter::LeaseGranted),
            renewed = counter(Counter::LeaseRenewed),
            released = counter(Counter::LeaseReleased),
            expired = counter(Counter::LeaseExpired),
            leases_active = leases(0),
            addresses_available = available,
            tcp_clients = self.gauge(Gauge::TcpClients),
            tcp_connections = counter(Counter::TcpAccepted),
            udp_datagrams = counter(Counter::UdpEchoed),
            errors = errors.map(|cell| counter(*cell)).sum::<u64>(),
            memory_bytes = memory,
            log_dropped = counter(Counter::LogDropped);
            "figures since the start"
        );
    }
}

/// Three digits behind the point are enough for a line.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
