//! Several workers on one lease file: no address is ever leased twice, no lease after its ACK is lost. (The same with processes
//! is a test of its own outside; a test harness with threads must not fork.)

use std::sync::Barrier;

use super::sqlite::{File, topology};
use super::*;

#[test]
fn workers_that_take_turns_never_lease_an_address_twice() {
    let file = File::new();
    let topology = topology();
    // Each with offers of its own: the worst case, as if the shared memory had been lost.
    let mut workers: Vec<_> = (0..3).map(|_| file.manager(&topology, Offers::private())).collect();
    let mut holders = BTreeMap::new();
    for n in 0..100_u32 {
        let worker = &mut workers[n as usize % 3];
        let address = worker.lease(START, n);
        assert_eq!(holders.insert(address, n), None, "{address} twice");
    }
    for worker in &mut workers {
        assert_eq!(worker.discover_at(START, 500), None);
        for (address, n) in &holders {
            assert_eq!(worker.lease_at(*address).unwrap().client, client(*n));
        }
    }
}

#[test]
fn threads_racing_for_the_same_addresses_never_both_get_one() {
    let file = File::new();
    let topology = topology();
    let start = Barrier::new(4);
    let won: Vec<Vec<(Ipv4Addr, u32)>> = std::thread::scope(|scope| {
        let (file, topology, start) = (&file, &topology, &start);
        let threads: Vec<_> = (0..4_u32)
            .map(|worker| {
                scope.spawn(move || {
                    let mut engine = file.manager(topology, Offers::private());
                    start.wait();
                    let mut won = Vec::new();
                    for n in 0..100 {
                        let (address, who) = (Ipv4Addr::from(0x0a00_0064 + n), worker * 1000 + n);
                        let answer = engine.ask_at(START, who, Ask::Selecting(address));
                        won.extend(acked(answer).map(|address| (address, who)));
                    }
                    won
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all: Vec<_> = won.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all.len(), 100);
    assert!(all.windows(2).all(|pair| pair[0].0 != pair[1].0));
    let engine = file.manager(&topology, Offers::private());
    for (address, n) in all {
        assert_eq!(
            engine.lease_at(address).unwrap().client,
            client(n),
            "what was acknowledged is in the file"
        );
    }
}

#[test]
fn workers_and_keeper_together_lose_nothing() {
    let file = File::new();
    let topology = topology();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let keeping = scope.spawn(|| {
            let mut keeper = super::keeper::keeper(&file);
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                keeper.step().unwrap();
                keeper.fold_step().unwrap();
                keeper.expire(START.plus(3600)).unwrap();
            }
            keeper.finish().unwrap();
        });
        let offers = Offers::private();
        let workers: Vec<_> = (0..2_u32)
            .map(|worker| {
                let mut engine = file.manager(&topology, offers);
                scope.spawn(move || {
                    for round in 0..40_u32 {
                        // Far ahead of the keeper's idea of the time, so that only some run out.
                        let now = START.plus(round * 100);
                        for n in 0..5 {
                            let who = worker * 100 + n;
                            let address = engine.lease(now, who);
                            let held = engine.lease_at(address).unwrap();
                            assert_eq!((held.client.key, held.expires), (client(who).key, now.plus(3600)));
                            if n == 0 {
                                engine.at(now, |m| m.release(&client(who), address));
                            }
                        }
                    }
                    engine
                })
            })
            .collect();
        let mut engines: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        keeping.join().unwrap();
        for engine in &mut engines {
            engine.begin(Access::Read, START).unwrap();
        }
        let fresh = file.manager(&topology, offers);
        for n in 0x0a00_0064..0x0a00_00c8 {
            let address = Ipv4Addr::from(n);
            assert_eq!(engines[0].lease_at(address), fresh.lease_at(address));
            assert_eq!(engines[1].lease_at(address), fresh.lease_at(address));
        }
        assert_eq!(engines[0].gauges(), fresh.gauges());
    });
    assert_eq!(file.count("SELECT count(*) FROM lease_history WHERE ended = 'active'"), 8);
}

#[test]
fn release_that_was_overtaken_by_a_new_lease_ends_nothing() {
    let file = File::new();
    let (topology, offers) = (topology(), Offers::private());
    let (mut one, mut two) = (file.manager(&topology, offers), file.manager(&topology, offers));
    let address = two.lease(START, 1);
    // What it releases was granted by another worker, but before the message came: it ends.
    one.receiving();
    assert_eq!(one.at(START, |m| m.release(&client(1), address)), Released::Done);
    two.lease(START, 1);
    // One has received the client's next RELEASE, and is slow: two has told the client already that it keeps the address.
    one.receiving();
    two.ask_at(START, 1, Ask::Renewing(address));
    one.begin(Access::Read, START).unwrap();
    assert_eq!(one.at(START, |m| m.release(&client(1), address)), Released::Overtaken);
    assert_eq!(one.lease_at(address).unwrap().state, LeaseState::Active);
    one.receiving();
    assert_eq!(one.at(START, |m| m.release(&client(1), address)), Released::Done);
}

#[test]
fn leases_of_the_file_can_be_released_by_the_first_packet_after_a_start() {
    let file = File::new();
    let topology = topology();
    let address = file.manager(&topology, Offers::private()).lease(START, 1);
    let mut engine = file.manager(&topology, Offers::private());
    engine.receiving();
    assert_eq!(engine.at(START, |m| m.release(&client(1), address)), Released::Done);
}
