//! (in work)

pub mod model;
pub mod network;

pub use model::Config;
pub use network::{AddressRange, Network};
