//! The tables, in Markdown, made from the book.

use crate::aims;
use crate::book::Book;
use crate::dhcp::WINDOWS;
use crate::durability;
use crate::echo;
use crate::growth;
use crate::servers::ALL;

/// A table's name between the markers of docs/performance.md, its title, and its text.
pub(crate) type Table = (&'static str, &'static str, String);

/// All of them, in reading order.
pub(crate) fn all(book: &Book) -> Vec<Table> {
    vec![
        ("machine", "Machine", machine(book)),
        ("aims", "Aims of DESIGN §11", aims_table(book)),
        ("throughput", "Throughput of the DHCP servers", throughput(book)),
        ("latency", "Latency of the DHCP servers", latency(book)),
        ("cost", "Cost and faults of the DHCP servers", cost(book)),
        ("echo", "Echo services", echo_table(book)),
        ("growth", "Growth of the lease file", growth_table(book)),
        ("hour", "An hour of renewals, and offers with the conflict check", hour(book)),
        ("durability", "Durability and sandbox of what was measured", durability_table(book)),
    ]
}

/// All tables as one document.
pub(crate) fn document(book: &Book) -> String {
    let sections = all(book).into_iter().map(|(_, title, text)| format!("## {title}\n\n{text}"));
    sections.collect::<Vec<_>>().join("\n")
}

fn machine(book: &Book) -> String {
    let rounds =
        ALL.iter().map(|kind| book.samples(&kind.to_string(), "exchanges_w64").len()).max().unwrap_or(0);
    let sync = book.median("disk", "fsync_per_second").map_or_else(String::new, |rate| {
        format!("The disk's bare rate: {} appends of 4 KiB with an fdatasync each second.\n", plain(rate))
    });
    format!(
        "{}.\n{}; medians of rounds ({rounds} of the DHCP servers), ± half of the distance between the best and the worst round.\n{sync}",
        book.machine.words(),
        book.date
    )
}

fn aims_table(book: &Book) -> String {
    let rows = aims::all(book)
        .into_iter()
        .map(|aim| vec![aim.name.to_owned(), aim.wanted(), aim.found(), aim.verdict().to_owned()]);
    markdown(&["measure", "aim", "measured", "verdict"], rows.collect())
}

/// One row a server; a server that is missing says why.
fn servers(book: &Book, heads: &[&str], cells: impl Fn(&str) -> Vec<String>) -> String {
    let rows = ALL.iter().map(|kind| {
        let subject = kind.to_string();
        let rest = match book.fact(&subject, "missing") {
            Some(reason) => vec![reason.to_owned()],
            None => cells(&subject),
        };
        [vec![kind.title()], rest].concat()
    });
    markdown(heads, rows.collect())
}

fn throughput(book: &Book) -> String {
    servers(
        book,
        &[
            "exchanges/s",
            "window 1",
            "window 16",
            "window 64",
            "window 256",
            "renewals/s, window 64",
            "exchanges of Kea, window 64",
        ],
        |subject| {
            let mut cells: Vec<String> =
                WINDOWS.iter().map(|window| rate(book, subject, &format!("exchanges_w{window}"))).collect();
            cells.push(rate(book, subject, "renewals_w64"));
            let ratio = book.ratio((subject, "exchanges_w64"), ("kea", "exchanges_w64"));
            cells.push(ratio.map_or_else(nothing, |ratio| format!("{ratio:.2} ×")));
            cells
        },
    )
}

fn latency(book: &Book) -> String {
    let measures = [
        "exchange_p50_w1_us",
        "exchange_p99_w1_us",
        "ack_p99_w1_us",
        "exchange_p50_w64_us",
        "exchange_p99_w64_us",
        "ack_p50_w64_us",
        "ack_p99_w64_us",
        "ack_p99_half_us",
    ];
    let heads = [
        "milliseconds",
        "exchange p50, window 1",
        "exchange p99, window 1",
        "ACK p99, window 1",
        "exchange p50, window 64",
        "exchange p99, window 64",
        "ACK p50, window 64",
        "ACK p99, window 64",
        "ACK p99, half the peak rate",
    ];
    servers(book, &heads, |subject| {
        let cell = |measure: &&str| {
            book.median(subject, measure).map_or_else(nothing, |micros| format!("{:.2}", micros / 1000.0))
        };
        measures.iter().map(cell).collect()
    })
}

