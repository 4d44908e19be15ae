//! `GET /v1/leases/{ip}`: all that is known of the lease of one address, current or last.

use std::sync::Arc;

use axum::Json;
use axum::extract::{self, RawQuery};

use super::super::State;
use super::super::desk::{READ_WITHIN, is_missing, store_problem};
use super::super::openapi::{Operation, Routes};
use super::super::problem::Problem;
use super::super::query::Query;
use super::{Ip, address, never_leased, of_an_address};
use crate::lease::{LeaseView, Reader, Times};

pub(super) fn routes(routes: Routes) -> Routes {
    let one = Operation::get("/v1/leases/{ip}", "leases", "The lease of an address")
        .describes("The current one, or the last.")
        .answers::<LeaseView>(200, "The lease.")
        .fails(503, super::UNREADABLE)
        .fails(504, "The lease file could not be read in time.");
    routes.add(of_an_address(one), show)
}

async fn show(
    extract::State(state): extract::State<Arc<State>>,
    path: Ip,
    RawQuery(query): RawQuery,
) -> Result<Json<LeaseView>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let address = address(path)?;
    let config = Arc::clone(&state.config);
    let look = move || {
        let reader = Reader::open(&config.dhcp.store.path)?;
        let lease = reader.lease(address)?;
        Ok(lease.map(|lease| LeaseView::new(&lease, reader.times, Times::utc)))
    };
    match state.desk.run(READ_WITHIN, look).await? {
        Ok(Some(lease)) => Ok(Json(lease)),
        Ok(None) => Err(never_leased(address)),
        Err(error) if is_missing(&state.config, &error) => Err(never_leased(address)),
        Err(error) => Err(store_problem(&error)),
    }
}
