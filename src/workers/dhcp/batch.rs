//! One batch: from datagrams to replies that may leave. Everything between the receipt and the sending happens
//! here, in the order that keeps the promise: nothing is handed back that is not on disk.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use daemon_utils::clock::boot_time;
use daemon_utils::socket::DatagramBatch;

use super::account::Account;
use crate::dhcp::{Outcome, Packet, Pipeline, Reply, Request};
use crate::lease::{Access, LeaseClock, LeaseManager, PATIENCE, SqliteStore, StoreError};

/// After a failure the lease file is left alone for so long, so that offers go on meanwhile.
const STORE_PAUSE: Duration = Duration::from_millis(250);
/// And then it is waited for no longer than this, since all packets of the batch wait with it.
const STORE_PATIENCE: Duration = Duration::from_millis(50);

pub(super) struct Batch {
    pipeline: Pipeline,
    pub(super) leases: LeaseManager<SqliteStore>,
    clock: LeaseClock,
    pub(super) account: Account,
    store_failed: Option<Instant>,
}

/// A packet that has been accepted, and which datagram it was.
struct Accepted<'a> {
    place: usize,
    request: Request<'a>,
}

impl Batch {
    pub(super) fn new(
        pipeline: Pipeline,
        leases: LeaseManager<SqliteStore>,
        clock: LeaseClock,
        account: Account,
    ) -> Self {
        Self { pipeline, leases, clock, account, store_failed: None }
    }

    pub(super) fn begin(&mut self, access: Access) -> Result<(), StoreError> {
        self.leases.begin(access, self.clock.now())
    }

    /// Works through a batch; the replies that may leave.
    pub(super) fn work(&mut self, inbox: &DatagramBatch, interface: u32) -> Vec<Reply> {
        self.account.batch(inbox.len());
        let at = boot_time();
        // A long packet lies in two pieces: it is put together here, outside the borrow of the inbox.
        let long: Vec<Option<Vec<u8>>> = (0..inbox.len()).map(|place| whole(inbox, place)).collect();
        let mut accepted = Vec::with_capacity(inbox.len());
        for (place, long) in long.iter().enumerate() {
            let datagram = inbox.get(place);
            let bytes = long.as_deref().unwrap_or(datagram.head);
            if datagram.truncated {
                self.account.truncated();
                continue;
            }
            let SocketAddr::V4(from) = datagram.peer else { continue };
            let to = match datagram.local {
                Some(std::net::IpAddr::V4(to)) => Some(to),
                Some(std::net::IpAddr::V6(_)) | None => None,
            };
            let packet = Packet { bytes, interface, from, to, at };
            match catch_unwind(AssertUnwindSafe(|| self.pipeline.accept(&packet))) {
                Ok(Ok(request)) => {
                    self.account.received(&request);
                    accepted.push(Accepted { place, request });
                }
                Ok(Err(outcome)) => drop(self.account.settle(outcome)),
                Err(_) => self.account.panicked(from),
            }
        }
        let outcomes = self.decide(&accepted);
        outcomes.into_iter().filter_map(|outcome| self.account.settle(outcome)).collect()
    }

    /// The outcomes of a batch, committed. Where the lease file fails, what would have needed it is dropped.
    fn decide(&mut self, accepted: &[Accepted<'_>]) -> Vec<Outcome> {
        let writes = accepted.iter().any(|one| one.request.writes());
        if writes && !self.rests() {
            match self.decide_with(Access::Write, accepted) {
                Ok(outcomes) => {
                    if self.store_failed.take().is_some() {
                        self.be_patient(PATIENCE);
                        self.account.store_recovered();
                    }
                    return outcomes;
                }
                Err(error) => {
                    self.account.store_failed(&error);
                    if self.store_failed.is_none() {
                        self.be_patient(STORE_PATIENCE);
                    }
                    self.store_failed = Some(Instant::now());
                }
            }
        }
        let (writing, reading): (Vec<_>, Vec<_>) = accepted.iter().partition(|one| one.request.writes());
        for _ in writing {
            self.account.not_stored();
        }
        match self.decide_with(Access::Read, &reading) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                self.account.store_failed(&error);
                for _ in reading {
                    self.account.not_stored();
                }
                Vec::new()
            }
        }
    }

    fn rests(&self) -> bool {
        self.store_failed.is_some_and(|failed| failed.elapsed() < STORE_PAUSE)
    }

    fn be_patient(&mut self, patience: Duration) {
        if let Err(error) = self.leases.store_mut().set_patience(patience) {
            log::debug!("could not set the time to wait for the lease file: {error}");
        }
    }

    /// One transaction. A packet whose handling panics is left out and the rest of the batch begins anew, so
    /// that nothing half-done of it is committed.
    fn decide_with<'a, A>(&mut self, access: Access, accepted: &[A]) -> Result<Vec<Outcome>, StoreError>
    where
        A: std::borrow::Borrow<Accepted<'a>>,
    {
        let mut left_out = HashSet::new();
        loop {
            self.begin(access)?;
            match self.handle_all(accepted, &left_out) {
                Ok(outcomes) => {
                    let started = Instant::now();
                    self.leases.commit()?;
                    if access == Access::Write {
                        self.account.committed(started.elapsed());
                    }
                    return Ok(outcomes);
                }
                Err(place) => {
                    self.leases.abort();
                    left_out.insert(place);
                }
            }
        }
    }

    /// Errors: the place of the packet whose handling panicked.
    fn handle_all<'a, A>(&mut self, accepted: &[A], left_out: &HashSet<usize>) -> Result<Vec<Outcome>, usize>
    where
        A: std::borrow::Borrow<Accepted<'a>>,
    {
        let mut outcomes = Vec::with_capacity(accepted.len());
        for one in accepted.iter().map(std::borrow::Borrow::borrow) {
            if left_out.contains(&one.place) {
                continue;
            }
            let (pipeline, leases) = (&self.pipeline, &mut self.leases);
            let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| pipeline.handle(&one.request, leases))) else {
                self.account.panicked(one.request.message().hardware());
                return Err(one.place);
            };
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }
}

/// The whole of a datagram that is longer than a slot.
fn whole(inbox: &DatagramBatch, place: usize) -> Option<Vec<u8>> {
    let datagram = inbox.get(place);
    (!datagram.tail.is_empty()).then(|| [datagram.head, datagram.tail].concat())
}
