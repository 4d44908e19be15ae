//! The description of the API (OpenAPI 3.1), and the routes that it describes.
//!
//! No route comes without its description: [`Routes::add`] takes both, and the router and `GET /v1/openapi.json` are
//! made from the same list. Each resource adds its own routes in its own file, by a function `routes`. Schemas of
//! answers come from the types (crate schemars), those of query parameters from the tables that read them ([`Parameter`]).

mod operation;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::handler::Handler;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::State;
use super::problem::{self, Problem};
pub use super::query::Parameter;
pub use operation::Operation;

/// What any request may be answered with: status, and when.
const ANY_TIME: [(u16, &str); 7] = [
    (400, "The request is wrong in itself."),
    (401, "This needs the bearer token."),
    (403, "The peer may not do this, or a web page asks."),
    (421, "The Host field names another server."),
    (429, "Too many wrong tokens came from this address."),
    (431, "The head of the request is too large."),
    (500, "The daemon has made a mistake; its log tells more."),
];

/// The routes with their descriptions.
#[derive(Default)]
pub struct Routes {
    paths: BTreeMap<&'static str, (MethodRouter<Arc<State>>, Vec<Operation>)>,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.paths.keys()).finish()
    }
}

impl Routes {
    /// Adds what `operation` describes. A `GET` answers `HEAD` too.
    #[must_use]
    pub fn add<H, T>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Arc<State>>,
        T: 'static,
    {
        let (methods, operations) = self.paths.entry(operation.path()).or_default();
        let filter = match *operation.method() {
            Method::POST => MethodFilter::POST,
            Method::PATCH => MethodFilter::PATCH,
            Method::PUT => MethodFilter::PUT,
            Method::DELETE => MethodFilter::DELETE,
            // `Operation` makes no others.
            _ => MethodFilter::GET,
        };
        *methods = std::mem::take(methods).on(filter, handler);
        operations.push(operation);
        self
    }

    /// The router, and the description as JSON, which the router serves at `/v1/openapi.json`.
    pub fn finish(self) -> (Router<Arc<State>>, Bytes) {
        let own = Operation::get("/v1/openapi.json", "api", "This description").answers_with(
            200,
            "application/json",
            json!({"type": "object"}),
            "The API as an OpenAPI 3.1 document.",
        );
        // A copy for the handler cannot be had before the document is made, and the document tells of the handler.
        let description = Arc::new(std::sync::OnceLock::<Bytes>::new());
        let shown = Arc::clone(&description);
        let show = move || {
            let body = shown.get().cloned().unwrap_or_default();
            std::future::ready(([(header::CONTENT_TYPE, "application/json")], body).into_response())
        };
        let routes = self.add(own, show);
        let bytes = description.get_or_init(|| Bytes::from(routes.describe().to_string())).clone();
        let mut router = Router::new();
        for (path, (methods, operations)) in routes.paths {
            let allow = allow(&operations);
            let refused =
                move |method: Method, uri: Uri| std::future::ready(other_method(&method, &uri, &allow));
            router = router.route(path, methods.fallback(refused));
        }
        (router, bytes)
    }

    fn describe(&self) -> Value {
        let mut settings = SchemaSettings::draft2020_12().for_serialize();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        let mut generator = SchemaGenerator::new(settings);
        let mut paths = Map::new();
        for (path, (_, operations)) in &self.paths {
            let item = operations.iter().map(|operation| {
                (operation.method().as_str().to_ascii_lowercase(), operation.describe(&mut generator))
            });
            let item: Map<String, Value> = item.collect();
            paths.insert((*path).to_owned(), item.into());
        }
        let mut schemas = generator.take_definitions(true);
        schemas.insert("Problem".to_owned(), problem_schema());
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "echo-daemon",
                "version": env!("CARGO_PKG_VERSION"),
                "license": {"name": "MIT", "identifier": "MIT"},
                "description": "The control API of echo-daemon, over its Unix socket and over TCP.",
            },
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {
                "schemas": schemas,
                "responses": {"Problem": problem_response("A problem document (RFC 9457).")},
                "securitySchemes": {"token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The first line of api.token_file. Over the control socket, and for reading from \
                                    loopback, none is needed.",
                }},
            },
        })
    }
}

/// What an `Allow` field says of a path.
fn allow(operations: &[Operation]) -> String {
    let mut methods: Vec<&str> = operations.iter().map(|operation| operation.method().as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    methods.sort_unstable();
    methods.join(", ")
}

/// Answers `OPTIONS` (RFC 9110 §9.3.7), and refuses the methods that a path does not take.
fn other_method(method: &Method, uri: &Uri, allow: &str) -> Response {
    if method == Method::OPTIONS {
        return (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response();
    }
    let detail = format!("{} does not take {method}; it takes {allow}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).field(header::ALLOW, allow).into_response()
}

/// The description of an answer that is a problem document.
fn problem_response(description: &str) -> Value {
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    json!({"description": description, "content": {problem::MEDIA_TYPE: {"schema": schema}}})
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference", "description": "Which kind of problem this is; about:blank: its status says it all."},
            "title": {"type": "string", "description": "The kind for people."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "This case for people."},
            "parameter": {"type": "string", "description": "The parameter of the query that is wrong."},
            "errors": {"type": "array", "items": {"type": "object"}, "description": "Each thing that is wrong."},
        },
    })
}
