//! The speaking side: the `log::Log` of every process. It makes a frame of each record and sends it to the
//! logger without ever waiting for a disk. It must not write files. Main installs it before the first fork;
//! each child renames it; the logger process forgets it.
//!
//! `log::set_logger` works once per process image, and children inherit what main set. So the logger is one
//! static whose state changes behind a lock.

use std::borrow::Cow;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use log::kv::{self, VisitSource, VisitValue};
use log::{Level, Log, Metadata};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{MsgFlags, send};
use nix::time::{ClockId, clock_gettime};

use super::frame::{Field, MAX_FIELDS, Record};
use super::levels::Levels;
use super::limits::{Bucket, Limits, Suppressed, Verdict};
use super::text::TextFormat;
use crate::process::brief;

/// Longest wait for room in the socket. The logger always drains it promptly: this bridges scheduling only.
const MAX_WAIT: Duration = Duration::from_millis(100);
/// After a wait in vain, how long a full socket means "drop at once".
const NO_WAIT_MILLIS: u64 = 1000;

static SENDER: Sender = Sender::new();
/// One more than what [`admitted`] was told, for the next record.
static ADMITTED: AtomicU64 = AtomicU64::new(0);

/// Sends records to the logger process, or writes them to stderr where there is none yet.
#[derive(Debug)]
pub struct Sender {
    state: RwLock<State>,
    /// Monotonic milliseconds until which a full socket is not waited for; 0: wait.
    no_wait_until: AtomicU64,
    /// Longest wait for room in the socket.
    pub(super) max_wait: Duration,
}

#[derive(Debug)]
struct State {
    target: Target,
    process: Cow<'static, str>,
    levels: Option<Levels>,
    limits: Option<Limits>,
}

#[derive(Debug)]
enum Target {
    /// Nobody listens: records are left out.
    Nobody,
    /// Start-up and the command line: text on stderr.
    Stderr,
    /// The logger process, and what counts records that did not get there.
    Socket(OwnedFd, &'static AtomicU64),
}

/// From now on, sends this process's records (and those of its later children) to the logger process.
///
/// `socket` is the write end of [`super::pair`], `process` the name in the records. A record that cannot be
/// sent is counted in `dropped`.
pub fn install(socket: OwnedFd, process: &str, levels: Levels, dropped: &'static AtomicU64) {
    SENDER.set(Target::Socket(socket, dropped), process, levels);
    register();
}

/// From now on, prints this process's records on stderr: for start-up and the command line.
pub fn install_stderr(process: &str, levels: Levels) {
    SENDER.set(Target::Stderr, process, levels);
    register();
}

/// Gives this process its name in the records: to be called after a fork whose child has another one.
pub fn rename(process: &str) {
    SENDER.rename(process);
}

/// Replaces the levels.
pub fn set_levels(levels: Levels) {
    log::set_max_level(levels.most());
    SENDER.write_state().levels = Some(levels);
}

/// Replaces the limits of events; before the first call there are none.
pub fn set_limits(limits: Limits) {
    SENDER.write_state().limits = Some(limits);
}

/// Takes what was suppressed and never told, in all processes: for the one that speaks last.
pub fn take_suppressed() -> Vec<Suppressed> {
    SENDER.read_state().limits.as_ref().map(|limits| limits.take_quiet(None)).unwrap_or_default()
}

/// What decides whether records of one event and reason are logged, found once. It costs no look-up and no lock: for
/// processes that live so briefly that both would show.
///
/// It knows the levels and limits at its making: make it where these do not change any more.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    enabled: bool,
    bucket: Option<Bucket>,
}

impl Gate {
    /// The gate of this event and reason, of a module (`module_path!()`) that speaks at this level.
    pub fn new(module: &str, level: Level, event: &str, reason: &str) -> Self {
        let enabled = SENDER.enabled(&Metadata::builder().target(module).level(level).build());
        let bucket = SENDER.read_state().limits.as_ref().and_then(|limits| limits.bucket_of(event, reason));
        Self { enabled, bucket }
    }

    /// Whether a record may be logged now; if so, how many like it were suppressed before. It is counted, so it must
    /// be logged, by [`admitted`], or given back.
    pub fn ask(self) -> Option<u64> {
        match self.bucket {
            _ if !self.enabled => None,
            None => Some(0),
            Some(bucket) => match bucket.ask(brief::monotonic()) {
                Verdict::Pass(suppressed) => Some(suppressed),
                Verdict::Suppress => None,
            },
        }
    }

    /// Gives back the count of a record that was not logged after all.
    pub fn give_back(self, suppressed: u64) {
        if let (Some(bucket), 1..) = (self.bucket, suppressed) {
            bucket.give_back(suppressed);
        }
    }
}

