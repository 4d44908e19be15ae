//! Where it is measured: the machine in words that name nobody, and the refusal of a disk that is none.

use anyhow::{Context, bail};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// A faster fsync than this, per second, reaches no disk.
const TOO_FAST: f64 = 200_000.0;

/// The machine.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    file_system: String,
}

impl Machine {
    /// Reads it from /proc; `folder` is where the lease files are.
    pub(crate) fn look(folder: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu =
            value(&cpuinfo, "model name").or_else(|| value(&cpuinfo, "Model")).unwrap_or("unknown processor");
        let memory = value(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
            .unwrap_or_default();
        Self {
            cpu: cpu.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory / 1024.0 / 1024.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/self/mounts"), folder).unwrap_or("unknown").to_owned(),
        }
    }

    /// One line.
    pub(crate) fn words(&self) -> String {
        format!(
            "{}, {} cores, {:.0} GiB of memory, Linux {}, lease files on {}",
            self.cpu, self.cores, self.memory_gib, self.kernel, self.file_system
        )
    }
}

/// The value behind `NAME :` in a file of /proc.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

/// The type of the mounted file system that a folder is on (proc(5): device, mount point, type, …).
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((Path::new(words.next()?), words.next()?))
    });
    // The last one of the deepest is on top.
    mounts
        .filter(|(point, _)| folder.starts_with(point))
        .max_by_key(|(point, _)| point.components().count())
        .map(|(_, kind)| kind)
}

/// Refuses a folder in memory: there an fsync costs nothing, and every figure would be a lie.
pub(crate) fn require_disk(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    let kind = statfs(folder).with_context(|| format!("could not look at the file system of \"{shown}\""))?;
    if kind.filesystem_type() == TMPFS_MAGIC || kind.filesystem_type().0 == RAMFS_MAGIC {
        bail!(
            "\"{shown}\" is in memory (tmpfs), where an fsync costs nothing\nhint: give a folder on a disk with --out"
        );
    }
    if kind.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
        let info = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if let Some(upper) = upper_folder(&info, folder)
            && statfs(upper).is_ok_and(|upper| upper.filesystem_type() == TMPFS_MAGIC)
        {
            bail!(
                "\"{shown}\" is an overlay in memory, where an fsync costs nothing\nhint: give a folder on a disk with --out"
            );
        }
    }
    Ok(())
}

/// linux/magic.h.
const RAMFS_MAGIC: nix::libc::__fsword_t = 0x8584_58f6;

/// Where an overlay keeps what is written: its option `upperdir`.
fn upper_folder<'a>(mountinfo: &'a str, folder: &Path) -> Option<&'a Path> {
    let overlays = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - overlay ")?;
        let point = Path::new(before.split(' ').nth(4)?);
        let upper = after.split([' ', ',']).find_map(|option| option.strip_prefix("upperdir="))?;
        folder.starts_with(point).then_some((point, Path::new(upper)))
    });
    overlays.max_by_key(|(point, _)| point.components().count()).map(|(_, upper)| upper)
}

/// Refuses a rate of fsyncs that no disk has: what the file system's name did not tell.
pub(crate) fn require_slow_sync(per_second: f64) -> anyhow::Result<()> {
    if per_second > TOO_FAST {
        bail!("{per_second:.0} fsyncs a second reach no disk\nhint: give a folder on a disk with --out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deepest_mount_names_the_file_system() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/home/x")), Some("ext4"));
        assert_eq!(file_system(mounts, Path::new("/tmp/y")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/tmp/disk/y")), Some("xfs"));
        assert_eq!(file_system(mounts, Path::new("/tmpfile")), Some("ext4"));
    }

    #[test]
    fn memory_is_refused() {
        let refusal = require_disk(Path::new("/dev/shm"));
        if Path::new("/dev/shm").exists() {
            assert!(refusal.unwrap_err().to_string().contains("in memory"));
        }
        assert!(require_slow_sync(20_000.0).is_ok());
        assert!(require_slow_sync(900_000.0).is_err());
    }

    #[test]
    fn upper_folder_of_the_deepest_overlay_is_found() {
        let info = "30 1 0:26 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/run/up,workdir=/w\n";
        assert_eq!(upper_folder(info, Path::new("/work")), Some(Path::new("/run/up")));
        assert_eq!(upper_folder("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", Path::new("/work")), None);
    }

    #[test]
    fn value_stands_behind_its_name() {
        assert_eq!(value("processor\t: 0\nmodel name\t: A: B\n", "model name"), Some("A: B"));
        assert_eq!(value("MemTotal:       100 kB\n", "MemTotal"), Some("100 kB"));
    }
}
