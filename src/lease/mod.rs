//! The leases: `LeaseManager` decides, a [`store::LeaseStore`] keeps.
//!
//! | module | owns |
//! |---|---|
//! | [`types`], `short` | leases, clients, states, times · bytes that mostly are few |
//! | [`pools`], `hosts` | subnets, pools and links by address · reservations |
//! | [`engine`], `standing`, `choose`, [`request`] | the rules: begin, commit, release, decline · what is known of an address · DISCOVER · REQUEST |
//! | `conflict`, `declines`, `ahead`, `effort` | addresses found in use · by their clients · which to probe ahead of time · what a search may cost |
//! | `cache`, `record`, `free`, `circuits`, `batch` | what is committed, in memory · one lease, packed · free addresses · leases by circuit · what is pending |
//! | [`offers`], [`probes`], `table` | in shared memory: offered addresses · who uses free ones · the tables they stand in |
//! | [`store`] | what the engine needs of a lease file |
//! | [`sqlite`], [`sync`], [`prepare()`], `schema`, `rows`, `lock` | the lease file: open and commit · the fsync · make ready · layout · columns · turns |
//! | [`recover()`] | what can be read of a damaged file, in a new one |
//! | [`keep`], `fold`, `expiry`, `history` | the keeper's work: what next · log into leases · what runs out · limits |
//! | `admin`, [`office`] | what an administrator may do to leases: free an address, import · in a large file |
//! | [`reader`], [`search`], [`past()`], `snapshot` | leases and who held them, for people · found by what is known · all leases for a dry run |
//! | [`follow`], [`view`] | what is written to the log, at once · one lease for people and programs |
//! | [`draft`], [`transfer`], [`when`] | written leases for an import · one lease as columns of text and back · times likewise |
//! | [`clock`] | lease time |
//! | [`hash`] | the one hash |

mod admin;
mod ahead;
mod batch;
mod cache;
mod choose;
mod circuits;
pub mod clock;
mod conflict;
mod declines;
pub mod draft;
mod effort;
pub mod engine;
mod expiry;
mod fold;
pub mod follow;
mod free;
pub mod hash;
mod history;
mod hosts;
pub mod keep;
mod lock;
mod names;
pub mod offers;
pub mod office;
pub mod past;
pub mod pools;
mod prepare;
pub mod probes;
pub mod reader;
mod record;
mod recover;
pub mod request;
mod rows;
mod schema;
pub mod search;
mod short;
mod snapshot;
pub mod sqlite;
mod standing;
pub mod store;
pub mod sync;
mod table;
pub mod transfer;
pub mod types;
mod unfolded;
pub mod view;
pub mod when;

pub use admin::{Freed, ImportRow, Imported, Refusal};
pub use ahead::Ahead;
pub use clock::LeaseClock;
pub use draft::Flaw;
pub use engine::{Access, Declined, EngineSettings, LeaseManager, Offered, PoolGauge, Released, Scope};
pub use expiry::{Ended, ReservedGauge};
pub use follow::Follower;
pub use hosts::{HostId, HostSpec};
pub use keep::{Keeper, Step};
pub use offers::{OFFER_WORDS, Offers};
pub use past::{Interval, PastFilter, Place, past};
pub use pools::{Barred, PoolSpec, SubnetSpec, Topology};
pub use prepare::{prepare, prepare_if_needed};
pub use probes::{Answered, Finding, PROBE_WORDS, Probes};
pub use reader::{Reader, Recorded};
pub use recover::{Recovered, recover};
pub use request::{AckEvent, Answer, Ask, NakReason, SilenceReason};
pub use search::Search;
pub use snapshot::Snapshot;
pub use sqlite::{PATIENCE, SqliteStore};
pub use store::{ClientRef, LeaseStore, StoreError};
pub use sync::Syncer;
pub use types::*;
pub use view::LeaseView;
pub use when::Times;

#[cfg(test)]
mod tests;
