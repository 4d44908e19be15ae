//! A lease store in memory that watches over the promises of the lease file: numbers without gaps, and no address leased to
//! two clients.

use std::cell::{Ref, RefCell};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::rc::Rc;

use echo_daemon::lease::store::{CatchUp, LogRow, Sink};
use echo_daemon::lease::{ClientKey, LeaseState, LeaseStore, StoreError, Timestamp};

/// The log of one run, shared with whoever looks at it.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore {
    log: Rc<RefCell<Vec<LogRow>>>,
    pending: Vec<LogRow>,
}

impl MemoryStore {
    /// Everything that was committed.
    pub(crate) fn log(&self) -> Ref<'_, Vec<LogRow>> {
        self.log.borrow()
    }

    /// Who has which address leased at this time.
    pub(crate) fn active(&self, now: Timestamp) -> HashMap<Ipv4Addr, ClientKey> {
        let mut active = HashMap::new();
        for row in self.log().iter() {
            let lease = &row.lease;
            if lease.state == LeaseState::Active && lease.expires > now {
                active.insert(lease.address, lease.client.key.clone());
            } else {
                active.remove(&lease.address);
            }
        }
        active
    }
}

impl LeaseStore for MemoryStore {
    fn load(&mut self, sink: &mut Sink<'_>) -> Result<u64, StoreError> {
        let log = self.log.borrow();
        log.iter().for_each(|row| sink(row.as_row()));
        Ok(log.len() as u64)
    }

    fn catch_up(&mut self, known: u64, sink: &mut Sink<'_>) -> Result<CatchUp, StoreError> {
        let log = self.log.borrow();
        log.iter().filter(|row| row.seq > known).for_each(|row| sink(row.as_row()));
        Ok(CatchUp::Current(log.len() as u64))
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn append(&mut self, rows: &[LogRow]) -> Result<(), StoreError> {
        self.pending.extend_from_slice(rows);
        Ok(())
    }

    fn commit_unsynced(&mut self) -> Result<(), StoreError> {
        for row in std::mem::take(&mut self.pending) {
            let held = self.active(row.at);
            let lease = &row.lease;
            assert_eq!(row.seq, self.log().len() as u64 + 1, "numbers have no gaps");
            if let Some(holder) = held.get(&lease.address).filter(|_| lease.state == LeaseState::Active) {
                assert_eq!(*holder, lease.client.key, "{} is leased to two clients", lease.address);
            }
            self.log.borrow_mut().push(row);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn rollback(&mut self) {
        self.pending.clear();
    }
}
