//! Tests of the collector: whole ways from speakers to files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{scope, spawn};

use log::{LevelFilter, Log};

use super::*;
use crate::log::outputs::{FileOutput, OutputsConfig};
use crate::log::sender;

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
    fn remember(&mut self, _: &Record<'_>) {}

    fn report(&mut self, _: &mut Outputs) {}

    fn stopped_reading(&mut self) {
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
    let levels = crate::log::Levels::new(LevelFilter::Info, BTreeMap::new());
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
    let (write, read) = crate::log::pair().unwrap();
    let (dropped, own) = (counter(), AtomicU64::new(0));
    let outputs = outputs(&path, 10_000);
    scope(|scope| {
        for speaker_number in 0..8 {
            let sender = speaker(&write, &format!("speaker {speaker_number}"), dropped);
            scope.spawn(move || (0..EACH).for_each(|n| say(&sender, n)));
        }
        drop(write);
        let total = || dropped.load(Ordering::Relaxed);
        let counters = Counters { failures: counter(), own: &own, total: &total };
        let (mut control, _handle) = remote();
        assert_eq!(run(read, outputs, Start::Begin, &mut control, counters), Ok(Ended::LastWriterGone));
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
    let (write, read) = crate::log::pair().unwrap();
    let second_read = read.try_clone().unwrap();
    let dropped = counter();
    let sender = speaker(&write, "x", dropped);
    drop(write);
    let ((mut old, mut tell_old), (mut new, mut tell_new)) = (remote(), remote());
    let (old_outputs, new_outputs) = (outputs(&path, 5000), outputs(&path, 5000));
    let logger = move |socket, outputs, start, control: &mut Remote| {
        let own = AtomicU64::new(0);
        let total = || 0;
        run(socket, outputs, start, control, Counters { failures: counter(), own: &own, total: &total })
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
    let (write, read) = crate::log::pair().unwrap();
    let sender = speaker(&write, "x", counter());
    drop(write);
    let (mut control, mut handle) = remote();
    let outputs = outputs(&path, 0);
    let logger = spawn(move || {
        let own = AtomicU64::new(0);
        run(
            read,
            outputs,
            Start::Begin,
            &mut control,
            Counters { failures: counter(), own: &own, total: &|| 0 },
        )
    });
    say(&sender, 1);
    while lines(&path).is_empty() {
        std::thread::yield_now();
    }
    fs::rename(&path, &moved).unwrap();
    // Told first, then said: the record must be in the new file.
    handle.tell(Command::Reopen);
    say(&sender, 7);
    drop(sender);
    assert_eq!(logger.join().unwrap(), Ok(Ended::LastWriterGone));
    assert_eq!((lines(&path).len(), lines(&moved).len()), (1, 1));
}

#[test]
fn records_dropped_elsewhere_and_garbage_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let (write, read) = crate::log::pair().unwrap();
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
    let counters = Counters { failures: counter(), own: &own, total: &total };
    assert_eq!(run(read, outputs(&path, 0), Start::Begin, &mut control, counters), Ok(Ended::LastWriterGone));
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
    let (write, read) = crate::log::pair().unwrap();
    let rest = read.try_clone().unwrap();
    say(&speaker(&write, "x", counter()), 1);
    let (mut control, mut handle) = remote();
    handle.tell(Command::Finish);
    let own = AtomicU64::new(0);
    let outputs = outputs(&folder.path().join("a.log"), 0);
    let counters = Counters { failures: counter(), own: &own, total: &|| 0 };
    assert_eq!(run(read, outputs, Start::Standby, &mut control, counters), Ok(Ended::Abandoned));
    let mut byte = [0];
    assert!(nix::sys::socket::recv(rest.as_raw_fd(), &mut byte, nix::sys::socket::MsgFlags::empty()).is_ok());
}
