//! The way of a record through real processes: speakers, loggers, replaced loggers, a full disk.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Done, hear};
use daemon_utils::channel::{Channel, Received};
use daemon_utils::log::collector::{self, Command, Control, Counters, Start, Told};
use daemon_utils::log::{self as transport, FileOutput, Levels, Outputs, OutputsConfig, sender};
use daemon_utils::process::{Exit, Pid, keep_only, reap, spawn};
use daemon_utils::shm;
use daemon_utils::signal::{Signal, ignore_in_worker};
use log::LevelFilter;
use nix::sys::signal::kill;

const SPEAKERS: u64 = 8;
const EACH: u64 = 3000;

fn main() {
    let filter = common::filter();
    let tests = common::tests![
        eight_processes_over_many_rotations_lose_and_tear_no_line,
        replaced_loggers_lose_and_double_and_reorder_nothing,
        logger_outlives_sigterm_until_its_last_writer_is_gone,
        full_disk_tears_no_line_and_is_survived,
    ];
    common::run(tests, filter);
}

fn eight_processes_over_many_rotations_lose_and_tear_no_line() -> Done {
    let scene = Scene::new(20_000);
    let (logger, channel) = scene.logger();
    tell(&channel, b'B');
    let speakers = scene.speakers();
    let scene = scene.close();
    assert_all_end_well(&[&speakers[..], &[logger]].concat());
    scene.assert_complete();
    assert!(scene.folder.path().join("a.log.20").exists());
    Done::Passed
}

fn replaced_loggers_lose_and_double_and_reorder_nothing() -> Done {
    let scene = Scene::new(20_000);
    let (mut pid, mut channel) = scene.logger();
    tell(&channel, b'B');
    let mut all = scene.speakers();
    for _ in 0..20 {
        let (next, next_channel) = scene.logger();
        assert_eq!(hear(&next_channel).as_deref(), Some("ready"));
        tell(&channel, b'Q');
        while hear(&channel).unwrap() != "quiet" {}
        tell(&next_channel, b'B');
        all.push(pid);
        (pid, channel) = (next, next_channel);
    }
    all.push(pid);
    let scene = scene.close();
    assert_all_end_well(&all);
    scene.assert_complete();
    Done::Passed
}

fn logger_outlives_sigterm_until_its_last_writer_is_gone() -> Done {
    let scene = Scene::new(0);
    let (logger, channel) = scene.logger();
    assert_eq!(hear(&channel).as_deref(), Some("ready"));
    tell(&channel, b'B');
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        kill(logger, signal).unwrap();
    }
    let speakers = scene.speakers();
    let scene = scene.close();
    assert_all_end_well(&[&speakers[..], &[logger]].concat());
    scene.assert_complete();
    Done::Passed
}

fn full_disk_tears_no_line_and_is_survived() -> Done {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "none"])
        .arg(&disk)
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return Done::Skipped("may not mount a small file system");
    }
    let outcome = std::panic::catch_unwind(|| {
        let path = disk.join("a.log");
        let (mut outputs, _) = Outputs::open(&outputs(&path, 0)).unwrap();
        let mut lost = 0;
        for number in 0..2000 {
            lost += outputs.write(&record(&format!("number {number} {}", "x".repeat(number % 3000))));
        }
        assert!(lost > 0);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("x\n") || text.is_empty());
        assert!(text.lines().all(|line| line.contains("] number ")));
        fs::write(&path, "").unwrap();
        outputs.reopen();
        assert_eq!(outputs.write(&record("number 1 again")), 0);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("LOG_RECORDS_DROPPED dropped {lost} records count={lost}")), "{text}");
        assert!(text.ends_with("number 1 again\n"));
    });
    assert!(std::process::Command::new("umount").arg(&disk).status().unwrap().success());
    assert!(outcome.is_ok());
    Done::Passed
}

/// A log socket, a folder and the words that shared memory holds.
struct Scene {
    folder: tempfile::TempDir,
    max_bytes: u64,
    writer: Option<OwnedFd>,
    reader: OwnedFd,
    dropped: &'static AtomicU64,
    failures: &'static AtomicU64,
}

impl Scene {
    fn new(max_bytes: u64) -> Self {
        let (writer, reader) = transport::pair().unwrap();
        let words = shm::create("log test", 2).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (dropped, failures) = (&words[0], &words[1]);
        Self { folder, max_bytes, writer: Some(writer), reader, dropped, failures }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.log")
    }

    /// A logger in standby.
    fn logger(&self) -> (Pid, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        let pid = spawn(|| {
            ignore_in_worker();
            keep_only(&[theirs.as_fd(), self.reader.as_fd()]).unwrap();
            let outputs = Outputs::open(&outputs(&self.path(), self.max_bytes)).unwrap().0;
            theirs.send(b"ready").unwrap();
            let total = || self.dropped.load(Ordering::Relaxed);
            let counters = Counters { own: self.dropped, failures: self.failures, total: &total };
            let reader = self.reader.try_clone().unwrap();
            i32::from(
                collector::run(reader, outputs, Start::Standby, &mut Orders(&theirs), counters).is_err(),
            )
        });
        (pid.unwrap(), ours)
    }

