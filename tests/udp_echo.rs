//! UDP echo (RFC 862): every datagram comes back whole, from the address that was asked, and nothing loops.

mod common;

use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use common::echo::{
    EndOf, endpoint_like, forge, has_ipv6, inside, is_silent, metric, offspring, pattern, udp_client,
    udp_ping, v4, wait_metric, worker_complaint,
};
use common::{Daemon, Namespace, PATIENCE, eventually, freeze, is_alive, is_root, signal, state};
use nix::sys::signal::Signal;

const ECHOED: &str = "echo_daemon_udp_datagrams_total{result=\"echoed\"}";
const LOOP: &str = "echo_daemon_udp_datagrams_total{result=\"loop\"}";
const FAILED: &str = "echo_daemon_udp_datagrams_total{result=\"failed\"}";
const BYTES: &str = "echo_daemon_echo_bytes_total{protocol=\"udp\"}";
const DROPPED: &str = "echo_daemon_socket_dropped_total{socket=\"udp\"}";

/// The longest payload of a datagram: 65,535 less the headers of UDP and, in IPv4 only, of IP.
const LONGEST_V4: usize = 65_507;
const LONGEST_V6: usize = 65_527;

/// The UDP service alone with these keys.
fn yaml(keys: &str) -> String {
    format!("tcp: {{enabled: false}}\nudp: {{port: 0, {keys}}}\ndhcp: {{enabled: false}}\n")
}

fn start(keys: &str) -> (Daemon, SocketAddr) {
    let daemon = Daemon::start(&yaml(keys));
    let address = daemon.endpoint("udp");
    (daemon, address)
}

#[test]
fn every_size_comes_back_whole_and_is_counted() {
    for buffer_size in [1, 64, 4096] {
        let (daemon, address) = start(&format!("address: 127.0.0.1, buffer_size: {buffer_size}"));
        let client = udp_client("127.0.0.1:0", address);
        let around = (buffer_size.max(4) - 3)..=(buffer_size + 3);
        let sizes = [0, 1, 2, 3, 1472, 1473, 9000, 32_768, LONGEST_V4 - 1, LONGEST_V4, 0, 5];
        let sizes: Vec<usize> = around.chain(sizes).collect();
        for (n, size) in sizes.iter().enumerate() {
            udp_ping(&client, &pattern(*size, n as u64));
        }
        wait_metric(&daemon, ECHOED, sizes.len() as u64);
        assert_eq!(metric(&daemon, BYTES), sizes.iter().sum::<usize>() as u64);
        assert_eq!([LOOP, FAILED, DROPPED].map(|name| metric(&daemon, name)), [0, 0, 0]);
    }
}

#[test]
fn every_size_comes_back_whole_over_ipv6() {
    if !has_ipv6("every_size_comes_back_whole_over_ipv6") {
        return;
    }
    let (daemon, address) = start("address: '::1'");
    let client = udp_client("[::1]:0", address);
    let sizes = [0, 1, 4095, 4096, 4097, LONGEST_V4, LONGEST_V6];
    for (n, size) in sizes.into_iter().enumerate() {
        udp_ping(&client, &pattern(size, n as u64));
    }
    wait_metric(&daemon, ECHOED, sizes.len() as u64);
    assert_eq!(metric(&daemon, BYTES), sizes.iter().sum::<usize>() as u64);
}

#[test]
fn burst_from_many_clients_is_answered_without_a_mix_up() {
    const CLIENTS: usize = 20;
    const EACH: usize = 50;
    let (daemon, address) = start("address: 127.0.0.1, buffer_size: 100");
    let clients: Vec<_> = (0..CLIENTS).map(|_| udp_client("127.0.0.1:0", address)).collect();
    // Lengths on both sides of the buffer's, so that some lie in two parts beside others that do not.
    let datagram = |client: usize, n: usize| {
        let seed = client * EACH + n;
        let mut bytes = u32::try_from(seed).unwrap().to_le_bytes().to_vec();
        bytes.extend(pattern((seed * 37) % 300, seed as u64));
        bytes
    };
    let mut bytes = 0;
    for n in 0..EACH {
        for (number, client) in clients.iter().enumerate() {
            bytes += client.send(&datagram(number, n)).unwrap();
        }
    }
    for (number, client) in clients.iter().enumerate() {
        for n in 0..EACH {
            let mut back = [0; 1000];
            let length = client.recv(&mut back).unwrap();
            // One worker, one queue: the order stays.
            assert!(back[..length] == datagram(number, n), "answer {n} of client {number}");
        }
    }
    assert!(clients.iter().take(3).all(is_silent), "nothing comes back twice");
    wait_metric(&daemon, ECHOED, (CLIENTS * EACH) as u64);
    assert_eq!(metric(&daemon, BYTES), bytes as u64);
    assert_eq!([LOOP, FAILED, DROPPED].map(|name| metric(&daemon, name)), [0, 0, 0]);
}

