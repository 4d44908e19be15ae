//! `completions SHELL`: what a shell needs to complete commands and flags, made from the flags themselves.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome};

/// The program's name, as it is typed.
const NAME: &str = "echo-daemon";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    match io::stdout().write_all(&script) {
        // The reader of a pipe that has seen enough is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("could not write: {error}")),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}
