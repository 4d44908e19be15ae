//! `GET /v1/stats`: all figures as JSON, as of the last snapshot. What stands where is said in the metric tables
//! ([`crate::stats::document()`]); docs/metrics.md lists it.

use std::sync::Arc;

use axum::Json;
use axum::extract;
use serde_json::Value;

use super::State;
use super::openapi::{Operation, Routes};
use crate::stats::document::{document, schema};

/// Adds the routes of this file.
pub fn routes(routes: Routes) -> Routes {
    let show_stats = Operation::get("/v1/stats", "figures", "All figures of the last second").answers_with(
        200,
        "application/json",
        schema(),
        "The figures.",
    );
    routes.add(show_stats, show)
}

/// Answers `GET /v1/stats`.
pub async fn show(extract::State(state): extract::State<Arc<State>>) -> Json<Value> {
    Json(document(&state.collector.latest()))
}
