//! The leases: `LeaseManager` decides, a [`store::LeaseStore`] keeps.
//!
//! | module | owns |
//! |---|---|
//! | [`types`] | leases, clients, states, times |
//! | [`pools`], `hosts` | subnets, pools and links by address · reservations |
//! | [`engine`], `choose`, [`request`] | the rules: begin, commit, release, decline · DISCOVER · REQUEST |
//! | `cache`, `record`, `free`, `circuits`, `batch` | what is committed, in memory · one lease, packed · free addresses · leases by circuit · what is pending |
//! | [`offers`] | offered addresses, in shared memory |
//! | [`store`] | what the engine needs of a lease file |
//! | [`sqlite`], [`prepare()`], `schema`, `rows`, `lock` | the lease file: open and commit · make ready · layout · columns · turns |
//! | [`keep`], `fold`, `expiry`, `history` | the keeper's work: what next · log into leases · what runs out · limits |
//! | [`reader`], `snapshot` | lists for people · all leases for a dry run |
//! | [`clock`] | lease time |
//! | [`hash`] | the one hash |

mod batch;
mod cache;
mod choose;
mod circuits;
pub mod clock;
pub mod engine;
mod expiry;
mod fold;
mod free;
pub mod hash;
mod history;
mod hosts;
pub mod keep;
mod lock;
pub mod offers;
pub mod pools;
mod prepare;
pub mod reader;
mod record;
pub mod request;
mod rows;
mod schema;
mod snapshot;
pub mod sqlite;
pub mod store;
pub mod types;

pub use clock::LeaseClock;
pub use engine::{Access, Declined, EngineSettings, LeaseManager, Offered, PoolGauge, Released, Scope};
pub use expiry::Ended;
pub use hosts::{HostId, HostSpec};
pub use keep::{Keeper, Step};
pub use offers::{OFFER_WORDS, Offers};
pub use pools::{PoolSpec, SubnetSpec, Topology};
pub use prepare::prepare;
pub use reader::{LeaseRow, ListFilter, list};
pub use request::{AckEvent, Answer, Ask, NakReason, SilenceReason};
pub use snapshot::Snapshot;
pub use sqlite::{PATIENCE, SqliteStore};
pub use store::{ClientRef, LeaseStore, StoreError};
pub use types::*;

#[cfg(test)]
mod tests;
