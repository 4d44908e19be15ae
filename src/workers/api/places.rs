//! The places of a door: how many connections it holds, how many of them one address, and who must go where all are
//! taken. So a client that connects and says nothing keeps no other client out.
//!
//! A connection waits while it has no whole request: before the first, between two, and while a head or a body comes
//! in. It works from the end of its request until its answer has been taken from the handler. Only one that waits is
//! ended for another, the one that has waited longest first.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::Notify;

use crate::api::Peer;

/// Most connections at once; further ones wait in the backlog. Each door has its own: whoever fills the TCP port
/// keeps nobody from the control socket.
const CONNECTIONS: usize = 64;
/// Most of them from one address over TCP, so that others find a place although none of these waits.
const OF_ONE_ADDRESS: usize = 48;

/// Every connection of a door.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: BTreeMap<u64, Place>,
    next: u64,
    clock: Arc<Clock>,
}

/// Counts the changes of all connections, by which it is known who waits longest.
#[derive(Debug, Default)]
struct Clock {
    ticks: AtomicU64,
    changed: Notify,
}

#[derive(Debug)]
struct Place {
    source: Option<IpAddr>,
    state: Arc<Waiting>,
}

/// What a connection says of itself.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Since which tick it waits; 0: it works.
    since: AtomicU64,
    clock: Arc<Clock>,
    end: Notify,
}

impl Waiting {
    fn now(clock: &Arc<Clock>) -> Self {
        let since = AtomicU64::new(clock.ticks.fetch_add(1, Ordering::Relaxed) + 1);
        Self { since, clock: Arc::clone(clock), end: Notify::new() }
    }

    /// It has no whole request.
    pub(super) fn waits(&self) {
        let tick = self.clock.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        self.since.store(tick, Ordering::Relaxed);
        self.clock.changed.notify_one();
    }

    /// It has a whole request to answer.
    pub(super) fn works(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// Returns when its place is wanted.
    pub(super) async fn ended(&self) {
        self.end.notified().await;
    }
}

impl Places {
    /// Whether another connection may be accepted. It may where one of those that are open can make room.
    pub(super) fn have_room(&self) -> bool {
        self.taken.len() < CONNECTIONS || self.longest(|_| true).is_some()
    }

    /// Returns when a connection has begun to wait.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + use<> {
        let clock = Arc::clone(&self.clock);
        async move { clock.changed.notified().await }
    }

    /// Takes a place for a new connection; none: all that its address may have do work.
    pub(super) fn take(&mut self, peer: &Peer) -> Option<(u64, Arc<Waiting>)> {
        let source = source(peer);
        let same = |place: &Place| source.is_some() && place.source == source;
        if self.taken.values().filter(|place| same(place)).count() >= OF_ONE_ADDRESS {
            self.end(same)?;
        } else if self.taken.len() >= CONNECTIONS {
            self.end(|_| true)?;
        }
        self.next += 1;
        let state = Arc::new(Waiting::now(&self.clock));
        self.taken.insert(self.next, Place { source, state: Arc::clone(&state) });
        Some((self.next, state))
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, number: u64) {
        self.taken.remove(&number);
    }

    fn end(&mut self, which: impl Fn(&Place) -> bool) -> Option<()> {
        let place = self.longest(which).and_then(|number| self.taken.remove(&number))?;
        place.state.end.notify_one();
        Some(())
    }

    fn longest(&self, which: impl Fn(&Place) -> bool) -> Option<u64> {
        let waiting = self.taken.iter().filter(|(_, place)| which(place)).filter_map(|(number, place)| {
            let since = place.state.since.load(Ordering::Relaxed);
            (since > 0).then_some((since, *number))
        });
        waiting.min().map(|(_, number)| number)
    }
}

/// Whom a connection counts for: an IPv6 host has a /64 to choose from. Over the control socket nobody is counted.
fn source(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Control { .. } => None,
        Peer::Tcp(address) => Some(match address.ip().to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        }),
    }
}

/// A body that says when its connection works: that of a request once it has come in whole, that of an answer until
/// it is dropped.
#[derive(Debug)]
pub(super) struct Watched<B> {
    body: B,
    state: Arc<Waiting>,
    answer: bool,
}

impl<B: Body> Watched<B> {
    /// The body of a request.
    pub(super) fn request(body: B, state: Arc<Waiting>) -> Self {
        if body.is_end_stream() {
            state.works();
        }
        Self { body, state, answer: false }
    }

    /// The body of an answer.
    pub(super) fn answer(body: B, state: Arc<Waiting>) -> Self {
        state.works();
        Self { body, state, answer: true }
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        if self.answer {
            self.state.waits();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if !self.answer && (matches!(polled, Poll::Ready(None)) || self.body.is_end_stream()) {
            self.state.works();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    #[test]
    fn who_waits_longest_makes_room() {
        let mut places = Places::default();
        let all: Vec<_> =
            (0..CONNECTIONS).map(|n| places.take(&from(&format!("10.0.0.{}:1", n + 1))).unwrap()).collect();
        all[0].1.works();
        all[1].1.waits();
        places.take(&from("10.0.1.1:1")).unwrap();
        assert!(!places.taken.contains_key(&all[2].0), "the third has waited longest");
        assert_eq!(places.taken.len(), CONNECTIONS);
        for place in places.taken.values() {
            place.state.works();
        }
        assert!(!places.have_room() && places.take(&from("10.0.1.2:1")).is_none());
        places.leave(all[0].0);
        assert!(places.have_room());
    }

    #[test]
    fn one_address_does_not_get_all_places() {
        let mut places = Places::default();
        for _ in 0..OF_ONE_ADDRESS {
            places.take(&from("[2001:db8::1]:1")).unwrap().1.works();
        }
        assert!(places.take(&from("[2001:db8::2]:1")).is_none());
        assert!(places.take(&from("[2001:db8:1::1]:1")).is_some());
        assert!(places.take(&Peer::Control { uid: 0, pid: None, groups: Vec::new() }).is_some());
    }
}
