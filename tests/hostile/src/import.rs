//! A file of leases for `leases import`. The first byte chooses its format: CSV (Kea's has a header of its own) or JSON.

use std::sync::{Arc, LazyLock};

use echo_daemon::cli::leases::import::{Format, rows};
use echo_daemon::lease::draft::{self, Draft};
use echo_daemon::lease::transfer::{self, COLUMNS};
use echo_daemon::lease::{
    Access, EngineSettings, LeaseManager, Offers, Recorded, Times, Timestamp, Topology,
};
use serde_json::{Map, Value};

use super::choice;
use super::store::MemoryStore;
use super::world::WORLD;

static TOPOLOGY: LazyLock<Arc<Topology>> = LazyLock::new(|| Topology::new(&WORLD));
/// An import asks of offers only whether there are any.
static OFFERS: LazyLock<Offers> = LazyLock::new(Offers::private);
const TIMES: Times = Times { now: Timestamp(1_795_258_800), skew_secs: 0 };
/// Far longer files are only slower.
const LONGEST: usize = 64 * 1024;

/// See the top of this file.
pub fn run(data: &[u8]) {
    let Some((how, bytes)) = choice(data) else { return };
    if bytes.len() > LONGEST {
        return;
    }
    let format = if how & 1 == 0 { Format::Csv } else { Format::Json };
    let drafts: Vec<Draft> = match rows(format, bytes) {
        Ok(drafts) => drafts.collect(),
        Err(reason) => {
            assert!(!reason.is_empty());
            return;
        }
    };
    let count = drafts.len();
    let understood = match draft::understand(&WORLD, drafts, TIMES) {
        Ok(rows) => rows,
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for (place, flaw) in &mistakes {
                assert!(*place >= 1, "a mistake has a place: {flaw:?}");
                assert!(!flaw.reason.is_empty());
            }
            return;
        }
    };
    assert_eq!(understood.len(), count);
    let store = MemoryStore::default();
    let leases: Vec<Recorded> = understood.iter().map(|row| row.recorded.clone()).collect();
    let settings = EngineSettings::new(&WORLD);
    let mut engine =
        LeaseManager::open(Arc::clone(&TOPOLOGY), settings.clone(), store.clone(), *OFFERS).unwrap();
    engine.begin(Access::Write, TIMES.now).unwrap();
    match engine.import(understood, format.word()) {
        Err(refusals) => {
            assert!(!refusals.is_empty() && refusals.iter().all(|(place, _)| *place >= 1));
            engine.abort();
            assert!(store.log().is_empty(), "all or nothing");
        }
        Ok(done) => {
            assert_eq!((done.new, done.updated, done.unchanged), (count, 0, 0));
            engine.commit().unwrap();
            assert_eq!(store.log().len(), count);
            exported(&leases, &engine, &settings);
        }
    }
}

/// What was imported is exported, and that is imported elsewhere as the same leases.
fn exported(leases: &[Recorded], engine: &LeaseManager<MemoryStore>, settings: &EngineSettings) {
    let held = leases.iter().filter_map(|recorded| {
        let lease = engine.lease_at(recorded.lease.address)?;
        Some(Recorded { lease, declines: recorded.declines })
    });
    let held: Vec<Recorded> = held.collect();
    assert_eq!(held.len(), leases.len(), "each lease is there");
    let objects = held.iter().map(|recorded| {
        let cells = transfer::write(recorded, TIMES);
        let fields =
            COLUMNS.iter().zip(cells).map(|(column, cell)| ((*column).to_owned(), Value::from(cell)));
        Value::Object(fields.collect::<Map<_, _>>())
    });
    let text = Value::Array(objects.collect()).to_string();
    let drafts = rows(Format::Json, text.as_bytes()).expect("an export is a file of leases");
    let again = draft::understand(&WORLD, drafts, TIMES).unwrap_or_else(|flaws| panic!("{flaws:?}\n{text}"));
    let read: Vec<&Recorded> = again.iter().map(|row| &row.recorded).collect();
    assert_eq!(read, held.iter().collect::<Vec<_>>(), "{text}");
    let store = MemoryStore::default();
    let mut other = LeaseManager::open(Arc::clone(&TOPOLOGY), settings.clone(), store, *OFFERS).unwrap();
    other.begin(Access::Write, TIMES.now).unwrap();
    let done = other.import(again, "entry").unwrap_or_else(|refusals| panic!("{refusals:?}\n{text}"));
    assert_eq!(done.new, leases.len());
    other.abort();
}
