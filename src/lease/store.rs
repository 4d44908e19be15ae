//! What the engine needs of a lease store, and the rows that pass between the two. The engine knows no SQL; a store
//! knows no DHCP.
//!
//! A store is an append-only log of rows with rising numbers without gaps. Any number of processes append to it; each
//! follows the others by reading on from the last number it knows.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::types::{Client, HardwareAddress, Lease, LeaseEvent, LeaseState, Timestamp};

/// A client as a row holds it; like [`Client`], but borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientRef<'a> {
    /// The bytes of its [`super::types::ClientKey`]; empty: nobody.
    pub key: &'a [u8],
    /// Its hardware address.
    pub hardware: HardwareAddress,
    /// Option 61.
    pub client_id: Option<&'a [u8]>,
    /// Option 12, any bytes.
    pub hostname: Option<&'a [u8]>,
    /// giaddr.
    pub relay: Option<Ipv4Addr>,
    /// Option 82.1.
    pub circuit_id: Option<&'a [u8]>,
    /// Option 82.2.
    pub remote_id: Option<&'a [u8]>,
    /// Option 60.
    pub vendor_class: Option<&'a [u8]>,
}

impl<'a> From<&'a Client> for ClientRef<'a> {
    fn from(client: &'a Client) -> Self {
        Self {
            key: client.key.as_bytes(),
            hardware: client.hardware,
            client_id: client.client_id.as_deref(),
            hostname: client.hostname.as_deref(),
            relay: client.relay,
            circuit_id: client.circuit_id.as_deref(),
            remote_id: client.remote_id.as_deref(),
            vendor_class: client.vendor_class.as_deref(),
        }
    }
}

impl ClientRef<'_> {
    /// An owned copy.
    pub fn to_client(self) -> Client {
        Client {
            key: super::types::ClientKey::from_bytes(self.key),
            hardware: self.hardware,
            client_id: self.client_id.map(Into::into),
            hostname: self.hostname.map(Into::into),
            relay: self.relay,
            circuit_id: self.circuit_id.map(Into::into),
            remote_id: self.remote_id.map(Into::into),
            vendor_class: self.vendor_class.map(Into::into),
        }
    }
}

/// One row of the log, borrowed: what became of an address.
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'a> {
    /// Its number in the log, from 1.
    pub seq: u64,
    /// When it was written; for a row of the folded table unknown and 0.
    pub at: Timestamp,
    /// What happened; for a row of the folded table the event that leads to its state.
    pub event: LeaseEvent,
    /// The address.
    pub address: Ipv4Addr,
    /// Name of its subnet.
    pub subnet: &'a str,
    /// Name of its pool.
    pub pool: &'a str,
    /// The state since then.
    pub state: LeaseState,
    /// Since when its client holds it without a gap; for a rest: since when it rests.
    pub starts: Timestamp,
    /// Until when; for a lease that ended: when it did.
    pub expires: Timestamp,
    /// How often in a row the address was declined.
    pub declines: u8,
    /// Who holds or held it, or declined it.
    pub client: ClientRef<'a>,
}

/// One row to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Its number; the store takes it as it is.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub event: LeaseEvent,
    /// The lease since then.
    pub lease: Lease,
    /// How often in a row the address was declined.
    pub declines: u8,
}

impl LogRow {
    /// The same, borrowed.
    pub fn as_row(&self) -> RowRef<'_> {
        RowRef {
            seq: self.seq,
            at: self.at,
            event: self.event,
            address: self.lease.address,
            subnet: &self.lease.subnet,
            pool: &self.lease.pool,
            state: self.lease.state,
            starts: self.lease.starts,
            expires: self.lease.expires,
            declines: self.declines,
            client: ClientRef::from(&self.lease.client),
        }
    }
}

/// What came of catching up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// All rows up to this number are known now.
    Current(u64),
    /// Rows that were not known yet are gone: load everything anew.
    Gap,
}

/// What the rows are handed to.
pub type Sink<'a> = dyn FnMut(RowRef<'_>) + 'a;

/// A place that keeps leases.
pub trait LeaseStore {
    /// Hands over everything: the folded leases, then the rows of the log that came after. Returns the last number.
    fn load(&mut self, sink: &mut Sink<'_>) -> Result<u64, StoreError>;

    /// Hands over what came after row `known`.
    fn catch_up(&mut self, known: u64, sink: &mut Sink<'_>) -> Result<CatchUp, StoreError>;

    /// Begins a write transaction: from here to commit or rollback nobody else writes.
    fn begin(&mut self) -> Result<(), StoreError>;

    /// Appends rows to the transaction.
    fn append(&mut self, rows: &[LogRow]) -> Result<(), StoreError>;

    /// Commits for every reader, but not to disk yet: nothing of it may be acknowledged before [`Self::sync`]. After an error
    /// it is rolled back, and nothing of it remains.
    fn commit_unsynced(&mut self) -> Result<(), StoreError>;

    /// Returns when everything committed so far is on disk. After an error nothing of it may be acknowledged.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Makes the transaction durable.
    fn commit(&mut self) -> Result<(), StoreError> {
        self.commit_unsynced()?;
        self.sync()
    }

    /// Gives the transaction up, if there is one.
    fn rollback(&mut self);
}

/// Why the lease file cannot be used (now).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else held it for too long.
    #[error("lease file \"{}\" is locked by another process", path.display())]
    Busy {
        /// The lease file.
        path: PathBuf,
    },
    /// The file that we have open is no longer the one at its path.
    #[error("lease file \"{}\" was removed or replaced while in use", path.display())]
    Gone {
        /// The lease file.
        path: PathBuf,
    },
    /// No room on the disk.
    #[error("lease file \"{}\": the disk is full", path.display())]
    Full {
        /// The lease file.
        path: PathBuf,
    },
    /// Not a lease file, or a broken one.
    #[error("lease file \"{}\" is damaged: {reason}\nhint: `start --recover` saves what can be read and keeps the damaged file beside it; nothing was changed", path.display())]
    Damaged {
        /// The lease file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A good file, but of another program.
    #[error("\"{}\" is not a lease file: {reason}\nhint: choose another dhcp.store.path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Written by a later version of this program.
    #[error("lease file \"{}\" has schema version {found}; this program knows {known}\nhint: run the version that wrote it, or a later one; or `start --recover` to keep of it what this one understands", path.display())]
    Later {
        /// The lease file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The operating system refused something.
    #[error("could not {what} lease file \"{}\": {source}", path.display())]
    Io {
        /// What was to be done: open, create, lock, ….
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
    /// SQLite refused something.
    #[error("could not {what} lease file \"{}\": {source}", path.display())]
    Sqlite {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: rusqlite::Error,
    },
    /// A change was made outside a write transaction: a fault of the caller; nothing was written.
    #[error("leases were changed without a write transaction")]
    NotWriting,
}

impl StoreError {
    /// Short name for the error counter: `busy`, `gone`, `full`, `damaged`, `io`, `sqlite`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "lease_file_busy",
            Self::Gone { .. } => "lease_file_gone",
            Self::Full { .. } => "lease_file_full",
            Self::Damaged { .. } | Self::Foreign { .. } | Self::Later { .. } => "lease_file_damaged",
            Self::Io { .. } => "lease_file_io",
            Self::Sqlite { .. } | Self::NotWriting => "lease_file_sqlite",
        }
    }
}
