//! `check`: the configuration with every check of every layer and a look at this machine; all mistakes at once.

use std::process::ExitCode;

use super::style::{self, Tone};
use super::{Invocation, Outcome, OutputArgs, say_json};
use crate::config::Report;
use crate::supervisor::settings;

pub(super) fn run(invocation: &Invocation, args: &OutputArgs) -> Outcome {
    let manager = invocation.manager()?;
    let (report, good) = match settings::check(&manager) {
        Ok(settings) => (Report::new(settings.warnings), true),
        Err(report) => (report, false),
    };
    if args.json {
        say_json(&report)?;
    } else if good {
        for warning in &report.problems {
            style::complain(&warning.to_string());
        }
        let file = manager.sources().absolute_file();
        let verdict = style::mark(Tone::Good, "no mistakes found");
        style::say(&format!("{}: {verdict}", style::plain(&file.unwrap_or_default().display().to_string())));
    } else {
        style::complain(&report.to_string());
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
