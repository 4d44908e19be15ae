//! Syslog as one of the outputs: RFC 3164 messages to a local socket or to a host by UDP, with the speaker's
//! time and PID. It never waits for a syslog daemon that hangs. Called by [`super::outputs`] only.

use std::fmt::Write as _;
use std::io::Write;
use std::net::{ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Local};
use log::Level;
use syslog::{Facility, LogFormat, Logger, LoggerBackend, Severity};

use super::error::OutputError;
use super::frame::Record;
use super::outputs::SyslogOutput;
use super::text::body;

/// RFC 3164 §4.1: a message is at most 1024 bytes.
const MAX_MESSAGE: usize = 1024;
const UDP_PORT: u16 = 514;
/// Longest wait for a syslog daemon that is connected by a stream.
const STREAM_WAIT: Duration = Duration::from_millis(500);

/// A connection to a syslog daemon, made when it is needed.
pub(super) struct SyslogSink {
    place: Place,
    format: Rfc3164,
    logger: Option<Logger<LoggerBackend, Rfc3164>>,
}

/// Where the syslog daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Path(PathBuf),
    Udp { host: String, port: u16 },
}

/// What stands around the message: `<PRI>Mmm dd hh:mm:ss [HOST ]TAG[PID]: `.
#[derive(Clone)]
struct Rfc3164 {
    facility: Facility,
    /// Named in messages to another host only; a local daemon knows it.
    hostname: Option<String>,
    ident: String,
}

impl SyslogSink {
    /// Checks the settings; connects with the first record.
    pub(super) fn new(settings: &SyslogOutput) -> Result<Self, OutputError> {
        let facility = Facility::from_str(&settings.facility)
            .map_err(|()| OutputError::Facility { name: settings.facility.clone() })?;
        let place = place(&settings.address)?;
        let hostname = match place {
            Place::Path(_) => None,
            Place::Udp { .. } => Some(
                nix::unistd::gethostname()
                    .map_or_else(|_| "-".to_owned(), |name| name.to_string_lossy().into_owned()),
            ),
        };
        let format = Rfc3164 { facility, hostname, ident: settings.ident.clone() };
        Ok(Self { place, format, logger: None })
    }

    /// Connects unless it is connected.
    pub(super) fn connect(&mut self) -> Result<(), OutputError> {
        self.connected().map(|_| ())
    }

    /// Ends the connection; the next record makes a new one.
    pub(super) fn reopen(&mut self) {
        self.logger = None;
    }

    /// Sends a record. After an error the next call connects anew.
    pub(super) fn write(&mut self, record: &Record) -> Result<(), OutputError> {
        let sent = self.send(record);
        match sent {
            // A daemon that was restarted has a new socket behind the old path.
            Err(Failure::Gone) => {
                self.logger = None;
                self.send(record).map_err(|failure| self.failed(failure))
            }
            other => other.map_err(|failure| self.failed(failure)),
        }
    }

    fn send(&mut self, record: &Record) -> Result<(), Failure> {
        let logger = self.connected().map_err(Failure::Connect)?;
        let sent = match record.level {
            Level::Error => logger.err(record),
            Level::Warn => logger.warning(record),
            Level::Info => logger.info(record),
            Level::Debug | Level::Trace => logger.debug(record),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(syslog::Error::Write(error) | syslog::Error::Io(error))
                if error.kind() == std::io::ErrorKind::WouldBlock =>
            {
                Err(Failure::Full)
            }
            Err(_) => Err(Failure::Gone),
        }
    }

    fn failed(&mut self, failure: Failure) -> OutputError {
        match failure {
            Failure::Connect(error) => error,
            Failure::Full => self.unreachable("its queue is full"),
            Failure::Gone => {
                self.logger = None;
                self.unreachable("connection lost")
            }
        }
    }

    fn unreachable(&self, reason: impl ToString) -> OutputError {
        OutputError::Syslog { address: self.place.to_string(), reason: reason.to_string() }
    }

    fn connected(&mut self) -> Result<&mut Logger<LoggerBackend, Rfc3164>, OutputError> {
        let logger = match self.logger.take() {
            Some(logger) => logger,
            None => self.new_logger().map_err(|reason| self.unreachable(reason))?,
        };
        Ok(self.logger.insert(logger))
    }

    fn new_logger(&self) -> Result<Logger<LoggerBackend, Rfc3164>, String> {
        let format = self.format.clone();
        match &self.place {
            Place::Path(path) => {
                let logger = syslog::unix_custom(format, path).map_err(|error| error.to_string())?;
                let limited = match &logger.backend {
                    LoggerBackend::Unix(socket) => socket.set_nonblocking(true),
                    LoggerBackend::UnixStream(stream) => {
                        stream.get_ref().set_write_timeout(Some(STREAM_WAIT))
                    }
                    LoggerBackend::Udp(..) | LoggerBackend::Tcp(_) => Ok(()),
                };
                limited.map_err(|error| error.to_string())?;
                Ok(logger)
            }
            Place::Udp { host, port } => {
                let to = (host.as_str(), *port)
                    .to_socket_addrs()
                    .map_err(|error| error.to_string())?
                    .next()
                    .ok_or_else(|| "the host has no address".to_owned())?;
                let local = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(local).map_err(|error| error.to_string())?;
                socket.set_nonblocking(true).map_err(|error| error.to_string())?;
                Ok(Logger::new(LoggerBackend::Udp(socket, to), format))
            }
        }
    }
}