#[test]
fn reply_comes_from_the_address_that_was_asked() {
    let (_daemon, address) = start("address: 0.0.0.0");
    for asked in ["127.0.0.1", "127.0.0.2", "127.255.255.254"] {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let asked = SocketAddr::new(asked.parse().unwrap(), address.port());
        client.send_to(b"who is there", asked).unwrap();
        let (_, from) = client.recv_from(&mut [0; 100]).unwrap();
        assert_eq!(from, asked);
    }
}

#[test]
fn reply_comes_from_the_ipv6_address_that_was_asked() {
    let test = "reply_comes_from_the_ipv6_address_that_was_asked";
    if !is_root(test) || !has_ipv6(test) {
        return;
    }
    let namespace = Namespace::new();
    for n in 1..=3 {
        namespace.sh("ip", &["addr", "add", &format!("fd00::{n}/64"), "dev", "lo", "nodad"]);
    }
    let daemon = Daemon::start_in(&namespace, &yaml("address: '::'"));
    let port = daemon.endpoint("udp").port();
    inside(&namespace, || {
        for asked in ["::1", "fd00::1", "fd00::2", "fd00::3"] {
            let client = UdpSocket::bind("[::]:0").unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let asked = SocketAddr::new(asked.parse().unwrap(), port);
            client.send_to(b"who is there", asked).unwrap();
            let (_, from) = client.recv_from(&mut [0; 100]).unwrap();
            assert_eq!(from, asked);
        }
    });
}

#[test]
fn reply_over_a_link_comes_from_the_address_that_was_asked() {
    let test = "reply_over_a_link_comes_from_the_address_that_was_asked";
    if !is_root(test) || !has_ipv6(test) {
        return;
    }
    let (server, client) = (Namespace::new(), Namespace::new());
    server.join("srv0", &client, "cli0");
    client.address("cli0", "10.9.0.7/24");
    client.sh("ip", &["route", "add", "default", "dev", "cli0"]);
    for address in ["10.9.0.1/24", "10.9.0.2/24", "10.9.0.3/24"] {
        server.address("srv0", address);
    }
    server.sh("ip", &["addr", "add", "fe80::1:1/64", "dev", "srv0", "nodad"]);
    client.sh("ip", &["addr", "add", "fe80::1:7/64", "dev", "cli0", "nodad"]);
    let scope: u32 = client.sh("cat", &["/sys/class/net/cli0/ifindex"]).trim().parse().unwrap();
    let daemon = Daemon::start_in(&server, &yaml("address: [0.0.0.0, '::']"));
    let port = endpoint_like(&daemon, "udp", "127.0.0.1").port();
    let port_v6 = endpoint_like(&daemon, "udp", "::").port();
    inside(&client, || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for asked in ["10.9.0.3", "10.9.0.1", "10.9.0.2"] {
            // Longer than the link's packets: it goes in fragments both ways.
            let data = pattern(5000, port.into());
            socket.send_to(&data, v4(asked, port)).unwrap();
            let mut back = [0; 6000];
            let (length, from) = socket.recv_from(&mut back).unwrap();
            assert_eq!(from, v4(asked, port).into());
            assert!(back[..length] == data);
        }
        let local = UdpSocket::bind("[::]:0").unwrap();
        local.set_read_timeout(Some(PATIENCE)).unwrap();
        let asked = SocketAddrV6::new("fe80::1:1".parse().unwrap(), port_v6, 0, scope);
        local.send_to(b"who is there", asked).unwrap();
        assert_eq!(local.recv_from(&mut [0; 100]).unwrap().1, asked.into());
        // What goes to all is answered by nobody.
        socket.set_broadcast(true).unwrap();
        for all in ["10.9.0.255", "255.255.255.255"] {
            socket.send_to(b"to all", v4(all, port)).unwrap();
        }
        let group = SocketAddrV6::new("ff02::1".parse().unwrap(), port_v6, 0, scope);
        local.send_to(b"to all", group).unwrap();
        wait_metric(&daemon, LOOP, 3);
        assert!(is_silent(&socket) && is_silent(&local));
    });
    wait_metric(&daemon, ECHOED, 4);
}

