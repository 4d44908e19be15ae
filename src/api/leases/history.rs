//! `GET /v1/leases/{ip}/history`: who held an address, from when to when, and how it ended.

use std::sync::Arc;

use axum::Json;
use axum::extract::{self, RawQuery};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::State;
use super::super::desk::{READ_WITHIN, is_missing, store_problem};
use super::super::openapi::{Operation, Routes};
use super::super::problem::Problem;
use super::super::query::{Kind, Parameter, Query, wrong};
use super::{Ip, address, of_an_address};
use crate::lease::past::{Interval, Page, PastFilter, Place, past};
use crate::lease::{Times, when};

/// One page of the history of an address.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HistoryPage {
    /// Who held it, the oldest first.
    intervals: Vec<HeldView>,
    /// The value of `after` for the next page; null: this is the last one.
    next: Option<String>,
}

/// Somebody held an address without a gap.
#[derive(Debug, Serialize, JsonSchema)]
struct HeldView {
    /// The address.
    ip: String,
    /// Hardware address with colons.
    mac: String,
    /// Client-id, hex with colons; empty if it sent none.
    client_id: String,
    /// Host name; empty if it sent none.
    hostname: String,
    /// Subnet.
    subnet: String,
    /// Pool.
    pool: String,
    /// From, RFC 3339 in UTC.
    starts: String,
    /// Until; for one that lasts: until when it will; `never`.
    ends: String,
    /// `active` while it lasts, else how it ended: `expired`, `released`, `reassigned`, `declined`, `conflict`, `deleted`.
    ended: String,
}

const PARAMETERS: &[Parameter] = &[
    Parameter::new(
        "at",
        Kind::Time,
        "Only who held it then: 2026-11-01T12:00:00Z; without Z in the daemon's local time.",
    ),
    Parameter::new("limit", Kind::Number { min: 1, max: 1000 }, "Intervals in an answer at most; else 100."),
    Parameter::new(
        "after",
        Kind::Number { min: 0, max: i64::MAX.unsigned_abs() },
        "Only later ones: the `next` of the page before.",
    ),
];

pub(super) fn routes(routes: Routes) -> Routes {
    let history = Operation::get("/v1/leases/{ip}/history", "leases", "Who held an address")
        .describes("The oldest first. An address that nobody ever held has an empty history.")
        .query(PARAMETERS)
        .answers::<HistoryPage>(200, "A page.")
        .fails(503, super::UNREADABLE)
        .fails(504, "The lease file could not be read in time.");
    routes.add(of_an_address(history), show)
}

async fn show(
    extract::State(state): extract::State<Arc<State>>,
    path: Ip,
    RawQuery(query): RawQuery,
) -> Result<Json<HistoryPage>, Problem> {
    let query = Query::read(query.as_deref(), PARAMETERS)?;
    let address = address(path)?;
    let time = |text| {
        when::parse(text).ok_or_else(|| wrong("at", text, "is not a time such as 2026-11-01T12:00:00Z"))
    };
    let filter = PastFilter {
        address: Some(address),
        mac: None,
        at: query.text("at").map(time).transpose()?,
        after: query.parse("after")?.map(|grant| Place::of(address, grant)),
        rows: Some(query.parse("limit")?.unwrap_or(100)),
    };
    let config = Arc::clone(&state.config);
    let look = move || past(&config.dhcp.store.path, &filter);
    match state.desk.run(READ_WITHIN, look).await? {
        Ok(Page { intervals, times, next }) => Ok(Json(HistoryPage {
            intervals: intervals.into_iter().map(|interval| view(interval, times)).collect(),
            next: next.map(|place| place.grant().to_string()),
        })),
        Err(error) if is_missing(&state.config, &error) => {
            Ok(Json(HistoryPage { intervals: Vec::new(), next: None }))
        }
        Err(error) => Err(store_problem(&error)),
    }
}

fn view(held: Interval, times: Times) -> HeldView {
    HeldView {
        ip: held.address.to_string(),
        mac: held.mac,
        client_id: held.client_id,
        hostname: held.hostname,
        subnet: held.subnet,
        pool: held.pool,
        starts: times.utc(held.starts),
        ends: times.utc(held.ends),
        ended: held.ended,
    }
}
