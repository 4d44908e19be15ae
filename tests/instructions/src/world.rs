//! The daemon's own pipeline, lease engine and account over a store that keeps nothing; a batch goes through them as in a
//! DHCP worker (`echo_daemon::workers::dhcp`), without its system calls.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon_utils::log::{Limits, Rate};
use echo_daemon::config::{Config, ConfigManager, Sources};
use echo_daemon::dhcp::rate::Rates;
use echo_daemon::dhcp::{InterfaceInfo, Outcome, Packet, Pipeline, Reply};
use echo_daemon::events::Event;
use echo_daemon::lease::{Access, EngineSettings, LeaseManager, Offers, Timestamp, Topology};
use echo_daemon::stats::Shared;
use echo_daemon::workers::dhcp::account::Account;
use echo_daemon::workers::{logger, regions};

use crate::store::NoStore;

/// The lease clock when it begins.
const START: Timestamp = Timestamp(2_000_000_000);
/// The time since boot when it begins.
const BOOTED: Duration = Duration::from_secs(1_000_000);
const ETH0: u32 = 2;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 72, 0, 1);

/// Why nothing could be measured.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// See the head of this file.
pub(crate) struct World {
    pipeline: Pipeline,
    leases: LeaseManager<NoStore>,
    account: Account,
    limits: Limits,
    shared: Shared,
    passed: Duration,
}

/// How a packet came.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// Broadcast by a client that has no address.
    Broadcast,
    /// Sent to us by the client that has this address.
    Unicast(Ipv4Addr),
    /// By the relay.
    Relay,
}

impl World {
    /// Makes all of it, with so many leases from the beginning.
    pub(crate) fn new(leases: u32) -> Result<Self, Failure> {
        let config = Arc::new(config()?);
        let topology = Topology::new(&config);
        let shared = Shared::create(regions::WORDS)?;
        let rates = Rates::new(regions::Region::Rates.of(shared));
        let interface = InterfaceInfo {
            name: "eth0".to_owned(),
            index: ETH0,
            addresses: vec![(SERVER, 13)],
            loopback: false,
        };
        let range = topology.pools().iter().next().ok_or("the configuration has no pool")?.range;
        let store = NoStore::new(leases, range.first(), range.size(), START.plus(7200));
        let settings = EngineSettings { reserved: vec![SERVER], ..EngineSettings::new(&config) };
        let offers = Offers::new(regions::Region::Offers.of(shared));
        let leases = LeaseManager::open(Arc::clone(&topology), settings, store, offers)?;
        let account = Account::new(shared.slot(1), shared, Arc::clone(&config), rates);
        let limits = logger::limits(&config, shared);
        let pipeline = Pipeline::new(config, topology, vec![interface], rates);
        Ok(Self { pipeline, leases, account, limits, shared, passed: Duration::ZERO })
    }

    /// The limits of log records as they are by default.
    pub(crate) fn limits(&self) -> Limits {
        self.limits.clone()
    }

    /// Limits that hardly any record passes.
    pub(crate) fn tight_limits(&self) -> Limits {
        let hourly = Rate::new(1, Duration::from_hours(1));
        let table = regions::Region::LogLimits.of(self.shared);
        Limits::new(Event::ALL.iter().map(|event| (event.id(), hourly)), table)
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, secs: u64) {
        self.passed += Duration::from_secs(secs);
    }

    /// One batch, from bytes to what may be sent.
    #[inline(never)]
    pub(crate) fn batch(&mut self, access: Access, packets: &[(Vec<u8>, Way)]) -> Vec<Reply> {
        let received = Instant::now();
        let mut requests = Vec::with_capacity(packets.len());
        for (bytes, way) in packets {
            let packet = self.packet(bytes, *way);
            let pipeline = &self.pipeline;
            match catch_unwind(AssertUnwindSafe(|| pipeline.accept(&packet))) {
                Ok(Ok(request)) => {
                    self.account.received(&request);
                    requests.push(request);
                }
                Ok(Err(outcome)) => drop(self.account.settle(outcome)),
                Err(_) => {}
            }
        }
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(requests.len());
        // The store never fails.
        let _ = self.leases.begin(access, START.plus(u32::try_from(self.passed.as_secs()).unwrap_or(0)));
        for request in &requests {
            let (pipeline, leases) = (&self.pipeline, &mut self.leases);
            outcomes.extend(catch_unwind(AssertUnwindSafe(|| pipeline.handle(request, leases))));
        }
        let _ = self.leases.commit();
        let mut replies = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            replies.extend(self.account.settle(outcome));
        }
        self.account.sent(&replies, &[], received, received);
        replies
    }

    fn packet<'a>(&self, bytes: &'a [u8], way: Way) -> Packet<'a> {
        let (from, to) = match way {
            Way::Broadcast => ((Ipv4Addr::UNSPECIFIED, 68), Ipv4Addr::BROADCAST),
            Way::Unicast(client) => ((client, 68), SERVER),
            Way::Relay => ((RELAY, 67), SERVER),
        };
        let from = SocketAddrV4::new(from.0, from.1);
        Packet { bytes, interface: ETH0, from, to: Some(to), at: BOOTED + self.passed }
    }
}

fn config() -> Result<Config, Failure> {
    let sources = Sources {
        file: Some(PathBuf::from("config.yaml")),
        text: Some(include_str!("../config.yaml").to_owned()),
        folder: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        ..Sources::default()
    };
    let loaded = ConfigManager::new(sources).load().map_err(|report| format!("{report}"))?;
    Ok(loaded.config)
}
