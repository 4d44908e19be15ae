//! `GET /v1/events`: what becomes of leases, processes and the configuration, as server-sent events (HTML Living Standard,
//! §9.2). Committed rows of the lease log, whoever wrote them and whatever is logged, and the events of main.
//!
//! | file | owns |
//! |---|---|
//! | [`feed`] | the one follower of the log and of main's events, for all subscribers |
//! | `subscriber` | one stream: what it missed, then what happens |
//! | `frame` | events as text, positions |
//!
//! A position counts the rows of the lease log and the events of main; each event carries the one behind it as its `id`, so
//! who connects again with `Last-Event-ID` goes on from there. What can no longer be told is counted in an event `lost`.

pub mod feed;
mod frame;
mod subscriber;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{self, RawQuery};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use super::openapi::{Operation, Routes};
use super::problem::Problem;
use super::query::{Kind, Parameter, Query};
use super::{Peer, State};
use crate::events::Event;
pub use feed::{Feed, follow};
use frame::Place;
use subscriber::{Frames, Subscriber};

/// How long a stream lasts; then the client connects again.
pub const LIFETIME: Duration = Duration::from_secs(3600);

/// Marks an answer that lasts longer than others: the door lets it have [`LIFETIME`].
#[derive(Debug, Clone, Copy)]
pub struct LongLived;

/// The events that a stream may carry, leases first.
const EVENTS: &[&str] = &[
    Event::DhcpLeaseGranted.id(),
    Event::DhcpLeaseRenewed.id(),
    Event::DhcpLeaseReleased.id(),
    Event::DhcpLeaseExpired.id(),
    Event::DhcpLeaseDeclined.id(),
    Event::DhcpAddressConflict.id(),
    Event::DaemonReady.id(),
    Event::DaemonStopping.id(),
    Event::DaemonWarning.id(),
    Event::WorkerStarted.id(),
    Event::WorkerStopped.id(),
    Event::WorkerDied.id(),
    Event::WorkerFailed.id(),
    Event::WorkerKilled.id(),
    Event::ConfigReloaded.id(),
    Event::ConfigRefused.id(),
    Event::ConfigWarning.id(),
    Event::ConfigFileChanged.id(),
    Event::InterfaceUp.id(),
    Event::InterfaceDown.id(),
];

const PARAMETERS: &[Parameter] = &[
    Parameter::new(
        "type",
        Kind::Choice(&["lease", "process"]),
        "Only events of leases, or only those of processes.",
    ),
    Parameter::new("event", Kind::Choice(EVENTS), "Only these events.").repeated(),
];

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Adds the routes of this folder.
pub fn routes(routes: Routes) -> Routes {
    let events = Operation::get("/v1/events", "events", "What happens, as it happens")
        .describes(
            "Server-sent events. `lease` events are committed changes, whoever made them: `{\"type\": \"lease\", \"event\": ID, \
             \"time\": …, \"lease\": {…}}` with the lease as in `/v1/leases`. `process` events: `{\"type\": \"process\", \
             \"event\": ID, \"time\": …, \"level\": …, \"pid\": …, \"message\": …}`. Where some could not be told, an event \
             `lost` says how many: `{\"type\": \"lost\", \"events\": 7}`. A comment comes every 15 s. A stream ends at a \
             reload and after an hour; who connects again with `Last-Event-ID` loses nothing.",
        )
        .query(PARAMETERS)
        .heeds("Last-Event-ID", "^[!-~]*$", "The id of the last event that was received.")
        .answers_with(200, "text/event-stream", json!({"type": "string"}), "A stream of events.")
        .fails(503, "Too many follow already, or the lease file cannot be read now.");
    routes.add(events, show)
}

async fn show(
    extract::State(state): extract::State<Arc<State>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), PARAMETERS)?;
    let after = match headers.get(LAST_EVENT_ID).map(HeaderValue::as_bytes) {
        // As a client says that has seen none (§9.2.4).
        None | Some(b"") => None,
        Some(id) => Some(
            Place::read(id).ok_or_else(|| Problem::bad_request("Last-Event-ID is no id of an event here"))?,
        ),
    };
    let over_tcp = matches!(extensions.get::<Peer>(), Some(Peer::Tcp(_)));
    let seat = state.feed.seat(over_tcp).ok_or_else(|| {
        let detail = format!("{} follow the events already", feed::SEATS);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).field(header::RETRY_AFTER, "30")
    })?;
    let wanted = subscriber::Wanted {
        kind: query.text("type").map(str::to_owned),
        events: query.all("event").map(str::to_owned).collect(),
    };
    let subscriber = Subscriber::join(Arc::clone(&state), wanted, after, seat).await?;
    let mut response = Response::new(axum::body::Body::new(Frames::of(subscriber)));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would keep events back.
    fields.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response.extensions_mut().insert(LongLived);
    Ok(response)
}