/// Logs the one record that `speak` makes, for which a [`Gate`] was asked: the limit is not asked again. For a process
/// with one thread.
pub fn admitted(suppressed: u64, speak: impl FnOnce()) {
    ADMITTED.store(suppressed.saturating_add(1), Ordering::Relaxed);
    speak();
    ADMITTED.store(0, Ordering::Relaxed);
}

/// Where this process counts dropped records from now on (a child counts in its own slot).
pub fn count_drops_in(dropped: &'static AtomicU64) {
    if let Target::Socket(_, counter) = &mut SENDER.write_state().target {
        *counter = dropped;
    }
}

/// Calls `work` with the log socket, for the list of descriptors that a child keeps.
pub fn with_descriptor<R>(work: impl FnOnce(Option<BorrowedFd<'_>>) -> R) -> R {
    match &SENDER.read_state().target {
        Target::Socket(socket, _) => work(Some(socket.as_fd())),
        Target::Nobody | Target::Stderr => work(None),
    }
}

/// Closes this process's end of the log socket; later records are left out. The last one to do so, in all
/// processes, ends the logger.
pub fn close() {
    SENDER.write_state().target = Target::Nobody;
}

/// Like [`close`], for a child whose descriptors were closed already: the number may have a new owner, so it is
/// not closed again.
pub fn forget() {
    let target = std::mem::replace(&mut SENDER.write_state().target, Target::Nobody);
    if let Target::Socket(socket, _) = target {
        let _closed_by_the_fork = socket.into_raw_fd();
    }
}

fn register() {
    log::set_max_level(SENDER.read_state().levels.as_ref().map_or(log::LevelFilter::Off, Levels::most));
    // Fails from the second time on, when this same static is registered already.
    let _ = log::set_logger(&SENDER);
}

impl Sender {
    /// A sender that speaks to nobody yet.
    pub const fn new() -> Self {
        let state = State { target: Target::Nobody, process: Cow::Borrowed(""), levels: None, limits: None };
        Self { state: RwLock::new(state), no_wait_until: AtomicU64::new(0), max_wait: MAX_WAIT }
    }

    /// A sender that is nobody's static: for one that speaks beside the process's own.
    pub fn to(socket: OwnedFd, process: &str, levels: Levels, dropped: &'static AtomicU64) -> Self {
        let sender = Self::new();
        sender.set(Target::Socket(socket, dropped), process, levels);
        sender
    }

    fn set(&self, target: Target, process: &str, levels: Levels) {
        let process = Cow::Owned(process.to_owned());
        let mut state = self.write_state();
        let limits = state.limits.take();
        *state = State { target, process, levels: Some(levels), limits };
        drop(state);
        self.no_wait_until.store(0, Ordering::Relaxed);
    }

    fn rename(&self, process: &str) {
        let mut state = self.write_state();
        process.clone_into(state.process.to_mut());
    }

    // A panic while the lock was held leaves whole values behind: nothing is changed in two steps.
    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a record's event may be logged now; if so, how many like it were suppressed before.
    fn admit(&self, spoken: &log::Record) -> Option<u64> {
        let state = self.read_state();
        let Some(limits) = &state.limits else { return Some(0) };
        let verdict = with_text(spoken, "event", |event| {
            with_text(spoken, "reason", |reason| limits.ask(event, reason, monotonic()))
        });
        match verdict {
            Verdict::Pass(suppressed) => Some(suppressed),
            Verdict::Suppress => None,
        }
    }

    /// Sends one frame; waits `max_wait` at most. Whether it was sent.
    fn transmit(&self, socket: BorrowedFd, frame: &[u8]) -> bool {
        let mut deadline = None;
        loop {
            match send(socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    let now = monotonic_millis();
                    if now < self.no_wait_until.load(Ordering::Relaxed) {
                        return false;
                    }
                    let deadline = *deadline.get_or_insert(now.saturating_add(millis(self.max_wait)));
                    if now >= deadline || !wait_for_room(socket, deadline - now) {
                        self.no_wait_until.store(monotonic_millis() + NO_WAIT_MILLIS, Ordering::Relaxed);
                        return false;
                    }
                }
                // EPIPE, ECONNREFUSED: nobody reads any more. EMSGSIZE: cannot be, frames are bounded.
                Err(_) => return false,
            }
        }
    }
}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}

impl Log for Sender {
    fn enabled(&self, metadata: &Metadata) -> bool {
        let state = self.read_state();
        !matches!(state.target, Target::Nobody)
            && state.levels.as_ref().is_some_and(|levels| levels.allow(metadata.target(), metadata.level()))
    }

