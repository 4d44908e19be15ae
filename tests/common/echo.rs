//! What the tests of the echo services share: figures of the daemon and of its processes, data that shows whether it
//! came back whole, sockets in a namespace.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Daemon, Namespace, PATIENCE, eventually};

/// A figure of `/metrics`, by its whole name: `echo_daemon_tcp_connections_total{result="reset"}`. It is of a snapshot that
/// was taken after the call, so what has happened before is in it.
#[track_caller]
pub fn metric(daemon: &Daemon, name: &str) -> u64 {
    let text = metrics(daemon);
    let figure = figure(&text, name).unwrap_or_else(|| panic!("no figure {name} in:\n{text}"));
    figure.parse().unwrap()
}

/// The whole of `/metrics`, of a snapshot that was taken after the call.
#[track_caller]
pub fn metrics(daemon: &Daemon) -> String {
    let called = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    eventually("a new snapshot", || {
        let text = metrics_at_once(daemon);
        let taken = figure(&text, "echo_daemon_snapshot_timestamp_seconds");
        let taken: f64 = taken.unwrap_or_else(|| panic!("no time in:\n{text}")).parse().unwrap();
        (taken >= called).then_some(text)
    })
}

/// The whole of `/metrics` as it is, up to a second old.
#[track_caller]
pub fn metrics_at_once(daemon: &Daemon) -> String {
    let mut stream = UnixStream::connect(daemon.folder.path().join("run/control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A figure in the text of `/metrics`.
pub fn figure<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::trim)
}

/// Waits until a figure has this value.
#[track_caller]
pub fn wait_metric(daemon: &Daemon, name: &str, wanted: u64) {
    let mut last = None;
    let started = std::time::Instant::now();
    while last != Some(wanted) {
        assert!(started.elapsed() < PATIENCE, "{name} is {last:?} and not {wanted}");
        last = Some(metric(daemon, name));
    }
}

/// Where a service listens in the family of this address: `tcp`, `udp`; `like` is any IPv4 or IPv6 address.
#[track_caller]
pub fn endpoint_like(daemon: &Daemon, service: &str, like: &str) -> SocketAddr {
    let status = daemon.status();
    let endpoints = status["endpoints"].as_array().unwrap();
    let ours = endpoints.iter().filter(|endpoint| endpoint["service"] == service);
    let mut addresses = ours.map(|endpoint| endpoint["address"].as_str().unwrap().parse().unwrap());
    addresses.find(|address: &SocketAddr| address.is_ipv6() == like.contains(':')).unwrap()
}

/// Whether this machine has IPv6 on loopback; says that the test was skipped where it has not.
pub fn has_ipv6(test: &str) -> bool {
    let has = UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("skipped: {test}: IPv6 is off");
    }
    has
}

/// Bytes that differ from place to place and from seed to seed.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*, Vigna 2016.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A TCP connection whose reads end.
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends and expects the same back; the connection stays.
#[track_caller]
pub fn ping(mut stream: &TcpStream, data: &[u8]) {
    stream.write_all(data).unwrap();
    let mut back = vec![0; data.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == data, "what came back is not what was sent");
}

/// Sends all, then the end, and returns what came back until the service's end.
#[track_caller]
pub fn send_all_read_all(stream: &TcpStream, data: &[u8]) -> Vec<u8> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stream;
            writer.write_all(data).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::with_capacity(data.len());
        let mut reader = stream;
        reader.read_to_end(&mut back).unwrap();
        back
    })
}

/// A UDP socket on this address, connected to the service, whose reads end.
#[track_caller]
pub fn udp_client(bind: &str, service: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(bind).unwrap();
    socket.connect(service).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// One datagram there and back.
#[track_caller]
pub fn udp_ping(socket: &UdpSocket, data: &[u8]) {
    socket.send(data).unwrap();
    let mut back = vec![0; 70_000];
    let length = socket.recv(&mut back).unwrap_or_else(|error| panic!("{} bytes: {error}", data.len()));
    assert!(&back[..length] == data, "{} bytes were sent, {length} came back", data.len());
}

/// Whether nothing comes in for a while: short, since it can only miss a fault, never invent one.
pub fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let silent = socket.recv(&mut [0; 100]).is_err();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    silent
}

/// The first warning or error in the log that is not main's (which may warn of the machine at its start).
pub fn worker_complaint(daemon: &Daemon) -> Option<String> {
    let log = daemon.log();
    let grave = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    log.lines().filter(grave).find(|line| !line.contains(" main] ")).map(str::to_owned)
}

/// Sends one IPv4 UDP datagram with a forged source, through a raw socket. Needs root.
pub fn forge(source: SocketAddrV4, target: SocketAddrV4, data: &[u8]) {
    const RAW: i32 = 255;
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW))).unwrap();
    socket.set_broadcast(true).unwrap();
    let udp = u16::try_from(8 + data.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp).to_be_bytes());
    // Identification, no fragment, TTL 64, UDP; the kernel fills in the header's checksum (raw(7)).
    packet.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.ip().octets());
    packet.extend(target.ip().octets());
    packet.extend(source.port().to_be_bytes());
    packet.extend(target.port().to_be_bytes());
    packet.extend(udp.to_be_bytes());
    // No checksum: allowed in IPv4 (RFC 768).
    packet.extend([0, 0]);
    packet.extend(data);
    socket.send_to(&packet, &SocketAddrV4::new(*target.ip(), 0).into()).unwrap();
}

/// A socket address of IPv4.
pub fn v4(address: &str, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address.parse::<Ipv4Addr>().unwrap(), port)
}

/// Ends the clients of a test that run until they see this flag: also where the test fails, which would wait for
/// them for ever.
pub struct EndOf<'a>(pub &'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs this in a thread that is in the namespace; sockets that it opens belong there.
pub fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(format!("/var/run/netns/{}", namespace.name)).unwrap();
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Lets this test process hold many sockets.
pub fn many_descriptors(wanted: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).unwrap();
    }
}

/// PIDs of the children of a process, by proc(5); quicker than a look at all processes.
pub fn offspring(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Waits until a process has this many children and returns them.
#[track_caller]
pub fn wait_offspring(pid: i32, count: usize) -> Vec<i32> {
    eventually(&format!("{count} children of {pid}"), || {
        Some(offspring(pid)).filter(|children| children.len() == count)
    })
}

/// How many descriptors a process has. Unknown to an ordinary user: workers hide from their own user's other processes.
pub fn descriptors(pid: i32) -> Option<usize> {
    match fs::read_dir(format!("/proc/{pid}/fd")) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
        entries => Some(entries.unwrap().count()),
    }
}

/// CPU time that a process has used so far, user and system.
pub fn cpu_time(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // utime and stime are fields 14 and 15 (proc(5)); the state, field 3, is the first after the name. A tick is 10 ms.
    let ticks: u64 = fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory of a process in KiB.
pub fn resident_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
