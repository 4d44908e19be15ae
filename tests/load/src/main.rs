//! `echo-load`: puts servers under load, and measures the ceilings that they are compared with.
//!
//! Each command prints one JSON document on standard output; a listener prints `{"listening": ADDRESS}` as soon as it
//! serves, and ends on SIGTERM. It knows nothing of the daemon but the protocols. `scripts/bench` calls it.
//!
//! | module | owns |
//! |---|---|
//! | `answer` | a DHCP server that answers everything and keeps nothing |
//! | `batch` | UDP sockets, and many datagrams in one system call |
//! | `bulk`, `bulk_loop` | bytes over one TCP connection, and a bare loop to compare with |
//! | `dhcp` | a relay with many clients behind it |
//! | `fsync` | the disk's bare rate of durable appends |
//! | `histogram` | latencies and their percentiles |
//! | `tcp` | TCP connections one after another; `accept_fork_echo.c` beside this folder is to compare with |
//! | `udp`, `udp_loop` | datagrams with a window in flight, and a bare loop to compare with |

#![forbid(unsafe_code)]

mod answer;
mod batch;
mod bulk;
mod bulk_loop;
mod dhcp;
mod fsync;
mod histogram;
mod tcp;
mod udp;
mod udp_loop;

use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "echo-load", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays a DHCP relay with many clients behind it
    Dhcp(dhcp::Args),
    /// Answers every DHCP packet from the packet itself and keeps nothing: the ceiling of a DHCP server
    Answer(answer::Args),
    /// Appends to a file and syncs it, again and again: the disk's bare rate
    Fsync(fsync::Args),
    /// Connects, has one line echoed and closes, again and again: connections per second
    Tcp(tcp::Args),
    /// Has one TCP connection echo as much as it can: bytes per second
    Bulk(bulk::Args),
    /// Has datagrams echoed, a window of them in flight: datagrams per second
    Udp(udp::Args),
    /// Echoes one TCP connection after another by a bare read/write loop: the ceiling of `bulk`
    BulkLoop(bulk_loop::Args),
    /// Echoes datagrams by a bare recvmmsg/sendmmsg loop: the ceiling of `udp`
    UdpLoop(udp_loop::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dhcp(args) => dhcp::run(&args),
        Command::Answer(args) => answer::run(&args),
        Command::Fsync(args) => fsync::run(&args),
        Command::Tcp(args) => tcp::run(&args),
        Command::Bulk(args) => bulk::run(&args),
        Command::Udp(args) => udp::run(&args),
        Command::BulkLoop(args) => bulk_loop::run(&args),
        Command::UdpLoop(args) => udp_loop::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a command's one document, or the line of a listener, at once.
fn print(document: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, document)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// A positive number of seconds, of the command line.
fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if seconds > 0.0 && seconds <= 86_400.0 {
        Ok(std::time::Duration::from_secs_f64(seconds))
    } else {
        Err("must be above 0 and at most 86400 seconds".to_owned())
    }
}
