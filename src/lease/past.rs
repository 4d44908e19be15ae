//! Who held which address, from when to when, and how it ended: `lease_history` and what the keeper has not folded into
//! it yet. Reads only, a page at a time; one address is a look-up by the primary key.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::reader::{Reader, colons, meta};
use super::rows::{clean, decode, signed};
use super::schema::lease_columns;
use super::store::{RowRef, StoreError};
use super::types::{LeaseEvent, LeaseState, Timestamp};
use super::when::Times;

/// Which intervals; each condition that is there must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PastFilter {
    /// Of this address.
    pub address: Option<Ipv4Addr>,
    /// Of this hardware address, colons between the bytes; the case does not matter.
    pub mac: Option<String>,
    /// That this moment lies in, in seconds since 1970 on the wall clock.
    pub at: Option<i64>,
    /// Only what comes after this place: the next page.
    pub after: Option<Place>,
    /// At most so many on a page; none: as many as are good to read at once.
    pub rows: Option<usize>,
}

/// A place in the history, which is in the order of addresses, then of grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    address: u32,
    grant: i64,
}

impl Place {
    /// Behind what was granted by this row of the log.
    pub fn of(address: Ipv4Addr, grant: u64) -> Self {
        Self { address: u32::from(address), grant: signed(grant) }
    }

    /// The row of the log by which it was granted.
    pub fn grant(self) -> u64 {
        u64::try_from(self.grant).unwrap_or(0)
    }
}

/// Somebody held an address without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// The address.
    pub address: Ipv4Addr,
    /// Hardware address with colons.
    pub mac: String,
    /// Client-id, hex with colons; empty if it sent none.
    pub client_id: String,
    /// Host name, clean text; empty if it sent none.
    pub hostname: String,
    /// Subnet.
    pub subnet: String,
    /// Pool.
    pub pool: String,
    /// From.
    pub starts: Timestamp,
    /// Until, exclusive; for one that lasts: until when it will.
    pub ends: Timestamp,
    /// `active` while it lasts, else how it ended: `expired`, `released`, `reassigned`, `declined`, `conflict`, `deleted`.
    pub ended: String,
}

/// One page of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The intervals, by address and time.
    pub intervals: Vec<Interval>,
    /// The clock that they are of.
    pub times: Times,
    /// Where the next page begins; none: this was the last one.
    pub next: Option<Place>,
}

/// Rows of the history looked at for one page, unless told otherwise.
const PAGE_ROWS: usize = 1000;

/// Reads the next page.
pub fn past(path: &Path, filter: &PastFilter) -> Result<Page, StoreError> {
    let reader = Reader::open(path)?;
    let read = || {
        let mut found = folded(&reader.connection, filter)?;
        // A full page ends at its last row; what is not folded yet and lies behind it is for the next one.
        let mut next =
            found.last_key_value().map(|(place, _)| *place).filter(|_| found.len() == filter.most());
        let tail = Tail::read(&reader.connection, filter)?;
        found.extend(tail.opened.into_iter().filter(|(place, _)| next.is_none_or(|last| *place <= last)));
        for (place, (how, ends)) in tail.endings {
            if let Some(interval) = found.get_mut(&place) {
                how.clone_into(&mut interval.ended);
                interval.ends = ends;
            }
        }
        // What is not folded yet may be more than a page.
        if let Some(beyond) = found.keys().nth(filter.most()).copied() {
            found.split_off(&beyond);
            next = found.last_key_value().map(|(place, _)| *place);
        }
        Ok((found, next))
    };
    let (found, next) = read().map_err(|error| reader.error(error))?;
    let times = reader.times;
    let intervals = found.into_values().map(|mut interval| {
        if interval.ended == ACTIVE && interval.ends < times.now {
            LeaseEvent::Expired.name().clone_into(&mut interval.ended);
        }
        interval
    });
    let intervals = intervals.filter(|interval| filter.admits(interval, times)).collect();
    Ok(Page { intervals, times, next })
}

const ACTIVE: &str = "active";

impl PastFilter {
    fn admits(&self, interval: &Interval, times: Times) -> bool {
        let at = self.at.map(|wall| times.at(wall));
        self.mac.as_ref().is_none_or(|mac| mac.eq_ignore_ascii_case(&interval.mac))
            && at.is_none_or(|at| interval.starts <= at && at < interval.ends)
    }

    fn most(&self) -> usize {
        self.rows.unwrap_or(PAGE_ROWS).max(1)
    }

    fn addresses(&self) -> (u32, u32) {
        let first = self.after.map_or(0, |place| place.address);
        self.address.map_or((first, u32::MAX), |address| (u32::from(address), u32::from(address)))
    }

    /// Before the first row.
    fn place(&self) -> Place {
        self.after.unwrap_or(Place { address: self.addresses().0, grant: -1 })
    }
}

