//! The rules of RFC 2131 and of DESIGN §2, one by one.

use super::memory::MemoryStore;
use super::*;

const POOL: &str = "10.0.0.100-10.0.0.199";

fn engine(range: &str) -> LeaseManager<MemoryStore> {
    MemoryStore::default().manager(&lan(range), Offers::private())
}

#[test]
fn discover_writes_nothing_and_is_answered_the_same_again() {
    let store = MemoryStore::default();
    let mut engine = store.manager(&lan(POOL), Offers::private());
    let first = engine.discover_at(START, 1);
    assert_eq!(engine.discover_at(START.plus(5), 1), first);
    assert!(store.log().is_empty());
}

#[test]
fn offered_address_is_held_for_its_client_until_its_time() {
    let mut engine = engine("10.0.0.100-10.0.0.100");
    assert!(engine.discover_at(START, 1).is_some());
    assert_eq!(engine.discover_at(START.plus(59), 2), None);
    assert_eq!(engine.discover_at(START.plus(60), 2), Some(ip("10.0.0.100")));
}

#[test]
fn client_keeps_its_address_by_its_identity_where_the_lease_file_is_lost() {
    for n in 0..20 {
        let (before, after) = (engine(POOL).lease(START, n), engine(POOL).lease(START.plus(99_999), n));
        assert_eq!(before, after);
    }
}

#[test]
fn wish_is_granted_if_free_and_only_then() {
    let mut engine = engine(POOL);
    let wish = Some(ip("10.0.0.150"));
    assert_eq!(engine.at(START, |m| offered(m.discover(&client(1), &LAN, wish))), wish);
    let other = engine.at(START, |m| offered(m.discover(&client(2), &LAN, wish)));
    assert!(other.is_some() && other != wish);
    let outside = engine.at(START, |m| offered(m.discover(&client(3), &LAN, Some(ip("10.0.0.99")))));
    assert!(outside.is_some() && outside != Some(ip("10.0.0.99")));
}

#[test]
fn current_lease_goes_before_the_wish_and_the_last_one_too() {
    let mut engine = engine(POOL);
    let address = engine.lease(START, 1);
    let wish = Some(ip(if address == ip("10.0.0.150") { "10.0.0.151" } else { "10.0.0.150" }));
    assert_eq!(engine.at(START, |m| offered(m.discover(&client(1), &LAN, wish))), Some(address));
    assert_eq!(engine.at(START, |m| m.release(&client(1), address)), Released::Done);
    assert_eq!(engine.at(START, |m| offered(m.discover(&client(1), &LAN, wish))), Some(address));
}

#[test]
fn longest_expired_address_is_reused_first_once_none_is_free() {
    let mut engine = engine("10.0.0.100-10.0.0.103");
    let leased: Vec<_> = (0..4).map(|n| engine.lease(START.plus(n * 10), n)).collect();
    assert_eq!(engine.discover_at(START.plus(3599), 9), None);
    let late = START.plus(5000);
    for n in 0..4_u32 {
        assert_eq!(engine.lease(late, 10 + n), leased[n as usize]);
    }
    assert_eq!(engine.discover_at(late, 99), None);
}

#[test]
fn routers_reserved_and_excluded_addresses_are_never_given() {
    let mut lan = subnet("lan", "10.0.0.0/29", None, &[("main", "10.0.0.0-10.0.0.7")]);
    lan.common.options.insert("routers".into(), serde_json::json!("10.0.0.1"));
    // Another spelling of the same option, at another level.
    lan.pools[0].options.insert("option-3".into(), serde_json::json!({"ip": "10.0.0.6"}));
    lan.exclude = vec!["10.0.0.3-10.0.0.4".parse().unwrap()];
    let topology = Topology::lay_out(&common(), &[lan], &[]);
    let reserved = EngineSettings { reserved: vec![ip("10.0.0.5")], ..settings() };
    let mut engine = MemoryStore::default().manager_with(&topology, Offers::private(), reserved);
    let mut given: Vec<_> = (0..10).filter_map(|n| engine.discover_at(START, n)).collect();
    given.sort_unstable();
    assert_eq!(given, [ip("10.0.0.2")]);
    for taken in ["10.0.0.0", "10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"] {
        assert_eq!(engine.ask_at(START, 50, Ask::Selecting(ip(taken))), Answer::Nak(NakReason::NotPermitted));
    }
}

