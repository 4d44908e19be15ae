//! `POST /v1/reload`: asks main to read the configuration anew and hands its verdict to the caller.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::openapi::{Operation, Routes};
use super::{State, problem};

/// A configuration that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// Always true; a refusal is a problem document.
    pub applied: bool,
    /// What main says of it.
    pub message: String,
}

/// Main's verdict: its words, or the reason of the refusal.
pub type Verdict = Result<String, String>;

/// Requests that wait for main's verdict, oldest first: main answers each question once, in order.
pub struct Reloads {
    ask: Box<dyn Fn() + Send + Sync>,
    waiting: Mutex<VecDeque<oneshot::Sender<Verdict>>>,
}

impl std::fmt::Debug for Reloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloads").finish_non_exhaustive()
    }
}

impl Reloads {
    /// `ask` says to main that a reload is wanted.
    pub fn new(ask: impl Fn() + Send + Sync + 'static) -> Self {
        Self { ask: Box::new(ask), waiting: Mutex::default() }
    }

    /// Main has answered.
    pub fn answer(&self, verdict: Verdict) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(waiting) = waiting {
            // A caller that has left needs no answer.
            let _ = waiting.send(verdict);
        }
    }

    /// Whether a caller waits for a verdict.
    pub fn are_awaited(&self) -> bool {
        !self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn ask(&self) -> oneshot::Receiver<Verdict> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(sender);
        (self.ask)();
        receiver
    }
}

/// Adds the routes of this file.
pub fn routes(routes: Routes) -> Routes {
    let reload = Operation::post("/v1/reload", "configuration", "Read the configuration anew")
        .describes(
            "All or nothing: what does not check out changes nothing. The answer waits for the verdict.",
        )
        .answers::<Applied>(200, "It is in force.")
        .fails(422, "The configuration is refused; the former one stays in force.")
        .fails(503, "The daemon is stopping.");
    routes.add(reload, run)
}

/// Answers `POST /v1/reload`.
pub async fn run(extract::State(state): extract::State<Arc<State>>) -> Response {
    crate::event!(ApiRequest; "reload asked for");
    match state.reloads.ask().await {
        Ok(Ok(message)) => Json(Applied { applied: true, message }).into_response(),
        Ok(Err(reason)) => problem::response(422, "Configuration refused", &reason),
        Err(_) => problem::response(503, "No verdict", "the daemon is stopping"),
    }
}
