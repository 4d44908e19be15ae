//! `config show`: the effective configuration, of the sources or of the running daemon.

use std::process::ExitCode;

use clap::Args;

use super::{Invocation, Outcome, running};
use crate::supervisor::{say, settings};

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// Show behind each value where it was said
    #[arg(long)]
    origin: bool,
    /// What the running daemon has in force, whatever the file says by now
    #[arg(long)]
    running: bool,
    /// As JSON: the values, and the origin of each by its dotted key
    #[arg(long)]
    json: bool,
}

pub(super) fn run(invocation: &Invocation, args: &ShowArgs) -> Outcome {
    let manager = invocation.manager()?;
    let document = if args.running {
        running::document(&manager)?
    } else {
        settings::load(&manager).map_err(|report| report.to_string())?.effective
    };
    if args.json {
        say(&serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?);
    } else {
        say(document.to_yaml(args.origin).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
