//! `GET /metrics`: all metrics in Prometheus text format, as of the last snapshot.

use std::sync::Arc;

use axum::extract;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::openapi::{Operation, Routes};
use super::{State, problem};
use crate::stats::exposition;

/// Adds the routes of this file.
pub fn routes(routes: Routes) -> Routes {
    let text = serde_json::json!({"type": "string"});
    let show_metrics = Operation::get("/metrics", "figures", "All metrics in Prometheus text format")
        .answers_with(200, exposition::CONTENT_TYPE, text, "The metrics.");
    routes.add(show_metrics, show)
}

/// Answers `GET /metrics`.
pub async fn show(extract::State(state): extract::State<Arc<State>>) -> Response {
    match exposition::text(&state.collector.latest()) {
        Ok(text) => ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        Err(error) => problem::response(500, "Metrics not written", &error.to_string()),
    }
}
