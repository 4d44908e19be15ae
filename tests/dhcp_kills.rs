//! A lease that was acknowledged is in force, whatever process is killed at whatever moment: clients take, renew and give back leases
//! all the time and note each ACK, while processes are killed at random, main too, and the daemon is started again.

mod common;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use common::crowd::{in_file, mac};
use common::dhcp::Client;
use common::echo::EndOf;
use common::lab::{dhcp_port, kind, lines, server_id};
use common::{Daemon, children, eventually, is_alive};
use dhcproto::v4::{DhcpOption, Message, MessageType};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Little room: 64 clients share 80 addresses, so what is given back is soon somebody else's.
const YAML: &str = "tcp: {address: 127.0.0.1, port: 0}
udp: {address: 127.0.0.1, port: 0}
dhcp:
  interfaces: [lo]
  port: 0
  workers: 3
  conflict_check: {method: off}
  security: {client_rate: null}
  subnets:
    lan: {network: 10.77.0.0/24, interface: lo, pools: {main: {range: 10.77.0.10-10.77.0.89}}}
";

const THREADS: u32 = 4;
const CLIENTS: u32 = 16;
/// Main is killed so often, and before it each time so many of the others: 203 processes.
const ROUNDS: usize = 7;
const KILLS: usize = 28;

/// xorshift64* (Vigna 2016): the same choices in every run, at moments that differ.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }
}

/// What was acknowledged and not given back: address → hardware address.
#[derive(Default)]
struct Promises {
    held: Mutex<BTreeMap<Ipv4Addr, String>>,
    acks: AtomicUsize,
}

impl Promises {
    /// An ACK has come.
    fn note(&self, address: Ipv4Addr, client: &Client) {
        self.acks.fetch_add(1, SeqCst);
        let before = self.held.lock().unwrap().insert(address, mac(client));
        assert!(before.is_none_or(|before| before == mac(client)), "{address} was another client's");
    }

    /// The client is about to give its address back.
    fn forget(&self, address: Ipv4Addr) {
        self.held.lock().unwrap().remove(&address);
    }
}

/// A client and what it holds.
struct Holder {
    client: Client,
    leased: Option<Ipv4Addr>,
}

impl Holder {
    fn new(n: u32) -> Self {
        let client = Client::new(n, 0);
        client.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { client, leased: None }
    }

    /// Asks once, wherever the server is now; what was asked before is of no interest any more.
    fn ask(&mut self, port: u16, kind: MessageType, shape: impl FnOnce(&mut Message)) -> Option<Message> {
        self.client.server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        self.client.xid = self.client.xid.wrapping_add(1);
        let mut message = self.client.message(kind, &[]);
        shape(&mut message);
        self.client.send(&message);
        self.client.receive()
    }

    /// One step of its life.
    fn step(&mut self, port: u16, promises: &Promises, dice: &mut Dice) {
        match self.leased {
            None => self.lease(port, promises),
            Some(address) if dice.below(5) == 0 => {
                promises.forget(address);
                self.leased = None;
                self.client.server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
                self.client.release(address);
            }
            Some(address) => self.renew(address, port, promises),
        }
    }

    fn lease(&mut self, port: u16, promises: &Promises) {
        let Some(offer) = self.ask(port, MessageType::Discover, |_| ()) else { return };
        let (address, server) = (offer.yiaddr(), server_id(&offer).unwrap());
        let answer = self.ask(port, MessageType::Request, |request| {
            request.opts_mut().insert(DhcpOption::RequestedIpAddress(address));
            request.opts_mut().insert(DhcpOption::ServerIdentifier(server));
        });
        // No answer: the lease may be there all the same. A NAK: the offer died with main, and somebody else was quicker.
        if let Some(ack) = answer.filter(|answer| kind(answer) == MessageType::Ack) {
            promises.note(ack.yiaddr(), &self.client);
            self.leased = Some(ack.yiaddr());
        }
    }