    fn log(&self, spoken: &log::Record) {
        if !self.enabled(spoken.metadata()) {
            return;
        }
        let suppressed = match ADMITTED.swap(0, Ordering::Relaxed) {
            0 => self.admit(spoken),
            admitted => Some(admitted - 1),
        };
        let Some(suppressed) = suppressed else { return };
        // Values are turned into text before the lock is taken: their code may log, too.
        let mut facts = Facts { event: Cow::Borrowed(""), fields: Vec::with_capacity(8) };
        // Only our own visitor could fail, and it never does.
        let _ = spoken.key_values().visit(&mut facts);
        if suppressed > 0 {
            facts.add_suppressed(suppressed);
        }
        let message = match spoken.args().as_str() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(spoken.args().to_string()),
        };
        let state = self.read_state();
        let record = Record {
            time: SystemTime::now(),
            level: spoken.level(),
            // Asked anew: a process forked without a word to this module has its own.
            pid: std::process::id(),
            process: Cow::Borrowed(&state.process),
            target: Cow::Borrowed(spoken.target()),
            event: facts.event,
            message,
            fields: facts.fields,
        };
        match &state.target {
            Target::Nobody => {}
            Target::Stderr => {
                let mut line = String::new();
                TextFormat::default().line(&record, &mut line);
                // There is no other place to complain at.
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
            Target::Socket(socket, dropped) => {
                let mut frame = Vec::with_capacity(512);
                record.encode(&mut frame);
                if !self.transmit(socket.as_fd(), &frame) {
                    dropped.fetch_add(1, Ordering::Relaxed);
                    if let (Some(limits), 1..) = (&state.limits, suppressed) {
                        let reason = with_text(spoken, "reason", str::to_owned);
                        limits.give_back(&record.event, &reason, suppressed);
                    }
                }
            }
        }
    }

    fn flush(&self) {}
}

/// Whether the socket has room before `wait` milliseconds are over.
fn wait_for_room(socket: BorrowedFd, wait: u64) -> bool {
    let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    match nix::poll::poll(&mut [PollFd::new(socket, PollFlags::POLLOUT)], timeout) {
        Ok(ready) => ready > 0,
        Err(errno) => errno == Errno::EINTR,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn monotonic_millis() -> u64 {
    millis(monotonic())
}

/// The clock of waits and limits, which no one sets.
pub(super) fn monotonic() -> Duration {
    // Cannot fail for this clock (clock_gettime(2)); 0 would only mean "wait".
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// Calls `work` with a value that was given as text; with nothing where it was not.
fn with_text<R>(spoken: &log::Record, key: &'static str, work: impl FnOnce(&str) -> R) -> R {
    let value = spoken.key_values().get(key.into());
    match value.as_ref().and_then(kv::Value::to_borrowed_str) {
        Some(text) => work(text),
        None => work(&value.map(|value| value.to_string()).unwrap_or_default()),
    }
}

/// Collects a record's key-values: the event apart, the others in order.
struct Facts<'a> {
    event: Cow<'a, str>,
    fields: Vec<Field<'a>>,
}

impl Facts<'_> {
    /// Adds how many records like this one were suppressed; a full record gives up its last field.
    fn add_suppressed(&mut self, count: u64) {
        self.fields.truncate(MAX_FIELDS - 1);
        let (key, value) = (Cow::Borrowed("suppressed"), Cow::Owned(count.to_string()));
        self.fields.push(Field { key, value, literal: true });
    }
}

impl<'a> VisitSource<'a> for Facts<'a> {
    fn visit_pair(&mut self, key: kv::Key<'a>, value: kv::Value<'a>) -> Result<(), kv::Error> {
        if key.as_str() == "event" {
            self.event = match value.to_borrowed_str() {
                Some(event) => Cow::Borrowed(event),
                None => Cow::Owned(value.to_string()),
            };
        } else if self.fields.len() < MAX_FIELDS {
            let mut kind = Kind { literal: false };
            let _ = value.visit(&mut kind);
            let key = match key.to_borrowed_str() {
                Some(key) => Cow::Borrowed(key),
                None => Cow::Owned(key.as_str().to_owned()),
            };
            let text = match value.to_borrowed_str() {
                Some(text) => Cow::Borrowed(text),
                None => Cow::Owned(value.to_string()),
            };
            self.fields.push(Field { key, value: text, literal: kind.literal });
        }
        Ok(())
    }
}

/// Finds out whether a value is a number or a truth value.
struct Kind {
    literal: bool,
}

