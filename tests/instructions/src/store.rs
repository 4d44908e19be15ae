//! A lease store that keeps nothing: it hands over a given number of leases when it is opened and then says yes to all. What
//! the lease file costs is not the packet's cost; it is measured by the benchmark.

use std::net::Ipv4Addr;

use echo_daemon::lease::{
    ClientKey, ClientRef, HardwareAddress, LeaseEvent, LeaseState, LeaseStore, StoreError, Timestamp,
    store::{CatchUp, LogRow, RowRef, Sink},
};

use crate::wire::mac;

/// Clients of the leases that are there from the beginning are numbered from here.
const SETTLED: u32 = 0x4000_0000;
/// A prime that no pool's size is a multiple of: the leases lie scattered, each on an address of its own.
const STEP: u64 = 104_729;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct NoStore {
    leases: u32,
    first: Ipv4Addr,
    size: u64,
    expires: Timestamp,
    known: u64,
    pending: u64,
}

impl NoStore {
    /// With so many active leases in a pool of `size` addresses from `first` on.
    pub(crate) fn new(leases: u32, first: Ipv4Addr, size: u64, expires: Timestamp) -> Self {
        Self { leases, first, size, expires, known: 0, pending: 0 }
    }
}

impl LeaseStore for NoStore {
    fn load(&mut self, sink: &mut Sink<'_>) -> Result<u64, StoreError> {
        for n in 0..self.leases {
            let bytes = mac(SETTLED | n);
            let id = [&[1][..], &bytes].concat();
            let key = ClientKey::by_client_id(&id);
            let hostname = format!("settled-{n:06}");
            let client = ClientRef {
                key: key.as_bytes(),
                hardware: HardwareAddress::new(1, &bytes).unwrap_or_default(),
                client_id: Some(&id),
                hostname: Some(hostname.as_bytes()),
                ..ClientRef::default()
            };
            let offset = u64::from(n) * STEP % self.size;
            sink(RowRef {
                seq: u64::from(n) + 1,
                at: Timestamp(0),
                event: LeaseEvent::Granted,
                address: Ipv4Addr::from(u32::from(self.first) + u32::try_from(offset).unwrap_or(0)),
                subnet: "campus",
                pool: "main",
                state: LeaseState::Active,
                starts: Timestamp(1),
                // As if they had been granted one after the other within an hour.
                expires: Timestamp(self.expires.0 + offset % 3600),
                declines: 0,
                client,
            });
        }
        self.known = u64::from(self.leases);
        Ok(self.known)
    }

    fn catch_up(&mut self, _: u64, _: &mut Sink<'_>) -> Result<CatchUp, StoreError> {
        Ok(CatchUp::Current(self.known))
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn append(&mut self, rows: &[LogRow]) -> Result<(), StoreError> {
        self.pending = rows.len() as u64;
        Ok(())
    }

    fn commit_unsynced(&mut self) -> Result<(), StoreError> {
        self.known += std::mem::take(&mut self.pending);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn rollback(&mut self) {
        self.pending = 0;
    }
}
