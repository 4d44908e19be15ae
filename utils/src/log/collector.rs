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

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::frame::Record;
use super::outputs::{OutputError, Outputs};
use super::queue::Queue;

/// Records written between two looks at the commands.
const WRITE_BATCH: usize = 256;
/// How often losses are tried to be reported, and the predecessor's end is looked for.
const RETRY_MILLIS: u16 = 20;
/// Longest wait for a predecessor that hangs; after that two loggers write at the same time.
const HANDOVER: Duration = Duration::from_secs(10);

/// What the logger is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Take over: read and write.
    Begin,
    /// Open the files anew.
    Reopen,
    /// Another logger takes over: stop reading, write what was read, end.
    Finish,
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
    /// Called after [`Command::Reopen`] with what could not be opened; it is tried again.
    fn reopened(&mut self, errors: &[OutputError]);
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

/// Counters of dropped records.
#[derive(Clone, Copy)]
pub struct Drops<'a> {
    /// Where this process counts.
    pub own: &'a AtomicU64,
    /// The sum over all processes, this one included.
    pub total: &'a (dyn Fn() -> u64 + Sync),
}

/// Collects records until the end. `socket` is the read end of [`super::pair`]; the caller must hold no write
/// end. The process must ignore SIGPIPE (the console) and the signals that end it.
pub fn run(
    socket: OwnedFd,
    outputs: Outputs,
    start: Start,
    control: &mut impl Control,
    drops: Drops,
) -> nix::Result<Ended> {
    let queue = Queue::new()?;
    let seen = (drops.total)();
    let mut writer = Writer { outputs, drops, seen };
    if start == Start::Standby {
        match wait_for_begin(control, &mut writer) {
            Command::Begin | Command::Reopen => {}
            Command::Finish => {
                control.stopped_reading();
                return Ok(Ended::Abandoned);
            }
        }
    }
    std::thread::scope(|scope| {
        scope.spawn(|| queue.read_from(socket.as_fd(), drops.own));
        let ended = writer.serve(&queue, socket.as_fd(), start, control);
        Ok(ended)
    })
}

