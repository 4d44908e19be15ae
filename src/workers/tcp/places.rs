//! How many TCP clients are being served, over all generations of the worker and its crashes.
//!
//! ```text
//! served = clients that got a process (counted by the worker that forked it)
//!        − client processes reaped    (counted by whoever reaped: that worker, or main after the worker's death)
//! ```
//! Every process is reaped exactly once, so the difference stays right whichever process is killed. Both are
//! counters in shared memory, which outlive the process that counted.

use crate::stats::{Counter, Gauge, Shared, Slot};

/// The places for clients, as seen by one worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    shared: Shared,
    slot: Slot,
    most: u64,
}

impl Places {
    pub(super) fn new(shared: Shared, slot: Slot, max_clients: u32) -> Self {
        Self { shared, slot, most: max_clients.into() }
    }

    /// A client got a process: one place is taken.
    pub(super) fn take(self) {
        self.slot.count(Counter::TcpAccepted);
        self.publish();
    }

    /// A client's process was reaped: its place is free.
    pub(super) fn give_back(self) {
        self.slot.count(Counter::TcpEnded);
        self.publish();
    }

    /// Clients being served, by whichever worker they came in.
    pub(super) fn taken(self) -> u64 {
        // A worker that was killed between its fork and its count leaves one end more than beginnings.
        self.shared.counter(Counter::TcpAccepted).saturating_sub(self.shared.counter(Counter::TcpEnded))
    }

    /// Whether another client may be served.
    pub(super) fn room(self) -> bool {
        self.taken() < self.most
    }

    /// Sets this slot's gauge to what the other slots' gauges leave of all clients, so that the sum is right also
    /// where a dead worker's clients go on.
    pub(super) fn publish(self) {
        let others = self.shared.gauge(Gauge::TcpClients).saturating_sub(self.slot.gauge(Gauge::TcpClients));
        self.slot.set(Gauge::TcpClients, self.taken().saturating_sub(others));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_counts_the_clients_of_every_generation() {
        let shared = Shared::create(0).unwrap();
        let old = Places::new(shared, shared.slot(3), 3);
        let new = Places::new(shared, shared.slot(4), 3);
        old.take();
        old.take();
        new.take();
        assert!(!new.room());
        assert_eq!(shared.gauge(Gauge::TcpClients), 3);
        old.give_back();
        assert!(new.room());
        assert_eq!(shared.gauge(Gauge::TcpClients), 2);
    }

    #[test]
    fn clients_of_a_killed_worker_keep_their_places_until_main_reaps_them() {
        let shared = Shared::create(0).unwrap();
        let (main, slot) = (shared.slot(0), shared.slot(3));
        Places::new(shared, slot, 2).take();
        slot.vacate();
        let next = Places::new(shared, slot, 2);
        next.take();
        assert!(!next.room());
        assert_eq!(shared.gauge(Gauge::TcpClients), 2);
        main.count(Counter::TcpEnded);
        assert!(next.room());
        next.publish();
        assert_eq!(shared.gauge(Gauge::TcpClients), 1);
    }

    #[test]
    fn a_beginning_that_was_not_counted_does_no_harm() {
        let shared = Shared::create(0).unwrap();
        let places = Places::new(shared, shared.slot(3), 1);
        places.give_back();
        assert_eq!(places.taken(), 0);
        assert!(places.room());
    }
}
