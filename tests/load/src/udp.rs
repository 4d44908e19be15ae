//! `udp`: datagrams with a window in flight, each checked when it comes back.
//!
//! The window's places are numbered. A datagram carries its place and how often that place was used, and then bytes
//! that follow from the two, so one that is lost, doubled, late or changed shows. What came back is sent anew in the
//! same batch. Connected socket, batched calls: a generator must be cheaper than the server.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use serde::Serialize;

use crate::histogram::per_second;

/// Datagrams in one system call.
const BATCH: usize = 64;
/// What has not come back by then is lost.
const PATIENCE: Duration = Duration::from_millis(250);
/// Place and use, four bytes each.
const HEADER: usize = 8;
/// So many silences, and there is no service.
const MOST_SILENCES: u32 = 8;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The echo service
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect: SocketAddr,
    /// Datagrams in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    window: u16,
    /// Bytes of a datagram
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(8..=65_507))]
    bytes: u16,
    /// How long
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = crate::seconds)]
    seconds: Duration,
}

#[derive(Serialize)]
struct Report {
    mode: &'static str,
    window: u16,
    bytes: u16,
    seconds: f64,
    /// Datagrams that came back as they were sent.
    datagrams: u64,
    per_second: f64,
    /// Datagrams that did not come back within 250 ms.
    lost: u64,
    /// Datagrams that came back again or after they were given up.
    duplicates: u64,
    /// Datagrams that came back changed.
    wrong: u64,
    first_error: Option<String>,
}

/// One place of the window.
#[derive(Debug, Clone)]
struct Place {
    datagram: Vec<u8>,
    uses: u32,
    in_flight: bool,
}

struct Window {
    places: Vec<Place>,
    /// Numbers of the places whose datagram is to be sent next.
    due: Vec<usize>,
    datagrams: u64,
    lost: u64,
    duplicates: u64,
    wrong: u64,
}

/// Runs for the time asked for.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let any: SocketAddr = if args.connect.is_ipv6() { ([0; 8], 0).into() } else { ([0; 4], 0).into() };
    let socket = UdpSocket::bind(any)
        .and_then(|socket| socket.connect(args.connect).map(|()| socket))
        .and_then(|socket| socket.set_read_timeout(Some(PATIENCE)).map(|()| socket))
        .with_context(|| format!("could not open a socket for {}", args.connect))?;
    let mut window = Window::new(args.window.into(), args.bytes.into());
    let started = Instant::now();
    let outcome = pump(&socket, &mut window, started + args.seconds);
    let seconds = started.elapsed().as_secs_f64();
    crate::print(&Report {
        mode: "udp",
        window: args.window,
        bytes: args.bytes,
        seconds,
        datagrams: window.datagrams,
        per_second: per_second(window.datagrams, seconds),
        lost: window.lost,
        duplicates: window.duplicates,
        wrong: window.wrong,
        first_error: outcome.err().map(|error| error.to_string()),
    })
}

