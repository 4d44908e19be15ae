//! Attacks on the real binary: what somebody who may send whatever he likes can take from others. One test for each
//! promise of docs/security.md ("Under attack").

mod common;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::cable::{Cable, broadcast, request};
use common::dhcp::Client;
use common::echo::{
    EndOf, endpoint_like, forge, inside, is_silent, metric, udp_client, udp_ping, v4, wait_metric,
};
use common::lab::{self, NO_ECHO, Sniffer, dhcp_port, kind, lines};
use common::octets::{self, Question};
use common::raw::{control, request as head, socket_path};
use common::{BASE, Daemon, Namespace, PATIENCE, eventually, is_root, proc};
use dhcproto::v4::{DhcpOption, Message, MessageType};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// DHCP on loopback, two workers, with these pools and other keys of `dhcp`.
fn loopback(range: &str, keys: &str) -> String {
    format!(
        "{NO_ECHO}dhcp:
  interfaces: [lo]
  port: 0
  conflict_check: {{method: off}}
  {keys}
  subnets:
    lan: {{network: 10.77.0.0/16, interface: lo, pools: {{main: {{range: {range}}}}}}}
"
    )
}

fn dropped(reason: &str) -> String {
    format!("echo_daemon_dhcp_dropped_total{{reason=\"{reason}\"}}")
}

/// Number `n` of the clients that an attacker invents, with a client identifier of its own.
fn invented(kind: u8, n: u32) -> Question {
    let n = 0x4000_0000 | n;
    Question::new(kind, n).with(61, &[&[255][..], &n.to_be_bytes()].concat())
}

/// Sends DISCOVERs under ever new names as fast as it can, and takes every offer that it gets, until it is told to end;
/// how many it has sent.
fn starve(port: u16, over: &AtomicBool, next: &AtomicU32) -> u32 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (mut sent, mut buffer) = (0, [0; 1500]);
    while !over.load(Ordering::Relaxed) {
        for _ in 0..16 {
            let discover = invented(octets::DISCOVER, next.fetch_add(1, Ordering::Relaxed));
            sent += u32::from(socket.send(&discover.bytes()).is_ok());
        }
        while let Ok(length) = socket.recv(&mut buffer) {
            let offer = octets::Answer::new(buffer[..length].to_vec());
            if offer.kind() != Some(octets::OFFER) {
                continue;
            }
            let n = u32::from_be_bytes(offer.bytes[30..34].try_into().unwrap());
            let take = invented(octets::REQUEST, n & 0x3fff_ffff);
            let take = take.with_ip(50, offer.yiaddr()).with_ip(54, Ipv4Addr::LOCALHOST);
            let _ = socket.send(&take.bytes());
        }
    }
    sent
}

/// All renew at once, and those that have no ACK again every half second, until each has one.
#[track_caller]
fn all_renew(clients: &[(Client, Ipv4Addr)]) {
    let mut waiting: Vec<_> = clients.iter().collect();
    for (client, _) in &waiting {
        client.socket.set_nonblocking(true).unwrap();
    }
    let mut asked: Option<Instant> = None;
    eventually("an ACK for each renewal", || {
        if asked.is_none_or(|asked| asked.elapsed() > Duration::from_millis(500)) {
            asked = Some(Instant::now());
            for (client, address) in &waiting {
                let mut renewal = client.message(MessageType::Request, &[]);
                renewal.set_ciaddr(*address);
                client.send(&renewal);
            }
        }
        waiting.retain(|(client, address)| {
            let Some(answer) = lab::receive(&client.socket) else { return true };
            assert_eq!((kind(&answer), answer.yiaddr()), (MessageType::Ack, *address));
            false
        });
        waiting.is_empty().then_some(())
    });
}

fn leased(clients: impl Iterator<Item = u32>, port: u16) -> Vec<(Client, Ipv4Addr)> {
    let lease = |n| {
        let client = Client::new(n, port);
        let address = client.lease();
        (client, address)
    };
    clients.map(lease).collect()
}

/// Memory of a process that is in the machine's, in KiB.
fn resident(pid: i32) -> u64 {
    proc::field(pid, "VmRSS").trim_end_matches(" kB").parse().unwrap()
}

