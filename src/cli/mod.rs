//! The commands: argv in, exit code out. One file per command; the flags of all of them stand here, once.
//!
//! Exit codes: 0 done, 1 failed, 2 usage (clap's own), 3 not running (`status`, as in LSB).

mod check;
mod client;
mod completions;
mod config;
mod explain;
pub mod leases;
mod man;
mod probe;
mod progress;
mod reload;
mod restart;
mod start;
mod stats;
mod status;
mod stop;
mod style;
mod table;
mod take_over;
mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigManager, Sources, find_file};

/// The exit code of `status` where no daemon runs (LSB).
const NOT_RUNNING: u8 = 3;

/// TCP echo, UDP echo and DHCPv4 with leases in SQLite, one process for each task.
#[derive(Debug, Parser)]
#[command(name = "echo-daemon", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  echo-daemon start                         start with the configuration file
  echo-daemon start --set tcp.port=9000     the same, with one value changed
  echo-daemon probe                         act as a client of every service
  echo-daemon status                        what runs, and what it serves
  echo-daemon stats --watch                 how much it does, every second
  echo-daemon check -c new.yaml             look for mistakes before a reload
  echo-daemon config init --interface eth0  a ready configuration for a real network
  echo-daemon config show --origin          every value, and where it was said
  echo-daemon reload                        take the edited file into force
  echo-daemon upgrade                       run the new program that was installed
  echo-daemon leases list                   who has which address
  echo-daemon leases history 10.0.0.5       who had it, from when to when
  echo-daemon stop                          stop, waiting for the last process

For shells and packages:
  completions SHELL                         print what a shell needs to complete commands and flags
  man [DIR]                                 print the manual page, or write one for each command into DIR

The configuration file is the one of -c, else $ECHO_DAEMON_CONFIG, else /etc/echo-daemon/config.yaml.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not running (status).")]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    command: Command,
    /// Configuration file
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a configuration value over the file's: tcp.port=9000 (may be repeated)
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the daemon; returns when every worker serves
    #[command(
        after_help = "Whatever keeps it from starting is printed here, the exit code is 1, and nothing is left behind."
    )]
    Start(StartCommand),
    /// Stop the daemon; returns when its last process is gone
    #[command(after_help = "Stopping a daemon that does not run is no error.")]
    Stop(StopCommand),
    /// Stop, then start
    Restart(RestartArgs),
    /// Take the edited configuration into force without losing a packet; prints the verdict
    #[command(
        after_help = "A configuration with a mistake changes nothing: the exit code is 1 and the reason is printed."
    )]
    Reload(OutputArgs),
    /// Put the program on disk in the place of the one that runs, without losing a packet; prints the verdict
    #[command(
        after_help = "The configuration is read anew. Where the program on disk cannot take over, the one that runs goes on: the exit code is 1 and the reason is printed."
    )]
    Upgrade(OutputArgs),
    /// Show processes, services, pools and recent errors (exit code 3: not running)
    Status(OutputArgs),
    /// Show figures: exchanges a second, leases, pools, drops, latency, processes, files (exit code 3: not running)
    #[command(
        after_help = "Figures are taken once a second. Quantiles are interpolated within the buckets of histograms. What is not known yet is shown as -."
    )]
    Stats(stats::StatsArgs),
    /// Check the configuration and print every mistake at once, with file, line, key, reason and hint
    Check(OutputArgs),
    /// Show the configuration with its origins, plan a change, print the schema, write a new one
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Act as a client: TCP echo, UDP echo, DHCP discover to release, with timings
    Probe(ProbeArgs),
    /// Tell what a client would get and why, without a packet: subnet, classes, reservation, pool, address, options
    #[command(
        after_help = "Offers that are open and probes of a running daemon are not known to it: an address that is held for another client may be named."
    )]
    Explain(explain::ExplainArgs),
    /// Look at the leases, end, export and import them
    #[command(subcommand)]
    Leases(leases::LeasesCommand),
    /// Print what a shell needs to complete commands and flags
    #[command(hide = true)]
    #[command(after_help = "\
