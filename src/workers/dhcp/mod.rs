//! A DHCP worker: receives packets in batches, hands them to the pipeline, commits the leases of the whole
//! batch at once, and only then sends the replies.
//!
//! ```text
//! recvmmsg ≤ 64 → accept each → BEGIN (if any may write) → handle each → COMMIT (fsync) → sendmmsg
//! ```
//!
//! Several workers share the sockets, the offers and the lease file; none knows of the others. When the lease
//! file cannot be written, no ACK leaves; offers go on.

mod account;
mod batch;
mod send;

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon_utils::socket::{self, DatagramBatch, Interface};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::pace::Backoff;
use super::regions::Region;
use super::{Context, Heard, Order, Word, hear};
use crate::dhcp::rate::Rates;
use crate::dhcp::{InterfaceInfo, Pipeline};
use crate::lease::{Access, EngineSettings, LeaseManager, Offers, SqliteStore, Topology};
use crate::stats::Counter;

use account::Account;
use batch::Batch;
use send::Sender;

/// Packets in a batch at most: one fsync serves them all, and none waits for more than 63 others.
const BATCH: usize = 64;
/// What a packet normally needs; longer ones (up to `LONGEST`) are received whole all the same.
const SLOT_BYTES: usize = 1536;
const LONGEST: usize = 16 * 1024;
/// An idle worker follows the others this often, so that it never has much to catch up on.
const FOLLOW: Duration = Duration::from_secs(1);

/// Serves until main says otherwise. Errors: what keeps it from serving at all.
pub fn run(
    context: &Context,
    sockets: Vec<(Interface, OwnedFd)>,
    packet: Option<OwnedFd>,
) -> Result<(), String> {
    let mut worker = Worker::open(context, &sockets, packet)?;
    context.say(&Word::Ready);
    let mut serving = false;
    let mut kernel_drops = KernelDrops::default();
    loop {
        let pauses = if serving { &worker.pauses[..] } else { &[] };
        if wait(context, &sockets, pauses)? {
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
                    context.say(&Word::Quiet);
                    return Ok(());
                }
                Heard::Order(Order::Stop) | Heard::MainGone => return Ok(()),
                Heard::Order(Order::Reopen | Order::Verdict(..)) | Heard::Nothing => (),
            }
        }
        if serving && !worker.serve(&sockets) && worker.follow() {
            let dropped = kernel_drops.look(&sockets);
            // All workers see the same sockets: one of them reports.
            if context.index == 0 {
                context.slot.add(Counter::SocketDroppedDhcp, dropped);
            }
        }
    }
}

/// Waits for packets on those sockets that have a pause which is over (none, before serving); whether main has said
/// something.
fn wait(context: &Context, sockets: &[(Interface, OwnedFd)], pauses: &[Backoff]) -> Result<bool, String> {
    let now = Instant::now();
    let mut watched = vec![PollFd::new(context.channel.as_fd(), PollFlags::POLLIN)];
    let mut longest = FOLLOW;
    for ((_, fd), pause) in sockets.iter().zip(pauses) {
        match pause.left(now) {
            None => watched.push(PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
            Some(left) => longest = longest.min(left),
        }
    }
    let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
    match poll(&mut watched, timeout) {
        Ok(_) => Ok(watched.first().and_then(PollFd::any).unwrap_or(true)),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(format!("could not wait for packets: {errno}")),
    }
}

/// Everything that one worker works with.
struct Worker {
    inbox: DatagramBatch,
    batch: Batch,
    sender: Sender,
    followed: Instant,
    /// For each socket: after a failure to receive it is left alone for a while.
    pauses: Vec<Backoff>,
}

impl Worker {
    fn open(
        context: &Context,
        sockets: &[(Interface, OwnedFd)],
        packet: Option<OwnedFd>,
    ) -> Result<Self, String> {
        let config = &context.config;
        let topology = Topology::new(config);
        let store = &config.dhcp.store;
        let store = SqliteStore::open(&store.path, store.durability).map_err(|error| error.to_string())?;
        let clock = store.clock().map_err(|error| error.to_string())?;
        let settings = EngineSettings { reserved: own_addresses(sockets), ..EngineSettings::new(config) };
        let offers = Offers::new(Region::Offers.of(context.shared));
        let leases = LeaseManager::open(Arc::clone(&topology), settings, store, offers)
            .map_err(|error| error.to_string())?;
        let rates = Rates::new(Region::Rates.of(context.shared));
        let interfaces = sockets.iter().map(|(interface, _)| InterfaceInfo::from(interface));
        let pipeline = Pipeline::new(Arc::clone(config), topology, interfaces.collect(), rates);
        let account = Account::new(context.slot, Arc::clone(config), rates);
        Ok(Self {
            inbox: DatagramBatch::new(BATCH, SLOT_BYTES, LONGEST),
            batch: Batch::new(pipeline, leases, clock, account),
            sender: Sender::new(BATCH, packet),
            followed: Instant::now(),
            pauses: sockets.iter().map(|_| Backoff::default()).collect(),
        })
    }

    /// Takes one batch from each socket that has something; whether there was anything.
    fn serve(&mut self, sockets: &[(Interface, OwnedFd)]) -> bool {
        let mut worked = false;
        for ((interface, fd), pause) in sockets.iter().zip(&mut self.pauses) {
            let received = Instant::now();
            if pause.left(received).is_some() {
                continue;
            }
            match self.inbox.receive(fd.as_fd()) {
                Ok(0) => (),
                Ok(_) => {
                    worked = true;
                    pause.succeeded();
                    let answers = self.batch.work(&self.inbox, interface.index);
                    let failed = self.sender.send(fd.as_fd(), &answers);
                    self.batch.account.sent(&answers, &failed, received);
                }
                // An interface that went away says so for ever; main brings a new generation.
                Err(error) => {
                    pause.failed(received);
                    self.batch.account.receive_failed(&interface.name, &error);
                }
            }
        }
        worked
    }

    /// Follows the other writers when there was nothing to do for a while; whether it was time to.
    fn follow(&mut self) -> bool {
        if self.followed.elapsed() < FOLLOW {
            return false;
        }
        self.followed = Instant::now();
        if let Err(error) = self.batch.begin(Access::Read) {
            log::debug!("could not follow the lease file: {error}");
        }
        self.batch.leases.abort();
        true
    }
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
}

impl KernelDrops {
    fn look(&mut self, sockets: &[(Interface, OwnedFd)]) -> u64 {
        let now: Vec<u32> = sockets.iter().map(|(_, fd)| socket::dropped(fd.as_fd()).unwrap_or(0)).collect();
        let new = now.iter().zip(&self.known).map(|(now, known)| u64::from(now.wrapping_sub(*known)));
        let new = new.sum();
        self.known = now;
        new
    }

    /// What nobody has `counted` yet. Sockets count from their opening and the counter from the daemon's start, so
    /// the sockets' sum is never too high; where a reload replaced one it is too low, and then this is nothing.
    fn missed(&self, counted: u64) -> u64 {
        self.known.iter().map(|drops| u64::from(*drops)).sum::<u64>().saturating_sub(counted)
    }
}
