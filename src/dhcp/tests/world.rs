//! A configuration, interfaces, a scripted lease engine and packets for the tests of the pipeline.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Config;
use crate::config::model::*;
use crate::dhcp::client::Whereabouts;
use crate::dhcp::leases::Leases;
use crate::dhcp::rate::Rates;
use crate::dhcp::{InterfaceInfo, Outcome, Packet, Pipeline, Reply, Silence};
use crate::lease::{
    AckEvent, Answer, Ask, Client, Declined, HardwareAddress, Offered, PoolId, Released, Scope, Timestamp,
    Topology,
};
use crate::protocol::tests::wire::{self, Wire};

pub(super) const ETH0: u32 = 2;
pub(super) const LO: u32 = 1;

pub(super) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(super) fn options(value: Value) -> Options {
    value.as_object().cloned().unwrap_or_default().into_iter().collect()
}

pub(super) fn common() -> Common {
    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    Common {
        identify_by: IdentifyBy::ClientId,
        lease_time: LeaseTime { default: hours(1), min: Duration::from_secs(300), max: hours(24) },
        renew_at: 0.5,
        rebind_at: 0.875,
        server_id: None,
        next_server: None,
        server_name: None,
        boot_file: None,
        options: Options::new(),
    }
}

pub(super) fn pool(name: &str, range: &str) -> Pool {
    Pool {
        name: name.into(),
        range: range.parse().unwrap(),
        classes: Vec::new(),
        lease_time: None,
        boot: Boot::default(),
        options: Options::new(),
    }
}

pub(super) fn class(name: &str, condition: Condition) -> Class {
    Class {
        name: name.into(),
        order: 0,
        condition,
        drop: false,
        lease_time: None,
        boot: Boot::default(),
        options: Options::new(),
    }
}

pub(super) fn subnet(name: &str, network: &str, pools: Vec<Pool>) -> Subnet {
    Subnet {
        name: name.into(),
        network: network.parse().unwrap(),
        interface: None,
        relays: Vec::new(),
        shared_network: None,
        common: common(),
        exclude: Vec::new(),
        pools,
        hosts: Vec::new(),
    }
}

/// `lan` 10.0.0.0/24 on eth0, `far` 10.9.0.0/24 behind relays, one pool each.
pub(super) fn config() -> Config {
    let mut lan = subnet("lan", "10.0.0.0/24", vec![pool("main", "10.0.0.100-10.0.0.199")]);
    lan.common.options = options(json!({"routers": ["10.0.0.1"]}));
    let mut far = subnet("far", "10.9.0.0/24", vec![pool("main", "10.9.0.100-10.9.0.199")]);
    far.relays = vec![ip("172.16.0.9")];
    let mut all = common();
    all.options =
        options(json!({"domain-name": "example.org", "domain-name-servers": ["10.0.0.2", "10.0.0.3"]}));
    Config {
        daemon: Daemon {
            daemonize: false,
            pid_file: "/p".into(),
            control_socket: "/c".into(),
            state_dir: "/s".into(),
            user: "nobody".into(),
            watch_config: false,
            shutdown_timeout: Duration::ZERO,
        },
        logging: Logging {
            log_file: "/l".into(),
            log_level: log::LevelFilter::Info,
            max_log_size: 1,
            backup_count: 1,
            modules: BTreeMap::new(),
            console: false,
            json: JsonLog { enabled: false, file: "/j".into(), level: log::LevelFilter::Info },
            syslog: SyslogLog {
                enabled: false,
                address: "/dev/log".into(),
                facility: "daemon".into(),
                level: log::LevelFilter::Info,
            },
            rate_limits: BTreeMap::new(),
            stats_interval: Duration::ZERO,
        },
        tcp: Tcp {
            enabled: false,
            address: Vec::new(),
            port: 0,
            max_clients: 1,
            when_full: WhenFull::Wait,
            buffer_size: 1,
            idle_timeout: Duration::ZERO,
        },
        udp: Udp { enabled: false, address: Vec::new(), udp_port: 0, buffer_size: 1 },
        api: Api { listen: None, token_file: None },
        dhcp: Dhcp {
            enabled: true,
            interfaces: vec!["eth0".into()],
            port: 67,
            workers: 1,
            authoritative: true,
            offer_hold: Duration::from_secs(60),
            decline_hold: DeclineHold { first: Duration::from_secs(600), max: Duration::from_secs(6000) },
            conflict_check: ConflictCheck {
                method: ConflictMethod::Off,
                timeout: Duration::from_millis(150),
            },
            rapid_commit: false,
            subnet_selection: false,
            bootp: Bootp::Dynamic,
            fqdn: Fqdn::default(),
            security: Security {
                allow: Vec::new(),
                deny: Vec::new(),
                unknown_clients: UnknownClients::Allow,
                trusted_relays: Vec::new(),
                client_rate: None,
                max_leases_per_circuit: 0,
            },
            store: Store {
                path: "/s/leases.db".into(),
                durability: Durability::PowerLoss,
                history: HistoryLimits { keep: Duration::ZERO, max_size: 0 },
            },
            common: all,
            classes: Vec::new(),
            subnets: vec![far, lan],
        },
    }
}

