//! Many DHCP clients at once over loopback, spread over several sockets, and what the lease file knows of them.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, Message, MessageType};

use super::dhcp::Client;
use super::lab::{self, kind, server_id};
use super::{Daemon, PATIENCE};

/// How a client of the crowd stands.
#[derive(Clone)]
pub enum Step {
    Discover,
    Request(Message),
    Leased(Ipv4Addr),
}

/// Many clients at once, spread over several sockets; each asks again when it has waited for a while.
pub struct Crowd {
    pub sockets: Vec<UdpSocket>,
    pub clients: Vec<Client>,
    pub steps: Vec<Step>,
    pub by_xid: HashMap<u32, usize>,
}

impl Crowd {
    pub fn new(port: u16, clients: u32) -> Self {
        let sockets: Vec<UdpSocket> =
            (0..8).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        for socket in &sockets {
            socket.set_nonblocking(true).unwrap();
        }
        let clients: Vec<Client> = (0..clients)
            .map(|n| {
                let mut client = Client::new(n + 1, port);
                client.socket = sockets[n as usize % sockets.len()].try_clone().unwrap();
                client
            })
            .collect();
        let by_xid = clients.iter().enumerate().map(|(n, client)| (client.xid, n)).collect();
        let steps = vec![Step::Discover; clients.len()];
        Self { sockets, clients, steps, by_xid }
    }

    pub fn ask(&self, n: usize) {
        let client = &self.clients[n];
        match &self.steps[n] {
            Step::Discover => client.send(&client.message(MessageType::Discover, &[])),
            Step::Request(offer) => {
                let wish = [
                    DhcpOption::RequestedIpAddress(offer.yiaddr()),
                    DhcpOption::ServerIdentifier(server_id(offer).unwrap()),
                ];
                client.send(&client.message(MessageType::Request, &wish));
            }
            Step::Leased(_) => {}
        }
    }

    /// Takes what has come; how many more clients have a lease.
    pub fn hear(&mut self) -> usize {
        let mut leased = 0;
        for socket in 0..self.sockets.len() {
            while let Some(answer) = lab::receive(&self.sockets[socket]) {
                let n = self.by_xid[&answer.xid()];
                match (kind(&answer), &self.steps[n]) {
                    (MessageType::Offer, Step::Discover) => {
                        self.steps[n] = Step::Request(answer);
                        self.ask(n);
                    }
                    (MessageType::Ack, Step::Request(offer)) => {
                        assert_eq!(answer.yiaddr(), offer.yiaddr());
                        self.steps[n] = Step::Leased(answer.yiaddr());
                        leased += 1;
                    }
                    (MessageType::Nak, _) => panic!("refused: {answer:?}"),
                    // An answer to a question that was asked twice.
                    _ => {}
                }
            }
        }
        leased
    }

    /// Everybody asks at once, and again every second, until all have a lease; `meanwhile` gets the number that has.
    pub fn lease(&mut self, mut meanwhile: impl FnMut(usize)) {
        let (started, mut asked, mut leased) = (Instant::now(), None, 0);
        while leased < self.clients.len() {
            if asked.is_none_or(|asked: Instant| asked.elapsed() > Duration::from_secs(1)) {
                asked = Some(Instant::now());
                (0..self.clients.len()).for_each(|n| self.ask(n));
            }
            leased += self.hear();
            meanwhile(leased);
            assert!(started.elapsed() < PATIENCE, "{leased} of {} have a lease", self.clients.len());
            std::thread::yield_now();
        }
    }

    /// The address of each client, each once.
    #[track_caller]
    pub fn leases(&self) -> BTreeMap<Ipv4Addr, String> {
        let mut all = BTreeMap::new();
        for (client, step) in self.clients.iter().zip(&self.steps) {
            let Step::Leased(address) = step else { panic!("a client has no lease") };
            let twice = all.insert(*address, mac(client));
            assert_eq!(twice, None, "{address} is leased twice");
        }
        all
    }
}

pub fn mac(client: &Client) -> String {
    client.mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What the lease file says: address → hardware address of the active leases.
pub fn in_file(daemon: &Daemon) -> BTreeMap<Ipv4Addr, String> {
    let rows = lab::query(daemon, "SELECT ip, mac FROM lease_list WHERE state = 'active'");
    rows.into_iter().map(|row| (row[0].parse().unwrap(), row[1].clone())).collect()
}
