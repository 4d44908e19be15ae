//! A lease store in memory, shared by several engines as the lease file is; it can be told to fail.

use std::sync::{Arc, Mutex, MutexGuard};

use super::super::store::{CatchUp, LogRow, Sink};
use super::*;

#[derive(Debug, Clone, Default)]
pub(super) struct MemoryStore {
    log: Arc<Mutex<Vec<LogRow>>>,
    pending: Vec<LogRow>,
    fails: Arc<Mutex<bool>>,
}

impl MemoryStore {
    pub(super) fn log(&self) -> MutexGuard<'_, Vec<LogRow>> {
        self.log.lock().unwrap()
    }

    pub(super) fn fail(&self, fails: bool) {
        *self.fails.lock().unwrap() = fails;
    }

    pub(super) fn manager(&self, topology: &Arc<Topology>, offers: Offers) -> LeaseManager<Self> {
        self.manager_with(topology, offers, settings())
    }

    pub(super) fn manager_with(
        &self,
        topology: &Arc<Topology>,
        offers: Offers,
        settings: EngineSettings,
    ) -> LeaseManager<Self> {
        LeaseManager::open(Arc::clone(topology), settings, self.clone(), offers).unwrap()
    }
}

impl LeaseStore for MemoryStore {
    fn load(&mut self, sink: &mut Sink<'_>) -> Result<u64, StoreError> {
        match self.catch_up(0, sink)? {
            CatchUp::Current(seq) => Ok(seq),
            CatchUp::Gap => unreachable!("nothing is pruned here"),
        }
    }

    fn catch_up(&mut self, known: u64, sink: &mut Sink<'_>) -> Result<CatchUp, StoreError> {
        let log = self.log.lock().unwrap();
        log.iter().skip(usize::try_from(known).unwrap()).for_each(|row| sink(row.as_row()));
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
        let rows = std::mem::take(&mut self.pending);
        if *self.fails.lock().unwrap() {
            return Err(StoreError::Full { path: "memory".into() });
        }
        let mut log = self.log.lock().unwrap();
        for row in rows {
            assert_eq!(row.seq, log.len() as u64 + 1, "numbers have no gaps");
            log.push(row);
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
