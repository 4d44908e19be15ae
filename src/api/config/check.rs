//! `POST /v1/config/check`: a whole configuration in the body, checked by everything that checks one before it is
//! applied, as far as that needs no file and no socket. Changes nothing.
//!
//! The answer is 200 with a verdict, whatever the verdict: the request, which was to check, has been done. A body that
//! is not even the JSON that it says it is gets 400, as everywhere.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{self, Request};
use axum::http::{StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;

use super::super::openapi::{Operation, Routes};
use super::super::query::Query;
use super::super::{State, body};
use crate::api::problem::Problem;
use crate::config::{self, ConfigManager, Overlay, Place, Severity, Sources};
use crate::protocol::options;

/// Longest configuration, in bytes.
const TEXT_MAX_BYTES: usize = 1024 * 1024;
/// What a configuration may come as, and the ending of a file of that format. INI has no media type of its own.
const FORMATS: [(&str, &str); 4] = [
    ("application/yaml", "yaml"),
    ("application/json", "json"),
    ("text/plain", "ini"),
    ("application/x-yaml", "yaml"),
];
/// Checks at a time: one may take a while, and has a thread of its own.
static AT_WORK: Semaphore = Semaphore::const_new(1);

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Checked {
    /// Whether it could be applied.
    pub valid: bool,
    /// What keeps it from being applied; empty if it is valid.
    pub problems: Vec<Found>,
    /// What an operator should look at.
    pub warnings: Vec<Found>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Found {
    /// `error` or `warning`.
    pub severity: String,
    /// The dotted key; empty where it belongs to none.
    pub key: String,
    /// Line of the body, counted from 1.
    pub line: Option<usize>,
    /// Column in characters, counted from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<config::Problem> for Found {
    fn from(problem: config::Problem) -> Self {
        let (line, column) = match problem.place {
            Place::File { line, column, .. } => (line, column),
            _ => (None, None),
        };
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (key, reason, hint) = (problem.key, problem.reason, problem.hint);
        Self { severity: severity.to_owned(), key, line, column, reason, hint }
    }
}

pub(super) fn routes(routes: Routes) -> Routes {
    let document = json!({"type": "object", "example": {"logging": {"log_level": "DEBUG"}}});
    let text = json!({"type": "string", "description": "The text of a configuration file."});
    // Whatever YAML it is: the answer says what is wrong with it.
    let yaml = json!({"description": "A configuration file."});
    let operation = Operation::post("/v1/config/check", "configuration", "Say what is wrong with a configuration")
        .describes(
            "The body is a whole configuration; the media type tells its format: YAML, JSON, or INI as `text/plain`. \
             Nothing else counts: no environment, no `--set`, nothing that the API has set. Paths are judged by \
             their form; no file is opened. It is 200 whether it is valid or not; a body that is said to be JSON and is none gets 400.",
        )
        .takes("application/json", document)
        .takes("application/yaml", yaml)
        .takes("text/plain", text)
        .answers::<Checked>(200, "The verdict.");
    routes.add(operation, run)
}

/// Answers `POST /v1/config/check`.
async fn run(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
) -> Result<Json<Checked>, Problem> {
    Query::read(request.uri().query(), &[])?;
    let media_type = body::media_type(request.headers(), &FORMATS.map(|(name, _)| name), header::ACCEPT)?;
    let ending = FORMATS.iter().find(|(name, _)| *name == media_type).map_or("yaml", |(_, ending)| ending);
    let bytes = body::read(request, TEXT_MAX_BYTES).await?;
    let text = body::text(&bytes)?.to_owned();
    if ending == "json" {
        body::json_object(&bytes)?;
    }
    let failed = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the check did not come to an end");
    let _turn = AT_WORK.acquire().await.map_err(|_| failed())?;
    let euid = state.owner.uid;
    let checked = tokio::task::spawn_blocking(move || check(text, ending, euid)).await;
    checked.map(Json).map_err(|_| failed())
}

fn check(text: String, ending: &str, euid: u32) -> Checked {
    let sources = Sources {
        file: Some(PathBuf::from(format!("body.{ending}"))),
        text: Some(text),
        euid,
        folder: PathBuf::from("/etc/echo-daemon"),
        ..Sources::default()
    };
    let manager = ConfigManager::new(sources);
    let loaded = manager.load_with_overlay(&Overlay::default(), options::check, |_| Vec::new());
    let found = match loaded {
        Ok(loaded) => loaded.warnings,
        Err(report) => report.problems,
    };
    let (problems, warnings): (Vec<Found>, Vec<Found>) =
        found.into_iter().map(Found::from).partition(|found| found.severity == "error");
    Checked { valid: problems.is_empty(), problems, warnings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_checks_and_tells_the_place() {
        let checked =
            check("tcp: {prot: 1}\ndhcp:\n  enabled: false\n  options: {routers: [x]}\n".into(), "yaml", 0);
        assert!(!checked.valid);
        let places: Vec<_> = checked.problems.iter().map(|p| (p.key.as_str(), p.line)).collect();
        assert_eq!(places, [("tcp.prot", Some(1)), ("dhcp.options.routers", Some(4))]);
        assert!(checked.problems[0].hint.as_ref().is_some_and(|hint| hint.contains("port")));
    }

    #[test]
    fn a_text_that_cannot_be_read_is_a_verdict_too() {
        let checked = check("tcp: [".into(), "yaml", 1000);
        assert!(!checked.valid && checked.problems[0].line.is_some(), "{checked:?}");
    }

    #[test]
    fn no_file_is_looked_for() {
        let text = "daemon: {pid_file: /no/such/folder/pid, state_dir: /no/such/folder}\napi: {token_file: /no/such}\ndhcp: {enabled: false}\n";
        assert!(check(text.into(), "yaml", 0).valid);
    }
}
