//! The format of DHCP packets, and nothing but the format: bytes in, [`DhcpMessage`] out, and back.
//!
//! No socket, no clock, no lease. dhcproto reads and writes on the main path; where it errs (see [`parser`]),
//! the code here reads what it leaves out.

pub mod hardware;

pub use hardware::HardwareAddress;
