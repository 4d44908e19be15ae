//! Freeing addresses, importing leases, and what is told of the past.

use std::path::Path;

use super::keeper::{busy, keeper};
use super::memory::MemoryStore;
use super::sqlite::{File, present, topology};
use super::*;
use crate::lease::transfer::Cells;

fn engine() -> LeaseManager<MemoryStore> {
    MemoryStore::default().manager(&topology(), Offers::private())
}

fn row(place: u64, address: &str, n: u32, state: LeaseState, expires: Timestamp) -> ImportRow {
    let lease = Lease {
        address: ip(address),
        client: client(n),
        subnet: "old-name".into(),
        pool: "old-name".into(),
        state,
        starts: START,
        expires,
    };
    ImportRow { place, recorded: Recorded { lease, declines: 0 }, undated: false }
}

fn active(place: u64, address: &str, n: u32) -> ImportRow {
    row(place, address, n, LeaseState::Active, START.plus(7200))
}

#[test]
fn freed_lease_goes_to_whoever_comes_first() {
    let mut engine = engine();
    let address = engine.lease(START, 1);
    assert_eq!(acked(engine.ask_at(START, 2, Ask::Selecting(address))), None);
    let Freed::Lease(was) = engine.at(START, |m| m.free(address)) else { panic!("it was leased") };
    assert_eq!(was.client, client(1));
    let now = engine.lease_at(address).unwrap();
    assert_eq!((now.state, now.expires, now.client), (LeaseState::Released, START, client(1)));
    assert_eq!(engine.at(START, |m| m.free(address)), Freed::NotHeld(engine.lease_at(address)), "once");
    assert_eq!(acked(engine.ask_at(START, 2, Ask::Selecting(address))), Some(address));
}

#[test]
fn freed_rest_makes_the_address_free_and_unsuspected() {
    let mut engine = MemoryStore::default().manager(&lan("10.0.0.100-10.0.0.100"), Offers::private());
    let address = engine.lease(START, 1);
    engine.at(START, |m| m.decline(&client(1), address));
    assert_eq!(engine.discover_at(START, 2), None);
    assert!(matches!(engine.at(START, |m| m.free(address)), Freed::Rest(rest) if rest.client == client(1)));
    assert_eq!(engine.discover_at(START, 2), Some(address));
    assert_eq!(acked(engine.ask_at(START, 2, Ask::Selecting(address))), Some(address));
    let again = engine.at(START, |m| m.decline(&client(2), address));
    assert!(matches!(again, Declined::Done(hold) if hold == Duration::from_secs(600)), "not doubled");
}

#[test]
fn what_is_not_held_is_not_freed() {
    let mut engine = engine();
    let free = |m: &mut LeaseManager<MemoryStore>, at| m.at(at, |m| m.free(ip("10.0.0.150")));
    assert_eq!(free(&mut engine, START), Freed::NotHeld(None));
    engine.ask_at(START, 1, Ask::Selecting(ip("10.0.0.150")));
    assert!(matches!(free(&mut engine, START.plus(3601)), Freed::NotHeld(Some(_))), "it ran out");
    assert!(matches!(free(&mut engine, START.plus(3600)), Freed::Lease(_)), "its last second");
}

#[test]
fn imported_lease_is_in_force() {
    let mut engine = engine();
    let ended = row(2, "10.0.0.150", 2, LeaseState::Released, START);
    let rest = row(3, "10.0.0.151", 3, LeaseState::Declined, START.plus(500));
    let rows = vec![active(1, "10.0.0.149", 1), ended, rest];
    let done = engine.at(START, |m| m.import(rows.clone(), "line")).unwrap();
    assert_eq!(done, Imported { new: 3, updated: 0, unchanged: 0 });
    let lease = engine.lease_at(ip("10.0.0.149")).unwrap();
    assert_eq!((&*lease.subnet, &*lease.pool, lease.state), ("lan", "main", LeaseState::Active));
    assert_eq!(engine.discover_at(START, 1), Some(ip("10.0.0.149")), "its own");
    assert_eq!(engine.discover_at(START, 2), Some(ip("10.0.0.150")), "remembered");
    assert_eq!(acked(engine.ask_at(START, 4, Ask::Selecting(ip("10.0.0.149")))), None);
    assert_eq!(acked(engine.ask_at(START, 4, Ask::Selecting(ip("10.0.0.151")))), None);
    let again = engine.at(START, |m| m.import(rows, "line")).unwrap();
    assert_eq!(again, Imported { new: 0, updated: 0, unchanged: 3 });
    let longer = vec![row(1, "10.0.0.149", 1, LeaseState::Active, Timestamp::NEVER)];
    let updated = engine.at(START, |m| m.import(longer, "line")).unwrap();
    assert_eq!(updated, Imported { new: 0, updated: 1, unchanged: 0 });
}

