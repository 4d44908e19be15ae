//! The leases: `LeaseManager` decides, a [`store::LeaseStore`] keeps.
//!
//! | module | owns |
//! |---|---|
//! | [`types`] | leases, clients, states, times |
//! | [`pools`] | subnets, pools and links by address |
//! | [`engine`], `choose`, [`request`] | the rules: begin, commit, release, decline · DISCOVER · REQUEST |
//! | `cache`, `record`, `free`, `batch` | what is committed, in memory · one lease, packed · free addresses · what is pending |
//! | [`offers`] | offered addresses, in shared memory |
//! | [`store`] | what the engine needs of a lease file |
//! | [`hash`] | the one hash |

mod batch;
mod cache;
mod choose;
pub mod engine;
mod free;
pub mod hash;
pub mod offers;
pub mod pools;
mod record;
pub mod request;
pub mod store;
pub mod types;

pub use engine::{Access, Declined, EngineSettings, LeaseManager, Offered, PoolGauge, Released, Scope};
pub use offers::{OFFER_WORDS, Offers};
pub use pools::{PoolSpec, SubnetSpec, Topology};
pub use request::{Answer, Ask, NakReason, SilenceReason};
pub use store::{LeaseStore, StoreError};
pub use types::*;
