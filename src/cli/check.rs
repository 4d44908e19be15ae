//! `check`: the configuration with every check of every layer and a look at this machine; all mistakes at once.

use std::process::ExitCode;

use super::{Invocation, Outcome, OutputArgs};
use crate::config::Report;
use crate::supervisor::{say, settings};

pub(super) fn run(invocation: &Invocation, args: &OutputArgs) -> Outcome {
    let manager = invocation.manager()?;
    let (report, good) = match settings::check(&manager) {
        Ok(settings) => (Report::new(settings.warnings), true),
        Err(report) => (report, false),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        say(&text);
    } else if good {
        for warning in &report.problems {
            eprintln!("{warning}");
        }
        let file = manager.sources().absolute_file();
        say(&format!("{}: no mistakes found", file.unwrap_or_default().display()));
    } else {
        eprintln!("{report}");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
