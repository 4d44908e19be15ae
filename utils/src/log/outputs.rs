//! The outputs: every record is written to each one that wants its level. An output that fails is tried again
//! with a back-off, what it missed is counted and reported in it, and the others go on. Called by the
//! collector, and by main to check the settings before it becomes a daemon.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter};
use log4rs::append::console::{ConsoleAppender, Target};
use log4rs::encode::{self, Color, Encode, Style};

use super::file::{self, LogFile, append_at};
use super::frame::{Field, Record};
use super::json::JsonFormat;
use super::levels::Levels;
use super::syslog::SyslogSink;
use super::text::TextFormat;

/// First and longest pause before a failed output is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Which outputs there are.
#[derive(Debug, Clone, Default)]
pub struct OutputsConfig {
    /// The text log.
    pub file: Option<FileOutput>,
    /// JSON lines.
    pub json: Option<FileOutput>,
    /// Text on stderr, in colour where that is a terminal.
    pub console: Option<LevelFilter>,
    /// Syslog.
    pub syslog: Option<SyslogOutput>,
    /// Levels of modules, which override every output's own level; names as in [`Levels`].
    pub modules: BTreeMap<String, LevelFilter>,
}

/// A file with size rotation.
#[derive(Debug, Clone)]
pub struct FileOutput {
    /// Where it is; rotated files get `.1`, `.2`, … appended.
    pub path: PathBuf,
    /// Once it is longer, in bytes, it is rotated; 0: never.
    pub max_bytes: u64,
    /// Rotated files that are kept; 0: none.
    pub backups: u32,
    /// Lowest level written.
    pub level: LevelFilter,
}

/// A syslog daemon.
#[derive(Debug, Clone)]
pub struct SyslogOutput {
    /// A socket's absolute path, or `udp://host:port`.
    pub address: String,
    /// As in syslog(3), in lower case and without `LOG_`: `daemon`.
    pub facility: String,
    /// Lowest level sent.
    pub level: LevelFilter,
    /// The program's name in the messages.
    pub ident: String,
}