/// Warnings and errors of the workers, by event.
fn complaints(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let grave = log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    let workers = grave.filter(|line| !line.contains(" main] "));
    workers.map(|line| line.split("] ").nth(1).unwrap().split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn starvation_has_bounded_memory_leaves_renewals_answered_and_raises_one_alarm() {
    // Large enough that a search through it costs something, small enough to be empty soon.
    let daemon = Daemon::start(&loopback("10.77.1.0-10.77.4.255", ""));
    let port = dhcp_port(&daemon);
    let known = leased(1..=20, port);
    let (started, over, next) = (Instant::now(), AtomicBool::new(false), AtomicU32::new(0));
    let exhausted = dropped("exhausted");
    std::thread::scope(|scope| {
        let end = EndOf(&over);
        scope.spawn(|| starve(port, &over, &next));
        // From then on they get nothing; where this machine is too slow for the flood, most are not even looked for.
        eventually("the pool is empty", || {
            let empty = metric(&daemon, &exhausted);
            (empty > 0 && empty + metric(&daemon, &dropped("overload")) > 2000).then_some(())
        });
        let workers = lab::dhcp_workers(&daemon, 2);
        let before = workers.iter().map(|pid| resident(*pid)).sum::<u64>();
        let names = next.load(Ordering::Relaxed);
        all_renew(&known);
        eventually("many more names", || (next.load(Ordering::Relaxed) > names + 40_000).then_some(()));
        all_renew(&known);
        let after = workers.iter().map(|pid| resident(*pid)).sum::<u64>();
        assert!(after < before + 8 * 1024, "{before} KiB became {after} KiB");
        assert_eq!(lab::dhcp_workers(&daemon, 2), workers, "none of them has died");
        drop(end);
    });
    let complaints = complaints(&daemon);
    let of = |event: &str| complaints.iter().filter(|one| *one == event).count();
    // The pool is empty, which is said once a minute; where this machine is too slow for the flood, that too.
    let minutes = usize::try_from(started.elapsed().as_secs() / 60).unwrap();
    assert!((1..=1 + minutes).contains(&of("DHCP_POOL_EXHAUSTED")), "{complaints:?}");
    assert!(of("DHCP_OVERLOADED") <= 1 + minutes, "{complaints:?}");
    assert_eq!(of("DHCP_POOL_EXHAUSTED") + of("DHCP_OVERLOADED"), complaints.len(), "{complaints:?}");
}

#[test]
fn a_flood_from_one_client_harms_no_other() {
    let daemon = Daemon::start(&loopback("10.77.1.0-10.77.8.255", ""));
    let port = dhcp_port(&daemon);
    let known = leased(1..=10, port);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = EndOf(&over);
        scope.spawn(|| {
            let loud = Client::new(1000, port);
            let discover = Question::discover(1000).bytes();
            while !over.load(Ordering::Relaxed) {
                let _ = loud.socket.send_to(&discover, loud.server);
            }
        });
        eventually("the flood is limited", || {
            (metric(&daemon, &dropped("rate-limited")) > 1000).then_some(())
        });
        all_renew(&known);
        for n in 100..105 {
            let client = Client::new(n, port);
            client.socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let offer = eventually("an offer to a new client", || client.discover());
            let ack = eventually("an answer to its request", || client.select(&offer));
            assert_eq!(kind(&ack), MessageType::Ack);
        }
        drop(end);
    });
    assert_eq!(lab::count(&daemon, "SELECT count(*) FROM lease_list WHERE state = 'active'"), 15);
    assert_eq!(complaints(&daemon).iter().filter(|event| *event != "DHCP_OVERLOADED").count(), 0);
}

#[test]
fn declines_of_invented_clients_take_a_quarter_of_a_pool_at_most_and_raise_one_alarm() {
    let keys = "offer_hold: 1s";
    let daemon = Daemon::start(&loopback("10.77.1.0-10.77.1.39", keys));
    let port = dhcp_port(&daemon);
    let known = leased(1..=5, port);
    let speaker = octets::Speaker::new(&daemon);
    let doubted = dropped("doubted-decline");
    let mut n = 0;
    eventually("declines are doubted", || {
        for _ in 0..40 {
            n += 1;
            speaker.send(&invented(octets::DISCOVER, n));
            if let Some(offer) = speaker.heard(&invented(octets::DISCOVER, n)) {
                let decline = invented(octets::DECLINE, n).with_ip(50, offer.yiaddr());
                speaker.send(&decline.with_ip(54, Ipv4Addr::LOCALHOST));
            }
        }
        (metric(&daemon, &doubted) > 5).then_some(())
    });
    let resting = lab::count(&daemon, "SELECT count(*) FROM lease_list WHERE state = 'declined'");
    assert_eq!(resting, 10);
    assert_eq!(lines(&daemon, &["DHCP_DECLINES_DOUBTED", "subnet=lan"]), 1);
    all_renew(&known);
    let new = Client::new(50, port);
    new.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let offer = eventually("an address for a new client", || new.discover());
    assert_eq!(new.select(&offer).map(|answer| kind(&answer)), Some(MessageType::Ack));
}

