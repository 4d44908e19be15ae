//! The echo services beside their ceilings and socat: connections, bytes on one connection, datagrams.

use crate::bench::Bench;
use crate::book::Book;
use crate::load::{self, Rate};
use crate::servers::{self, Running, Setting, TCP_PORT, UDP_PORT};
use anyhow::{Context, bail};
use std::time::{Duration, Instant};

/// Where the others listen; another port than ours.
const OTHER_PORT: u16 = 7007;
/// How long a service may take until it serves.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients at a time.
pub(crate) const CLIENTS: [u16; 2] = [1, 8];
/// The subjects of the book, and how tables call them.
pub(crate) const TCP: [(&str, &str); 3] = [
    ("tcp-ours", "echo-daemon"),
    ("tcp-ceiling", "ceiling: accept, fork, echo in C"),
    ("tcp-socat", "socat, fork"),
];
pub(crate) const BULK: [(&str, &str); 2] =
    [("bulk-ours", "echo-daemon"), ("bulk-ceiling", "ceiling: read, write")];
pub(crate) const UDP: [(&str, &str); 2] =
    [("udp-ours", "echo-daemon"), ("udp-ceiling", "ceiling: recvmmsg, sendmmsg")];

/// One more round over all of them.
pub(crate) fn round(bench: &Bench, book: &mut Book) -> anyhow::Result<()> {
    if bench.wants("tcp") {
        tcp(bench, book).context("tcp")?;
    }
    if bench.wants("bulk") {
        let (ours, other) = (address(TCP_PORT), address(OTHER_PORT));
        let seconds = bench.seconds();
        let load = |to: &str| {
            load::local(&bench.cable, &bench.programs.load, &["bulk", "--connect", to, "--seconds", &seconds])
        };
        bench.say("TCP echo, bytes on one connection");
        let server = start_ours(bench)?;
        one(book, "bulk-ours", "per_second", load(&ours)?);
        drop(server);
        let server = start_load(bench, "bulk-loop", &other)?;
        one(book, "bulk-ceiling", "per_second", load(&other)?);
        drop(server);
    }
    if bench.wants("udp") {
        let (ours, other) = (address(UDP_PORT), address(OTHER_PORT));
        let seconds = bench.seconds();
        let load = |to: &str| {
            let words = ["udp", "--connect", to, "--window", "64", "--bytes", "64", "--seconds", &seconds];
            load::local(&bench.cable, &bench.programs.load, &words)
        };
        bench.say("UDP echo");
        let server = start_ours(bench)?;
        one(book, "udp-ours", "per_second", load(&ours)?);
        drop(server);
        let server = start_load(bench, "udp-loop", &other)?;
        one(book, "udp-ceiling", "per_second", load(&other)?);
        drop(server);
    }
    Ok(())
}

fn tcp(bench: &Bench, book: &mut Book) -> anyhow::Result<()> {
    let seconds = bench.seconds();
    let mut load = |subject: &str, port: u16| -> anyhow::Result<()> {
        for clients in CLIENTS {
            let (to, count) = (address(port), clients.to_string());
            let words = ["tcp", "--connect", &to, "--clients", &count, "--seconds", &seconds];
            let rate = load::local(&bench.cable, &bench.programs.load, &words)?;
            one(book, subject, &format!("per_second_c{clients}"), rate);
        }
        Ok(())
    };
    bench.say("TCP echo, connections");
    let server = start_ours(bench)?;
    load("tcp-ours", TCP_PORT)?;
    drop(server);
    let port = OTHER_PORT.to_string();
    let mut command = bench.cable.server(&bench.programs.accept_fork);
    let server = servers::spawn(command.arg(&port), &bench.cable, &bench.fresh("server")?)?;
    wait(bench, OTHER_PORT)?;
    load("tcp-ceiling", OTHER_PORT)?;
    drop(server);
    let Some(socat) = bench.programs.peer("socat") else {
        book.note("tcp-socat", "missing", "socat (package socat) could not be had");
        return Ok(());
    };
    let mut command = bench.cable.server(socat);
    command.env("LD_LIBRARY_PATH", bench.programs.libraries());
    command.arg(format!("TCP-LISTEN:{OTHER_PORT},bind=127.0.0.1,reuseaddr,fork,backlog=128")).arg("PIPE");
    let server = servers::spawn(&mut command, &bench.cable, &bench.fresh("server")?)?;
    wait(bench, OTHER_PORT)?;
    load("tcp-socat", OTHER_PORT)?;
    drop(server);
    Ok(())
}

fn one(book: &mut Book, subject: &str, measure: &str, rate: Rate) {
    book.add(
        subject,
        measure,
        if rate.bytes_per_second > 0.0 { rate.bytes_per_second } else { rate.per_second },
    );
    for (name, count) in [("failed", rate.failed), ("lost", rate.lost), ("duplicates", rate.duplicates)] {
        book.add(subject, name, crate::tree::count(count));
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn start_ours(bench: &Bench) -> anyhow::Result<Running<'_>> {
    let setting = Setting { echo: true, ..Setting::default() };
    servers::ours(&bench.programs, &bench.cable, &bench.fresh("server")?, &setting)
}

fn start_load<'a>(bench: &'a Bench, what: &str, listen: &str) -> anyhow::Result<Running<'a>> {
    let folder = bench.fresh("server")?;
    let mut command = bench.cable.server(&bench.programs.load);
    let server = servers::spawn(command.args([what, "--listen", listen]), &bench.cable, &folder)?;
    let until = Instant::now() + PATIENCE;
    // Its first line says that it serves.
    while !std::fs::read_to_string(folder.join("words"))?.contains("listening") {
        if Instant::now() > until {
            bail!("{what} does not listen");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(server)
}

/// Waits until somebody accepts connections on a port of the server's namespace: one connection tells.
fn wait(bench: &Bench, port: u16) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let to = address(port);
        let words = ["tcp", "--connect", &to, "--clients", "1", "--seconds", "0.05"];
        match load::local(&bench.cable, &bench.programs.load, &words) {
            Ok(rate) if rate.per_second > 0.0 => return Ok(()),
            other if Instant::now() > until => bail!("nobody serves port {port}: {other:?}"),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
