//! Logging: how a record gets from the process that speaks to the files that keep it.
//!
//! Every process uses the `log` facade. Its [`sender`] packs each record into one [`frame`] and sends it as
//! one message of a `SOCK_SEQPACKET` pair, so records of many processes never mix. One logger process reads the
//! other end ([`collector`]), formats ([`text`], [`json`]) and writes ([`outputs`]). This module knows nothing
//! of what is logged, of DHCP or of the configuration's keys.
//!
//! ```text
//! info!(event = …; …) → Sender → frame → socket → reader thread → bounded queue → writer → file, JSON, console, syslog
//! ```
//!
//! What the network can cause at will is logged at a limited rate ([`limits`]), decided before a record is formatted.
//! A slow disk never reaches a worker: the socket is drained into memory, and where memory is full too,
//! records are dropped, counted and reported.

pub mod collector;
pub mod error;
mod file;
pub mod frame;
pub mod json;
pub mod levels;
pub mod limits;
pub mod outputs;
mod queue;
pub mod sender;
mod sink;
mod syslog;
pub mod text;

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};

pub use error::OutputError;
pub use frame::Record;
pub use levels::Levels;
pub use limits::{Limits, Rate, Suppressed};
pub use outputs::{FileOutput, Outputs, OutputsConfig, SyslogOutput};
pub use text::harmless;

/// Room in the log socket, in bytes, that bridges the time until the logger runs or is replaced.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// Makes the log socket: `(write end, read end)`, both close-on-exec.
///
/// Main makes it once, before the first fork, and keeps both ends, so that a logger can be replaced while
/// records wait in the socket. As an ordinary user the room may be smaller (`net.core.wmem_max`).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (write, read) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    if setsockopt(&write, sockopt::SndBufForce, &SOCKET_BYTES).is_err() {
        // Without CAP_NET_ADMIN the kernel caps it; a smaller socket still works.
        let _ = setsockopt(&write, sockopt::SndBuf, &SOCKET_BYTES);
    }
    Ok((write, read))
}
