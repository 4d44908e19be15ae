//! What a program hands to the one that it executes in its own place (execve(2)): a document and open descriptors.
//!
//! The process stays: its PID, its children, its blocked signals and those that wait, its open file descriptions with
//! their locks. Memory goes, so what is to be known afterwards stands in the document, descriptors by their numbers.
//! Knows nothing of what the document says.

use std::collections::HashMap;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::execve;

use crate::process::keep_only;
use crate::shm;

/// The last of the standard descriptors, which are handed over as they are.
const LAST_STANDARD: RawFd = 2;

/// Most bytes of a document that are read.
const LONGEST_DOCUMENT: u64 = 512 * 1024 * 1024;

/// A document as a file without a name (close-on-exec).
pub fn document(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"handover", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// Reads a document that came over an exec by the number of its descriptor, which stays open. Errors: nothing is open
/// there, it is no file, or it is longer than any document.
pub fn read_document(number: RawFd) -> io::Result<Vec<u8>> {
    let file = File::from(borrow(number)?.try_clone_to_owned()?);
    let length = file.metadata()?.len();
    if length > LONGEST_DOCUMENT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the document is too long"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Whether a descriptor stays open over an exec. All of this project's are made so that they do not.
pub fn keep_over_exec(fd: BorrowedFd<'_>, keep: bool) -> io::Result<()> {
    let flags = if keep { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    fcntl(fd, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// Executes a program in this process's place, with this process's environment. Comes back only with an error.
///
/// Unlike the standard library's, it leaves blocked signals blocked: one that waits for its reader must not end the
/// process in between.
pub fn execute(program: &Path, arguments: &[OsString]) -> io::Error {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
    let environment = std::env::vars_os().map(|(name, value)| {
        let mut entry = name;
        entry.push("=");
        entry.push(value);
        text(entry.as_bytes())
    });
    let prepare = || -> io::Result<_> {
        let arguments: Vec<CString> =
            arguments.iter().map(|argument| text(argument.as_bytes())).collect::<Result<_, _>>()?;
        Ok((text(program.as_os_str().as_bytes())?, arguments, environment.collect::<Result<Vec<_>, _>>()?))
    };
    match prepare() {
        Ok((program, arguments, environment)) => match execve(&program, &arguments, &environment) {
            Err(errno) => errno.into(),
        },
        Err(error) => error,
    }
}

/// Descriptors that came over an exec, all of them open, none owned yet: until [`claim`](Self::claim) another program
/// can still be executed with the same ones.
#[derive(Debug)]
pub struct Inherited {
    numbers: Vec<RawFd>,
}

impl Inherited {
    /// Looks whether these are open. Errors: one is not, is a standard one, or stands there twice.
    pub fn check(numbers: &[RawFd]) -> io::Result<Self> {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a descriptor is handed over twice"));
        }
        for number in &numbers {
            borrow(*number)?;
        }
        Ok(Self { numbers })
    }

    /// Maps the shared memory (`shm`) behind one of them.
    pub fn map(&self, number: RawFd) -> io::Result<&'static [AtomicU64]> {
        if !self.numbers.contains(&number) {
            return Err(Errno::EBADF.into());
        }
        shm::map(borrow(number)?)
    }

    /// Takes them all, close-on-exec from now on, and closes every other descriptor above 2 but those in `ours`.
    ///
    /// Nothing else in this program may own a descriptor yet: see [`keep_only`].
    pub fn claim(self, ours: &[BorrowedFd<'_>]) -> io::Result<Claimed> {
        let kept = self.numbers.iter().map(|number| borrow(*number)).collect::<io::Result<Vec<_>>>()?;
        for fd in &kept {
            keep_over_exec(*fd, false)?;
        }
        keep_only(&kept.into_iter().chain(ours.iter().copied()).collect::<Vec<_>>())?;
        // SAFETY: each is open (just borrowed), stands here once (`check`), and by this function's contract nobody
        // else in this program owns it.
        let own = |number: RawFd| (number, unsafe { OwnedFd::from_raw_fd(number) });
        Ok(Claimed { fds: self.numbers.into_iter().map(own).collect() })
    }
}

/// Descriptors that came over an exec, to be taken one by one.
#[derive(Debug)]
pub struct Claimed {
    fds: HashMap<RawFd, OwnedFd>,
}

impl Claimed {
    /// The descriptor with this number. Errors: it was not handed over, or was taken before.
    pub fn take(&mut self, number: RawFd) -> io::Result<OwnedFd> {
        self.fds.remove(&number).ok_or_else(|| Errno::EBADF.into())
    }
}

/// For a moment, a descriptor that is open and above the standard ones.
fn borrow(number: RawFd) -> io::Result<BorrowedFd<'static>> {
    if number <= LAST_STANDARD {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: F_GETFD reads a flag of whatever stands at this number, and fails where nothing does (fcntl(2)).
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: it is open, and callers drop this before anybody closes descriptors of the program that has just begun.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn document_is_read_back_by_its_number() {
        let fd = document(b"{\"a\": 1}").unwrap();
        assert_eq!(read_document(fd.as_raw_fd()).unwrap(), b"{\"a\": 1}");
        assert_eq!(read_document(fd.as_raw_fd()).unwrap(), b"{\"a\": 1}", "again");
    }

    #[test]
    fn closed_standard_and_repeated_descriptors_are_refused() {
        let fd = document(b"x").unwrap();
        let number = fd.as_raw_fd();
        assert!(Inherited::check(&[number]).is_ok());
        assert!(Inherited::check(&[number, number]).is_err());
        assert!(Inherited::check(&[1]).is_err());
        assert!(Inherited::check(&[1_000_000]).is_err());
    }

    #[test]
    fn program_that_is_not_there_comes_back_with_the_reason() {
        let error = execute(Path::new("/nowhere/at all"), &["x".into()]);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
