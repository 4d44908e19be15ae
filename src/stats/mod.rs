//! `StatsCollector`: the metric table, the counters in shared memory, one snapshot of them, its exposition.
//!
//! Every process counts into its own [`Slot`]; the api process takes a [`Snapshot`] and hands it out.

pub mod exposition;
mod happened;
pub mod metrics;
mod notes;
mod shared;
mod snapshot;

pub use happened::{Happened, ProcessEvent};
pub use metrics::{Counter, Gauge, Histogram};
pub use notes::Notes;
pub use shared::{Occupant, POOL_STATES, POOLS, PoolFigures, SLOTS, Shared, Slot};
pub use snapshot::{PoolSnapshot, Snapshot};