For bash, for example:
  echo-daemon completions bash > /etc/bash_completion.d/echo-daemon
scripts/install puts those of bash, zsh and fish in place.")]
    Completions(completions::CompletionsArgs),
    /// Print the manual page of the program, or write one for each command into a folder
    #[command(hide = true)]
    Man(man::ManArgs),
    /// Become main in the place of the program before (what `upgrade` executes)
    #[command(hide = true)]
    TakeOver(take_over::TakeOverArgs),
}

#[derive(Debug, Args)]
struct StartArgs {
    /// Stay attached: log to the terminal too, end on Ctrl-C, tell systemd (Type=notify)
    #[arg(long)]
    foreground: bool,
    /// Where the configuration is refused, use the one that was in force last
    #[arg(long)]
    last_good: bool,
    /// Where the lease file is damaged, save what can be read of it and keep the damaged one beside it
    #[arg(long)]
    recover: bool,
}

#[derive(Debug, Args)]
struct StartCommand {
    #[command(flatten)]
    start: StartArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct StopCommand {
    #[command(flatten)]
    stop: StopArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct StopArgs {
    /// How long to wait for the daemon to end
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
    /// Kill whatever is left when that time is over
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct RestartArgs {
    #[command(flatten)]
    stop: StopArgs,
    #[command(flatten)]
    start: StartArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// How a command shows what it found or did.
#[derive(Debug, Args)]
struct OutputArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ProbeArgs {
    /// Probe DHCP only, by broadcast on this interface (needs root)
    #[arg(long, value_name = "IF", conflicts_with = "server")]
    interface: Option<String>,
    /// Probe DHCP only, at this address
    #[arg(long, value_name = "IP:PORT")]
    server: Option<std::net::SocketAddrV4>,
    /// So many DHCP exchanges one after the other, each as another client, and a summary
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// How long to wait for each answer
    #[arg(long, default_value = "3s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs one command.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let context = Invocation { file: cli.config, set: cli.set };
    let outcome = match cli.command {
        Command::Start(args) => start::run(&context, &args),
        Command::Stop(args) => stop::run(&context, &args),
        Command::Restart(args) => restart::run(&context, &args),
        Command::Reload(args) => reload::run(&context, &args),
        Command::Upgrade(args) => upgrade::run(&context, &args),
        Command::Status(args) => status::run(&context, &args),
        Command::Stats(args) => stats::run(&context, &args),
        Command::Check(args) => check::run(&context, &args),
        Command::Config(command) => config::run(&context, &command),
        Command::Probe(args) => probe::run(&context, &args),
        Command::Explain(args) => explain::run(&context, &args),
        Command::Leases(command) => leases::run(&context, &command),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::TakeOver(args) => take_over::run(args),
    };
    match outcome {
        Ok(_) if crate::supervisor::output_lost() => ExitCode::FAILURE,
        Ok(code) => code,
        Err(reason) => {
            style::complain(&format!("echo-daemon: {reason}"));
            ExitCode::FAILURE
        }
    }
}

/// What a command comes back with: its exit code, or the reason of its failure.
type Outcome = Result<ExitCode, String>;

/// What the flags that every command takes say.
#[derive(Debug)]
struct Invocation {
    file: Option<PathBuf>,
    set: Vec<String>,
}

impl Invocation {
    fn manager(&self) -> Result<ConfigManager, String> {
        let file = find_file(self.file.clone());
        Sources::of_process(Some(file), self.set.clone())
            .map(ConfigManager::new)
            .map_err(|error| format!("could not tell the current folder: {error}"))
    }
}

/// Prints a value as JSON, the only thing on standard output then.
fn say_json(value: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    crate::supervisor::say(&text);
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::parse_duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn flags_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
