//! What a running daemon has in force: its own word over the control socket, else what it last wrote down.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::client::{self, Reached};
use crate::config::{ConfigManager, Document, Place};

/// The effective configuration in force, with origins. Errors: nobody runs and nothing was written down, or the
/// answer cannot be understood.
pub(super) fn document(manager: &ConfigManager) -> Result<Document, String> {
    let config = manager.load_leniently().map_err(|report| report.to_string())?;
    let socket = &config.daemon.control_socket;
    let values = match client::get::<Map<String, Value>>(socket, "/v1/config")? {
        Reached::Answer(values) => values,
        Reached::Problem(problem) => return Err(format!("{}: {}", problem.title, problem.detail)),
        Reached::Nobody => return last(manager),
    };
    let origins = match client::get::<BTreeMap<String, Place>>(socket, "/v1/config/origins")? {
        Reached::Answer(origins) => origins,
        Reached::Problem(problem) => return Err(format!("{}: {}", problem.title, problem.detail)),
        Reached::Nobody => return last(manager),
    };
    Ok(Document { values, origins })
}

/// What was in force last, as the cache in the state folder has it.
fn last(manager: &ConfigManager) -> Result<Document, String> {
    let cached = manager.last_good().map_err(|report| format!("not running, and {report}"))?;
    let loaded = cached.load().map_err(|report| report.to_string())?;
    eprintln!("not running: this is what was in force last");
    Ok(loaded.effective)
}