#[test]
fn pool_of_a_slash_16_full_but_one_address_finds_it() {
    let store = MemoryStore::default();
    let topology = lan("10.0.0.2-10.0.255.254");
    let offers = Offers::private();
    let mut engine = store.manager(&topology, offers);
    let all: Vec<u32> = (0x0a00_0002..=0x0a00_fffe).collect();
    for batch in all.chunks(4096) {
        engine.at(START, |m| {
            for address in batch.iter().filter(|a| **a != 0x0a00_1234) {
                let ask = Ask::Selecting(Ipv4Addr::from(*address));
                assert!(acked(m.request(&client(*address), &LAN, ask, &hour)).is_some());
            }
        });
    }
    for n in 0..100 {
        assert_eq!(engine.discover_at(START, n), Some(ip("10.0.18.52")));
        engine.at(START, |m| m.withdraw_offer(&client(n), &LAN));
    }
}

#[test]
fn second_pool_serves_when_the_first_is_full() {
    let one = subnet("a", "10.0.0.0/24", Some("s"), &[("p", "10.0.0.10-10.0.0.11")]);
    let two = subnet("b", "10.0.1.0/24", Some("s"), &[("p", "10.0.1.10-10.0.1.11")]);
    let topology = Topology::lay_out(&common(), &[one, two], &[]);
    assert_eq!(topology.link(SubnetId(1)), [SubnetId(1), SubnetId(0)]);
    let scope = Scope {
        subnets: topology.link(SubnetId(0)),
        pools: &[PoolId(0), PoolId(1)],
        host: None,
        checked: false,
    };
    let mut engine = MemoryStore::default().manager(&topology, Offers::private());
    let mut got: Vec<_> = (0..4)
        .map(|n| engine.at(START, |m| offered(m.discover(&client(n), &scope, None))).unwrap())
        .collect();
    assert!(got[..2].iter().all(|a| topology.subnet_of(*a) == Some(SubnetId(0))));
    got.sort_unstable();
    assert_eq!(got, ["10.0.0.10", "10.0.0.11", "10.0.1.10", "10.0.1.11"].map(ip));
}

#[test]
fn selecting_takes_what_is_free_even_if_the_offer_was_lost_but_not_anothers() {
    let mut engine = engine(POOL);
    let free = ip("10.0.0.120");
    assert_eq!(acked(engine.ask_at(START, 1, Ask::Selecting(free))), Some(free));
    let held = Answer::Nak(NakReason::HeldByAnother);
    assert_eq!(engine.ask_at(START, 2, Ask::Selecting(free)), held);
    let to_three = engine.discover_at(START, 3).unwrap();
    assert_eq!(engine.ask_at(START, 2, Ask::Selecting(to_three)), held, "offered to another");
    let outside = engine.ask_at(START, 2, Ask::Selecting(ip("192.0.2.1")));
    assert_eq!(outside, Answer::Nak(NakReason::WrongNetwork));
}

#[test]
fn one_binding_for_each_client_and_link() {
    let mut engine = engine(POOL);
    let (first, second) = (ip("10.0.0.110"), ip("10.0.0.111"));
    assert!(acked(engine.ask_at(START, 1, Ask::Selecting(first))).is_some());
    let far = engine.at(START, |m| m.request(&client(1), &OTHER, Ask::Selecting(ip("10.1.0.10")), &hour));
    assert!(acked(far).is_some(), "another link");
    assert!(acked(engine.ask_at(START.plus(1), 1, Ask::Selecting(second))).is_some());
    assert_eq!(engine.lease_at(first).unwrap().state, LeaseState::Released);
    assert_eq!(engine.lease_at(ip("10.1.0.10")).unwrap().state, LeaseState::Active);
    assert_eq!(lease_of(&engine, 1), Some(second));
}

