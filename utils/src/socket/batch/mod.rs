//! Many datagrams in one system call (recvmmsg(2), sendmmsg(2)), over memory that is allocated once.
//!
//! A worker makes its batches at its start and uses them for its whole life. One datagram that cannot be sent is
//! skipped and counted; the others go out. What a datagram says is not looked at here.
//!
//! | module | owns |
//! |---|---|
//! | `receive` | [`DatagramBatch`]: receiving, and sending back what was received |
//! | `reply` | [`ReplyBatch`] and the outbox it shares with [`super::LinkBatch`] |
//! | `send` | [`Sent`]: the one rule by which every batch is sent |
//! | `wire` | addresses and control messages as the kernel lays them out |

mod receive;
mod reply;
mod send;
pub(super) mod wire;

pub use receive::{Datagram, DatagramBatch};
pub(super) use reply::Outbox;
pub use reply::{Full, ReplyBatch};
pub use send::Sent;

#[cfg(test)]
mod tests;
