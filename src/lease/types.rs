//! What a lease is: addresses, clients, states, times. Plain data, used from the engine to the commands.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::config::model::IdentifyBy;
pub use crate::protocol::HardwareAddress;
pub use crate::protocol::hardware::hex_with_colons;

pub use super::short::ShortBytes;

/// Seconds since 1970 on the lease clock, which runs with the boot-time clock: a step of the wall clock does
/// not move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// A lease that never ends (RFC 2131 §3.3: 0xffffffff is infinity).
    pub const NEVER: Self = Self(u64::MAX >> 1);

    /// `secs` later; infinity stays infinity.
    #[must_use]
    pub fn plus(self, secs: u32) -> Self {
        if secs == u32::MAX {
            Self::NEVER
        } else {
            Self(self.0.saturating_add(u64::from(secs)).min(Self::NEVER.0))
        }
    }
}

/// What identifies a client on its link. The first byte says which kind of identity follows, so that a
/// client-id never equals a hardware address by chance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(ShortBytes);

impl ClientKey {
    /// By option 61 (RFC 2132 §9.14, RFC 4361), 1 to 255 bytes.
    pub fn by_client_id(id: &[u8]) -> Self {
        Self::tagged(1, id)
    }

    /// By hardware type and address.
    pub fn by_hardware(address: &HardwareAddress) -> Self {
        let (mut bytes, own) = ([0; 18], address.bytes());
        // At most 16 bytes, by construction.
        let length = own.len().min(16);
        bytes[..2].copy_from_slice(&[2, address.kind()]);
        bytes[2..2 + length].copy_from_slice(&own[..length]);
        Self(bytes[..2 + length].into())
    }

    /// By the relay's circuit-id and remote-id (RFC 3046 §3). A circuit-id is unique at its relay only, so where
    /// nothing else names the far end, the relay itself belongs to the identity.
    pub fn by_circuit(relay: Option<Ipv4Addr>, circuit: &[u8], remote: Option<&[u8]>) -> Self {
        let mut bytes = vec![3, u8::from(remote.is_some())];
        // A sub-option has at most 255 bytes (RFC 3046 §2.0).
        bytes.push(u8::try_from(circuit.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(circuit);
        match remote {
            Some(remote) => bytes.extend_from_slice(remote),
            None => bytes.extend(relay.unwrap_or(Ipv4Addr::UNSPECIFIED).octets()),
        }
        Self(bytes.into())
    }

    /// From the bytes of [`ClientKey::as_bytes`], as the lease file keeps them.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// Kind and identity.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn tagged(kind: u8, identity: &[u8]) -> Self {
        // On the stack first, so that memory is taken once.
        let mut bytes = [0; 256];
        match bytes.get_mut(1..=identity.len()) {
            Some(own) => own.copy_from_slice(identity),
            // Longer than any client-id: of a configuration, which no client can have.
            None => return Self([&[kind], identity].concat().into()),
        }
        bytes[0] = kind;
        Self(bytes[..=identity.len()].into())
    }
}

/// A client as its message shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its identity.
    pub key: ClientKey,
    /// Its hardware address.
    pub hardware: HardwareAddress,
    /// Option 61 as sent.
    pub client_id: Option<ShortBytes>,
    /// Option 12 as sent (or the host part of option 81); any bytes.
    pub hostname: Option<ShortBytes>,
    /// The relay (giaddr) it came through.
    pub relay: Option<Ipv4Addr>,
    /// Option 82.1.
    pub circuit_id: Option<ShortBytes>,
    /// Option 82.2.
    pub remote_id: Option<ShortBytes>,
    /// Option 60.
    pub vendor_class: Option<ShortBytes>,
}

impl Client {
    /// What identifies it where clients are told apart so; none where it has no such thing. Option 61 if sent, else the
    /// hardware address (RFC 2131 §4.2), unless the configuration says otherwise.
    pub fn identity(&self, by: IdentifyBy) -> Option<ClientKey> {
        let by_hardware =
            || (!self.hardware.bytes().is_empty()).then(|| ClientKey::by_hardware(&self.hardware));
        let by_id = || self.client_id.as_deref().map(ClientKey::by_client_id).or_else(by_hardware);
        match by {
            IdentifyBy::ClientId => by_id(),
            IdentifyBy::Mac => by_hardware(),
            IdentifyBy::CircuitId => {
                let by_circuit =
                    |circuit| ClientKey::by_circuit(self.relay, circuit, self.remote_id.as_deref());
                self.circuit_id.as_deref().map(by_circuit).or_else(by_id)
            }
        }
    }
}

/// A subnet by its place in the configuration of this generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubnetId(pub u16);

/// A pool by its place among all pools of this generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u16);

/// State of an address that is or was leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeaseState {
    /// Held by its client until it expires.
    Active,
    /// Ran out; the client is remembered until the address is needed.
    Expired,
    /// Given back; the client is remembered until the address is needed.
    Released,
    /// A client found it in use (DHCPDECLINE); rests until it expires.
    Declined,
    /// We found it in use; rests until it expires.
    Conflict,
}

impl LeaseState {
    /// All of them, in the order of their numbers in the lease file.
    pub const ALL: [Self; 5] = [Self::Active, Self::Expired, Self::Released, Self::Declined, Self::Conflict];

    /// The name in the lease list, the API and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Declined => "declined",
            Self::Conflict => "conflict",
        }
    }

    /// Its number in the lease file.
    pub fn number(self) -> u8 {
        match self {
            Self::Active => 0,
            Self::Expired => 1,
            Self::Released => 2,
            Self::Declined => 3,
            Self::Conflict => 4,
        }
    }

    /// By its number in the lease file.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// By its [`LeaseState::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the address rests because somebody else was found to use it.
    pub fn rests(self) -> bool {
        match self {
            Self::Declined | Self::Conflict => true,
            Self::Active | Self::Expired | Self::Released => false,
        }
    }
}

/// What a row of the lease log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeaseEvent {
    /// A client got an address that it did not hold.
    Granted,
    /// A client holds on to its address.
    Renewed,
    /// The holder gave it back, or got another address on the same link.
    Released,
    /// It ran out.
    Expired,
    /// A client found it in use.
    Declined,
    /// We found it in use.
    Conflict,
    /// The rest after a decline or a conflict is over.
    Recovered,
    /// It is forgotten altogether.
    Deleted,
}

impl LeaseEvent {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Granted,
        Self::Renewed,
        Self::Released,
        Self::Expired,
        Self::Declined,
        Self::Conflict,
        Self::Recovered,
        Self::Deleted,
    ];

    /// The name in the lease file and in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Renewed => "renewed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Declined => "declined",
            Self::Conflict => "conflict",
            Self::Recovered => "recovered",
            Self::Deleted => "deleted",
        }
    }

    /// By its [`LeaseEvent::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// One lease: an address and who holds or held it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Who.
    pub client: Client,
    /// Name of its subnet when it was written.
    pub subnet: Arc<str>,
    /// Name of its pool when it was written.
    pub pool: Arc<str>,
    /// In which state.
    pub state: LeaseState,
    /// Since when this client holds it without a gap.
    pub starts: Timestamp,
    /// Until when.
    pub expires: Timestamp,
}
