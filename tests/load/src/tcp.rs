//! `tcp`: connections one after another, each with one line echoed and checked.
//!
//! Every client is a thread that connects, sends a line, waits for it to come back and closes, in turn. It does not
//! wait for the other side's end, so with one client at a time the next connection finds the server still
//! at work on the end of the last: as with real clients that hurry.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::histogram::{Histogram, Micros};

/// Longest wait for a connection, or for an answer on it.
const PATIENCE: Duration = Duration::from_secs(5);
/// A client whose connections fail gives up after so many: then there is nothing to measure.
const MOST_FAILURES: u64 = 100;
/// Bytes of a line.
const LINE: usize = 32;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The echo service
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect: SocketAddr,
    /// Clients at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// How long
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = crate::seconds)]
    seconds: Duration,
}

#[derive(Serialize)]
struct Report {
    mode: &'static str,
    clients: u16,
    seconds: f64,
    /// Connections whose line came back as it was sent.
    connections: u64,
    per_second: f64,
    /// Connections that could not be made, or that broke.
    failed: u64,
    /// Connections on which something else came back.
    wrong: u64,
    /// From the connect(2) to the last byte of the echo.
    latency_us: Micros,
    first_error: Option<String>,
}

#[derive(Debug, Default)]
struct Tally {
    nanos: Vec<u64>,
    failed: u64,
    wrong: u64,
    first_error: Option<String>,
}

enum Outcome {
    Echoed,
    Wrong,
}

/// Runs for the time asked for.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let until = started + args.seconds;
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..args.clients).map(|n| scope.spawn(move || client(n, args.connect, until))).collect();
        clients.into_iter().map(|client| client.join().unwrap_or_else(|_| Tally::lost())).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    let (mut all, mut latency) = (Tally::default(), Histogram::new());
    for tally in tallies {
        tally.nanos.into_iter().for_each(|nanos| latency.record_nanos(nanos));
        all.failed += tally.failed;
        all.wrong += tally.wrong;
        all.first_error = all.first_error.or(tally.first_error);
    }
    crate::print(&Report {
        mode: "tcp",
        clients: args.clients,
        seconds,
        connections: latency.count(),
        per_second: latency.per_second(seconds),
        failed: all.failed,
        wrong: all.wrong,
        latency_us: latency.micros(),
        first_error: all.first_error,
    })
}

fn client(number: u16, server: SocketAddr, until: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut serial = 0_u64;
    while Instant::now() < until && tally.failed < MOST_FAILURES {
        serial += 1;
        let line = line(number, serial);
        let started = Instant::now();
        match once(server, &line) {
            Ok(Outcome::Echoed) => {
                tally.nanos.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            Ok(Outcome::Wrong) => {
                tally.wrong += 1;
                tally
                    .first_error
                    .get_or_insert_with(|| format!("client {number}: the echo of line {serial} differs"));
            }
            Err(error) => {
                tally.failed += 1;
                tally.first_error.get_or_insert_with(|| format!("client {number}: line {serial}: {error}"));
            }
        }
    }
    tally
}

fn once(server: SocketAddr, line: &[u8; LINE]) -> io::Result<Outcome> {
    // Not connect_timeout: that is four calls more for each connection.
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(line)?;
    let mut back = [0; LINE];
    stream.read_exact(&mut back)?;
    Ok(if back == *line { Outcome::Echoed } else { Outcome::Wrong })
}

/// A line that no other connection sends.
fn line(client: u16, serial: u64) -> [u8; LINE] {
    let mut line = [b' '; LINE];
    let text = format!("{client} {serial}");
    for (place, byte) in line.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    line[LINE - 1] = b'\n';
    line
}

impl Tally {
    fn lost() -> Self {
        Self { failed: 1, first_error: Some("a client's thread panicked".into()), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_differ_and_end_as_lines_do() {
        assert_eq!(&line(7, 123), b"7 123                          \n");
        assert_ne!(line(7, 1), line(7, 2));
        assert_ne!(line(7, 1), line(71, 1));
        assert_eq!(line(u16::MAX, u64::MAX).last(), Some(&b'\n'));
    }
}
