//! The load generator as a child process: what it is asked, and what it answers.

use crate::netns::{self, Cable, RELAY, SERVER};
use anyhow::Context;
use serde::Deserialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// Numbers of the clients that only ask whether somebody answers.
const PROBE_CLIENT: u32 = 0xf000_0000;

/// Microseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Micros {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// What `echo-load dhcp` prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Dhcp {
    pub(crate) exchanges: u64,
    pub(crate) per_second: f64,
    pub(crate) lost: u64,
    pub(crate) retried: u64,
    pub(crate) naks: u64,
    pub(crate) wrong: u64,
    pub(crate) duplicates: u64,
    pub(crate) latency_us: Micros,
    pub(crate) offer_us: Micros,
    pub(crate) ack_us: Micros,
    pub(crate) first_error: Option<String>,
}

/// The relay and the clients behind it. Each load brings clients of its own, so that nobody is met twice by chance.
#[derive(Debug)]
pub(crate) struct Relay<'a> {
    cable: &'a Cable,
    program: &'a Path,
    next_client: u32,
}

impl<'a> Relay<'a> {
    /// Clients begin anew: for a server without a lease.
    pub(crate) fn new(cable: &'a Cable, program: &'a Path) -> Self {
        Self { cable, program, next_client: 0 }
    }

    /// Runs `echo-load dhcp` with these further words.
    pub(crate) fn dhcp(&mut self, words: &[&str]) -> anyhow::Result<Dhcp> {
        // More than any server serves in one load.
        const CLIENTS_OF_A_LOAD: u32 = 20_000_000;
        let first = self.next_client;
        self.next_client = first.wrapping_add(CLIENTS_OF_A_LOAD) % PROBE_CLIENT;
        self.run(first, words)
    }

    /// Waits until the server acknowledges a lease.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        for attempt in 0.. {
            let first = PROBE_CLIENT + attempt;
            let report = self.run(first, &["--window", "1", "--count", "1", "--seconds", "0.5"]);
            match report {
                Ok(report) if report.exchanges > 0 => return Ok(()),
                other if Instant::now() > until => {
                    let why = match other {
                        Ok(report) => report.first_error.unwrap_or_default(),
                        Err(error) => format!("{error:#}"),
                    };
                    anyhow::bail!("no ACK within {} s: {why}", PATIENCE.as_secs());
                }
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        Ok(())
    }

    fn run(&self, first: u32, words: &[&str]) -> anyhow::Result<Dhcp> {
        let mut command = self.cable.client(self.program);
        command
            .args(["dhcp", "--server", SERVER, "--relay", RELAY, "--first-client", &first.to_string()])
            .args(words);
        let output = netns::finish(&mut command)?;
        serde_json::from_slice(&output).context("could not understand what echo-load dhcp printed")
    }
}

/// What the echo loads and the disk's print; what does not apply is 0.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) bytes_per_second: f64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
}

/// Runs another load on the server's side, for services of the loopback.
pub(crate) fn local(cable: &Cable, program: &Path, words: &[&str]) -> anyhow::Result<Rate> {
    let output = netns::finish(cable.server(program).args(words))?;
    parse_rate(&output)
}

/// `wrong` is a count or a yes, and is an error here either way: figures of wrong answers are none.
fn parse_rate(output: &[u8]) -> anyhow::Result<Rate> {
    let value: serde_json::Value =
        serde_json::from_slice(output).context("could not understand what echo-load printed")?;
    let wrong = value
        .get("wrong")
        .is_some_and(|wrong| wrong.as_bool() == Some(true) || wrong.as_u64().is_some_and(|n| n > 0));
    anyhow::ensure!(!wrong, "wrong answers: {value}");
    Ok(serde_json::from_value(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_of_the_generator_is_understood() {
        let text = r#"{"mode":"exchange","window":1,"seconds":2.0,"exchanges":5835,"per_second":2917.5,"lost":0,
            "retried":1,"naks":0,"wrong":0,"duplicates":0,"late":0,"latency_us":{"p50":331.8,"p90":401.4,"p99":532.5,"max":5.1},
            "offer_us":{"p50":1,"p90":1,"p99":1,"max":1},"ack_us":{"p50":1,"p90":1,"p99":299.0,"max":1},"first_error":null}"#;
        let report: Dhcp = serde_json::from_str(text).unwrap();
        assert_eq!((report.exchanges, report.retried), (5835, 1));
        assert!((report.ack_us.p99 - 299.0).abs() < 1e-9);
    }

    #[test]
    fn wrong_answers_are_no_figures() {
        assert!(parse_rate(br#"{"per_second": 5.0, "wrong": 0}"#).is_ok());
        assert!(parse_rate(br#"{"bytes_per_second": 5.0, "wrong": true}"#).is_err());
        assert!(parse_rate(br#"{"per_second": 5.0, "wrong": 2}"#).is_err());
    }
}
