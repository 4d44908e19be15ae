//! `start`: hands over to the supervisor.

use std::process::ExitCode;

use super::{Invocation, Outcome, StartArgs};
use crate::supervisor;

pub(super) fn run(invocation: &Invocation, args: &StartArgs) -> Outcome {
    let code = supervisor::start(invocation.manager()?, args.foreground, args.last_good)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