const LAN: &str = "
dhcp:
  interfaces: [srv0]
  workers: 1
  conflict_check: {method: off}
  subnets:
    lan:
      network: 10.0.0.0/24
      options: {routers: [10.0.0.1]}
      pools: {main: {range: 10.0.0.100-10.0.0.199}}
";

/// A victim with a lease on the cable; its namespace has the address, and another one beside it.
fn victim(cable: &Cable) -> (Client, Ipv4Addr) {
    let client = cable.broadcaster(1);
    let offer =
        lab::until(&client, &broadcast(client.message(MessageType::Discover, &[])), MessageType::Offer);
    let ack = lab::until(&client, &broadcast(request(&client, &offer)), MessageType::Ack);
    let address = ack.yiaddr();
    cable.client.address("cli0", &format!("{address}/24"));
    (client, address)
}

/// Where the server has sent something since the last time.
fn answered(wire: &Sniffer) -> Vec<Ipv4Addr> {
    let dhcp = |frame: &Vec<u8>| {
        frame.len() > 42 && frame[12..14] == [8, 0] && frame[23] == 17 && frame[34..36] == [0, 67]
    };
    let to = |frame: Vec<u8>| Ipv4Addr::from(<[u8; 4]>::try_from(&frame[30..34]).unwrap());
    std::iter::from_fn(|| wire.next()).filter(dhcp).map(to).collect()
}

#[test]
fn spoofed_giaddr_and_ciaddr_reflect_nothing() {
    if !is_root("spoofed_giaddr_and_ciaddr_reflect_nothing") {
        return;
    }
    let cable = Cable::new("10.0.0.1/24");
    let daemon = cable.daemon(LAN);
    let (client, address) = victim(&cable);
    drop(client);
    cable.client.address("cli0", "10.0.0.9/24");
    let attacker = cable.at(66, "cli0", Ipv4Addr::new(10, 0, 0, 9), SERVER);
    let wire = Sniffer::new(&cable.client);
    let send = |kind, change: &dyn Fn(&mut Message)| {
        let mut message = attacker.message(kind, &[]);
        change(&mut message);
        attacker.send(&message);
    };
    let elsewhere = Ipv4Addr::new(198, 51, 100, 7);
    // The victim is no relay, nor are we, nor is everybody; and somebody beyond our networks is none that we know.
    for relay in [address, SERVER, Ipv4Addr::new(10, 0, 0, 255), elsewhere] {
        for kind in [MessageType::Discover, MessageType::Request] {
            send(kind, &|message| {
                message.set_giaddr(relay);
            });
        }
    }
    // Options for the address of another, for one that is nowhere near, and for all.
    for host in [address, elsewhere, Ipv4Addr::BROADCAST] {
        send(MessageType::Inform, &|message| {
            message.set_ciaddr(host);
        });
    }
    // A renewal of what is not its own is refused to the link, not to the address.
    send(MessageType::Request, &|message| {
        message.set_ciaddr(address);
    });
    wait_metric(&daemon, "echo_daemon_dhcp_messages_total{type=\"nak\",direction=\"out\"}", 1);
    for (reason, count) in
        [("relay-address", 6), ("unknown-subnet", 3), ("stranger", 1), ("client-address", 1)]
    {
        wait_metric(&daemon, &dropped(reason), count);
    }
    assert_eq!(answered(&wire), [Ipv4Addr::BROADCAST], "the NAK, and nothing to anybody else");
    // The victim itself is answered there.
    drop(attacker);
    let client = cable.at(1, "cli0", address, SERVER);
    let mut renewal = client.message(MessageType::Request, &[]);
    renewal.set_ciaddr(address);
    lab::until(&client, &renewal, MessageType::Ack);
    assert!(answered(&wire).contains(&address));
}

