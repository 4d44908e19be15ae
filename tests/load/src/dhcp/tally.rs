//! What a run counts.

use crate::histogram::{Histogram, Micros, per_second};
use serde::Serialize;
use std::time::Duration;

/// The counts of one run. Rates and latencies are of what ends while the tally is open; faults count always.
pub(super) struct Tally {
    /// The time of the plan is not over.
    pub(super) open: bool,
    whole: Histogram,
    offers: Histogram,
    acks: Histogram,
    pub(super) lost: u64,
    pub(super) retried: u64,
    pub(super) naks: u64,
    wrong: u64,
    pub(super) duplicates: u64,
    /// Replies that nobody waited for, mostly the second to a packet that was sent twice.
    pub(super) late: u64,
    first_error: Option<String>,
    /// When the last exchange ended, in ns.
    pub(super) last: u64,
    /// How long it took, in ns.
    pub(super) seconds: u64,
}

/// The document that is printed.
#[derive(Serialize)]
pub(super) struct Report {
    mode: &'static str,
    window: u16,
    seconds: f64,
    exchanges: u64,
    per_second: f64,
    lost: u64,
    retried: u64,
    naks: u64,
    wrong: u64,
    duplicates: u64,
    late: u64,
    latency_us: Micros,
    offer_us: Micros,
    ack_us: Micros,
    first_error: Option<String>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            open: true,
            whole: Histogram::new(),
            offers: Histogram::new(),
            acks: Histogram::new(),
            lost: 0,
            retried: 0,
            naks: 0,
            wrong: 0,
            duplicates: 0,
            late: 0,
            first_error: None,
            last: 0,
            seconds: 0,
        }
    }

    pub(super) fn offer(&mut self, nanos: u64) {
        if self.open {
            self.offers.record_nanos(nanos);
        }
    }

    pub(super) fn ack(&mut self, nanos: u64) {
        if self.open {
            self.acks.record_nanos(nanos);
        }
    }

    /// An exchange has ended well at `now`, after `nanos`.
    pub(super) fn done(&mut self, now: u64, nanos: u64) {
        if self.open {
            self.whole.record_nanos(nanos);
            self.last = now;
        }
    }

    pub(super) fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.wrong += 1;
        self.note(what);
    }

    /// Keeps the first thing that went wrong.
    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.first_error.is_none() {
            self.first_error = Some(what());
        }
    }

    pub(super) fn first_error(&self) -> Option<&str> {
        self.first_error.as_deref()
    }

    pub(super) fn report(self, mode: &'static str, window: u16) -> Report {
        let seconds = Duration::from_nanos(self.seconds).as_secs_f64();
        Report {
            mode,
            window,
            seconds,
            exchanges: self.whole.count(),
            per_second: per_second(self.whole.count(), seconds),
            lost: self.lost,
            retried: self.retried,
            naks: self.naks,
            wrong: self.wrong,
            duplicates: self.duplicates,
            late: self.late,
            latency_us: self.whole.micros(),
            offer_us: self.offers.micros(),
            ack_us: self.acks.micros(),
            first_error: self.first_error,
        }
    }
}