#[test]
fn init_reboot_is_answered_by_what_is_known() {
    let mut engine = engine(POOL);
    let address = engine.lease(START, 1);
    let reboot = |address| Ask::InitReboot(address);
    assert_eq!(acked(engine.ask_at(START, 1, reboot(address))), Some(address));
    let other = ip(if address == ip("10.0.0.150") { "10.0.0.151" } else { "10.0.0.150" });
    assert_eq!(engine.ask_at(START, 1, reboot(other)), Answer::Nak(NakReason::AnotherLease));
    assert_eq!(engine.ask_at(START, 2, reboot(other)), Answer::Silence(SilenceReason::UnknownClient));
    assert_eq!(engine.ask_at(START, 2, reboot(address)), Answer::Nak(NakReason::HeldByAnother));
    assert_eq!(engine.ask_at(START, 2, reboot(ip("172.16.0.1"))), Answer::Nak(NakReason::WrongNetwork));
    let expired = START.plus(7200);
    assert_eq!(
        acked(engine.ask_at(expired, 1, reboot(address))),
        Some(address),
        "expired, but not needed since"
    );
}

#[test]
fn a_server_that_is_not_authoritative_leaves_strangers_alone() {
    let guest = EngineSettings { authoritative: false, ..settings() };
    let mut engine = MemoryStore::default().manager_with(&lan(POOL), Offers::private(), guest);
    let silence = Answer::Silence(SilenceReason::NotAuthoritative);
    assert_eq!(engine.ask_at(START, 2, Ask::InitReboot(ip("172.16.0.1"))), silence);
    assert_eq!(engine.ask_at(START, 2, Ask::Rebinding(ip("172.16.0.1"))), silence);
    assert_eq!(engine.ask_at(START, 2, Ask::Rebinding(ip("10.0.0.150"))), silence);
    assert_eq!(engine.ask_at(START, 2, Ask::Rebinding(ip("10.0.0.50"))), silence);
    let address = engine.lease(START, 1);
    let silence = Answer::Silence(SilenceReason::UnknownClient);
    assert_eq!(engine.ask_at(START, 2, Ask::InitReboot(address)), silence);
    assert_eq!(engine.ask_at(START, 2, Ask::Renewing(address)), Answer::Nak(NakReason::HeldByAnother));
}

#[test]
fn renewal_keeps_the_start_and_moves_the_end() {
    let mut engine = engine(POOL);
    let address = engine.lease(START, 1);
    let later = START.plus(1800);
    let answer = engine.ask_at(later, 1, Ask::Renewing(address));
    assert_eq!(answer, Answer::Ack { address, lease_secs: 3600, event: AckEvent::Renewed, starts: START });
    let lease = engine.lease_at(address).unwrap();
    assert_eq!((lease.starts, lease.expires), (START, later.plus(3600)));
}

#[test]
fn renewal_after_a_lost_lease_file_is_granted_where_the_address_is_free() {
    let mut engine = engine(POOL);
    let free = ip("10.0.0.150");
    assert_eq!(acked(engine.ask_at(START, 1, Ask::Rebinding(free))), Some(free));
    assert_eq!(engine.ask_at(START, 2, Ask::Renewing(free)), Answer::Nak(NakReason::HeldByAnother));
    assert_eq!(engine.ask_at(START, 2, Ask::Renewing(ip("10.0.0.50"))), Answer::Nak(NakReason::NotPermitted));
    assert_eq!(
        engine.ask_at(START, 2, Ask::Renewing(ip("172.16.0.1"))),
        Answer::Nak(NakReason::WrongNetwork)
    );
}

#[test]
fn request_sent_twice_in_a_second_is_the_same_grant_and_each_ack_has_its_row() {
    let store = MemoryStore::default();
    let mut engine = store.manager(&lan(POOL), Offers::private());
    let address = engine.lease(START, 1);
    let again = engine.ask_at(START, 1, Ask::Selecting(address));
    let Answer::Ack { event, .. } = again else { panic!("{again:?}") };
    assert_eq!((event, store.log().len()), (AckEvent::Granted, 2));
    // Within one batch likewise.
    engine.at(START.plus(9), |m| {
        let first = m.request(&client(2), &LAN, Ask::Selecting(ip("10.0.0.111")), &hour);
        assert_eq!(m.request(&client(2), &LAN, Ask::Selecting(ip("10.0.0.111")), &hour), first);
    });
    assert_eq!(store.log().len(), 4);
}