#[test]
fn one_bad_row_keeps_out_all_of_them() {
    let mut engine = engine();
    let held = engine.lease(START, 1);
    let held_text = held.to_string();
    let resting = engine.lease(START, 2);
    engine.at(START, |m| m.decline(&client(2), resting));
    let third = engine.lease(START, 3);
    let rows = vec![
        active(2, "10.0.0.100", 10),
        active(3, "192.0.2.1", 11),
        active(4, "10.0.0.100", 12),
        active(5, "10.0.0.101", 10),
        active(6, &held_text, 13),
        active(7, &resting.to_string(), 14),
        active(8, "10.0.0.102", 3),
        active(9, "10.1.0.10", 10),
    ];
    let before = engine.gauges();
    let refused = engine.at(START, |m| m.import(rows, "line")).unwrap_err();
    let said: Vec<String> = refused.iter().map(|(place, refusal)| format!("{place}: {refusal}")).collect();
    assert_eq!(
        said,
        [
            "3: 192.0.2.1 lies in no configured subnet".to_owned(),
            "4: 10.0.0.100 stands in line 2 already".to_owned(),
            "5: its client has an active lease of 10.0.0.100 on the same link in line 2".to_owned(),
            format!("6: {held} is leased to {} now; hint: leases release {held}", client(1).hardware),
            format!("7: {resting} rests since somebody was found to use it; hint: leases release {resting}"),
            format!(
                "8: its client has an active lease of {third} on the same link now; hint: leases release {third}"
            ),
        ],
        "a client may hold a lease on each link"
    );
    assert_eq!((engine.gauges(), engine.lease_at(ip("10.0.0.100"))), (before, None));
}

#[test]
fn addresses_that_nobody_can_lease_are_not_imported() {
    let mut engine = engine();
    let never = ["10.0.0.0", "10.0.0.1", "10.0.255.255", "10.1.0.255"];
    let rows = (2..).zip(never).map(|(place, address)| active(place, address, 1)).collect();
    let refused = engine.at(START, |m| m.import(rows, "line")).unwrap_err();
    let expected: Vec<_> = (2..).zip(never.map(|address| Refusal::NeverGiven(ip(address)))).collect();
    assert_eq!(refused, expected);
    assert!(
        engine.at(START, |m| m.import(vec![active(2, "10.0.0.2", 1)], "line")).is_ok(),
        "outside of all pools"
    );
}

#[test]
fn import_may_move_a_client_if_it_ends_the_lease_that_it_has() {
    let mut engine = engine();
    let held = engine.lease(START, 1).to_string();
    let rows = vec![row(2, &held, 1, LeaseState::Released, START), active(3, "10.0.0.180", 1)];
    engine.at(START, |m| m.import(rows, "line")).unwrap();
    assert_eq!(engine.discover_at(START, 1), Some(ip("10.0.0.180")));
}

/// The whole file as an export writes it.
fn exported(path: &Path) -> Vec<Cells> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let reader = Reader::open(path).unwrap();
        let page = reader.page(after, 7).unwrap();
        all.extend(page.iter().map(|recorded| transfer::write(recorded, reader.times)));
        match page.last() {
            Some(last) => after = Some(last.lease.address),
            None => return all,
        }
    }
}

#[test]
fn export_imported_elsewhere_and_exported_again_is_the_same() {
    let (from, to) = (File::new(), File::new());
    let topology = lan("10.0.0.2-10.0.255.254");
    let mut engine = from.manager(&topology, Offers::private());
    let now = Timestamp(present(&from).0 - 2000);
    for n in 0..60_u32 {
        let odd = Client {
            hostname: Some(vec![b'=', u8::try_from(n * 4).unwrap(), 0, b'"', b','].into()),
            client_id: Some([0, 255, u8::try_from(n).unwrap()].into()),
            key: ClientKey::by_client_id(&[0, 255, u8::try_from(n).unwrap()]),
            relay: (n % 2 == 0).then(|| ip("10.0.0.1")),
            circuit_id: (n % 3 == 0).then(|| b"\0\x04\r\n"[..].into()),
            remote_id: (n % 5 == 0).then(ShortBytes::default),
            vendor_class: Some("k\u{fc}che\u{202e}".as_bytes().into()),
            ..client(n)
        };
        let address = Ipv4Addr::from(0x0a00_0100 + n);
        engine.at(now, |m| m.request(&odd, &LAN, Ask::Selecting(address), &hour));
        if n % 4 == 1 {
            engine.at(now.plus(5), |m| m.release(&odd, address));
        }
        if n % 4 == 2 {
            engine.at(now, |m| m.conflict(address, None));
        }
    }
    // Half of it folded.
    keeper(&from).fold_step().unwrap();
    engine.lease(now, 1000);
    let written = exported(&from.path());
    assert_eq!(written.len(), 61);
    let times = Reader::open(&to.path()).unwrap().times;
    let rows = (1..).zip(&written).map(|(place, cells)| ImportRow {
        place,
        recorded: transfer::read(cells, times, &|_| IdentifyBy::Mac).unwrap(),
        undated: false,
    });
    let rows = rows.collect();
    let mut other = to.manager(&topology, Offers::private());
    other.at(present(&to), |m| m.import(rows, "line")).unwrap();
    assert_eq!(exported(&to.path()), written);
    keeper(&to).finish().unwrap();
    assert_eq!(exported(&to.path()), written);
    let one = Reader::open(&to.path()).unwrap().lease(ip("10.0.1.3")).unwrap().unwrap();
    assert_eq!(one.lease, engine.lease_at(ip("10.0.1.3")).unwrap());
}

