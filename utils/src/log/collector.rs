//! The logger process's work: from the log socket to the outputs, until the last writer is gone. It is told
//! what to do through [`Control`]; it must not fork, since it starts a thread. Called by the logger worker.
//!
//! A logger is replaced without losing, doubling or mixing records: the new one waits ([`Start::Standby`]); the
//! old one is told [`Command::Finish`], stops reading and says so; the new one gets [`Command::Begin`] and
//! reads at once, but writes only when the old one has ended. That is seen by a lock on the log socket which
//! belongs to the writing process (fcntl(2), "Advisory record locking") and goes with it, however it ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::Level;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::frame::Record;
use super::outputs::Outputs;
use super::queue::Queue;

/// Records written between two looks at the commands.
const WRITE_BATCH: usize = 256;
/// How often losses are tried to be reported, and the predecessor's end is looked for.
const RETRY_MILLIS: u16 = 20;
/// Longest wait for a predecessor that hangs; after that two loggers write at the same time.
const HANDOVER: Duration = Duration::from_secs(10);
/// How often [`Control::report`] is called.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What the logger is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Take over: read and write.
    Begin,
    /// Open the files anew.
    Reopen,
    /// Another logger takes over: stop reading, write what was read, end.
    Finish,
    /// The daemon ends. In standby: end at once. Else: go on until the last writer is gone, which is soon.
    Stop,
}

/// What a look at the commands found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// This.
    Command(Command),
    /// Nothing for now.
    Nothing,
    /// Nobody is there any more who could tell anything.
    Gone,
}

/// Where commands come from and where the answers go.
pub trait Control {
    /// Readable when [`Control::next`] is worth calling.
    fn descriptor(&self) -> BorrowedFd<'_>;
    /// The next command, without waiting.
    fn next(&mut self) -> Told;
    /// Called once after [`Command::Finish`], when nothing more will be read from the socket.
    fn stopped_reading(&mut self);
    /// Called with each record of level WARN or ERROR, whether an output takes it or not.
    fn remember(&mut self, record: &Record<'_>);
    /// Called about once a second while this logger writes: what it has to report of its own, by
    /// [`Outputs::say`] and its kin.
    fn report(&mut self, outputs: &mut Outputs);
}

/// Whether the logger works at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At once.
    Begin,
    /// It waits for [`Command::Begin`].
    Standby,
}

/// Why the logger ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every writer has closed its end; everything is written.
    LastWriterGone,
    /// It was told to finish; everything it read is written.
    Finished,
    /// It was in standby and nobody can tell it to begin any more.
    Abandoned,
}

/// Where the logger counts.
#[derive(Clone, Copy)]
pub struct Counters<'a> {
    /// Records that this process drops; one that two outputs lack counts twice.
    pub own: &'a AtomicU64,
    /// Outputs that stopped working.
    pub failures: &'a AtomicU64,
    /// The sum of all processes' dropped records, this process's included.
    pub total: &'a (dyn Fn() -> u64 + Sync),
}

/// Collects records until the end. `socket` is the read end of [`super::pair`]; the caller must hold no write
/// end. The process must ignore SIGPIPE (the console) and the signals that end it.
pub fn run(
    socket: OwnedFd,
    outputs: Outputs,
    start: Start,
    control: &mut impl Control,
    counters: Counters,
) -> nix::Result<Ended> {
    let queue = Queue::new()?;
    let seen = (counters.total)();
    let mut writer = Writer { outputs, counters, seen, reported: Instant::now() };
    if start == Start::Standby {
        match wait_for_begin(control) {
            Command::Begin | Command::Reopen => {}
            Command::Finish | Command::Stop => {
                control.stopped_reading();
                return Ok(Ended::Abandoned);
            }
        }
    }
    let turn = Turn::wait_in_line(socket.as_fd());
    std::thread::scope(|scope| {
        scope.spawn(|| queue.read_from(socket.as_fd(), counters.own));
        let ended = writer.serve(&queue, socket.as_fd(), turn, control);
        Ok(ended)
    })
}

/// Waits in standby for [`Command::Begin`] or [`Command::Finish`]; the latter also where nobody is left.
fn wait_for_begin(control: &mut impl Control) -> Command {
    loop {
        match control.next() {
            Told::Command(Command::Reopen) => {} // opened anew when it begins,
            Told::Command(command) => return command,
            Told::Gone => return Command::Finish,
            Told::Nothing => {
                // No deadline: standby lasts as long as main wants. EINTR: look again.
                let _ = poll(&mut [PollFd::new(control.descriptor(), PollFlags::POLLIN)], PollTimeout::NONE);
            }
        }
    }
}

/// The writing half, on the main thread.
struct Writer<'a> {
    outputs: Outputs,
    counters: Counters<'a>,
    /// How many of all drops the outputs know of.
    seen: u64,
    /// When the control was last asked for reports.
    reported: Instant,
}

