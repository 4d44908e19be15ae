//! `PATCH /v1/config`: a merge patch on its way to main, and main's verdict on its way back.
//!
//! Decides nothing of the patch but that it is one: main checks it, lays it over what was patched before, reloads and
//! answers. The process that answers belongs to the generation that was replaced, so it cannot tell the new tag.

use std::sync::Arc;

use axum::Json;
use axum::extract::{self, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::openapi::{Operation, Routes};
use super::super::problem::Problem;
use super::super::query::Query;
use super::super::reload::{self, Applied, NoVerdict};
use super::super::{State, body};
use super::tag::{self, Tags};
use crate::workers::{MAX_TEXT, Patch, STALE, UNSAVED, Word};

/// What a patch may come as; the first is the one for it.
const MEDIA_TYPES: [&str; 2] = ["application/merge-patch+json", "application/json"];

pub(super) fn routes(routes: Routes) -> Routes {
    let patch = json!({
        "type": "object",
        "description": "A merge patch (RFC 7396) of the configuration. null takes back what the API has set before.",
        "properties": {
            "logging": {"type": ["object", "null"]},
            "tcp": {"type": ["object", "null"]},
            "udp": {"type": ["object", "null"]},
            "dhcp": {"type": ["object", "null"]},
        },
        "example": {"logging": {"log_level": "DEBUG"}},
    });
    let operation = Operation::patch("/v1/config", "configuration", "Change the configuration")
        .describes(
            "All or nothing: the patched configuration is checked, then reloaded; what does not check out changes \
             nothing. The answer waits for the verdict. What is set stays set over a restart. Keys under `daemon` and \
             `api`, and every path, can be changed in the file only.",
        )
        .heeds("If-Match", tag::PATTERN, "Change it only if its entity tag is one of these (RFC 9110 §13.1.1).")
        .takes(MEDIA_TYPES[0], patch.clone())
        .takes(MEDIA_TYPES[1], patch)
        .answers::<Applied>(200, "The changed configuration is in force.")
        .fails(412, "The configuration in force is another one than the tag says.")
        .fails(422, "The changed configuration is refused; the former one stays in force.")
        .fails(507, "The values could not be put on disk; the former configuration stays in force.")
        .fails(503, "The daemon is stopping, or has too much to do.");
    routes.add(operation, run)
}

/// Answers `PATCH /v1/config`.
async fn run(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri().query(), &[])?;
    body::media_type(request.headers(), &MEDIA_TYPES, header::HeaderName::from_static("accept-patch"))?;
    let headers = request.headers().clone();
    let text = body::read(request, body::SMALL).await?;
    let patch = Value::Object(body::json_object(&text)?).to_string();
    // What would be refused anyway is not refused for its tag (RFC 9110 §13.2.1).
    let tag = expected(&headers, &state.loaded.effective.tag())?;
    // One byte lies between the two.
    let room = MAX_TEXT - 1 - tag.len();
    if patch.len() > room {
        return Err(body::too_large(room));
    }
    log::debug!("patch asked for");
    match state.reloads.ask(&Word::Patch(Patch { tag, json: patch })).await {
        Ok(Ok(message)) => Ok(Json(Applied { applied: true, message }).into_response()),
        Ok(Err(reason)) => Err(refusal(&reason)),
        Err(NoVerdict(reason)) => Err(reload::no_verdict(&reason)),
    }
}

/// The tag that main is to compare; empty: any. Errors: 412 where none of those that were sent can be it.
fn expected(headers: &HeaderMap, own: &str) -> Result<String, Problem> {
    let tags = match tag::lists(headers, header::IF_MATCH)? {
        None | Some(Tags::Any) => return Ok(String::new()),
        Some(tags) => tags,
    };
    let quoted = tag::quoted(own);
    let mut strong = tags.strong();
    // Main's own may be newer than what this process was born with: then it says whether the tag fits.
    let sent = match (tags.strong().find(|tag| *tag == quoted), strong.next(), strong.next()) {
        (Some(own), ..) => own,
        (None, Some(only), None) => only,
        _ => return Err(stale("none of the entity tags is that of the configuration in force")),
    };
    Ok(sent.trim_matches('"').to_owned())
}

fn stale(detail: &str) -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED, detail)
}

/// Main's refusal as a problem.
fn refusal(reason: &str) -> Problem {
    if let Some(detail) = reason.strip_prefix(STALE) {
        stale(detail)
    } else if let Some(detail) = reason.strip_prefix(UNSAVED) {
        let detail = format!("nothing has changed: the values could not be saved in {detail}");
        Problem::new(StatusCode::INSUFFICIENT_STORAGE, detail).of_kind("Not saved")
    } else {
        reload::refusal(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: &str) -> Result<String, u16> {
        let headers = HeaderMap::from_iter([(header::IF_MATCH, value.parse().unwrap())]);
        expected(&headers, "own").map_err(|problem| problem.status())
    }

    #[test]
    fn main_is_given_the_tag_that_may_fit() {
        assert_eq!(expected(&HeaderMap::new(), "own"), Ok(String::new()));
        assert_eq!(sent("*"), Ok(String::new()));
        assert_eq!(sent("\"other\", \"own\", \"third\""), Ok("own".into()));
        assert_eq!(sent("\"newer\""), Ok("newer".into()));
        assert_eq!(sent("W/\"own\""), Err(412));
        assert_eq!(sent("\"one\", \"two\""), Err(412));
        assert_eq!(sent("own"), Err(400));
    }

    #[test]
    fn a_stale_tag_is_no_refusal_of_the_patch() {
        assert_eq!(refusal("stale: it is another one").status(), 412);
        assert_eq!(refusal("tcp.port: 0 is not a port").status(), 422);
    }
}
