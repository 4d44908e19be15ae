//! `leases …`: one file per subcommand. All of them use the lease file itself, so they work whether the daemon runs or
//! not, and as the owner of the file. Who only reads changes and creates no file; who writes does so in the queue of the
//! daemon's own writers, who see it at once.

mod export;
mod history;
pub mod import;
mod kea;
mod list;
mod owner;
mod release;
mod sheet;
mod show;
mod write;

use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Subcommand;

use super::{Invocation, Outcome};
use crate::config::Config;
use crate::lease::StoreError;

pub(super) use owner::become_owner;

#[derive(Debug, Subcommand)]
pub(super) enum LeasesCommand {
    /// List the leases: a table on a terminal, CSV elsewhere
    List(list::ListArgs),
    /// Show all that is known of one address (exit code 1: it was never leased)
    Show(show::ShowArgs),
    /// End the lease of an address, or its rest after a decline or a conflict
    #[command(after_help = "\
The client is not told: it goes on using the address until it renews, and gets it again then unless somebody else has it.
The history says `released`. Exit code 1: nobody held it.")]
    Release(release::ReleaseArgs),
    /// Show who held which address, from when to when, and how it ended
    #[command(after_help = "\
Examples:
  echo-daemon leases history 10.0.0.5                          all that is known of it
  echo-daemon leases history 10.0.0.5 --at 2026-11-01T12:00    who held it then
  echo-daemon leases history --mac 00:11:22:33:44:55           what a client held

How it ended: active (it lasts), expired, released, reassigned, declined, conflict, deleted.")]
    History(history::HistoryArgs),
    /// Write every lease with all that is known of it, to be imported elsewhere
    Export(export::ExportArgs),
    /// Read leases from a CSV or JSON file: all of them, or none and every mistake with its line
    #[command(after_help = "\
The file is one of `leases export`, or of your own making: columns in any order, of which ip, expires, and mac or client_id
must be there. Times are 2026-11-01T12:00:00Z, local without the Z, or never.

  ip,mac,expires,hostname
  10.0.0.5,00:11:22:33:44:55,2026-11-01T12:00:00Z,printer

A lease file of Kea (kea-leases4.csv) is read too.")]
    Import(import::ImportArgs),
}

pub(super) fn run(invocation: &Invocation, command: &LeasesCommand) -> Outcome {
    let manager = invocation.manager()?;
    let config = match command {
        // What it may import hangs on the subnets: with a mistake among them it would judge by a guess.
        LeasesCommand::Import(_) => manager.load().map(|loaded| loaded.config),
        _ => manager.load_leniently(),
    };
    let config = config.map_err(|report| report.to_string())?;
    // Import and export open another file before.
    if !matches!(command, LeasesCommand::Import(_) | LeasesCommand::Export(_)) {
        become_owner(&config)?;
    }
    let done = match command {
        LeasesCommand::List(args) => list::run(&config, args),
        LeasesCommand::Show(args) => show::run(&config, args),
        LeasesCommand::Release(args) => release::run(&config, args),
        LeasesCommand::History(args) => history::run(&config, args),
        LeasesCommand::Export(args) => export::run(&config, args),
        LeasesCommand::Import(args) => import::run(&config, args),
    };
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // The reader of a pipe that has seen enough is no failure.
        Err(Failure::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(Failure::Write(error)) => Err(format!("could not write: {error}")),
        Err(Failure::Store(error)) => Err(explained(&config, &error)),
        Err(Failure::Refused(reason)) => Err(reason),
    }
}

/// Why a command has not done what it was told to.
enum Failure {
    /// The lease file.
    Store(StoreError),
    /// The output.
    Write(io::Error),
    /// What it was told, in words.
    Refused(String),
}

type Done = Result<(), Failure>;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// With what an administrator can do about it.
pub(super) fn explained(config: &Config, error: &StoreError) -> String {
    let kind = match error {
        StoreError::Io { source, .. } => source.kind(),
        // SQLite tells no more than that it could not open a file that it may not read or write.
        StoreError::Sqlite { source, .. } => match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly) => {
                io::ErrorKind::PermissionDenied
            }
            _ => return error.to_string(),
        },
        _ => return error.to_string(),
    };
    match kind {
        io::ErrorKind::NotFound => {
            format!("{error}\nhint: no daemon with DHCP was ever started with this configuration")
        }
        io::ErrorKind::PermissionDenied => {
            let owner =
                owner::name(&config.dhcp.store.path).map(|name| format!(", or as {name}, whose file it is"));
            format!("{error}\nhint: run it as root{}", owner.unwrap_or_default())
        }
        _ => error.to_string(),
    }
}

/// Six bytes of a hardware address (or as many as another medium has), in hex, as the lease file writes them.
fn mac(text: &str) -> Result<String, String> {
    hex(text)
        .ok()
        .filter(|mac| (2..=16).contains(&mac.split(':').count()))
        .ok_or_else(|| "no hardware address; write 00:11:22:33:44:55".to_owned())
}

/// Hex with something between the bytes, in one spelling: `00:1a`.
fn hex(text: &str) -> Result<String, String> {
    let bytes: Vec<&str> = text.split([':', '-']).collect();
    let is_byte = |byte: &&str| matches!(byte.len(), 1 | 2) && byte.bytes().all(|b| b.is_ascii_hexdigit());
    if !bytes.iter().all(is_byte) {
        return Err("no hex with colons; write 01:00:11:22:33:44:55".to_owned());
    }
    Ok(bytes.iter().map(|byte| format!("{:0>2}", byte.to_lowercase())).collect::<Vec<_>>().join(":"))
}

/// What [`hex`] has made of it, as bytes.
fn bytes(hex: &str) -> Vec<u8> {
    hex.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

/// A name that the configuration lacks is a mistake, unless leases of a former subnet bear it: then rows come.
fn unknown_subnet(config: &Config, name: &str) -> Failure {
    let names: Vec<&str> = config.dhcp.subnets.iter().map(|subnet| subnet.name.as_str()).collect();
    Failure::Refused(format!("there is no subnet {name:?}\nhint: subnets are {}", names.join(", ")))
}

fn never_leased(address: Ipv4Addr) -> Failure {
    Failure::Refused(format!("{address} was never leased"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_in_both_spellings_or_refused() {
        assert_eq!(mac("0:A-2:33:44:55").as_deref(), Ok("00:0a:02:33:44:55"));
        for wrong in ["zz", "00:11:22:33:44:zz", "001122334455", "", "00:111:22"] {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }
}