#[test]
fn sources_that_would_loop_are_dropped_and_counted() {
    if !is_root("sources_that_would_loop_are_dropped_and_counted") {
        return;
    }
    let namespace = Namespace::new();
    let daemon = Daemon::start_in(&namespace, &yaml("address: 0.0.0.0"));
    let address = daemon.endpoint("udp");
    let port = address.port();
    inside(&namespace, || {
        let mut dropped = 0;
        for service in [7, 13, 17, 19, 37, 53, 69, 123, 161, 389, 1023, 1900, 5353, 11_211] {
            let client = udp_client(&format!("127.0.0.1:{service}"), v4("127.0.0.1", port).into());
            client.send(b"from a service").unwrap();
            dropped += 1;
            wait_metric(&daemon, LOOP, dropped);
            assert!(service != 7 || is_silent(&client));
        }
        daemon.wait_log(&["UDP_DATAGRAM_DROPPED", "reason=service-port", "peer=127.0.0.1:7"]);
        // Its own port: on another address of this machine, and its very own address.
        let twin = v4("127.0.0.9", port);
        for source in [twin, v4("127.0.0.1", port)] {
            forge(source, v4("127.0.0.1", port), b"from the daemon itself");
            dropped += 1;
            wait_metric(&daemon, LOOP, dropped);
        }
        for source in ["255.255.255.255", "224.0.0.1", "240.0.0.1"] {
            forge(v4(source, 40_000), v4("127.0.0.1", port), b"from no host");
            dropped += 1;
            wait_metric(&daemon, LOOP, dropped);
        }
        // To everybody: every echo service on the link would answer.
        let loud = UdpSocket::bind("127.0.0.1:0").unwrap();
        loud.set_broadcast(true).unwrap();
        loud.send_to(b"to all", v4("127.255.255.255", port)).unwrap();
        wait_metric(&daemon, LOOP, dropped + 1);
        assert_eq!(metric(&daemon, ECHOED), 0);
        // A source that only the kernel knows for a broadcast address: it refuses to send there.
        forge(v4("127.255.255.255", 40_000), v4("127.0.0.1", port), b"from everybody");
        wait_metric(&daemon, FAILED, 1);
        udp_ping(&udp_client("127.0.0.1:0", v4("127.0.0.1", port).into()), b"an honest client");
    });
    wait_metric(&daemon, ECHOED, 1);
    assert_eq!(metric(&daemon, BYTES), 16);
}

#[test]
fn two_daemons_that_are_pointed_at_each_other_do_not_loop() {
    if !is_root("two_daemons_that_are_pointed_at_each_other_do_not_loop") {
        return;
    }
    let namespace = Namespace::new();
    let first = Daemon::start_in(&namespace, &yaml("address: 127.0.0.1"));
    let port = first.endpoint("udp").port();
    let yaml = yaml("address: 127.0.0.2").replace("port: 0", &format!("port: {port}"));
    let second = Daemon::start_in(&namespace, &yaml);
    let (one, two) = (v4("127.0.0.1", port), v4("127.0.0.2", port));
    inside(&namespace, || {
        forge(one, two, b"ping");
        forge(two, one, b"pong");
    });
    for daemon in [&first, &second] {
        wait_metric(daemon, LOOP, 1);
        assert_eq!(metric(daemon, ECHOED), 0);
    }
}

#[test]
fn clients_that_vanish_do_no_harm() {
    let (daemon, address) = start("address: 127.0.0.1");
    let stays = udp_client("127.0.0.1:0", address);
    for n in 0..200 {
        // The answer meets a closed port, and an ICMP error comes back.
        udp_client("127.0.0.1:0", address).send(&pattern(100, n)).unwrap();
        udp_ping(&stays, &pattern(200, n));
    }
    wait_metric(&daemon, ECHOED, 400);
    assert_eq!(metric(&daemon, "echo_daemon_errors_total{kind=\"receive\"}"), 0);
    assert_eq!(worker_complaint(&daemon), None);
}

