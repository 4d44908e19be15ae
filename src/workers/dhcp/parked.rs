//! The packets that wait for a probe: owned copies, bounded, each with its deadline. Pure; the worker gives the time and
//! says what has become known.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::dhcp::check::{Park, ProbeMethod};
use crate::lease::HardwareAddress;

/// Packets that wait at one time, in one worker.
const CAPACITY: usize = 256;
/// So many of them from one link: whoever invents clients there leaves places for those of the others.
const OF_ONE_LINK: usize = 192;
/// Addresses that are tried for one packet: its client sends it again after some seconds (RFC 2131 §4.1).
const TRIES: u8 = 8;

/// The waiting packets.
#[derive(Debug)]
pub(super) struct Parked {
    waiting: Vec<Waiting>,
    timeout: Duration,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) packet: Owned,
    pub(super) park: Park,
    deadline: Instant,
    /// When the question is asked once more: frames get lost.
    again: Option<Instant>,
    /// Whether the question could be sent.
    pub(super) asked: bool,
}

/// A packet in memory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) bytes: Box<[u8]>,
    /// Place of its socket in the worker's list.
    pub(super) socket: usize,
    pub(super) from: SocketAddrV4,
    pub(super) to: Option<Ipv4Addr>,
    pub(super) received: Instant,
    /// How often it has been parked before.
    pub(super) tries: u8,
}

impl Owned {
    /// The link that it came from: its socket, and the relay (giaddr, 24 bytes into the message).
    fn link(&self) -> (usize, Option<&[u8]>) {
        (self.socket, self.bytes.get(24..28))
    }
}

/// What becomes of a packet that is to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parking {
    /// It waits; the address is to be probed now.
    Probe,
    /// It took the place of the same client's packet before, whose probe is under way.
    Replaced,
    /// Too many wait, or too many addresses were tried for it.
    Refused,
}

