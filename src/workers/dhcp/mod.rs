//! A DHCP worker: receives packets in batches and hands them to the pipeline. Those that promise nothing are answered
//! first; then the leases of all the others are committed at once, and only then do their replies leave.
//!
//! ```text
//! recvmmsg ≤ 64 → accept each ─┬→ DISCOVER, INFORM: catch up → handle each → sendmmsg
//!                     ▲        └→ REQUEST, …: BEGIN → handle each → COMMIT (fsync) → sendmmsg
//!                     │                               └── park: probe an address ──┐
//!                     └──────────────── answer, or no answer in time ──────────────┘
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `batch`, `disk`, `send`, `account` | from datagrams to committed replies · the fsync of a large batch · their sending · counters and log lines |
//! | `pressure` | whether more comes than can be answered |
//! | `checker`, `parked`, `prober`, `ahead` | the conflict check: its steps · packets that wait · the wire · addresses probed ahead |
//!
//! Several workers share the sockets, the offers and the lease file; none knows of the others. When the lease
//! file cannot be written, no ACK leaves; offers go on.

pub mod account;
mod ahead;
mod answerers;
mod batch;
mod checker;
mod disk;
mod parked;
mod pressure;
mod prober;
mod send;

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon_utils::clock::boot_time;
use daemon_utils::socket::{self, DatagramBatch, Interface, SocketMemory};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::pace::Backoff;
use super::regions::Region;
use super::{Context, Heard, Order, Word, hear};
use crate::dhcp::quarantine::Quarantine;
use crate::dhcp::rate::Rates;
use crate::dhcp::{InterfaceInfo, Packet, Pipeline, Silence};
use crate::lease::{Access, EngineSettings, LeaseManager, Offers, Probes, SqliteStore, Topology};
use crate::stats::{Counter, Gauge, Slot};

use account::Account;
use batch::{Batch, Commit, Worked};
use checker::Checker;
use disk::{Disk, Promised};
use parked::Owned;
use pressure::Pressure;
use prober::Prober;
use send::Sender;

/// Packets in a batch at most: one fsync serves them all, and none waits for more than 63 others.
const BATCH: usize = 64;
/// What a packet normally needs; longer ones (up to `LONGEST`) are received whole all the same.
const SLOT_BYTES: usize = 1536;
const LONGEST: usize = 16 * 1024;
/// An idle worker follows the others this often, so that it never has much to catch up on.
const FOLLOW: Duration = Duration::from_secs(1);

/// So often the sockets' queues are looked at, and after so many batches at most the clock is asked whether it is time.
const LOOK: Duration = Duration::from_millis(900);
const LOOK_BATCHES: u32 = 16;

/// What a DHCP worker inherits.
#[derive(Debug)]
pub struct Inputs {
    /// The interfaces that are served, with their sockets.
    pub sockets: Vec<(Interface, OwnedFd)>,
    /// The send-only packet socket.
    pub packet: Option<OwnedFd>,
    /// Sockets for ARP probes, with the index of their interface.
    pub arp: Vec<(u32, OwnedFd)>,
    /// The socket for ICMP echo.
    pub icmp: Option<OwnedFd>,
}

