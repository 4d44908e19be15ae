//! One batch: from datagrams to replies that may leave. Everything between the receipt and the sending happens
//! here, in the order that keeps the promise: nothing is handed back that is not on disk.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use daemon_utils::clock::boot_time;
use daemon_utils::socket::DatagramBatch;
use nix::unistd::getpid;

use super::account::Account;
use super::prober::Found;
use crate::dhcp::check::Park;
use crate::dhcp::quarantine::{Hand, Quarantine};
use crate::dhcp::{Outcome, Packet, Pipeline, Reply, Request, Silence};
use crate::lease::{Access, LeaseClock, LeaseManager, PATIENCE, SqliteStore, StoreError, Timestamp};
use crate::protocol::{HardwareAddress, MessageType};
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
    quarantine: Quarantine,
    hand: Hand,
    store_failed: Option<Instant>,
}

/// What has become of one part of a batch.
#[derive(Debug, Default)]
pub(super) struct Worked {
    /// They may leave, unless `unsynced`: what they promise is on disk.
    pub(super) replies: Vec<Reply>,
    /// Places of the packets that have to wait for a probe, and for which.
    pub(super) parked: Vec<(usize, Park)>,
    /// Where the replies must wait for the disk: when the commit began.
    pub(super) unsynced: Option<Instant>,
}

/// How a part of a batch is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    /// To disk.
    Synced,
    /// For all who read; somebody else waits for the disk.
    Unsynced,
}

/// A batch in its two parts. What promises nothing goes first: an OFFER does not wait for the disk, and while the disk
/// works for the others its client's REQUEST is on its way.
#[derive(Default)]
pub(super) struct Parts<'a> {
    /// Whose handling changes no lease.
    reading: Vec<Accepted<'a>>,
    /// The others.
    writing: Vec<Accepted<'a>>,
    /// Who gives an address up in this batch.
    leaving: Vec<HardwareAddress>,
}

impl<'a> Parts<'a> {
    /// A client that gives its address up and asks at once for another is not offered the one that it still has.
    fn add(&mut self, accepted: Accepted<'a>) {
        let message = accepted.request.message();
        if matches!(message.kind(), MessageType::Release | MessageType::Decline) {
            self.leaving.push(*message.hardware());
        }
        let reads = !accepted.request.writes() && !self.leaving.contains(message.hardware());
        if reads { self.reading.push(accepted) } else { self.writing.push(accepted) }
    }

    /// In the order in which they are worked through; without those that are empty.
    pub(super) fn each(&self) -> impl Iterator<Item = (Access, &[Accepted<'a>])> {
        let parts = [(Access::Read, &self.reading[..]), (Access::Write, &self.writing[..])];
        parts.into_iter().filter(|(_, part)| !part.is_empty())
    }
}

/// The outcomes by place, and where they must wait for the disk, when the commit began.
type Decided = (Vec<(usize, Outcome)>, Option<Instant>);

/// A packet that has been accepted, and which datagram it was.
pub(super) struct Accepted<'a> {
    place: usize,
    bytes: &'a [u8],
    request: Request<'a>,
}

impl Batch {
    pub(super) fn new(
        pipeline: Pipeline,
        leases: LeaseManager<SqliteStore>,
        clock: LeaseClock,
        account: Account,
        quarantine: Quarantine,
    ) -> Self {
        let hand = quarantine.hand(getpid().as_raw());
        Self { pipeline, leases, clock, account, quarantine, hand, store_failed: None }
    }

    pub(super) fn begin(&mut self, access: Access) -> Result<(), StoreError> {
        self.leases.begin(access, self.clock.now())
    }

    /// To be called right before the datagrams of a batch are received.
    pub(super) fn receiving(&mut self) {
        self.leases.receiving();
    }

