//! `start`: hands over to the supervisor.

use std::process::ExitCode;

use serde_json::json;

use super::{Invocation, Outcome, StartArgs, StartCommand, say_json, style};
use crate::supervisor::{self, Started, say};

pub(super) fn run(invocation: &Invocation, args: &StartCommand) -> Outcome {
    start(invocation, &args.start, args.output.json)
}

/// Starts; `as_json`: the caller that comes back says so as JSON.
pub(super) fn start(invocation: &Invocation, args: &StartArgs, as_json: bool) -> Outcome {
    let warn = |warning: &str| style::complain(&format!("warning: {warning}"));
    match supervisor::start(invocation.manager()?, args.foreground, args.last_good, &warn)? {
        Started::Ended(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        Started::Running { pid, words } => {
            if as_json {
                say_json(&json!({ "started": true, "pid": pid, "message": words }))?;
            } else {
                say(&words);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
