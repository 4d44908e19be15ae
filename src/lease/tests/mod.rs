//! Tests of the lease layer as a whole: the rules, a model that random messages are compared with, the lease file, the
//! keeper. What they share stands here.

mod admin;
mod checked;
mod circuits;
mod fixtures;
mod growth;
mod hosts;
mod keeper;
mod memory;
mod model;
mod rules;
mod search;
mod sharing;
mod sqlite;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::model::{Boot, Common, DeclineHold, IdentifyBy, LeaseTime, Pool, Subnet};

pub(super) const START: Timestamp = Timestamp(2_000_000_000);

pub(super) fn common() -> Common {
    let lease_time = LeaseTime {
        default: Duration::from_secs(3600),
        min: Duration::from_secs(60),
        max: Duration::from_secs(86_400),
    };
    Common {
        identify_by: IdentifyBy::ClientId,
        lease_time,
        renew_at: 0.5,
        rebind_at: 0.875,
        server_id: None,
        next_server: None,
        server_name: None,
        boot_file: None,
        options: BTreeMap::new(),
    }
}

pub(super) fn subnet(name: &str, network: &str, shared: Option<&str>, pools: &[(&str, &str)]) -> Subnet {
    let pool = |(name, range): &(&str, &str)| Pool {
        name: (*name).into(),
        range: range.parse().unwrap(),
        classes: Vec::new(),
        lease_time: None,
        boot: Boot::default(),
        options: BTreeMap::new(),
    };
    Subnet {
        name: name.into(),
        network: network.parse().unwrap(),
        interface: None,
        relays: Vec::new(),
        shared_network: shared.map(Into::into),
        common: common(),
        exclude: Vec::new(),
        pools: pools.iter().map(pool).collect(),
        hosts: Vec::new(),
    }
}

/// `lan` (one pool of `range`, router 10.0.0.1) and `other`, on links of their own.
pub(super) fn lan(range: &str) -> Arc<Topology> {
    let mut lan = subnet("lan", "10.0.0.0/16", None, &[("main", range)]);
    lan.common.options.insert("routers".into(), serde_json::json!(["10.0.0.1"]));
    let other = subnet("other", "10.1.0.0/24", None, &[("far", "10.1.0.10-10.1.0.19")]);
    Topology::lay_out(&common(), &[lan, other], &[])
}

pub(super) fn settings() -> EngineSettings {
    EngineSettings {
        offer_hold: Duration::from_secs(60),
        authoritative: true,
        decline_hold: DeclineHold { first: Duration::from_secs(600), max: Duration::from_secs(7200) },
        reserved: Vec::new(),
        max_leases_per_circuit: 0,
    }
}

pub(super) fn client(n: u32) -> Client {
    let hardware = HardwareAddress::new(1, &[&[2, 0], &n.to_be_bytes()[..]].concat()).unwrap();
    Client {
        key: ClientKey::by_hardware(&hardware),
        hardware,
        client_id: None,
        hostname: Some(format!("host-{n}").into_bytes().into()),
        relay: None,
        circuit_id: None,
        remote_id: None,
        vendor_class: None,
    }
}

pub(super) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(super) const LAN: Scope<'static> =
    Scope { subnets: &[SubnetId(0)], pools: &[PoolId(0)], host: None, checked: false };
pub(super) const OTHER: Scope<'static> =
    Scope { subnets: &[SubnetId(1)], pools: &[PoolId(1)], host: None, checked: false };

pub(super) fn hour(_: Ipv4Addr) -> u32 {
    3600
}

/// The address of an ACK.
pub(super) fn acked(answer: Answer) -> Option<Ipv4Addr> {
    match answer {
        Answer::Ack { address, .. } => Some(address),
        Answer::Nak(_) | Answer::Silence(_) => None,
    }
}

pub(super) fn offered(offered: Offered) -> Option<Ipv4Addr> {
    match offered {
        Offered::Address(address) => Some(address),
        Offered::Probe(_) | Offered::Exhausted | Offered::Pressed => None,
    }
}

/// The current or last lease of a client on the link of `lan`.
pub(super) fn lease_of<S>(engine: &LeaseManager<S>, n: u32) -> Option<Ipv4Addr> {
    engine.binding(&client(n).key, engine.topology.link_of(SubnetId(0)))
}

/// Short forms for one message in a batch of its own.
pub(super) trait Short {
    fn at<T>(&mut self, now: Timestamp, work: impl FnOnce(&mut Self) -> T) -> T;
    fn discover_at(&mut self, now: Timestamp, n: u32) -> Option<Ipv4Addr>;
    fn ask_at(&mut self, now: Timestamp, n: u32, ask: Ask) -> Answer;
    fn lease(&mut self, now: Timestamp, n: u32) -> Ipv4Addr;
}

impl<S: LeaseStore> Short for LeaseManager<S> {
    fn at<T>(&mut self, now: Timestamp, work: impl FnOnce(&mut Self) -> T) -> T {
        self.begin(Access::Write, now).unwrap();
        let result = work(self);
        self.commit().unwrap();
        result
    }

    fn discover_at(&mut self, now: Timestamp, n: u32) -> Option<Ipv4Addr> {
        self.at(now, |m| offered(m.discover(&client(n), &LAN, None)))
    }

    fn ask_at(&mut self, now: Timestamp, n: u32, ask: Ask) -> Answer {
        self.at(now, |m| m.request(&client(n), &LAN, ask, &hour))
    }

    fn lease(&mut self, now: Timestamp, n: u32) -> Ipv4Addr {
        let address = self.discover_at(now, n).unwrap();
        acked(self.ask_at(now, n, Ask::Selecting(address))).unwrap()
    }
}