/// Why an output cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The path cannot be used with the rotation.
    #[error("could not use log file {path:?}: {reason}")]
    Name {
        /// The log file.
        path: PathBuf,
        /// What is wrong with the path.
        reason: &'static str,
    },
    /// The folder is missing and cannot be created.
    #[error("could not create the folder of log file {path:?}: {source}")]
    Folder {
        /// The log file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else than a file is there.
    #[error("could not open log file {path:?}: it is {kind}")]
    NotAFile {
        /// The log file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The file cannot be opened or created.
    #[error("could not open log file {path:?}: {source}")]
    Open {
        /// The log file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line could not be written.
    #[error("could not write log file {path:?}: {reason}")]
    Write {
        /// The log file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Two outputs would write to the same file, or one to the other's rotated files.
    #[error("could not use log file {path:?}: two outputs would write to it")]
    Shared {
        /// The log file.
        path: PathBuf,
    },
    /// No such syslog facility.
    #[error("unknown syslog facility {name:?}")]
    Facility {
        /// The name.
        name: String,
    },
    /// Not an address of a syslog daemon.
    #[error("could not understand syslog address {address:?}")]
    Address {
        /// The address.
        address: String,
    },
    /// The syslog daemon cannot be reached.
    #[error("could not send to syslog at {address:?}: {reason}")]
    Syslog {
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
    /// stderr cannot be written.
    #[error("could not write to the console: {reason}")]
    Console {
        /// Why not.
        reason: String,
    },
}

impl OutputError {
    /// What the user can do, as one line.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Name { .. } => "choose a plain path for the log file".to_owned(),
            Self::Folder { folder, .. } => {
                format!(
                    "create \"{}\" with write permission for the user that starts the daemon",
                    folder.display()
                )
            }
            Self::NotAFile { .. } => "name a regular file: links and devices are not followed".to_owned(),
            Self::Open { path, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("start as a user that may write \"{}\", or choose another log file", path.display())
            }
            Self::Shared { .. } => "give every output a file of its own".to_owned(),
            Self::Facility { .. } => {
                "facilities are daemon, user, local0 to local7, … (syslog(3))".to_owned()
            }
            Self::Address { .. } => "give an absolute path such as /dev/log, or udp://host:514".to_owned(),
            Self::Open { .. } | Self::Write { .. } | Self::Syslog { .. } | Self::Console { .. } => {
                return None;
            }
        })
    }
}

/// The open outputs.
#[derive(Debug)]
pub struct Outputs {
    list: Vec<Output>,
    text: TextFormat,
    json: JsonFormat,
    /// The lines of the record in hand, made when the first output asks.
    text_line: String,
    json_line: String,
}

#[derive(Debug)]
struct Output {
    name: &'static str,
    sink: Sink,
    levels: Levels,
    /// Records that this output should have and has not.
    missed: u64,
    /// Set while it does not work: when to try again, and the pause after that.
    failing: Option<(Instant, Duration)>,
}

#[derive(Debug)]
enum Sink {
    Text(LogFile),
    Json(LogFile),
    Console(ConsoleAppender),
    Syslog(SyslogSink),
}

impl Outputs {
    /// Opens every output. Warnings are for the operator: what is open but does not work fully.
    pub fn open(config: &OutputsConfig) -> Result<(Self, Vec<String>), OutputError> {
        let mut warnings = Vec::new();
        let mut list = Vec::new();
        check_shared(config)?;
        let mut add = |name, sink, level| {
            let levels = Levels::new(level, config.modules.clone());
            list.push(Output { name, sink, levels, missed: 0, failing: None });
        };
        for (name, wrap, file) in [
            ("file", Sink::Text as fn(LogFile) -> Sink, &config.file),
            ("json", Sink::Json as fn(LogFile) -> Sink, &config.json),
        ] {
            let Some(file) = file else { continue };
            let open = LogFile::open(&file.path, file.max_bytes, file.backups)?;
            if file.max_bytes != 0 && !open.may_rename() {
                warnings.push(format!(
                    "log file \"{}\" will grow without rotation: its folder is not writable",
                    file.path.display()
                ));
            }
            add(name, wrap(open), file.level);
        }
        if let Some(level) = config.console {
            let console = ConsoleAppender::builder().target(Target::Stderr).encoder(Box::new(Coloured));
            add("console", Sink::Console(console.build()), level);
        }
        if let Some(settings) = &config.syslog {
            let mut sink = SyslogSink::new(settings)?;
            if let Err(error) = sink.connect() {
                warnings.push(format!("{error}; it is tried again"));
            }
            add("syslog", Sink::Syslog(sink), settings.level);
        }
        let (text, json) = (TextFormat::default(), JsonFormat::default());
        Ok((Self { list, text, json, text_line: String::new(), json_line: String::new() }, warnings))
    }

    /// Writes a record to every output that wants it. Returns how many of them could not take it.
    pub fn write(&mut self, record: &Record) -> u64 {
        self.text_line.clear();
        self.json_line.clear();
        let mut lost = 0;
        for output in &mut self.list {
            if output.levels.allow(&record.target, record.level)
                && !output.offer(
                    record,
                    &mut self.text,
                    &mut self.json,
                    &mut self.text_line,
                    &mut self.json_line,
                )
            {
                lost += 1;
            }
        }
        lost
    }

    /// Opens every output anew: a log file that was moved away is created again.
    pub fn reopen(&mut self) -> Vec<OutputError> {
        self.list.iter_mut().filter_map(|output| output.reopen().err()).collect()
    }

    /// Records were lost before they reached the outputs: each one will report it.
    pub fn note_lost(&mut self, records: u64) {
        for output in &mut self.list {
            output.missed += records;
        }
    }

    /// Reports what was missed in the outputs that work again.
    pub fn report_lost(&mut self) {
        for output in &mut self.list {
            if output.missed > 0 && output.may_try() {
                output.report(&mut self.text, &mut self.json);
            }
        }
    }

    /// Whether an output has losses to report, so that [`Outputs::report_lost`] is to be called again soon.
    pub fn has_losses(&self) -> bool {
        self.list.iter().any(|output| output.missed > 0)
    }
}

impl Output {
    /// Whether the record was written.
    fn offer(
        &mut self,
        record: &Record,
        text: &mut TextFormat,
        json: &mut JsonFormat,
        text_line: &mut String,
        json_line: &mut String,
    ) -> bool {
        if !self.may_try() || (self.missed > 0 && !self.report(text, json)) {
            self.missed += 1;
            return false;
        }
        let result = match &self.sink {
            Sink::Json(_) => {
                if json_line.is_empty() {
                    json.line(record, json_line);
                }
                self.sink.write(record, json_line)
            }
            Sink::Text(_) | Sink::Console(_) | Sink::Syslog(_) => {
                if text_line.is_empty() {
                    text.line(record, text_line);
                }
                self.sink.write(record, text_line)
            }
        };
        let written = self.note(&result);
        self.missed += u64::from(!written);
        written
    }

    fn may_try(&self) -> bool {
        self.failing.is_none_or(|(again, _)| Instant::now() >= again)
    }

    /// Writes how much this output missed. Whether that worked.
    fn report(&mut self, text: &mut TextFormat, json: &mut JsonFormat) -> bool {
        let count = self.missed.to_string();
        let field = |key: &'static str, value, literal| Field { key: key.into(), value, literal };
        let record = Record {
            time: SystemTime::now(),
            level: Level::Warn,
            pid: std::process::id(),
            process: "logger".into(),
            target: "log".into(),
            event: "LOG_RECORDS_DROPPED".into(),
            message: format!("dropped {count} records").into(),
            fields: vec![field("count", count.into(), true), field("output", self.name.into(), false)],
        };
        let mut line = String::new();
        match &self.sink {
            Sink::Json(_) => json.line(&record, &mut line),
            Sink::Text(_) | Sink::Console(_) | Sink::Syslog(_) => text.line(&record, &mut line),
        }
        let result = self.sink.write(&record, &line);
        let written = self.note(&result);
        if written {
            self.missed = 0;
        }
        written
    }

    fn reopen(&mut self) -> Result<(), OutputError> {
        self.failing = None;
        let result = match &mut self.sink {
            Sink::Text(file) | Sink::Json(file) => file.reopen(),
            Sink::Console(_) => Ok(()),
            Sink::Syslog(syslog) => {
                syslog.reopen();
                Ok(())
            }
        };
        self.note(&result);
        result
    }

    /// Remembers whether the output works. Whether it does.
    fn note(&mut self, result: &Result<(), OutputError>) -> bool {
        self.failing = match (result, self.failing) {
            (Ok(()), _) => None,
            (Err(_), before) => {
                let pause = before.map_or(RETRY.0, |(_, pause)| (pause * 2).min(RETRY.1));
                Some((Instant::now() + pause, pause))
            }
        };
        result.is_ok()
    }
}

impl Sink {
    fn write(&mut self, record: &Record, line: &str) -> Result<(), OutputError> {
        match self {
            Self::Text(file) | Self::Json(file) => file.write(line),
            Self::Console(console) => {
                append_at(console, record.level, line).map_err(|reason| OutputError::Console { reason })
            }
            Self::Syslog(syslog) => syslog.write(record),
        }
    }
}

/// Checks that every output could be opened, and leaves everything as it was. For main, while the user can
/// still read an error.
pub fn check(config: &OutputsConfig) -> Result<(), OutputError> {
    check_shared(config)?;
    for output in [&config.file, &config.json].into_iter().flatten() {
        file::check(&output.path)?;
    }
    config.syslog.as_ref().map_or(Ok(()), |settings| SyslogSink::new(settings).map(drop))
}

/// Neither file may be the other one or one of its rotated files.
fn check_shared(config: &OutputsConfig) -> Result<(), OutputError> {
    let (Some(file), Some(json)) = (&config.file, &config.json) else { return Ok(()) };
    if is_of(&file.path, &json.path) || is_of(&json.path, &file.path) {
        return Err(OutputError::Shared { path: json.path.clone() });
    }
    Ok(())
}

/// Whether `path` is `log` or `log.N`.
fn is_of(path: &Path, log: &Path) -> bool {
    let rest = path.to_str().zip(log.to_str()).and_then(|(path, log)| path.strip_prefix(log));
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('.').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn output(path: PathBuf) -> FileOutput {
        FileOutput { path, max_bytes: 0, backups: 1, level: LevelFilter::Info }
    }

    fn record(message: &str, level: Level) -> Record<'_> {
        Record {
            time: SystemTime::now(),
            level,
            pid: 1,
            process: "x".into(),
            target: "echo_daemon::dhcp".into(),
            event: "".into(),
            message: message.into(),
            fields: vec![],
        }
    }

    #[test]
    fn each_output_writes_what_its_level_and_the_modules_allow() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut config = OutputsConfig {
            file: Some(output(at("a.log"))),
            json: Some(FileOutput { level: LevelFilter::Error, ..output(at("a.json")) }),
            ..OutputsConfig::default()
        };
        let (mut outputs, warnings) = Outputs::open(&config).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        for level in [Level::Error, Level::Info, Level::Debug] {
            assert_eq!(outputs.write(&record(level.as_str(), level)), 0);
        }
        assert_eq!(fs::read_to_string(at("a.log")).unwrap().lines().count(), 2);
        assert_eq!(fs::read_to_string(at("a.json")).unwrap().lines().count(), 1);
        config.modules = [("dhcp".to_owned(), LevelFilter::Debug)].into();
        let (mut outputs, _) = Outputs::open(&config).unwrap();
        outputs.write(&record("more", Level::Debug));
        assert_eq!(fs::read_to_string(at("a.log")).unwrap().lines().count(), 3);
        assert_eq!(fs::read_to_string(at("a.json")).unwrap().lines().count(), 2);
    }

    #[test]
    fn failing_output_is_skipped_and_reports_its_losses_once_it_works() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let config = OutputsConfig {
            file: Some(output(at("a.log"))),
            json: Some(output(at("a.json"))),
            ..OutputsConfig::default()
        };
        let (mut outputs, _) = Outputs::open(&config).unwrap();
        fs::remove_file(at("a.log")).unwrap();
        fs::create_dir(at("a.log")).unwrap();
        assert_eq!(outputs.reopen().len(), 1);
        assert_eq!(outputs.write(&record("one", Level::Info)), 1);
        assert_eq!(outputs.write(&record("two", Level::Info)), 1);
        assert!(outputs.has_losses());
        fs::remove_dir(at("a.log")).unwrap();
        assert!(outputs.reopen().is_empty());
        assert_eq!(outputs.write(&record("three", Level::Info)), 0);
        let text = fs::read_to_string(at("a.log")).unwrap();
        assert!(text.contains("LOG_RECORDS_DROPPED dropped 2 records count=2 output=file\n"), "{text}");
        assert!(text.ends_with("three\n") && !outputs.has_losses());
        let json = fs::read_to_string(at("a.json")).unwrap();
        assert!(json.lines().count() == 3 && !json.contains("DROPPED"));
    }

    #[test]
    fn outputs_that_would_share_a_file_are_refused() {
        let config = |file: &str, json: &str| OutputsConfig {
            file: Some(output(file.into())),
            json: Some(output(json.into())),
            ..OutputsConfig::default()
        };
        for (file, json) in [("/x/a", "/x/a"), ("/x/a", "/x/a.1"), ("/x/a.12", "/x/a")] {
            assert!(matches!(check(&config(file, json)), Err(OutputError::Shared { .. })), "{file} {json}");
        }
        assert!(!is_of(Path::new("/x/a.log.json"), Path::new("/x/a.log")));
    }

    #[test]
    fn errors_name_the_path_the_reason_and_what_to_do() {
        let config =
            OutputsConfig { file: Some(output("/no/such/place/a.log".into())), ..OutputsConfig::default() };
        let error = check(&config).unwrap_err();
        assert!(error.to_string().contains("\"/no/such/place/a.log\": No such file"), "{error}");
        assert!(error.hint().unwrap().contains("\"/no/such/place\""));
    }
}
