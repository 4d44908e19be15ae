//! Questions and answers on the wire: sends ARP probes and ICMP echo requests, reads what comes back. Decides nothing,
//! remembers nothing: what was asked and what was found stands in the shared memory ([`Probes`]).

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use daemon_utils::socket::{self, Echo, Interface};

use crate::dhcp::check::{Means, ProbeMethod};
use crate::lease::{Answered, HardwareAddress, Probes, Timestamp};
use crate::workers::pace::Backoff;

/// Answers read in one go: the batch goes on in between.
const AT_ONCE: usize = 64;
/// Ethernet, as the hardware type in DHCP and ARP.
const ETHERNET: u8 = 1;

pub(super) struct Prober {
    arp: Vec<Arp>,
    icmp: Option<OwnedFd>,
    probes: Probes,
    /// After a failure to receive the sockets are left alone for a while.
    pause: Backoff,
}

struct Arp {
    interface: u32,
    own: [u8; 6],
    fd: OwnedFd,
}

/// Somebody was found at an address that is not clear any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) address: Ipv4Addr,
    pub(super) by: Option<HardwareAddress>,
}

impl Prober {
    /// With the sockets that main has opened, each of an interface that the worker serves.
    pub(super) fn new<'a>(
        interfaces: impl Iterator<Item = &'a Interface>,
        mut arp: Vec<(u32, OwnedFd)>,
        icmp: Option<OwnedFd>,
        probes: Probes,
    ) -> Self {
        let arp = interfaces.filter_map(|interface| {
            let at = arp.iter().position(|(index, _)| *index == interface.index)?;
            Some(Arp { interface: interface.index, own: interface.mac?, fd: arp.swap_remove(at).1 })
        });
        Self { arp: arp.collect(), icmp, probes, pause: Backoff::default() }
    }

    /// What there is to probe with.
    pub(super) fn means(&self) -> Means {
        Means { arp: self.arp.iter().map(|arp| arp.interface).collect(), icmp: self.icmp.is_some() }
    }

    /// The sockets that answers come in by; none while they are left alone.
    pub(super) fn descriptors(&self, now: Instant) -> impl Iterator<Item = BorrowedFd<'_>> {
        let open = self.pause.left(now).is_none();
        let all = self.arp.iter().map(|arp| &arp.fd).chain(&self.icmp).map(AsFd::as_fd);
        all.filter(move |_| open)
    }

    /// Asks who uses an address; false where the question could not be sent.
    pub(super) fn ask(&self, address: Ipv4Addr, method: ProbeMethod) -> bool {
        let sent = match method {
            ProbeMethod::Arp(interface) => {
                let Some(arp) = self.arp.iter().find(|arp| arp.interface == interface) else { return false };
                socket::send_arp_probe(arp.fd.as_fd(), arp.own, address)
            }
            ProbeMethod::Icmp => {
                let Some(fd) = &self.icmp else { return false };
                socket::send_echo(fd.as_fd(), Echo { address, token: self.probes.token(address) })
            }
        };
        sent.inspect_err(|error| log::debug!("could not probe {address}: {error}")).is_ok()
    }

    /// Reads what has come in and notes it for all workers: what belongs into the lease file, and how many answers were
    /// no conflict.
    pub(super) fn hear(&mut self, now: Timestamp) -> (Vec<Found>, usize) {
        let mut found = (Vec::new(), 0);
        if self.pause.left(Instant::now()).is_some() {
            return found;
        }
        let mut failed = None;
        for arp in &self.arp {
            for _ in 0..AT_ONCE {
                match socket::receive_arp(arp.fd.as_fd(), arp.own, AT_ONCE) {
                    Ok(Some(claim)) => {
                        let by = HardwareAddress::new(ETHERNET, &claim.mac);
                        self.note(claim.address, by, claim.probing, now, &mut found);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(fd) = &self.icmp {
            for _ in 0..AT_ONCE {
                match socket::receive_echo(fd.as_fd(), AT_ONCE) {
                    Ok(Some(echo)) if echo.token == self.probes.token(echo.address) => {
                        self.note(echo.address, None, false, now, &mut found);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
        match failed {
            None => self.pause.succeeded(),
            Some(error) => {
                if self.pause.failed(Instant::now()) {
                    log::debug!("could not receive answers to probes: {error}");
                }
            }
        }
        found
    }

    fn note(
        &self,
        address: Ipv4Addr,
        by: Option<HardwareAddress>,
        wants: bool,
        now: Timestamp,
        found: &mut (Vec<Found>, usize),
    ) {
        match self.probes.answered(address, by.as_ref(), wants, now) {
            Answered::InUse => found.0.push(Found { address, by }),
            Answered::Harmless => found.1 += 1,
            Answered::Unasked => {}
        }
    }
}
