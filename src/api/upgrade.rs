//! `POST /v1/upgrade`: asks main to execute the program on disk in its own place, and hands its verdict to the caller.
//!
//! The question says nothing else: which program that is, main alone knows.

use std::sync::Arc;

use axum::Json;
use axum::extract::{self, Request};
use axum::http::StatusCode;

use super::State;
use super::openapi::{Operation, Routes};
use super::problem::Problem;
use super::query::Query;
use super::reload::{Applied, NoVerdict, no_verdict};
use crate::workers::Word;

/// Adds the routes of this file.
pub fn routes(routes: Routes) -> Routes {
    let upgrade = Operation::post("/v1/upgrade", "process", "Upgrade in place")
        .describes(
            "Executes the program on disk in the place of the one that runs, with the same sockets, counters and PID. The configuration is read anew. The answer waits for the verdict.",
        )
        .answers::<Applied>(200, "The program on disk runs, with its own workers.")
        .fails(422, "It could not; the program that ran before goes on serving.")
        .fails(503, "The daemon is stopping, or has too much to do.");
    routes.add(upgrade, run)
}

/// Answers `POST /v1/upgrade`.
pub async fn run(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
) -> Result<Json<Applied>, Problem> {
    Query::read(request.uri().query(), &[])?;
    log::debug!("upgrade asked for");
    match state.reloads.ask(&Word::Upgrade).await {
        Ok(Ok(message)) => Ok(Json(Applied { applied: true, message })),
        Ok(Err(reason)) => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &reason).of_kind("Upgrade failed"))
        }
        Err(NoVerdict(reason)) => Err(no_verdict(&reason)),
    }
}
