//! The clients' side of many exchanges at once, on one socket and in one thread.
//!
//! Each exchange in flight has a slot, and its transaction id carries the slot's number, so that a reply finds its
//! exchange without a search. Time is read once for each batch; it is in nanoseconds since the run began.

use super::check::{self, Fault};
use super::held::Held;
use super::message::{ACK, Message, NAK, OFFER};
use super::tally::Tally;
use super::template::{Template, Values};
use crate::batch::Batch;
use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::MsgFlags;
use nix::sys::time::TimeSpec;
use socket2::Socket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A packet is sent again after this time, as often as [`TRIES`] allows.
const TIMEOUT: u64 = 1_000_000_000;
/// After this many packets without an answer the exchange is lost.
const TRIES: u8 = 5;
/// A refused client begins anew (RFC 2131 §3.1, step 6) as often as this; then its exchange is lost. Servers that do not
/// hold what they offer refuse many clients when many ask at once.
const RESTARTS: u8 = 50;
/// How often slots are looked through for one that waits too long; also how long a receive may block.
pub(super) const LOOK: Duration = Duration::from_millis(50);
const LOOK_NANOS: u64 = 50_000_000;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// DISCOVER, OFFER, REQUEST, ACK.
    Exchange,
    /// DISCOVER and OFFER.
    Discover,
    /// REQUEST for the address they have, and ACK.
    Renew,
}

/// How long, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) flow: Flow,
    /// No more exchanges than this are begun.
    pub(super) count: Option<u64>,
    /// None is begun or counted after this time.
    pub(super) until: Option<Duration>,
    /// Exchanges begun in a second, whatever becomes of them; as fast as the window allows without.
    pub(super) rate: Option<f64>,
    /// The first lost exchange ends the run.
    pub(super) strict: bool,
}

/// The packets of one set of clients.
pub(super) struct Packets {
    pub(super) discover: Template,
    pub(super) select: Template,
    pub(super) renew: Template,
}

pub(super) struct Engine {
    socket: Socket,
    packets: Packets,
    giaddr: u32,
    first_client: u32,
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// Leases of the clients by their number from the first, where they come more than once.
    leases: Option<Vec<Lease>>,
    held: Held,
    /// Differs between runs, so that a late reply to an earlier one is not taken for ours.
    salt: u32,
    /// Clients begun so far.
    begun: u64,
    outbox: Batch,
}

/// What a client was given; zeros for nothing yet.
#[derive(Clone, Copy, Default)]
struct Lease {
    address: u32,
    server: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Discover,
    Select,
    Renew,
}

#[derive(Clone, Copy)]
struct Slot {
    xid: u32,
    client: u32,
    lease: Lease,
    phase: Phase,
    tries: u8,
    restarts: u8,
    /// When the exchange was due.
    begun: u64,
    /// When this phase's packet was first sent.
    asked: u64,
    /// When it was last sent.
    sent: u64,
}

