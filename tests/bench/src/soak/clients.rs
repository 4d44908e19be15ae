//! DHCP clients behind relays: each gets a lease, renews it again and again, comes back after a reboot, gives it up at times. A client
//! that gets no answer asks again as clients do; one that never gets one is lost, and that is a fault.

use super::ledger::Ledger;
use crate::netns::SERVER;
use dhcproto::v4::{DhcpOption, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a client waits for an answer before it asks again, and how often it asks.
const WAIT: Duration = Duration::from_millis(500);
const TRIES: u32 = 20;
/// After each conversation of a relay: some 150 a second and relay.
const PAUSE: Duration = Duration::from_millis(5);
/// Of this many conversations one is a stranger's, who takes a lease and is never seen again.
const STRANGER: u32 = 75;
/// Numbers of strangers begin here.
const STRANGERS: u32 = 1 << 24;

/// One relay and the clients behind it.
#[derive(Debug)]
pub(crate) struct Relay<'a> {
    address: Ipv4Addr,
    socket: UdpSocket,
    ledger: &'a Ledger,
    /// The address of each client; none before its first lease and after a RELEASE.
    clients: Vec<Option<Ipv4Addr>>,
    first: u32,
    next_stranger: u32,
    random: u32,
}

impl<'a> Relay<'a> {
    /// In the namespace of the calling thread. `number` sets its clients apart from those of others.
    pub(crate) fn new(number: u8, clients: u32, ledger: &'a Ledger) -> anyhow::Result<Self> {
        let address = Ipv4Addr::new(10, 64, 0, 2 + number);
        let socket = UdpSocket::bind((address, 67))?;
        socket.set_read_timeout(Some(WAIT))?;
        let first = u32::from(number) << 16;
        let clients = (0..clients).map(|_| None).collect();
        let next_stranger = STRANGERS | (u32::from(number) << 20);
        Ok(Self { address, socket, ledger, clients, first, next_stranger, random: first | 1 })
    }

    /// Conversations until the end is told.
    pub(crate) fn run(&mut self, end: &AtomicBool) {
        while !end.load(Ordering::Relaxed) {
            for at in 0..self.clients.len() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                self.converse(at);
                if self.dice(STRANGER) == 0 {
                    self.next_stranger += 1;
                    self.exchange(self.next_stranger);
                }
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn converse(&mut self, at: usize) {
        let client = self.first + u32::try_from(at).unwrap_or_default();
        let Some(held) = self.clients.get(at).copied().flatten() else {
            self.clients[at] = self.exchange(client);
            return;
        };
        match self.dice(20) {
            0 => {
                // Before it is sent: whoever gets the address from now on gets it rightly.
                self.ledger.released(held);
                let release = self.message(client, MessageType::Release, &[], held);
                let _ = self.send(&release);
                self.clients[at] = None;
            }
            1 => {
                let wish = [DhcpOption::RequestedIpAddress(held)];
                self.keep(
                    at,
                    client,
                    &self.message(client, MessageType::Request, &wish, Ipv4Addr::UNSPECIFIED),
                );
            }
            _ => self.keep(at, client, &self.message(client, MessageType::Request, &[], held)),
        }
    }

    /// DISCOVER to ACK; the address.
    fn exchange(&mut self, client: u32) -> Option<Ipv4Addr> {
        for _ in 0..TRIES {
            let offer = self.ask(&self.message(client, MessageType::Discover, &[], Ipv4Addr::UNSPECIFIED))?;
            let Some(DhcpOption::ServerIdentifier(server)) = offer.opts().get(OptionCode::ServerIdentifier)
            else {
                self.ledger.fault(format!("an OFFER without server identifier: {offer:?}"));
                return None;
            };
            let wish =
                [DhcpOption::RequestedIpAddress(offer.yiaddr()), DhcpOption::ServerIdentifier(*server)];
            let request = self.message(client, MessageType::Request, &wish, Ipv4Addr::UNSPECIFIED);
            let answer = self.ask(&request)?;
            if answer.opts().msg_type() == Some(MessageType::Ack) {
                self.ledger.acknowledged(client, &answer);
                return Some(answer.yiaddr());
            }
            self.ledger.refused();
        }
        self.ledger.fault(format!("client {client} is refused again and again"));
        None
    }

    /// Renews or confirms a lease, which must be granted.
    fn keep(&mut self, at: usize, client: u32, request: &Message) {
        let Some(answer) = self.ask(request) else { return };
        if answer.opts().msg_type() == Some(MessageType::Ack) {
            self.ledger.acknowledged(client, &answer);
        } else {
            self.ledger.fault(format!("client {client} holds {:?} and got {answer:?}", self.clients[at]));
            self.clients[at] = None;
        }
    }

    /// The answer to a message, which is sent again and again.
    fn ask(&self, message: &Message) -> Option<Message> {
        let began = Instant::now();
        for attempt in 0..TRIES {
            if attempt > 0 {
                self.ledger.repeated();
            }
            if self.send(message).is_ok()
                && let Some(answer) = self.receive(message)
            {
                self.ledger.took(began.elapsed());
                return Some(answer);
            }
        }
        self.ledger.fault(format!("no answer to {:?} of {:?}", message.opts().msg_type(), message.chaddr()));
        None
    }

    fn send(&self, message: &Message) -> anyhow::Result<()> {
        self.socket.send_to(&message.to_vec()?, (SERVER, 67))?;
        Ok(())
    }

    /// The answer that belongs to this message; others are late ones.
    fn receive(&self, message: &Message) -> Option<Message> {
        let until = Instant::now() + WAIT;
        let mut buffer = [0; 1500];
        while Instant::now() < until {
            let length = self.socket.recv(&mut buffer).ok()?;
            let answer = Message::decode(&mut Decoder::new(buffer.get(..length)?)).ok()?;
            if answer.xid() == message.xid() && answer.chaddr() == message.chaddr() {
                return Some(answer);
            }
        }
        None
    }

    fn message(&self, client: u32, kind: MessageType, options: &[DhcpOption], held: Ipv4Addr) -> Message {
        let [a, b, c, d] = client.to_be_bytes();
        let mut message = Message::default();
        message.set_opcode(Opcode::BootRequest).set_htype(HType::Eth).set_chaddr(&[2, 0, a, b, c, d]);
        message
            .set_xid(self.random.rotate_left(7) ^ client)
            .set_giaddr(self.address)
            .set_ciaddr(held)
            .set_hops(1);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        for option in options {
            message.opts_mut().insert(option.clone());
        }
        message
    }

    /// 0 to `sides` - 1 (xorshift, Marsaglia 2003).
    fn dice(&mut self, sides: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random % sides
    }
}
