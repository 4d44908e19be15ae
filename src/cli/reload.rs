//! `reload`: asks the running daemon to take the edited configuration into force, and prints its verdict.

use std::process::ExitCode;

use super::client::{self, Reached};
use super::{Invocation, Outcome};
use crate::api::reload::Applied;

pub(super) fn run(invocation: &Invocation) -> Outcome {
    // Those under `daemon` tell where the daemon is found.
    if let Some(flag) = invocation.set.iter().find(|flag| !flag.starts_with("daemon.")) {
        return Err(format!(
            "--set {flag} has no effect on a reload: the daemon keeps what it was started with\nhint: restart --set {flag}"
        ));
    }
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