/// Pools of [`config`]: subnets stand in the order of their names.
pub(super) const FAR: PoolId = PoolId(0);
pub(super) const LAN: PoolId = PoolId(1);

pub(super) fn interfaces() -> Vec<InterfaceInfo> {
    vec![
        InterfaceInfo { name: "lo".into(), index: LO, addresses: vec![(ip("127.0.0.1"), 8)], loopback: true },
        InterfaceInfo {
            name: "eth0".into(),
            index: ETH0,
            addresses: vec![(ip("192.0.2.1"), 24), (ip("10.0.0.1"), 24)],
            loopback: false,
        },
    ]
}

pub(super) fn pipeline(change: impl FnOnce(&mut Config)) -> Pipeline {
    let mut config = config();
    change(&mut config);
    assert_eq!(crate::dhcp::check(&config), []);
    let topology = Topology::new(&config);
    Pipeline::new(Arc::new(config), topology, interfaces(), Rates::private())
}

/// A packet under construction.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) bytes: Vec<u8>,
    pub(super) interface: u32,
    pub(super) from: SocketAddrV4,
    pub(super) to: Option<Ipv4Addr>,
    /// Since boot.
    pub(super) at: Duration,
}

impl Sent {
    /// A broadcast on eth0 of this message type.
    pub(super) fn new(kind: u8) -> Self {
        Self {
            bytes: wire::request(&[53, 1, kind]),
            interface: ETH0,
            from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            to: Some(Ipv4Addr::BROADCAST),
            at: Duration::from_secs(1000),
        }
    }

    pub(super) fn option(mut self, code: u8, data: &[u8]) -> Self {
        self.bytes.push(code);
        self.bytes.push(u8::try_from(data.len()).unwrap());
        self.bytes.extend_from_slice(data);
        self
    }

    pub(super) fn address(self, code: u8, address: &str) -> Self {
        self.option(code, &ip(address).octets())
    }

    pub(super) fn field(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn ciaddr(self, address: &str) -> Self {
        self.field(12, &ip(address).octets())
    }

    pub(super) fn giaddr(self, address: &str) -> Self {
        self.field(24, &ip(address).octets())
    }

    pub(super) fn flags(self, flags: u16) -> Self {
        self.field(10, &flags.to_be_bytes())
    }

    /// Unicast from the client's address.
    pub(super) fn unicast(mut self, from: &str, to: &str) -> Self {
        self.from = SocketAddrV4::new(ip(from), 68);
        self.to = Some(ip(to));
        self
    }

    pub(super) fn on_loopback(mut self) -> Self {
        self.interface = LO;
        self.from = SocketAddrV4::new(ip("127.0.0.1"), 40_000);
        self.to = Some(ip("127.0.0.1"));
        self
    }

    pub(super) fn packet(&self) -> Packet<'_> {
        Packet { bytes: &self.bytes, interface: self.interface, from: self.from, to: self.to, at: self.at }
    }
}

