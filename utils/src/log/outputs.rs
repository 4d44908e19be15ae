//! The outputs: every record is written to each one that wants its level. An output that fails is tried again
//! with a back-off, what it missed is counted and reported in it, and the others go on. Called by the
//! collector, and by main to check the settings before it becomes a daemon.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter};

use super::error::OutputError;
use super::file::{self, LogFile};
use super::frame::{Field, Record};
use super::json::JsonFormat;
use super::levels::Levels;
use super::limits::Suppressed;
use super::sink::Sink;
use super::syslog::SyslogSink;
use super::text::TextFormat;

/// First and longest pause before a failed output is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Event and level of the report that an output lacks records.
pub const RECORDS_DROPPED: (&str, Level) = ("LOG_RECORDS_DROPPED", Level::Warn);
/// Event and level of the report that an output does not work.
pub const OUTPUT_FAILED: (&str, Level) = ("LOG_OUTPUT_FAILED", Level::Error);

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

/// The open outputs.
#[derive(Debug)]
pub struct Outputs {
    list: Vec<Output>,
    text: TextFormat,
    json: JsonFormat,
    /// The lines of the record in hand, made when the first output asks.
    text_line: String,
    json_line: String,
    /// What the logger itself has to say, until [`Outputs::speak`].
    own: Vec<Own>,
}

/// A record of the logger itself.
#[derive(Debug)]
struct Own {
    level: Level,
    event: &'static str,
    message: String,
    fields: Vec<Field<'static>>,
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
    /// Why it stopped working, until that is said.
    failure: Option<String>,
}