fn pump(socket: &UdpSocket, window: &mut Window, until: Instant) -> anyhow::Result<()> {
    // One byte more than was sent, so that a longer echo shows.
    let mut memory = vec![0; BATCH * (window.length() + 1)];
    let mut out = MultiHeaders::<()>::preallocate(BATCH, None);
    let mut back = MultiHeaders::<()>::preallocate(BATCH, None);
    let (mut silences, mut lengths) = (0, Vec::with_capacity(BATCH));
    while Instant::now() < until {
        window.send(socket, &mut out)?;
        let room = window.length() + 1;
        lengths.clear();
        let mut slices: Vec<[IoSliceMut; 1]> =
            memory.chunks_exact_mut(room).map(|place| [IoSliceMut::new(place)]).collect();
        match recvmmsg(socket.as_raw_fd(), &mut back, &mut slices, MsgFlags::MSG_WAITFORONE, None) {
            Ok(received) => lengths.extend(received.map(|message| message.bytes)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if silences < MOST_SILENCES => {
                silences += 1;
                window.give_up();
            }
            Err(Errno::EAGAIN) => bail!("nothing comes back"),
            Err(error) => bail!("could not receive: {error}"),
        }
        for (datagram, &length) in memory.chunks_exact(room).zip(&lengths) {
            silences = 0;
            window.take(&datagram[..length]);
        }
    }
    Ok(())
}

impl Window {
    fn new(places: usize, bytes: usize) -> Self {
        let fill = |place: usize| (0..bytes).map(|i| (i * 31 + place * 7).to_le_bytes()[0]).collect();
        let places: Vec<Place> =
            (0..places).map(|n| Place { datagram: fill(n), uses: 0, in_flight: false }).collect();
        let due = (0..places.len()).collect();
        Self { places, due, datagrams: 0, lost: 0, duplicates: 0, wrong: 0 }
    }

    fn length(&self) -> usize {
        self.places.first().map_or(0, |place| place.datagram.len())
    }

    /// Sends what is due.
    fn send(&mut self, socket: &UdpSocket, headers: &mut MultiHeaders<()>) -> anyhow::Result<()> {
        for &number in &self.due {
            self.places[number].stamp(number);
        }
        let mut sent = 0;
        while sent < self.due.len() {
            let batch = &self.due[sent..self.due.len().min(sent + BATCH)];
            let slices: Vec<[IoSlice; 1]> =
                batch.iter().map(|&number| [IoSlice::new(&self.places[number].datagram)]).collect();
            let (flags, none) = (MsgFlags::empty(), [None; BATCH]);
            match sendmmsg(socket.as_raw_fd(), headers, &slices, &none[..batch.len()], [], flags) {
                Ok(done) => sent += done.count(),
                // Refused: an earlier datagram found nobody. The next silence tells.
                Err(Errno::EINTR | Errno::ECONNREFUSED) => {}
                Err(error) => bail!("could not send: {error}"),
            }
        }
        self.due.clear();
        Ok(())
    }

    /// Checks what came back.
    fn take(&mut self, datagram: &[u8]) {
        let number = word(datagram, 0).and_then(|number| usize::try_from(number).ok());
        let Some((number, place)) = number.and_then(|n| Some((n, self.places.get_mut(n)?))) else {
            self.wrong += 1;
            return;
        };
        if place.in_flight && place.datagram == datagram {
            place.in_flight = false;
            self.datagrams += 1;
            self.due.push(number);
        } else if word(datagram, 4).is_some_and(|uses| uses <= place.uses)
            && datagram.get(HEADER..) == place.datagram.get(HEADER..)
        {
            self.duplicates += 1;
        } else {
            self.wrong += 1;
        }
    }

    /// Whatever is in flight is lost; its places are used anew.
    fn give_up(&mut self) {
        for (number, place) in self.places.iter_mut().enumerate().filter(|(_, place)| place.in_flight) {
            place.in_flight = false;
            self.lost += 1;
            self.due.push(number);
        }
    }
}

impl Place {
    fn stamp(&mut self, number: usize) {
        self.uses = self.uses.wrapping_add(1);
        self.in_flight = true;
        let (head, _) = self.datagram.split_at_mut(HEADER);
        head[..4].copy_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        head[4..].copy_from_slice(&self.uses.to_le_bytes());
    }
}

fn word(datagram: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*datagram.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        let mut window = Window::new(2, 16);
        for number in std::mem::take(&mut window.due) {
            window.places[number].stamp(number);
        }
        window
    }

    #[test]
    fn each_echo_counts_once_and_frees_its_place() {
        let mut window = window();
        let first = window.places[1].datagram.clone();
        window.take(&first);
        assert_eq!((window.datagrams, window.due.as_slice()), (1, &[1][..]));
        window.take(&first);
        assert_eq!((window.datagrams, window.duplicates, window.wrong), (1, 1, 0));
    }

    #[test]
    fn any_change_is_wrong() {
        let mut window = window();
        let whole = window.places[0].datagram.clone();
        for i in 0..whole.len() {
            let mut changed = whole.clone();
            changed[i] ^= 0x80;
            window.take(&changed);
        }
        window.take(&whole[..15]);
        window.take(&[&whole[..], &[0]].concat());
        window.take(&[]);
        assert_eq!((window.datagrams, window.wrong), (0, whole.len() as u64 + 3));
    }

    #[test]
    fn what_was_given_up_is_lost_and_late_when_it_comes() {
        let mut window = window();
        let late = window.places[0].datagram.clone();
        window.give_up();
        assert_eq!((window.lost, window.due.len()), (2, 2));
        window.places[0].stamp(0);
        window.take(&late);
        assert_eq!((window.datagrams, window.duplicates), (0, 1));
    }
}
