//! Reservations, laid out for look-ups by identity and by address. Made with the topology; decides nothing.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::config::model::{Host, Subnet};

use super::cache::Spread;
use super::pools::LinkId;
use super::store::ClientRef;
use super::types::SubnetId;

/// A host by its place among all hosts of this generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub u32);

/// One client that the administrator knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// Its place among all hosts.
    pub id: HostId,
    /// The subnet that it is listed in.
    pub subnet: SubnetId,
    /// Its place among the hosts of that subnet.
    pub place: usize,
    /// The address that is its own; none: one of a pool.
    pub address: Option<Ipv4Addr>,
}

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    specs: Vec<HostSpec>,
    /// The keys are the configuration's, not the network's, so a quick hash will do.
    by_identity: HashMap<Box<[u8]>, HostId, Spread>,
    by_address: HashMap<u32, HostId, Spread>,
    /// By [`Kind`]: whether there is such a host at all.
    kinds: [bool; 5],
}

/// The kinds of identity, as the first byte of a key.
#[derive(Debug, Clone, Copy)]
enum Kind {
    ClientId = 1,
    Hardware,
    Circuit,
    CircuitAndRemote,
}

impl Hosts {
    /// Enters the hosts of one subnet on its link. Where two claim the same, the first one keeps it; the check of the
    /// configuration refuses that.
    pub(super) fn add(&mut self, id: SubnetId, link: LinkId, subnet: &Subnet) {
        for (place, host) in subnet.hosts.iter().enumerate() {
            // One for each entry of the file, so there are never 2³².
            let host_id = HostId(u32::try_from(self.specs.len()).unwrap_or(u32::MAX));
            self.specs.push(HostSpec { id: host_id, subnet: id, place, address: host.ip });
            for (kind, key) in keys(link, host) {
                self.kinds[kind as usize] = true;
                self.by_identity.entry(key.bytes().into()).or_insert(host_id);
            }
            if let Some(address) = host.ip {
                self.by_address.entry(u32::from(address)).or_insert(host_id);
            }
        }
    }

    pub(super) fn get(&self, id: HostId) -> Option<&HostSpec> {
        self.specs.get(usize::try_from(id.0).ok()?)
    }

    pub(super) fn all(&self) -> &[HostSpec] {
        &self.specs
    }

    /// Whose reservation an address is.
    pub(super) fn at(&self, address: Ipv4Addr) -> Option<HostId> {
        // Most configurations have none: no hash is worked out then.
        if self.by_address.is_empty() { None } else { self.by_address.get(&u32::from(address)).copied() }
    }

    /// The host that a client is on a link: what names one machine goes before what names a port.
    pub(super) fn find(&self, link: LinkId, client: &ClientRef<'_>) -> Option<HostId> {
        if self.by_identity.is_empty() {
            return None;
        }
        let look = |kind: Kind, parts: &[&[u8]]| {
            if !self.kinds[kind as usize] {
                return None;
            }
            self.by_identity.get(Key::new(link, kind, parts).bytes()).copied()
        };
        let hardware = Some(client.hardware.bytes()).filter(|bytes| !bytes.is_empty());
        let circuit = client.circuit_id.zip(Some(client.remote_id));
        client
            .client_id
            .and_then(|id| look(Kind::ClientId, &[id]))
            .or_else(|| look(Kind::Hardware, &[hardware?]))
            .or_else(|| {
                let (circuit, remote) = circuit?;
                look(Kind::CircuitAndRemote, &[circuit, remote?])
            })
            .or_else(|| look(Kind::Circuit, &[circuit?.0]))
    }
}

fn keys(link: LinkId, host: &Host) -> Vec<(Kind, Key)> {
    let key = |kind, parts: &[&[u8]]| (kind, Key::new(link, kind, parts));
    let mut keys: Vec<_> = host.macs.iter().map(|mac| key(Kind::Hardware, &[mac])).collect();
    keys.extend(host.client_id.as_ref().map(|id| key(Kind::ClientId, &[id])));
    keys.extend(host.circuit_id.as_ref().map(|circuit| match &host.remote_id {
        Some(remote) => key(Kind::CircuitAndRemote, &[circuit, remote]),
        None => key(Kind::Circuit, &[circuit]),
    }));
    keys
}

/// The link, the kind, then each part behind its length. On the stack, since every packet asks.
struct Key {
    bytes: [u8; Self::ROOM],
    length: usize,
}

impl Key {
    /// Two parts of 255 bytes, which is the most that a message can carry, and what stands before them.
    const ROOM: usize = 544;

    fn new(link: LinkId, kind: Kind, parts: &[&[u8]]) -> Self {
        let mut key = Self { bytes: [0; Self::ROOM], length: 0 };
        key.put(&link.0.to_be_bytes());
        key.put(&[kind as u8]);
        for part in parts {
            key.put(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            key.put(part);
        }
        key
    }

    /// What is longer than a message can carry is cut: its length stands before it, so it is nobody's.
    fn put(&mut self, part: &[u8]) {
        let part = part.get(..(Self::ROOM - self.length).min(part.len())).unwrap_or_default();
        if let Some(room) = self.bytes.get_mut(self.length..self.length + part.len()) {
            room.copy_from_slice(part);
            self.length += part.len();
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
