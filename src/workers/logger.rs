//! The logger process: ties the collector of `daemon_utils` to main's orders, the configuration and the
//! counters. It reads no packet and no database; it ends when the last process that could log is gone.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use daemon_utils::log::collector::{self, Command, Control, Counters, Start, Told};
use daemon_utils::log::text::TextFormat;
use daemon_utils::log::{FileOutput, Limits, Outputs, OutputsConfig, Record, SyslogOutput};
use log::Level;

use super::{Context, Heard, Order, Word, hear};
use crate::config::Config;
use crate::events::Event;
use crate::stats::{Counter, Shared};
use crate::workers::regions::Region;

/// The program's name in syslog messages.
const IDENT: &str = "echo-daemon";

/// The logger's loop. `socket` is the read end of the log socket; `console` adds text on stderr.
pub fn run(context: &Context, socket: OwnedFd, console: bool) -> Result<(), String> {
    let (mut outputs, warnings) = Outputs::open(&outputs(&context.config, console)).map_err(|error| {
        let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        format!("{error}{hint}")
    })?;
    for warning in warnings {
        outputs.say(Event::DaemonWarning.level(), Event::DaemonWarning.id(), warning);
    }
    context.say(&Word::Ready);
    let total = || context.shared.counter(Counter::LogDropped);
    let counters = Counters {
        own: context.slot.cell(Counter::LogDropped),
        failures: context.slot.cell(Counter::ErrorLog),
        total: &total,
    };
    let limits = limits(&context.config, context.shared);
    let folders = Folders::of(&context.config);
    let mut orders = Orders { context, limits, text: TextFormat::default(), folders, shut_out: false };
    collector::run(socket, outputs, Start::Standby, &mut orders, counters)
        .map_err(|errno| format!("could not collect log records: {errno}"))?;
    if orders.shut_out {
        return Err("another folder has taken the place of the log's: another logger opens it".to_owned());
    }
    Ok(())
}

/// The outputs that a configuration asks for. `console`: also where the configuration does not (foreground).
pub fn outputs(config: &Config, console: bool) -> OutputsConfig {
    let logging = &config.logging;
    let file = |path: &std::path::Path, level| FileOutput {
        path: path.to_owned(),
        max_bytes: logging.max_log_size,
        backups: logging.backup_count,
        level,
    };
    OutputsConfig {
        file: Some(file(&logging.log_file, logging.log_level)),
        json: logging.json.enabled.then(|| file(&logging.json.file, logging.json.level)),
        console: (console || logging.console).then_some(logging.log_level),
        syslog: logging.syslog.enabled.then(|| SyslogOutput {
            address: logging.syslog.address.clone(),
            facility: logging.syslog.facility.clone(),
            level: logging.syslog.level,
            ident: IDENT.to_owned(),
        }),
        modules: logging.modules.clone(),
    }
}

/// Makes the last folder of each log file where it is missing: the logger itself may make none any more. What goes wrong shows
/// when the file is opened.
pub fn make_folders(config: &Config) {
    Outputs::make_folders(&outputs(config, false));
}

/// The folders of the log files.
pub fn folders(config: &Config) -> impl Iterator<Item = &Path> {
    let json = config.logging.json.enabled.then_some(&config.logging.json.file);
    [&config.logging.log_file].into_iter().chain(json).filter_map(|file| file.parent())
}

/// How often each event is logged, by all processes together.
pub fn limits(config: &Config, shared: Shared) -> Limits {
    let limit = |event: &Event| match config.logging.rate_limits.get(event.id()) {
        Some(limit) => (event.id(), *limit),
        None => (event.id(), event.limit()),
    };
    Limits::new(Event::ALL.iter().map(limit), Region::LogLimits.of(shared))
}

/// The level at which it is told that an event was suppressed: its own, so that who sees the one sees the other.
pub fn level_of(event: &str) -> Level {
    let found = Event::ALL.iter().find(|known| known.id() == event);
    found.map_or(Event::LogEventsSuppressed.level(), |event| event.level())
}

/// The folders as they were when the logger was born. It is confined to these: one that takes the place of another is closed
/// to it.
struct Folders(Vec<(PathBuf, Option<(u64, u64)>)>);

impl Folders {
    fn of(config: &Config) -> Self {
        Self(folders(config).map(|path| (path.to_owned(), identity(path))).collect())
    }

    fn are_the_same(&self) -> bool {
        self.0.iter().all(|(path, then)| identity(path) == *then)
    }
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Main's orders as the collector's commands.
struct Orders<'a> {
    context: &'a Context,
    limits: Limits,
    text: TextFormat,
    folders: Folders,
    /// It leaves, so that another one is born for the folders that are there now.
    shut_out: bool,
}

impl Control for Orders<'_> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.context.channel.as_fd()
    }

    fn next(&mut self) -> Told {
        loop {
            match hear(&self.context.channel) {
                Ok(Heard::Nothing) => return Told::Nothing,
                // A broken channel tells nothing any more, either.
                Ok(Heard::MainGone) | Err(_) => return Told::Gone,
                Ok(Heard::Order(Order::Begin)) => return Told::Command(Command::Begin),
                Ok(Heard::Order(Order::Reopen)) if self.folders.are_the_same() => {
                    return Told::Command(Command::Reopen);
                }
                Ok(Heard::Order(Order::Reopen)) => {
                    self.shut_out = true;
                    return Told::Command(Command::Finish);
                }
                Ok(Heard::Order(Order::Quiesce)) => return Told::Command(Command::Finish),
                Ok(Heard::Order(Order::Stop)) => return Told::Command(Command::Stop),
                Ok(Heard::Order(Order::Verdict(..))) => {}
            }
        }
    }

    fn stopped_reading(&mut self) {
        // Who leaves unasked is replaced.
        if !self.shut_out {
            self.context.say(&Word::Quiet);
        }
    }

    fn remember(&mut self, record: &Record<'_>) {
        let mut line = String::new();
        self.text.line(record, &mut line);
        self.context.shared.notes().push(line.trim_end());
    }

    /// What was suppressed of events that are quiet now: nobody else would tell.
    fn report(&mut self, outputs: &mut Outputs) {
        for quiet in self.limits.take_quiet_now() {
            outputs.say_suppressed(level_of(quiet.event), Event::LogEventsSuppressed.id(), quiet);
        }
    }
}

#[cfg(test)]
mod tests {
    use daemon_utils::log::outputs::{OUTPUT_FAILED, RECORDS_DROPPED};

    use super::*;

    #[test]
    fn events_of_the_transport_stand_in_the_table() {
        for (event, said) in
            [(Event::LogRecordsDropped, RECORDS_DROPPED), (Event::LogOutputFailed, OUTPUT_FAILED)]
        {
            assert_eq!((event.id(), event.level()), said);
        }
    }
}
