//! TCP echo (RFC 862): a process for each client, everything comes back, and no client, shortage or dead worker harms
//! the others.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::echo::{
    EndOf, connect, cpu_time, descriptors, endpoint_like, has_ipv6, many_descriptors, metric, offspring,
    pattern, ping, resident_kib, send_all_read_all, wait_metric, wait_offspring, worker_complaint,
};
use common::{Daemon, eventually, is_alive, is_root, sh, signal, state, title};
use nix::sys::signal::Signal;
use socket2::SockRef;

const ACCEPTED: &str = "echo_daemon_tcp_connections_total{result=\"accepted\"}";
const REJECTED: &str = "echo_daemon_tcp_connections_total{result=\"rejected\"}";
const FAILED: &str = "echo_daemon_tcp_connections_total{result=\"failed\"}";
const RESET: &str = "echo_daemon_tcp_connections_total{result=\"reset\"}";
const IDLE: &str = "echo_daemon_tcp_connections_total{result=\"idle\"}";
const CLIENTS: &str = "echo_daemon_tcp_clients";
const BYTES: &str = "echo_daemon_echo_bytes_total{protocol=\"tcp\"}";
const MIB: usize = 1024 * 1024;

/// The TCP service alone, on 127.0.0.1, with these keys beside.
fn yaml(keys: &str) -> String {
    format!(
        "tcp: {{address: 127.0.0.1, port: 0, {keys}}}\nudp: {{enabled: false}}\ndhcp: {{enabled: false}}\n"
    )
}

fn start(keys: &str) -> (Daemon, SocketAddr) {
    let daemon = Daemon::start(&yaml(keys));
    let address = daemon.endpoint("tcp");
    (daemon, address)
}

/// Writes until the connection takes no more for a while; the bytes that it took.
fn fill(mut stream: &TcpStream) -> usize {
    const ENOUGH: Duration = Duration::from_millis(500);
    stream.set_nonblocking(true).unwrap();
    let data = pattern(MIB, 1);
    let (mut taken, mut last) = (0, Instant::now());
    while last.elapsed() < ENOUGH {
        match stream.write(&data[taken % MIB..]) {
            Ok(count) => {
                taken += count;
                last = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("after {taken} bytes: {error}"),
        }
        assert!(taken < 256 * MIB, "a client that does not read is read from without end");
    }
    stream.set_nonblocking(false).unwrap();
    taken
}

/// Whether the connection was not taken up: it is in the backlog, so what is sent does not come back for a while.
fn is_waiting(mut stream: &TcpStream) -> bool {
    stream.write_all(b"x").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    let waiting = stream.read(&mut [0]).is_err();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    waiting
}

/// Reads to the end, however it comes.
fn read_to_any_end(mut stream: &TcpStream) -> Result<usize, std::io::Error> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
        _ => Ok(all.len()),
    }
}

/// Sets a soft limit of a worker: as its own user, since even root may not without `CAP_SYS_RESOURCE` (prlimit(2)).
#[track_caller]
fn limit(worker: i32, limit: &str) {
    let group = format!("--regid={}", sh("id", &["-g", "nobody"]).trim());
    let user = ["--reuid=nobody", &group, "--clear-groups"];
    sh("setpriv", &[&user[..], &["prlimit", "--pid", &worker.to_string(), limit]].concat());
}

#[test]
fn everything_comes_back_whatever_its_size_and_then_the_end() {
    let (daemon, address) = start("");
    let mut total = 0;
    for size in [0, 1, 5, 4095, 4096, 4097, 8192, 100_003, 50 * MIB] {
        let data = pattern(size, size as u64);
        let back = send_all_read_all(&connect(address), &data);
        assert!(back == data, "{size} bytes were sent, {} came back, not the same", back.len());
        total += size;
    }
    wait_metric(&daemon, BYTES, total as u64);
    wait_metric(&daemon, CLIENTS, 0);
    assert_eq!(metric(&daemon, RESET), 0);
}