#[test]
fn worker_that_dies_is_replaced_and_what_queued_up_is_answered() {
    const QUEUED: usize = 500;
    let (daemon, address) = start("address: 127.0.0.1");
    let first = daemon.worker("udp");
    let clients: Vec<_> = (0..10).map(|_| udp_client("127.0.0.1:0", address)).collect();
    udp_ping(&clients[0], b"before");
    // An answer is counted after it was sent.
    wait_metric(&daemon, ECHOED, 1);
    // Stopped, it reads nothing, so everything is in the queue when it dies.
    freeze(first);
    for n in 0..QUEUED {
        clients[n % clients.len()].send(&pattern(50 + n, n as u64)).unwrap();
    }
    signal(first, Signal::SIGKILL);
    for n in 0..QUEUED {
        let mut back = [0; 1000];
        let length = clients[n % clients.len()].recv(&mut back).unwrap();
        assert!(back[..length] == pattern(50 + n, n as u64), "answer {n}");
    }
    assert_ne!(daemon.worker("udp"), first);
    wait_metric(&daemon, ECHOED, QUEUED as u64 + 1);
    assert_eq!(metric(&daemon, DROPPED), 0);
    assert_eq!(metric(&daemon, "echo_daemon_worker_restarts_total{worker=\"udp\"}"), 1);
    assert!(offspring(daemon.pid()).into_iter().all(|pid| state(pid) != Some('Z')));
}

#[test]
fn what_the_kernel_had_to_drop_is_counted() {
    const SENT: u64 = 4000;
    let (daemon, address) = start("address: 127.0.0.1");
    let worker = daemon.worker("udp");
    let client = udp_client("127.0.0.1:0", address);
    freeze(worker);
    for _ in 0..SENT {
        client.send(&[1; 8000]).unwrap();
    }
    signal(worker, Signal::SIGCONT);
    // The count comes with a datagram that is queued after the drop.
    let mut small = 0;
    eventually("a count of the drops", || {
        client.send(b"more").unwrap();
        small += 1;
        (metric(&daemon, DROPPED) > 0).then_some(())
    });
    let mut last = (0, 0);
    eventually("an end for each datagram, either answered or dropped", || {
        last = (metric(&daemon, ECHOED), metric(&daemon, DROPPED));
        (last.0 + last.1 == SENT + small).then_some(())
    });
    assert!(last.0 > 0 && last.1 > 0);
    assert_eq!(metric(&daemon, FAILED), 0);
}

#[test]
fn reload_under_traffic_loses_no_datagram() {
    const RELOADS: usize = 15;
    let (daemon, address) = start("address: 127.0.0.1");
    let first = daemon.worker("udp");
    let over = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let over = &over;
                scope.spawn(move || {
                    let client = udp_client("127.0.0.1:0", address);
                    let mut rounds = 0;
                    // Several are under way at any moment. None is ever sent twice.
                    while !over.load(Ordering::Relaxed) {
                        let seed = number * 1_000_000 + rounds * 8;
                        for n in 0..8 {
                            client.send(&pattern(100, seed + n)).unwrap();
                        }
                        // An old worker's last answer may overtake the new one's first.
                        let mut answers: Vec<Vec<u8>> = Vec::new();
                        for _ in 0..8 {
                            let mut back = vec![0; 200];
                            let length = client.recv(&mut back).expect("a datagram was lost");
                            back.truncate(length);
                            answers.push(back);
                        }
                        let mut wanted: Vec<_> = (0..8).map(|n| pattern(100, seed + n)).collect();
                        answers.sort();
                        wanted.sort();
                        assert!(answers == wanted);
                        rounds += 1;
                    }
                    rounds * 8
                })
            })
            .collect();
        let end = EndOf(&over);
        for _ in 0..RELOADS {
            daemon.run_ok(&["reload"]);
        }
        drop(end);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<u64>()
    });
    assert!(served > 0);
    wait_metric(&daemon, ECHOED, served);
    assert_eq!([LOOP, FAILED, DROPPED].map(|name| metric(&daemon, name)), [0, 0, 0]);
    eventually("end of the first worker", || (!is_alive(first)).then_some(()));
}

#[test]
fn both_families_are_served_at_once() {
    if !has_ipv6("both_families_are_served_at_once") {
        return;
    }
    let (daemon, _) = start("address: [127.0.0.1, '::1']");
    let four = udp_client("127.0.0.1:0", endpoint_like(&daemon, "udp", "127.0.0.1"));
    let six = udp_client("[::1]:0", endpoint_like(&daemon, "udp", "::1"));
    for n in 0..100 {
        four.send(&pattern(100, n)).unwrap();
        udp_ping(&six, &pattern(200, n));
        let mut back = [0; 1000];
        let length = four.recv(&mut back).unwrap();
        assert!(back[..length] == pattern(100, n));
    }
    wait_metric(&daemon, ECHOED, 200);
}
