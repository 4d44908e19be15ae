//! `config …`: one file per subcommand. They explain and compare configurations, and change nothing.

mod plan;

use clap::Subcommand;

use super::{Invocation, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Tell what a changed file would do, before it is applied: keys, sockets, and which live leases would notice
    #[command(after_help = "\
FILE is held against the configuration that the daemon has in force, or, where that cannot be known, against the file of
-c. Relative paths in it start where those of the file of -c do, as if it stood there already. Nothing is changed.

The exit code is 0 also where leases would be lost, and where a reload would be refused because a key needs a restart;
it is 1 where FILE has mistakes.

Examples:
  cp /etc/echo-daemon/config.yaml draft.yaml      then edit the draft
  echo-daemon config plan draft.yaml              what would happen
  echo-daemon config plan draft.yaml --json       the same for programs")]
    Plan(plan::PlanArgs),
}

pub(super) fn run(invocation: &Invocation, command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Plan(args) => plan::run(invocation, args),
    }
}