impl Outputs {
    /// Opens every output. Warnings are for the operator: what is open but does not work fully.
    pub fn open(config: &OutputsConfig) -> Result<(Self, Vec<String>), OutputError> {
        let mut warnings = Vec::new();
        let mut list = Vec::new();
        check_shared(config)?;
        let mut add = |name, sink, level| {
            let levels = Levels::new(level, config.modules.clone());
            list.push(Output { name, sink, levels, missed: 0, failing: None, failure: None });
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
            add("console", Sink::console(), level);
        }
        if let Some(settings) = &config.syslog {
            let mut sink = SyslogSink::new(settings)?;
            if let Err(error) = sink.connect() {
                warnings.push(format!("{error}; it is tried again"));
            }
            add("syslog", Sink::Syslog(sink), settings.level);
        }
        let (text, json) = (TextFormat::default(), JsonFormat::default());
        let (text_line, json_line, own) = (String::new(), String::new(), Vec::new());
        Ok((Self { list, text, json, text_line, json_line, own }, warnings))
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

    /// Makes the folders of the log files where that last component is missing, for a process that may not later. Errors
    /// come when the file is opened.
    pub fn make_folders(config: &OutputsConfig) {
        for output in [&config.file, &config.json].into_iter().flatten() {
            let _ = file::make_folder(&output.path);
        }
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

    /// Opens every output anew: a log file that was moved away is created again. What cannot be opened is
    /// tried again.
    pub fn reopen(&mut self) {
        for output in &mut self.list {
            output.reopen();
        }
    }

    /// Queues a record of the logger's own, which [`Outputs::speak`] writes.
    pub fn say(&mut self, level: Level, event: &'static str, message: String) {
        self.own.push(Own { level, event, message, fields: Vec::new() });
    }

    /// Queues a record that events were suppressed by their limit: `event` is the record's own.
    pub fn say_suppressed(&mut self, level: Level, event: &'static str, what: Suppressed) {
        let Suppressed { event: name, count } = what;
        let message = format!("{count} records of {name} were suppressed by its rate limit");
        let fields = vec![field("name", name.to_owned(), false), field("count", count.to_string(), true)];
        self.own.push(Own { level, event, message, fields });
    }

    /// Writes the logger's own records: what [`Outputs::say`] queued, and which output has failed since the
    /// last call; `heard` gets each of them, whether an output takes it or not. Returns how many failed.
    pub fn speak(&mut self, heard: &mut dyn FnMut(&Record)) -> u64 {
        let mut failures = 0;
        for output in &mut self.list {
            if let Some(message) = output.failure.take() {
                failures += 1;
                let (event, level) = OUTPUT_FAILED;
                let fields = vec![field("output", output.name.to_owned(), false)];
                self.own.push(Own { level, event, message, fields });
            }
        }
        for own in std::mem::take(&mut self.own) {
            let record = own_record(own.level, own.event, own.message, own.fields);
            if record.level <= Level::Warn {
                heard(&record);
            }
            self.write(&record);
        }
        failures
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
        let message = format!("dropped {count} records");
        let fields = vec![field("count", count, true), field("output", self.name.to_owned(), false)];
        let record = own_record(RECORDS_DROPPED.1, RECORDS_DROPPED.0, message, fields);
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

    fn reopen(&mut self) {
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
    }

    /// Remembers whether the output works. Whether it does.
    fn note(&mut self, result: &Result<(), OutputError>) -> bool {
        self.failing = match (result, self.failing) {
            (Ok(()), _) => None,
            (Err(error), before) => {
                if before.is_none() {
                    self.failure = Some(error.to_string());
                }
                let pause = before.map_or(RETRY.0, |(_, pause)| (pause * 2).min(RETRY.1));
                Some((Instant::now() + pause, pause))
            }
        };
        result.is_ok()
    }
}

fn own_record(
    level: Level,
    event: &'static str,
    message: String,
    fields: Vec<Field<'static>>,
) -> Record<'static> {
    Record {
        time: SystemTime::now(),
        level,
        pid: std::process::id(),
        process: "logger".into(),
        target: module_path!().into(),
        event: event.into(),
        message: message.into(),
        fields,
    }
}

fn field(key: &'static str, value: String, literal: bool) -> Field<'static> {
    Field { key: key.into(), value: value.into(), literal }
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
        outputs.reopen();
        assert_eq!(outputs.speak(&mut |_| ()), 1);
        assert_eq!(outputs.write(&record("one", Level::Info)), 1);
        assert_eq!(outputs.write(&record("two", Level::Info)), 1);
        assert!(outputs.has_losses());
        fs::remove_dir(at("a.log")).unwrap();
        outputs.reopen();
        assert_eq!(outputs.speak(&mut |_| ()), 0);
        assert_eq!(outputs.write(&record("three", Level::Info)), 0);
        let text = fs::read_to_string(at("a.log")).unwrap();
        assert!(text.contains("LOG_RECORDS_DROPPED dropped 3 records count=3 output=file\n"), "{text}");
        assert!(text.ends_with("three\n") && !outputs.has_losses());
        let json = fs::read_to_string(at("a.json")).unwrap();
        assert!(json.lines().count() == 4 && !json.contains("DROPPED"));
        assert!(json.contains(r#""event":"LOG_OUTPUT_FAILED","message":"could not open log file"#), "{json}");
    }

    #[test]
    fn outputs_that_would_share_a_file_are_refused() {
        let config = |file: &str, json: &str| OutputsConfig {
            file: Some(output(file.into())),
            json: Some(output(json.into())),
            ..OutputsConfig::default()
        };
        for (file, json) in [("/x/a", "/x/a"), ("/x/a", "/x/a.1"), ("/x/a.12", "/x/a")] {
            assert!(
                matches!(Outputs::check(&config(file, json)), Err(OutputError::Shared { .. })),
                "{file} {json}"
            );
        }
        assert!(!is_of(Path::new("/x/a.log.json"), Path::new("/x/a.log")));
    }

    #[test]
    fn errors_name_the_path_the_reason_and_what_to_do() {
        let config =
            OutputsConfig { file: Some(output("/no/such/place/a.log".into())), ..OutputsConfig::default() };
        let error = Outputs::check(&config).unwrap_err();
        assert!(error.to_string().contains("\"/no/such/place/a.log\": No such file"), "{error}");
        assert!(error.hint().unwrap().contains("\"/no/such/place\""));
    }
}
