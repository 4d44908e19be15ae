//! The shared mapping of atomics: counters, offers, quarantine.
//!
//! It maps memory and nothing else; what the words mean is the caller's. Main makes the mapping before its
//! first fork, every child inherits it at the same address.

use std::ffi::CString;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

const WORD_BYTES: usize = size_of::<AtomicU64>();

/// `words` zeroed 64-bit words that this process and all its later children share.
///
/// The mapping lives as long as the process, so no child can outlive it. `name` shows in `/proc/PID/maps`
/// (at most 249 bytes, `memfd_create(2)`). Errors: `InvalidInput` for no words or a bad name, else the kernel's.
pub fn create(name: &str, words: usize) -> io::Result<&'static [AtomicU64]> {
    create_kept(name, words).map(|(mapping, _fd)| mapping)
}

/// The same with the descriptor (close-on-exec), for handing the memory to a program executed in place,
/// which takes it up with [`map`].
pub fn create_kept(name: &str, words: usize) -> io::Result<(&'static [AtomicU64], OwnedFd)> {
    let bytes = words.checked_mul(WORD_BYTES).and_then(|bytes| i64::try_from(bytes).ok());
    let (Some(bytes), Ok(name)) = (bytes.filter(|&bytes| bytes > 0), CString::new(name)) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let fd = memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    ftruncate(&fd, bytes)?;
    // Nobody may change its size from now on: a page cut off would be a SIGBUS in every process.
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok((map(fd.as_fd())?, fd))
}

/// Maps a memory file of [`create_kept`] whole. Errors: `InvalidData` for a file that is empty or that could
/// still shrink.
pub fn map(fd: BorrowedFd<'_>) -> io::Result<&'static [AtomicU64]> {
    let bytes = usize::try_from(fstat(fd)?.st_size).unwrap_or(0);
    let words = bytes / WORD_BYTES;
    let sealed =
        SealFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GET_SEALS)?).contains(SealFlag::F_SEAL_SHRINK);
    let Some(length) = NonZeroUsize::new(words * WORD_BYTES).filter(|_| sealed) else {
        let reason = "not a shared memory file: it is empty or may still shrink";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    };
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: the kernel chooses a free address, so no memory in use is replaced.
    let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0) }?;
    // SAFETY: the mapping is page-aligned, `words` long, zeroed or holding words of another process, and is
    // never unmapped. The seal keeps every page present. All access, here and in other processes, is atomic.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>().as_ptr(), words) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn memory_starts_zeroed_and_two_mappings_share_it() {
        let (words, fd) = create_kept("test", 1000).unwrap();
        assert_eq!(words.len(), 1000);
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        words[999].store(7, Ordering::Relaxed);
        let again = map(fd.as_fd()).unwrap();
        assert_eq!(again[999].fetch_add(1, Ordering::Relaxed), 7);
        assert_eq!(words[999].load(Ordering::Relaxed), 8);
    }

    #[test]
    fn size_is_fixed_for_good() {
        let (_words, fd) = create_kept("test", 10).unwrap();
        assert!(ftruncate(&fd, 8).is_err());
        assert!(ftruncate(&fd, 800).is_err());
    }

    #[test]
    fn impossible_sizes_and_names_are_refused() {
        assert!(create("test", 0).is_err());
        assert!(create("test", usize::MAX).is_err());
        assert!(create("te\0st", 1).is_err());
    }

    #[test]
    fn a_file_that_may_shrink_is_not_mapped() {
        let fd = memfd_create(c"plain", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        ftruncate(&fd, 64).unwrap();
        assert_eq!(map(fd.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
