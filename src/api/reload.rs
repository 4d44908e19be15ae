//! `POST /v1/reload`: asks main to read the configuration anew and hands its verdict to the caller. Patches wait for
//! theirs in the same queue.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{self, Request};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::State;
use super::openapi::{Operation, Routes};
use super::problem::Problem;
use super::query::Query;
use crate::workers::Word;

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

/// Why there will be no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoVerdict(pub String);

type Tell = dyn Fn(&Word) -> io::Result<()> + Send + Sync;

/// Requests that wait for main's verdict, oldest first: main answers each question once, in order.
pub struct Reloads {
    tell: Box<Tell>,
    waiting: Mutex<VecDeque<oneshot::Sender<Verdict>>>,
}

impl std::fmt::Debug for Reloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloads").finish_non_exhaustive()
    }
}

impl Reloads {
    /// `tell` says a word to main.
    pub fn new(tell: impl Fn(&Word) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { tell: Box::new(tell), waiting: Mutex::default() }
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

    /// Asks main, and waits for what it says. Errors: it could not be asked, or is leaving.
    pub async fn ask(&self, question: &Word) -> Result<Verdict, NoVerdict> {
        let receiver = self.question(question);
        let receiver = receiver.map_err(|error| NoVerdict(format!("could not ask main: {error}")))?;
        receiver.await.map_err(|_| NoVerdict("the daemon is stopping".to_owned()))
    }

    fn question(&self, question: &Word) -> io::Result<oneshot::Receiver<Verdict>> {
        let (sender, receiver) = oneshot::channel();
        // Told under the lock, so that the answers come in the order of the queue; what was not told gets none.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        (self.tell)(question)?;
        waiting.push_back(sender);
        Ok(receiver)
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
        .fails(503, "The daemon is stopping, or has too much to do.");
    routes.add(reload, run)
}

/// Answers `POST /v1/reload`.
pub async fn run(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
) -> Result<Json<Applied>, Problem> {
    Query::read(request.uri().query(), &[])?;
    log::debug!("reload asked for");
    match state.reloads.ask(&Word::Reload).await {
        Ok(Ok(message)) => Ok(Json(Applied { applied: true, message })),
        Ok(Err(reason)) => Err(refusal(&reason)),
        Err(NoVerdict(reason)) => Err(no_verdict(&reason)),
    }
}

/// The answer where main says nothing.
pub(super) fn no_verdict(reason: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason).of_kind("No verdict")
}

/// Main's refusal: its words as they are, and each reason by itself.
pub(super) fn refusal(reason: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reason)
        .of_kind("Configuration refused")
        .with("errors", reasons(reason))
}

/// Main's words are those that the commands print: a reason begins at the margin; its line of the file and its hint stand
/// below it, further in.
fn reasons(text: &str) -> Vec<Value> {
    let mut reasons: Vec<Map<String, Value>> = Vec::new();
    for line in text.lines() {
        let hint = line.trim_start().strip_prefix("hint: ");
        let last = reasons.last_mut();
        match (hint, last) {
            (Some(hint), Some(last)) => {
                last.insert("hint".to_owned(), hint.into());
            }
            (None, Some(last)) if line.starts_with(' ') => {
                last.insert("text".to_owned(), line.trim().into());
            }
            _ if line.is_empty() => (),
            _ => reasons.push(Map::from_iter([("detail".to_owned(), line.into())])),
        }
    }
    reasons.into_iter().map(Value::from).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_reason_of_a_refusal_stands_by_itself() {
        let text = "a.yaml:4: tcp.prot: unknown key\n    4 | prot: 1\n  hint: did you mean port?\n--set x: no value\nhint: write one";
        let expected = json!([
            {"detail": "a.yaml:4: tcp.prot: unknown key", "text": "4 | prot: 1", "hint": "did you mean port?"},
            {"detail": "--set x: no value", "hint": "write one"},
        ]);
        assert_eq!(Value::from(reasons(text)), expected);
    }

    #[test]
    fn a_question_that_main_did_not_get_waits_for_no_answer() {
        let reloads = Reloads::new(|_| Err(io::ErrorKind::WouldBlock.into()));
        assert!(reloads.question(&Word::Reload).is_err());
        assert!(!reloads.are_awaited());
    }
}
