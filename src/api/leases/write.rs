//! `DELETE /v1/leases/{ip}` and `POST /v1/leases`: the commands `leases release` and `leases import` over the API. A change is
//! on disk before its answer; of one that is refused nothing is done.

use std::sync::Arc;

use axum::Json;
use axum::extract::{self, RawQuery, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::State;
use super::super::body;
use super::super::desk::{WRITE_WITHIN, is_missing, store_problem};
use super::super::openapi::{Operation, Routes};
use super::super::problem::Problem;
use super::super::query::Query;
use super::{Ip, address, never_leased, of_an_address};
use crate::config::Config;
use crate::lease::draft::{self, Draft};
use crate::lease::office::{self, Import};
use crate::lease::transfer::COLUMNS;
use crate::lease::{Flaw, Freed, LeaseView, Offers, StoreError, Times};
use crate::workers::regions::Region;

/// Longest body of an import, in bytes: some thirty thousand leases. Larger ones are for `leases import`.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Mistakes told at most.
const MOST_MISTAKES: usize = 1000;

/// What an import has done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ImportedView {
    /// Addresses that were never leased before.
    new: usize,
    /// Addresses whose lease is another now.
    updated: usize,
    /// Addresses whose lease was just so already.
    unchanged: usize,
    /// The leases as they are now, in the order of the request.
    leases: Vec<LeaseView>,
}

pub(super) fn routes(routes: Routes) -> Routes {
    let release = Operation::delete("/v1/leases/{ip}", "leases", "End the lease of an address")
        .describes(
            "Or its rest after a decline or a conflict. The client is not told: it goes on using the address until it renews, \
             and gets it again then unless somebody else has it.",
        )
        .answers_nothing(204, "It has ended.")
        .fails(409, "There is no lease file, for DHCP was never on.")
        .fails(503, UNWRITABLE)
        .fails(504, LATE);
    let import = Operation::post("/v1/leases", "leases", "Import leases")
        .describes(
            "One lease or a list of them, as `leases export --json` writes them: all or nothing. Of each `ip`, `expires` and \
             one of `mac` and `client_id` must be there.",
        )
        .takes("application/json", body_schema())
        .answers::<ImportedView>(201, "All of them are on disk.")
        .with_field(201, "Location", "The lease, where there was one.")
        .fails(409, "There is no lease file, for DHCP was never on.")
        .fails(422, "Nothing was imported; `errors` names every mistake by a JSON pointer (RFC 6901).")
        .fails(503, UNWRITABLE)
        .fails(504, LATE);
    routes.add(of_an_address(release), run_release).add(import, run_import)
}

const UNWRITABLE: &str = "The lease file cannot be written now; nothing has changed.";
const LATE: &str = "The lease file could not be written in time; the change may still come into force.";

fn body_schema() -> Value {
    let text_or_number = json!({"type": ["string", "number", "null"]});
    let columns = COLUMNS.iter().map(|column| ((*column).to_owned(), text_or_number.clone()));
    let lease = json!({
        "type": "object",
        "required": ["ip", "expires"],
        "additionalProperties": false,
        "properties": Value::Object(columns.collect()),
        "example": {"ip": "10.0.0.50", "mac": "00:11:22:33:44:55", "hostname": "printer", "expires": "2026-12-01T12:00:00Z"},
    });
    json!({"oneOf": [lease, {"type": "array", "items": lease}]})
}

