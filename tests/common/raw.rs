//! Requests of any bytes, right or wrong, over both doors of the control API.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::http::Answer;
use super::{BASE, Daemon, ECHO, PATIENCE};

/// Reads one answer to the end of the connection.
#[track_caller]
pub fn answer(mut stream: impl Read) -> Answer {
    let mut bytes = Vec::new();
    // The server may end a connection without having read everything; its answer has come all the same.
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => (),
        read => drop(read.unwrap()),
    }
    let whole = String::from_utf8(bytes).unwrap();
    let (head, body) = whole.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {whole:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap();
    let status = status.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let fields: BTreeMap<String, String> = lines.map(field).collect();
    let length = fields.get("content-length").map(|length| length.parse::<usize>().unwrap());
    let expected = if matches!(status, 204 | 304) { None } else { Some(body.len()) };
    assert_eq!(length, expected, "the body is not whole: {whole}");
    Answer { status, fields, body: body.to_owned() }
}

pub fn request(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n")
}

pub fn socket_path(daemon: &Daemon) -> PathBuf {
    daemon.folder.path().join("run/control.sock")
}

/// Asks over the control socket.
#[track_caller]
pub fn control(daemon: &Daemon, method: &str, path: &str) -> Answer {
    let mut stream = UnixStream::connect(socket_path(daemon)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request(method, path, "").as_bytes()).unwrap();
    answer(stream)
}

/// Asks over TCP.
#[track_caller]
pub fn tcp(server: SocketAddr, method: &str, path: &str, more: &str) -> Answer {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request(method, path, more).as_bytes()).unwrap();
    answer(stream)
}

/// A daemon whose API listens as this YAML says.
pub fn start_with_api(api: &str, token: Option<&str>) -> Daemon {
    let daemon = Daemon::prepare("");
    let base = BASE.replace("api: {listen: null}", &format!("api: {api}"));
    assert_ne!(base, BASE);
    fs::write(&daemon.config, format!("{base}{ECHO}")).unwrap();
    if let Some(token) = token {
        fs::write(daemon.folder.path().join("token"), token).unwrap();
    }
    daemon.run_ok(&["start"]);
    daemon
}

/// Says these bytes over the control socket and reads the answer.
#[track_caller]
pub fn control_raw(daemon: &Daemon, bytes: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket_path(daemon)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    answer(stream)
}

/// The same over TCP.
#[track_caller]
pub fn tcp_raw(server: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(bytes);
    answer(stream)
}

/// A request with a body, over the control socket.
#[track_caller]
pub fn send(daemon: &Daemon, method: &str, path: &str, media_type: &str, more: &str, body: &str) -> Answer {
    let more = format!("Content-Type: {media_type}\r\nContent-Length: {}\r\n{more}", body.len());
    control_raw(daemon, format!("{}{body}", request(method, path, &more)).as_bytes())
}
