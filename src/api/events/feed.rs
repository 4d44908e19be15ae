//! The one follower that feeds all subscribers: it looks for new rows of the lease log and new events of main while anybody
//! wants to know, and does nothing else. What it finds goes through a bounded channel, so a slow subscriber costs nothing:
//! it is told how much it has lost.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::super::State;
use super::frame::{Item, Place};
use crate::lease::follow::Stretch;
use crate::lease::{Follower, StoreError};
use crate::stats::Shared;

/// Streams at one time, over the control socket and over TCP each.
pub(super) const SEATS: usize = 16;
/// Rows that are read at one time.
pub(super) const ROWS: usize = 256;
/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// Longest pause where the lease file cannot be read.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Events that a subscriber may be behind.
const BEHIND: usize = 2048;

/// Where subscribers join.
#[derive(Debug)]
pub struct Feed {
    items: broadcast::Sender<Arc<Item>>,
    /// How far the follower is; none while it does not follow.
    head: watch::Sender<Option<Place>>,
    wanted: Notify,
    seats: [Arc<Semaphore>; 2],
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            items: broadcast::Sender::new(BEHIND),
            head: watch::Sender::new(None),
            wanted: Notify::new(),
            seats: [Arc::new(Semaphore::new(SEATS)), Arc::new(Semaphore::new(SEATS))],
        }
    }
}

impl Feed {
    /// A place for a stream; none: all are taken. Who fills the TCP port keeps nobody from the control socket.
    pub(super) fn seat(&self, over_tcp: bool) -> Option<OwnedSemaphorePermit> {
        let [control, tcp] = &self.seats;
        Arc::clone(if over_tcp { tcp } else { control }).try_acquire_owned().ok()
    }

    /// From here on all items come in; those up to the position that is returned may come in, too.
    pub(super) async fn join(&self) -> Option<(broadcast::Receiver<Arc<Item>>, Place)> {
        let items = self.items.subscribe();
        self.wanted.notify_one();
        // The follower forgets where it is only while nobody has subscribed.
        let head = *self.head.subscribe().wait_for(Option::is_some).await.ok()?;
        head.map(|head| (items, head))
    }

    fn tell(&self, item: Item) {
        // Nobody who listens: nobody who misses it.
        let _ = self.items.send(Arc::new(item));
    }

    /// Whether nobody listens; then it is forgotten how far the follower was.
    fn rests(&self) -> bool {
        let mut rests = false;
        self.head.send_if_modified(|head| {
            rests = self.items.receiver_count() == 0;
            rests && head.take().is_some()
        });
        rests
    }
}

/// Follows until the process leaves. Run once.
pub async fn follow(state: Arc<State>, mut leaving: watch::Receiver<bool>) -> std::io::Result<()> {
    let mut follower = Lookout::new(&state);
    let feed = &state.feed;
    let work = async {
        loop {
            if feed.rests() {
                follower.forget();
                feed.wanted.notified().await;
                continue;
            }
            let pause = follower.look(feed).await;
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        _ = leaving.wait_for(|leave| *leave) => (),
        () = work => (),
    }
    if let Some(place) = *feed.head.borrow() {
        // Why it leaves is worth telling; the lease file might take its time.
        let place = tell_processes(feed, state.shared, place);
        feed.tell(Item::end(place));
    }
    Ok(())
}

/// How far the follower is.
#[derive(Debug)]
struct Lookout {
    shared: Shared,
    /// None: DHCP is off.
    file: Option<PathBuf>,
    log: Option<Follower>,
    place: Option<Place>,
    failures: u32,
}

impl Lookout {
    fn new(state: &State) -> Self {
        let dhcp = &state.config.dhcp;
        let file = dhcp.enabled.then(|| dhcp.store.path.clone());
        Self { shared: state.shared, file, log: None, place: None, failures: 0 }
    }

    fn forget(&mut self) {
        (self.log, self.place, self.failures) = (None, None, 0);
    }

    /// Tells what is new; how long to wait before the next look.
    async fn look(&mut self, feed: &Feed) -> Duration {
        let ring = self.shared.happened();
        let Some(file) = self.file.clone() else {
            let place = self.place.unwrap_or(Place { seq: 0, number: ring.newest(), ring: ring.identity() });
            self.arrive(feed, place);
            return EVERY;
        };
        let (log, known) = (self.log.take(), self.place.map(|place| place.seq));
        let read = tokio::task::spawn_blocking(move || {
            let mut log = match log {
                Some(log) => log,
                None => Follower::open(&file)?,
            };
            let seen = read(&mut log, known)?;
            Ok::<_, StoreError>((log, seen))
        });
        let (log, (seq, stretch)) = match read.await {
            Ok(Ok(read)) => read,
            failed => {
                self.failures += 1;
                if self.failures == 1 {
                    let why = failed.map_or_else(
                        |error| error.to_string(),
                        |read| match read {
                            Ok(_) => String::new(),
                            Err(error) => error.to_string(),
                        },
                    );
                    log::debug!("the lease log cannot be followed: {why}");
                }
                // What happens to processes can be told all the same.
                if let Some(place) = self.place {
                    self.arrive(feed, place);
                }
                return (EVERY * 2_u32.saturating_pow(self.failures.min(8))).min(LONGEST_PAUSE);
            }
        };
        self.log = Some(log);
        self.failures = 0;
        let mut place = self.place.unwrap_or(Place { seq, number: ring.newest(), ring: ring.identity() });
        if stretch.missed > 0 {
            place.seq += stretch.missed;
            feed.tell(Item::lost(stretch.missed, place));
        }
        for row in &stretch.rows {
            place.seq = row.seq;
            if let Some(item) = Item::lease(row, place) {
                feed.tell(item);
            }
        }
        self.arrive(feed, place);
        // More is there: as soon as the subscribers have had their turn.
        if stretch.rows.len() < ROWS { EVERY } else { Duration::from_millis(1) }
    }

    fn arrive(&mut self, feed: &Feed, place: Place) {
        let place = tell_processes(feed, self.shared, place);
        self.place = Some(place);
        feed.head.send_if_modified(|head| head.replace(place) != Some(place));
    }
}

/// What came after `known`, or, where nothing is known yet, how far the log goes.
fn read(log: &mut Follower, known: Option<u64>) -> Result<(u64, Stretch), StoreError> {
    let Some(known) = known else { return Ok((log.newest()?, Stretch::default())) };
    if !log.has_changed()? {
        return Ok((known, Stretch::default()));
    }
    let stretch = log.after(known, ROWS)?;
    if stretch.rows.len() == ROWS {
        log.look_again();
    }
    Ok((known, stretch))
}

fn tell_processes(feed: &Feed, shared: Shared, mut place: Place) -> Place {
    let ring = shared.happened();
    let newest = ring.newest();
    while place.number < newest {
        let gone = ring.oldest().saturating_sub(place.number + 1).min(newest - place.number);
        if gone > 0 {
            place.number += gone;
            feed.tell(Item::lost(gone, place));
            continue;
        }
        place.number += 1;
        match ring.event(place.number) {
            Some(happened) => feed.tell(Item::process(&happened, place)),
            None => feed.tell(Item::lost(1, place)),
        }
    }
    place
}