/// An engine that gives set answers and keeps what it was asked.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) offered: Offered,
    pub(super) answer: Option<Answer>,
    pub(super) released: Released,
    pub(super) declined: Declined,
    pub(super) circuit_full: bool,
    pub(super) asked: Vec<String>,
    pub(super) client: Option<Client>,
    pub(super) whereabouts: Option<(Ipv4Addr, Whereabouts)>,
    pub(super) holds: Option<Ipv4Addr>,
    pub(super) leased: Option<Ipv4Addr>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            offered: Offered::Address(ip("10.0.0.100")),
            answer: None,
            released: Released::Done,
            declined: Declined::Done(Duration::from_secs(600)),
            circuit_full: false,
            asked: Vec::new(),
            client: None,
            whereabouts: None,
            holds: None,
            leased: None,
        }
    }
}

impl Leases for Script {
    fn discover(&mut self, client: &Client, scope: &Scope<'_>, wish: Option<Ipv4Addr>) -> Offered {
        self.client = Some(client.clone());
        self.asked
            .push(format!("discover {:?} {wish:?}", scope.pools.iter().map(|p| p.0).collect::<Vec<_>>()));
        self.offered
    }

    fn request(
        &mut self,
        client: &Client,
        scope: &Scope<'_>,
        ask: Ask,
        lease_secs: &dyn Fn(Ipv4Addr) -> u32,
    ) -> Answer {
        self.client = Some(client.clone());
        self.asked.push(format!("{ask:?} {:?}", scope.pools.iter().map(|p| p.0).collect::<Vec<_>>()));
        // Without an answer of its own it grants what is asked for.
        self.answer.unwrap_or_else(|| {
            let (Ask::Selecting(address)
            | Ask::InitReboot(address)
            | Ask::Renewing(address)
            | Ask::Rebinding(address)) = ask;
            let event = AckEvent::Granted;
            Answer::Ack { address, lease_secs: lease_secs(address), event, starts: Timestamp(1) }
        })
    }

    fn must_probe(&self, _: &Client, _: &Scope<'_>, _: Ipv4Addr) -> bool {
        false
    }

    fn whereabouts(&self, address: Ipv4Addr, _: &HardwareAddress) -> Option<Whereabouts> {
        self.whereabouts.as_ref().filter(|(known, _)| *known == address).map(|(_, told)| told.clone())
    }

    fn is_leased(&self, address: Ipv4Addr) -> bool {
        self.leased == Some(address)
    }

    fn holds(&self, _: &Client, address: Ipv4Addr) -> bool {
        self.holds == Some(address)
    }

    fn circuit_is_full(&self, _: &Client, _: &Scope<'_>) -> bool {
        self.circuit_full
    }

    fn release(&mut self, _: &Client, address: Ipv4Addr) -> Released {
        self.asked.push(format!("release {address}"));
        self.released
    }

    fn decline(&mut self, _: &Client, address: Ipv4Addr) -> Declined {
        self.asked.push(format!("decline {address}"));
        self.declined
    }

    fn withdraw_offer(&mut self, _: &Client, _: &Scope<'_>) {
        self.asked.push("withdraw".into());
    }
}

pub(super) fn run(pipeline: &Pipeline, sent: &Sent, script: &mut Script) -> Outcome {
    match pipeline.accept(&sent.packet()) {
        Ok(request) => pipeline.handle(&request, script),
        Err(outcome) => outcome,
    }
}

pub(super) fn reply(pipeline: &Pipeline, sent: &Sent) -> (Reply, Wire) {
    match run(pipeline, sent, &mut Script::default()) {
        Outcome::Reply(reply) => {
            let wire = Wire::read(&reply.bytes);
            (reply, wire)
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn silence(pipeline: &Pipeline, sent: &Sent) -> Silence {
    match run(pipeline, sent, &mut Script::default()) {
        Outcome::Silence { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}
