//! `GET /v1/explain`: what a client would get and why, with the running daemon's configuration and all that it knows: the leases,
//! the offers, who uses free addresses. Changes nothing: the dry run works on copies.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{self, RawQuery};
use axum::http::StatusCode;

use super::State;
use super::desk::{READ_WITHIN, store_problem};
use super::openapi::{Operation, Routes};
use super::problem::Problem;
use super::query::{Kind, Parameter, Query, wrong};
use crate::dhcp::explain::Explanation;
use crate::dhcp::{DryRunError, Knowledge, Question, dry_run, question};
use crate::lease::{Offers, Probes};
use crate::stats::Shared;
use crate::workers::regions::Region;

const MAC: &str = "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){0,15}$";

const PARAMETERS: &[Parameter] = &[
    Parameter::new("mac", Kind::Pattern(MAC), "The client's hardware address.").required(),
    Parameter::new("relay", Kind::Ipv4, "The relay (giaddr) that it comes through."),
    Parameter::new(
        "interface",
        Kind::Text,
        "The interface that it is heard on; else the first that is served.",
    ),
    Parameter::new(
        "option",
        Kind::Pattern("^[^=]+="),
        "An option that it sends, by number or name: `60=PXEClient`, `61=0x01aabb`, `host-name=box`.",
    )
    .repeated(),
];

/// Adds the routes of this file.
pub fn routes(routes: Routes) -> Routes {
    let explain = Operation::get("/v1/explain", "leases", "What a client would get, and why")
        .describes("A dry run of a DISCOVER, like the command `explain`, with what the running daemon knows.")
        .query(PARAMETERS)
        .answers::<Explanation>(200, "What became of it.")
        .fails(409, "DHCP is off, or no interface is served.")
        .fails(503, "The lease file cannot be read now.")
        .fails(504, "The lease file could not be read in time.");
    routes.add(explain, show)
}

async fn show(
    extract::State(state): extract::State<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Explanation>, Problem> {
    let query = Query::read(query.as_deref(), PARAMETERS)?;
    let question = Question {
        mac: read(&query, "mac", question::mac)?
            .ok_or_else(|| Problem::bad_request("the parameter mac is missing"))?,
        relay: query.parse("relay")?,
        interface: query.text("interface").map(str::to_owned),
        options: query
            .all("option")
            .map(|text| {
                question::option(text).map_err(|why| wrong("option", text, &format!("cannot be used: {why}")))
            })
            .collect::<Result<_, _>>()?,
    };
    let (config, shared) = (Arc::clone(&state.config), state.shared);
    let served = state.served.clone();
    let named = question.interface.is_some();
    let work = move || copied(shared, |knowledge| dry_run(config, served, &question, knowledge));
    state.study.run(READ_WITHIN, work).await?.map(Json).map_err(|error| match error {
        DryRunError::Store(error) => store_problem(&error),
        DryRunError::NoInterface(_) if named => {
            Problem::bad_request(one_line(&error.to_string())).with("parameter", "interface")
        }
        DryRunError::Packet(_) => Problem::bad_request(error.to_string()),
        DryRunError::Off | DryRunError::NoInterface(_) => {
            Problem::new(StatusCode::CONFLICT, one_line(&error.to_string()))
        }
    })
}

fn read<T>(query: &Query, name: &str, read: fn(&str) -> Result<T, String>) -> Result<Option<T>, Problem> {
    let value = query.text(name);
    value
        .map(|text| read(text).map_err(|why| wrong(name, text, &format!("cannot be used: {why}"))))
        .transpose()
}

fn one_line(text: &str) -> String {
    text.replace('\n', "; ")
}

/// Memory for the copies; made once, since what is shared is never given back.
#[derive(Debug, Clone, Copy)]
struct Copies {
    offers: &'static [AtomicU64],
    probes: &'static [AtomicU64],
}

static COPIES: Mutex<Option<Copies>> = Mutex::new(None);

/// Does something with copies of what the daemon knows; one at a time.
fn copied<T>(shared: Shared, work: impl FnOnce(Knowledge) -> T) -> T {
    // What a panic left half-copied is copied anew.
    let mut place = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    let copies = place.get_or_insert_with(|| Copies {
        offers: empty(Region::Offers.words()),
        probes: empty(Region::Probes.words()),
    });
    let copy = |region: Region, to: &[AtomicU64]| {
        for (from, to) in region.of(shared).iter().zip(to) {
            to.store(from.load(Relaxed), Relaxed);
        }
    };
    copy(Region::Offers, copies.offers);
    copy(Region::Probes, copies.probes);
    work(Knowledge { offers: Offers::new(copies.offers), probes: Some(Probes::new(copies.probes)) })
}

fn empty(words: usize) -> &'static [AtomicU64] {
    let words: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(words).collect();
    Box::leak(words.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{ClientKey, Timestamp};
    use crate::workers::regions::WORDS;

    #[test]
    fn dry_run_sees_offers_and_makes_none() {
        let shared = Shared::create(WORDS).unwrap();
        let real = Offers::new(Region::Offers.of(shared));
        let (now, until) = (Timestamp(1000), Timestamp(1050));
        let (one, two) = (ClientKey::from_bytes(b"one"), ClientKey::from_bytes(b"two"));
        let address = std::net::Ipv4Addr::LOCALHOST;
        assert!(real.claim(address, &one, until, now));
        copied(shared, |knowledge| {
            assert!(!knowledge.offers.claim(address, &two, until, now));
            assert!(knowledge.offers.claim([10, 0, 0, 1].into(), &two, until, now));
        });
        assert!(real.claim([10, 0, 0, 1].into(), &one, until, now), "still free");
    }
}