#[test]
fn release_counts_only_from_the_holder() {
    let mut engine = engine(POOL);
    let address = engine.lease(START, 1);
    assert_eq!(engine.at(START, |m| m.release(&client(2), address)), Released::NotHolder);
    assert_eq!(engine.at(START, |m| m.release(&client(1), address)), Released::Done);
    assert_eq!(engine.at(START, |m| m.release(&client(1), address)), Released::NotHolder, "again");
    assert_eq!(engine.lease_at(address).unwrap().state, LeaseState::Released);
}

#[test]
fn lease_is_its_clients_through_the_whole_second_in_which_it_ends() {
    let mut engine = engine("10.0.0.100-10.0.0.100");
    let address = engine.lease(START, 1);
    // The REQUEST may have come late in second 0, so the lease may end late in second 3600.
    assert_eq!(engine.discover_at(START.plus(3600), 2), None);
    assert_eq!(
        engine.ask_at(START.plus(3600), 2, Ask::Selecting(address)),
        Answer::Nak(NakReason::HeldByAnother)
    );
    assert_eq!(engine.discover_at(START.plus(3601), 2), Some(address));
}

#[test]
fn decline_quarantines_address() {
    let mut engine = engine("10.0.0.100-10.0.0.101");
    let address = engine.lease(START, 1);
    assert_eq!(engine.at(START, |m| m.decline(&client(2), address)), Declined::NotHolder);
    let hold = Duration::from_secs(600);
    assert_eq!(engine.at(START, |m| m.decline(&client(1), address)), Declined::Done(hold));
    assert_eq!(lease_of(&engine, 1), None);
    assert_eq!(engine.ask_at(START, 1, Ask::Selecting(address)), Answer::Nak(NakReason::Resting));
    let other = engine.lease(START, 1);
    assert_ne!(other, address);
    assert_eq!(engine.discover_at(START.plus(599), 3), None);
    assert_eq!(engine.discover_at(START.plus(600), 3), Some(address));
}

#[test]
fn no_more_than_a_quarter_of_a_pool_rests_for_declines_and_its_clients_get_other_addresses() {
    let mut engine = engine("10.0.0.100-10.0.0.107");
    let resting = |engine: &LeaseManager<_>| engine.gauges()[0].states[3];
    for n in 1..=2 {
        let offered = engine.discover_at(START, n).unwrap();
        assert!(matches!(engine.at(START, |m| m.decline(&client(n), offered)), Declined::Done(_)));
    }
    // Neither what is merely offered nor what is leased; nor within one batch.
    let offered = engine.discover_at(START, 3).unwrap();
    assert_eq!(engine.at(START, |m| m.decline(&client(3), offered)), Declined::Doubted);
    let leased = engine.lease(START, 4);
    assert_eq!(engine.at(START, |m| m.decline(&client(4), leased)), Declined::Doubted);
    assert_eq!((resting(&engine), engine.gauges()[0].states[0]), (2, 0), "its lease is over");
    let another = engine.discover_at(START, 4).unwrap();
    assert!(another != leased && another != offered);
    assert!(engine.discover_at(START, 5).is_some_and(|address| address != leased && address != offered));
    // As long as an offer lasts.
    assert_eq!(acked(engine.ask_at(START.plus(60), 4, Ask::Selecting(leased))), Some(leased));
}

#[test]
fn declines_of_one_batch_count_together() {
    let mut engine = engine("10.0.0.100-10.0.0.107");
    let declined = engine.at(START, |m| {
        let decline = |n| {
            let offered = offered(m.discover(&client(n), &LAN, None)).unwrap();
            m.decline(&client(n), offered)
        };
        (1..=4).map(decline).filter(|declined| matches!(declined, Declined::Done(_))).count()
    });
    assert_eq!(declined, 2);
}

