//! `StatsCollector`: the metric tables, the counters in shared memory, one snapshot of them a second, its forms.
//!
//! Every process counts into its own [`Slot`], without asking anybody. In the api process a [`StatsCollector`] takes a
//! [`Snapshot`] once a second, which `/metrics`, `/v1/stats` and the `STATS` line show.
//!
//! | module | owns |
//! |---|---|
//! | [`metrics`], [`histogram`], [`family`] | the tables: counters and gauges · histograms, quantiles · what is worked out; all of them |
//! | `shared`, `notes`, `history` | shared memory: slots and pools · recent errors · figures of the last minute, trends, CPU accounts |
//! | [`layout`] | what lies where in the shared memory; counters carried over from another layout |
//! | `collector`, `snapshot` | one snapshot a second · its figures as samples |
//! | [`rates`], `processes`, `files` | how much in a second · what processes use · sizes and room |
//! | [`exposition`], [`document()`], `line` | the forms: Prometheus text · JSON · the log line |

mod collector;
pub mod document;
pub mod exposition;
pub mod family;
mod files;
mod happened;
pub mod histogram;
mod history;
pub mod layout;
mod line;
pub mod metrics;
mod notes;
mod processes;
pub mod rates;
mod shared;
mod snapshot;

pub use collector::{PoolPlace, StatsCollector, Subject, TICK};
pub use document::document;
pub use family::{Family, Kind, families};
pub use files::{FileFigures, FilePlace};
pub use happened::{Happened, ProcessEvent};
pub use histogram::Histogram;
pub use history::{History, PROCESS_NAMES};
pub use metrics::{Counter, Gauge};
pub use notes::Notes;
pub use processes::{ProcessFigures, ProcessName};
pub use shared::{Occupant, POOL_STATES, POOLS, PoolFigures, SLOTS, Shared, Slot};
pub use snapshot::{Figure, PoolSnapshot, Sample, Snapshot};
