//! The aims of DESIGN §11, each held against the book: one table, one row an aim.

use crate::book::Book;
use crate::growth;

/// The default of `dhcp.workers`: what an aim is measured with.
pub(crate) const OURS: &str = "ours-2";
/// Addresses of the pool that all servers have, and of the small one.
const LARGE_POOL: f64 = 63.0 * 65_536.0 - 1.0;
const SMALL_POOL: f64 = 256.0;
/// The probe's timeout of the default configuration, and what a timer and a busy machine add to it.
const PROBE_TIMEOUT_MS: f64 = 150.0;
const PROBE_SLACK_MS: f64 = 20.0;

/// Whether more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    AtLeast,
    AtMost,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) name: &'static str,
    side: Side,
    limit: f64,
    unit: &'static str,
    /// What was measured; none where it was not.
    pub(crate) measured: Option<f64>,
}

impl Aim {
    /// The aim in words: `≥ 5`.
    pub(crate) fn wanted(&self) -> String {
        let sign = match self.side {
            Side::AtLeast => "≥",
            Side::AtMost => "≤",
        };
        format!("{sign} {}{}", number(self.limit), self.unit)
    }

    /// What was measured, in words.
    pub(crate) fn found(&self) -> String {
        self.measured.map_or_else(|| "–".to_owned(), |value| format!("{}{}", number(value), self.unit))
    }

    /// The verdict in words.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.measured {
            None => "not measured",
            Some(value) if self.meets(value) => "met",
            Some(_) => "**not met**",
        }
    }

    fn meets(&self, value: f64) -> bool {
        match self.side {
            Side::AtLeast => value >= self.limit,
            Side::AtMost => value <= self.limit,
        }
    }
}