/// Waits in standby for [`Command::Begin`] or [`Command::Finish`]; the latter also where nobody is left.
fn wait_for_begin(control: &mut impl Control, writer: &mut Writer) -> Command {
    loop {
        match control.next() {
            Told::Command(Command::Reopen) => writer.reopen(control),
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
    drops: Drops<'a>,
    /// How many of all drops the outputs know of.
    seen: u64,
}

impl Writer<'_> {
    fn serve(
        &mut self,
        queue: &Queue,
        socket: BorrowedFd,
        start: Start,
        control: &mut impl Control,
    ) -> Ended {
        let mut batch = Vec::with_capacity(WRITE_BATCH);
        let mut handover = Handover { until: Instant::now() + HANDOVER, done: false };
        let mut stale = start == Start::Standby;
        let (mut finishing, mut said, mut heard) = (false, false, true);
        loop {
            while heard {
                match control.next() {
                    Told::Command(Command::Begin) => {}
                    Told::Command(Command::Reopen) => self.reopen(control),
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
            if handover.is_over(socket) {
                if stale {
                    // The predecessor may have rotated the files that were opened in standby. A file that
                    // cannot be opened now is tried again with the next record.
                    self.outputs.reopen();
                    stale = false;
                }
                self.write_batch(queue, &mut batch);
                if queue.is_finished() && (said || !finishing) {
                    self.report_drops();
                    return if finishing { Ended::Finished } else { Ended::LastWriterGone };
                }
            }
            self.wait(queue, heard.then_some(&*control), handover.done);
        }
    }

    fn write_batch(&mut self, queue: &Queue, batch: &mut Vec<Box<[u8]>>) {
        queue.take(WRITE_BATCH, batch);
        self.report_drops();
        for frame in batch.drain(..) {
            // What is no record comes from a process that was taken over: it counts as one that was lost.
            let Ok(record) = Record::decode(&frame) else {
                self.drops.own.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let lost = self.outputs.write(&record);
            if lost > 0 {
                self.drops.own.fetch_add(lost, Ordering::Relaxed);
                // An output's own losses are known to it.
                self.seen += lost;
            }
        }
    }

    fn report_drops(&mut self) {
        let total = (self.drops.total)();
        let lost = total.saturating_sub(self.seen);
        self.seen = total;
        if lost > 0 {
            self.outputs.note_lost(lost);
        }
        if self.outputs.has_losses() {
            self.outputs.report_lost();
        }
    }

    fn reopen(&mut self, control: &mut impl Control) {
        let errors = self.outputs.reopen();
        control.reopened(&errors);
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

/// Waiting for the predecessor's end.
struct Handover {
    until: Instant,
    done: bool,
}

impl Handover {
    fn is_over(&mut self, socket: BorrowedFd) -> bool {
        if !self.done {
            self.done = lock(socket) || Instant::now() >= self.until;
        }
        self.done
    }
}

/// Takes the writer's lock. Only another process's lock makes it fail.
#[allow(clippy::cast_possible_truncation)] // the constants are 0 and 1
fn lock(socket: BorrowedFd) -> bool {
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    !matches!(fcntl(socket, FcntlArg::F_SETLK(&lock)), Err(Errno::EAGAIN | Errno::EACCES))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{scope, spawn};

    use log::{LevelFilter, Log};

    use super::super::outputs::{FileOutput, OutputsConfig};
    use super::super::sender;
    use super::*;

    /// Commands by a channel; a stream makes them readable.
    struct Remote {
        commands: Receiver<Command>,
        wake: UnixStream,
        quiet: Sender<()>,
    }

    impl Control for Remote {
        fn descriptor(&self) -> BorrowedFd<'_> {
            self.wake.as_fd()
        }
        fn next(&mut self) -> Told {
            self.commands.try_recv().map_or(Told::Nothing, Told::Command)
        }
        fn stopped_reading(&mut self) {
            let _ = self.quiet.send(());
        }
        fn reopened(&mut self, errors: &[OutputError]) {
            assert!(errors.is_empty());
            let _ = self.quiet.send(());
        }
    }

    struct Handle {
        commands: Sender<Command>,
        wake: UnixStream,
        quiet: Receiver<()>,
    }

    impl Handle {
        fn tell(&mut self, command: Command) {
            self.commands.send(command).unwrap();
            self.wake.write_all(&[0]).unwrap();
        }
    }

    fn remote() -> (Remote, Handle) {
        let ((commands, next), (quiet, said)) = (channel(), channel());
        let (wake, woken) = UnixStream::pair().unwrap();
        (Remote { commands: next, wake: woken, quiet }, Handle { commands, wake, quiet: said })
    }

    fn outputs(path: &Path, max_bytes: u64) -> Outputs {
        let file = FileOutput { path: path.to_owned(), max_bytes, backups: 200, level: LevelFilter::Info };
        Outputs::open(&OutputsConfig { file: Some(file), ..OutputsConfig::default() }).unwrap().0
    }

    fn lines(path: &Path) -> Vec<String> {
        let old = (1..=200).rev().map(|n| format!("{}.{n}", path.display()).into());
        old.chain([path.to_owned()])
            .filter_map(|path: std::path::PathBuf| fs::read_to_string(path).ok())
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    fn speaker(socket: &OwnedFd, name: &str, dropped: &'static AtomicU64) -> sender::Sender {
        let levels = super::super::Levels::new(LevelFilter::Info, BTreeMap::new());
        let mut sender = sender::Sender::to(socket.try_clone().unwrap(), name, levels, dropped);
        sender.max_wait = Duration::MAX; // however slow the machine is
        sender
    }

    fn say(sender: &sender::Sender, n: u32) {
        let mut builder = log::Record::builder();
        sender.log(&builder.level(log::Level::Info).target("t").args(format_args!("number {n} end")).build());
    }

    fn counter() -> &'static AtomicU64 {
        Box::leak(Box::default())
    }

    #[test]
    fn eight_speakers_over_many_rotations_lose_and_tear_no_line() {
        const EACH: u32 = 1500;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let (write, read) = super::super::pair().unwrap();
        let (dropped, own) = (counter(), AtomicU64::new(0));
        let outputs = outputs(&path, 10_000);
        scope(|scope| {
            for speaker_number in 0..8 {
                let sender = speaker(&write, &format!("speaker {speaker_number}"), dropped);
                scope.spawn(move || (0..EACH).for_each(|n| say(&sender, n)));
            }
            drop(write);
            let total = || dropped.load(Ordering::Relaxed);
            let drops = Drops { own: &own, total: &total };
            let (mut control, _handle) = remote();
            assert_eq!(run(read, outputs, Start::Begin, &mut control, drops), Ok(Ended::LastWriterGone));
        });
        assert_eq!((dropped.load(Ordering::Relaxed), own.load(Ordering::Relaxed)), (0, 0));
        let lines = lines(&path);
        assert_eq!(lines.len(), 8 * EACH as usize);
        assert!(folder.path().join("a.log.50").exists());
        for speaker_number in 0..8 {
            let mine = lines.iter().filter(|line| line.contains(&format!(" speaker {speaker_number}] ")));
            assert!(mine.zip(0..EACH).all(|(line, n)| line.ends_with(&format!("] number {n} end"))));
        }
    }

    #[test]
    fn reload_hands_over_without_losing_or_doubling_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let (write, read) = super::super::pair().unwrap();
        let second_read = read.try_clone().unwrap();
        let dropped = counter();
        let sender = speaker(&write, "x", dropped);
        drop(write);
        let ((mut old, mut tell_old), (mut new, mut tell_new)) = (remote(), remote());
        let (old_outputs, new_outputs) = (outputs(&path, 5000), outputs(&path, 5000));
        let logger = move |socket, outputs, start, control: &mut Remote| {
            let own = AtomicU64::new(0);
            let total = || 0;
            run(socket, outputs, start, control, Drops { own: &own, total: &total })
        };
        let old = spawn(move || logger(read, old_outputs, Start::Begin, &mut old));
        let new = spawn(move || logger(second_read, new_outputs, Start::Standby, &mut new));
        (0..500).for_each(|n| say(&sender, n));
        tell_old.tell(Command::Finish);
        (500..600).for_each(|n| say(&sender, n));
        tell_old.quiet.recv().unwrap();
        // Threads share the lock that keeps two processes apart, so this test waits for the end by itself.
        assert_eq!(old.join().unwrap(), Ok(Ended::Finished));
        tell_new.tell(Command::Begin);
        (600..1000).for_each(|n| say(&sender, n));
        drop(sender);
        assert_eq!(new.join().unwrap(), Ok(Ended::LastWriterGone));
        let lines = lines(&path);
        assert_eq!(lines.len(), 1000);
        assert!(lines.iter().zip(0..).all(|(line, n)| line.ends_with(&format!("] number {n} end"))));
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn reopen_follows_a_file_that_was_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("a.log"), folder.path().join("moved"));
        let (write, read) = super::super::pair().unwrap();
        let sender = speaker(&write, "x", counter());
        drop(write);
        let (mut control, mut handle) = remote();
        let outputs = outputs(&path, 0);
        fs::rename(&path, &moved).unwrap();
        let logger = spawn(move || {
            let own = AtomicU64::new(0);
            run(read, outputs, Start::Begin, &mut control, Drops { own: &own, total: &|| 0 })
        });
        handle.tell(Command::Reopen);
        handle.quiet.recv().unwrap();
        say(&sender, 7);
        drop(sender);
        assert_eq!(logger.join().unwrap(), Ok(Ended::LastWriterGone));
        assert_eq!((lines(&path).len(), lines(&moved).len()), (1, 0));
    }

    #[test]
    fn records_dropped_elsewhere_and_garbage_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let (write, read) = super::super::pair().unwrap();
        let (dropped, own) = (counter(), AtomicU64::new(0));
        let sender = speaker(&write, "x", dropped);
        nix::sys::socket::send(write.as_raw_fd(), b"garbage", nix::sys::socket::MsgFlags::empty()).unwrap();
        say(&sender, 1);
        drop((write, sender));
        let calls = AtomicU64::new(0);
        // Nothing at the start, four later: as if other processes had dropped them meanwhile.
        let elsewhere = || if calls.fetch_add(1, Ordering::Relaxed) == 0 { 0 } else { 4 };
        let total = || elsewhere() + own.load(Ordering::Relaxed);
        let (mut control, _handle) = remote();
        let drops = Drops { own: &own, total: &total };
        assert_eq!(
            run(read, outputs(&path, 0), Start::Begin, &mut control, drops),
            Ok(Ended::LastWriterGone)
        );
        let text = lines(&path).join("\n");
        assert!(
            text.contains("WARN ") && text.contains("LOG_RECORDS_DROPPED dropped 4 records count=4"),
            "{text}"
        );
        assert!(text.contains("LOG_RECORDS_DROPPED dropped 1 records count=1"), "{text}");
        assert!(text.contains("number 1 end"));
    }

    #[test]
    fn standby_that_is_told_to_finish_reads_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (write, read) = super::super::pair().unwrap();
        let rest = read.try_clone().unwrap();
        say(&speaker(&write, "x", counter()), 1);
        let (mut control, mut handle) = remote();
        handle.tell(Command::Finish);
        let own = AtomicU64::new(0);
        let outputs = outputs(&folder.path().join("a.log"), 0);
        let drops = Drops { own: &own, total: &|| 0 };
        assert_eq!(run(read, outputs, Start::Standby, &mut control, drops), Ok(Ended::Abandoned));
        let mut byte = [0];
        assert!(
            nix::sys::socket::recv(rest.as_raw_fd(), &mut byte, nix::sys::socket::MsgFlags::empty()).is_ok()
        );
    }
}