fn cost(book: &Book) -> String {
    let heads = [
        "",
        "CPU seconds for 10,000 exchanges",
        "peak memory, MiB (PSS)",
        "lost",
        "asked again",
        "NAKs",
        "wrong replies",
        "duplicate addresses",
    ];
    servers(book, &heads, |subject| {
        let cpu = book.median(subject, "cpu_per_10k").map_or_else(nothing, |seconds| format!("{seconds:.2}"));
        let memory = book.max(subject, "pss_mib").map_or_else(nothing, |mib| format!("{mib:.1}"));
        let faults =
            ["lost", "retried", "naks", "wrong", "duplicates"].map(|fault| total(book, subject, fault));
        [vec![cpu, memory], faults.to_vec()].concat()
    })
}

fn echo_table(book: &Book) -> String {
    let over = |subject: &str, ceiling: &str, measure: &str| {
        book.ratio((subject, measure), (ceiling, measure)).map_or_else(nothing, |ratio| format!("{ratio:.2}"))
    };
    let tcp = echo::TCP.iter().map(|(subject, title)| {
        let mut row = vec![(*title).to_owned()];
        if let Some(reason) = book.fact(subject, "missing") {
            row.push(reason.to_owned());
        } else {
            for clients in echo::CLIENTS {
                let measure = format!("per_second_c{clients}");
                row.extend([rate(book, subject, &measure), over(subject, "tcp-ceiling", &measure)]);
            }
            row.push(total(book, subject, "failed"));
        }
        row
    });
    let heads = ["TCP connections/s", "1 client", "of the ceiling", "8 clients", "of the ceiling", "failed"];
    let tcp = markdown(&heads, tcp.collect());
    let bulk = echo::BULK.iter().map(|(subject, title)| {
        let mib = book.median(subject, "per_second").map_or_else(nothing, |bytes| {
            format!("{:.0}{}", bytes / 1024.0 / 1024.0, spread(book, subject, "per_second"))
        });
        vec![(*title).to_owned(), mib, over(subject, "bulk-ceiling", "per_second")]
    });
    let bulk = markdown(&["TCP echo on one connection", "MiB/s", "of the ceiling"], bulk.collect());
    let udp = echo::UDP.iter().map(|(subject, title)| {
        let ratio = over(subject, "udp-ceiling", "per_second");
        vec![(*title).to_owned(), rate(book, subject, "per_second"), ratio, total(book, subject, "lost")]
    });
    let udp =
        markdown(&["UDP echo, 64 bytes, window 64", "datagrams/s", "of the ceiling", "lost"], udp.collect());
    format!("{tcp}\n{bulk}\n{udp}")
}

fn growth_table(book: &Book) -> String {
    let sizes = growth::all_sizes().into_iter().map(|size| (growth::subject(size), size));
    let rows = sizes.map(|(subject, size)| {
        let cell = |measure: &str, scale: f64, places: usize| {
            book.median(&subject, measure).map_or_else(nothing, |value| format!("{:.places$}", value / scale))
        };
        vec![
            plain(f64::from(size)),
            rate(book, &subject, "exchanges_w64"),
            cell("cpu_per_10k", 1.0, 2),
            cell("worker_pss", 1e6, 1),
            cell("worker_rss", 1e6, 1),
            cell("first_ack_ms", 1.0, 0),
            cell("list_page_ms", 1.0, 0),
            cell("page_ms", 1.0, 1),
            cell("far_page_ms", 1.0, 1),
            cell("disk_mib", 1.0, 1),
        ]
    });
    let heads = [
        "leases in the file",
        "exchanges/s, window 64",
        "CPU seconds for 10,000",
        "worker, MB (PSS)",
        "worker, MB (RSS)",
        "start to first ACK, ms",
        "`leases list`, first 100, ms",
        "`/v1/leases`, first 100, ms",
        "`/v1/leases`, 100 further on, ms",
        "lease file, MiB",
    ];
    markdown(&heads, rows.collect())
}

