//! `status`: what runs, since when, serving what. Exit code 3 where nothing runs.

use std::process::ExitCode;

use super::client::{self, Reached};
use super::style::{self, Tone};
use super::{Invocation, NOT_RUNNING, Outcome, OutputArgs, say_json, table};
use crate::api::status::Status;
use crate::config::Config;
use crate::supervisor::{Running, find_running, say};

pub(super) fn run(invocation: &Invocation, args: &OutputArgs) -> Outcome {
    let config = invocation.manager()?.load_leniently().map_err(|report| report.to_string())?;
    match client::get::<Status>(&config.daemon.control_socket, "/v1/status")? {
        Reached::Answer(status) if args.json => {
            say_json(&status)?;
            Ok(ExitCode::SUCCESS)
        }
        Reached::Answer(status) => {
            style::say(show(&status).trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Reached::Problem(problem) => Err(format!("{}: {}", problem.title, problem.detail)),
        Reached::Nobody => without_api(&config, args.json),
    }
}

/// The control socket does not answer: the PID file's lock still tells whether a daemon runs.
pub(super) fn without_api(config: &Config, json: bool) -> Outcome {
    if let Some(Running { pid, .. }) = find_running(config)? {
        let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
        return Err(format!(
            "running with PID {pid}, but nobody answers at {:?}",
            config.daemon.control_socket
        ));
    }
    if json {
        say("{\"running\": false}");
    } else {
        style::say(&style::mark(Tone::Bad, "not running"));
    }
    Ok(ExitCode::from(NOT_RUNNING))
}

fn show(status: &Status) -> String {
    let mut text = format!(
        "echo-daemon {} is {}, PID {}, for {}, generation {}\n\n",
        status.version,
        style::mark(Tone::Good, "running"),
        status.pid,
        table::duration(status.uptime_secs),
        status.generation
    );
    let mut processes = table::new(&["process", "PID", "up", "generation", "restarts"]);
    for process in &status.processes {
        processes.add_row([
            process.name.clone(),
            process.pid.to_string(),
            table::duration(process.uptime_secs),
            process.generation.to_string(),
            match process.restarts {
                0 => "0".to_owned(),
                restarts => style::mark(Tone::Warning, &restarts.to_string()),
            },
        ]);
    }
    text += &format!("{processes}\n\n");
    let mut services = table::new(&["service", "at"]);
    for endpoint in &status.endpoints {
        services.add_row([&endpoint.service, &endpoint.address]);
    }
    text += &format!("{services}\n\nTCP clients: {}\n", status.tcp_clients);
    if !status.pools.is_empty() {
        let mut pools =
            table::new(&["subnet", "pool", "addresses", "free", "active", "expired", "released", "resting"]);
        for pool in &status.pools {
            let leases = |state: &str| pool.leases.get(state).copied().unwrap_or_default();
            pools.add_row([
                pool.subnet.clone(),
                pool.pool.clone(),
                pool.addresses.to_string(),
                if pool.free == 0 && pool.addresses > 0 {
                    style::mark(Tone::Warning, "0")
                } else {
                    pool.free.to_string()
                },
                leases("active").to_string(),
                leases("expired").to_string(),
                leases("released").to_string(),
                (leases("declined") + leases("conflict")).to_string(),
            ]);
        }
        text += &format!("\n{pools}\n");
    }
    if !status.recent_errors.is_empty() {
        text += &format!("\n{}\n", style::mark(Tone::Warning, "recent warnings and errors:"));
        for line in &status.recent_errors {
            text += &format!("  {}\n", style::plain(line));
        }
    }
    text
}
