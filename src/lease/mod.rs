//! (in work)

pub mod types;

pub use types::*;