impl Parked {
    /// With the time that an answer is waited for.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { waiting: Vec::new(), timeout }
    }

    /// Of the same client's packets for the same address the latest counts: it was sent again.
    pub(super) fn park(&mut self, packet: Owned, park: Park, now: Instant) -> Parking {
        let same = |other: &&mut Waiting| {
            other.park.address == park.address
                && other.park.client == park.client
                && other.packet.socket == packet.socket
        };
        if let Some(known) = self.waiting.iter_mut().find(same) {
            let (received, tries) = (known.packet.received, known.packet.tries);
            known.packet = Owned { received, tries, ..packet };
            known.park = park;
            return Parking::Replaced;
        }
        let tries = packet.tries + 1;
        let link = packet.link();
        let full = self.waiting.len() >= CAPACITY
            || self.waiting.len() >= OF_ONE_LINK
                && self.waiting.iter().filter(|one| one.packet.link() == link).count() >= OF_ONE_LINK;
        if tries > TRIES || full {
            return Parking::Refused;
        }
        let (deadline, again) = (now + self.timeout, Some(now + self.timeout / 2));
        let packet = Owned { tries, ..packet };
        self.waiting.push(Waiting { packet, park, deadline, again, asked: true });
        Parking::Probe
    }

    /// The question about this address cannot be asked: its packet need not wait.
    pub(super) fn give_up(&mut self, address: Ipv4Addr, now: Instant) {
        for one in self.waiting.iter_mut().filter(|one| one.park.address == address) {
            one.deadline = now;
            one.again = None;
            one.asked = false;
        }
    }

    /// Takes out the packets whose probe is over: those that `is_known` says something of, and those whose time is up.
    pub(super) fn due(
        &mut self,
        now: Instant,
        is_known: impl Fn(Ipv4Addr, &HardwareAddress) -> bool,
    ) -> Vec<Waiting> {
        let over = |one: &mut Waiting| one.deadline <= now || is_known(one.park.address, &one.park.client);
        self.waiting.extract_if(.., over).collect()
    }

    /// The questions to be asked again now.
    pub(super) fn ask_again(&mut self, now: Instant) -> Vec<(Ipv4Addr, ProbeMethod)> {
        let due = self.waiting.iter_mut().filter(|one| one.again.is_some_and(|again| again <= now));
        due.map(|one| {
            one.again = None;
            (one.park.address, one.park.method)
        })
        .collect()
    }

    /// When something is to be done at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.iter().map(|one| one.again.map_or(one.deadline, |again| again.min(one.deadline))).min()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(150);

    fn packet(byte: u8) -> Owned {
        let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        Owned { bytes: [byte].into(), socket: 0, from, to: None, received: Instant::now(), tries: 0 }
    }

    fn park(host: u8) -> Park {
        let address = Ipv4Addr::new(10, 0, 0, host);
        Park { address, method: ProbeMethod::Icmp, client: HardwareAddress::default() }
    }

    #[test]
    fn packet_waits_until_its_time_is_up_or_something_is_known() {
        let (mut parked, now) = (Parked::new(TIMEOUT), Instant::now());
        for host in 1..=3 {
            assert_eq!(parked.park(packet(host), park(host), now), Parking::Probe);
        }
        let taken = |due: Vec<Waiting>| due.iter().map(|one| one.packet.bytes[0]).collect::<Vec<_>>();
        assert!(taken(parked.due(now, |_, _| false)).is_empty());
        assert_eq!(taken(parked.due(now, |address, _| address.octets()[3] == 2)), [2]);
        parked.give_up(Ipv4Addr::new(10, 0, 0, 3), now);
        let due = parked.due(now, |_, _| false);
        assert!(due.iter().all(|one| !one.asked), "its silence says nothing");
        assert_eq!(taken(due), [3]);
        assert_eq!(parked.next(), Some(now + TIMEOUT / 2));
        assert_eq!(parked.ask_again(now + TIMEOUT / 2).len(), 1);
        assert_eq!(parked.ask_again(now + TIMEOUT / 2).len(), 0);
        assert_eq!(parked.next(), Some(now + TIMEOUT));
        assert_eq!(taken(parked.due(now + TIMEOUT, |_, _| false)), [1]);
        assert!(parked.is_empty() && parked.next().is_none());
    }

    #[test]
    fn packet_that_is_sent_again_takes_the_place_of_the_first_and_waits_no_longer() {
        let (mut parked, now) = (Parked::new(TIMEOUT), Instant::now());
        parked.park(packet(1), park(1), now);
        assert_eq!(parked.park(packet(9), park(1), now + TIMEOUT / 2), Parking::Replaced);
        let due = parked.due(now + TIMEOUT, |_, _| false);
        assert_eq!(due.iter().map(|one| one.packet.bytes[0]).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn packet_of_another_client_for_the_same_address_waits_by_itself() {
        let (mut parked, now) = (Parked::new(TIMEOUT), Instant::now());
        parked.park(packet(1), park(1), now);
        let another = HardwareAddress::new(1, &[2, 0, 0, 0, 0, 9]).unwrap();
        assert_eq!(parked.park(packet(2), Park { client: another, ..park(1) }, now), Parking::Probe);
        assert_eq!(parked.due(now + TIMEOUT, |_, _| false).len(), 2);
    }

    #[test]
    fn waiting_packets_and_tries_are_bounded() {
        let (mut parked, now) = (Parked::new(TIMEOUT), Instant::now());
        let mut tried = packet(1);
        for _ in 0..TRIES {
            assert_eq!(parked.park(tried, park(1), now), Parking::Probe);
            tried = parked.due(now + TIMEOUT, |_, _| false).remove(0).packet;
        }
        assert_eq!(parked.park(tried, park(1), now), Parking::Refused);
        let mut fill = |socket: usize, first: u32| {
            let places = (first..=first + 256).map(Ipv4Addr::from);
            let parkings: Vec<_> = places
                .map(|address| parked.park(Owned { socket, ..packet(1) }, Park { address, ..park(1) }, now))
                .collect();
            assert_eq!(parkings.last(), Some(&Parking::Refused));
            parkings.iter().filter(|parking| **parking == Parking::Probe).count()
        };
        assert_eq!(fill(0, 0x0a00_0000), OF_ONE_LINK);
        assert_eq!(fill(1, 0x0b00_0000), CAPACITY - OF_ONE_LINK, "another link still finds places");
    }

    #[test]
    fn a_link_is_an_interface_or_a_relay() {
        let relayed = |octet: u8| {
            let mut bytes = vec![0; 240];
            bytes[27] = octet;
            Owned { bytes: bytes.into(), ..packet(1) }
        };
        assert_ne!(relayed(1).link(), relayed(2).link());
        assert_eq!(relayed(1).link(), relayed(1).link());
        assert_ne!(Owned { socket: 1, ..relayed(1) }.link(), relayed(1).link());
    }
}
