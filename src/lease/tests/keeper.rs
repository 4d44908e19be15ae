//! The keeper: folding, the history, expiry, pruning.

use super::sqlite::{File, topology};
use super::*;
use crate::config::model::HistoryLimits;

pub(super) fn keeper(file: &File) -> Keeper {
    let limits = HistoryLimits { keep: Duration::from_secs(90 * 86_400), max_size: 1 << 30 };
    Keeper::open(&file.path(), topology(), limits).unwrap()
}

/// Everything that the folded tables say.
fn folded(file: &File) -> (Vec<String>, Vec<String>) {
    let foreign = file.foreign();
    let all = |sql: &str| {
        let mut statement = foreign.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    (
        all(
            "SELECT concat_ws(' ', address, seq, grant_seq, hex(client), hostname, state, starts, expires) FROM leases",
        ),
        all("SELECT concat_ws(' ', address, grant_seq, hex(client), starts, ends, ended) FROM lease_history"),
    )
}

/// Leases, renewals, releases, a decline, a lease that changes hands, for many addresses.
pub(super) fn busy(file: &File) {
    let mut engine = file.manager(&lan("10.0.0.2-10.0.255.254"), Offers::private());
    for round in 0..3_u32 {
        let now = START.plus(round * 1000);
        engine.at(now, |m| {
            for n in 0..600_u32 {
                let address = Ipv4Addr::from(0x0a00_0100 + n);
                assert!(acked(m.request(&client(n), &LAN, Ask::Selecting(address), &hour)).is_some());
                match (round, n % 10) {
                    (1, 3) => assert_eq!(m.release(&client(n), address), Released::Done),
                    (2, 4) => assert!(matches!(m.decline(&client(n), address), Declined::Done { .. })),
                    _ => {}
                }
            }
        });
    }
    engine.at(START.plus(9000), |m| {
        let ask = Ask::Selecting(ip("10.0.1.0"));
        assert!(acked(m.request(&client(9999), &LAN, ask, &hour)).is_some(), "ran out meanwhile");
    });
}

#[test]
fn history_has_one_interval_for_each_holder_and_tells_how_it_ended() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    let address = ip("10.0.0.150");
    let ask = |state: fn(Ipv4Addr) -> Ask| state(address);
    let mut now = START;
    engine.ask_at(now, 1, ask(Ask::Selecting));
    for _ in 0..3 {
        now = now.plus(1800);
        engine.ask_at(now, 1, ask(Ask::Renewing));
    }
    now = now.plus(10);
    engine.at(now, |m| m.release(&client(1), address));
    let second = now.plus(10);
    engine.ask_at(second, 2, ask(Ask::Selecting));
    // Ran out, and the keeper did not come by.
    let third = second.plus(5000);
    engine.ask_at(third, 3, ask(Ask::Selecting));
    keeper(&file).finish().unwrap();
    let history = folded(&file).1;
    let line = |grant: u32, n: u32, starts: Timestamp, ends: Timestamp, how: &str| {
        let bytes = client(n).key.as_bytes().iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>();
        let key = bytes.concat();
        format!("{} {grant} {key} {} {} {how}", u32::from(address), starts.0, ends.0)
    };
    assert_eq!(
        history,
        [
            line(1, 1, START, now, "released"),
            line(6, 2, second, second.plus(3600), "expired"),
            line(7, 3, third, third.plus(3600), "active"),
        ]
    );
}

#[test]
fn folding_in_slices_with_crashes_in_between_gives_the_same() {
    let (whole, crashing) = (File::new(), File::new());
    for file in [&whole, &crashing] {
        busy(file);
    }
    keeper(&whole).finish().unwrap();
    // Each keeper lives for one slice more than the last, and none of them gets to the end but the last.
    for slices in 1..4 {
        let mut keeper = keeper(&crashing);
        for _ in 0..slices {
            assert!(keeper.fold_step().unwrap(), "more to fold");
        }
        let fresh = crashing.manager(&lan("10.0.0.2-10.0.255.254"), Offers::private());
        assert_eq!(fresh.lease_at(ip("10.0.1.0")).unwrap().client, client(9999), "half folded, yet whole");
    }
    keeper(&crashing).finish().unwrap();
    assert_eq!(folded(&crashing), folded(&whole));
    let rows =
        "SELECT (SELECT value FROM meta WHERE key = 'history_rows') - (SELECT count(*) FROM lease_history)";
    assert_eq!((whole.count(rows), crashing.count(rows)), (0, 0));
}

