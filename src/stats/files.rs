//! Sizes of the daemon's files, and the room on their file systems. A file that the reader may not see is left out.

use std::fs;
use std::path::PathBuf;

use nix::sys::statvfs::statvfs;

/// A file to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    /// What it is: `leases`, `log`, …
    pub file: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// A file in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFigures {
    /// What it is.
    pub file: &'static str,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// What an ordinary user may still write to its file system.
    pub filesystem_free_bytes: Option<u64>,
    /// Size of its file system.
    pub filesystem_size_bytes: Option<u64>,
}

/// Looks at a file, and at the file system that it is or would be on.
pub(super) fn look(place: &FilePlace) -> FileFigures {
    let room = place.path.parent().and_then(|folder| statvfs(folder).ok());
    let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
    FileFigures {
        file: place.file,
        size_bytes: fs::metadata(&place.path).ok().map(|data| data.len()),
        filesystem_free_bytes: room.map(|room| bytes(room.blocks_available(), room.fragment_size())),
        filesystem_size_bytes: room.map(|room| bytes(room.blocks(), room.fragment_size())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_has_its_size_and_a_missing_one_the_room_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, [0; 1234]).unwrap();
        let there = look(&FilePlace { file: "log", path });
        assert_eq!(there.size_bytes, Some(1234));
        assert!(there.filesystem_free_bytes.unwrap() <= there.filesystem_size_bytes.unwrap());
        let missing = look(&FilePlace { file: "log", path: folder.path().join("none") });
        assert_eq!((missing.size_bytes, missing.filesystem_size_bytes.is_some()), (None, true));
    }
}
