//! The world around the daemon changes: memory runs out, the wall clock is stepped. For the latter a library that is loaded first (ld.so(8)) adds to what
//! the kernel says, by a number in a file that the test changes.

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::dhcp::Client;
use common::echo::connect;
use common::lab::{kind, lines};
use common::proc::{family, field};
use common::{ALL, Daemon, PATIENCE, eventually, has, is_root, text};
use dhcproto::v4::MessageType;

/// One address, for a short while.
const YAML: &str = "tcp: {enabled: false}
udp: {enabled: false}
dhcp:
  interfaces: [lo]
  port: 0
  workers: 1
  conflict_check: {method: off}
  security: {client_rate: null}
  lease_time: {default: SECS, min: SECS, max: SECS}
  subnets:
    lan: {network: 10.77.0.0/24, interface: lo, pools: {main: {range: 10.77.0.10-10.77.0.10}}}
";

const DAY: i64 = 24 * 60 * 60;

/// The file is mapped before the sandbox closes, and shared with all that is forked.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static const volatile long *step;
__attribute__((constructor)) static void map(void) {
    const char *path = getenv("TEST_CLOCK_STEP");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) step = at;
    close(fd);
}
int clock_gettime(clockid_t which, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, which, time);
    if (!result && which == CLOCK_REALTIME && step) time->tv_sec += *step;
    return result;
}
"#;

/// A wall clock that the test steps.
struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    fn new(folder: &Path) -> Self {
        let (source, library, file) = (folder.join("shim.c"), folder.join("shim.so"), folder.join("step"));
        fs::write(&source, SHIM).unwrap();
        fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
        let mut cc = Command::new("cc");
        let output = cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        Self { file, library }
    }

    /// The wall clock goes this many seconds ahead of the machine's from now on. Written in place: it is mapped.
    fn step(&self, secs: i64) {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(&self.file).unwrap();
        file.write_all_at(&secs.to_ne_bytes(), 0).unwrap();
    }

    #[track_caller]
    fn start(&self, daemon: &Daemon) {
        let mut start = daemon.command(&["start"]);
        start.env("LD_PRELOAD", &self.library).env("TEST_CLOCK_STEP", &self.file);
        let output = start.output().unwrap();
        assert!(output.status.success(), "{}\n{}", text(&output), daemon.log());
    }
}

/// A lease is held while the wall clock is stepped, in a run and between two; nobody else gets its address.
#[test]
fn lease_does_not_end_early_when_the_wall_clock_is_stepped() {
    if !has("cc", "lease_does_not_end_early_when_the_wall_clock_is_stepped") {
        return;
    }
    let daemon = Daemon::prepare(&YAML.replace("SECS", "1h"));
    let clock = Clock::new(daemon.folder.path());
    clock.start(&daemon);
    let address = Client::new(1, daemon.dhcp_port()).lease();
    for step in [DAY, -DAY, 0] {
        for between_runs in [false, true] {
            if between_runs {
                daemon.run_ok(&["stop"]);
                clock.step(step);
                clock.start(&daemon);
            } else {
                clock.step(step / 2);
            }
            let port = daemon.dhcp_port();
            let newcomer = Client::new(2, port);
            newcomer.send(&newcomer.message(MessageType::Discover, &[]));
            // One worker: when it has answered the holder, it has seen the newcomer.
            let ack = Client::new(1, port).renew(address).expect("no answer to the renewal");
            assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, address), "step of {step} s");
            newcomer.socket.set_nonblocking(true).unwrap();
            assert_eq!(newcomer.receive(), None, "the address is leased; step of {step} s");
        }
    }
    assert_eq!(lines(&daemon, &["DHCP_LEASE_EXPIRED"]), 0);
    // The shim was in force: the log's lines are of three days.
    let log = daemon.log();
    let days: std::collections::BTreeSet<&str> = log.lines().filter_map(|line| line.get(..10)).collect();
    assert!(days.len() >= 3, "{days:?}");
}

/// A day back: a lease of a few seconds ends after a few seconds.
#[test]
fn lease_does_not_last_longer_when_the_wall_clock_is_stepped_back() {
    if !has("cc", "lease_does_not_last_longer_when_the_wall_clock_is_stepped_back") {
        return;
    }
    let daemon = Daemon::prepare(&YAML.replace("SECS", "10s"));
    let clock = Clock::new(daemon.folder.path());
    clock.start(&daemon);
    let address = Client::new(1, daemon.dhcp_port()).lease();
    clock.step(-DAY);
    // It asks for longer than the lease lasts.
    let started = Instant::now();
    assert_eq!(Client::new(2, daemon.dhcp_port()).lease(), address);
    assert!(started.elapsed() > Duration::from_secs(5), "after {:?} of 10 s", started.elapsed());
}

