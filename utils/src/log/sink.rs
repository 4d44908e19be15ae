//! The places that a record is written to: a file as text, a file as JSON, the console, syslog. A sink writes or
//! fails; what follows from a failure is [`super::outputs`]' business, its only caller.

use log::Level;
use log4rs::append::console::{ConsoleAppender, Target};
use log4rs::encode::{self, Color, Encode, Style};

use super::error::OutputError;
use super::file::{LogFile, append_at};
use super::frame::Record;
use super::syslog::SyslogSink;

/// One place.
#[derive(Debug)]
pub(super) enum Sink {
    Text(LogFile),
    Json(LogFile),
    Console(ConsoleAppender),
    Syslog(SyslogSink),
}

impl Sink {
    /// A console on stderr.
    pub(super) fn console() -> Self {
        let console = ConsoleAppender::builder().target(Target::Stderr).encoder(Box::new(Coloured));
        Self::Console(console.build())
    }

    /// Writes a record, of which `line` is the form that this sink wants.
    pub(super) fn write(&mut self, record: &Record, line: &str) -> Result<(), OutputError> {
        match self {
            Self::Text(file) | Self::Json(file) => file.write(line),
            Self::Console(console) => {
                append_at(console, record.level, line).map_err(|reason| OutputError::Console { reason })
            }
            Self::Syslog(syslog) => syslog.write(record),
        }
    }
}

/// The console's encoder: finished lines, coloured by level where the console can.
#[derive(Debug)]
struct Coloured;

impl Encode for Coloured {
    fn encode(&self, out: &mut dyn encode::Write, record: &log::Record) -> anyhow::Result<()> {
        let colour = match record.level() {
            Level::Error => Some(Color::Red),
            Level::Warn => Some(Color::Yellow),
            Level::Info => None,
            Level::Debug | Level::Trace => Some(Color::Cyan),
        };
        let line = record.args().to_string();
        let Some(colour) = colour else {
            out.write_all(line.as_bytes())?;
            return Ok(());
        };
        out.set_style(Style::new().text(colour))?;
        out.write_all(line.trim_end_matches('\n').as_bytes())?;
        out.set_style(&Style::new())?;
        out.write_all(b"\n")?;
        Ok(())
    }
}