#[test]
fn a_folded_file_loads_as_the_log_did() {
    let file = File::new();
    busy(&file);
    let topology = lan("10.0.0.2-10.0.255.254");
    let before = file.manager(&topology, Offers::private());
    keeper(&file).finish().unwrap();
    let after = file.manager(&topology, Offers::private());
    assert_eq!(before.gauges(), after.gauges());
    for n in 0..600 {
        let address = Ipv4Addr::from(0x0a00_0100 + n);
        assert_eq!(before.lease_at(address), after.lease_at(address));
    }
}

#[test]
fn keeper_that_reads_later_tells_nothing_before_and_the_same_after() {
    let file = File::new();
    busy(&file);
    let topology = lan("10.0.0.2-10.0.255.254");
    let limits = HistoryLimits { keep: Duration::from_secs(90 * 86_400), max_size: 1 << 30 };
    let mut later = Keeper::open_unread(&file.path(), topology.clone(), limits).unwrap();
    assert!(!later.is_read());
    later.step().unwrap();
    let mut at_once = Keeper::open(&file.path(), topology.clone(), limits).unwrap();
    assert!(later.is_read() && at_once.is_read());
    at_once.step().unwrap();
    assert_eq!(later.gauges(), at_once.gauges());
    assert_eq!(later.gauges()[0].states.iter().sum::<u64>(), 600);
    // One that is told to end before it has read leaves a folded file all the same.
    let mut unread = Keeper::open_unread(&file.path(), topology, limits).unwrap();
    unread.finish().unwrap();
    assert_eq!(unread.unfolded(), 0);
    assert_eq!(
        file.count("SELECT value FROM meta WHERE key = 'folded_to'"),
        file.count("SELECT max(seq) FROM lease_log")
    );
}

#[test]
fn what_ran_out_gets_a_row_and_what_was_renewed_does_not() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    let (one, two) = (engine.lease(START, 1), engine.lease(START, 2));
    let mut keeper = keeper(&file);
    engine.ask_at(START.plus(3000), 2, Ask::Renewing(two));
    // The second of the end may still be the client's: times are rounded down.
    assert_eq!(keeper.expire(START.plus(3600)).unwrap(), []);
    let ended = keeper.expire(START.plus(3601)).unwrap();
    assert_eq!(ended, [Ended { address: one, event: LeaseEvent::Expired, hardware: client(1).hardware }]);
    assert_eq!(keeper.expire(START.plus(3601)).unwrap(), [], "once");
    engine.begin(Access::Read, START.plus(3601)).unwrap();
    assert_eq!(engine.lease_at(one).unwrap().state, LeaseState::Expired);
    assert_eq!(engine.lease_at(two).unwrap().state, LeaseState::Active);
    assert_eq!(keeper.gauges(), engine.gauges());
    // From the folded table likewise.
    keeper.finish().unwrap();
    file.foreign()
        .execute_batch(
            "DELETE FROM lease_log WHERE seq < 4; UPDATE meta SET value = 3 WHERE key = 'pruned_to'",
        )
        .unwrap();
    let mut keeper = super::keeper::keeper(&file);
    assert_eq!(keeper.expire(START.plus(9000)).unwrap().len(), 1);
    assert_eq!(
        file.manager(&topology(), Offers::private()).lease_at(two).unwrap().state,
        LeaseState::Expired
    );
}

#[test]
fn rest_that_is_over_makes_the_address_free_and_nobodys() {
    let file = File::new();
    let mut engine = file.manager(&lan("10.0.0.100-10.0.0.100"), Offers::private());
    let address = engine.lease(START, 1);
    engine.at(START, |m| m.decline(&client(1), address));
    let mut keeper = keeper(&file);
    assert_eq!(keeper.expire(START.plus(601)).unwrap()[0].event, LeaseEvent::Recovered);
    engine.begin(Access::Read, START.plus(601)).unwrap();
    let lease = engine.lease_at(address).unwrap();
    assert_eq!((lease.state, lease.client.key.as_bytes()), (LeaseState::Expired, &[][..]));
    assert_eq!(engine.discover_at(START.plus(601), 2), Some(address));
    keeper.finish().unwrap();
    let history = folded(&file).1;
    assert!(history.len() == 1 && history[0].ends_with("declined"), "{history:?}");
}

