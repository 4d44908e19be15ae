//! `upgrade`: asks the running daemon to execute the program on disk in its own place, and prints its verdict.

use std::process::ExitCode;

use super::client::{self, Reached};
use super::{Invocation, Outcome, OutputArgs, say_json};
use crate::api::reload::Applied;
use crate::supervisor::{find_running, say};

pub(super) fn run(invocation: &Invocation, args: &OutputArgs) -> Outcome {
    let config = invocation.manager()?.load_leniently().map_err(|report| report.to_string())?;
    match client::post::<Applied>(&config.daemon.control_socket, "/v1/upgrade")? {
        Reached::Answer(applied) => {
            if args.json {
                say_json(&applied)?;
            } else {
                say(&format!("upgraded: {}", applied.message));
            }
            Ok(ExitCode::SUCCESS)
        }
        Reached::Problem(problem) => Err(format!("{}: {}", problem.title, problem.detail)),
        Reached::Nobody => match find_running(&config)? {
            Some(_) => Err(format!(
                "the daemon runs, but nobody answers at {:?}\nhint: kill -USR2 upgrades it; its log has the verdict",
                config.daemon.control_socket
            )),
            None => Err("not running".to_owned()),
        },
    }
}
