//! What is played: clients come, renew, restart, ask, and go. Every reply is looked at, so that nothing is measured but
//! packets that are handled as they should be.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use echo_daemon::dhcp::{Reply, ReplyKind};

use crate::logger::Logger;
use crate::measured::{self, Packets};
use crate::wire::{Wire, given};
use crate::world::{Failure, Way, World};

/// As under load: neither a packet alone nor a full batch.
const BATCH: usize = 32;
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 72, 0, 1);
const SERVER: [u8; 4] = [10, 64, 0, 2];
const FAR: u32 = 0x0100_0000;
const ODD: u32 = 0x0200_0000;

type Measured = fn(&mut World, &Packets) -> Vec<Reply>;

/// Plays it with so many clients on each link and leases in memory; how many packets of each kind there were.
pub(crate) fn play(clients: u32, leases: u32) -> Result<BTreeMap<String, u64>, Failure> {
    let mut stage = Stage { world: World::new(leases)?, counts: BTreeMap::new() };
    let local: Vec<u32> = (0..clients).collect();
    let far: Vec<u32> = (FAR..FAR + clients).collect();
    let odd: Vec<u32> = (ODD..ODD + clients).collect();
    let homes = stage.come(&local, (measured::discover, measured::request), false)?;
    let far_homes = stage.come(&far, (measured::relayed_discover, measured::relayed_request), true)?;

    stage.each("discover_pxe", measured::discover_pxe, &odd, Some(ReplyKind::Offer), |client| {
        let fqdn = [&[1, 0, 0][..], format!("boot-{client}.example.org").as_bytes()].concat();
        let wire = Wire::new(1, client).option(60, b"PXEClient:Arch:00007:UNDI:003016").option(81, &fqdn);
        (wire.option(93, &[0, 7]).option(55, &[1, 3, 6, 15, 43, 60, 66, 67]).done(), Way::Broadcast)
    })?;
    stage.each("inform", measured::inform, &local, Some(ReplyKind::Ack), |client| {
        let home = home(&homes, client);
        (Wire::new(8, client).introduced(client).of_address(home).done(), Way::Unicast(home))
    })?;
    stage.each("malformed", measured::malformed, &local, None, |client| {
        let mut bytes = Wire::new(1, client).introduced(client).done();
        bytes.truncate(bytes.len() - 6);
        (bytes, Way::Broadcast)
    })?;
    stage.each("denied", measured::denied, &local, None, |client| {
        let mut bytes = Wire::new(1, client).introduced(client).done();
        bytes[28..30].copy_from_slice(&[0x66, 0x66]);
        (bytes, Way::Broadcast)
    })?;
    let renewal = |client| {
        let home = home(&homes, client);
        (Wire::new(3, client).introduced(client).of_address(home).done(), Way::Unicast(home))
    };
    stage.world.wait(1800);
    stage.each("renew", measured::renew, &local, Some(ReplyKind::Ack), renewal)?;
    stage.world.wait(1800);
    stage.each("reboot", measured::reboot, &local, Some(ReplyKind::Ack), |client| {
        let home = home(&homes, client).octets();
        (Wire::new(3, client).introduced(client).option(50, &home).done(), Way::Broadcast)
    })?;
    stage.world.wait(1800);
    let logger = Logger::begin(stage.world.limits())?;
    stage.each("renew_logged", measured::renew_logged, &local, Some(ReplyKind::Ack), |client| {
        logger.drain();
        renewal(client)
    })?;
    stage.world.wait(1800);
    Logger::limit(stage.world.tight_limits());
    stage.each("renew_limited", measured::renew_limited, &local, Some(ReplyKind::Ack), renewal)?;
    drop(logger);
    stage.each("release", measured::release, &far, None, |client| {
        let home = home(&far_homes, client);
        (Wire::new(7, client).introduced(client).of_address(home).done(), Way::Unicast(home))
    })?;
    Ok(stage.counts)
}

/// The world, and what has been played in it.
struct Stage {
    world: World,
    counts: BTreeMap<String, u64>,
}

impl Stage {
    /// New clients get a lease: DISCOVER and REQUEST. Returns who got which address.
    fn come(
        &mut self,
        clients: &[u32],
        (discover, request): (Measured, Measured),
        relayed: bool,
    ) -> Result<BTreeMap<u32, Ipv4Addr>, Failure> {
        let (first, second) =
            if relayed { ("relayed_discover", "relayed_request") } else { ("discover", "request") };
        let way = if relayed { Way::Relay } else { Way::Broadcast };
        let wire = |kind, client| {
            let wire = Wire::new(kind, client).introduced(client);
            if relayed { wire.through(RELAY) } else { wire }
        };
        let end = |wire: Wire, client| if relayed { wire.relayed(client).done() } else { wire.done() };
        let mut homes = BTreeMap::new();
        for clients in clients.chunks(BATCH) {
            let offers = self.each(first, discover, clients, Some(ReplyKind::Offer), |client| {
                (end(wire(1, client), client), way)
            })?;
            let offered = clients.iter().zip(offers.iter().filter_map(|reply| given(&reply.bytes)));
            let offered: BTreeMap<u32, Ipv4Addr> = offered.map(|(client, home)| (*client, home)).collect();
            self.each(second, request, clients, Some(ReplyKind::Ack), |client| {
                let wish = home(&offered, client).octets();
                (end(wire(3, client).option(50, &wish).option(54, &SERVER), client), way)
            })?;
            homes.extend(offered);
        }
        Ok(homes)
    }

    /// A packet of each client, in batches; all of them are to be answered by this message, or by none.
    fn each(
        &mut self,
        name: &str,
        measured: Measured,
        clients: &[u32],
        expected: Option<ReplyKind>,
        packet: impl Fn(u32) -> (Vec<u8>, Way),
    ) -> Result<Vec<Reply>, Failure> {
        let mut all = Vec::new();
        for clients in clients.chunks(BATCH) {
            let packets: Vec<_> = clients.iter().map(|client| packet(*client)).collect();
            let replies = measured(&mut self.world, &packets);
            let answered = if expected.is_some() { packets.len() } else { 0 };
            if replies.len() != answered || replies.iter().any(|reply| Some(reply.kind) != expected) {
                return Err(format!("{name}: {} replies to {} packets", replies.len(), packets.len()).into());
            }
            all.extend(replies);
        }
        *self.counts.entry(name.to_owned()).or_default() += clients.len() as u64;
        Ok(all)
    }
}

/// Where a client lives; nowhere, if it was never answered, which the replies' check finds.
fn home(homes: &BTreeMap<u32, Ipv4Addr>, client: u32) -> Ipv4Addr {
    homes.get(&client).copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_packet_is_played_and_answered_as_it_should_be() {
        let counts = play(40, 100).unwrap();
        let played: Vec<&str> = counts.keys().map(String::as_str).collect();
        let mut named = measured::NAMES.to_vec();
        named.sort_unstable();
        assert_eq!(played, named);
        assert!(counts.values().all(|count| *count == 40));
    }
}