#[test]
fn folded_log_is_pruned_but_for_the_newest_rows() {
    let file = File::new();
    let mut engine = file.manager(&lan("10.0.0.2-10.0.255.254"), Offers::private());
    for round in 0..6_u32 {
        engine.at(START.plus(round * 10), |m| {
            for n in 0..2500_u32 {
                m.request(&client(n), &LAN, Ask::Selecting(Ipv4Addr::from(0x0a00_0100 + n)), &hour);
            }
        });
    }
    let mut keeper = keeper(&file);
    keeper.finish().unwrap();
    let mut steps = 0;
    while keeper.step().unwrap().more {
        steps += 1;
        assert!(steps < 1000, "comes to an end");
    }
    assert_eq!(file.count("SELECT min(seq) FROM lease_log"), 5_001);
    assert_eq!(file.count("SELECT count(*) FROM lease_log"), 10_000);
    engine.begin(Access::Write, START).unwrap();
    assert_eq!(file.manager(&lan("10.0.0.2-10.0.255.254"), Offers::private()).gauges(), engine.gauges());
}

#[test]
fn log_gets_no_longer_however_short_the_keepers_lives_are() {
    let file = File::new();
    let topology = lan("10.0.0.2-10.0.255.254");
    let mut engine = file.manager(&topology, Offers::private());
    for round in 0..8_u32 {
        engine.at(START.plus(round), |m| {
            for n in 0..2_000_u32 {
                let ask = Ask::Selecting(Ipv4Addr::from(0x0a00_0100 + n));
                assert!(acked(m.request(&client(n), &LAN, ask, &hour)).is_some());
            }
        });
        let limits = HistoryLimits { keep: Duration::from_secs(90 * 86_400), max_size: 1 << 30 };
        let mut keeper = Keeper::open_unread(&file.path(), Arc::clone(&topology), limits).unwrap();
        keeper.leave().unwrap();
        assert!(!keeper.is_read(), "leaving takes no longer where there are many leases");
    }
    let unfolded = "SELECT max(seq) - (SELECT value FROM meta WHERE key = 'folded_to') FROM lease_log";
    assert!(file.count(unfolded) < 7_000, "{}", file.count(unfolded));
    assert_eq!(file.manager(&topology, Offers::private()).gauges(), engine.gauges());
}

#[test]
fn log_that_is_never_short_is_pruned_all_the_same() {
    let file = File::new();
    let mut engine = file.manager(&lan("10.0.0.2-10.0.255.254"), Offers::private());
    let mut now = START;
    let mut write = || {
        for _ in 0..3 {
            now = now.plus(10);
            engine.at(now, |m| {
                for n in 0..2000_u32 {
                    m.request(&client(n), &LAN, Ask::Selecting(Ipv4Addr::from(0x0a00_0100 + n)), &hour);
                }
            });
        }
    };
    let mut keeper = keeper(&file);
    let (mut written, mut steps) = (0, 0);
    while written < 72_000 {
        // Whenever a plan is done there are enough rows for the next.
        if keeper.unfolded() <= 6_000 {
            write();
            write();
            written += 12_000;
        }
        assert!(keeper.step().unwrap().more);
        steps += 1;
        assert!(steps < 20_000, "comes to an end");
    }
    let left = file.count("SELECT count(*) FROM lease_log");
    assert!(left <= 10_000 + 12_000 + 12_000, "{left} rows are left of {written}");
}

#[test]
fn history_beyond_its_age_goes_and_open_intervals_stay() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    for n in 0..10 {
        let address = engine.lease(START, n);
        if n < 5 {
            engine.at(START, |m| m.release(&client(n), address));
        }
    }
    keeper(&file).finish().unwrap();
    let mut store = file.store();
    let limits = HistoryLimits { keep: Duration::from_secs(100), max_size: 1 << 30 };
    assert!(super::super::history::Walk::new(limits).step(&mut store, START.plus(101)).unwrap());
    assert_eq!(file.count("SELECT count(*) FROM lease_history"), 5);
    assert_eq!(file.count("SELECT value FROM meta WHERE key = 'history_rows'"), 5);
}

#[test]
fn history_beyond_its_size_loses_the_oldest_intervals() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    for n in 0..50 {
        let now = START.plus(n * 3600);
        let address = engine.lease(now, n);
        engine.at(now, |m| m.release(&client(n), address));
    }
    keeper(&file).finish().unwrap();
    let mut store = file.store();
    let limits = HistoryLimits { keep: Duration::from_secs(90 * 86_400), max_size: 20 * 160 };
    let mut walk = super::super::history::Walk::new(limits);
    for _ in 0..2 {
        assert!(walk.step(&mut store, START.plus(50 * 3600)).unwrap());
    }
    assert_eq!(file.count("SELECT count(*) FROM lease_history"), 20);
    assert_eq!(file.count("SELECT min(grant_seq) FROM lease_history"), 61, "the newest are left");
}