fn whole_past(path: &Path, filter: &PastFilter) -> Vec<Interval> {
    let mut filter = filter.clone();
    let mut all = Vec::new();
    loop {
        let page = past(path, &filter).unwrap();
        all.extend(page.intervals);
        match page.next {
            Some(next) => filter.after = Some(next),
            None => return all,
        }
    }
}

#[test]
fn past_is_the_same_folded_half_folded_and_not_folded_at_all() {
    let file = File::new();
    busy(&file);
    let mut engine = file.manager(&lan("10.0.0.2-10.0.255.254"), Offers::private());
    engine.at(START.plus(9001), |m| {
        for n in 10_000..10_700_u32 {
            m.request(&client(n), &LAN, Ask::Selecting(Ipv4Addr::from(0x0a00_0100 + n)), &hour);
        }
    });
    let all = PastFilter::default();
    let one = PastFilter { address: Some(ip("10.0.1.0")), ..PastFilter::default() };
    let (first, first_one) = (whole_past(&file.path(), &all), whole_past(&file.path(), &one));
    assert!(first.len() > 1000 && first_one.len() > 1, "more than a page, more than one holder");
    let mut keeper = keeper(&file);
    keeper.fold_step().unwrap();
    assert_eq!(whole_past(&file.path(), &all), first);
    keeper.finish().unwrap();
    assert_eq!(whole_past(&file.path(), &all), first);
    assert_eq!(whole_past(&file.path(), &one), first_one);
}

#[test]
fn past_names_exactly_who_held_an_address_at_a_time() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    let address = ip("10.0.0.150");
    let start = Timestamp(present(&file).0 - 10_000);
    engine.ask_at(start, 1, Ask::Selecting(address));
    engine.at(start.plus(100), |m| m.free(address));
    engine.ask_at(start.plus(100), 2, Ask::Selecting(address));
    let skew = Reader::open(&file.path()).unwrap().times;
    let held = |after: u32| {
        let at = skew.wall(start.plus(after));
        let filter = PastFilter { address: Some(address), at, ..PastFilter::default() };
        let found = whole_past(&file.path(), &filter).into_iter();
        found.map(|interval| (interval.mac, interval.ended)).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let (one, two) = (client(1).hardware.to_string(), client(2).hardware.to_string());
        assert_eq!(held(0), [(one.clone(), "released".to_owned())]);
        assert_eq!(held(99), [(one, "released".to_owned())]);
        assert_eq!(held(100), [(two.clone(), "expired".to_owned())], "ran out, though nobody wrote so");
        assert_eq!(held(3699), [(two, "expired".to_owned())]);
        assert_eq!(held(3700), []);
        keeper(&file).finish().unwrap();
    }
}

#[test]
fn file_of_an_earlier_boot_is_read_by_the_clock_that_the_next_start_will_fix() {
    let file = File::new();
    let mut engine = file.manager(&topology(), Offers::private());
    let soon = Timestamp(present(&file).0 - 10);
    let address = engine.lease(soon, 1);
    drop(engine);
    file.foreign()
        .execute_batch(
            "UPDATE meta SET value = 'another' WHERE key = 'boot_id'; UPDATE meta SET value = 1 WHERE key = 'clock_offset'",
        )
        .unwrap();
    let reader = Reader::open(&file.path()).unwrap();
    assert!(reader.times.now >= soon, "not the beginning of 1970");
    assert_eq!(reader.lease(address).unwrap().unwrap().lease.state_at(reader.times.now), LeaseState::Active);
    drop(reader);
    prepare_if_needed(&file.path(), crate::config::model::Durability::Process).unwrap();
    assert!(present(&file) >= soon, "fixed");
}
