//! What the clients were told: which address is whose, and for how long. No address may be two clients' at a time, and all that is in
//! force at the end must be in the lease file.

use dhcproto::v4::{DhcpOption, Message, OptionCode};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// As many faults are told in words.
const TOLD: usize = 20;

/// Shared by all relays.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    held: HashMap<Ipv4Addr, Held>,
    counts: Counts,
    faults: Vec<String>,
    /// Microseconds from the first question to its answer, since they were last taken.
    took: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    client: u32,
    until: Instant,
}

/// What happened so far.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) acks: u64,
    pub(crate) released: u64,
    /// Messages that were sent again.
    pub(crate) repeated: u64,
    /// NAKs to clients that asked for what was offered to them.
    pub(crate) refused: u64,
    pub(crate) faults: u64,
}

impl Ledger {
    /// An ACK has arrived.
    pub(crate) fn acknowledged(&self, client: u32, ack: &Message) {
        let Some(DhcpOption::AddressLeaseTime(secs)) = ack.opts().get(OptionCode::AddressLeaseTime) else {
            return self.fault(format!("an ACK without lease time for client {client}"));
        };
        self.leased(client, ack.yiaddr(), Duration::from_secs((*secs).into()));
    }

    fn leased(&self, client: u32, address: Ipv4Addr, time: Duration) {
        let now = Instant::now();
        let before = {
            let mut book = self.book();
            book.counts.acks += 1;
            book.held.insert(address, Held { client, until: now + time })
        };
        if let Some(before) = before.filter(|before| before.client != client && before.until > now) {
            self.fault(format!("{address} was leased to client {client}, and is client {}'s", before.client));
        }
    }

    /// A client is about to give its address up.
    pub(crate) fn released(&self, address: Ipv4Addr) {
        let mut book = self.book();
        book.counts.released += 1;
        book.held.remove(&address);
    }

    /// A message was sent again.
    pub(crate) fn repeated(&self) {
        self.book().counts.repeated += 1;
    }

    /// A client did not get what was offered to it.
    pub(crate) fn refused(&self) {
        self.book().counts.refused += 1;
    }

    /// A client had its answer after so long.
    pub(crate) fn took(&self, time: Duration) {
        self.book().took.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// What must not happen has.
    pub(crate) fn fault(&self, words: String) {
        let mut book = self.book();
        book.counts.faults += 1;
        if book.faults.len() < TOLD {
            eprintln!("fault: {words}");
            book.faults.push(words);
        }
    }

    /// The counts, and how long answers took since the last time, in microseconds, sorted.
    pub(crate) fn take(&self) -> (Counts, Vec<u32>) {
        let mut book = self.book();
        let mut took = std::mem::take(&mut book.took);
        took.sort_unstable();
        (book.counts, took)
    }

    /// The first faults in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.book().faults.clone()
    }

    /// Address and client number of every lease that is in force for longer than this.
    pub(crate) fn in_force(&self, for_longer_than: Duration) -> Vec<(Ipv4Addr, u32)> {
        let after = Instant::now() + for_longer_than;
        let book = self.book();
        book.held.iter().filter(|(_, held)| held.until > after).map(|(ip, held)| (*ip, held.client)).collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn address_of_two_clients_at_a_time_is_a_fault() {
        let (ledger, address) = (Ledger::default(), Ipv4Addr::new(10, 0, 0, 1));
        ledger.leased(1, address, HOUR);
        ledger.leased(1, address, HOUR);
        ledger.released(address);
        ledger.leased(2, address, Duration::ZERO);
        ledger.leased(3, address, HOUR);
        assert_eq!(ledger.faults(), [""; 0], "a renewal, a released lease and one that has ended");
        ledger.leased(4, address, HOUR);
        assert_eq!(ledger.take().0.faults, 1);
        assert_eq!(ledger.in_force(Duration::from_secs(60)), [(address, 4)]);
        assert_eq!(ledger.in_force(2 * HOUR), []);
    }
}