#[test]
fn single_bytes_come_back_at_once_with_any_buffer() {
    for size in [1, 2, 4096] {
        let (_daemon, address) = start(&format!("buffer_size: {size}"));
        let stream = connect(address);
        let started = Instant::now();
        for n in 0..200_usize {
            ping(&stream, &pattern(1 + n % 3, n as u64));
        }
        // An answer held back (tcp(7): TCP_CORK, MSG_MORE) leaves after 200 ms, that is 40 s.
        assert!(started.elapsed() < Duration::from_secs(20), "{:?} for 200 answers", started.elapsed());
        let data = pattern(20_000, 7);
        assert!(send_all_read_all(&stream, &data) == data);
    }
}

#[test]
fn each_client_has_a_process_that_bears_its_address() {
    let mut addresses = "127.0.0.1".to_owned();
    if has_ipv6("the IPv6 half of each_client_has_a_process_that_bears_its_address") {
        addresses = "[127.0.0.1, '::1']".to_owned();
    }
    let daemon = Daemon::start(&format!(
        "tcp: {{address: {addresses}, port: 0}}\nudp: {{enabled: false}}\ndhcp: {{enabled: false}}\n"
    ));
    let worker = daemon.worker("tcp");
    assert_eq!(title(worker).as_deref(), Some("echo-daemon: tcp"));
    let mut clients = vec![connect(endpoint_like(&daemon, "tcp", "127.0.0.1"))];
    clients.push(connect(endpoint_like(&daemon, "tcp", "127.0.0.1")));
    if addresses.contains("::1") {
        clients.push(connect(endpoint_like(&daemon, "tcp", "::1")));
    }
    for (n, client) in clients.iter().enumerate() {
        ping(client, &pattern(1000, n as u64));
    }
    let processes = wait_offspring(worker, clients.len());
    for process in &processes {
        // 0, 1, 2, the connection, the lifeline, the way to the log: above all no listener.
        assert!(descriptors(*process).is_none_or(|count| count == 6));
    }
    let mut titles: Vec<_> = processes.into_iter().map(title).collect();
    let mut wanted: Vec<_> = clients
        .iter()
        .map(|client| Some(format!("echo-daemon: tcp {}", client.local_addr().unwrap())))
        .collect();
    titles.sort();
    wanted.sort();
    assert_eq!(titles, wanted);
    assert!(!addresses.contains("::1") || wanted.iter().flatten().any(|title| title.contains(" [::1]:")));
    assert_eq!(metric(&daemon, CLIENTS), clients.len() as u64);
    for client in &clients {
        let peer = format!("peer={}", client.local_addr().unwrap());
        daemon.wait_log(&["TCP_CLIENT_CONNECTED", &peer]);
    }
    drop(clients);
    wait_offspring(worker, 0);
    wait_metric(&daemon, CLIENTS, 0);
}

#[test]
fn clients_that_leave_badly_are_a_normal_end() {
    let (daemon, address) = start("");
    let worker = daemon.worker("tcp");
    // Reset by the client.
    let rude = connect(address);
    ping(&rude, b"hello");
    SockRef::from(&rude).set_linger(Some(Duration::ZERO)).unwrap();
    let peer = format!("peer={}", rude.local_addr().unwrap());
    drop(rude);
    daemon.wait_log(&["INFO", "TCP_CLIENT_DISCONNECTED", &peer, "reason=reset"]);
    wait_metric(&daemon, RESET, 1);
    // Gone with everything unread, which resets too.
    let mut deaf = connect(address);
    deaf.write_all(&pattern(100_000, 3)).unwrap();
    drop(deaf);
    // Gone without a word.
    drop(connect(address));
    wait_offspring(worker, 0);
    wait_metric(&daemon, CLIENTS, 0);
    assert_eq!(metric(&daemon, ACCEPTED), 3);
    ping(&connect(address), b"served as before");
    assert_eq!(daemon.worker("tcp"), worker);
    assert_eq!(worker_complaint(&daemon), None, "a client's manners need no operator");
}

