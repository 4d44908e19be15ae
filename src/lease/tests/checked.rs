//! The conflict check in the engine: which address is offered, which is probed first, what an answer means, and for
//! whom it does not count.

use super::memory::MemoryStore;
use super::*;

const CHECKED: Scope<'static> = Scope { checked: true, ..LAN };
const POOL: &str = "10.0.0.100-10.0.0.109";

type Engine = LeaseManager<MemoryStore>;

fn engine(range: &str) -> (Engine, Probes) {
    let probes = Probes::private();
    let engine = MemoryStore::default().manager(&lan(range), Offers::private());
    (engine.with_probes(probes), probes)
}

fn discover(engine: &mut Engine, now: Timestamp, n: u32, wish: Option<&str>) -> Offered {
    engine.at(now, |m| m.discover(&client(n), &CHECKED, wish.map(ip)))
}

/// Nobody answers for these.
fn clear(probes: Probes, now: Timestamp, addresses: &[&str]) {
    for address in addresses {
        probes.ask(ip(address), None, 2, now);
        assert!(probes.clear(ip(address), now));
    }
}

fn found(engine: &mut Engine, now: Timestamp, address: &str, by: Option<u32>) -> Option<Duration> {
    let by = by.map(|n| client(n).hardware);
    engine.at(now, |m| m.conflict(ip(address), by))
}

#[test]
fn new_address_is_probed_before_it_is_offered_and_the_next_one_after_an_answer() {
    let (mut engine, probes) = engine(POOL);
    let Offered::Probe(first) = discover(&mut engine, START, 1, None) else { panic!("not probed") };
    assert_eq!(discover(&mut engine, START, 1, None), Offered::Probe(first), "until the probe is over");
    probes.ask(first, Some(&client(1).hardware), 2, START);
    assert_eq!(probes.answered(first, Some(&client(99).hardware), false, START), Answered::InUse);
    let Offered::Probe(second) = discover(&mut engine, START, 1, None) else { panic!("not probed") };
    assert_ne!(second, first);
    probes.ask(second, Some(&client(1).hardware), 2, START);
    probes.clear(second, START);
    assert_eq!(discover(&mut engine, START, 1, None), Offered::Address(second));
}

#[test]
fn without_a_check_nothing_is_probed() {
    let (mut engine, _) = engine(POOL);
    assert!(engine.discover_at(START, 1).is_some(), "the scope is not checked");
    let mut engine = MemoryStore::default().manager(&lan(POOL), Offers::private());
    assert!(offered(discover(&mut engine, START, 1, None)).is_some(), "there is nothing to check with");
}

#[test]
fn own_lease_and_reservation_are_offered_unprobed_and_an_address_wished_for_is_not() {
    let (mut engine, probes) = engine(POOL);
    let own = engine.lease(START, 1);
    assert_eq!(discover(&mut engine, START, 1, None), Offered::Address(own));
    let later = START.plus(4000);
    assert_eq!(discover(&mut engine, later, 1, None), Offered::Address(own), "its last lease");
    let wish = if own == ip("10.0.0.105") { "10.0.0.106" } else { "10.0.0.105" };
    assert_eq!(discover(&mut engine, later, 2, Some(wish)), Offered::Probe(ip(wish)));
    clear(probes, later, &[wish]);
    assert_eq!(discover(&mut engine, later, 2, Some(wish)), Offered::Address(ip(wish)));
}

#[test]
fn clear_address_goes_before_a_nearer_one_that_is_unknown() {
    let (mut engine, probes) = engine(POOL);
    clear(probes, START, &["10.0.0.100"]);
    for n in 1..5 {
        if n == 1 {
            assert_eq!(discover(&mut engine, START, n, None), Offered::Address(ip("10.0.0.100")));
        } else {
            assert!(matches!(discover(&mut engine, START, n, None), Offered::Probe(_)), "it is held now");
        }
    }
}

