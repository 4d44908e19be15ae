//! `start`: hands over to the supervisor.

use std::process::ExitCode;

use serde_json::json;

use super::{Invocation, Outcome, StartArgs, StartCommand, say_json, style};
use crate::supervisor::{self, StartWishes, Started, say};

pub(super) fn run(invocation: &Invocation, args: &StartCommand) -> Outcome {
    start(invocation, &args.start, args.output.json)
}

/// Starts; `as_json`: the caller that comes back says so as JSON.
pub(super) fn start(invocation: &Invocation, args: &StartArgs, as_json: bool) -> Outcome {
    let warn = |warning: &str| style::complain(&format!("warning: {warning}"));
    let wishes =
        StartWishes { foreground: args.foreground, last_good: args.last_good, recover: args.recover };
    match supervisor::start(invocation.manager()?, wishes, &warn)? {
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
