//! What a client would get and why, without a packet: a question is run through the pipeline over a snapshot of the leases.
//! For the command `explain` and for `GET /v1/explain`; changes nothing, neither in the lease file nor in shared memory.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use daemon_utils::{clock, socket};

use super::check::Means;
use super::explain::Explanation;
use super::question::{self, Mac, Sent};
use super::rate::Rates;
use super::{InterfaceInfo, Packet, Pipeline};
use crate::config::Config;
use crate::lease::{Access, EngineSettings, LeaseManager, Offers, Probes, Snapshot, StoreError, Topology};

/// The client that is asked about.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its hardware address.
    pub mac: Mac,
    /// The relay (giaddr) that it comes through.
    pub relay: Option<Ipv4Addr>,
    /// The interface that it is heard on; else the first that is served and there.
    pub interface: Option<String>,
    /// What else it sends.
    pub options: Vec<Sent>,
}

/// What a running daemon knows beyond the lease file. A dry run claims and clears addresses in it: give it copies.
#[derive(Debug, Clone, Copy)]
pub struct Knowledge {
    /// Addresses that are held for clients.
    pub offers: Offers,
    /// Who uses free addresses; none: nobody looks.
    pub probes: Option<Probes>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// There is no DHCP.
    #[error("dhcp.enabled is false: no client gets anything")]
    Off,
    /// Nobody would hear it.
    #[error("the interface is not there or not served\nhint: dhcp.interfaces: {0}")]
    NoInterface(String),
    /// Too much for a packet.
    #[error("{0}")]
    Packet(String),
    /// The lease file.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers a question, with these interfaces served. It reads every lease: a second for a million.
pub fn dry_run(
    config: Arc<Config>,
    interfaces: Vec<InterfaceInfo>,
    question: &Question,
    knowledge: Knowledge,
) -> Result<Explanation, DryRunError> {
    if !config.dhcp.enabled {
        return Err(DryRunError::Off);
    }
    let heard = match &question.interface {
        Some(name) => interfaces.iter().find(|interface| interface.name == *name),
        None => interfaces.first(),
    };
    let heard = heard.cloned().ok_or_else(|| DryRunError::NoInterface(config.dhcp.interfaces.join(", ")))?;
    let bytes =
        question::packet(&question.mac, question.relay, &question.options).map_err(DryRunError::Packet)?;
    let packet = Packet {
        bytes: &bytes,
        interface: heard.index,
        from: question::sender(question.relay, heard.loopback),
        to: Some(Ipv4Addr::BROADCAST),
        at: clock::boot_time(),
    };
    let topology = Topology::new(&config);
    // Where nothing was ever leased there is no file.
    let path = &config.dhcp.store.path;
    let snapshot = match path.try_exists() {
        Ok(false) => Snapshot::empty(),
        Ok(true) | Err(_) => Snapshot::open(path)?,
    };
    let now = snapshot.clock()?.now();
    let own = interfaces.iter().flat_map(|interface| interface.addresses.iter().map(|(address, _)| *address));
    let settings = EngineSettings { reserved: own.collect(), ..EngineSettings::new(&config) };
    let mut leases = LeaseManager::open(Arc::clone(&topology), settings, snapshot, knowledge.offers)?;
    let mut means = Means::default();
    if let Some(probes) = knowledge.probes {
        leases = leases.with_probes(probes);
        means = Means { arp: interfaces.iter().map(|interface| interface.index).collect(), icmp: true };
    }
    leases.begin(Access::Read, now)?;
    let pipeline = Pipeline::new(config, topology, interfaces, Rates::default()).with_means(means);
    // Nobody is asked for the sake of a question: what is not known counts as free.
    let explanation = pipeline.explain(&packet, &mut leases, &|address| {
        if let Some(probes) = knowledge.probes {
            probes.ask(address, None, 1, now);
            probes.clear(address, now);
        }
    });
    leases.abort();
    Ok(explanation)
}

/// The interfaces that a daemon with this configuration would serve now. Errors: the kernel does not list them.
pub fn served_interfaces(config: &Config) -> io::Result<Vec<InterfaceInfo>> {
    let present = socket::interfaces()?;
    let served = config.dhcp.interfaces.iter();
    Ok(served.filter_map(|name| present.iter().find(|i| i.name == *name)).map(InterfaceInfo::from).collect())
}
