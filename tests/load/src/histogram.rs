//! Latencies in log-linear buckets: any duration, off by less than 1/64, in 30 KiB and without allocation.

use serde::Serialize;
use std::time::Duration;

/// Buckets in each power of two, as a power of two.
const BITS: u32 = 6;
const LINEAR: u64 = 1 << BITS;
/// The linear part, then one group for each power of two up to 2⁶⁴ ns.
const BUCKETS: usize = (65 - BITS as usize) << BITS;

/// Counts durations by their length.
pub(crate) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    max: u64,
}

/// A histogram in microseconds, as the reports give it; zeros where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Micros {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS].into(), count: 0, max: 0 }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        self.record_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn record_nanos(&mut self, nanos: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(nanos)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The count over `seconds`; 0 where no time has passed.
    pub(crate) fn per_second(&self, seconds: f64) -> f64 {
        per_second(self.count, seconds)
    }

    pub(crate) fn micros(&self) -> Micros {
        Micros {
            p50: micros(self.quantile(50)),
            p90: micros(self.quantile(90)),
            p99: micros(self.quantile(99)),
            max: micros(self.max),
        }
    }

    /// The duration in ns that `percent` of all durations do not exceed: the upper end of its bucket, or the longest of all.
    fn quantile(&self, percent: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100);
        let mut seen = 0_u128;
        for (place, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return upper_end(place).min(self.max);
            }
        }
        self.max
    }
}

/// `count` over `seconds`, to a tenth; 0 where no time has passed.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2⁵³")]
pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

/// Nanoseconds as microseconds, to a tenth.
#[expect(clippy::cast_precision_loss, reason = "durations stay far below 2⁵³ ns, which is 104 days")]
fn micros(nanos: u64) -> f64 {
    (nanos as f64 / 100.0).round() / 10.0
}

/// Group 0 holds 0 to 63 one by one; group g > 0 holds 64 × 2^(g-1) up to twice that, in 64 buckets.
fn bucket_of(nanos: u64) -> usize {
    let bits = u64::BITS - nanos.leading_zeros();
    let group = bits.saturating_sub(BITS);
    let within = if group == 0 { nanos } else { (nanos >> (group - 1)) - LINEAR };
    // At most 58 groups of 64.
    usize::try_from((u64::from(group) << BITS) + within).unwrap_or(BUCKETS)
}

/// The longest duration in ns that falls into bucket `place`.
fn upper_end(place: usize) -> u64 {
    let group = u32::try_from(place >> BITS).unwrap_or(u32::MAX);
    let within = u64::try_from(place).unwrap_or_default() & (LINEAR - 1);
    match group {
        0 => within,
        _ => {
            (u128::from(LINEAR + within + 1) << (group - 1)).saturating_sub(1).try_into().unwrap_or(u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_falls_into_a_bucket_that_ends_close_above_it() {
        let mut last = 0;
        for power in 0..64 {
            for nanos in [(1_u64 << power) - 1, 1 << power, (1 << power) + (1 << power) / 3] {
                let place = bucket_of(nanos);
                assert!(place < BUCKETS && place >= last, "{nanos}");
                last = place;
                let end = upper_end(place);
                assert!(end >= nanos && end - nanos <= nanos / 64, "{nanos} in the bucket up to {end}");
                assert_eq!(bucket_of(end), place);
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_what_was_recorded() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.micros(), Micros::default());
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let Micros { p50, p90, p99, max } = histogram.micros();
        for (value, expected) in [(p50, 500.0), (p90, 900.0), (p99, 990.0)] {
            assert!(value >= expected && value <= expected * (1.0 + 1.0 / 64.0), "{value} for {expected}");
        }
        assert!((max - 1000.0).abs() < f64::EPSILON);
        assert_eq!(histogram.count(), 1000);
    }

    #[test]
    fn single_duration_is_every_quantile() {
        let mut histogram = Histogram::new();
        histogram.record_nanos(1_234_567);
        let Micros { p50, p90, p99, max } = histogram.micros();
        for value in [p50, p90, p99, max] {
            assert!((value - 1234.6).abs() < f64::EPSILON, "{value}");
        }
    }

    #[test]
    fn rate_of_no_time_is_zero() {
        assert!(per_second(5, 0.0).abs() < f64::EPSILON);
        assert!((per_second(5, 2.0) - 2.5).abs() < f64::EPSILON);
    }
}
