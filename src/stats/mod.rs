//! `StatsCollector`: the metric table, the counters in shared memory, one snapshot of them, its exposition.
//!
//! Every process counts into its own [`Slot`]; the api process takes a [`Snapshot`] and hands it out.

pub mod metrics;
mod notes;
mod shared;

pub use metrics::{Counter, Gauge, Histogram};
pub use notes::Notes;
pub use shared::{Occupant, POOLS, SLOTS, Shared, Slot};
