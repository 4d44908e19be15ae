//! One stream: first what happened since the position that the client names, as far as it is still known, then what happens.
//! It ends when the client leaves, when the process leaves, and after its time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio::time::Instant;

use super::super::State;
use super::super::desk::{READ_WITHIN, store_problem, unavailable};
use super::super::problem::Problem;
use super::LIFETIME;
use super::feed::ROWS;
use super::frame::{About, Item, Place};
use crate::lease::Follower;

/// Between two comments that keep a silent stream alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long the follower may take to find out where the log ends.
const JOIN_WITHIN: Duration = Duration::from_secs(5);
/// How long the last events may take once the process leaves.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How soon a client connects again, in milliseconds.
const RETRY_MS: u32 = 1000;

/// What a client wants to know.
#[derive(Debug)]
pub(super) struct Wanted {
    /// `lease` or `process`; none: both.
    pub(super) kind: Option<String>,
    /// IDs; none: all.
    pub(super) events: Vec<String>,
}

impl Wanted {
    fn has(&self, item: &Item) -> bool {
        let kind = match item.about {
            About::Lease => "lease",
            About::Process => "process",
            // They may have been of any kind.
            About::Lost => return true,
            About::End => return false,
        };
        self.kind.as_ref().is_none_or(|wanted| wanted == kind)
            && (self.events.is_empty() || self.events.iter().any(|event| event == item.event))
    }
}

/// A client on its place.
#[derive(Debug)]
pub(super) struct Subscriber {
    state: Arc<State>,
    wanted: Wanted,
    items: broadcast::Receiver<Arc<Item>>,
    /// What the client knows.
    place: Place,
    /// Up to here it has to catch up by itself.
    head: Place,
    _seat: OwnedSemaphorePermit,
}

impl Subscriber {
    /// Joins the feed; from `after` on, or from now.
    pub(super) async fn join(
        state: Arc<State>,
        wanted: Wanted,
        after: Option<Place>,
        seat: OwnedSemaphorePermit,
    ) -> Result<Self, Problem> {
        let joined = tokio::time::timeout(JOIN_WITHIN, state.feed.join()).await;
        let Ok(Some((items, head))) = joined else {
            return Err(unavailable("the lease file cannot be followed now"));
        };
        let place = match after {
            None => head,
            // What another start of the daemon has told is not counted on.
            Some(after) if after.ring != head.ring => Place { number: 0, ring: head.ring, ..after },
            Some(after) => Place { number: after.number.min(head.number), ..after },
        };
        // A lease file that was replaced by an older one.
        let place = Place { seq: place.seq.min(head.seq), ..place };
        Ok(Self { state, wanted, items, place, head, _seat: seat })
    }

    /// Tells until one of the two has enough.
    async fn run(mut self, frames: mpsc::Sender<Bytes>) {
        let mut leaving = self.state.leaving.clone();
        let left = async {
            let _ = leaving.wait_for(|leave| *leave).await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            _ = self.tell(&frames) => (),
            () = left => (),
            () = tokio::time::sleep(LIFETIME) => (),
        }
    }

    /// None: the client has left, or there is no more.
    async fn tell(&mut self, frames: &mpsc::Sender<Bytes>) -> Option<()> {
        // With an id before the first event, so that even who has seen none can go on from here.
        self.send(frames, format!("retry: {RETRY_MS}\nid: {}\n\n", self.place)).await?;
        self.catch_up(frames).await?;
        let mut told = self.place;
        let mut silent = Instant::now();
        loop {
            tokio::select! {
                () = frames.closed() => return None,
                item = self.items.recv() => match item {
                    Ok(item) if item.about == About::End => return None,
                    Ok(item) if self.place.covers(item.place) => (),
                    Ok(item) => {
                        self.place = item.place;
                        if self.wanted.has(&item) {
                            (told, silent) = (item.place, Instant::now());
                            self.send(frames, item.text()).await?;
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        let lost = Item::lost(missed, self.place);
                        self.send(frames, lost.text()).await?;
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep_until(silent + KEEP_ALIVE) => {
                    // What was passed over need not be looked at again.
                    let id = if told == self.place { String::new() } else { format!("id: {}\n", self.place) };
                    (told, silent) = (self.place, Instant::now());
                    self.send(frames, format!(": keep-alive\n{id}\n")).await?;
                }
            }
        }
    }

    /// What happened between the client's position and the feed's.
    async fn catch_up(&mut self, frames: &mpsc::Sender<Bytes>) -> Option<()> {
        while self.place.number < self.head.number {
            let ring = self.state.shared.happened();
            let gone = ring.oldest().saturating_sub(self.place.number + 1);
            let gone = gone.min(self.head.number - self.place.number);
            self.place.number += gone.max(1);
            let item = match ring.event(self.place.number) {
                Some(happened) if gone == 0 => Item::process(&happened, self.place),
                _ => Item::lost(gone.max(1), self.place),
            };
            self.offer(frames, &item).await?;
        }
        while self.place.seq < self.head.seq {
            let (config, known) = (Arc::clone(&self.state.config), self.place.seq);
            let read = move || Follower::open(&config.dhcp.store.path)?.after(known, ROWS);
            let read = self.state.desk.run(READ_WITHIN, read).await;
            let stretch = match read.and_then(|read| read.map_err(|error| store_problem(&error))) {
                Ok(stretch) => stretch,
                Err(problem) => {
                    log::debug!("a client cannot be told what it missed: {}", problem.detail());
                    // It connects again and asks for the same.
                    return None;
                }
            };
            let to_go = self.head.seq - known;
            let missed = if stretch.rows.is_empty() { to_go } else { stretch.missed.min(to_go) };
            if missed > 0 {
                self.place.seq += missed;
                self.offer(frames, &Item::lost(missed, self.place)).await?;
            }
            for row in stretch.rows.iter().filter(|row| row.seq <= self.head.seq) {
                self.place.seq = row.seq;
                if let Some(item) = Item::lease(row, self.place) {
                    self.offer(frames, &item).await?;
                }
            }
        }
        Some(())
    }

    async fn offer(&self, frames: &mpsc::Sender<Bytes>, item: &Item) -> Option<()> {
        if self.wanted.has(item) { self.send(frames, item.text()).await } else { Some(()) }
    }

    async fn send(&self, frames: &mpsc::Sender<Bytes>, text: String) -> Option<()> {
        frames.send(text.into()).await.ok()
    }
}

/// The body of an answer: what the subscriber tells, as fast as the client takes it.
#[derive(Debug)]
pub(super) struct Frames(mpsc::Receiver<Bytes>);

impl Frames {
    /// Sets a subscriber to work. It ends when this is dropped.
    pub(super) fn of(subscriber: Subscriber) -> Self {
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(subscriber.run(sender));
        Self(receiver)
    }
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
