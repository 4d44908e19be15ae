//! What is in the network: subnets, pools, hosts, and the classes of clients.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::super::network::{AddressRange, Network};
use super::super::pattern::Pattern;
use super::{Common, LeaseTime, Options};

/// One subnet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subnet {
    /// Its name, the key in the file.
    pub name: String,
    /// Its prefix.
    pub network: Network,
    /// Interface it is attached to; none: found by the interface's address.
    pub interface: Option<String>,
    /// Relays (giaddr) outside the prefix that are on this subnet too.
    pub relays: Vec<Ipv4Addr>,
    /// Name of the shared network: subnets of one name share a link.
    pub shared_network: Option<String>,
    /// Times, boot fields and options.
    pub common: Common,
    /// Addresses never given out.
    pub exclude: Vec<AddressRange>,
    /// Pools by name.
    pub pools: Vec<Pool>,
    /// Clients with a reservation, by name.
    pub hosts: Vec<Host>,
}

/// One pool of dynamic addresses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pool {
    /// Its name, the key in the file.
    pub name: String,
    /// First to last address.
    pub range: AddressRange,
    /// Names of the classes whose members it is open to; none: to everybody.
    pub classes: Vec<String>,
    /// Lease times, where the pool has its own.
    pub lease_time: Option<LeaseTime>,
    /// Boot fields, where the pool has its own.
    pub boot: Boot,
    /// Options of this level.
    pub options: Options,
}

/// Boot fields at a level that may override them one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// `siaddr`.
    pub next_server: Option<Ipv4Addr>,
    /// `sname`.
    pub server_name: Option<String>,
    /// `file`.
    pub boot_file: Option<String>,
}

/// A class of clients.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    /// Its name, the key in the file.
    pub name: String,
    /// Classes are applied in rising order; a later one lays its values over an earlier one's.
    pub order: i32,
    /// Who belongs to it.
    pub condition: Condition,
    /// Whether its members are answered with silence.
    pub drop: bool,
    /// Lease times, where the class has its own.
    pub lease_time: Option<LeaseTime>,
    /// Boot fields, where the class has its own.
    pub boot: Boot,
    /// Options of this level.
    pub options: Options,
}

/// What a message must be like.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Each of these holds (so an empty list holds always).
    All(Vec<Condition>),
    /// At least one of these holds.
    Any(Vec<Condition>),
    /// This does not hold.
    Not(Box<Condition>),
    /// The field is there and fits at least one of the patterns.
    Field(Field, Vec<Pattern>),
}

/// What a pattern is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// The hardware address.
    Mac,
    /// Option 60.
    VendorClass,
    /// Option 77: the whole of it, or one of its parts (RFC 3004).
    UserClass,
    /// Option 61.
    ClientId,
    /// Option 12, or the host part of option 81.
    Hostname,
    /// Option 93, one of its numbers (RFC 4578).
    Architecture,
    /// Option 82.1.
    CircuitId,
    /// Option 82.2.
    RemoteId,
    /// giaddr.
    Relay,
    /// The interface that the message came in by.
    Interface,
    /// An option by its number.
    Option(u8),
}

/// A client that the administrator knows. It is found by any one of its identifiers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Host {
    /// Its name, the key in the file.
    pub name: String,
    /// Its hardware addresses, 1 to 16 bytes each; of several, one uses the address at a time.
    pub macs: Vec<Vec<u8>>,
    /// Option 61.
    pub client_id: Option<Vec<u8>>,
    /// Option 82.1.
    pub circuit_id: Option<Vec<u8>>,
    /// Option 82.2, which must fit too where it is given; never without `circuit_id`.
    pub remote_id: Option<Vec<u8>>,
    /// Its address; none: one of a pool.
    pub ip: Option<Ipv4Addr>,
    /// Its name for option 12.
    pub hostname: Option<String>,
    /// Lease times, where the host has its own.
    pub lease_time: Option<LeaseTime>,
    /// Boot fields, where the host has its own.
    pub boot: Boot,
    /// Options of this level.
    pub options: Options,
}