#[test]
fn client_that_does_not_read_is_stopped_and_costs_no_memory() {
    let (daemon, address) = start("");
    let worker = daemon.worker("tcp");
    let client = connect(address);
    let taken = fill(&client);
    let [process] = wait_offspring(worker, 1)[..] else { unreachable!() };
    let resident = resident_kib(process);
    assert!(resident < 24 * 1024, "{resident} KiB resident for a client that sent {taken} bytes");
    // Neither does it cost time.
    let before = cpu_time(process);
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        cpu_time(process).saturating_sub(before) < Duration::from_millis(100),
        "the process of a blocked client spins"
    );
    // Once the client reads, nothing is missing.
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::with_capacity(taken);
    (&client).read_to_end(&mut back).unwrap();
    let data = pattern(MIB, 1);
    assert_eq!(back.len(), taken);
    assert!(back.chunks(MIB).all(|chunk| chunk == &data[..chunk.len()]));
}

#[test]
fn client_beyond_the_limit_waits_until_a_place_is_free() {
    let (daemon, address) = start("max_clients: 2, when_full: wait");
    let worker = daemon.worker("tcp");
    let (first, second) = (connect(address), connect(address));
    ping(&first, b"1");
    ping(&second, b"2");
    let third = connect(address);
    assert!(is_waiting(&third));
    assert_eq!(offspring(worker).len(), 2);
    let before = cpu_time(worker);
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        cpu_time(worker).saturating_sub(before) < Duration::from_millis(150),
        "the worker spins while it is full"
    );
    drop(first);
    let mut answer = [0];
    (&third).read_exact(&mut answer).unwrap();
    ping(&second, b"2");
    assert_eq!(metric(&daemon, REJECTED), 0);
    assert_eq!(metric(&daemon, CLIENTS), 2);
}

#[test]
fn client_beyond_the_limit_is_closed_and_counted() {
    let (daemon, address) = start("max_clients: 2, when_full: reject");
    let (first, second) = (connect(address), connect(address));
    ping(&first, b"1");
    ping(&second, b"2");
    let third = connect(address);
    assert_eq!(read_to_any_end(&third).unwrap(), 0);
    wait_metric(&daemon, REJECTED, 1);
    daemon.wait_log(&["TCP_CLIENT_REJECTED", &format!("peer={}", third.local_addr().unwrap())]);
    let worker = daemon.worker("tcp");
    drop(first);
    wait_offspring(worker, 1);
    wait_metric(&daemon, CLIENTS, 1);
    ping(&connect(address), b"a place is free");
    ping(&second, b"2");
}