/// Two or three significant digits.
fn number(value: f64) -> String {
    let places = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// All of them, as far as the book knows.
pub(crate) fn all(book: &Book) -> Vec<Aim> {
    use Side::{AtLeast, AtMost};
    let aim = |name, side, limit, unit, measured| Aim { name, side, limit, unit, measured };
    let thousandth = |subject: &str, measure: &str| book.median(subject, measure).map(|value| value / 1000.0);
    let of_kea = |measure: &str| book.ratio((OURS, measure), ("kea", measure));
    let tcp = |clients: u16| {
        let measure = format!("per_second_c{clients}");
        book.ratio(("tcp-ours", &measure), ("tcp-ceiling", &measure))
    };
    vec![
        aim("4-way exchanges/s, window 64, of Kea", AtLeast, 5.0, " ×", of_kea("exchanges_w64")),
        aim(
            "4-way exchanges/s, window 64, of the answering ceiling",
            AtLeast,
            0.4,
            " ×",
            book.ratio((OURS, "exchanges_w64"), ("answer", "exchanges_w64")),
        ),
        aim("renewals/s, window 64, of Kea", AtLeast, 4.0, " ×", of_kea("renewals_w64")),
        aim("one exchange at a time, of Kea", AtLeast, 0.6, " ×", of_kea("exchanges_w1")),
        aim(
            "CPU time of an exchange, worst size of the lease file over the smallest",
            AtMost,
            1.25,
            " ×",
            growth_of(book, "cpu_per_10k", f64::max),
        ),
        aim(
            "exchanges/s, worst size of the lease file over the smallest",
            AtLeast,
            0.8,
            " ×",
            growth_of(book, "exchanges_w64", f64::min),
        ),
        aim("OFFER with the conflict check, p50", AtMost, 2.0, " ms", thousandth("offers", "p50_us")),
        aim(
            "OFFER with the conflict check, longest (probe's timeout, and 20 ms for the machine)",
            AtMost,
            PROBE_TIMEOUT_MS + PROBE_SLACK_MS,
            " ms",
            book.max("offers", "max_us").map(|micros| micros / 1000.0),
        ),
        aim("p99 of an ACK at half the peak rate", AtMost, 3.0, " ms", thousandth(OURS, "ack_p99_half_us")),
        aim("worker's memory for a lease", AtMost, 300.0, " bytes", bytes_per_lease(book)),
        aim("worker's memory for a free address", AtMost, 1.0, " bytes", bytes_per_free_address(book)),
        aim(
            "worker's memory to start with",
            AtMost,
            12.0,
            " MB",
            book.median("growth-small-pool", "worker_pss").map(|bytes| bytes / 1e6),
        ),
        aim(
            "start with 1,000,000 leases, to the first ACK",
            AtMost,
            2.0,
            " s",
            thousandth(&growth::subject(1_000_000), "first_ack_ms"),
        ),
        aim("TCP connections/s, 1 client at a time, of the C loop", AtLeast, 0.9, " ×", tcp(1)),
        aim("TCP connections/s, 8 clients at a time, of the C loop", AtLeast, 0.9, " ×", tcp(8)),
        aim(
            "UDP echo datagrams/s, of the bare loop",
            AtLeast,
            0.8,
            " ×",
            book.ratio(("udp-ours", "per_second"), ("udp-ceiling", "per_second")),
        ),
        aim(
            "TCP echo bytes/s on one connection, of the bare loop",
            AtLeast,
            0.9,
            " ×",
            book.ratio(("bulk-ours", "per_second"), ("bulk-ceiling", "per_second")),
        ),
    ]
}

/// The worst size beside the smallest.
fn growth_of(book: &Book, measure: &str, worse: fn(f64, f64) -> f64) -> Option<f64> {
    let smallest = growth::subject(1);
    let others = growth::all_sizes().into_iter().skip(1);
    others
        .filter_map(|size| book.ratio((&growth::subject(size), measure), (&smallest, measure)))
        .reduce(worse)
}

/// From the smallest to the largest file that was measured.
fn bytes_per_lease(book: &Book) -> Option<f64> {
    let one = book.median(&growth::subject(1), "worker_pss")?;
    let largest = growth::all_sizes().into_iter().skip(1).rev();
    largest
        .map(|size| (size, book.median(&growth::subject(size), "worker_pss")))
        .find_map(|(size, bytes)| Some((bytes? - one) / f64::from(size - 1)))
}

fn bytes_per_free_address(book: &Book) -> Option<f64> {
    let large = book.median(&growth::subject(1), "worker_pss")?;
    let small = book.median("growth-small-pool", "worker_pss")?;
    Some(((large - small) / (LARGE_POOL - SMALL_POOL)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(aims: &'a [Aim], name: &str) -> &'a Aim {
        aims.iter().find(|aim| aim.name.contains(name)).unwrap()
    }

    #[test]
    fn aim_is_met_from_its_limit_on() {
        let mut book = Book::default();
        book.add(OURS, "exchanges_w64", 50.0);
        book.add("kea", "exchanges_w64", 10.0);
        book.add(OURS, "ack_p99_half_us", 3001.0);
        let aims = all(&book);
        let kea = find(&aims, "window 64, of Kea");
        assert_eq!((kea.wanted().as_str(), kea.found().as_str(), kea.verdict()), ("≥ 5 ×", "5 ×", "met"));
        assert_eq!(find(&aims, "p99").verdict(), "**not met**");
        assert_eq!(find(&aims, "renewals").verdict(), "not measured");
    }

    #[test]
    fn growth_shows_the_worst_size_and_memory_by_lease() {
        let mut book = Book::default();
        for (size, cpu, pss) in [(1, 1.0, 10e6), (10_000, 1.5, 12e6), (1_000_000, 1.1, 260e6)] {
            book.add(&growth::subject(size), "cpu_per_10k", cpu);
            book.add(&growth::subject(size), "worker_pss", pss);
        }
        let aims = all(&book);
        assert_eq!(find(&aims, "CPU time").measured, Some(1.5));
        assert_eq!(find(&aims, "for a lease").found(), "250 bytes");
    }

    #[test]
    fn numbers_are_short() {
        let cases = [(0.4, "0.4"), (1.0, "1"), (12.345, "12.3"), (170.4, "170"), (0.034, "0.03")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
