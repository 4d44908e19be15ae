//! The logger process: ties the collector of `daemon_utils` to main's orders, the configuration and the
//! counters. It reads no packet and no database; it ends when the last process that could log is gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use daemon_utils::log::collector::{self, Command, Control, Counters, Start, Told};
use daemon_utils::log::text::TextFormat;
use daemon_utils::log::{FileOutput, Outputs, OutputsConfig, Record, SyslogOutput};
use log::Level;

use super::{Context, Heard, Order, Word, hear};
use crate::config::Config;
use crate::events::Event;
use crate::stats::Counter;

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
    let mut orders = Orders { context, format: TextFormat::default() };
    collector::run(socket, outputs, Start::Standby, &mut orders, counters)
        .map(drop)
        .map_err(|errno| format!("could not collect log records: {errno}"))
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

/// Main's orders as the collector's commands; and what `status` shows of the log.
struct Orders<'a> {
    context: &'a Context,
    format: TextFormat,
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
                Ok(Heard::Order(Order::Reopen)) => return Told::Command(Command::Reopen),
                Ok(Heard::Order(Order::Quiesce)) => return Told::Command(Command::Finish),
                Ok(Heard::Order(Order::Stop)) => return Told::Command(Command::Stop),
                Ok(Heard::Order(Order::Verdict(..))) => {}
            }
        }
    }

    fn stopped_reading(&mut self) {
        self.context.say(&Word::Quiet);
    }

    fn writes(&mut self, record: &Record) {
        if record.level <= Level::Warn {
            let mut line = String::new();
            self.format.line(record, &mut line);
            self.context.shared.notes().push(line.trim_end());
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