#[test]
fn releases_and_declines_from_elsewhere_end_no_lease() {
    if !is_root("releases_and_declines_from_elsewhere_end_no_lease") {
        return;
    }
    let cable = Cable::new("10.0.0.1/24");
    let daemon = cable.daemon(LAN);
    cable.server.sh("ip", &["route", "add", "192.0.2.0/24", "dev", "srv0"]);
    let (client, address) = victim(&cable);
    drop(client);
    // Another client of the link, and a machine beyond a router; both know all that the victim sends.
    let end = |source: Ipv4Addr, kind| {
        let forger = cable.at(1, "cli0", source, SERVER);
        let mut message = forger.message(kind, &[DhcpOption::ServerIdentifier(SERVER)]);
        if kind == MessageType::Release {
            message.set_ciaddr(address);
        } else {
            message.opts_mut().insert(DhcpOption::RequestedIpAddress(address));
        }
        forger.send(&message);
    };
    for source in [Ipv4Addr::new(10, 0, 0, 180), Ipv4Addr::new(192, 0, 2, 7)] {
        cable.client.address("cli0", &format!("{source}/24"));
        for kind in [MessageType::Release, MessageType::Decline] {
            end(source, kind);
        }
    }
    wait_metric(&daemon, &dropped("foreign-source"), 4);
    daemon.wait_log(&["DHCP_ADDRESS_SPOOFED", "address=192.0.2.7"]);
    assert_eq!(
        lab::query(&daemon, "SELECT ip, state FROM lease_list"),
        [[address.to_string(), "active".into()]]
    );
    end(address, MessageType::Release);
    daemon.wait_log(&["DHCP_LEASE_RELEASED", &address.to_string()]);
}

#[test]
fn udp_echo_does_not_loop_with_services_of_any_port_below_those_of_clients() {
    const FORGED: u64 = 60;
    if !is_root("udp_echo_does_not_loop_with_services_of_any_port_below_those_of_clients") {
        return;
    }
    let namespace = Namespace::new();
    let yaml = |port: u16| {
        format!(
            "tcp: {{enabled: false}}\nudp: {{address: 0.0.0.0, port: {port}}}\ndhcp: {{enabled: false}}\n"
        )
    };
    let ports = [9001, 9002];
    let daemons = ports.map(|port| Daemon::start_in(&namespace, &yaml(port)));
    let figure = |name: &str| daemons.iter().map(|daemon| metric(daemon, name)).sum::<u64>();
    let dropped = || figure("echo_daemon_udp_datagrams_total{result=\"loop\"}");
    inside(&namespace, || {
        for _ in 0..FORGED / 2 {
            forge(v4("127.0.0.1", 9001), v4("127.0.0.1", 9002), b"ping");
            forge(v4("127.0.0.1", 9002), v4("127.0.0.1", 9001), b"pong");
        }
    });
    // Each datagram is dropped once, and then nothing goes round any more.
    eventually("an end of every datagram", || (dropped() == FORGED).then_some(()));
    let echoed = figure("echo_daemon_udp_datagrams_total{result=\"echoed\"}");
    assert!(echoed >= FORGED, "they met the limit, not another rule");
    // Neither does a service that echoes at such a port and is not ours, nor our own address as the source.
    inside(&namespace, || {
        let other = udp_client("127.0.0.1:20000", v4("127.0.0.1", 9001).into());
        let mut answers = 0;
        other.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        other.send(b"ping").unwrap();
        let mut buffer = [0; 100];
        while let Ok(length) = other.recv(&mut buffer) {
            answers += 1;
            assert!(answers < 10_000, "it goes on and on");
            other.send(&buffer[..length]).unwrap();
        }
        forge(v4("127.0.0.1", 9001), v4("127.0.0.1", 9001), b"to myself");
        forge(v4("127.255.255.255", 9001), v4("127.0.0.1", 9002), b"to all");
        assert!(is_silent(&other));
        // A client is echoed as ever.
        let honest = udp_client("127.0.0.1:40000", v4("127.0.0.1", 9001).into());
        for _ in 0..1000 {
            udp_ping(&honest, b"honest");
        }
    });
}

#[test]
fn echoes_are_never_longer_than_what_was_sent() {
    let daemon =
        Daemon::start("tcp: {enabled: false}\nudp: {address: 127.0.0.1, port: 0}\ndhcp: {enabled: false}\n");
    let client = udp_client("127.0.0.1:0", endpoint_like(&daemon, "udp", "127.0.0.1"));
    for length in [0, 1, 1472, 20_000] {
        udp_ping(&client, &vec![7; length]);
    }
    assert!(is_silent(&client), "one answer each");
}

