//! The inputs that are kept in `fuzz/seeds/` and `fuzz/kept/`, the packets that others have met where these are present, and what a little
//! damage makes of them, through every target: whatever fuzzing has found stays mended. docs/fuzzing.md tells how to keep one.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use echo_hostile::{TARGETS, Target, api_request, options, packet};
use tempfile::TempDir;

/// Damaged copies of each input.
const COPIES: u64 = 12;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files below a folder, in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Runs one input; a panic is told with the name of what was read.
fn run(target: Target, name: &str, bytes: &[u8]) {
    let whole = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    assert!(whole.is_ok(), "{name}: broken by {}", bytes.escape_ascii());
}

/// A copy with some bytes changed, cut off or written twice; the same in every run.
fn damaged(bytes: &[u8], copy: u64) -> Vec<u8> {
    let mut state = (bytes.len() as u64) << 8 | copy;
    let mut next = |below: usize| {
        // The generator of Knuth's MMIX; its high bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    let mut made = bytes.to_vec();
    for _ in 0..=next(3) {
        let at = next(made.len());
        match next(5) {
            0 => made.truncate(at),
            1 if !made.is_empty() => made[at] ^= 1 << next(8),
            2 if !made.is_empty() => made[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)],
            3 => {
                let end = at + next(made.len() - at);
                let piece = made[at..end].to_vec();
                made.splice(at..at, piece);
            }
            _ => {
                let end = at + next((made.len() - at).min(16));
                made.drain(at..end);
            }
        }
    }
    made
}

/// What fuzzing has kept for a target, unpacked.
fn unpacked(name: &str) -> Option<TempDir> {
    let archive = repository().join("fuzz/kept").join(name).with_extension("tar.gz");
    if !archive.exists() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(done.success(), "{} could not be unpacked", archive.display());
    Some(folder)
}

fn kept(name: &str) {
    let target = TARGETS.iter().find(|(target, _)| *target == name).unwrap().1;
    let inputs = files(&repository().join("fuzz/seeds").join(name));
    assert!(inputs.len() > 4, "{name} has too few inputs");
    for path in inputs {
        let bytes = fs::read(&path).unwrap();
        run(target, &path.display().to_string(), &bytes);
        for copy in 0..COPIES {
            run(target, &format!("copy {copy} of {}", path.display()), &damaged(&bytes, copy));
        }
    }
    let kept = unpacked(name);
    for path in kept.iter().flat_map(|folder| files(folder.path())) {
        run(target, &path.display().to_string(), &fs::read(&path).unwrap());
    }
}

#[test]
fn every_target_has_a_test_and_a_binary() {
    let source = include_str!("kept.rs");
    let manifest = fs::read_to_string(repository().join("fuzz/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(source.contains(&format!("kept(\"{name}\")")), "{name} is not tried here");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} has no binary");
        assert!(repository().join("fuzz/fuzz_targets").join(name).with_extension("rs").exists());
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

#[test]
fn kept_requests_to_the_api_keep_their_promises() {
    kept("api_request");
    api_request::tidy();
}

#[test]
fn kept_configurations_keep_their_promises() {
    kept("config");
}

#[test]
fn kept_files_of_leases_keep_their_promises() {
    kept("import");
}

#[test]
fn kept_log_frames_keep_their_promises() {
    kept("log_frame");
}

#[test]
fn kept_words_to_main_keep_their_promises() {
    kept("main_order");
}

#[test]
fn kept_names_keep_their_promises() {
    kept("names");
}

#[test]
fn kept_options_keep_their_promises() {
    kept("options");
}

#[test]
fn kept_packets_keep_their_promises() {
    kept("packet");
}

#[test]
fn packets_that_others_have_met_keep_their_promises() {
    let folder = repository().join("../shared/corpus");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    for path in files(&folder) {
        let bytes = fs::read(&path).unwrap();
        let name = path.display().to_string();
        run(packet::run, &name, &bytes);
        // As an options field: how the target `options` takes it, and its limit of the length.
        let field = [&[3, 0x40], bytes.get(240..).unwrap_or_default()].concat();
        run(options::run, &name, &field);
        for copy in 0..COPIES {
            run(packet::run, &format!("copy {copy} of {name}"), &damaged(&bytes, copy));
        }
    }
}
