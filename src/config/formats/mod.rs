//! The formats of a configuration file: text to tree, and where each key stands.
//!
//! One file per format; they know no key and read no file. Called by the sources.

mod index;
pub(super) mod yaml;

pub(super) use index::{Index, Mark};

/// Why a text is not a configuration in its format.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) at: Option<Mark>,
    pub(super) reason: String,
    pub(super) hint: Option<&'static str>,
}