    fn renew(&mut self, address: Ipv4Addr, port: u16, promises: &Promises) {
        let answer = self.ask(port, MessageType::Request, |request| {
            request.set_ciaddr(address);
        });
        if let Some(answer) = answer {
            assert_eq!(
                kind(&answer),
                MessageType::Ack,
                "{address} was acknowledged, and its renewal is refused"
            );
            promises.note(address, &self.client);
        }
    }
}

/// Kills children of main at random moments, and then main.
fn kill_at_random(daemon: &Daemon, dice: &mut Dice) {
    let main = daemon.pid();
    let mut killed = 0;
    while killed < KILLS {
        std::thread::sleep(Duration::from_millis(5 + dice.below(100) as u64));
        let children = children(main);
        if !children.is_empty() {
            let victim = children[dice.below(children.len())];
            killed += usize::from(kill(Pid::from_raw(victim), Signal::SIGKILL).is_ok());
        }
    }
    let tree = children(main);
    kill(Pid::from_raw(main), Signal::SIGKILL).unwrap();
    eventually("the whole tree is gone", || (!tree.iter().any(|pid| is_alive(*pid))).then_some(()));
}

/// The last that the log knows of an address, for whoever has to find out what went wrong.
fn story(daemon: &Daemon, address: Ipv4Addr) -> String {
    let (log, address) = (daemon.log(), address.to_string());
    let lines: Vec<&str> =
        log.lines().filter(|line| line.contains(&address) || line.contains("DAEMON_START")).collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

#[test]
fn every_acknowledged_lease_is_in_force_after_processes_were_killed_at_random() {
    let daemon = Daemon::start(YAML);
    let (promises, port, end) =
        (Promises::default(), AtomicU16::new(dhcp_port(&daemon)), AtomicBool::new(false));
    let mut dice = Dice(0x5eed);
    let holders: Vec<Holder> = std::thread::scope(|scope| {
        let _end = EndOf(&end);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (promises, port, end) = (&promises, &port, &end);
                scope.spawn(move || {
                    let mut dice = Dice(u64::from(thread) + 1);
                    let mut holders: Vec<Holder> =
                        (0..CLIENTS).map(|n| Holder::new(1 + thread * CLIENTS + n)).collect();
                    while !end.load(SeqCst) {
                        let which = dice.below(holders.len());
                        holders[which].step(port.load(SeqCst), promises, &mut dice);
                    }
                    holders
                })
            })
            .collect();
        for round in 0..ROUNDS {
            let before = promises.acks.load(SeqCst);
            kill_at_random(&daemon, &mut dice);
            assert!(promises.acks.load(SeqCst) > before, "no load in round {round}");
            daemon.run_ok(&["start"]);
            port.store(dhcp_port(&daemon), SeqCst);
            assert!(!threads.iter().any(std::thread::ScopedJoinHandle::is_finished), "a client has failed");
        }
        end.store(true, SeqCst);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let held = promises.held.into_inner().unwrap();
    let file = in_file(&daemon);
    for (address, client) in &held {
        assert_eq!(
            file.get(address),
            Some(client),
            "{address} was acknowledged: {}",
            story(&daemon, *address)
        );
    }
    // And the server says the same to each holder, and no to everybody else.
    let port = port.load(SeqCst);
    let stranger = Client::new(9999, port);
    for holder in holders {
        let Some(address) = holder.leased else { continue };
        assert_eq!(held.get(&address), Some(&mac(&holder.client)));
        let mut client = Client::new(0, port);
        (client.mac, client.xid) = (holder.client.mac, 7);
        assert_eq!(client.renew(address).map(|answer| kind(&answer)), Some(MessageType::Ack), "{address}");
        assert_eq!(stranger.renew(address).map(|answer| kind(&answer)), Some(MessageType::Nak), "{address}");
    }
    assert_eq!(lines(&daemon, &["DHCP_PACKET_PANICKED"]), 0);
}