#[test]
fn strangers_are_turned_away_under_pressure_and_who_had_a_lease_is_not() {
    let mut engine = engine(POOL);
    let (held, given_back) = (engine.lease(START, 1), engine.lease(START, 2));
    engine.at(START, |m| m.release(&client(2), given_back));
    engine.press(true);
    assert_eq!(engine.at(START, |m| m.discover(&client(3), &LAN, None)), Offered::Pressed);
    assert_eq!(engine.discover_at(START, 1), Some(held));
    assert_eq!(engine.discover_at(START, 2), Some(given_back));
    assert_eq!(acked(engine.ask_at(START, 1, Ask::Renewing(held))), Some(held));
    engine.press(false);
    assert!(engine.discover_at(START, 3).is_some());
}

#[test]
fn searches_of_a_second_look_at_a_bounded_number_of_addresses() {
    let mut engine = engine("10.0.0.2-10.0.31.254");
    // A flood of invented clients has nearly every address held for one of them.
    let found = engine.at(START, |m| {
        (0..20_000).filter(|n| offered(m.discover(&client(*n), &LAN, None)).is_some()).count()
    });
    assert!(found > 4000, "{found}");
    assert!(engine.effort.tries(START) <= 32, "the second's budget is spent");
    assert!(engine.effort.tries(START.plus(1)) > 1000, "the next second has its own");
}

#[test]
fn declining_an_offer_leaves_the_lease_that_the_same_batch_granted() {
    let mut engine = engine("10.0.0.100-10.0.0.104");
    let offered = engine.discover_at(START, 1).unwrap();
    let leased = ip(if offered == ip("10.0.0.100") { "10.0.0.101" } else { "10.0.0.100" });
    let bound = engine.at(START, |m| {
        m.request(&client(1), &LAN, Ask::Renewing(leased), &hour);
        assert_ne!(m.decline(&client(1), offered), Declined::NotHolder);
        lease_of(m, 1)
    });
    assert_eq!(bound, Some(leased));
}

#[test]
fn rest_doubles_until_a_client_has_lived_with_the_address() {
    let mut engine = engine("10.0.0.100-10.0.0.100");
    let address = ip("10.0.0.100");
    let mut now = START;
    for expected in [600, 1200, 2400, 4800, 7200, 7200] {
        assert_eq!(engine.lease(now, 1), address);
        let hold = Duration::from_secs(expected);
        assert_eq!(engine.at(now, |m| m.decline(&client(1), address)), Declined::Done(hold));
        now = now.plus(u32::try_from(expected).unwrap());
    }
    engine.lease(now, 1);
    assert!(acked(engine.ask_at(now.plus(60), 1, Ask::Renewing(address))).is_some());
    let hold = Duration::from_secs(600);
    let declined = engine.at(now.plus(61), |m| m.decline(&client(1), address));
    assert_eq!(declined, Declined::Done(hold));
}

#[test]
fn client_that_chose_another_server_frees_our_offer() {
    let mut engine = engine("10.0.0.100-10.0.0.100");
    assert!(engine.discover_at(START, 1).is_some());
    engine.at(START, |m| m.withdraw_offer(&client(2), &LAN));
    assert_eq!(engine.discover_at(START, 2), None);
    engine.at(START, |m| m.withdraw_offer(&client(1), &LAN));
    assert!(engine.discover_at(START, 2).is_some());
}

#[test]
fn later_packets_of_a_batch_see_the_earlier_ones() {
    let mut engine = engine("10.0.0.100-10.0.0.101");
    let (a, b) = (ip("10.0.0.100"), ip("10.0.0.101"));
    engine.at(START, |m| {
        assert_eq!(acked(m.request(&client(1), &LAN, Ask::Selecting(a), &hour)), Some(a));
        let refused = m.request(&client(2), &LAN, Ask::Selecting(a), &hour);
        assert_eq!(refused, Answer::Nak(NakReason::HeldByAnother));
        assert_eq!(offered(m.discover(&client(2), &LAN, Some(a))), Some(b));
        assert_eq!(m.release(&client(1), a), Released::Done);
        assert_eq!(offered(m.discover(&client(3), &LAN, None)), Some(a));
    });
}