/// Why a record was not sent.
enum Failure {
    Connect(OutputError),
    /// The daemon does not read fast enough; the connection is fine.
    Full,
    Gone,
}

impl std::fmt::Debug for SyslogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyslogSink").field("place", &self.place).finish_non_exhaustive()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Udp { host, port } => write!(f, "udp://{host}:{port}"),
        }
    }
}

impl LogFormat<&Record<'_>> for Rfc3164 {
    fn format<W: Write>(&self, out: &mut W, severity: Severity, record: &Record) -> syslog::Result<()> {
        let time = DateTime::<Local>::from(record.time).format("%b %e %H:%M:%S");
        let priority = self.facility as u8 | severity as u8;
        let mut text = format!("<{priority}>{time} ");
        if let Some(hostname) = &self.hostname {
            // Writing into a String cannot fail.
            let _ = write!(text, "{hostname} ");
        }
        let _ = write!(text, "{}[{}]: {}:", self.ident, record.pid, record.process);
        body(record, &mut text);
        if text.len() > MAX_MESSAGE {
            let mut cut = MAX_MESSAGE - '…'.len_utf8();
            while !text.is_char_boundary(cut) {
                cut -= 1; // the head of the message is ASCII, so this ends
            }
            text.truncate(cut);
            text.push('…');
        }
        // The backends of the crate send each formatted write as one datagram.
        write!(out, "{text}").map_err(syslog::Error::Write)
    }
}

fn place(address: &str) -> Result<Place, OutputError> {
    let wrong = || OutputError::Address { address: address.to_owned() };
    let Some(host_port) = address.strip_prefix("udp://") else {
        return if address.starts_with('/') { Ok(Place::Path(address.into())) } else { Err(wrong()) };
    };
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !host_port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (host_port, UDP_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || port == 0 {
        return Err(wrong());
    }
    Ok(Place::Udp { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::SystemTime;

    use log::LevelFilter;

    use super::*;

    fn settings(address: &str) -> SyslogOutput {
        SyslogOutput {
            address: address.to_owned(),
            facility: "daemon".to_owned(),
            level: LevelFilter::Info,
            ident: "echo-daemon".to_owned(),
        }
    }

    fn record(message: &str) -> Record<'_> {
        Record {
            time: SystemTime::now(),
            level: Level::Warn,
            pid: 4711,
            process: "udp".into(),
            target: "x".into(),
            event: "STATS".into(),
            message: message.into(),
            fields: vec![],
        }
    }

    #[test]
    fn message_has_priority_ident_and_the_speakers_pid_and_survives_a_restart_of_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut sink = SyslogSink::new(&settings(path.to_str().unwrap())).unwrap();
        assert!(sink.write(&record("too early")).is_err());
        let mut buffer = [0; 4096];
        for round in 0..2 {
            let daemon = UnixDatagram::bind(&path).unwrap();
            sink.write(&record(&format!("round\n{round}"))).unwrap();
            let len = daemon.recv(&mut buffer).unwrap();
            let text = str::from_utf8(&buffer[..len]).unwrap();
            // daemon (3) * 8 + warning (4)
            assert!(text.starts_with("<28>"), "{text}");
            assert!(text.ends_with(&format!(" echo-daemon[4711]: udp: STATS round\\n{round}")), "{text}");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn udp_message_is_cut_at_its_limit_and_names_the_host() {
        let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = format!("udp://{}", daemon.local_addr().unwrap());
        let mut sink = SyslogSink::new(&settings(&address)).unwrap();
        sink.write(&record(&"ü".repeat(2000))).unwrap();
        let mut buffer = [0; 4096];
        let len = daemon.recv(&mut buffer).unwrap();
        let text = str::from_utf8(&buffer[..len]).unwrap();
        assert!(text.ends_with('…') && len <= MAX_MESSAGE);
    }

    #[test]
    fn daemon_that_does_not_read_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _daemon = UnixDatagram::bind(&path).unwrap();
        let mut sink = SyslogSink::new(&settings(path.to_str().unwrap())).unwrap();
        while sink.write(&record("x")).is_ok() {}
    }

    #[test]
    fn addresses_are_understood_or_refused() {
        let udp = |host: &str, port| Place::Udp { host: host.to_owned(), port };
        assert_eq!(place("udp://host:99").unwrap(), udp("host", 99));
        assert_eq!(place("udp://host").unwrap(), udp("host", 514));
        assert_eq!(place("udp://[::1]").unwrap(), udp("::1", 514));
        assert_eq!(place("udp://[::1]:5").unwrap(), udp("::1", 5));
        assert_eq!(place("/dev/log").unwrap(), Place::Path("/dev/log".into()));
        for wrong in ["", "dev/log", "udp://", "udp://h:x", "udp://:5", "udp://h:0", "tcp://h"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