fn folded(connection: &Connection, filter: &PastFilter) -> rusqlite::Result<BTreeMap<Place, Interval>> {
    let mut statement = connection.prepare(
        "SELECT address, grant_seq, mac, client_id, hostname, subnet, pool, starts, ends, ended FROM lease_history \
         WHERE (address, grant_seq) > (?1, ?2) AND address <= ?3 ORDER BY address, grant_seq LIMIT ?4",
    )?;
    let (place, (_, last)) = (filter.place(), filter.addresses());
    let rows = statement.query_map(
        params![place.address, place.grant, last, signed(filter.most() as u64)],
        |row| {
            let place = Place { address: row.get(0)?, grant: row.get(1)? };
            let bytes = |column| row.get::<_, Option<Vec<u8>>>(column).map(Option::unwrap_or_default);
            let time =
                |column| row.get::<_, i64>(column).map(|secs| Timestamp(u64::try_from(secs).unwrap_or(0)));
            let interval = Interval {
                address: Ipv4Addr::from(place.address),
                mac: colons(&bytes(2)?),
                client_id: colons(&bytes(3)?),
                hostname: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
                subnet: row.get(5)?,
                pool: row.get(6)?,
                starts: time(7)?,
                ends: time(8)?,
                ended: row.get(9)?,
            };
            Ok((place, interval))
        },
    )?;
    rows.collect()
}

/// What the unfolded end of the log makes of the history, by the same rules as the keeper's folding.
#[derive(Debug, Default)]
struct Tail {
    opened: BTreeMap<Place, Interval>,
    endings: BTreeMap<Place, (&'static str, Timestamp)>,
}

/// What is known of an address.
#[derive(Debug, Clone, Copy)]
struct Current {
    seq: u64,
    grant: Option<i64>,
    active: bool,
    expires: Timestamp,
}

impl Tail {
    fn read(connection: &Connection, filter: &PastFilter) -> rusqlite::Result<Self> {
        let sql = concat!(
            "SELECT seq, at, event, ",
            lease_columns!(),
            " FROM lease_log WHERE seq > ?1 AND address BETWEEN ?2 AND ?3 ORDER BY seq"
        );
        let mut log = connection.prepare(sql)?;
        let mut before =
            connection.prepare("SELECT seq, grant_seq, state = 0, expires FROM leases WHERE address = ?1")?;
        let (first, last) = filter.addresses();
        let mut rows = log.query(params![meta(connection, "folded_to")?, first, last])?;
        let mut tail = Self::default();
        let mut current: HashMap<u32, Option<Current>> = HashMap::new();
        while let Some(row) = rows.next()? {
            let row = decode(row)?;
            let address = u32::from(row.address);
            let known = match current.get(&address) {
                Some(known) => *known,
                None => before.query_row([address], Current::decode).optional()?,
            };
            // Slices of an unfinished plan are folded already.
            let next =
                if known.is_some_and(|known| row.seq <= known.seq) { known } else { tail.apply(known, &row) };
            current.insert(address, next);
        }
        let place = filter.place();
        tail.opened.retain(|opened, _| *opened > place);
        Ok(tail)
    }

    fn apply(&mut self, current: Option<Current>, row: &RowRef<'_>) -> Option<Current> {
        let address = u32::from(row.address);
        let open = current.filter(|current| current.active);
        let mut grant = current.and_then(|current| current.grant);
        let mut end = |how: &'static str, ends: Timestamp| {
            if let Some(grant) = open.and_then(|open| open.grant) {
                self.endings.insert(Place { address, grant }, (how, ends));
            }
        };
        match row.event {
            LeaseEvent::Renewed if open.is_some_and(|open| open.grant.is_some()) => end(ACTIVE, row.expires),
            LeaseEvent::Granted | LeaseEvent::Renewed => {
                match open {
                    Some(open) if open.expires <= row.at => end(LeaseEvent::Expired.name(), open.expires),
                    Some(_) => end("reassigned", row.at),
                    None => {}
                }
                let place = Place { address, grant: signed(row.seq) };
                self.opened.insert(place, opened(row));
                grant = Some(place.grant);
            }
            LeaseEvent::Expired => end(LeaseEvent::Expired.name(), row.expires),
            LeaseEvent::Released | LeaseEvent::Declined | LeaseEvent::Conflict | LeaseEvent::Deleted => {
                end(row.event.name(), row.at);
            }
            LeaseEvent::Recovered => grant = None,
        }
        (row.event != LeaseEvent::Deleted).then_some(Current {
            seq: row.seq,
            grant,
            active: row.state == LeaseState::Active,
            expires: row.expires,
        })
    }
}

impl Current {
    fn decode(row: &Row<'_>) -> rusqlite::Result<Self> {
        let number = |column| row.get::<_, i64>(column).map(|value| u64::try_from(value).unwrap_or(0));
        Ok(Self { seq: number(0)?, grant: row.get(1)?, active: row.get(2)?, expires: Timestamp(number(3)?) })
    }
}

fn opened(row: &RowRef<'_>) -> Interval {
    Interval {
        address: row.address,
        mac: colons(row.client.hardware.bytes()),
        client_id: row.client.client_id.map(colons).unwrap_or_default(),
        hostname: row.client.hostname.map(|name| clean(name).into_owned()).unwrap_or_default(),
        subnet: row.subnet.to_owned(),
        pool: row.pool.to_owned(),
        starts: row.starts,
        ends: row.expires,
        ended: ACTIVE.to_owned(),
    }
}
