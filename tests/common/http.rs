//! A client of HTTP/1.1 by hand, over the control socket and over TCP: whole answers, and streams of events.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::{Daemon, PATIENCE};

/// An answer: status, header fields in lower case, body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON of an answer of this status.
    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// Checks that this is a problem document (RFC 9457) of this status; it.
    #[track_caller]
    pub fn is_problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.fields["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string() && problem["type"].is_string());
        problem
    }
}

fn head(reader: &mut impl BufRead) -> (u16, BTreeMap<String, String>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("no answer: {line:?}"))[..3].parse();
    let mut fields = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    (status.unwrap(), fields)
}

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.folder.path().join("run/control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn request(method: &str, path: &str, more: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}{length}\r\n{body}")
}

#[track_caller]
fn answer(stream: impl Read) -> Answer {
    let mut reader = BufReader::new(stream);
    let (status, fields) = head(&mut reader);
    let mut body = String::new();
    reader.read_to_string(&mut body).unwrap();
    Answer { status, fields, body }
}

/// Asks over the control socket.
#[track_caller]
pub fn ask(daemon: &Daemon, method: &str, path: &str) -> Answer {
    let mut stream = connect(daemon);
    stream.write_all(request(method, path, "", "").as_bytes()).unwrap();
    answer(stream)
}

/// `GET` over the control socket.
#[track_caller]
pub fn get(daemon: &Daemon, path: &str) -> Answer {
    ask(daemon, "GET", path)
}

/// `POST` of JSON over the control socket.
#[track_caller]
pub fn post(daemon: &Daemon, path: &str, body: &Value) -> Answer {
    let mut stream = connect(daemon);
    let body = body.to_string();
    stream.write_all(request("POST", path, "Content-Type: application/json\r\n", &body).as_bytes()).unwrap();
    answer(stream)
}

/// `GET` over TCP, with further header lines.
#[track_caller]
pub fn over_tcp(server: SocketAddr, path: &str, more: &str) -> Answer {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request("GET", path, more, "").as_bytes()).unwrap();
    answer(stream)
}

/// A stream of events that is open.
pub struct Events {
    reader: BufReader<UnixStream>,
    /// What came and was not asked for yet.
    text: String,
    pub last_id: String,
}

/// One event.
#[derive(Debug, Clone)]
pub struct Told {
    pub event: String,
    pub data: Value,
}

impl Events {
    /// Follows from now on: when this returns, all that happens will be told.
    #[track_caller]
    pub fn follow(daemon: &Daemon, query: &str) -> Self {
        Self::open(daemon, query, "").unwrap_or_else(|status| panic!("status {status}"))
    }

    /// Follows from behind an event.
    #[track_caller]
    pub fn resume(daemon: &Daemon, query: &str, id: &str) -> Self {
        let more = format!("Last-Event-ID: {id}\r\n");
        Self::open(daemon, query, &more).unwrap_or_else(|status| panic!("status {status}"))
    }

    /// The same; the status where there is no stream.
    pub fn open(daemon: &Daemon, query: &str, more: &str) -> Result<Self, u16> {
        let mut stream = connect(daemon);
        stream.write_all(request("GET", &format!("/v1/events{query}"), more, "").as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let (status, fields) = head(&mut reader);
        if status != 200 {
            return Err(status);
        }
        assert_eq!(fields["content-type"], "text/event-stream");
        assert_eq!(fields["transfer-encoding"], "chunked");
        let mut events = Self { reader, text: String::new(), last_id: String::new() };
        while events.last_id.is_empty() {
            assert!(events.block().is_some(), "no first id");
        }
        Ok(events)
    }

    /// Reads one chunk; false at the end.
    fn chunk(&mut self) -> bool {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let length =
            usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("no chunk: {line:?}"));
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes).unwrap();
        assert!(bytes.ends_with(b"\r\n"));
        self.text.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        length > 0
    }

    /// The next block of lines; none at the end.
    fn block(&mut self) -> Option<String> {
        let end = loop {
            if let Some(end) = self.text.find("\n\n") {
                break end;
            }
            if !self.chunk() {
                return None;
            }
        };
        let block: String = self.text.drain(..end + 2).collect();
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        if let Some(id) = field("id: ") {
            self.last_id = id;
        }
        Some(block)
    }

    /// The next event; none where the stream has ended.
    pub fn next(&mut self) -> Option<Told> {
        loop {
            let block = self.block()?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let event = field("event: ").unwrap().to_owned();
                return Some(Told { event, data: serde_json::from_str(data).unwrap() });
            }
        }
    }

    /// Passes over events until one is of this ID.
    #[track_caller]
    pub fn until(&mut self, event: &str) -> Told {
        loop {
            let told = self.next().unwrap_or_else(|| panic!("the stream ended without {event}"));
            if told.event == event {
                return told;
            }
        }
    }

    /// Reads to the end of the stream.
    pub fn drain(&mut self) -> Vec<Told> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