impl Writer<'_> {
    fn serve(
        &mut self,
        queue: &Queue,
        socket: BorrowedFd,
        mut turn: Turn,
        control: &mut impl Control,
    ) -> Ended {
        let mut batch = Vec::with_capacity(WRITE_BATCH);
        let mut closed = true;
        let (mut finishing, mut said, mut heard) = (false, false, true);
        loop {
            if turn.has_come(socket) {
                queue.take(WRITE_BATCH, &mut batch);
            }
            // After taking records: main says "reopen" before it logs that, so that line is in the new file.
            while heard {
                match control.next() {
                    Told::Command(Command::Begin | Command::Stop) => {}
                    Told::Command(Command::Reopen) => self.outputs.reopen(),
                    Told::Command(Command::Finish) => {
                        finishing = true;
                        queue.stop_reading();
                    }
                    Told::Nothing => break,
                    // The writers end, too, and their last words are worth waiting for: go on until then.
                    Told::Gone => heard = false,
                }
            }
            if finishing && !said && queue.has_ended() {
                control.stopped_reading();
                said = true;
            }
            if turn.came {
                if closed {
                    // Not before: the predecessor may have rotated the files. What cannot be opened now is
                    // tried again with the next record.
                    self.outputs.reopen();
                    closed = false;
                }
                self.write_batch(&mut batch, control);
                if queue.is_finished() && (said || !finishing) {
                    self.report_drops();
                    return if finishing { Ended::Finished } else { Ended::LastWriterGone };
                }
            }
            self.wait(queue, heard.then_some(&*control), turn.came);
        }
    }

    fn write_batch(&mut self, batch: &mut Vec<Box<[u8]>>, control: &mut impl Control) {
        self.report_drops();
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            control.report(&mut self.outputs);
        }
        self.counters
            .failures
            .fetch_add(self.outputs.speak(&mut |record| control.remember(record)), Ordering::Relaxed);
        for frame in batch.drain(..) {
            // What is no record comes from a process that was taken over: it counts as one that was lost.
            let Ok(record) = Record::decode(&frame) else {
                self.counters.own.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if record.level <= Level::Warn {
                control.remember(&record);
            }
            let lost = self.outputs.write(&record);
            if lost > 0 {
                self.counters.own.fetch_add(lost, Ordering::Relaxed);
                // An output's own losses are known to it.
                self.seen += lost;
            }
        }
    }

    fn report_drops(&mut self) {
        let total = (self.counters.total)();
        let lost = total.saturating_sub(self.seen);
        self.seen = total;
        if lost > 0 {
            self.outputs.note_lost(lost);
        }
        if self.outputs.has_losses() {
            self.outputs.report_lost();
        }
    }

    /// Waits for records or commands.
    fn wait(&self, queue: &Queue, control: Option<&impl Control>, writing: bool) {
        let mut fds = Vec::with_capacity(2);
        fds.extend(control.map(|control| PollFd::new(control.descriptor(), PollFlags::POLLIN)));
        if writing {
            fds.push(PollFd::new(queue.filled(), PollFlags::POLLIN));
        }
        let timeout = if !writing || self.outputs.has_losses() {
            PollTimeout::from(RETRY_MILLIS)
        } else {
            // Losses elsewhere are reported within a second.
            PollTimeout::from(1000_u16)
        };
        // EINTR: look again.
        let _ = poll(&mut fds, timeout);
    }
}

/// A place in the line of loggers that write one after the other: a replaced one may still be writing, and
/// the one that replaced it be replaced already.
///
/// Each logger locks one byte, its place, behind all that are locked. It may write when it can lock everything
/// before its place, too. A process's locks go with it, however it ends.
struct Turn {
    until: Instant,
    place: Option<libc::off_t>,
    came: bool,
}

impl Turn {
    /// Queues up. To be called before the first read, so that places are in the order of reading.
    fn wait_in_line(socket: BorrowedFd) -> Self {
        let mut place = 0;
        loop {
            let mut other = range(place, 0);
            match fcntl(socket, FcntlArg::F_GETLK(&mut other)) {
                // Somebody's lock: go on behind it. A length of 0 would mean "up to the end".
                Ok(_) if i32::from(other.l_type) != libc::F_UNLCK && other.l_len > 0 => {
                    place = other.l_start.saturating_add(other.l_len);
                }
                Ok(_) if lock(socket, place, 1) => break,
                // Taken just now: look again.
                Ok(_) => {}
                // No locks on this kernel's sockets: nothing to wait for.
                Err(_) => return Self { until: Instant::now(), place: None, came: true },
            }
        }
        Self { until: Instant::now() + HANDOVER, place: Some(place), came: false }
    }

    fn has_come(&mut self, socket: BorrowedFd) -> bool {
        if let (false, Some(place)) = (self.came, self.place) {
            self.came = lock(socket, 0, place + 1) || Instant::now() >= self.until;
        }
        self.came
    }
}

/// Locks bytes of the log socket for this process. Only another process's lock makes it fail.
fn lock(socket: BorrowedFd, start: libc::off_t, len: libc::off_t) -> bool {
    let result = fcntl(socket, FcntlArg::F_SETLK(&range(start, len)));
    !matches!(result, Err(Errno::EAGAIN | Errno::EACCES))
}

#[allow(clippy::cast_possible_truncation)] // the constants are 0 and 1
fn range(start: libc::off_t, len: libc::off_t) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests;