#[test]
fn only_a_client_that_moves_no_byte_is_idle() {
    const STEPS: u32 = 20;
    let (daemon, address) = start("idle_timeout: 2s, max_clients: 10");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let silent = connect(address);
            let started = Instant::now();
            assert_eq!(read_to_any_end(&silent).unwrap(), 0);
            assert!(started.elapsed() >= Duration::from_millis(1900), "closed after {:?}", started.elapsed());
            let peer = format!("peer={}", silent.local_addr().unwrap());
            daemon.wait_log(&["TCP_CLIENT_DISCONNECTED", &peer, "reason=idle"]);
        });
        scope.spawn(|| {
            let active = connect(address);
            for _ in 0..STEPS / 2 {
                ping(&active, b"still here");
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        scope.spawn(|| {
            let slow = connect(address);
            let taken = fill(&slow);
            let mut piece = vec![0; 65_536];
            let mut read = 0;
            for _ in 0..STEPS {
                (&slow).read_exact(&mut piece).unwrap();
                read += piece.len();
                std::thread::sleep(Duration::from_millis(300));
            }
            slow.shutdown(Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            (&slow).read_to_end(&mut rest).unwrap();
            assert_eq!(read + rest.len(), taken);
        });
        scope.spawn(|| {
            let deaf = connect(address);
            fill(&deaf);
            let peer = format!("peer={}", deaf.local_addr().unwrap());
            daemon.wait_log(&["TCP_CLIENT_DISCONNECTED", &peer, "reason=idle"]);
        });
    });
    wait_metric(&daemon, IDLE, 2);
}

#[test]
fn shortage_of_descriptors_is_sat_out_without_spinning() {
    if !is_root("shortage_of_descriptors_is_sat_out_without_spinning") {
        return;
    }
    let (daemon, address) = start("");
    let worker = daemon.worker("tcp");
    let before = connect(address);
    ping(&before, b"from before");
    // Low enough that accept(2) finds no descriptor, high enough for poll(2), which compares its list with the limit.
    limit(worker, "--nofile=4:");
    let waiting = connect(address);
    daemon.wait_log(&["TCP_ACCEPT_FAILED", "accept"]);
    let used = cpu_time(worker);
    assert!(is_waiting(&waiting));
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_time(worker).saturating_sub(used);
    assert!(used < Duration::from_millis(200), "the worker used {used:?} of CPU while it could not accept");
    assert!(metric(&daemon, "echo_daemon_errors_total{kind=\"accept\"}") >= 2);
    ping(&before, b"served all the while");
    limit(worker, "--nofile=256:");
    let mut answer = [0];
    (&waiting).read_exact(&mut answer).unwrap();
    assert_eq!(daemon.worker("tcp"), worker);
    let lines = daemon.log().lines().filter(|line| line.contains("TCP_ACCEPT_FAILED")).count();
    assert_eq!(lines, 1, "one shortage is one line");
}

#[test]
fn fork_that_fails_is_counted_and_service_goes_on() {
    if !is_root("fork_that_fails_is_counted_and_service_goes_on") {
        return;
    }
    let (daemon, address) = start("");
    let worker = daemon.worker("tcp");
    let before = connect(address);
    ping(&before, b"from before");
    // The worker runs as nobody, whom this limit binds.
    limit(worker, "--nproc=1:");
    let unlucky = connect(address);
    assert_eq!(read_to_any_end(&unlucky).unwrap(), 0);
    wait_metric(&daemon, FAILED, 1);
    assert_eq!(metric(&daemon, "echo_daemon_errors_total{kind=\"fork\"}"), 1);
    daemon.wait_log(&["TCP_ACCEPT_FAILED", "fork"]);
    ping(&before, b"served all the while");
    limit(worker, "--nproc=1000:");
    ping(&connect(address), b"as before");
    assert_eq!(daemon.worker("tcp"), worker);
    wait_metric(&daemon, ACCEPTED, 2);
}

#[test]
fn ten_thousand_connections_leave_no_zombie_and_no_descriptor() {
    const THREADS: usize = 8;
    const EACH: usize = 1250;
    let (daemon, address) = start("max_clients: 100");
    let (main, worker) = (daemon.pid(), daemon.worker("tcp"));
    ping(&connect(address), b"warm");
    wait_offspring(worker, 0);
    let before = (descriptors(main), descriptors(worker));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for n in 0..EACH {
                    let stream = connect(address);
                    let data = [thread.to_le_bytes(), n.to_le_bytes()].concat();
                    ping(&stream, &data);
                    // Half of them leave by a reset.
                    if n % 2 == 0 {
                        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                    }
                }
            });
        }
    });
    wait_offspring(worker, 0);
    wait_metric(&daemon, CLIENTS, 0);
    assert_eq!(metric(&daemon, ACCEPTED), (THREADS * EACH) as u64 + 1);
    assert_eq!(metric(&daemon, BYTES), (THREADS * EACH * 16) as u64 + 4);
    assert_eq!((descriptors(main), descriptors(worker)), before);
    assert!(offspring(main).into_iter().all(|pid| state(pid) != Some('Z')));
    assert_eq!(daemon.worker("tcp"), worker);
}

