//! What a batch costs does not depend on how many leases there are: counted in rows, not in time.

use std::cell::Cell;
use std::rc::Rc;

use super::sqlite::File;
use super::*;
use crate::lease::store::{CatchUp, LogRow, Sink};

/// A lease file that counts the rows read from it and written to it.
#[derive(Debug)]
struct Counting {
    store: SqliteStore,
    rows: Rc<Cell<usize>>,
}

impl LeaseStore for Counting {
    fn load(&mut self, sink: &mut Sink<'_>) -> Result<u64, StoreError> {
        self.store.load(sink)
    }

    fn catch_up(&mut self, known: u64, sink: &mut Sink<'_>) -> Result<CatchUp, StoreError> {
        self.store.catch_up(known, &mut |row| {
            self.rows.set(self.rows.get() + 1);
            sink(row);
        })
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.store.begin()
    }

    fn append(&mut self, rows: &[LogRow]) -> Result<(), StoreError> {
        self.rows.set(self.rows.get() + rows.len());
        self.store.append(rows)
    }

    fn commit_unsynced(&mut self) -> Result<(), StoreError> {
        self.store.commit_unsynced()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn rollback(&mut self) {
        self.store.rollback();
    }
}

/// Rows that pass for a DISCOVER, a REQUEST, a renewal, a RELEASE and the same of another worker, beside so many leases.
fn rows_beside(leases: u32) -> Vec<usize> {
    let file = File::new();
    let topology = lan("10.0.0.2-10.0.255.254");
    let mut filler = file.manager(&topology, Offers::private());
    filler.at(START, |m| {
        for n in 0..leases {
            m.request(&client(n), &LAN, Ask::Selecting(Ipv4Addr::from(0x0a00_0100 + n)), &hour);
        }
    });
    super::keeper::keeper(&file).finish().unwrap();
    let rows = Rc::new(Cell::new(0));
    let open = || {
        let store = Counting { store: file.store(), rows: Rc::clone(&rows) };
        LeaseManager::open(Arc::clone(&topology), settings(), store, Offers::private()).unwrap()
    };
    let (mut one, mut two) = (open(), open());
    let mut counts = Vec::new();
    let mut count = || counts.push(rows.replace(0));
    let address = one.discover_at(START, 1_000_000).unwrap();
    count();
    one.ask_at(START, 1_000_000, Ask::Selecting(address));
    count();
    two.ask_at(START.plus(1), 1_000_000, Ask::Renewing(address));
    count();
    one.at(START.plus(2), |m| assert_eq!(m.release(&client(1_000_000), address), Released::Done));
    count();
    two.begin(Access::Read, START.plus(3)).unwrap();
    count();
    counts
}

#[test]
fn batch_reads_and_writes_as_many_rows_beside_ten_thousand_leases_as_beside_one() {
    let few = rows_beside(1);
    assert_eq!(few, [0, 1, 2, 2, 1]);
    assert_eq!(rows_beside(10_000), few);
}
