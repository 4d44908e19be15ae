//! Option 82: what a relay says of the port that a message came in by (RFC 3046).
//!
//! Read leniently: a broken sub-option hides itself and those behind it, but the bytes as a whole are echoed
//! unchanged, since they are the relay's business and not ours.

use std::net::Ipv4Addr;

use super::walk::Walk;

/// RFC 3046 §3.1.
const CIRCUIT_ID: u8 = 1;
/// RFC 3046 §3.2.
const REMOTE_ID: u8 = 2;
/// RFC 3527 §3.
const LINK_SELECTION: u8 = 5;
/// RFC 5107 §4.
const SERVER_ID_OVERRIDE: u8 = 11;

/// The sub-options of option 82.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayInformation<'m> {
    bytes: &'m [u8],
}

impl<'m> RelayInformation<'m> {
    pub(super) fn new(bytes: &'m [u8]) -> Self {
        Self { bytes }
    }

    /// All of it, to be echoed in this order.
    pub fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// The first sub-option of this code.
    pub fn sub_option(&self, code: u8) -> Option<&'m [u8]> {
        Walk::sub_options(self.bytes)
            .map_while(Result::ok)
            .find(|(found, _)| *found == code)
            .map(|(_, data)| data)
    }

    /// The circuit: the port of a switch, as a rule; never empty.
    pub fn circuit_id(&self) -> Option<&'m [u8]> {
        self.sub_option(CIRCUIT_ID).filter(|id| !id.is_empty())
    }

    /// The remote end: the modem or switch; never empty.
    pub fn remote_id(&self) -> Option<&'m [u8]> {
        self.sub_option(REMOTE_ID).filter(|id| !id.is_empty())
    }

    /// The link that the client is on, where giaddr is not in it.
    pub fn link_selection(&self) -> Option<Ipv4Addr> {
        self.address(LINK_SELECTION)
    }

    /// The server identifier that replies must carry, so that renewals pass the relay.
    pub fn server_id_override(&self) -> Option<Ipv4Addr> {
        self.address(SERVER_ID_OVERRIDE)
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let address: Ipv4Addr = <[u8; 4]>::try_from(self.sub_option(code)?).ok()?.into();
        // Neither 0.0.0.0/8 nor a group, a reserved address or the broadcast address stands for a link or a host (RFC 6890).
        Some(address).filter(|address| (1..224).contains(&address.octets()[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_options_before_a_broken_one_are_read_and_the_bytes_kept() {
        let bytes = [1, 2, b'a', b'b', 5, 4, 10, 0, 0, 0, 2, 9, b'x'];
        let relay = RelayInformation::new(&bytes);
        assert_eq!(relay.circuit_id(), Some(&b"ab"[..]));
        assert_eq!(relay.link_selection(), Some(Ipv4Addr::new(10, 0, 0, 0)));
        assert_eq!(relay.remote_id(), None);
        assert_eq!(relay.bytes(), bytes);
    }

    #[test]
    fn what_is_no_address_of_a_host_is_none() {
        assert_eq!(RelayInformation::new(&[11, 3, 10, 0, 0]).server_id_override(), None);
        for first in [0, 224, 240, 255] {
            let bytes = [11, 4, first, 255, 255, 255];
            assert_eq!(RelayInformation::new(&bytes).server_id_override(), None, "{first}");
        }
        assert_eq!(RelayInformation::new(&[5, 4, 0, 0, 0, 0]).link_selection(), None);
    }
}