impl Engine {
    /// Clients that come more than once are `clients` in number; without it every exchange is a new client's.
    pub(super) fn new(
        socket: Socket,
        packets: Packets,
        giaddr: u32,
        window: u16,
        first_client: u32,
        clients: Option<u32>,
    ) -> anyhow::Result<Self> {
        let idle = Slot {
            xid: 0,
            client: 0,
            lease: Lease::default(),
            phase: Phase::Idle,
            tries: 0,
            restarts: 0,
            begun: 0,
            asked: 0,
            sent: 0,
        };
        let mut slots = vec![idle; usize::from(window)];
        for (slot, number) in slots.iter_mut().zip(0..) {
            slot.xid = number;
        }
        let leases = clients.map(|count| usize::try_from(count).map(|count| vec![Lease::default(); count]));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            socket,
            packets,
            giaddr,
            first_client,
            slots,
            free: (0..window).rev().collect(),
            leases: leases.transpose().context("too many clients")?,
            held: Held::new(),
            salt: now.subsec_nanos() ^ std::process::id().rotate_left(16),
            begun: 0,
            outbox: Batch::new(),
        })
    }

    /// Runs until the plan is fulfilled and every exchange has ended.
    pub(super) fn run(&mut self, plan: Plan) -> anyhow::Result<Tally> {
        let mut tally = Tally::new();
        let start = Instant::now();
        let nanos = |at: Instant| u64::try_from(at.duration_since(start).as_nanos()).unwrap_or(u64::MAX);
        let until = plan.until.map_or(u64::MAX, |until| u64::try_from(until.as_nanos()).unwrap_or(u64::MAX));
        let count = plan.count.unwrap_or(u64::MAX);
        let mut inbox = Batch::new();
        let mut pace = Pace::new(plan.rate);
        let mut look = LOOK_NANOS;
        self.begun = 0;
        loop {
            let now = nanos(Instant::now());
            tally.open = now < until;
            while tally.open && self.begun < count {
                let (Some(due), Some(number)) = (pace.due(now), self.free.last()) else { break };
                let number = *number;
                self.free.pop();
                pace.next();
                self.begin(number, plan.flow, due, now, &mut tally);
            }
            if now >= look {
                look = now + LOOK_NANOS;
                self.look(now, &mut tally);
            }
            self.flush(&mut tally);
            let ended = !tally.open || self.begun >= count;
            let failed = plan.strict && tally.lost > 0;
            if failed || ended && self.free.len() == self.slots.len() {
                tally.seconds = if tally.open { tally.last } else { until };
                return Ok(tally);
            }
            let wake = if ended || self.free.is_empty() { None } else { pace.wake() };
            self.receive(&mut inbox, wake.map(|due| due.min(until).saturating_sub(now)), &mut tally)?;
            let now = nanos(Instant::now());
            tally.open = now < until;
            for reply in inbox.iter() {
                self.reply(reply, plan.flow, now, &mut tally);
            }
        }
    }

    /// How many of the clients that come more than once have a lease.
    pub(super) fn leased(&self) -> usize {
        self.leases.iter().flatten().filter(|lease| lease.address != 0).count()
    }

    /// The next client's first packet.
    fn begin(&mut self, number: u16, flow: Flow, due: u64, now: u64, tally: &mut Tally) {
        let index = match &self.leases {
            Some(leases) => self.begun % u64::try_from(leases.len()).unwrap_or(u64::MAX).max(1),
            None => self.begun,
        };
        self.begun += 1;
        // After 2³² clients the numbers begin anew.
        let index = u32::try_from(index & u64::from(u32::MAX)).unwrap_or_default();
        let lease = match flow {
            Flow::Renew => self.lease(index).map_or(Lease::default(), |lease| *lease),
            Flow::Exchange | Flow::Discover => Lease::default(),
        };
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return };
        // The lower half is the slot's number; the upper half tells its exchanges apart.
        slot.xid = slot.xid.wrapping_add(1 << 16);
        slot.client = self.first_client.wrapping_add(index);
        slot.lease = lease;
        slot.phase = if flow == Flow::Renew { Phase::Renew } else { Phase::Discover };
        slot.begun = due;
        slot.restarts = 0;
        self.ask(number, now, tally);
    }

    fn lease(&mut self, index: u32) -> Option<&mut Lease> {
        self.leases.as_mut()?.get_mut(usize::try_from(index).ok()?)
    }

    /// The first packet of a phase.
    fn ask(&mut self, number: u16, now: u64, tally: &mut Tally) {
        if let Some(slot) = self.slots.get_mut(usize::from(number)) {
            slot.tries = 0;
            slot.asked = now;
            self.send(number, now, tally);
        }
    }

    fn send(&mut self, number: u16, now: u64, tally: &mut Tally) {
        if self.outbox.is_full() {
            self.flush(tally);
        }
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return };
        let template = match slot.phase {
            Phase::Idle => return,
            Phase::Discover => &self.packets.discover,
            Phase::Select => &self.packets.select,
            Phase::Renew => &self.packets.renew,
        };
        slot.tries += 1;
        slot.sent = now;
        let Some(packet) = self.outbox.add() else { return };
        let values = Values {
            xid: slot.xid ^ self.salt,
            client: slot.client,
            secs: u16::try_from(now.saturating_sub(slot.begun) / 1_000_000_000).unwrap_or(u16::MAX),
            address: slot.lease.address,
            server: slot.lease.server,
        };
        template.fill(packet, values);
    }

    fn flush(&mut self, tally: &mut Tally) {
        if let (_, Some(error)) = self.outbox.send(&self.socket) {
            tally.note(|| format!("could not send to the server: {error}"));
        }
    }

    /// Sends again what waits too long, and gives up what did so too often.
    fn look(&mut self, now: u64, tally: &mut Tally) {
        for number in 0..u16::try_from(self.slots.len()).unwrap_or(u16::MAX) {
            let Some(slot) = self.slots.get(usize::from(number)) else { return };
            if slot.phase == Phase::Idle || now.saturating_sub(slot.sent) < TIMEOUT {
                continue;
            }
            if slot.tries < TRIES {
                tally.retried += 1;
                self.send(number, now, tally);
            } else {
                tally.lost += 1;
                tally.note(|| {
                    format!("no answer to {:?} of client {} after {TRIES} tries", slot.phase, slot.client)
                });
                self.end(number);
            }
        }
    }

    /// Waits for replies: until the next exchange is due, if a time is given.
    fn receive(&self, inbox: &mut Batch, wait: Option<u64>, tally: &mut Tally) -> anyhow::Result<()> {
        let mut flags = MsgFlags::empty();
        if let Some(wait) = wait {
            flags = MsgFlags::MSG_DONTWAIT;
            let mut watched = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let wait = TimeSpec::from_duration(Duration::from_nanos(wait).min(LOOK));
            match ppoll(&mut watched, Some(wait), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("could not wait for replies"),
            }
        }
        if let Err(error) = inbox.receive(&self.socket, flags) {
            // On a connected socket: an ICMP error, mostly that nobody listens.
            tally.note(|| format!("could not receive from the server: {error}"));
        }
        Ok(())
    }

    fn reply(&mut self, bytes: &[u8], flow: Flow, now: u64, tally: &mut Tally) {
        let Some(reply) = Message::read(bytes) else {
            tally
                .wrong(|| format!("reply of {} bytes is no DHCP message of an Ethernet client", bytes.len()));
            return;
        };
        let xid = reply.xid ^ self.salt;
        let number = u16::try_from(xid & 0xffff).unwrap_or_default();
        let Some(slot) = self.slots.get(usize::from(number)).copied().filter(|slot| slot.xid == xid) else {
            tally.late += 1;
            return;
        };
        let expected = check::Expected {
            client: slot.client,
            giaddr: self.giaddr,
            address: (slot.lease.address != 0).then_some(slot.lease.address),
            server: (slot.lease.server != 0).then_some(slot.lease.server),
        };
        match (slot.phase, reply.kind) {
            (Phase::Discover, OFFER) | (Phase::Select | Phase::Renew, ACK | NAK) => {}
            // Answers to a packet that was sent twice.
            (Phase::Idle, _) | (Phase::Select, OFFER) => {
                tally.late += 1;
                return;
            }
            (phase, kind) => {
                tally.wrong(|| {
                    format!("message type {kind} in answer to {phase:?} of client {}", slot.client)
                });
                return;
            }
        }
        match check::reply(&reply, &expected) {
            Ok(()) => {}
            Err(Fault::Nak) => {
                tally.naks += 1;
                tally.note(|| format!("NAK to client {}", slot.client));
                self.refused(number, now, tally);
                return;
            }
            Err(fault) => {
                tally.wrong(|| format!("reply to client {}: {fault}", slot.client));
                self.end(number);
                return;
            }
        }
        if slot.phase == Phase::Discover {
            tally.offer(now.saturating_sub(slot.asked));
            if flow == Flow::Exchange {
                self.select(number, &reply, now, tally);
                return;
            }
        } else {
            tally.ack(now.saturating_sub(slot.asked));
            self.acknowledged(slot.client, &reply, tally);
        }
        tally.done(now, now.saturating_sub(slot.begun));
        self.end(number);
    }

    /// A client whose choice is refused asks for another offer; one that renews has no lease any more.
    fn refused(&mut self, number: u16, now: u64, tally: &mut Tally) {
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return };
        if slot.phase == Phase::Renew {
            self.end(number);
        } else if slot.restarts < RESTARTS {
            slot.restarts += 1;
            slot.xid = slot.xid.wrapping_add(1 << 16);
            slot.lease = Lease::default();
            slot.phase = Phase::Discover;
            self.ask(number, now, tally);
        } else {
            tally.lost += 1;
            self.end(number);
        }
    }

    fn select(&mut self, number: u16, offer: &Message, now: u64, tally: &mut Tally) {
        if let Some(slot) = self.slots.get_mut(usize::from(number)) {
            slot.lease = Lease { address: offer.yiaddr, server: offer.server.unwrap_or_default() };
            slot.phase = Phase::Select;
            self.ask(number, now, tally);
        }
    }

    /// Notes who has the address now, and whether somebody else had it.
    fn acknowledged(&mut self, client: u32, ack: &Message, tally: &mut Tally) {
        let lease = Lease { address: ack.yiaddr, server: ack.server.unwrap_or_default() };
        let before =
            self.lease(client.wrapping_sub(self.first_client)).map(|known| std::mem::replace(known, lease));
        match before {
            Some(before) if before.address == lease.address => return,
            Some(before) if before.address != 0 => self.held.give(before.address),
            Some(_) | None => {}
        }
        if !self.held.take(lease.address) {
            tally.duplicates += 1;
            tally.note(|| {
                format!("{} was acknowledged to two clients", std::net::Ipv4Addr::from(lease.address))
            });
        }
    }

    fn end(&mut self, number: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(number)) {
            slot.phase = Phase::Idle;
            self.free.push(number);
        }
    }
}

