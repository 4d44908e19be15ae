//! The control API: HTTP/1.1 and JSON. One file per resource; the api worker lends the sockets and the runtime.
//!
//! | path | file |
//! |---|---|
//! | `GET /v1/status` | [`status`] |
//! | `GET /v1/stats` | [`stats`] |
//! | `POST /v1/reload` | [`reload`] |
//! | `GET /metrics` | [`metrics`] |
//!
//! Who may do what is decided once, in [`access`]. Errors are RFC 9457 problem documents ([`problem`]).

pub mod access;
pub mod metrics;
pub mod problem;
pub mod reload;
pub mod stats;
pub mod status;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Document};
use crate::stats::{PoolPlace, PoolSnapshot, Shared, StatsCollector};

pub use access::Door;

/// What every request can see.
#[derive(Debug)]
pub struct State {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The same as it was said, with the origin of each value.
    pub document: Arc<Document>,
    /// The file that it was read from.
    pub config_file: Option<String>,
    /// The shared memory.
    pub shared: Shared,
    /// Takes a snapshot of the figures once a second.
    pub collector: Arc<StatsCollector>,
    /// What is served where.
    pub endpoints: Vec<Endpoint>,
    /// The bearer token that writing over TCP needs.
    pub token: Option<String>,
    /// The way to main.
    pub reloads: reload::Reloads,
}

/// A service and where it is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `tcp`, `udp`, `dhcp`, `api` or `control`.
    pub service: String,
    /// Address and port, interface and port, or path.
    pub address: String,
}

/// All routes, as seen through one door.
pub fn router(state: Arc<State>, door: Door) -> Router {
    let check = {
        let state = Arc::clone(&state);
        middleware::from_fn(move |request, next| access::check(Arc::clone(&state), door, request, next))
    };
    Router::new()
        .route("/v1/status", get(status::show))
        .route("/v1/stats", get(stats::show))
        .route("/v1/reload", post(reload::run))
        .route("/metrics", get(metrics::show))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(check)
        .with_state(state)
}

/// What stands in the place of a pool's name for the addresses that hosts of a subnet have reserved. No pool can be named
/// so.
const RESERVED: &str = "(reserved)";

/// Every pool by name, then the reserved addresses of each subnet, and where the keeper puts their figures.
pub fn pool_places(config: &Config) -> Vec<PoolPlace> {
    let subnets = &config.dhcp.subnets;
    let pools = subnets.iter().flat_map(|subnet| subnet.pools.iter().map(move |pool| (subnet, Some(pool))));
    let reserved = subnets.iter().map(|subnet| (subnet, None));
    pools
        .chain(reserved)
        .enumerate()
        .filter(|(_, (subnet, pool))| pool.is_some() || subnet.hosts.iter().any(|host| host.ip.is_some()))
        .map(|(index, (subnet, pool))| {
            let pool = pool.map_or(RESERVED, |pool| &pool.name);
            PoolPlace { subnet: subnet.name.clone(), pool: pool.to_owned(), index }
        })
        .collect()
}

/// The figures of every pool as they are now; what is beyond the room in the shared memory is left out.
pub fn pools(config: &Config, shared: Shared) -> Vec<PoolSnapshot> {
    let places = pool_places(config).into_iter();
    places
        .filter_map(|PoolPlace { subnet, pool, index }| {
            let figures = shared.pool(index)?;
            Some(PoolSnapshot { subnet, pool, figures, exhaustion: None })
        })
        .collect()
}

async fn not_found(uri: Uri) -> Response {
    problem::response(404, "Not found", &format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    problem::response(405, "Method not allowed", &format!("{} does not take {method}", uri.path()))
}
