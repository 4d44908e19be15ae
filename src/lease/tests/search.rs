//! Finding leases by page, following the log, and what an administrator does through the daemon.

use super::sqlite::{File, topology};
use super::*;
use crate::config::model::HistoryLimits;
use crate::lease::search::Found;

fn ips(found: &Found) -> Vec<String> {
    found.leases.iter().map(|recorded| recorded.lease.address.to_string()).collect()
}

/// A file with 20 leases: half of them folded, half not, one ended since it was folded.
fn stocked() -> File {
    let file = File::new();
    let mut manager = file.manager(&topology(), Offers::private());
    let addresses: Vec<Ipv4Addr> = (0..10).map(|n| manager.lease(START, n)).collect();
    Keeper::open(
        &file.path(),
        topology(),
        HistoryLimits { keep: Duration::from_secs(86_400), max_size: 1 << 30 },
    )
    .unwrap()
    .finish()
    .unwrap();
    for n in 10..20 {
        manager.lease(START, n);
    }
    manager.begin(Access::Write, START).unwrap();
    assert!(matches!(manager.free(addresses[3]), Freed::Lease(_)));
    manager.commit().unwrap();
    file
}

#[test]
fn pages_together_are_all_leases_in_order_whatever_bounds_them() {
    let file = stocked();
    let reader = Reader::open(&file.path()).unwrap();
    let all = Search { limit: 1000, ..Search::default() }.run(&reader).unwrap();
    assert_eq!((all.leases.len(), all.next), (20, None));
    assert!(all.leases.windows(2).all(|two| two[0].lease.address < two[1].lease.address));
    for (limit, most) in [(1, 1000), (7, 1000), (20, 1000), (1000, 1), (1000, 6), (3, 5)] {
        let mut search = Search { limit, ..Search::default() };
        let mut seen = Vec::new();
        loop {
            let found = search.look(&reader, most).unwrap();
            assert!(found.leases.len() <= limit.min(most));
            seen.extend(ips(&found));
            match found.next {
                Some(next) => search.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, ips(&all), "{limit} {most}");
    }
}

#[test]
fn every_condition_narrows() {
    let file = stocked();
    let reader = Reader::open(&file.path()).unwrap();
    let count = |search: Search| search.run(&reader).unwrap().leases.len();
    let base = Search::default();
    assert_eq!(count(Search { state: Some(LeaseState::Released), ..base.clone() }), 1);
    assert_eq!(count(Search { subnet: Some("lan".into()), ..base.clone() }), 20);
    assert_eq!(count(Search { subnet: Some("other".into()), ..base.clone() }), 0);
    assert_eq!(count(Search { pool: Some("main".into()), ..base.clone() }), 20);
    let some = Search::default().run(&reader).unwrap().leases[4].clone();
    let mac = some.lease.client.hardware.bytes().to_vec();
    assert_eq!(count(Search { mac: Some(mac), ..base.clone() }), 1);
    let address = some.lease.address;
    assert_eq!(count(Search { addresses: (address, address), ..base.clone() }), 1);
    let above = Search { addresses: (address, Ipv4Addr::BROADCAST), after: Some(address), ..base.clone() };
    assert_eq!(count(above), 15);
    assert_eq!(count(Search { addresses: (Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST), ..base }), 20);
}

#[test]
fn follower_sees_each_row_once_and_knows_what_was_pruned() {
    let file = stocked();
    let mut follower = Follower::open(&file.path()).unwrap();
    assert!(follower.has_changed().unwrap() && !follower.has_changed().unwrap());
    let newest = follower.newest().unwrap();
    assert_eq!(newest, 21);
    let stretch = follower.after(0, 5).unwrap();
    let numbers: Vec<u64> = stretch.rows.iter().map(|row| row.seq).collect();
    assert_eq!((stretch.missed, numbers), (0, vec![1, 2, 3, 4, 5]));
    assert_eq!(follower.after(newest, 5).unwrap(), crate::lease::follow::Stretch::default());
    file.manager(&topology(), Offers::private()).lease(START, 30);
    assert!(follower.has_changed().unwrap());
    let stretch = follower.after(newest, 5).unwrap();
    assert_eq!((stretch.rows[0].seq, stretch.rows[0].event), (22, LeaseEvent::Granted));
    file.foreign().execute("DELETE FROM lease_log WHERE seq <= 8", []).unwrap();
    assert_eq!(follower.after(3, 5).unwrap().missed, 5);
}

/// All pages from the first to the last, with whatever happens between two of them.
fn paged(file: &File, limit: usize, mut between: impl FnMut(usize)) -> Vec<String> {
    let mut search = Search { limit, ..Search::default() };
    let mut reader = Reader::open(&file.path()).unwrap();
    let mut seen = Vec::new();
    for page in 0.. {
        let found = search.run(&reader).unwrap();
        seen.extend(ips(&found));
        let Some(next) = found.next else { break };
        let bookmark = reader.close();
        between(page);
        search.after = Some(next);
        reader = Reader::reopen(&file.path(), bookmark).unwrap();
    }
    seen
}

#[test]
fn list_goes_on_behind_its_bookmark_whatever_was_written_or_folded_meanwhile() {
    let file = stocked();
    let before = paged(&file, 1000, |_| ());
    assert_eq!(paged(&file, 3, |_| ()), before);
    // Another lease ends, one is new, the log is folded and its rows are gone: what lies behind is listed as it is now.
    let mut manager = file.manager(&topology(), Offers::private());
    let new = std::cell::Cell::new(ip("10.0.0.1"));
    let seen = paged(&file, 6, |page| {
        if page == 0 {
            let next: Vec<Ipv4Addr> = before[6..].iter().map(|text| ip(text)).collect();
            manager.begin(Access::Write, START).unwrap();
            assert!(matches!(manager.free(next[4]), Freed::Lease(_)));
            manager.commit().unwrap();
            new.set(manager.lease(START, 77));
            super::keeper::keeper(&file).finish().unwrap();
            file.foreign()
                .execute_batch("DELETE FROM lease_log; UPDATE meta SET value = 99 WHERE key = 'pruned_to'")
                .unwrap();
        }
    });
    let mut expected = before.clone();
    if new.get() > ip(&before[5]) {
        expected.push(new.get().to_string());
        expected.sort_by_key(|text| ip(text));
    }
    assert_eq!(seen, expected);
}

#[test]
fn bookmark_of_another_file_is_worth_nothing() {
    let (one, other) = (stocked(), File::new());
    let reader = Reader::open(&one.path()).unwrap();
    Search::default().run(&reader).unwrap();
    let reader = Reader::reopen(&other.path(), reader.close()).unwrap();
    assert_eq!(Search::default().run(&reader).unwrap().leases, []);
}
