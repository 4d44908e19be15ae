//! What every fuzz target feeds and checks: one file for each, one function that takes any bytes and panics where a promise
//! is broken. The binaries in `fuzz/fuzz_targets/` hand these to libFuzzer; `tests/kept.rs` runs the inputs kept in
//! `fuzz/seeds/` through the same functions with the ordinary compiler.
//!
//! | target | bytes → | must hold |
//! |---|---|---|
//! | [`packet`] | the DHCP pipeline, lease engine and reply | a reply is sound, goes where it may, and stands on a lease |
//! | [`options`] | the codec of each option, option maps, overload | what was encoded is read again |
//! | [`names`] | option 82 and option 81 | echoed whole; the answer is a name again |
//! | [`log_frame`] | the frame of a log record | one line, no control character |
//! | [`api_request`] | a request to the control API | never 500; nothing is changed without the token |
//! | [`main_order`] | what the api process says to main | paths, `daemon` and `api` stay as they are |
//! | [`config`] | YAML, JSON, INI | what is accepted reads the same again |
//! | [`import`] | CSV, JSON, Kea's CSV | mistakes have places; what is accepted comes back from an export |
//!
//! Nothing here may depend on the clock, on chance or on inputs before: a kept input must fail again.

// One for each target.
pub mod api_request;
pub mod config;
pub mod import;
pub mod log_frame;
pub mod main_order;
pub mod names;
pub mod options;
pub mod packet;
mod store;
mod world;

/// A target: takes any bytes, panics where a promise is broken.
pub type Target = fn(&[u8]);

/// All of them by name, which is also the name of the binary and of the folder with kept inputs.
pub const TARGETS: [(&str, Target); 8] = [
    ("api_request", api_request::run),
    ("config", config::run),
    ("import", import::run),
    ("log_frame", log_frame::run),
    ("main_order", main_order::run),
    ("names", names::run),
    ("options", options::run),
    ("packet", packet::run),
];

/// Splits off the first byte.
fn choice(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(first, rest)| (*first, rest))
}

/// Whether a text could steer a terminal or end a line.
fn is_raw(text: &str) -> bool {
    text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}
