//! The echo probes: what goes out must come back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::Step;

const WORDS: &[u8] = b"echo-daemon probe\n";

/// Connects, sends, half-closes, and reads until the server closes, too (RFC 862).
pub(super) fn tcp(address: SocketAddr, timeout: Duration) -> Result<Vec<Step>, String> {
    let failed = |what: &str, error: std::io::Error| format!("{what} {address}: {error}");
    let started = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, timeout).map_err(|e| failed("connect to", e))?;
    let connected = started.elapsed();
    let options =
        stream.set_read_timeout(Some(timeout)).and_then(|()| stream.set_write_timeout(Some(timeout)));
    options.map_err(|e| failed("set up", e))?;
    let sent = Instant::now();
    stream
        .write_all(WORDS)
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .map_err(|e| failed("send to", e))?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back).map_err(|e| failed("no echo from", e))?;
    if back != WORDS {
        return Err(format!("{address} sent back something else"));
    }
    Ok(vec![
        Step { name: "connect", took: connected, result: address.to_string() },
        Step { name: "echo", took: sent.elapsed(), result: format!("{} bytes", back.len()) },
    ])
}

/// Sends a datagram and waits for it.
pub(super) fn udp(address: SocketAddr, timeout: Duration) -> Result<Vec<Step>, String> {
    let failed = |what: &str, error: std::io::Error| format!("{what} {address}: {error}");
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).map_err(|e| failed("no socket for", e))?;
    let ready = socket.connect(address).and_then(|()| socket.set_read_timeout(Some(timeout)));
    ready.map_err(|e| failed("set up", e))?;
    let sent = Instant::now();
    socket.send(WORDS).map_err(|e| failed("send to", e))?;
    let mut back = [0; 64];
    let length = socket.recv(&mut back).map_err(|e| failed("no echo from", e))?;
    if back.get(..length) != Some(WORDS) {
        return Err(format!("{address} sent back something else"));
    }
    Ok(vec![Step { name: "echo", took: sent.elapsed(), result: format!("{address}, {length} bytes") }])
}