#[test]
fn large_pool_gives_the_clear_address_of_its_grid() {
    let (mut engine, probes) = engine("10.0.0.2-10.0.255.254");
    let mut ahead = Ahead::default();
    engine.at(START, |_| ());
    let mut probed = 0;
    while let Some(address) = engine.next_unprobed(&mut ahead, &|pool| pool.id == PoolId(0)) {
        probes.ask(address, None, 2, START);
        probes.clear(address, START);
        probed += 1;
    }
    assert_eq!(probed, 256, "one for each point");
    for n in 0..200 {
        let offered = discover(&mut engine, START, n, None);
        assert!(matches!(offered, Offered::Address(_)), "client {n} has to wait: {offered:?}");
    }
}

#[test]
fn small_pool_is_probed_whole_but_for_what_is_given_out() {
    let (mut engine, probes) = engine(POOL);
    let leased = engine.lease(START, 1);
    let Offered::Probe(held) = discover(&mut engine, START, 2, None) else { panic!("not probed") };
    let mut ahead = Ahead::default();
    let mut all = std::collections::BTreeSet::new();
    let lan = |pool: &PoolSpec| pool.id == PoolId(0);
    while let Some(address) = engine.next_unprobed(&mut ahead, &lan) {
        assert!(all.insert(address), "{address} twice");
        clear(probes, START, &[&address.to_string()]);
    }
    assert_eq!(all.len(), 8);
    assert!(!all.contains(&leased) && !all.contains(&held));
    // What will not be clear for long is looked at again.
    engine.at(START.plus(500), |_| ());
    assert!(engine.next_unprobed(&mut Ahead::default(), &lan).is_some());
}

#[test]
fn ended_leases_of_a_full_pool_are_probed_ahead_and_given_where_clear() {
    let (mut engine, probes) = engine("10.0.0.100-10.0.0.101");
    let (one, two) = (engine.lease(START, 1), engine.lease(START.plus(1), 2));
    let later = START.plus(5000);
    engine.at(later, |_| ());
    let next = engine.next_unprobed(&mut Ahead::default(), &|pool| pool.id == PoolId(0));
    assert_eq!(next, Some(one), "what ended first");
    clear(probes, later, &[&two.to_string()]);
    assert_eq!(discover(&mut engine, later, 3, None), Offered::Address(two));
    assert_eq!(discover(&mut engine, later, 4, None), Offered::Probe(one));
}

#[test]
fn address_found_in_use_rests_twice_as_long_each_time() {
    let (mut engine, _) = engine("10.0.0.100-10.0.0.100");
    assert_eq!(found(&mut engine, START, "10.0.0.100", Some(99)), Some(Duration::from_secs(600)));
    let lease = engine.lease_at(ip("10.0.0.100")).unwrap();
    assert_eq!((lease.state, lease.client.hardware), (LeaseState::Conflict, client(99).hardware));
    assert_eq!(discover(&mut engine, START, 1, None), Offered::Exhausted);
    assert_eq!(found(&mut engine, START, "10.0.0.100", Some(98)), None, "it rests already");
    assert_eq!(found(&mut engine, START.plus(600), "10.0.0.100", Some(99)), Some(Duration::from_secs(1200)));
}

#[test]
fn answer_for_an_address_that_is_leased_or_not_ours_to_give_changes_nothing() {
    let (mut engine, _) = engine(POOL);
    let leased = engine.lease(START, 1);
    assert_eq!(found(&mut engine, START, &leased.to_string(), Some(99)), None);
    assert_eq!(found(&mut engine, START, "10.0.0.1", Some(99)), None);
    assert_eq!(found(&mut engine, START, "10.0.0.50", Some(99)), None);
    assert_eq!(engine.lease_at(leased).unwrap().state, LeaseState::Active);
}

