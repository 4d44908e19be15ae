//! `GET /v1/status`: what runs, since when, serving what.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract;
use daemon_utils::clock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::openapi::{Operation, Routes};
use super::{Endpoint, State, pools};
use crate::stats::{Gauge, POOL_STATES, Slot};
use crate::workers::Kind;

/// The daemon as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// PID of main.
    pub pid: i32,
    /// The configuration file that it was started with and that a reload reads.
    pub config_file: Option<String>,
    /// Number of configurations that have been in force.
    pub generation: u64,
    /// Seconds since the daemon became ready.
    pub uptime_secs: u64,
    /// Main and its workers.
    pub processes: Vec<Process>,
    /// What is served where.
    pub endpoints: Vec<Endpoint>,
    /// TCP clients being served.
    pub tcp_clients: u64,
    /// Pools and their use.
    pub pools: Vec<Pool>,
    /// The last warnings and errors of the log, oldest first.
    pub recent_errors: Vec<String>,
}

/// A process of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Name as in `ps`.
    pub name: String,
    /// PID.
    pub pid: i32,
    /// Generation that it was born in.
    pub generation: u64,
    /// Seconds since its fork.
    pub uptime_secs: u64,
    /// How often a worker of its kind had to be forked again.
    pub restarts: u64,
}

/// A pool and its use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    /// Name of its subnet.
    pub subnet: String,
    /// Its name.
    pub pool: String,
    /// Addresses that it could give out.
    pub addresses: u64,
    /// Addresses that no client holds or is remembered for.
    pub free: u64,
    /// Leases by state.
    pub leases: std::collections::BTreeMap<String, u64>,
}

/// Adds the routes of this file.
pub fn routes(routes: Routes) -> Routes {
    let show_status = Operation::get("/v1/status", "daemon", "What runs, since when, serving what")
        .answers::<Status>(200, "The daemon as it is now.");
    routes.add(show_status, show)
}

/// Answers `GET /v1/status`.
pub async fn show(extract::State(state): extract::State<Arc<State>>) -> Json<Status> {
    Json(look(&state))
}

fn look(state: &State) -> Status {
    let now = clock::boot_time();
    let shared = state.shared;
    let main = nix::unistd::getppid().as_raw();
    let uptime_secs = now.saturating_sub(shared.started()).as_secs();
    let mut processes: Vec<Process> = shared.slots().filter_map(|slot| process(slot, state, now)).collect();
    processes.sort_by_key(|process| (process.generation, process.pid));
    let generation = shared.generation();
    processes.insert(0, Process { name: "main".into(), pid: main, generation, uptime_secs, restarts: 0 });
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: main,
        config_file: state.config_file.clone(),
        generation,
        uptime_secs,
        processes,
        endpoints: state.endpoints.clone(),
        tcp_clients: shared.gauge(Gauge::TcpClients),
        pools: pools(&state.config, shared).into_iter().map(pool).collect(),
        recent_errors: shared.notes().all(),
    }
}

fn process(slot: Slot, state: &State, now: Duration) -> Option<Process> {
    let occupant = slot.occupant()?;
    let kind = Kind::from_number(occupant.kind)?;
    Some(Process {
        name: kind.process_name(u16::try_from(occupant.index).ok()?),
        pid: occupant.pid,
        generation: occupant.generation,
        uptime_secs: now.saturating_sub(occupant.started).as_secs(),
        restarts: state.shared.counter(kind.restarts()),
    })
}

fn pool(snapshot: crate::stats::PoolSnapshot) -> Pool {
    let states = POOL_STATES.iter().map(|state| (*state).to_owned());
    Pool {
        leases: states.zip(snapshot.figures.leases).collect(),
        subnet: snapshot.subnet,
        pool: snapshot.pool,
        addresses: snapshot.figures.addresses,
        free: snapshot.figures.free,
    }
}
