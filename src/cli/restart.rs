//! `restart`: stop, then start. The new configuration is checked first: a mistake in it must not end a daemon
//! that serves.

use super::{Invocation, Outcome, RestartArgs, start, stop};
use crate::supervisor::settings;

pub(super) fn run(invocation: &Invocation, args: &RestartArgs) -> Outcome {
    let manager = invocation.manager()?;
    let checked = match settings::load(&manager) {
        // Its own `start` says what is wrong, and uses what was in force last.
        Err(_) if args.start.last_good => manager.last_good().and_then(|cached| settings::load(&cached)),
        checked => checked,
    };
    let loaded =
        checked.map_err(|report| format!("{report}\nnothing has changed: a daemon that runs goes on"))?;
    stop::stop(&loaded.config, &args.stop)?;
    start::start(invocation, &args.start, args.output.json)
}
