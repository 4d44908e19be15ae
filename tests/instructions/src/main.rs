//! Counts the instructions that a DHCP packet costs, kind by kind, from its bytes to the bytes of its reply, the account
//! and the log record included; the lease file and the system calls not. The count is the same on a busy machine as on an
//! idle one, so a loss of speed is seen where a stop-watch shows noise. `scripts/instructions` builds and runs it.
//!
//! | file | owns |
//! |---|---|
//! | `wire`, `store`, `logger` | packets as bytes · a lease store and a log socket that keep nothing |
//! | `world`, `measured`, `play` | the pipeline under test · one function for each kind of packet · what is played |
//! | `callgrind`, `figures` | running it under valgrind · the recorded figures |

#![forbid(unsafe_code)]

mod callgrind;
mod figures;
mod logger;
mod measured;
mod play;
mod store;
mod wire;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use figures::Figures;
use world::Failure;

/// Clients of each kind: enough that the growth of a table now and then does not show.
const CLIENTS: u32 = 1024;
/// Leases in memory for the recorded figures, and for the check that the cost does not grow with them.
const FEW: u32 = 1_000;
const MANY: u32 = 100_000;

#[derive(Parser)]
#[command(about = "Counts the instructions that a DHCP packet costs")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Handles the packets, and prints how many of each kind as JSON
    Play {
        #[arg(long, default_value_t = CLIENTS)]
        clients: u32,
        #[arg(long, default_value_t = FEW)]
        leases: u32,
    },
    /// Prints what each kind costs
    Count {
        #[arg(long, default_value_t = FEW)]
        leases: u32,
    },
    /// Compares with the recorded figures
    Check {
        /// Where they stand
        #[arg(long)]
        figures: PathBuf,
        /// The compiler that built this program, as it calls itself
        #[arg(long)]
        compiler: String,
    },
    /// Records the figures anew
    Record {
        /// Where they stand
        #[arg(long)]
        figures: PathBuf,
        /// The compiler that built this program, as it calls itself
        #[arg(long)]
        compiler: String,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("echo-instructions: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is as it should be.
fn run(command: Command) -> Result<bool, Failure> {
    match command {
        Command::Play { clients, leases } => {
            println!("{}", serde_json::to_string(&play::play(clients, leases)?)?);
        }
        Command::Count { leases } => figures::print(&callgrind::count(leases)?),
        Command::Check { figures, compiler } => return check(&Figures::read(&figures)?, &compiler),
        Command::Record { figures, compiler } => {
            let costs = callgrind::count(FEW)?;
            figures::print(&costs);
            Figures::new(compiler, costs).write(&figures)?;
        }
    }
    Ok(true)
}

fn check(recorded: &Figures, compiler: &str) -> Result<bool, Failure> {
    let few = callgrind::count(FEW)?;
    let mut complaints = match recorded.differs_from(compiler) {
        Some(reason) => {
            println!("skipped: the recorded figures are not compared: {reason}");
            Vec::new()
        }
        None => recorded.compare(&few),
    };
    let many = callgrind::count(MANY)?;
    complaints.extend(figures::growth(&few, &many));
    figures::print(&few);
    for complaint in &complaints {
        println!("{complaint}");
    }
    Ok(complaints.is_empty())
}
