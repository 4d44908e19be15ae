//! Tests of the protocol layer that span its files.

pub(crate) mod corpus;
mod dhcproto_faults;
mod encode;
mod options;
mod parser;
pub(crate) mod wire;
