//! Whole conversations with the real lease engine over a store in memory.

use std::sync::Arc;

use super::world::{ETH0, Sent, config, interfaces, ip};
use crate::config::Config;
use crate::dhcp::rate::Rates;
use crate::dhcp::{Outcome, Pipeline, ReplyKind, Silence, What};
use crate::lease::store::{CatchUp, LogRow, Sink};
use crate::lease::{
    Access, EngineSettings, LeaseManager, LeaseStore, Offers, StoreError, Timestamp, Topology,
};
use crate::protocol::tests::wire::Wire;

#[derive(Debug, Default)]
pub(super) struct Memory {
    committed: Vec<LogRow>,
    pending: Vec<LogRow>,
}

impl LeaseStore for Memory {
    fn load(&mut self, sink: &mut Sink<'_>) -> Result<u64, StoreError> {
        self.committed.iter().for_each(|row| sink(row.as_row()));
        Ok(self.committed.last().map_or(0, |row| row.seq))
    }

    fn catch_up(&mut self, known: u64, _: &mut Sink<'_>) -> Result<CatchUp, StoreError> {
        Ok(CatchUp::Current(known))
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn append(&mut self, rows: &[LogRow]) -> Result<(), StoreError> {
        self.pending.extend_from_slice(rows);
        Ok(())
    }

    fn commit_unsynced(&mut self) -> Result<(), StoreError> {
        self.committed.append(&mut self.pending);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn rollback(&mut self) {
        self.pending.clear();
    }
}

pub(super) struct Server {
    pub(super) pipeline: Pipeline,
    pub(super) leases: LeaseManager<Memory>,
    now: u64,
}

impl Server {
    fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        assert_eq!(crate::dhcp::check(&config), []);
        let config = Arc::new(config);
        let topology = Topology::new(&config);
        let settings = EngineSettings {
            offer_hold: config.dhcp.offer_hold,
            authoritative: true,
            decline_hold: config.dhcp.decline_hold,
            reserved: Vec::new(),
            max_leases_per_circuit: 0,
        };
        let leases =
            LeaseManager::open(Arc::clone(&topology), settings, Memory::default(), Offers::private())
                .unwrap();
        Self {
            pipeline: Pipeline::new(config, topology, interfaces(), Rates::default()),
            leases,
            now: 1_000_000,
        }
    }

    /// A batch of one, as the worker runs it.
    pub(super) fn serve(&mut self, sent: &Sent) -> Outcome {
        let packet = sent.packet();
        let request = match self.pipeline.accept(&packet) {
            Ok(request) => request,
            Err(silence) => return silence,
        };
        self.now += 10;
        let access = if request.writes() { Access::Write } else { Access::Read };
        self.leases.begin(access, Timestamp(self.now)).unwrap();
        let outcome = self.pipeline.handle(&request, &mut self.leases);
        self.leases.commit().unwrap();
        outcome
    }

    pub(super) fn reply(&mut self, sent: &Sent, kind: ReplyKind) -> Wire {
        match self.serve(sent) {
            Outcome::Reply(reply) => {
                assert_eq!((reply.kind, reply.interface), (kind, ETH0));
                Wire::read(&reply.bytes)
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn mac(sent: Sent, last: u8) -> Sent {
    sent.field(33, &[last])
}

#[test]
fn a_client_gets_renews_and_releases_its_address() {
    let mut server = Server::new();
    let offer = server.reply(&Sent::new(1), ReplyKind::Offer);
    let address = offer.yiaddr.to_string();
    let request = Sent::new(3).address(54, "10.0.0.1").address(50, &address);
    let ack = server.reply(&request, ReplyKind::Ack);
    assert_eq!(ack.yiaddr, offer.yiaddr);
    assert_eq!(ack.option(51), offer.option(51));
    let renewal = Sent::new(3).ciaddr(&address).unicast(&address, "10.0.0.1");
    let Outcome::Reply(renewed) = server.serve(&renewal) else { panic!() };
    assert_eq!(renewed.event.unwrap().what, What::Renewed { lease_secs: 3600 });
    let release = Sent::new(7).ciaddr(&address).address(54, "10.0.0.1").unicast(&address, "10.0.0.1");
    assert!(matches!(server.serve(&release), Outcome::Done(event) if event.what == What::Released));
    assert_eq!(server.serve(&release), Silence::NotHolder.into());
    assert_eq!(server.reply(&Sent::new(1), ReplyKind::Offer).yiaddr, offer.yiaddr);
}

#[test]
fn a_client_that_comes_from_another_network_is_refused() {
    let mut server = Server::new();
    assert_eq!(server.reply(&Sent::new(3).address(50, "192.168.7.7"), ReplyKind::Nak).codes(), [53, 54, 56]);
    let moved = Sent::new(3).ciaddr("10.9.0.100");
    assert_eq!(server.reply(&moved, ReplyKind::Nak).yiaddr, ip("0.0.0.0"));
}

#[test]
fn an_address_held_by_another_is_refused_and_a_declined_one_rests() {
    let mut server = Server::new();
    let take = |last: u8| mac(Sent::new(3).address(54, "10.0.0.1").address(50, "10.0.0.150"), last);
    server.reply(&take(1), ReplyKind::Ack);
    server.reply(&take(2), ReplyKind::Nak);
    let decline = Sent::new(4).address(54, "10.0.0.1").address(50, "10.0.0.150");
    assert_eq!(server.serve(&mac(decline.clone(), 2)), Silence::NotHolder.into());
    assert!(matches!(server.serve(&mac(decline, 1)), Outcome::Done(event) if event.what == What::Declined));
    let wish = mac(Sent::new(1).address(50, "10.0.0.150"), 2);
    assert_ne!(server.reply(&wish, ReplyKind::Offer).yiaddr, ip("10.0.0.150"));
}

#[test]
fn relayed_clients_get_addresses_of_their_relays_subnet() {
    let mut server = Server::new();
    let far = Sent::new(1).giaddr("10.9.0.1").option(82, &[1, 1, 7]);
    let offer = server.reply(&far, ReplyKind::Offer);
    assert_eq!(offer.yiaddr.octets()[..3], [10, 9, 0]);
    assert_eq!(offer.codes().last(), Some(&82));
    let request = Sent::new(3)
        .giaddr("10.9.0.1")
        .address(50, &offer.yiaddr.to_string())
        .option(54, &offer.option(54).unwrap());
    assert_eq!(server.reply(&request, ReplyKind::Ack).yiaddr, offer.yiaddr);
}