    /// Accepts the datagrams of a batch. Long ones were put together beforehand.
    pub(super) fn accept<'a>(
        &mut self,
        inbox: &'a DatagramBatch,
        long: &'a [(usize, Vec<u8>)],
        interface: u32,
    ) -> Parts<'a> {
        self.account.batch(inbox.len(), inbox.waited());
        let at = boot_time();
        let mut packets = Vec::with_capacity(inbox.len());
        for place in 0..inbox.len() {
            let datagram = inbox.get(place);
            if datagram.truncated {
                self.account.truncated();
                continue;
            }
            let long = long.iter().find(|(other, _)| *other == place);
            let bytes = long.map_or(datagram.head, |(_, whole)| whole);
            let SocketAddr::V4(from) = datagram.peer else { continue };
            let to = match datagram.local {
                Some(std::net::IpAddr::V4(to)) => Some(to),
                Some(std::net::IpAddr::V6(_)) | None => None,
            };
            packets.push((place, Packet { bytes, interface, from, to, at }));
        }
        self.accept_each(packets, true)
    }

    /// Accepts packets once more that have waited. The places are those in `packets`.
    pub(super) fn accept_again<'a>(&mut self, packets: &[Packet<'a>]) -> Parts<'a> {
        self.accept_each(packets.iter().copied().enumerate().collect(), false)
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

    fn accept_each<'a>(&mut self, packets: Vec<(usize, Packet<'a>)>, fresh: bool) -> Parts<'a> {
        let started = Instant::now();
        let mut parts = Parts::default();
        for (place, packet) in packets {
            if self.quarantine.holds(packet.bytes, packet.at) {
                self.account.settle(Silence::Quarantined.into());
                continue;
            }
            self.hand.take(packet.bytes);
            let pipeline = &self.pipeline;
            let accept = || if fresh { pipeline.accept(&packet) } else { pipeline.accept_again(&packet) };
            match catch_unwind(AssertUnwindSafe(accept)) {
                Ok(Ok(request)) => {
                    if fresh {
                        self.account.received(&request);
                    }
                    parts.add(Accepted { place, bytes: packet.bytes, request });
                }
                Ok(Err(outcome)) => drop(self.account.settle(outcome)),
                Err(_) => self.account.panicked(packet.from),
            }
        }
        self.hand.lay_down();
        self.account.stage(Histogram::StageParse, started.elapsed());
        parts
    }

    /// Works through a part of a batch: the replies that may leave, and which datagrams have to wait for a probe. Where the
    /// lease file fails, the whole part is dropped: its clients ask again.
    pub(super) fn work(&mut self, access: Access, part: &[Accepted<'_>], commit: Commit) -> Worked {
        let (outcomes, unsynced) = self.decide(access, part, commit);
        self.hand.lay_down();
        let mut worked = Worked { unsynced, ..Worked::default() };
        for (place, outcome) in outcomes {
            match outcome {
                Outcome::Park(park) => worked.parked.push((place, park)),
                outcome => worked.replies.extend(self.account.settle(outcome)),
            }
        }
        worked
    }

    /// The outcomes of a part, committed.
    fn decide(&mut self, access: Access, part: &[Accepted<'_>], commit: Commit) -> Decided {
        let writes = access == Access::Write;
        if !(writes && self.rests()) {
            match self.decide_with(access, part, commit) {
                Ok(decided) => {
                    if writes && self.store_failed.take().is_some() {
                        self.be_patient(PATIENCE);
                        self.account.store_recovered();
                    }
                    return decided;
                }
                Err(error) if writes => self.store_fails(&error),
                Err(error) => self.account.store_failed(&error),
            }
        }
        for _ in part {
            self.account.not_stored();
        }
        (Vec::new(), None)
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
    fn decide_with(
        &mut self,
        access: Access,
        accepted: &[Accepted<'_>],
        commit: Commit,
    ) -> Result<Decided, StoreError> {
        let mut left_out = HashSet::new();
        loop {
            let started = Instant::now();
            self.begin(access)?;
            let begun = Instant::now();
            match self.handle_all(accepted, &left_out) {
                Ok(outcomes) => {
                    let handled = Instant::now();
                    let unsynced = match commit {
                        Commit::Unsynced => self.leases.commit_unsynced()?.then_some(handled),
                        Commit::Synced => self.leases.commit().map(|()| None)?,
                    };
                    if access == Access::Write && unsynced.is_none() {
                        self.account.committed(handled.elapsed());
                    }
                    self.account.stage(Histogram::StageBegin, begun.saturating_duration_since(started));
                    self.account.stage(Histogram::StageHandle, handled.saturating_duration_since(begun));
                    return Ok((outcomes, unsynced));
                }
                Err(place) => {
                    self.leases.abort();
                    left_out.insert(place);
                }
            }
        }
    }

    /// Errors: the place of the packet whose handling panicked.
    fn handle_all(
        &mut self,
        accepted: &[Accepted<'_>],
        left_out: &HashSet<usize>,
    ) -> Result<Vec<(usize, Outcome)>, usize> {
        let mut outcomes = Vec::with_capacity(accepted.len());
        for one in accepted {
            if left_out.contains(&one.place) {
                continue;
            }
            self.hand.take(one.bytes);
            let (pipeline, leases) = (&self.pipeline, &mut self.leases);
            let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| pipeline.handle(&one.request, leases))) else {
                self.account.panicked(one.request.message().hardware());
                return Err(one.place);
            };
            outcomes.push((one.place, outcome));
        }
        // What happens at the commit is nobody's fault where there are several.
        if accepted.len() > 1 {
            self.hand.lay_down();
        }
        Ok(outcomes)
    }
}

/// The datagrams that are longer than a slot and so lie in two pieces: each whole, with its place.
pub(super) fn long_ones(inbox: &DatagramBatch) -> Vec<(usize, Vec<u8>)> {
    let places = (0..inbox.len()).filter(|place| !inbox.get(*place).tail.is_empty());
    places.map(|place| (place, copy(inbox, place).into_vec())).collect()
}

/// The whole of a datagram, in memory of its own.
pub(super) fn copy(inbox: &DatagramBatch, place: usize) -> Box<[u8]> {
    let datagram = inbox.get(place);
    [datagram.head, datagram.tail].concat().into_boxed_slice()
}
