//! The control API: HTTP/1.1 and JSON. One file per resource; the api worker lends the sockets and the runtime.
//!
//! | path | file |
//! |---|---|
//! | `GET /v1/status` | [`status`] |
//! | `GET /v1/stats` | [`stats`] |
//! | `GET /v1/config`, `PATCH /v1/config`, `GET /v1/config/origins`, `POST /v1/config/check` | [`mod@config`] |
//! | `POST /v1/reload` | [`reload`] |
//! | `POST /v1/upgrade` | [`upgrade`] |
//! | `/v1/leases…` | [`leases`] |
//! | `GET /v1/explain` | [`explain`] |
//! | `GET /v1/events` | [`events`] |
//! | `GET /metrics` | [`metrics`] |
//! | `GET /v1/openapi.json` | [`openapi`] |
//!
//! Who may do what is decided once, in [`access`]. Errors are RFC 9457 problem documents ([`problem`]). A resource adds
//! its routes, each with its description, by a function `routes` ([`openapi`]), and reads what it is asked with the
//! same tables ([`query`]).

pub mod access;
pub mod body;
pub mod config;
pub mod desk;
pub mod events;
pub mod explain;
pub mod leases;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod query;
pub mod reload;
pub mod stats;
pub mod status;
pub mod token;
pub mod upgrade;

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::middleware;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::{Config, Loaded};
use crate::dhcp::InterfaceInfo;
use crate::stats::{PoolPlace, PoolSnapshot, Shared, Slot, StatsCollector};

pub use access::{Owner, Peer};
use openapi::Routes;
use problem::Problem;
use token::Token;

/// What every request can see.
#[derive(Debug)]
pub struct State {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The same as it was said, with the origin of each value.
    pub loaded: Arc<Loaded>,
    /// The file that it was read from.
    pub config_file: Option<String>,
    /// The shared memory.
    pub shared: Shared,
    /// Takes a snapshot of the figures once a second.
    pub collector: Arc<StatsCollector>,
    /// What is served where.
    pub endpoints: Vec<Endpoint>,
    /// The DHCP interfaces that are served; where they change, the process is replaced.
    pub served: Vec<InterfaceInfo>,
    /// The bearer token that writing over TCP needs.
    pub token: Option<Token>,
    /// Whom the control socket belongs to.
    pub owner: access::Owner,
    /// What this machine is called.
    pub names: Vec<String>,
    /// Wrong tokens of late.
    pub guesses: access::Guesses,
    /// The way to main.
    pub reloads: reload::Reloads,
    /// The api process's own figures.
    pub slot: Slot,
    /// Where work is done that waits for a disk.
    pub desk: desk::Desk,
    /// Where dry runs are made: one at a time, since each reads all leases.
    pub study: desk::Desk,
    /// Where events are followed.
    pub feed: events::Feed,
    /// Whether the process leaves.
    pub leaving: watch::Receiver<bool>,
}

/// A service and where it is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// `tcp`, `udp`, `dhcp`, `api` or `control`.
    pub service: String,
    /// Address and port, interface and port, or path.
    pub address: String,
}

/// All routes. Each request brings its [`Peer`] as an extension.
pub fn router(state: Arc<State>) -> Router {
    let check = {
        let state = Arc::clone(&state);
        middleware::from_fn(move |request, next| access::check(Arc::clone(&state), request, next))
    };
    let (router, _) = all().finish();
    router.fallback(not_found).layer(check).with_state(state)
}

/// Every resource with its description.
fn all() -> Routes {
    let routes = Routes::default();
    let routes = status::routes(routes);
    let routes = stats::routes(routes);
    let routes = config::routes(routes);
    let routes = reload::routes(routes);
    let routes = upgrade::routes(routes);
    let routes = leases::routes(routes);
    let routes = explain::routes(routes);
    let routes = events::routes(routes);
    metrics::routes(routes)
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

async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}
