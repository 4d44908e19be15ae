//! One batch: from datagrams to replies that may leave. Everything between the receipt and the sending happens
//! here, in the order that keeps the promise: nothing is handed back that is not on disk.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use daemon_utils::clock::boot_time;
use daemon_utils::socket::DatagramBatch;

use super::account::Account;
use super::prober::Found;
use crate::dhcp::check::Park;
use crate::dhcp::{Outcome, Packet, Pipeline, Reply, Request};
use crate::lease::{Access, LeaseClock, LeaseManager, PATIENCE, SqliteStore, StoreError, Timestamp};
use crate::stats::Histogram;

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

/// What has become of a batch.
#[derive(Debug, Default)]
pub(super) struct Worked {
    /// Committed: they may leave.
    pub(super) replies: Vec<Reply>,
    /// Places of the packets that have to wait for a probe, and for which.
    pub(super) parked: Vec<(usize, Park)>,
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

    /// Works through a batch: the replies that may leave, and which datagrams have to wait for a probe.
    pub(super) fn work(&mut self, inbox: &DatagramBatch, interface: u32) -> Worked {
        self.account.batch(inbox.len(), inbox.waited());
        let at = boot_time();
        // A long packet lies in two pieces: it is put together here, outside the borrow of the inbox.
        let long: Vec<Option<Vec<u8>>> = (0..inbox.len()).map(|place| whole(inbox, place)).collect();
        let mut packets = Vec::with_capacity(inbox.len());
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
            packets.push((place, Packet { bytes, interface, from, to, at }));
        }
        self.answer(packets, true)
    }

    /// Works through packets that have waited. The places are those in `packets`.
    pub(super) fn resume(&mut self, packets: &[Packet<'_>]) -> Worked {
        self.answer(packets.iter().copied().enumerate().collect(), false)
    }

    /// Lets addresses rest that somebody was found at; those that rest from now on, on disk. What cannot be written is
    /// kept from clients by the shared memory for a while.
    pub(super) fn conflicts(&mut self, found: &[Found]) -> Vec<(Found, Duration)> {
        if found.is_empty() || self.rests() {
            return Vec::new();
        }
        let written = self.begin(Access::Write).and_then(|()| {
            let resting = found
                .iter()
                .filter_map(|found| Some((*found, self.leases.conflict(found.address, found.by)?)));
            let resting = resting.collect();
            self.leases.commit()?;
            Ok(resting)
        });
        written.unwrap_or_else(|error| {
            self.store_fails(&error);
            Vec::new()
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    fn answer(&mut self, packets: Vec<(usize, Packet<'_>)>, fresh: bool) -> Worked {
        let started = Instant::now();
        let mut accepted = Vec::with_capacity(packets.len());
        for (place, packet) in packets {
            let pipeline = &self.pipeline;
            let accept = || if fresh { pipeline.accept(&packet) } else { pipeline.accept_again(&packet) };
            match catch_unwind(AssertUnwindSafe(accept)) {
                Ok(Ok(request)) => {
                    if fresh {
                        self.account.received(&request);
                    }
                    accepted.push(Accepted { place, request });
                }
                Ok(Err(outcome)) => drop(self.account.settle(outcome)),
                Err(_) => self.account.panicked(packet.from),
            }
        }
        self.account.stage(Histogram::StageParse, started.elapsed());
        let mut worked = Worked::default();
        for (place, outcome) in self.decide(&accepted) {
            match outcome {
                Outcome::Park(park) => worked.parked.push((place, park)),
                outcome => worked.replies.extend(self.account.settle(outcome)),
            }
        }
        worked
    }

    /// The outcomes of a batch, committed. Where the lease file fails, what would have needed it is dropped.
    fn decide(&mut self, accepted: &[Accepted<'_>]) -> Vec<(usize, Outcome)> {
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
                    self.store_fails(&error);
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

    fn store_fails(&mut self, error: &StoreError) {
        self.account.store_failed(error);
        if self.store_failed.is_none() {
            self.be_patient(STORE_PATIENCE);
        }
        self.store_failed = Some(Instant::now());
    }

    /// Whether the lease file could be written when it was last tried.
    pub(super) fn works(&self) -> bool {
        self.store_failed.is_none()
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
    fn decide_with<'a, A>(
        &mut self,
        access: Access,
        accepted: &[A],
    ) -> Result<Vec<(usize, Outcome)>, StoreError>
    where
        A: std::borrow::Borrow<Accepted<'a>>,
    {
        let mut left_out = HashSet::new();
        loop {
            let started = Instant::now();
            self.begin(access)?;
            let begun = Instant::now();
            match self.handle_all(accepted, &left_out) {
                Ok(outcomes) => {
                    let handled = Instant::now();
                    self.leases.commit()?;
                    if access == Access::Write {
                        self.account.committed(handled.elapsed());
                    }
                    self.account.stage(Histogram::StageBegin, begun.saturating_duration_since(started));
                    self.account.stage(Histogram::StageHandle, handled.saturating_duration_since(begun));
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
    fn handle_all<'a, A>(
        &mut self,
        accepted: &[A],
        left_out: &HashSet<usize>,
    ) -> Result<Vec<(usize, Outcome)>, usize>
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
            outcomes.push((one.place, outcome));
        }
        Ok(outcomes)
    }
}

/// The whole of a datagram, in memory of its own.
pub(super) fn copy(inbox: &DatagramBatch, place: usize) -> Box<[u8]> {
    whole(inbox, place).map_or_else(|| inbox.get(place).head.into(), Vec::into_boxed_slice)
}

/// The whole of a datagram that is longer than a slot.
fn whole(inbox: &DatagramBatch, place: usize) -> Option<Vec<u8>> {
    let datagram = inbox.get(place);
    (!datagram.tail.is_empty()).then(|| [datagram.head, datagram.tail].concat())
}