#[test]
fn batch_that_cannot_be_committed_has_not_happened() {
    let store = MemoryStore::default();
    let mut engine = store.manager(&lan("10.0.0.100-10.0.0.100"), Offers::private());
    let address = engine.discover_at(START, 1).unwrap();
    store.fail(true);
    engine.begin(Access::Write, START).unwrap();
    assert!(acked(engine.request(&client(1), &LAN, Ask::Selecting(address), &hour)).is_some());
    assert!(engine.commit().is_err());
    assert_eq!((engine.lease_at(address), engine.gauges()[0].free), (None, 1));
    assert_eq!(engine.discover_at(START, 2), None, "still offered to the first");
    store.fail(false);
    assert_eq!(acked(engine.ask_at(START, 1, Ask::Selecting(address))), Some(address));
}

#[test]
fn changes_without_a_write_transaction_are_refused() {
    let mut engine = engine(POOL);
    engine.begin(Access::Read, START).unwrap();
    engine.request(&client(1), &LAN, Ask::Selecting(ip("10.0.0.110")), &hour);
    assert!(matches!(engine.commit(), Err(StoreError::NotWriting)));
    assert_eq!(engine.lease_at(ip("10.0.0.110")), None);
}

#[test]
fn gauges_follow_every_change() {
    let mut engine = engine("10.0.0.100-10.0.0.109");
    let leased: Vec<_> = (0..3).map(|n| engine.lease(START, n)).collect();
    engine.at(START, |m| m.release(&client(0), leased[0]));
    engine.at(START, |m| m.decline(&client(1), leased[1]));
    let gauge = engine.gauges()[0];
    assert_eq!((gauge.states, gauge.free, gauge.size), ([1, 0, 1, 1, 0], 7, 10));
}

#[test]
fn infinite_lease_never_ends() {
    let mut engine = engine("10.0.0.100-10.0.0.100");
    let address = ip("10.0.0.100");
    engine.at(START, |m| m.request(&client(1), &LAN, Ask::Selecting(address), &|_| u32::MAX));
    assert_eq!(engine.lease_at(address).unwrap().expires, Timestamp::NEVER);
    assert_eq!(engine.discover_at(Timestamp(START.0 * 3), 2), None);
}

#[test]
fn what_the_relay_told_is_known_of_the_current_holder_only() {
    let mut engine = engine(POOL);
    let relayed = Client { relay: Some(ip("10.0.0.1")), circuit_id: Some(b"port 7"[..].into()), ..client(1) };
    let address = ip("10.0.0.150");
    engine.at(START, |m| m.request(&relayed, &LAN, Ask::Selecting(address), &hour));
    let circuit = |engine: &LeaseManager<MemoryStore>, n: u32| {
        engine.holder(address, &client(n).hardware).and_then(|known| known.circuit_id.map(<[u8]>::to_vec))
    };
    assert_eq!(circuit(&engine, 1).as_deref(), Some(&b"port 7"[..]));
    assert_eq!(circuit(&engine, 2), None, "another hardware address");
    engine.at(START.plus(3601), |m| assert!(m.holder(address, &client(1).hardware).is_none(), "ran out"));
}

#[test]
fn worker_in_the_middle_of_a_batch_does_not_offer_what_another_has_just_granted() {
    let (store, topology, offers) = (MemoryStore::default(), lan(POOL), Offers::private());
    let mut workers = [(); 2].map(|()| store.manager(&topology, offers));
    workers[1].begin(Access::Read, START).unwrap();
    let granted = workers[0].lease(START, 1);
    let offer = offered(workers[1].discover(&client(2), &LAN, Some(granted)));
    assert_ne!(offer, Some(granted), "it would be refused when the client asks for it");
    workers[1].abort();
    // Nobody else waits for what is given back at once.
    workers[0].at(START, |m| m.release(&client(1), granted));
    workers[1].begin(Access::Read, START).unwrap();
    assert_eq!(offered(workers[1].discover(&client(3), &LAN, Some(granted))), Some(granted));
}
