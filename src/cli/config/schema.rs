//! `config schema`: what a configuration file may hold, as JSON Schema. The options of DHCP come from their table.

use std::process::ExitCode;

use super::Outcome;
use crate::config;
use crate::protocol::options;
use crate::supervisor::say;

pub(super) fn run() -> Outcome {
    let schema = config::schema(options::schema::definitions());
    say(&serde_json::to_string_pretty(&schema).map_err(|error| error.to_string())?);
    Ok(ExitCode::SUCCESS)
}
