//! Traffic of the other services: TCP connections short and long, UDP datagrams, a scraper at the control socket.

use crate::netns::SERVER;
use crate::servers::{TCP_PORT, UDP_PORT};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for an echo.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two short connections, two datagrams, two rounds over the long connections, two scrapes.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(10), Duration::from_secs(1), Duration::from_secs(1)];
/// Connections that stay: the first two to the end, the others for a minute, or each generation of workers would be kept by somebody.
const LONG: usize = 30;
const FOR_EVER: usize = 2;
const MINUTE: Duration = Duration::from_mins(1);

/// What the services did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) tcp: AtomicU64,
    pub(crate) tcp_failed: AtomicU64,
    /// Long connections that ended before their time.
    pub(crate) tcp_cut: AtomicU64,
    pub(crate) udp: AtomicU64,
    pub(crate) udp_lost: AtomicU64,
    pub(crate) api: AtomicU64,
    pub(crate) api_failed: AtomicU64,
    /// Microseconds from connect to the echo, since they were last taken.
    took: Mutex<Vec<u32>>,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    /// How long short connections took since the last time, in microseconds, sorted.
    pub(crate) fn take(&self) -> Vec<u32> {
        let mut took = std::mem::take(&mut *self.took.lock().unwrap_or_else(PoisonError::into_inner));
        took.sort_unstable();
        took
    }

    /// Connections that bring 1 KiB, take it back and go.
    pub(crate) fn short(&self, end: &AtomicBool) {
        let data: Vec<u8> = (0..1024_u32).map(|n| n.to_le_bytes()[0]).collect();
        while !end.load(Ordering::Relaxed) {
            let began = Instant::now();
            let echoed = connect().and_then(|mut stream| echo(&mut stream, &data));
            if echoed.is_ok() {
                add(&self.tcp);
                let micros = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                self.took.lock().unwrap_or_else(PoisonError::into_inner).push(micros);
            } else {
                add(&self.tcp_failed);
            }
            std::thread::sleep(PAUSES[0]);
        }
    }

    /// Connections that stay and say something once a second. One that is cut is counted and made anew.
    pub(crate) fn long(&self, end: &AtomicBool) {
        let mut streams: Vec<Option<TcpStream>> = (0..LONG).map(|_| None).collect();
        let mut round = 0;
        while !end.load(Ordering::Relaxed) {
            round += 1;
            for (at, place) in streams.iter_mut().enumerate() {
                // One after another, so that not all begin in one generation.
                if at >= FOR_EVER && (round + 2 * at as u64).is_multiple_of(MINUTE.as_secs()) {
                    *place = None;
                }
                let known = place.is_some();
                let echoed = match place.take().map_or_else(connect, Ok) {
                    Ok(mut stream) => echo(&mut stream, b"still there").map(|()| stream),
                    Err(error) => Err(error),
                };
                if echoed.is_err() {
                    add(if known { &self.tcp_cut } else { &self.tcp_failed });
                }
                *place = echoed.ok();
            }
            std::thread::sleep(PAUSES[2]);
        }
    }

    /// Datagrams, one after another; one that does not come back within the patience is lost.
    pub(crate) fn datagrams(&self, end: &AtomicBool) -> anyhow::Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((SERVER, UDP_PORT))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let (mut number, mut buffer) = (0_u64, [0; 64]);
        while !end.load(Ordering::Relaxed) {
            number += 1;
            let _ = socket.send(&number.to_le_bytes());
            let back = loop {
                match socket.recv(&mut buffer) {
                    // One that was given up before.
                    Ok(length) if buffer.get(..length) != Some(&number.to_le_bytes()[..]) => {}
                    other => break other.is_ok(),
                }
            };
            add(if back { &self.udp } else { &self.udp_lost });
            std::thread::sleep(PAUSES[1]);
        }
        Ok(())
    }

    /// Somebody who looks: metrics, a page of leases, the status.
    pub(crate) fn scrape(&self, socket: &Path, end: &AtomicBool) {
        while !end.load(Ordering::Relaxed) {
            for path in ["/metrics", "/v1/leases?limit=100", "/v1/status"] {
                add(if get(socket, path).is_ok() { &self.api } else { &self.api_failed });
            }
            std::thread::sleep(PAUSES[3]);
        }
    }
}

fn connect() -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((SERVER, TCP_PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn echo(stream: &mut TcpStream, data: &[u8]) -> std::io::Result<()> {
    let mut back = vec![0; data.len()];
    stream.write_all(data)?;
    stream.read_exact(&mut back)?;
    if back == data { Ok(()) } else { Err(std::io::Error::other("something else came back")) }
}

fn get(socket: &Path, path: &str) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err(std::io::Error::other("no good answer")) }
}
