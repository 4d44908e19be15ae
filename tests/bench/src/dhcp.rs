//! The DHCP servers side by side: rounds over all of them, since the machine's mood changes; each starts with an empty
//! lease file.

use crate::bench::Bench;
use crate::book::Book;
use crate::load::{Dhcp, Relay};
use crate::servers::{ALL, Kind};
use crate::tree;
use anyhow::Context;

/// Exchanges in flight.
pub(crate) const WINDOWS: [u16; 4] = [1, 16, 64, 256];
/// The window of the renewals, of the latencies and of the cost.
pub(crate) const USUAL: u16 = 64;
/// Enough that the rate decides, and not the window.
const WIDE: u16 = 256;

/// One more round over the servers.
pub(crate) fn round(bench: &Bench, book: &mut Book) -> anyhow::Result<()> {
    for kind in ALL.into_iter().filter(|kind| bench.wants(&kind.to_string())) {
        if let Some(reason) = kind.missing(&bench.programs) {
            book.note(&kind.to_string(), "missing", reason);
            continue;
        }
        bench.say(&kind.title());
        one(bench, book, kind).with_context(|| format!("{kind}"))?;
    }
    Ok(())
}

fn one(bench: &Bench, book: &mut Book, kind: Kind) -> anyhow::Result<()> {
    let subject = kind.to_string();
    let mut server = kind.start(&bench.programs, &bench.cable, &bench.folder("server"))?;
    let mut relay = Relay::new(&bench.cable, &bench.programs.load);
    relay.wait()?;
    // The first exchanges fill caches and wake threads.
    relay.dhcp(&["--window", "16", "--seconds", "0.3"])?;
    let seconds = bench.seconds();
    let mut peak = 0.0_f64;
    for window in WINDOWS {
        let cpu = tree::cpu_seconds(server.pid);
        let report = relay.dhcp(&["--window", &window.to_string(), "--seconds", &seconds])?;
        let cpu = tree::cpu_seconds(server.pid) - cpu;
        faults(book, &subject, &report);
        book.add(&subject, &format!("exchanges_w{window}"), report.per_second);
        peak = peak.max(report.per_second);
        if window == 1 || window == USUAL {
            latencies(book, &subject, window, &report);
        }
        if window == USUAL && report.exchanges > 0 {
            book.add(&subject, "cpu_per_10k", cpu / tree::count(report.exchanges) * 10_000.0);
        }
    }
    let clients = kind.renewing_clients().to_string();
    let words =
        ["--mode", "renew", "--clients", &clients, "--window", &USUAL.to_string(), "--seconds", &seconds];
    let report = relay.dhcp(&words)?;
    faults(book, &subject, &report);
    book.add(&subject, "renewals_w64", report.per_second);
    let half = (peak / 2.0).max(1.0);
    let words = ["--rate", &format!("{half:.0}"), "--window", &WIDE.to_string(), "--seconds", &seconds];
    let report = relay.dhcp(&words)?;
    faults(book, &subject, &report);
    book.add(&subject, "half_rate", report.per_second);
    book.add(&subject, "ack_p99_half_us", report.ack_us.p99);
    book.add(&subject, "pss_mib", tree::count(tree::pss_bytes(server.pid)) / 1024.0 / 1024.0);
    server.require_alive()
}

fn latencies(book: &mut Book, subject: &str, window: u16, report: &Dhcp) {
    for (name, latency) in [("exchange", report.latency_us), ("ack", report.ack_us)] {
        book.add(subject, &format!("{name}_p50_w{window}_us"), latency.p50);
        book.add(subject, &format!("{name}_p99_w{window}_us"), latency.p99);
    }
}

/// What must not be, and what should not. A lost exchange or a NAK is a figure; an address for two is a failure of the run.
pub(crate) fn faults(book: &mut Book, subject: &str, report: &Dhcp) {
    let counts = [
        ("lost", report.lost),
        ("retried", report.retried),
        ("naks", report.naks),
        ("wrong", report.wrong),
        ("duplicates", report.duplicates),
    ];
    for (name, count) in counts {
        book.add(subject, name, tree::count(count));
    }
    if let Some(error) = &report.first_error {
        book.note(subject, "first_error", error);
    }
}
