//! Wrong tokens by address: so many a minute, then the address waits. Also bounds what is logged of refused peers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tokens that an address may give within [`WINDOW`].
const MOST: u32 = 10;
/// How long wrong tokens count, and how long an address waits after too many.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; beyond them the oldest is forgotten. An attacker with so many addresses cannot be
/// held up by counting.
const ADDRESSES: usize = 4096;
/// Refusals are logged no more often than this.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// What is remembered of wrong tokens.
#[derive(Debug, Default)]
pub struct Guesses {
    wrong: Mutex<HashMap<IpAddr, Window>>,
    logged: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    count: u32,
}

impl Guesses {
    /// How long this address must wait until its next token is looked at.
    pub(super) fn blocked(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let window = wrong.get(&source(address))?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(window.since))?;
        (window.count >= MOST && !left.is_zero()).then_some(left)
    }

    /// This address gave a wrong token.
    pub(super) fn note(&self, address: IpAddr, now: Instant) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let address = source(address);
        if !wrong.contains_key(&address) && wrong.len() >= ADDRESSES {
            wrong.retain(|_, window| now.saturating_duration_since(window.since) < WINDOW);
            let oldest = wrong.iter().min_by_key(|(_, window)| window.since).map(|(address, _)| *address);
            if let Some(oldest) = oldest.filter(|_| wrong.len() >= ADDRESSES) {
                wrong.remove(&oldest);
            }
        }
        let window = wrong.entry(address).or_insert(Window { since: now, count: 0 });
        if now.saturating_duration_since(window.since) >= WINDOW {
            *window = Window { since: now, count: 0 };
        }
        window.count += 1;
    }

    /// Whether a refusal may be logged now.
    pub(super) fn may_log(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let due = logged.is_none_or(|last| now.saturating_duration_since(last) >= LOG_EVERY);
        if due {
            *logged = Some(now);
        }
        due
    }
}

/// Whom an address stands for: an IPv6 host has a /64 to choose from.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_wrong_tokens_block_their_address_for_a_minute() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        for _ in 0..MOST {
            assert_eq!(guesses.blocked(one, start), None);
            guesses.note(one, start);
        }
        assert_eq!(guesses.blocked(one, start + Duration::from_secs(20)), Some(Duration::from_secs(40)));
        assert_eq!(guesses.blocked(other, start), None);
        assert_eq!(guesses.blocked(one, start + WINDOW), None);
        guesses.note(one, start + WINDOW);
        assert_eq!(guesses.blocked(one, start + WINDOW), None);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_and_memory_is_bounded() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..u128::from(MOST) {
            guesses.note(IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + n)), now);
        }
        assert!(guesses.blocked("2001:db8::ffff".parse().unwrap(), now).is_some());
        for n in 0..2 * u32::try_from(ADDRESSES).unwrap() {
            guesses.note(IpAddr::V4(n.into()), now);
        }
        assert!(guesses.wrong.lock().unwrap().len() <= ADDRESSES);
    }

    #[test]
    fn refusals_are_logged_once_a_second() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        assert!(guesses.may_log(now) && !guesses.may_log(now) && guesses.may_log(now + LOG_EVERY));
    }
}
