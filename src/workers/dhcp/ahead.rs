//! Probing ahead of time: the first of the DHCP workers probes free addresses while nothing else is to be done, so that a
//! new client hardly ever waits. Slow on purpose: a link of silent addresses must not notice it.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::dhcp::Pipeline;
use crate::dhcp::check::ProbeMethod;
use crate::lease::{self, LeaseManager, LeaseStore, Probes, Timestamp};

/// Between two bursts, and probes in one: 20 probes a second.
const PACE: Duration = Duration::from_millis(250);
const BURST: usize = 5;
/// Where every free address is known, it is looked for new ones no more often.
const REST: Duration = Duration::from_secs(1);
/// Bursts in a row without a find before it rests: one looks at a part of a pool only.
const LOOKS: u32 = 16;

#[derive(Debug)]
pub(super) struct Ahead {
    cursor: lease::Ahead,
    next: Instant,
    asked: Vec<(Ipv4Addr, Instant)>,
    timeout: Duration,
    empty: u32,
}

impl Ahead {
    pub(super) fn new(timeout: Duration, now: Instant) -> Self {
        Self { cursor: lease::Ahead::default(), next: now, asked: Vec::new(), timeout, empty: 0 }
    }

    /// Packets go first.
    pub(super) fn step_back(&mut self, now: Instant) {
        self.next = self.next.max(now + PACE);
    }

    /// When there is something to be done.
    pub(super) fn next(&self) -> Instant {
        self.asked.first().map_or(self.next, |(_, deadline)| self.next.min(*deadline))
    }

    /// Notes the silence of those asked before; of how many.
    pub(super) fn settle(&mut self, probes: Probes, at: Instant, now: Timestamp) -> usize {
        let over = self.asked.iter().take_while(|(_, deadline)| *deadline <= at).count();
        self.asked.drain(..over).filter(|(address, _)| probes.clear(*address, now)).count()
    }

    /// The next burst, if it is time for one.
    pub(super) fn burst<S: LeaseStore>(
        &mut self,
        leases: &LeaseManager<S>,
        pipeline: &Pipeline,
        probes: Probes,
        at: Instant,
    ) -> Vec<(Ipv4Addr, ProbeMethod)> {
        let mut burst = Vec::new();
        if at < self.next {
            return burst;
        }
        let topology = leases.topology();
        let method = |subnet| {
            let network = topology.subnet(subnet)?.network;
            pipeline.probe_ahead(subnet, probes.is_relayed(network.first()))
        };
        let wanted = |pool: &lease::PoolSpec| method(pool.subnet).is_some();
        while burst.len() < BURST {
            let Some(address) = leases.next_unprobed(&mut self.cursor, &wanted) else { break };
            let method = topology.subnet_of(address).and_then(method);
            // A pool that is used up goes round quickly.
            if self.asked.iter().any(|(asked, _)| *asked == address)
                || burst.iter().any(|(other, _)| *other == address)
            {
                break;
            }
            burst.extend(method.map(|method| (address, method)));
        }
        self.empty = if burst.is_empty() { self.empty.saturating_add(1) } else { 0 };
        self.next = at + if self.empty > LOOKS { REST } else { PACE };
        self.asked.extend(burst.iter().map(|(address, _)| (*address, at + self.timeout)));
        burst
    }
}
