//! How many active leases a circuit may have: exact at every moment, the pending batch included.

use super::memory::MemoryStore;
use super::*;

const LIMIT: u32 = 2;

fn limited() -> LeaseManager<MemoryStore> {
    engine_of(&MemoryStore::default())
}

fn engine_of(store: &MemoryStore) -> LeaseManager<MemoryStore> {
    let settings = EngineSettings { max_leases_per_circuit: LIMIT, ..settings() };
    store.manager_with(&lan("10.0.0.100-10.0.0.199"), Offers::private(), settings)
}

/// Client `n` behind a relay and a circuit.
fn behind(n: u32, relay: &str, circuit: &str) -> Client {
    Client { relay: Some(ip(relay)), circuit_id: Some(circuit.as_bytes().into()), ..client(n) }
}

fn on(n: u32, circuit: &str) -> Client {
    behind(n, "10.0.0.1", circuit)
}

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(ip("10.0.0.100")) + n)
}

/// Leases address `n` to client `n` within a batch that has begun.
fn grant(engine: &mut LeaseManager<MemoryStore>, client: &Client, n: u32) {
    let answer = engine.request(client, &LAN, Ask::Selecting(address(n)), &hour);
    assert_eq!(acked(answer), Some(address(n)));
}

#[test]
fn a_circuit_is_full_at_its_limit_within_the_batch_and_after_it() {
    let mut engine = limited();
    engine.at(START, |engine| {
        assert!(!engine.circuit_is_full(&on(1, "a"), &LAN));
        grant(engine, &on(1, "a"), 1);
        assert!(!engine.circuit_is_full(&on(2, "a"), &LAN));
        grant(engine, &on(2, "a"), 2);
        assert!(engine.circuit_is_full(&on(3, "a"), &LAN), "pending leases count");
    });
    engine.at(START, |engine| {
        assert!(engine.circuit_is_full(&on(3, "a"), &LAN), "and so do committed ones, once");
        assert!(!engine.circuit_is_full(&on(3, "b"), &LAN));
        assert!(!engine.circuit_is_full(&behind(3, "10.0.0.2", "a"), &LAN), "another relay, another circuit");
        assert!(!engine.circuit_is_full(&client(3), &LAN), "no circuit, no limit");
    });
}

#[test]
fn who_has_a_lease_there_is_not_concerned() {
    let mut engine = limited();
    engine.at(START, |engine| {
        grant(engine, &on(1, "a"), 1);
        grant(engine, &on(2, "a"), 2);
        grant(engine, &on(3, "b"), 3);
        assert!(!engine.circuit_is_full(&on(1, "a"), &LAN), "pending");
    });
    engine.at(START, |engine| {
        assert!(!engine.circuit_is_full(&on(1, "a"), &LAN), "committed");
        assert!(engine.circuit_is_full(&on(3, "a"), &LAN), "its lease is on another circuit");
    });
}

#[test]
fn a_renewal_keeps_its_place_and_makes_none() {
    let mut engine = limited();
    engine.at(START, |engine| {
        grant(engine, &on(1, "a"), 1);
        grant(engine, &on(2, "a"), 2);
    });
    let later = START.plus(1800);
    let renewing = Ask::Renewing(address(1));
    engine.at(later, |engine| assert!(acked(engine.request(&on(1, "a"), &LAN, renewing, &hour)).is_some()));
    engine.at(later, |engine| assert!(engine.circuit_is_full(&on(3, "a"), &LAN)));
    // The lease of client 2 runs out, that of client 1 has been prolonged.
    engine.at(START.plus(3601), |engine| {
        assert!(!engine.circuit_is_full(&on(3, "a"), &LAN));
        grant(engine, &on(3, "a"), 3);
        assert!(engine.circuit_is_full(&on(4, "a"), &LAN));
    });
}

#[test]
fn what_ended_does_not_count_whether_anybody_has_written_so_or_not() {
    let mut engine = limited();
    engine.at(START, |engine| {
        grant(engine, &on(1, "a"), 1);
        grant(engine, &on(2, "a"), 2);
    });
    engine.at(START.plus(3600), |engine| {
        assert!(
            engine.circuit_is_full(&on(3, "a"), &LAN),
            "within the second of its end a lease is in force"
        );
    });
    engine.at(START.plus(3601), |engine| assert!(!engine.circuit_is_full(&on(3, "a"), &LAN)));
    engine.at(START, |engine| {
        assert_eq!(engine.release(&on(1, "a"), address(1)), Released::Done);
        assert!(!engine.circuit_is_full(&on(3, "a"), &LAN), "a release in the batch makes room");
        grant(engine, &on(3, "a"), 3);
        assert!(engine.circuit_is_full(&on(4, "a"), &LAN));
    });
    engine.at(START, |engine| {
        assert!(engine.circuit_is_full(&on(4, "a"), &LAN));
        assert_eq!(engine.release(&on(2, "a"), address(2)), Released::Done);
    });
    engine.at(START, |engine| assert!(!engine.circuit_is_full(&on(4, "a"), &LAN), "after the commit too"));
}

#[test]
fn an_address_that_changes_twice_in_a_batch_counts_once() {
    let mut engine = limited();
    engine.at(START, |engine| {
        grant(engine, &on(1, "a"), 1);
        assert_eq!(engine.release(&on(1, "a"), address(1)), Released::Done);
        grant(engine, &on(1, "a"), 1);
        assert!(!engine.circuit_is_full(&on(2, "a"), &LAN));
    });
}

#[test]
fn a_batch_that_is_given_up_leaves_no_trace() {
    let mut engine = limited();
    engine.begin(Access::Write, START).unwrap();
    grant(&mut engine, &on(1, "a"), 1);
    grant(&mut engine, &on(2, "a"), 2);
    engine.abort();
    engine.at(START, |engine| assert!(!engine.circuit_is_full(&on(3, "a"), &LAN)));
}

#[test]
fn leases_of_other_workers_and_of_the_file_count() {
    let store = MemoryStore::default();
    let (mut one, mut two) = (engine_of(&store), engine_of(&store));
    one.at(START, |engine| grant(engine, &on(1, "a"), 1));
    two.at(START, |engine| grant(engine, &on(2, "a"), 2));
    one.at(START, |engine| assert!(engine.circuit_is_full(&on(3, "a"), &LAN)));
    engine_of(&store).at(START, |engine| assert!(engine.circuit_is_full(&on(3, "a"), &LAN)));
}

#[test]
fn without_a_limit_nothing_is_kept_and_no_circuit_is_full() {
    let mut engine = MemoryStore::default().manager(&lan("10.0.0.100-10.0.0.199"), Offers::private());
    engine.at(START, |engine| {
        (1..20).for_each(|n| grant(engine, &on(n, "a"), n));
        assert!(!engine.circuit_is_full(&on(20, "a"), &LAN));
    });
}