#[test]
fn thousand_clients_are_served_at_the_same_time() {
    const CLIENTS_AT_ONCE: usize = 1000;
    many_descriptors(4096);
    let (daemon, address) = start("max_clients: 1000");
    let worker = daemon.worker("tcp");
    let clients: Vec<_> = (0..CLIENTS_AT_ONCE).map(|_| connect(address)).collect();
    for round in 0..2 {
        for (n, mut client) in clients.iter().enumerate() {
            client.write_all(&pattern(100, (n * 2 + round) as u64)).unwrap();
        }
        for (n, mut client) in clients.iter().enumerate() {
            let mut back = [0; 100];
            client.read_exact(&mut back).unwrap();
            assert!(back[..] == pattern(100, (n * 2 + round) as u64));
        }
    }
    wait_offspring(worker, CLIENTS_AT_ONCE);
    assert_eq!(metric(&daemon, CLIENTS), CLIENTS_AT_ONCE as u64);
    let late = connect(address);
    assert!(is_waiting(&late));
    drop(clients);
    let mut answer = [0];
    (&late).read_exact(&mut answer).unwrap();
    drop(late);
    wait_offspring(worker, 0);
    wait_metric(&daemon, CLIENTS, 0);
}

#[test]
fn worker_that_dies_takes_no_client_with_it_and_they_still_count() {
    let (daemon, address) = start("max_clients: 3");
    let (main, first) = (daemon.pid(), daemon.worker("tcp"));
    let mut old = vec![connect(address), connect(address)];
    for client in &old {
        ping(client, b"before");
    }
    signal(first, Signal::SIGKILL);
    // One that comes while nobody accepts waits in the backlog.
    let third = connect(address);
    ping(&third, b"third");
    let second = daemon.worker("tcp");
    assert_ne!(second, first);
    for client in &old {
        ping(client, &pattern(100_000, 5));
    }
    wait_metric(&daemon, CLIENTS, 3);
    let fourth = connect(address);
    assert!(is_waiting(&fourth));
    drop(old.pop());
    let mut answer = [0];
    (&fourth).read_exact(&mut answer).unwrap();
    wait_metric(&daemon, CLIENTS, 3);
    drop((old, third, fourth));
    wait_metric(&daemon, CLIENTS, 0);
    assert!(offspring(main).into_iter().all(|pid| state(pid) != Some('Z')));
    assert_eq!(metric(&daemon, "echo_daemon_worker_restarts_total{worker=\"tcp\"}"), 1);
}

#[test]
fn workers_that_die_under_traffic_harm_no_client_that_is_being_served() {
    const DEATHS: usize = 4;
    let (daemon, address) = start("max_clients: 100");
    let main = daemon.pid();
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|n| {
                let (over, served) = (&over, &served);
                scope.spawn(move || {
                    let stays = connect(address);
                    ping(&stays, b"served");
                    served.fetch_add(1, Ordering::Relaxed);
                    while !over.load(Ordering::Relaxed) {
                        ping(&stays, &pattern(10_000, n));
                        let mut comes = connect(address);
                        // A worker can die with a connection in its hands that has no process yet: that one is lost.
                        if comes.write_all(b"x").is_ok() && comes.read(&mut [0]).is_ok_and(|read| read == 1) {
                            ping(&comes, &pattern(1000, n));
                        }
                    }
                    ping(&stays, b"served to the end");
                })
            })
            .collect();
        let end = EndOf(&over);
        eventually("service for all", || (served.load(Ordering::Relaxed) == 6).then_some(()));
        for _ in 0..DEATHS {
            let worker = daemon.worker("tcp");
            signal(worker, Signal::SIGKILL);
            eventually("a new worker", || {
                let now = offspring(main).into_iter().find(|pid| {
                    *pid != worker && title(*pid).is_some_and(|title| title == "echo-daemon: tcp")
                });
                now.map(|_| ())
            });
            ping(&connect(address), b"served by the new one");
        }
        drop(end);
        for client in clients {
            client.join().unwrap();
        }
    });
    wait_metric(&daemon, CLIENTS, 0);
    assert_eq!(metric(&daemon, "echo_daemon_worker_restarts_total{worker=\"tcp\"}"), DEATHS as u64);
    assert!(offspring(main).into_iter().all(|pid| state(pid) != Some('Z')));
}