async fn run_release(
    extract::State(state): extract::State<Arc<State>>,
    path: Ip,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Problem> {
    Query::read(query.as_deref(), &[])?;
    let address = address(path)?;
    let (config, shared) = (Arc::clone(&state.config), state.shared);
    let work = move || office::release(&config, Offers::new(Region::Offers.of(shared)), address);
    match state.desk.run(WRITE_WITHIN, work).await?.map_err(|error| failure(&state.config, &error))? {
        Freed::Lease(_) | Freed::Rest(_) => Ok(StatusCode::NO_CONTENT),
        Freed::NotHeld(None) => Err(never_leased(address)),
        Freed::NotHeld(Some(_)) => {
            Err(Problem::new(StatusCode::NOT_FOUND, format!("{address} is leased to nobody")))
        }
    }
}

async fn run_import(
    extract::State(state): extract::State<Arc<State>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    body::media_type(request.headers(), &["application/json"], header::ACCEPT)?;
    let bytes = body::read(request, MOST_BYTES).await?;
    let (config, shared) = (Arc::clone(&state.config), state.shared);
    // Reading it belongs there, too: the loop has others to serve.
    let work = move || {
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::bad_request(format!("the body cannot be read as JSON: {error}")))?;
        let (drafts, many) = drafts(value)?;
        let offers = Offers::new(Region::Offers.of(shared));
        let done =
            office::import(&config, offers, drafts, "entry").map_err(|error| failure(&config, &error))?;
        Ok::<_, Problem>((done, many))
    };
    let (done, many) = state.desk.run(WRITE_WITHIN, work).await??;
    let (counts, leases, times) = match done {
        Import::Done { counts, leases, times } => (counts, leases, times),
        Import::Refused(mistakes) => return Err(refused(&mistakes, many)),
    };
    let leases: Vec<LeaseView> =
        leases.iter().map(|lease| LeaseView::new(lease, times, Times::utc)).collect();
    let location = match leases.as_slice() {
        [lease] => Some([(header::LOCATION, format!("/v1/leases/{}", lease.ip))]),
        _ => None,
    };
    let view = ImportedView { new: counts.new, updated: counts.updated, unchanged: counts.unchanged, leases };
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
}

/// The leases of a body by their number from 1, and whether it is a list.
fn drafts(value: Value) -> Result<(Vec<Draft>, bool), Problem> {
    let draft = |value| match value {
        Value::Object(fields) => draft::object(fields),
        _ => Err(vec![Flaw::from("it is not an object".to_owned())]),
    };
    match value {
        Value::Object(_) => Ok((vec![(1, draft(value))], false)),
        Value::Array(list) => Ok(((1..).zip(list.into_iter().map(draft)).collect(), true)),
        _ => Err(Problem::bad_request("the body is neither a lease nor a list of leases")),
    }
}

fn refused(mistakes: &[(u64, Flaw)], many: bool) -> Problem {
    let pointer = |place: u64, flaw: &Flaw| {
        let entry = if many { format!("/{}", place.saturating_sub(1)) } else { String::new() };
        // RFC 6901 §3.
        let column = flaw.column.as_ref().map(|column| column.replace('~', "~0").replace('/', "~1"));
        column.map_or_else(|| entry.clone(), |column| format!("{entry}/{column}"))
    };
    let error =
        |(place, flaw): &(u64, Flaw)| json!({"pointer": pointer(*place, flaw), "detail": flaw.reason});
    let errors: Vec<Value> = mistakes.iter().take(MOST_MISTAKES).map(error).collect();
    let count = mistakes.len();
    let detail = format!("nothing was imported: {count} mistake{}", if count == 1 { "" } else { "s" });
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).of_kind("Leases refused").with("errors", errors)
}

fn failure(config: &Config, error: &StoreError) -> Problem {
    if is_missing(config, error) {
        return Problem::new(StatusCode::CONFLICT, "there is no lease file: DHCP was never on");
    }
    store_problem(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_by_json_pointer() {
        let flaw = |column: Option<&str>| Flaw { column: column.map(str::to_owned), reason: "bad".into() };
        let text = |mistakes: &[(u64, Flaw)], many| format!("{:?}", refused(mistakes, many));
        let told = text(&[(1, flaw(Some("a/b~c"))), (3, flaw(None))], true);
        assert!(
            told.contains("/0/a~1b~0c") && told.contains("\"/2\"") && told.contains("2 mistakes"),
            "{told}"
        );
        let told = text(&[(1, flaw(Some("ip")))], false);
        assert!(told.contains("\"/ip\"") && told.contains("1 mistake\""), "{told}");
    }

    #[test]
    fn body_is_a_lease_or_a_list() {
        assert!(matches!(drafts(json!({"ip": "10.0.0.1"})), Ok((drafts, false)) if drafts.len() == 1));
        assert!(
            matches!(drafts(json!([{}, 7])), Ok((drafts, true)) if drafts.len() == 2 && drafts[1].1.is_err())
        );
        assert!(drafts(json!("x")).is_err() && drafts(Value::Null).is_err());
    }
}
