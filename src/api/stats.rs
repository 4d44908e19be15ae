//! `GET /v1/stats`: all figures as JSON, as of the last snapshot. What stands where is said in the metric tables
//! ([`crate::stats::document()`]); docs/metrics.md lists it.

use std::sync::Arc;

use axum::Json;
use axum::extract;
use serde_json::Value;

use super::State;
use crate::stats::document::document;

/// Answers `GET /v1/stats`.
pub async fn show(extract::State(state): extract::State<Arc<State>>) -> Json<Value> {
    Json(document(&state.collector.latest()))
}