#[test]
fn clients_of_an_old_generation_are_served_and_counted_and_stopped() {
    let (daemon, address) = start("max_clients: 2");
    let first = daemon.worker("tcp");
    let (one, two) = (connect(address), connect(address));
    ping(&one, b"one");
    daemon.run_ok(&["reload"]);
    assert_ne!(daemon.worker("tcp"), first);
    ping(&two, b"two");
    ping(&one, &pattern(100_000, 5));
    assert_eq!(metric(&daemon, CLIENTS), 2);
    let three = connect(address);
    assert!(is_waiting(&three));
    drop(one);
    let mut answer = [0];
    (&three).read_exact(&mut answer).unwrap();
    // With the last client of the old generation its worker leaves.
    assert!(is_alive(first));
    ping(&two, b"two");
    drop(two);
    eventually("end of the old worker", || (!is_alive(first)).then_some(()));
    daemon.run_ok(&["reload"]);
    let all = [offspring(daemon.pid()), vec![daemon.pid()]].concat();
    daemon.run_ok(&["stop"]);
    assert!(read_to_any_end(&three).is_ok());
    assert!(all.into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn stop_ends_fifty_transfers_in_time() {
    let (daemon, address) = start("max_clients: 100");
    let (main, worker) = (daemon.pid(), daemon.worker("tcp"));
    let (over, transferring) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..50)
            .map(|n| {
                let (over, transferring) = (&over, &transferring);
                scope.spawn(move || {
                    let mut stream = connect(address);
                    let data = pattern(30_000, n);
                    let mut back = vec![0; data.len()];
                    let mut first = true;
                    while !over.load(Ordering::Relaxed)
                        && stream.write_all(&data).is_ok()
                        && stream.read_exact(&mut back).is_ok()
                    {
                        assert!(back == data);
                        transferring.fetch_add(usize::from(first), Ordering::Relaxed);
                        first = false;
                    }
                })
            })
            .collect();
        let end = EndOf(&over);
        eventually("50 transfers", || (transferring.load(Ordering::Relaxed) == 50).then_some(()));
        let processes = wait_offspring(worker, 50);
        wait_metric(&daemon, CLIENTS, 50);
        let started = Instant::now();
        signal(main, Signal::SIGTERM);
        eventually("end of main", || (!is_alive(main)).then_some(()));
        assert!(started.elapsed() < Duration::from_secs(5), "the stop took {:?}", started.elapsed());
        assert!(processes.into_iter().all(|pid| !is_alive(pid)));
        for client in clients {
            client.join().unwrap();
        }
        drop(end);
    });
    assert!(!daemon.pid_file().exists());
    assert!(TcpStream::connect(address).is_err());
    let log = daemon.log();
    assert_eq!(log.matches("TCP_CLIENT_CONNECTED").count(), 50);
    // By SIGTERM, none had to be killed; and no line is lost at the end.
    let terminated = log.lines().filter(|line| line.contains("DISCONNECTED") && line.contains("=terminated"));
    assert_eq!(terminated.count(), 50);
}

#[test]
fn reload_under_traffic_loses_no_connection() {
    const RELOADS: usize = 10;
    let (daemon, address) = start("max_clients: 100");
    let over = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        // Some stay over all the reloads, some come and go.
        let clients: Vec<_> = (0..6)
            .map(|n| {
                let over = &over;
                scope.spawn(move || {
                    let stays = connect(address);
                    let mut rounds = 0;
                    while !over.load(Ordering::Relaxed) {
                        let data = pattern(5000, n);
                        ping(&stays, &data);
                        let comes = connect(address);
                        ping(&comes, &data[..100]);
                        assert!(send_all_read_all(&comes, &data) == data);
                        rounds += 1;
                    }
                    rounds
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
    wait_metric(&daemon, ACCEPTED, served + 6);
    wait_metric(&daemon, CLIENTS, 0);
    assert_eq!(metric(&daemon, RESET), 0);
}

#[test]
fn daemon_started_with_few_descriptors_serves() {
    let daemon = Daemon::prepare(&yaml(""));
    let script = format!("ulimit -n 40; exec {} -c {} start", common::BINARY, daemon.config.display());
    sh("sh", &["-c", &script]);
    let address = daemon.endpoint("tcp");
    let clients: Vec<_> = (0..10).map(|_| connect(address)).collect();
    for client in &clients {
        ping(client, b"hello");
    }
}
