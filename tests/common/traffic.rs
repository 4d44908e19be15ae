//! Clients that talk to a daemon all the time and note what was not answered.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};

use super::dhcp::Client;

/// Longest wait for one answer: what is not answered by then is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// After this time a client that may repeat itself does so.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

static NEXT_CLIENT: AtomicU32 = AtomicU32::new(1);

/// Clients at work, each in a thread of its own.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<String>>>,
    /// How often a question is asked before it counts as lost.
    tries: u32,
    /// The pause between two rounds of a client.
    pause: Duration,
}

impl Traffic {
    /// Clients that ask once: nothing may be lost.
    pub fn strict() -> Self {
        Self::with(1)
    }

    /// Clients that ask again: a worker that is killed takes the batch in its hands with it.
    pub fn patient() -> Self {
        Self::with(20)
    }

    fn with(tries: u32) -> Self {
        Self { stop: Arc::default(), done: Arc::default(), threads: Vec::new(), tries, pause: Duration::ZERO }
    }

    /// Clients from here on rest between two rounds: they watch, and leave the machine to others.
    pub fn resting(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// One connection after the other, each with a few echoes.
    pub fn tcp(mut self, server: SocketAddr) -> Self {
        let tries = self.tries;
        self.run(move || {
            repeat(tries, || Connection::open(server)?.echo(b"one").and_then(|mut c| c.echo_more()))
        });
        self
    }

    /// One connection for the whole time; it must never break.
    pub fn lasting(mut self, server: SocketAddr) -> Self {
        let mut connection = Connection::open(server).unwrap();
        self.run(move || connection.ping(b"still here"));
        self
    }

    /// Datagrams, one at a time.
    pub fn udp(mut self, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(patience(self.tries))).unwrap();
        let (tries, mut number) = (self.tries, 0_u64);
        self.run(move || {
            number += 1;
            repeat(tries, || datagram(&socket, server, number))
        });
        self
    }

    /// DISCOVER, REQUEST, renewing REQUEST, RELEASE; each time another client.
    pub fn dhcp(mut self, port: u16) -> Self {
        let tries = self.tries;
        self.run(move || {
            let client = Client::new(NEXT_CLIENT.fetch_add(1, Ordering::Relaxed), port);
            client.socket.set_read_timeout(Some(patience(tries))).unwrap();
            conversation(&client, tries)
        });
        self
    }

    /// Work of one's own, again and again; an error is something lost.
    pub fn run(&mut self, mut work: impl FnMut() -> Result<(), String> + Send + 'static) {
        let (stop, done, pause) = (Arc::clone(&self.stop), Arc::clone(&self.done), self.pause);
        self.threads.push(std::thread::spawn(move || {
            let mut lost = Vec::new();
            // A sleep paces the load here; nothing waits for it.
            while !stop.load(Ordering::Relaxed) && lost.len() < 10 {
                match work() {
                    Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                    Err(why) => lost.push(why),
                }
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                }
            }
            lost
        }));
    }

    /// Rounds of all clients so far.
    pub fn rounds(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Lets every client finish what it has begun; the number of rounds. Fails if anything was lost.
    #[track_caller]
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let lost: Vec<String> = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let done = self.done.load(Ordering::Relaxed);
        assert!(lost.is_empty(), "lost: {lost:?}; served: {done}");
        done
    }
}

/// A TCP connection to the echo service.
pub struct Connection {
    pub stream: TcpStream,
}

impl Connection {
    pub fn open(server: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(server).map_err(|error| format!("connect: {error}"))?;
        stream.set_read_timeout(Some(LOST_AFTER)).unwrap();
        stream.set_write_timeout(Some(LOST_AFTER)).unwrap();
        Ok(Self { stream })
    }

    /// Sends this and reads it back.
    pub fn ping(&mut self, text: &[u8]) -> Result<(), String> {
        let mut back = vec![0; text.len()];
        self.stream.write_all(text).map_err(|error| format!("TCP write: {error}"))?;
        self.stream.read_exact(&mut back).map_err(|error| format!("TCP read: {error}"))?;
        if back == text { Ok(()) } else { Err("TCP: other bytes came back".to_owned()) }
    }

    fn echo(mut self, text: &[u8]) -> Result<Self, String> {
        self.ping(text).map(|()| self)
    }

    fn echo_more(&mut self) -> Result<(), String> {
        self.ping(b"two")?;
        self.ping(&[b'3'; 3000])
    }
}

/// One datagram there and back.
pub fn datagram(socket: &UdpSocket, server: SocketAddr, number: u64) -> Result<(), String> {
    socket.send_to(&number.to_be_bytes(), server).map_err(|error| format!("UDP send: {error}"))?;
    let mut buffer = [0; 64];
    loop {
        let length = socket.recv(&mut buffer).map_err(|error| format!("UDP datagram {number}: {error}"))?;
        // An answer to an earlier try is none to this one.
        if buffer[..length] == number.to_be_bytes() {
            return Ok(());
        }
    }
}

fn patience(tries: u32) -> Duration {
    if tries == 1 { LOST_AFTER } else { AGAIN_AFTER }
}

fn repeat(tries: u32, mut work: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let mut outcome = Ok(());
    for _ in 0..tries {
        outcome = work();
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn conversation(client: &Client, tries: u32) -> Result<(), String> {
    let ask = |what: &str, kind: MessageType, message: &Message| -> Result<Message, String> {
        for _ in 0..tries {
            client.send(message);
            while let Some(answer) = client.receive() {
                match answer.opts().msg_type() {
                    Some(found) if found == kind => return Ok(answer),
                    // A late answer to an earlier question.
                    Some(MessageType::Offer | MessageType::Ack) => {}
                    other => return Err(format!("DHCP: {other:?} to {what} of {:02x?}", client.mac)),
                }
            }
        }
        Err(format!("DHCP: no answer to {what} of {:02x?}", client.mac))
    };
    let offer = ask("DISCOVER", MessageType::Offer, &client.message(MessageType::Discover, &[]))?;
    let Some(DhcpOption::ServerIdentifier(server)) = offer.opts().get(OptionCode::ServerIdentifier) else {
        return Err("DHCP: offer without server identifier".to_owned());
    };
    let wish = [DhcpOption::RequestedIpAddress(offer.yiaddr()), DhcpOption::ServerIdentifier(*server)];
    let ack = ask("REQUEST", MessageType::Ack, &client.message(MessageType::Request, &wish))?;
    let mut renewal = client.message(MessageType::Request, &[]);
    renewal.set_ciaddr(ack.yiaddr());
    ask("renewal", MessageType::Ack, &renewal)?;
    client.release(ack.yiaddr());
    Ok(())
}