#[test]
fn log_volume_under_attack_is_bounded() {
    // Room for a line for each packet, were each logged.
    const FILE_BYTES: u64 = 400_000;
    const FILES: u64 = 4;
    let daemon = Daemon::prepare("");
    let own = format!("log_level: DEBUG, max_log_size: {FILE_BYTES}, backup_count: {}}}", FILES - 1);
    let base = BASE.replace("log_level: DEBUG}", &own);
    let yaml = loopback("10.77.1.0-10.77.8.255", "security: {deny: [\"66:*\"]}");
    std::fs::write(&daemon.config, format!("{base}{yaml}")).unwrap();
    daemon.run_ok(&["start"]);
    let port = dhcp_port(&daemon);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let denied = Question::discover(1).field(28, &[0x66]).bytes();
    let spoofed = Question::discover(2).relayed("255.255.255.255").bytes();
    let loud = Question::discover(3).bytes();
    // Every name gets an offer, which is a line at DEBUG.
    for n in 0..1000 {
        for bytes in [&denied[..], &spoofed, &loud, b"rubbish", &invented(octets::DISCOVER, n).bytes()] {
            let _ = socket.send(bytes);
        }
    }
    for reason in ["denied", "relay-address", "rate-limited", "too-short"] {
        eventually(reason, || (metric(&daemon, &dropped(reason)) > 500).then_some(()));
    }
    daemon.run_ok(&["stop"]);
    let files: Vec<_> =
        std::fs::read_dir(daemon.folder.path().join("log")).unwrap().map(Result::unwrap).collect();
    assert!(files.len() as u64 <= FILES);
    for file in files {
        let length = file.metadata().unwrap().len();
        assert!(length <= FILE_BYTES + 4096, "{}: {length}", file.path().display());
    }
    // What an attack repeats does not push out the rest: a minute's worth at once, then one in a second.
    for event in ["DHCP_CLIENT_DENIED", "DHCP_ADDRESS_SPOOFED", "DHCP_CLIENT_RATE_LIMITED"] {
        assert!(lines(&daemon, &[event]) < 150, "{event}: {}", lines(&daemon, &[event]));
    }
}

#[test]
fn a_greedy_client_of_the_api_harms_nobody() {
    let daemon = Daemon::prepare("");
    let base = BASE.replace("api: {listen: null}", "api: {listen: \"127.0.0.1:0\"}");
    let yaml = loopback("10.77.1.0-10.77.8.255", "security: {client_rate: null}");
    std::fs::write(&daemon.config, format!("{base}{yaml}")).unwrap();
    daemon.run_ok(&["start"]);
    let port = dhcp_port(&daemon);
    let known = leased(1..=200, port);
    let api = daemon.endpoint("api");
    let asked = [
        head("GET", "/v1/leases?limit=1000", "").replace("Connection: close\r\n", ""),
        "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
    ];
    // They ask for far more than they read: over TCP as many as there may be, and over the control socket.
    let greedy = |write: &mut dyn Write, n: usize| {
        let many = if n.is_multiple_of(4) { asked[1].clone() } else { asked[0].repeat(100) };
        // The server may have had enough.
        let _ = write.write_all(many.as_bytes());
    };
    let remote: Vec<TcpStream> = (0..100)
        .filter_map(|n| {
            let mut stream = TcpStream::connect_timeout(&api, PATIENCE).ok()?;
            stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            greedy(&mut stream, n);
            Some(stream)
        })
        .collect();
    let local: Vec<UnixStream> = (0..40)
        .filter_map(|n| {
            let mut stream = UnixStream::connect(socket_path(&daemon)).ok()?;
            stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            greedy(&mut stream, n);
            Some(stream)
        })
        .collect();
    assert_eq!((remote.len(), local.len()), (100, 40));
    // Clients of DHCP notice nothing, and whoever asks over the control socket has an answer.
    all_renew(&known);
    leased(300..310, port);
    for _ in 0..5 {
        assert_eq!(control(&daemon, "GET", "/v1/status").status, 200);
    }
    let pid = daemon.worker("api");
    assert!(resident(pid) < 150 * 1024, "{} KiB", resident(pid));
    drop((remote, local));
    assert_eq!(status_over(api), 200);
    assert_eq!(daemon.worker("api"), pid, "it is still the same process");
    assert_eq!(complaints(&daemon), [""; 0]);
}

/// The status of an answer over TCP, once there is a place again.
#[track_caller]
fn status_over(api: SocketAddr) -> u16 {
    eventually("a place at the API", || {
        std::panic::catch_unwind(|| common::raw::tcp(api, "GET", "/v1/status", "").status).ok()
    })
}
