//! Slows down what may be a loop. Ports from 1024 to 32767 belong to services as well as, rarely, to clients: another echo
//! service on port 9000 answers an echo as this one does, and one forged datagram would go back and forth between
//! the two for ever, as fast as the machines can. A source with such a port gets a few answers at once and some in a
//! second. What is beyond that is dropped, and a datagram that is dropped loops no more.
//!
//! Systems of today give clients ports from 32768 on (RFC 6335 §6: 49152), which are not slowed down.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// From here on ports are clients'.
const CLIENT_PORTS: u16 = 32_768;
/// Datagrams that one source has echoed at once.
const AT_ONCE: u32 = 100;
/// And then one in this time.
const EVERY: Duration = Duration::from_millis(100);
/// Sources that are told apart, by a hash that nobody outside can foresee. Those that share a place share its answers.
const PLACES: usize = 1024;

/// Who has been echoed how much.
pub(super) struct Brake {
    /// When each place has all its answers again.
    full_again: Box<[Option<Instant>]>,
    hash: RandomState,
}

impl Brake {
    pub(super) fn new() -> Self {
        Self { full_again: vec![None; PLACES].into(), hash: RandomState::new() }
    }

    /// Whether a datagram from here is echoed now; it counts as echoed then.
    pub(super) fn lets_through(&mut self, peer: SocketAddr) -> bool {
        peer.port() >= CLIENT_PORTS || self.take(peer, Instant::now())
    }

    fn take(&mut self, peer: SocketAddr, now: Instant) -> bool {
        let place = self.hash.hash_one((peer.ip(), peer.port())) % PLACES as u64;
        let Some(place) = usize::try_from(place).ok().and_then(|place| self.full_again.get_mut(place)) else {
            return true;
        };
        let from = place.map_or(now, |full| full.max(now));
        if from.saturating_duration_since(now) > EVERY * (AT_ONCE - 1) {
            return false;
        }
        *place = Some(from + EVERY);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echoed(brake: &mut Brake, peer: &str, now: Instant, tries: usize) -> usize {
        let peer = peer.parse().unwrap();
        (0..tries).filter(|_| brake.take(peer, now)).count()
    }

    #[test]
    fn a_source_has_some_answers_at_once_and_regains_them() {
        let (mut brake, now) = (Brake::new(), Instant::now());
        assert_eq!(echoed(&mut brake, "192.0.2.7:9000", now, 1000), 100);
        assert_eq!(echoed(&mut brake, "192.0.2.7:9000", now + Duration::from_secs(1), 1000), 10);
        assert_eq!(echoed(&mut brake, "192.0.2.7:9000", now + Duration::from_secs(60), 1000), 100);
    }

    #[test]
    fn sources_do_not_slow_each_other_down() {
        let (mut brake, now) = (Brake::new(), Instant::now());
        echoed(&mut brake, "192.0.2.7:9000", now, 1000);
        let others = (1..=50).filter(|n| echoed(&mut brake, &format!("192.0.2.{n}:9001"), now, 1) == 1);
        // One that shares its place by chance, hardly ever two.
        assert!(others.count() >= 45);
    }

    #[test]
    fn clients_ports_are_not_slowed_down() {
        let mut brake = Brake::new();
        let client = "192.0.2.7:32768".parse().unwrap();
        assert!((0..10_000).all(|_| brake.lets_through(client)));
    }
}
