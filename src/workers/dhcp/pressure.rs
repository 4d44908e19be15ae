//! Whether a socket has more in its queue than its worker gets through. The kernel drops what does not fit into the queue,
//! whosever it is; so before it is full the worker turns strangers away, at a fraction of what an answer costs, and
//! who has a lease is heard.

use daemon_utils::socket::SocketMemory;

use super::BATCH;

/// Full batches between two looks at the queue: a thousand packets, and a system call for them.
const LOOK: u32 = 16;
/// A shorter queue fills up whenever a few clients come at once (an ordinary user may have no longer one): no reason yet.
const LEAST_BYTES: u32 = 2 << 20;

/// What is known of one socket's queue.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// Full batches in a row.
    full: u32,
    pressed: bool,
}

impl Pressure {
    /// After a batch of `count` packets: whether strangers have to be turned away. `memory` looks at the queue.
    pub(super) fn after(&mut self, count: usize, memory: impl FnOnce() -> Option<SocketMemory>) -> bool {
        if count < BATCH {
            *self = Self::default();
            return false;
        }
        self.full = self.full.wrapping_add(1);
        if self.full.is_multiple_of(LOOK) {
            self.pressed = memory().is_some_and(|queue| {
                queue.limit_bytes >= LEAST_BYTES && queue.queued_bytes > queue.limit_bytes / 2
            });
        }
        self.pressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queued_bytes: u32, limit_bytes: u32) -> SocketMemory {
        SocketMemory { queued_bytes, limit_bytes, ..SocketMemory::default() }
    }

    fn pressed(pressure: &mut Pressure, memory: SocketMemory) -> bool {
        (0..LOOK).any(|_| pressure.after(BATCH, || Some(memory)))
    }

    #[test]
    fn strangers_are_turned_away_while_a_long_queue_is_half_full_and_until_it_is_empty() {
        let mut pressure = Pressure::default();
        assert!(!pressed(&mut pressure, queue(1 << 20, 8 << 20)));
        assert!(pressed(&mut pressure, queue(5 << 20, 8 << 20)));
        assert!(pressure.after(BATCH, || None), "until the next look");
        assert!(!pressure.after(BATCH - 1, || None), "the queue is empty");
        assert!(!pressed(&mut pressure, queue(200_000, 212_992)), "a short queue is no sign");
    }
}
