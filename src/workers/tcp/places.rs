//! How many TCP clients are being served, over all generations of the worker and its crashes.
//!
//! Each tcp worker keeps its own clients in its slot's gauge, main the clients whose worker died (it is their reaper
//! then). The sum is everybody, whichever process was killed.

use crate::stats::{Gauge, Shared, Slot};

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

    /// Says how many clients this worker has now.
    pub(super) fn publish(self, clients: usize) {
        self.slot.set(Gauge::TcpClients, clients as u64);
    }

    /// Whether another client may be served.
    pub(super) fn room(self) -> bool {
        self.shared.gauge(Gauge::TcpClients) < self.most
    }

    /// Whether clients are among the served that some other process reaps: nothing tells this one when they leave.
    pub(super) fn has_others(self) -> bool {
        self.shared.gauge(Gauge::TcpClients) > self.slot.gauge(Gauge::TcpClients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_counts_the_clients_of_every_generation_and_of_dead_workers() {
        let shared = Shared::create(0).unwrap();
        let places = |slot| Places::new(shared, shared.slot(slot), 4);
        let (main, old, new) = (shared.slot(0), places(3), places(4));
        old.publish(2);
        new.publish(1);
        assert!(new.room());
        main.set(Gauge::TcpClients, 1);
        assert!(!new.room());
        assert!(new.has_others());
        old.publish(0);
        main.set(Gauge::TcpClients, 0);
        assert!(new.room());
        assert!(!new.has_others());
    }

    #[test]
    fn no_place_is_no_room() {
        let shared = Shared::create(0).unwrap();
        assert!(!Places::new(shared, shared.slot(3), 0).room());
    }
}