#[test]
fn holder_that_is_just_leaving_is_no_conflict() {
    let (mut engine, _) = engine(POOL);
    let left = engine.lease(START, 1);
    engine.at(START.plus(10), |m| m.release(&client(1), left));
    assert_eq!(found(&mut engine, START.plus(12), &left.to_string(), Some(1)), None);
    assert!(found(&mut engine, START.plus(12), &left.to_string(), Some(2)).is_some(), "somebody else is");
    let (mut engine, _) = self::engine(POOL);
    let left = engine.lease(START, 1);
    engine.at(START.plus(10), |m| m.release(&client(1), left));
    assert!(found(&mut engine, START.plus(20), &left.to_string(), Some(1)).is_some(), "it should be gone");
}

#[test]
fn host_that_was_found_at_its_address_keeps_it_when_it_renews_or_comes_back() {
    let (mut engine, _) = engine("10.0.0.100-10.0.0.101");
    let address = ip("10.0.0.100");
    found(&mut engine, START, "10.0.0.100", Some(1));
    for ask in [Ask::Renewing(address), Ask::Rebinding(address), Ask::Selecting(address)] {
        assert_eq!(engine.ask_at(START, 2, ask), Answer::Nak(NakReason::Resting), "{ask:?} by another");
    }
    assert_eq!(acked(engine.ask_at(START, 1, Ask::Rebinding(address))), Some(address));
    let (mut engine, _) = self::engine("10.0.0.100-10.0.0.100");
    found(&mut engine, START, "10.0.0.100", Some(1));
    assert_eq!(discover(&mut engine, START, 2, None), Offered::Exhausted);
    assert_eq!(offered(discover(&mut engine, START, 1, None)), Some(address), "at home");
    assert_eq!(acked(engine.ask_at(START, 1, Ask::Selecting(address))), Some(address));
}

#[test]
fn host_behind_an_answer_that_names_nobody_is_believed_when_it_lives_there() {
    let address = ip("10.0.0.100");
    for ask in [Ask::Renewing(address), Ask::Rebinding(address)] {
        let (mut engine, _) = engine("10.0.0.100-10.0.0.101");
        found(&mut engine, START, "10.0.0.100", None);
        assert_eq!(engine.ask_at(START, 1, Ask::Selecting(address)), Answer::Nak(NakReason::Resting));
        assert_eq!(acked(engine.ask_at(START, 1, ask)), Some(address), "{ask:?}");
    }
}

#[test]
fn declined_address_rests_for_the_client_that_declined_it_too() {
    let (mut engine, _) = engine(POOL);
    let address = engine.lease(START, 1);
    engine.at(START, |m| m.decline(&client(1), address));
    assert_eq!(engine.ask_at(START, 1, Ask::Renewing(address)), Answer::Nak(NakReason::Resting));
    assert_ne!(discover(&mut engine, START, 1, Some("10.0.0.100")).address(), Some(address));
}

#[test]
fn what_was_found_is_forgotten_once_the_address_is_leased() {
    let (mut engine, probes) = engine("10.0.0.100-10.0.0.100");
    clear(probes, START, &["10.0.0.100"]);
    let address = engine.lease(START, 1);
    assert_eq!(probes.answered(address, Some(&client(1).hardware), false, START), Answered::Unasked);
    engine.at(START.plus(1), |m| m.release(&client(1), address));
    assert_eq!(discover(&mut engine, START.plus(1), 2, None), Offered::Probe(address));
}

#[test]
fn address_that_was_never_offered_is_probed_before_it_is_granted() {
    let (mut engine, probes) = engine(POOL);
    let address = ip("10.0.0.105");
    let must =
        |engine: &mut Engine, n: u32| engine.at(START, |m| m.must_probe(&client(n), &CHECKED, address));
    assert!(must(&mut engine, 1) && must(&mut engine, 1), "also when it is asked again meanwhile");
    assert!(!must(&mut engine, 2), "held for the first, so refused anyway");
    clear(probes, START, &["10.0.0.105"]);
    assert!(!must(&mut engine, 1));
    let answer = engine.at(START, |m| m.request(&client(1), &CHECKED, Ask::Selecting(address), &hour));
    assert_eq!(acked(answer), Some(address));
    probes.forget(address);
    assert!(!must(&mut engine, 1), "its own");
}
