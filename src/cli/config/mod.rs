//! `config …`: one file per subcommand. They explain, describe and propose configurations, and change nothing.

mod init;
mod plan;
mod proposal;
mod running;
mod schema;
mod show;

use clap::Subcommand;

use super::{Invocation, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the configuration with every value in force, defaults included, as YAML
    #[command(after_help = "\
Examples:
  echo-daemon config show                     what the file, the environment and the flags make together
  echo-daemon config show --origin            the same, and where each value was said
  echo-daemon config show --running           what the running daemon has in force
  echo-daemon config show > copy.yaml         a file that means the same

A subnet, pool, class or host shows its own values; what it inherits stands where it was said. Relative paths are shown
as absolute ones.")]
    Show(show::ShowArgs),
    /// Print the JSON Schema of configuration files, for editors
    #[command(after_help = "\
An editor with a YAML language server reads it by a line in the file:

  # yaml-language-server: $schema=schema.json")]
    Schema,
    /// Write a ready configuration for a network interface of this machine
    #[command(after_help = "\
The network is the interface's own. The pool is the upper half of it, less the addresses of this machine, of the gateway
and of the name servers. Gateway, name servers and domain are those that this machine uses itself.

Examples:
  echo-daemon config init --interface eth0
  echo-daemon config init --interface eth0 --output /etc/echo-daemon/config.yaml")]
    Init(init::InitArgs),
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
        ConfigCommand::Show(args) => show::run(invocation, args),
        ConfigCommand::Schema => schema::run(),
        ConfigCommand::Init(args) => init::run(args),
        ConfigCommand::Plan(args) => plan::run(invocation, args),
    }
}