impl VisitValue<'_> for Kind {
    fn visit_any(&mut self, _: kv::Value) -> Result<(), kv::Error> {
        Ok(())
    }
    fn visit_u64(&mut self, _: u64) -> Result<(), kv::Error> {
        self.literal = true;
        Ok(())
    }
    fn visit_i64(&mut self, _: i64) -> Result<(), kv::Error> {
        self.literal = true;
        Ok(())
    }
    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.literal = value.is_finite();
        Ok(())
    }
    fn visit_bool(&mut self, _: bool) -> Result<(), kv::Error> {
        self.literal = true;
        Ok(())
    }
    fn visit_str(&mut self, _: &str) -> Result<(), kv::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use log::LevelFilter;
    use nix::sys::socket::recv;

    use super::*;

    fn counter() -> &'static AtomicU64 {
        Box::leak(Box::default())
    }

    fn sender(process: &str) -> (Sender, OwnedFd, &'static AtomicU64) {
        let (write, read) = crate::log::pair().unwrap();
        let (sender, dropped) = (Sender::new(), counter());
        let levels =
            Levels::new(LevelFilter::Info, BTreeMap::from([("loud".to_owned(), LevelFilter::Debug)]));
        sender.set(Target::Socket(write, dropped), process, levels);
        (sender, read, dropped)
    }

    fn say(sender: &Sender, target: &str, level: Level, fields: &[(&str, kv::Value)]) {
        let mut builder = log::Record::builder();
        sender.log(
            &builder.target(target).level(level).args(format_args!("text {}", 1)).key_values(&fields).build(),
        );
    }

    fn received(socket: &OwnedFd) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 9000];
        let len = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).ok()?;
        bytes.truncate(len);
        Some(bytes)
    }

    #[test]
    fn record_arrives_whole_with_event_fields_pid_and_name() {
        let (sender, socket, _) = sender("main");
        sender.rename("dhcp 0");
        let fields = [("event", kv::Value::from("STATS")), ("mac", "00:11".into()), ("n", 5.into())];
        say(&sender, "a::b", Level::Info, &fields);
        let frame = received(&socket).unwrap();
        let record = Record::decode(&frame).unwrap();
        assert_eq!((record.event.as_ref(), record.message.as_ref()), ("STATS", "text 1"));
        assert_eq!((record.process.as_ref(), record.pid), ("dhcp 0", std::process::id()));
        assert_eq!(record.fields.len(), 2);
        assert_eq!((record.fields[0].value.as_ref(), record.fields[0].literal), ("00:11", false));
        assert_eq!((record.fields[1].key.as_ref(), record.fields[1].literal), ("n", true));
    }

    #[test]
    fn unwanted_records_are_not_sent() {
        let (sender, socket, dropped) = sender("x");
        say(&sender, "a::quiet", Level::Debug, &[]);
        assert!(received(&socket).is_none());
        say(&sender, "a::loud", Level::Debug, &[]);
        assert!(received(&socket).is_some());
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn limited_event_is_suppressed_and_the_next_record_tells_how_often() {
        let (sender, socket, dropped) = sender("x");
        let words = crate::log::limits::WORDS_PER_EVENT;
        let table: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(words).collect();
        let rate = crate::log::Rate::new(1, Duration::from_secs(3600));
        let limits = Limits::new([("LOUD", rate)].into_iter(), Box::leak(table.into_boxed_slice()));
        sender.write_state().limits = Some(limits.clone());
        let fields = [("event", kv::Value::from("LOUD")), ("reason", "x".into())];
        for _ in 0..5 {
            say(&sender, "a", Level::Info, &fields);
        }
        assert!(received(&socket).is_some() && received(&socket).is_none(), "one of five");
        say(&sender, "a", Level::Debug, &fields);
        let fast = crate::log::Rate::new(1000, Duration::from_secs(1));
        sender.write_state().limits = Some(limits.with_rate("LOUD", fast));
        say(&sender, "a", Level::Info, &fields);
        let frame = received(&socket).unwrap();
        let last = Record::decode(&frame).unwrap().fields.pop().unwrap();
        assert_eq!((last.key.as_ref(), last.value.as_ref(), last.literal), ("suppressed", "4", true));
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn full_socket_drops_and_counts_and_does_not_wait_again_at_once() {
        let (sender, socket, dropped) = sender("x");
        let mut sent = 0;
        while dropped.load(Ordering::Relaxed) == 0 {
            say(&sender, "a", Level::Info, &[]);
            sent += 1;
        }
        assert!(sender.no_wait_until.load(Ordering::Relaxed) > monotonic_millis());
        assert!(received(&socket).is_some());
        let mut read = 1;
        while received(&socket).is_some() {
            read += 1;
        }
        assert_eq!(read, sent - 1);
    }

    #[test]
    fn vanished_logger_costs_the_record_only() {
        let (sender, socket, dropped) = sender("x");
        drop(socket);
        say(&sender, "a", Level::Info, &[]);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}