    fn speakers(&self) -> Vec<Pid> {
        (0..SPEAKERS).map(|number| self.speaker(number)).collect()
    }

    fn speaker(&self, number: u64) -> Pid {
        let speak = || {
            let writer = self.writer.as_ref().unwrap();
            keep_only(&[writer.as_fd()]).unwrap();
            let levels = Levels::new(LevelFilter::Info, BTreeMap::new());
            sender::install(writer.try_clone().unwrap(), "nobody", levels, self.dropped);
            sender::rename(&format!("speaker {number}"));
            (0..EACH).for_each(|line| log::info!(event = "STATS", line:% = line; "number {line} end"));
            0
        };
        spawn(speak).unwrap()
    }

    /// Closes this process's end: the speakers' ends are the last ones.
    fn close(mut self) -> Self {
        self.writer = None;
        self
    }

    /// Every line is there once, whole, with its speaker's PID, and in its speaker's order.
    fn assert_complete(&self) {
        let old = (1..=500).rev().map(|n| PathBuf::from(format!("{}.{n}", self.path().display())));
        let text: String =
            old.chain([self.path()]).filter_map(|path| fs::read_to_string(path).ok()).collect();
        let mut seen: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        let mut lines = 0;
        for line in text.lines().filter(|line| !line.contains("LOG_RECORDS_DROPPED")) {
            let (_, rest) = line.split_once(" INFO  [").unwrap_or_else(|| panic!("torn: {line}"));
            let (speaker, rest) = rest.split_once("] STATS number ").unwrap();
            let (number, field) = rest.split_once(" end line=").unwrap();
            assert_eq!(number, field, "{line}");
            seen.entry(speaker).or_default().push(number.parse().unwrap());
            lines += 1;
        }
        assert_eq!(seen.len() as u64, SPEAKERS);
        for (speaker, numbers) in seen {
            assert!(numbers.is_sorted_by(|a, b| a < b), "{speaker} is out of order");
        }
        // On a machine that stalls for long a record may be dropped, but not without being counted.
        assert_eq!(lines + self.dropped.load(Ordering::Relaxed), SPEAKERS * EACH);
        assert_eq!(self.failures.load(Ordering::Relaxed), 0);
    }
}

fn outputs(path: &Path, max_bytes: u64) -> OutputsConfig {
    let file = FileOutput { path: path.to_owned(), max_bytes, backups: 500, level: LevelFilter::Info };
    OutputsConfig { file: Some(file), ..OutputsConfig::default() }
}

fn record(message: &str) -> transport::Record<'_> {
    transport::Record {
        time: std::time::SystemTime::now(),
        level: log::Level::Info,
        pid: 1,
        process: "test".into(),
        target: "test".into(),
        event: "".into(),
        message: message.into(),
        fields: Vec::new(),
    }
}

fn tell(channel: &Channel, order: u8) {
    channel.send(&[order]).unwrap();
}

/// Reaps exactly these children; all of them must have ended well.
fn assert_all_end_well(children: &[Pid]) {
    let failed = wait_for(children);
    assert!(failed.is_empty(), "{failed:?}");
}

/// Reaps these children (and no other is there) and returns those that did not end well.
fn wait_for(children: &[Pid]) -> Vec<(Pid, Exit)> {
    for child in children {
        let process = daemon_utils::process::Process::open(*child);
        // One that was reaped already has no entry any more.
        if let Ok(process) = process {
            assert!(process.wait_gone(common::DEADLINE).unwrap(), "{child} does not end");
        }
    }
    let mut failed = Vec::new();
    while let Some((pid, exit)) = reap().unwrap() {
        if exit != Exit::Code(0) {
            failed.push((pid, exit));
        }
    }
    failed
}

/// One byte an order.
struct Orders<'a>(&'a Channel);

impl Control for Orders<'_> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn next(&mut self) -> Told {
        let mut byte = [0];
        match self.0.receive(&mut byte) {
            Ok(Received::Nothing) => Told::Nothing,
            Ok(Received::Message(_)) if byte == *b"B" => Told::Command(Command::Begin),
            Ok(Received::Message(_)) => Told::Command(Command::Finish),
            Ok(Received::Closed) | Err(_) => Told::Gone,
        }
    }

    fn report(&mut self, _: &mut Outputs) {}

    fn remember(&mut self, _: &daemon_utils::log::Record<'_>) {}

    fn stopped_reading(&mut self) {
        let _ = self.0.send(b"quiet");
    }
}
