//! Who answers our ARP probes, and for how many addresses: a router with proxy ARP answers for all of them, and so does
//! somebody who wants a pool to run dry. Such answers say nothing about the addresses, so they are not believed.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::lease::HardwareAddress;

/// So many addresses one host may well have.
const MOST: usize = 16;
/// Within this time; as long as an answer counts.
const WITHIN: Duration = Duration::from_secs(600);
/// Hosts that are remembered.
const HOSTS: usize = 256;

/// The hosts that have answered lately.
#[derive(Debug, Default)]
pub(super) struct Answerers {
    hosts: HashMap<HardwareAddress, Host>,
}

#[derive(Debug)]
struct Host {
    since: Instant,
    addresses: HashSet<Ipv4Addr>,
}

/// What an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// The host uses the address.
    Believed,
    /// From now on this host is not believed: to be said.
    TooMany,
    /// It was said already.
    Disregarded,
}

impl Answerers {
    /// A host has answered for an address.
    pub(super) fn judge(&mut self, by: HardwareAddress, address: Ipv4Addr, now: Instant) -> Worth {
        self.hosts.retain(|_, host| now.saturating_duration_since(host.since) < WITHIN);
        if self.hosts.len() >= HOSTS && !self.hosts.contains_key(&by) {
            // So many hosts with addresses of ours are no proxy. What is forgotten begins anew.
            self.hosts.clear();
        }
        let host = self.hosts.entry(by).or_insert_with(|| Host { since: now, addresses: HashSet::new() });
        if host.addresses.len() > MOST {
            return Worth::Disregarded;
        }
        host.addresses.insert(address);
        if host.addresses.len() > MOST { Worth::TooMany } else { Worth::Believed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> HardwareAddress {
        HardwareAddress::new(1, &[2, 0, 0, 0, 0, last]).unwrap()
    }

    #[test]
    fn host_that_answers_for_too_many_addresses_is_not_believed_for_a_while() {
        let (mut answerers, now) = (Answerers::default(), Instant::now());
        let mut judge = |last: u8, by: u8, now| answerers.judge(mac(by), Ipv4Addr::new(10, 0, 0, last), now);
        for last in 0..16 {
            assert_eq!(judge(last, 1, now), Worth::Believed);
        }
        assert_eq!(judge(3, 1, now), Worth::Believed, "an address that it has answered for already");
        assert_eq!(judge(99, 1, now), Worth::TooMany);
        assert_eq!(judge(100, 1, now), Worth::Disregarded);
        assert_eq!(judge(100, 2, now), Worth::Believed, "another host");
        assert_eq!(judge(100, 1, now + WITHIN), Worth::Believed);
    }

    #[test]
    fn hosts_without_number_do_not_fill_the_memory() {
        let (mut answerers, now) = (Answerers::default(), Instant::now());
        for n in 0..=255_u8 {
            for m in 0..4 {
                let by = HardwareAddress::new(1, &[2, 0, 0, 0, m, n]).unwrap();
                answerers.judge(by, Ipv4Addr::new(10, 0, m, n), now);
            }
        }
        assert!(answerers.hosts.len() <= HOSTS);
    }
}
