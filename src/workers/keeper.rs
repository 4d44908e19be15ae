//! The keeper: housekeeping of the lease file (`lease::Keeper`), a bounded step at a time. This file is its loop only:
//! orders from main, the pace, the log, the gauges. No packet ever waits for it, and nothing is lost without it.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::regions::Region;
use super::{Context, Heard, Order, Word, hear};
use crate::event;
use crate::lease::{Ended, Keeper, LeaseEvent, Offers, Probes, StoreError, Topology};
use crate::stats::{Counter, Gauge, PoolFigures};

/// Until the first look at the file, and while main has not said that it begins.
const TICK: Duration = Duration::from_millis(250);

/// After a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two sweeps of the probes; far below the hours in which their times wrap.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Between two sweeps of the offers, which are counted by it: a megabyte to read.
const OFFERS_EVERY: Duration = Duration::from_secs(1);

/// A lease file of this size is read in some 50 ms.
const SMALL_BYTES: u64 = 4 * 1024 * 1024;

/// Between two lines about a failure that lasts.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Serves until main says otherwise. Errors: what keeps it from serving at all.
pub fn run(context: &Context) -> Result<(), String> {
    let topology = Topology::new(&context.config);
    let store = &context.config.dhcp.store;
    // The first answer to a client need not wait for the keeper. A small file is read at once, so that the figures are there
    // as soon as the daemon is.
    let small = std::fs::metadata(&store.path).is_ok_and(|file| file.len() < SMALL_BYTES);
    let open = if small { Keeper::open } else { Keeper::open_unread };
    let keeper = open(&store.path, topology, store.history).map_err(|error| error.to_string())?;
    let mut worker = Worker::new(context, keeper);
    context.say(&Word::Ready);
    let mut serving = false;
    let mut pause = TICK;
    loop {
        match hear(&context.channel).map_err(|error| format!("could not hear main: {error}"))? {
            Heard::Order(Order::Begin) => serving = true,
            Heard::Order(Order::Quiesce) => {
                worker.leave();
                context.say(&Word::Quiet);
                return Ok(());
            }
            Heard::Order(Order::Stop) => {
                worker.finish();
                return Ok(());
            }
            Heard::MainGone => return Ok(()),
            Heard::Order(Order::Reopen | Order::Verdict(..)) => {}
            Heard::Nothing => {
                wait(context, pause)?;
                if serving {
                    pause = worker.step();
                }
            }
        }
    }
}

fn wait(context: &Context, pause: Duration) -> Result<(), String> {
    let mut watched = [PollFd::new(context.channel.as_fd(), PollFlags::POLLIN)];
    match poll(&mut watched, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(format!("could not wait for main: {errno}")),
    }
}

struct Worker<'a> {
    context: &'a Context,
    keeper: Keeper,
    offers: Offers,
    probes: Probes,
    swept: Instant,
    counted: Option<Instant>,
    failing: Option<Instant>,
}

impl<'a> Worker<'a> {
    fn new(context: &'a Context, keeper: Keeper) -> Self {
        let worker = Self {
            context,
            keeper,
            offers: Offers::new(Region::Offers.of(context.shared)),
            probes: Probes::new(Region::Probes.of(context.shared)),
            swept: Instant::now(),
            counted: None,
            failing: None,
        };
        worker.publish();
        worker
    }

    /// One step; how long to wait before the next.
    fn step(&mut self) -> Duration {
        if self.swept.elapsed() >= SWEEP_EVERY {
            self.swept = Instant::now();
            self.probes.sweep(self.keeper.clock().now());
        }
        if self.counted.is_none_or(|counted| counted.elapsed() >= OFFERS_EVERY) {
            self.counted = Some(Instant::now());
            let offers = self.offers.sweep(self.keeper.clock().now());
            self.context.slot.set(Gauge::Offers, offers as u64);
        }
        match self.keeper.step() {
            Ok(step) => {
                if self.failing.take().is_some() {
                    event!(LeaseStoreRecovered; "the lease file is looked after again");
                }
                self.report(&step.ended);
                self.publish();
                step.pause
            }
            Err(error) => {
                self.fail(&error);
                PAUSE
            }
        }
    }

    /// Leaves a folded file behind, for whoever reads it with other tools.
    fn finish(&mut self) {
        if let Err(error) = self.keeper.finish() {
            self.fail(&error);
        }
    }

    fn leave(&mut self) {
        if let Err(error) = self.keeper.leave() {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &StoreError) {
        self.context.slot.count(Counter::ErrorKeeper);
        if self.failing.is_none_or(|said| said.elapsed() >= REPORT_EVERY) {
            self.failing = Some(Instant::now());
            event!(KeeperFailed; "the lease file is not looked after until this is mended: {error}");
        }
    }

    fn report(&self, ended: &[Ended]) {
        for one in ended.iter().filter(|one| one.event == LeaseEvent::Expired) {
            self.context.slot.count(Counter::LeaseExpired);
            event!(DhcpLeaseExpired, mac = one.hardware; "lease of {} expired", one.address);
        }
    }

    fn publish(&self) {
        if !self.keeper.is_read() {
            return;
        }
        self.context.slot.set(Gauge::UnfoldedRows, self.keeper.unfolded());
        for gauge in self.keeper.gauges() {
            let blocked = gauge.size.saturating_sub(gauge.free + gauge.states.iter().sum::<u64>());
            let figures =
                PoolFigures { addresses: gauge.size - blocked, free: gauge.free, leases: gauge.states };
            self.context.shared.set_pool(usize::from(gauge.pool.0), &figures);
        }
        // Behind the pools: the reserved addresses of each subnet.
        let pools = self.context.config.dhcp.subnets.iter().map(|subnet| subnet.pools.len()).sum::<usize>();
        for gauge in self.keeper.reserved_gauges() {
            let free = gauge.size.saturating_sub(gauge.states.iter().sum());
            let figures = PoolFigures { addresses: gauge.size, free, leases: gauge.states };
            self.context.shared.set_pool(pools + usize::from(gauge.subnet.0), &figures);
        }
    }
}
