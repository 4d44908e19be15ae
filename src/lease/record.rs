//! One lease as the cache keeps it: as small as it goes, since there may be millions. The client's fields lie in one
//! block of bytes.
//!
//! ```text
//! | flags 1 | key: length 2, bytes | hardware: kind 1, length 1, bytes | relay 4 | the other fields: length 2, bytes |
//! ```
//! A flag tells which parts are there. What equals the key but for its tag (the client-id, or the hardware address)
//! is not kept twice.

use std::net::Ipv4Addr;

use super::pools::LinkId;
use super::store::ClientRef;
use super::types::{ClientKey, HardwareAddress, LeaseState, PoolId, Timestamp};

/// One lease.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) starts: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) client: Packed,
    pub(super) address: Ipv4Addr,
    /// Places in the cache's table of names.
    pub(super) subnet: u16,
    pub(super) pool_name: u16,
    /// Where the address lies now; none outside of all pools, or subnets. What is excluded or reserved is in no pool.
    pub(super) pool: Option<PoolId>,
    pub(super) link: Option<LinkId>,
    pub(super) state: LeaseState,
    pub(super) declines: u8,
}

/// A client in one block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Packed(Box<[u8]>);

const HARDWARE: u8 = 1;
const CLIENT_ID: u8 = 1 << 1;
/// The client-id is the key without its tag.
const ID_IS_KEY: u8 = 1 << 2;
const HOSTNAME: u8 = 1 << 3;
const RELAY: u8 = 1 << 4;
const CIRCUIT: u8 = 1 << 5;
const REMOTE: u8 = 1 << 6;
const VENDOR: u8 = 1 << 7;

impl Packed {
    pub(super) fn new(client: &ClientRef<'_>) -> Self {
        let id_is_key =
            matches!((client.key.split_first(), client.client_id), (Some((1, id)), Some(own)) if id == own);
        let mut flags = 0;
        // Exactly what is needed: a million blocks that are cut to size afterwards are a tenth of the time of a start.
        let optional = [client.hostname, client.circuit_id, client.remote_id, client.vendor_class];
        let id = client.client_id.filter(|_| !id_is_key);
        let fields = optional.into_iter().chain([id]).flatten().map(|field| 2 + field.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(
            1 + 2
                + client.key.len()
                + 2
                + client.hardware.bytes().len()
                + 4 * usize::from(client.relay.is_some())
                + fields,
        );
        bytes.push(0);
        put(&mut bytes, client.key);
        if client.hardware != HardwareAddress::default() {
            flags |= HARDWARE;
            let own = client.hardware.bytes();
            // At most 16 bytes, by construction.
            bytes.extend([client.hardware.kind(), u8::try_from(own.len()).unwrap_or(0)]);
            bytes.extend_from_slice(own);
        }
        if let Some(relay) = client.relay {
            flags |= RELAY;
            bytes.extend(relay.octets());
        }
        if id_is_key {
            flags |= ID_IS_KEY;
        }
        let fields = [
            (CLIENT_ID, id),
            (HOSTNAME, client.hostname),
            (CIRCUIT, client.circuit_id),
            (REMOTE, client.remote_id),
            (VENDOR, client.vendor_class),
        ];
        for (flag, field) in fields {
            if let Some(field) = field {
                flags |= flag;
                put(&mut bytes, field);
            }
        }
        bytes[0] = flags;
        Self(bytes.into_boxed_slice())
    }

    pub(super) fn key(&self) -> &[u8] {
        let mut rest = self.0.get(1..).unwrap_or_default();
        take(&mut rest)
    }

    pub(super) fn is(&self, key: &ClientKey) -> bool {
        self.key() == key.as_bytes()
    }

    pub(super) fn unpack(&self) -> ClientRef<'_> {
        let Some((flags, mut rest)) = self.0.split_first() else { return ClientRef::default() };
        let key = take(&mut rest);
        let mut client = ClientRef { key, ..ClientRef::default() };
        if flags & HARDWARE != 0
            && let Some((head, tail)) = rest.split_first_chunk::<2>()
            && let Some((own, tail)) = tail.split_at_checked(usize::from(head[1]))
        {
            client.hardware = HardwareAddress::new(head[0], own).unwrap_or_default();
            rest = tail;
        }
        if flags & RELAY != 0
            && let Some((relay, tail)) = rest.split_first_chunk::<4>()
        {
            client.relay = Some(Ipv4Addr::from(*relay));
            rest = tail;
        }
        let mut field = |flag: u8| (flags & flag != 0).then(|| take(&mut rest));
        client.client_id = field(CLIENT_ID);
        client.hostname = field(HOSTNAME);
        client.circuit_id = field(CIRCUIT);
        client.remote_id = field(REMOTE);
        client.vendor_class = field(VENDOR);
        if flags & ID_IS_KEY != 0 {
            client.client_id = key.get(1..);
        }
        client
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A field longer than 65,535 bytes does not come out of a datagram; it would be cut.
fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    let length = u16::try_from(field.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend_from_slice(field.get(..usize::from(length)).unwrap_or_default());
}

fn take<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, tail)) = rest.split_first_chunk::<2>() else { return &[] };
    let (field, tail) =
        tail.split_at_checked(usize::from(u16::from_le_bytes(*length))).unwrap_or((tail, &[]));
    *rest = tail;
    field
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..300)
    }

    #[test]
    fn a_plain_client_takes_little_room() {
        let hardware = HardwareAddress::new(1, &[0, 17, 34, 51, 68, 85]).unwrap();
        let key = ClientKey::by_client_id(&[1, 0, 17, 34, 51, 68, 85]);
        let client = ClientRef {
            key: key.as_bytes(),
            hardware,
            client_id: key.as_bytes().get(1..),
            ..ClientRef::default()
        };
        assert!(Packed::new(&client).len() <= 24);
    }

    proptest! {
        #[test]
        fn unpacking_gives_back_what_was_packed(
            key in bytes(), hardware in prop::collection::vec(any::<u8>(), 0..17), kind in any::<u8>(),
            id in prop::option::of(bytes()), same in any::<bool>(), host in prop::option::of(bytes()),
            relay in prop::option::of(any::<u32>()), circuit in prop::option::of(bytes()),
            remote in prop::option::of(bytes()), vendor in prop::option::of(bytes()),
        ) {
            let key = if same { ClientKey::by_client_id(id.as_deref().unwrap_or_default()) } else { ClientKey::from_bytes(&key) };
            let client = ClientRef {
                key: key.as_bytes(),
                hardware: HardwareAddress::new(kind, &hardware).unwrap(),
                client_id: id.as_deref(),
                hostname: host.as_deref(),
                relay: relay.map(Ipv4Addr::from),
                circuit_id: circuit.as_deref(),
                remote_id: remote.as_deref(),
                vendor_class: vendor.as_deref(),
            };
            let packed = Packed::new(&client);
            prop_assert_eq!(packed.unpack(), client);
            prop_assert!(packed.is(&key));
        }
    }
}
