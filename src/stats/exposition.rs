//! The metrics in Prometheus text format (version 0.0.4), written by the crate `prometheus` from a
//! [`Snapshot`]. Called by the api process.

use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::metrics::{Counter, Gauge, Histogram};
use super::shared::POOL_STATES;
use super::snapshot::Snapshot;

/// The media type of [`text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics of the snapshot as text.
pub fn text(snapshot: &Snapshot) -> Result<String, prometheus::Error> {
    let mut bytes = Vec::new();
    TextEncoder::new().encode(&families(snapshot), &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut all: Vec<MetricFamily> = Vec::new();
    for (cell, value) in Counter::ALL.iter().zip(&snapshot.counters) {
        let mut counter = proto::Counter::default();
        counter.set_value(number(*value));
        let mut metric = labelled(cell.labels());
        metric.set_counter(counter);
        put(&mut all, cell.family(), cell.help(), MetricType::COUNTER, metric);
    }
    for (cell, value) in Gauge::ALL.iter().zip(&snapshot.gauges) {
        put(&mut all, cell.family(), cell.help(), MetricType::GAUGE, gauge(labelled(cell.labels()), *value));
    }
    for (histogram, words) in Histogram::ALL.iter().zip(&snapshot.histograms) {
        put(
            &mut all,
            histogram.family(),
            histogram.help(),
            MetricType::HISTOGRAM,
            buckets(*histogram, words),
        );
    }
    for pool in &snapshot.pools {
        let place = [("subnet", pool.subnet.as_str()), ("pool", pool.pool.as_str())];
        put(
            &mut all,
            "echo_daemon_dhcp_pool_addresses",
            "Addresses that a pool could give out",
            MetricType::GAUGE,
            gauge(labelled(&place), pool.figures.addresses),
        );
        for (state, count) in POOL_STATES.iter().zip(pool.figures.leases) {
            put(
                &mut all,
                "echo_daemon_dhcp_leases",
                "Leases by subnet, pool and state",
                MetricType::GAUGE,
                gauge(labelled(&[place[0], place[1], ("state", state)]), count),
            );
        }
    }
    all
}

fn put(all: &mut Vec<MetricFamily>, name: &str, help: &str, kind: MetricType, metric: proto::Metric) {
    if let Some(family) = all.iter_mut().find(|family| family.name() == name) {
        family.mut_metric().push(metric);
        return;
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.mut_metric().push(metric);
    all.push(family);
}

fn labelled(labels: &[(&str, &str)]) -> proto::Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    proto::Metric::from_label(pairs.collect())
}

fn gauge(mut metric: proto::Metric, value: u64) -> proto::Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(number(value));
    metric.set_gauge(gauge);
    metric
}

fn buckets(histogram: Histogram, words: &[u64; Histogram::WORDS]) -> proto::Metric {
    let mut shown = proto::Histogram::default();
    let mut below = 0;
    let mut buckets = Vec::new();
    for (bound, count) in histogram.bounds().iter().zip(words) {
        below += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(number(*bound) / histogram.scale());
        bucket.set_cumulative_count(below);
        buckets.push(bucket);
    }
    shown.set_bucket(buckets);
    shown.set_sample_count(below + words[Histogram::BUCKETS]);
    shown.set_sample_sum(number(words[Histogram::BUCKETS + 1]) / histogram.scale());
    let mut metric = proto::Metric::default();
    metric.set_histogram(shown);
    metric
}

/// Prometheus samples are floating-point numbers: exact up to 2⁵³.
#[allow(clippy::cast_precision_loss, reason = "the format has no other numbers")]
fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{PoolFigures, PoolSnapshot, Shared};

    #[test]
    fn text_has_each_family_once_with_its_samples() {
        let shared = Shared::create(0).unwrap();
        shared.slot(1).add(Counter::AckOut, 7);
        shared.slot(1).observe(Histogram::DhcpBatch, 2);
        let mut snapshot = Snapshot::take(shared);
        snapshot.pools.push(PoolSnapshot {
            subnet: "lan".into(),
            pool: "main".into(),
            figures: PoolFigures { addresses: 100, free: 90, leases: [10, 0, 0, 0, 0] },
        });
        let text = text(&snapshot).unwrap();
        assert_eq!(text.matches("# TYPE echo_daemon_dhcp_messages_total counter").count(), 1);
        assert!(text.contains("echo_daemon_dhcp_messages_total{type=\"ack\",direction=\"out\"} 7"));
        assert!(text.contains("echo_daemon_dhcp_batch_size_bucket{le=\"2\"} 1"));
        assert!(text.contains("echo_daemon_dhcp_leases{subnet=\"lan\",pool=\"main\",state=\"active\"} 10"));
    }
}
