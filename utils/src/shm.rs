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
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use nix::sys::stat::fstat;
use nix::unistd::{SysconfVar, ftruncate, sysconf};

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

/// Ends the sharing of `words` for this process and its later children: every whole page of them becomes memory of its own,
/// full of zeros. Words that share a page with others stay shared. Who has closed the descriptor of the memory cannot get
/// them back (mmap(2)).
pub fn unshare(words: &'static [AtomicU64]) -> io::Result<()> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| usize::try_from(size).ok()).unwrap_or(4096);
    let range = words.as_ptr_range();
    let start = range.start.addr().next_multiple_of(page);
    let end = range.end.addr() / page * page;
    let (Some(start), Some(length)) =
        (NonZeroUsize::new(start), NonZeroUsize::new(end.saturating_sub(start)))
    else {
        return Ok(());
    };
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
    // SAFETY: the pages lie within `words`, so nothing else is replaced. They stay readable and writable, and that their
    // values change at any time is what atomics are for.
    unsafe { mmap_anonymous(Some(start), length, protection, flags) }?;
    Ok(())
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
    fn whole_pages_are_unshared_and_their_neighbours_are_not() {
        let page = usize::try_from(sysconf(SysconfVar::PAGE_SIZE).unwrap().unwrap()).unwrap() / WORD_BYTES;
        let (words, fd) = create_kept("test", 4 * page).unwrap();
        let others = map(fd.as_fd()).unwrap();
        for word in others {
            word.store(7, Ordering::Relaxed);
        }
        // Neither the page that the first word stands in nor that of the last is whole.
        unshare(&words[1..4 * page - 1]).unwrap();
        for (index, word) in words.iter().enumerate() {
            let own = (page..3 * page).contains(&index);
            assert_eq!(word.swap(9, Ordering::Relaxed), if own { 0 } else { 7 }, "{index}");
            assert_eq!(others[index].load(Ordering::Relaxed), if own { 7 } else { 9 }, "{index}");
        }
        unshare(&words[5..10]).unwrap();
        unshare(&[]).unwrap();
        assert_eq!(words[7].load(Ordering::Relaxed), 9);
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