/// Serves until main says otherwise. Errors: what keeps it from serving at all.
pub fn run(context: &Context, inputs: Inputs) -> Result<(), String> {
    let Inputs { sockets, packet, arp, icmp } = inputs;
    let sockets: Arc<[(Interface, OwnedFd)]> = sockets.into();
    let probes = Probes::new(Region::Probes.of(context.shared));
    let prober = Prober::new(sockets.iter().map(|(interface, _)| interface), arp, icmp, probes);
    let mut worker = Worker::open(context, &sockets, packet, prober, probes)?;
    context.say(&Word::Ready);
    let mut serving = false;
    // Told to stop reading: what waits for a probe is finished first.
    let mut leaving = false;
    let mut kernel_drops = KernelDrops::default();
    loop {
        let pauses = if serving { &worker.pauses[..] } else { &[] };
        let woken = wait(context, &sockets, pauses, (serving || leaving).then_some(&worker.checker))?;
        if woken.main {
            match hear(&context.channel).map_err(|error| format!("could not hear main: {error}"))? {
                Heard::Order(Order::Begin) => {
                    serving = true;
                    kernel_drops.look(&sockets);
                    if context.index == 0 {
                        let missed = kernel_drops.missed(context.shared.counter(Counter::SocketDroppedDhcp));
                        context.slot.add(Counter::SocketDroppedDhcp, missed);
                    }
                }
                Heard::Order(Order::Quiesce) => {
                    (serving, leaving) = (false, true);
                    worker.checker.leave();
                }
                Heard::Order(Order::Stop) | Heard::MainGone => return Ok(()),
                Heard::Order(Order::Reopen | Order::Verdict(..)) | Heard::Nothing => (),
            }
        }
        if leaving {
            worker.resume(&sockets, woken.answers, leaving);
            if worker.checker.is_idle() {
                worker.disk = None;
                context.say(&Word::Quiet);
                return Ok(());
            }
            continue;
        }
        if !serving {
            continue;
        }
        let resumed = worker.resume(&sockets, woken.answers, leaving);
        let busy = worker.serve(&sockets)? || resumed;
        if !busy {
            worker.follow();
        }
        worker.checker.probe_ahead(&worker.batch, busy);
        context.slot.set(Gauge::Waiting, worker.checker.waiting() as u64);
        // All workers see the same sockets: one of them reports.
        if context.index == 0 && worker.is_time_to_look(busy) {
            let dropped = kernel_drops.look(&sockets);
            context.slot.add(Counter::SocketDroppedDhcp, dropped);
            kernel_drops.publish(context.slot);
        }
    }
}

/// What a wait has ended with.
struct Woken {
    /// Main has said something.
    main: bool,
    /// There may be answers to probes.
    answers: bool,
}

