//! The worker's side of the conflict check: keeps the packets that wait, sends their questions, takes in the answers, and
//! says which packets go on. What an answer means for a lease is the engine's to decide, through the batch.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::ahead::Ahead;
use super::answerers::{Answerers, Worth};
use super::batch::Batch;
use super::parked::{Owned, Parked, Parking, Waiting};
use super::prober::{Found, Prober};
use crate::dhcp::Silence;
use crate::dhcp::check::{Means, Park, ProbeMethod};
use crate::lease::{Finding, Probes, Timestamp};

/// Another worker may read the answer that a packet here waits for: so often the shared memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Checker {
    prober: Prober,
    probes: Probes,
    parked: Parked,
    answerers: Answerers,
    /// Only one worker probes ahead, and only where there is something to probe with.
    ahead: Option<Ahead>,
    /// How long an answer counts, in whole seconds.
    asked_secs: u32,
}

impl Checker {
    /// `first`: of all the workers, this is the one that probes ahead.
    pub(super) fn new(prober: Prober, probes: Probes, timeout: Duration, first: bool) -> Self {
        let able = prober.means() != Means::default();
        Self {
            prober,
            probes,
            parked: Parked::new(timeout),
            answerers: Answerers::default(),
            ahead: (first && able).then(|| Ahead::new(timeout, Instant::now())),
            asked_secs: u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX - 2) + 2,
        }
    }

    /// The sockets that answers come in by, while any are waited for.
    pub(super) fn descriptors(&self, now: Instant) -> impl Iterator<Item = BorrowedFd<'_>> {
        let waits = self.waits();
        self.prober.descriptors(now).filter(move |_| waits)
    }

    /// When it must be called again at the latest.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let parked = self.parked.next().map(|next| next.min(now + LOOK));
        parked.into_iter().chain(self.ahead.as_ref().map(Ahead::next)).min()
    }

    /// Whether no packet waits.
    pub(super) fn is_idle(&self) -> bool {
        self.parked.is_empty()
    }

    /// How many packets wait.
    pub(super) fn waiting(&self) -> usize {
        self.parked.len()
    }

    /// The worker reads no more: only what waits is finished.
    pub(super) fn leave(&mut self) {
        self.ahead = None;
    }

    /// Keeps a packet until it is known whether somebody uses an address.
    pub(super) fn park(&mut self, packet: Owned, park: Park, batch: &mut Batch) {
        let (at, now) = (Instant::now(), batch.now());
        let first_time = packet.tries == 0;
        match self.parked.park(packet, park, at) {
            Parking::Probe => {
                if first_time {
                    batch.account.parked();
                }
                batch.account.probed(park.method, false);
                if park.method == ProbeMethod::Icmp {
                    self.note_relayed(park.address, batch);
                }
                self.probes.ask(park.address, Some(&park.client), self.asked_secs, now);
                if !self.prober.ask(park.address, park.method) {
                    self.probes.pass(park.address, now);
                    self.parked.give_up(park.address, at);
                }
            }
            Parking::Replaced => {}
            Parking::Refused => batch.account.silence(Silence::Unchecked, None),
        }
    }

    /// Takes in the answers, where there are any, and asks again where there is none yet; the packets that go on.
    pub(super) fn listen(&mut self, batch: &mut Batch, answers: bool) -> Vec<Waiting> {
        if !self.waits() {
            return Vec::new();
        }
        let now = batch.now();
        if answers {
            self.hear(batch, now);
        }
        let at = Instant::now();
        for (address, method) in self.parked.ask_again(at) {
            self.prober.ask(address, method);
        }
        let due = self.due(at, now, batch);
        if let Some(ahead) = &mut self.ahead {
            batch.account.silent(ahead.settle(self.probes, at, now));
        }
        due
    }

    /// What the answers mean.
    fn hear(&mut self, batch: &mut Batch, now: Timestamp) {
        let (mut found, harmless) = self.prober.hear(now);
        batch.account.answered(found.len(), harmless);
        found.retain(|one| self.believes(*one, now, batch));
        let resting = batch.conflicts(&found);
        for one in &found {
            match resting.iter().find(|(other, _)| other == one) {
                Some((_, rest)) => {
                    let subnet = batch.leases.topology().subnet_of(one.address);
                    batch.account.conflict(*one, subnet, *rest);
                }
                None if batch.works() => {
                    // It is leased by now, or its last holder is only just leaving: no conflict.
                    self.probes.forget(one.address);
                }
                None => {}
            }
        }
    }

    /// Probes ahead of time, unless there is work to do.
    pub(super) fn probe_ahead(&mut self, batch: &Batch, busy: bool) {
        let Some(ahead) = &mut self.ahead else { return };
        let at = Instant::now();
        if busy {
            return ahead.step_back(at);
        }
        let burst = ahead.burst(&batch.leases, batch.pipeline(), self.probes, at);
        for (address, method) in burst {
            batch.account.probed(method, true);
            self.probes.ask(address, None, self.asked_secs, batch.now());
            if !self.prober.ask(address, method) {
                self.probes.forget(address);
            }
        }
    }

    /// An answer of a host that answers for everything is as good as none.
    fn believes(&mut self, found: Found, now: Timestamp, batch: &Batch) -> bool {
        let Some(by) = found.by else { return true };
        let worth = self.answerers.judge(by, found.address, Instant::now());
        if worth == Worth::TooMany {
            batch.account.answers_for_all(by);
        }
        if worth != Worth::Believed {
            self.probes.disregard(found.address, now);
        }
        worth == Worth::Believed
    }

    fn due(&mut self, at: Instant, now: Timestamp, batch: &Batch) -> Vec<Waiting> {
        let probes = self.probes;
        let due = self.parked.due(at, |address, client| match probes.find(address, client, now) {
            Finding::Clear | Finding::Used => true,
            Finding::Unknown => false,
        });
        // Whoever has answered meanwhile stays noted.
        let silent = due.iter().filter(|one| one.asked && probes.clear(one.park.address, now));
        batch.account.silent(silent.count());
        due
    }

    fn waits(&self) -> bool {
        self.ahead.is_some() || !self.parked.is_empty()
    }

    /// Pings for this network find their way: from now on its free addresses are probed ahead too.
    fn note_relayed(&self, address: Ipv4Addr, batch: &Batch) {
        let topology = batch.leases.topology();
        let subnet = topology.subnet_of(address).and_then(|subnet| topology.subnet(subnet));
        if let Some(subnet) = subnet {
            self.probes.note_relayed(subnet.network.first());
        }
    }
}
