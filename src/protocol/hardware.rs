//! Hardware addresses as packets carry them. Plain data for every layer from here on up.

use std::fmt;

pub use crate::config::hex_with_colons;

/// A hardware address as in `htype`, `hlen`, `chaddr` (RFC 2131 §2), at most 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct HardwareAddress {
    kind: u8,
    length: u8,
    bytes: [u8; 16],
}

impl HardwareAddress {
    /// `kind` is the ARP hardware type (1: Ethernet); none where `bytes` is longer than 16.
    pub fn new(kind: u8, bytes: &[u8]) -> Option<Self> {
        let mut all = [0; 16];
        all.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { kind, length: u8::try_from(bytes.len()).ok()?, bytes: all })
    }

    /// The ARP hardware type.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// The address itself, 0 to 16 bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex_with_colons(self.bytes(), f)
    }
}

impl fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{self}", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_16_bytes_are_no_hardware_address() {
        assert!(HardwareAddress::new(1, &[0; 16]).is_some());
        assert!(HardwareAddress::new(1, &[0; 17]).is_none());
    }

    #[test]
    fn address_is_written_with_colons() {
        let address = HardwareAddress::new(1, &[0, 0x11, 0xab]).unwrap();
        assert_eq!(address.to_string(), "00:11:ab");
        assert_eq!(HardwareAddress::default().to_string(), "");
    }
}
