//! The format of DHCP packets, and nothing but the format: bytes in, [`DhcpMessage`] out, and back.
//!
//! No socket, no clock, no lease. dhcproto reads and writes on the main path; where it errs (see [`parser`] and
//! [`encode`]), the code here is right.

mod codes;
pub mod encode;
mod extensions;
pub mod fqdn;
pub mod frame;
pub mod hardware;
pub mod message;
pub mod options;
pub mod parser;
pub mod relay;
mod room;
mod walk;

#[cfg(test)]
pub(crate) mod tests;

pub use codes::Codes;
pub use hardware::HardwareAddress;
pub use message::{DhcpMessage, MessageType, code};
pub use parser::{DhcpParser, Malformed};
pub use relay::RelayInformation;
