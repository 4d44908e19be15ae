//! `/v1/config`: the configuration in force, as it was said and where, and its change.
//!
//! | path | what it does |
//! |---|---|
//! | `GET /v1/config` | the configuration as a JSON object keyed as in the file, with an entity tag |
//! | `PATCH /v1/config` | a merge patch (RFC 7396) for main to check and apply (`patch`) |
//! | `GET /v1/config/origins` | where each value was said |
//! | `GET /v1/config/overlay` | what the API has set |
//! | `GET /v1/config/schema` | the JSON Schema of a configuration file |
//! | `POST /v1/config/check` | says what would be wrong with a configuration (`check`) |

mod check;
mod patch;
mod tag;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{self, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::State;
use super::openapi::{Operation, Routes};
use super::problem::Problem;
use super::query::Query;
use crate::config::{self, Place};
use crate::protocol::options;

/// The media type of a JSON Schema.
const SCHEMA: &str = "application/schema+json";

/// Adds the routes of this file.
pub fn routes(routes: Routes) -> Routes {
    let document =
        json!({"type": "object", "description": "Keyed as a configuration file (docs/configuration.md)."});
    let show_config = Operation::get("/v1/config", "configuration", "The configuration in force")
        .describes(
            "All sources merged: what `PATCH` changes. Its `ETag` goes into the `If-Match` of a `PATCH`.",
        )
        .heeds("If-None-Match", tag::PATTERN, "Entity tags that the client has already (RFC 9110 §13.1.2).")
        .answers_with(200, "application/json", document, "The configuration.")
        .with_field(200, "ETag", "Its entity tag; changes whenever a value does.")
        .answers_nothing(304, "The client has it already.")
        .with_field(304, "ETag", "Its entity tag.");
    let origin = json!({
        "type": "object",
        "required": ["source"],
        "properties": {
            "source": {"type": "string", "enum": ["file", "environment", "set", "api", "default"]},
            "file": {"type": "string"},
            "line": {"type": ["integer", "null"]},
            "column": {"type": ["integer", "null"]},
            "variable": {"type": "string"},
            "index": {"type": "integer"},
            "flag": {"type": "string"},
        },
    });
    let all = json!({"type": "object", "additionalProperties": origin});
    let show_origins = Operation::get("/v1/config/origins", "configuration", "Where each value was said")
        .answers_with(200, "application/json", all, "The origin of each value by its dotted key.");
    let set = json!({"type": "object", "description": "Keyed as a configuration file."});
    let show_overlay = Operation::get("/v1/config/overlay", "configuration", "What the API has set")
        .describes("The values of every `PATCH` so far. A patch with `null` takes one of them back.")
        .answers_with(200, "application/json", set, "The values.");
    let schema_of_file =
        Operation::get("/v1/config/schema", "configuration", "The JSON Schema of a configuration file")
            .describes("For editors; what `config schema` prints.")
            .answers_with(200, SCHEMA, json!({"type": "object"}), "The schema.");
    let routes = routes
        .add(schema_of_file, schema)
        .add(show_config, show)
        .add(show_origins, origins)
        .add(show_overlay, overlay);
    check::routes(patch::routes(routes))
}

/// Answers `GET /v1/config`.
pub async fn show(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri().query(), &[])?;
    let own = tag::quoted(&state.loaded.effective.tag());
    let fields = [(header::ETAG, own.clone())];
    if tag::lists(request.headers(), header::IF_NONE_MATCH)?.is_some_and(|tags| tags.name_weakly(&own)) {
        return Ok((StatusCode::NOT_MODIFIED, fields).into_response());
    }
    Ok((fields, Json(&state.loaded.effective.values)).into_response())
}

/// Answers `GET /v1/config/origins`.
pub async fn origins(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
) -> Result<Json<BTreeMap<String, Place>>, Problem> {
    Query::read(request.uri().query(), &[])?;
    Ok(Json(state.loaded.effective.origins.clone()))
}

/// Answers `GET /v1/config/overlay`.
pub async fn overlay(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri().query(), &[])?;
    Ok(Json(state.loaded.overlay.values()).into_response())
}

/// Answers `GET /v1/config/schema`.
pub async fn schema(request: Request) -> Result<Response, Problem> {
    Query::read(request.uri().query(), &[])?;
    let schema = config::schema(options::schema::definitions());
    Ok(([(header::CONTENT_TYPE, SCHEMA)], schema.to_string()).into_response())
}