#[test]
fn worker_without_memory_is_replaced_and_its_clients_are_served() {
    if !has("prlimit", "worker_without_memory_is_replaced_and_its_clients_are_served") {
        return;
    }
    let daemon = Daemon::start(&ALL.replace("interfaces: [lo]", "interfaces: [lo]\n  workers: 1"));
    let port = daemon.dhcp_port();
    let held = Client::new(1, port).lease();
    let worker = daemon.worker("dhcp 0");
    // As its user: root may not everywhere (CAP_SYS_RESOURCE).
    let mut limit = if nix::unistd::geteuid().is_root() {
        let user = field(worker, "Uid").split(' ').next().unwrap().to_owned();
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--reuid", &user, "--regid", &user, "--clear-groups", "prlimit"]);
        setpriv
    } else {
        Command::new("prlimit")
    };
    assert!(limit.args(["--pid", &worker.to_string(), "--data=4096:4096"]).status().unwrap().success());
    // Each lease takes a little more; a worker that cannot have it ends, and its packet is sent again.
    let mut number = 100;
    eventually("the end of the worker", || {
        number += 1;
        let client = Client::new(number, port);
        client.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        if let Some(offer) = client.discover() {
            client.select(&offer);
        }
        (lines(&daemon, &["WORKER_DIED", "dhcp 0"]) > 0).then_some(())
    });
    let renewal = eventually("the successor", || Client::new(1, port).renew(held));
    assert_eq!(kind(&renewal), MessageType::Ack);
    eventually("a new client's lease", || {
        let client = Client::new(90, port);
        client.discover().and_then(|offer| client.select(&offer)).filter(|ack| kind(ack) == MessageType::Ack)
    });
    assert_eq!(lines(&daemon, &["WORKER_DIED"]), 1, "nobody else");
}

/// A group of processes with little memory (cgroups(7)), of either version; none where this one may not make any.
struct Group(PathBuf);

impl Group {
    fn with_memory(bytes: u32) -> Option<Self> {
        let name = format!("echo-daemon-test-{}", std::process::id());
        [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
            .into_iter()
            .find_map(|(root, limit)| {
                let folder = Path::new(root).join(&name);
                fs::create_dir(&folder).ok()?;
                let group = Self(folder);
                // A file of this name that did not come with the folder is no limit.
                group.0.join(limit).exists().then_some(())?;
                fs::write(group.0.join(limit), bytes.to_string()).ok()?;
                Some(group)
            })
    }

    fn add(&self, pids: &[i32]) {
        for pid in pids {
            fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
        }
    }

    /// How many processes were killed because there was no memory left.
    fn killed(&self) -> u64 {
        let told = ["memory.oom_control", "memory.events"].map(|name| fs::read_to_string(self.0.join(name)));
        let mut lines = told.iter().flatten().flat_map(|text| text.lines());
        lines.find_map(|line| line.strip_prefix("oom_kill ")).unwrap().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody may be in it.
        let root = self.0.parent().unwrap().join("cgroup.procs");
        for pid in fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(&root, pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn where_memory_runs_out_clients_are_killed_and_never_main() {
    const TEST: &str = "where_memory_runs_out_clients_are_killed_and_never_main";
    let Some(group) = is_root(TEST).then(|| Group::with_memory(64 << 20)).flatten() else {
        eprintln!("skipped: {TEST}: no cgroup of its own can be made here");
        return;
    };
    let daemon = Daemon::start(&ALL.replace("max_clients: 100", "max_clients: 5000"));
    let (main, address) = (daemon.pid(), daemon.endpoint("tcp"));
    let held = Client::new(1, daemon.dhcp_port()).lease();
    let score = |pid: i32| -> i32 {
        fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
    };
    assert!(
        score(main) < score(daemon.worker("dhcp 0"))
            && score(daemon.worker("dhcp 0")) < score(daemon.worker("tcp"))
    );
    group.add(&family(main));
    // Each client has a process with some pages of its own.
    let mut clients = Vec::new();
    eventually("a process is killed", || {
        let client = connect(address);
        let _ = (&client).write_all(b"one more");
        clients.push(client);
        (group.killed() > 0).then_some(())
    });
    drop(clients);
    let echoes = || {
        let client = std::net::TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut back = [0; 4];
        (&client).write_all(b"back").and_then(|()| (&client).read_exact(&mut back)).ok()?;
        (back == *b"back").then_some(())
    };
    eventually("echoes again", echoes);
    let renewal = eventually("the lease is renewed", || Client::new(1, daemon.dhcp_port()).renew(held));
    assert_eq!(kind(&renewal), MessageType::Ack);
    assert_eq!(daemon.status()["pid"], main);
    assert_eq!(lines(&daemon, &["WORKER_DIED", "dhcp"]), 0);
    daemon.run_ok(&["stop"]);
}