/// When the exchanges are due.
struct Pace {
    interval: Option<f64>,
    count: f64,
}

impl Pace {
    fn new(rate: Option<f64>) -> Self {
        Self { interval: rate.map(|rate| 1e9 / rate), count: 0.0 }
    }

    /// When the next exchange was due, if it is by `now`.
    fn due(&self, now: u64) -> Option<u64> {
        self.wake().map_or(Some(now), |due| (due <= now).then_some(due))
    }

    /// When the next exchange is due; None where there is no pace.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of nanoseconds"
    )]
    fn wake(&self) -> Option<u64> {
        self.interval.map(|interval| (interval * self.count) as u64)
    }

    fn next(&mut self) {
        self.count += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_does_not_wait_for_what_is_late() {
        let mut pace = Pace::new(Some(1000.0));
        assert_eq!(pace.due(0), Some(0));
        pace.next();
        assert_eq!((pace.due(999_999), pace.wake()), (None, Some(1_000_000)));
        assert_eq!(pace.due(5_000_000), Some(1_000_000));
        pace.next();
        assert_eq!(pace.due(5_000_000), Some(2_000_000));
    }

    #[test]
    fn without_a_rate_everything_is_due_at_once() {
        let pace = Pace::new(None);
        assert_eq!((pace.due(7), pace.wake()), (Some(7), None));
    }
}
