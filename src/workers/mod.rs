//! The worker processes: their loops and their I/O, nothing that decides.
//!
//! A worker is born by a fork of main with everything it needs (a [`Context`] and its own sockets), says
//! [`Word::Ready`], waits for [`Order::Begin`], serves until [`Order::Quiesce`] or [`Order::Stop`], and ends
//! with an exit code. It never changes its configuration. When main is gone, so is the worker.

pub mod api;
pub mod dhcp;
pub mod keeper;
mod kind;
pub mod logger;
mod order;
mod pace;
pub mod regions;
pub mod tcp;
pub mod udp;

use std::sync::Arc;

use daemon_utils::channel::Channel;

use crate::config::Config;
use crate::stats::{Shared, Slot};

pub use kind::Kind;
pub use order::{Heard, MAX_TEXT, Order, Patch, STALE, UNSAVED, Word, hear};

/// What every worker is born with.
#[derive(Debug)]
pub struct Context {
    /// Its number among the workers of its kind, from 0.
    pub index: u16,
    /// The configuration of its generation.
    pub config: Arc<Config>,
    /// Its end of the channel with main.
    pub channel: Channel,
    /// The shared memory.
    pub shared: Shared,
    /// Its own slot in it.
    pub slot: Slot,
}

impl Context {
    /// Says a word to main. A failure is not reported: if main is gone the next [`hear`] says so.
    pub fn say(&self, word: &Word) {
        let _ = self.channel.send(&word.encode());
    }
}
