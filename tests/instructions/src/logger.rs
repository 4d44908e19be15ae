//! The log socket with nobody behind it but this program: records are made and sent as in a worker, and thrown away.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use daemon_utils::log::sender::{close, install, set_limits};
use daemon_utils::log::{Levels, Limits, pair};
use log::LevelFilter;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::world::Failure;

/// While it lives, records of level INFO are sent.
pub(crate) struct Logger {
    read: OwnedFd,
}

impl Logger {
    /// With these limits.
    pub(crate) fn begin(limits: Limits) -> Result<Self, Failure> {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let (write, read) = pair()?;
        install(write, "dhcp 0", Levels::new(LevelFilter::Info, [].into()), &DROPPED);
        set_limits(limits);
        Ok(Self { read })
    }

    /// From now on with these.
    pub(crate) fn limit(limits: Limits) {
        set_limits(limits);
    }

    /// Takes out what has been said. Errors: nothing has.
    pub(crate) fn drain(&self) -> usize {
        let mut frame = [0; 1024];
        let mut count = 0;
        while recv(self.read.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) != Err(Errno::EAGAIN) {
            count += 1;
        }
        count
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        close();
        log::set_max_level(LevelFilter::Off);
    }
}