fn hour(book: &Book) -> String {
    let cell = |subject: &str, measure: &str, unit: &str, places: usize, scale: f64| {
        book.median(subject, measure)
            .map_or_else(nothing, |value| format!("{:.places$}{unit}", value / scale))
    };
    let rows = [
        (
            "clients that got a lease and renewed it twice",
            book.median("hour", "clients").map_or_else(nothing, plain),
        ),
        ("on the disk at once", cell("hour", "disk_at_once_mib", " MiB", 1, 1.0)),
        ("on the disk when the keeper had finished", cell("hour", "disk_mib", " MiB", 1, 1.0)),
        ("… of it the database", cell("hour", "db_mib", " MiB", 1, 1.0)),
        ("… of it the write-ahead log", cell("hour", "wal_mib", " MiB", 1, 1.0)),
        ("bytes for each client", cell("hour", "bytes_per_client", "", 0, 1.0)),
        ("the keeper finished after", cell("hour", "settled_secs", " s", 1, 1.0)),
        ("OFFER with an ICMP probe, p50", cell("offers", "p50_us", " ms", 2, 1000.0)),
        ("OFFER with an ICMP probe, p99", cell("offers", "p99_us", " ms", 2, 1000.0)),
        ("OFFER with an ICMP probe, longest", cell("offers", "max_us", " ms", 2, 1000.0)),
    ];
    markdown(
        &["measure", "found"],
        rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect(),
    )
}

fn durability_table(book: &Book) -> String {
    let subject = durability::SUBJECT;
    let count = |measure: &str| book.median(subject, measure).map_or_else(nothing, plain);
    let rows = [
        ("ACKs seen by strace under load", count("acks")),
        ("fsync and fdatasync calls that ended well", count("syncs")),
        ("ACKs sent before a sync that followed their REQUEST", count("acks_before_sync")),
        (
            "the worker's state in /proc/PID/status",
            book.fact(subject, "sandbox").map_or_else(nothing, |fact| format!("`{fact}`")),
        ),
    ];
    let table = markdown(
        &["fact", "found"],
        rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect(),
    );
    book.fact(subject, "missing").map_or(table.clone(), |reason| format!("{table}\n{reason}.\n"))
}

/// `13,600 ±4 %`.
fn rate(book: &Book, subject: &str, measure: &str) -> String {
    book.median(subject, measure)
        .map_or_else(nothing, |value| format!("{}{}", plain(value), spread(book, subject, measure)))
}

fn spread(book: &Book, subject: &str, measure: &str) -> String {
    book.spread(subject, measure).map_or_else(String::new, |part| format!(" ±{:.0} %", part * 100.0))
}

/// The sum of all rounds.
fn total(book: &Book, subject: &str, measure: &str) -> String {
    let samples = book.samples(subject, measure);
    if samples.is_empty() { nothing() } else { plain(samples.iter().sum()) }
}

/// A whole number with commas.
fn plain(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn nothing() -> String {
    "–".to_owned()
}

/// A table whose first column is words and whose others are figures. A short row is filled up.
pub(crate) fn markdown(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let line =
        |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
    let mut text = line(&mut heads.iter().map(|head| (*head).to_owned()));
    text.push_str(&line(
        &mut (0..heads.len()).map(|at| if at == 0 { "---".to_owned() } else { "---:".to_owned() }),
    ));
    for row in rows {
        let width = heads.len().max(row.len());
        text.push_str(&line(&mut row.into_iter().chain(std::iter::repeat(String::new())).take(width)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_commas_and_their_spread() {
        assert_eq!(plain(1_234_567.4), "1,234,567");
        assert_eq!(plain(999.0), "999");
        let mut book = Book::default();
        book.add("kea", "exchanges_w64", 12_000.0);
        book.add("kea", "exchanges_w64", 14_000.0);
        assert_eq!(rate(&book, "kea", "exchanges_w64"), "13,000 ±8 %");
        assert_eq!(rate(&book, "kea", "unknown"), "–");
    }

    #[test]
    fn missing_peer_says_so_in_its_row() {
        let mut book = Book::default();
        book.note("kea", "missing", "kea-dhcp4 could not be had");
        let text = throughput(&book);
        let row = text.lines().find(|line| line.starts_with("| Kea")).unwrap();
        assert!(row.contains("could not be had"));
        assert_eq!(row.matches('|').count(), text.lines().next().unwrap().matches('|').count());
    }

    #[test]
    fn every_row_of_every_table_is_as_wide_as_its_head() {
        let text = document(&Book::default());
        let mut head = 0;
        for line in text.lines() {
            let width = line.matches('|').count();
            if head == 0 || width == 0 {
                head = width;
            }
            assert_eq!(width, head, "{line}");
        }
    }
}
