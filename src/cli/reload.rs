//! `reload`: asks the running daemon to take the edited configuration into force, and prints its verdict.

use std::process::ExitCode;

use super::client::{self, Reached};
use super::{Invocation, Outcome};
use crate::api::reload::Applied;

pub(super) fn run(invocation: &Invocation) -> Outcome {
    let config = invocation.manager()?.load_leniently().map_err(|report| report.to_string())?;
    match client::post::<Applied>(&config.daemon.control_socket, "/v1/reload")? {
        Reached::Answer(applied) => {
            println!("reloaded: {}", applied.message);
            Ok(ExitCode::SUCCESS)
        }
        Reached::Problem(problem) => Err(format!("{}: {}", problem.title, problem.detail)),
        Reached::Nobody => Err("not running".to_owned()),
    }
}
