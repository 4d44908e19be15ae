//! The metrics in Prometheus text format (version 0.0.4), written by the crate `prometheus` from a
//! [`Snapshot`]. Called by the api process.

use std::borrow::Cow;

use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::family::Kind;
use super::histogram::{Histogram, Words, number};
use super::snapshot::{Figure, Snapshot};

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
    for sample in snapshot.samples() {
        let mut metric = labelled(&sample.labels);
        let kind = match (sample.family.kind, sample.figure) {
            (_, Figure::Buckets(histogram, words, _)) => {
                metric.set_histogram(buckets(histogram, words));
                MetricType::HISTOGRAM
            }
            (Kind::Counter, figure) => {
                let mut counter = proto::Counter::default();
                counter.set_value(figure.real());
                metric.set_counter(counter);
                MetricType::COUNTER
            }
            (Kind::Gauge | Kind::Histogram, figure) => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(figure.real());
                metric.set_gauge(gauge);
                MetricType::GAUGE
            }
        };
        put(&mut all, sample.family.name, sample.family.help, kind, metric);
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

fn labelled(labels: &[(&str, Cow<'_, str>)]) -> proto::Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.clone().into_owned());
        pair
    });
    proto::Metric::from_label(pairs.collect())
}

fn buckets(histogram: Histogram, words: &Words) -> proto::Histogram {
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
    shown.set_sample_count(Histogram::count(words));
    shown.set_sample_sum(number(words[Histogram::BUCKETS + 1]) / histogram.scale());
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Counter, PoolFigures, PoolSnapshot, Shared};

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
            exhaustion: None,
        });
        let text = text(&snapshot).unwrap();
        assert_eq!(text.matches("# TYPE echo_daemon_dhcp_messages_total counter").count(), 1);
        assert!(text.contains("echo_daemon_dhcp_messages_total{type=\"ack\",direction=\"out\"} 7"));
        assert!(text.contains("echo_daemon_dhcp_batch_size_bucket{le=\"2\"} 1"));
        assert!(text.contains("echo_daemon_dhcp_leases{subnet=\"lan\",pool=\"main\",state=\"active\"} 10"));
        assert!(!text.contains("pool_exhaustion"), "what is not known is left out");
    }
}
