//! `reload`: asks the running daemon to take the edited configuration into force, and prints its verdict.

use std::path::PathBuf;
use std::process::ExitCode;

use super::client::{self, Reached};
use super::{Invocation, Outcome, OutputArgs, say_json};
use crate::api::reload::Applied;
use crate::api::status::Status;
use crate::config::Config;
use crate::supervisor::{find_running, say};

pub(super) fn run(invocation: &Invocation, args: &OutputArgs) -> Outcome {
    // Those under `daemon` tell where the daemon is found.
    if let Some(flag) = invocation.set.iter().find(|flag| !flag.starts_with("daemon.")) {
        return Err(format!(
            "--set {flag} has no effect on a reload: the daemon keeps what it was started with\nhint: restart --set {flag}"
        ));
    }
    let manager = invocation.manager()?;
    let config = manager.load_leniently().map_err(|report| report.to_string())?;
    refuse_another_file(&config, manager.sources().absolute_file())?;
    match client::post::<Applied>(&config.daemon.control_socket, "/v1/reload")? {
        Reached::Answer(applied) => {
            if args.json {
                say_json(&applied)?;
            } else {
                say(&format!("reloaded: {}", applied.message));
            }
            Ok(ExitCode::SUCCESS)
        }
        Reached::Problem(problem) => Err(format!("{}: {}", problem.title, problem.detail)),
        Reached::Nobody => match find_running(&config)? {
            Some(_) => Err(format!(
                "the daemon runs, but nobody answers at {:?}\nhint: kill -HUP reloads it; its log has the verdict",
                config.daemon.control_socket
            )),
            None => Err("not running".to_owned()),
        },
    }
}

/// The daemon reads its own file again, whatever `-c` says here: a verdict on another one would mislead.
fn refuse_another_file(config: &Config, ours: Option<PathBuf>) -> Result<(), String> {
    let Ok(Reached::Answer(status)) = client::get::<Status>(&config.daemon.control_socket, "/v1/status")
    else {
        return Ok(());
    };
    let (Some(ours), Some(theirs)) = (ours, status.config_file.map(PathBuf::from)) else { return Ok(()) };
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    if real(&ours) == real(&theirs) {
        return Ok(());
    }
    Err(format!(
        "the daemon was started with {}, and that is what it reads again\nhint: restart -c {} starts it with the other",
        theirs.display(),
        ours.display()
    ))
}