/// Waits for packets on those sockets that have a pause which is over (none, before serving), and for answers to probes.
fn wait(
    context: &Context,
    sockets: &[(Interface, OwnedFd)],
    pauses: &[Backoff],
    checker: Option<&Checker>,
) -> Result<Woken, String> {
    let now = Instant::now();
    let mut watched = vec![PollFd::new(context.channel.as_fd(), PollFlags::POLLIN)];
    let mut longest = FOLLOW;
    for ((_, fd), pause) in sockets.iter().zip(pauses) {
        match pause.left(now) {
            None => watched.push(PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
            Some(left) => longest = longest.min(left),
        }
    }
    // At least main's channel stands before them.
    let probes_at = watched.len();
    if let Some(checker) = checker {
        watched.extend(checker.descriptors(now).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let left = checker.next(now).map(|next| next.saturating_duration_since(now));
        longest = longest.min(left.unwrap_or(FOLLOW));
    }
    // poll(2) counts in milliseconds: rounded up, or the end of a wait would be spent in circles.
    let longest =
        Duration::from_millis(u64::try_from(longest.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
    let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
    match poll(&mut watched, timeout) {
        Ok(_) => {
            let mut ready = watched.iter().map(|one| one.any().unwrap_or(true));
            Ok(Woken {
                main: ready.next().unwrap_or(true),
                answers: ready.skip(probes_at - 1).any(|ready| ready),
            })
        }
        Err(nix::errno::Errno::EINTR) => Ok(Woken { main: false, answers: false }),
        Err(errno) => Err(format!("could not wait for packets: {errno}")),
    }
}

/// Everything that one worker works with.
struct Worker {
    inbox: DatagramBatch,
    batch: Batch,
    sender: Sender,
    /// None where a lease need not survive a loss of power: then nothing waits for the disk.
    disk: Option<Disk>,
    checker: Checker,
    /// When the other writers were last followed.
    followed: Option<Instant>,
    /// When the sockets' queues were last looked at.
    looked: Option<Instant>,
    /// Batches since then.
    batches: u32,
    /// For each socket: after a failure to receive it is left alone for a while.
    pauses: Vec<Backoff>,
    /// For each socket: how full its queue is.
    pressures: Vec<Pressure>,
}

impl Worker {
    fn open(
        context: &Context,
        sockets: &Arc<[(Interface, OwnedFd)]>,
        packet: Option<OwnedFd>,
        prober: Prober,
        probes: Probes,
    ) -> Result<Self, String> {
        let config = &context.config;
        let topology = Topology::new(config);
        let store = &config.dhcp.store;
        let store = SqliteStore::open(&store.path, store.durability).map_err(|error| error.to_string())?;
        let clock = store.clock().map_err(|error| error.to_string())?;
        let syncer = store.syncer();
        let settings = EngineSettings { reserved: own_addresses(sockets), ..EngineSettings::new(config) };
        let offers = Offers::new(Region::Offers.of(context.shared));
        let leases = LeaseManager::open(Arc::clone(&topology), settings, store, offers)
            .map_err(|error| error.to_string())?
            .with_probes(probes);
        let rates = Rates::new(Region::Rates.of(context.shared));
        let quarantine = Quarantine::new(Region::Quarantine.of(context.shared));
        let interfaces = sockets.iter().map(|(interface, _)| InterfaceInfo::from(interface));
        let pipeline = Pipeline::new(Arc::clone(config), topology, interfaces.collect(), rates)
            .with_means(prober.means());
        let account = || Account::new(context.slot, context.shared, Arc::clone(config), rates);
        let start = |syncer| -> std::io::Result<Disk> {
            let packet = packet.as_ref().map(OwnedFd::try_clone).transpose()?;
            let sender = Sender::new(BATCH, packet);
            Disk::start(disk::Means { syncer, sockets: Arc::clone(sockets), sender, account: account() })
        };
        let disk = syncer.map(start).transpose();
        let disk =
            disk.map_err(|error| format!("could not start the thread that waits for the disk: {error}"))?;
        Ok(Self {
            inbox: DatagramBatch::new(BATCH, SLOT_BYTES, LONGEST),
            batch: Batch::new(pipeline, leases, clock, account(), quarantine),
            sender: Sender::new(BATCH, packet),
            disk,
            checker: Checker::new(prober, probes, config.dhcp.conflict_check.timeout, context.index == 0),
            followed: None,
            looked: None,
            batches: 0,
            pauses: sockets.iter().map(|_| Backoff::default()).collect(),
            pressures: sockets.iter().map(|_| Pressure::default()).collect(),
        })
    }

    /// Takes one batch from each socket that has something; whether there was anything.
    /// Errors: what this worker cannot go on without.
    fn serve(&mut self, sockets: &[(Interface, OwnedFd)]) -> Result<bool, String> {
        let mut worked = false;
        let watched = self.pauses.iter_mut().zip(&mut self.pressures);
        for (socket, ((interface, fd), (pause, pressure))) in sockets.iter().zip(watched).enumerate() {
            let received = Instant::now();
            if pause.left(received).is_some() {
                continue;
            }
            self.batch.receiving();
            match self.inbox.receive(fd.as_fd()) {
                Ok(0) => (),
                Ok(count) => {
                    worked = true;
                    pause.succeeded();
                    let pressed = pressure.after(count, || socket::memory(fd.as_fd()).ok());
                    self.batch.leases.press(pressed);
                    let long = batch::long_ones(&self.inbox);
                    let parts = self.batch.accept(&self.inbox, &long, interface.index);
                    for (access, part) in parts.each() {
                        let disk = self.disk.as_ref().filter(|_| disk::is_large(part.len()));
                        let commit = if disk.is_some() { Commit::Unsynced } else { Commit::Synced };
                        let Worked { replies, parked, unsynced } = self.batch.work(access, part, commit);
                        if let (Some(disk), Some(committing)) = (disk, unsynced) {
                            disk.hand_over(Promised { replies, socket, received, committing })?;
                        } else {
                            let sending = Instant::now();
                            let failed = self.sender.send(fd.as_fd(), &replies);
                            self.batch.account.sent(&replies, &failed, received, sending);
                        }
                        for (place, park) in parked {
                            if let Some(packet) = owned(&self.inbox, place, socket, received) {
                                self.checker.park(packet, park, &mut self.batch);
                            }
                        }
                    }
                }
                // An interface that went away says so for ever; main brings a new generation.
                Err(error) => {
                    pause.failed(received);
                    self.batch.account.receive_failed(&interface.name, &error);
                }
            }
        }
        Ok(worked)
    }

    /// Handles the packets once more whose probe is over; whether there were any. What has to wait again is dropped where
    /// the worker is leaving: the client sends it again, and the next generation answers.
    fn resume(&mut self, sockets: &[(Interface, OwnedFd)], answers: bool, leaving: bool) -> bool {
        let due = self.checker.listen(&mut self.batch, answers);
        if due.is_empty() {
            return false;
        }
        // What has waited is not turned away at the end.
        self.batch.leases.press(false);
        for (socket, (interface, fd)) in sockets.iter().enumerate() {
            let here: Vec<&Owned> =
                due.iter().map(|one| &one.packet).filter(|packet| packet.socket == socket).collect();
            for some in here.chunks(BATCH) {
                let packets = some.iter().map(|owned| Packet {
                    bytes: &owned.bytes,
                    interface: interface.index,
                    from: owned.from,
                    to: owned.to,
                    at: boot_time(),
                });
                let packets: Vec<Packet<'_>> = packets.collect();
                let received = some.iter().map(|owned| owned.received).min();
                for (access, part) in self.batch.accept_again(&packets).each() {
                    let Worked { replies, parked, .. } = self.batch.work(access, part, Commit::Synced);
                    let sending = Instant::now();
                    let failed = self.sender.send(fd.as_fd(), &replies);
                    self.batch.account.sent(&replies, &failed, received.unwrap_or(sending), sending);
                    for (place, park) in parked {
                        match some.get(place) {
                            Some(owned) if !leaving => {
                                self.checker.park((*owned).clone(), park, &mut self.batch);
                            }
                            Some(_) | None => self.batch.account.silence(Silence::Unchecked, None),
                        }
                    }
                }
            }
        }
        true
    }

    /// Whether the sockets' queues were not looked at for a while. A busy worker asks the clock now and then only.
    fn is_time_to_look(&mut self, busy: bool) -> bool {
        self.batches += 1;
        if busy && self.batches < LOOK_BATCHES || self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return false;
        }
        (self.batches, self.looked) = (0, Some(Instant::now()));
        true
    }

    /// Follows the other writers when there was nothing to do for a while.
    fn follow(&mut self) {
        if self.followed.is_some_and(|followed| followed.elapsed() < FOLLOW) {
            return;
        }
        self.followed = Some(Instant::now());
        if let Err(error) = self.batch.begin(Access::Read) {
            log::debug!("could not follow the lease file: {error}");
        }
        self.batch.leases.abort();
    }
}

/// A datagram of the batch in memory of its own.
fn owned(inbox: &DatagramBatch, place: usize, socket: usize, received: Instant) -> Option<Owned> {
    let datagram = inbox.get(place);
    let std::net::SocketAddr::V4(from) = datagram.peer else { return None };
    let to = match datagram.local {
        Some(std::net::IpAddr::V4(to)) => Some(to),
        Some(std::net::IpAddr::V6(_)) | None => None,
    };
    Some(Owned { bytes: batch::copy(inbox, place), socket, from, to, received, tries: 0 })
}

fn own_addresses(sockets: &[(Interface, OwnedFd)]) -> Vec<Ipv4Addr> {
    sockets
        .iter()
        .flat_map(|(interface, _)| interface.addresses.iter().map(|(address, _)| *address))
        .collect()
}

/// What the kernel had to drop because the workers were too slow. The sockets count since they were opened, so
/// only what is new since the last look is ours to report, and what nobody reported while no worker looked.
#[derive(Default)]
struct KernelDrops {
    known: Vec<u32>,
    queued_bytes: u64,
    limit_bytes: u64,
}

impl KernelDrops {
    fn look(&mut self, sockets: &[(Interface, OwnedFd)]) -> u64 {
        let memory = |fd: &OwnedFd| socket::memory(fd.as_fd()).unwrap_or_default();
        let queues: Vec<SocketMemory> = sockets.iter().map(|(_, fd)| memory(fd)).collect();
        self.queued_bytes = queues.iter().map(|queue| u64::from(queue.queued_bytes)).sum();
        self.limit_bytes = queues.iter().map(|queue| u64::from(queue.limit_bytes)).sum();
        let now: Vec<u32> = queues.iter().map(|queue| queue.dropped).collect();
        let new = now.iter().zip(&self.known).map(|(now, known)| u64::from(now.wrapping_sub(*known)));
        let new = new.sum();
        self.known = now;
        new
    }

    /// How full the queues were at the last look.
    fn publish(&self, slot: Slot) {
        slot.set(Gauge::QueueDhcp, self.queued_bytes);
        slot.set(Gauge::QueueLimitDhcp, self.limit_bytes);
    }

    /// What nobody has `counted` yet. Sockets count from their opening and the counter from the daemon's start, so
    /// the sockets' sum is never too high; where a reload replaced one it is too low, and then this is nothing.
    fn missed(&self, counted: u64) -> u64 {
        self.known.iter().map(|drops| u64::from(*drops)).sum::<u64>().saturating_sub(counted)
    }
}
