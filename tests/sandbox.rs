//! What a process could do if it were taken over: every kind of process is made to try what it must not, by system calls
//! that are put into it (`common/inject.rs`). The table of what it may is docs/security.md's.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::inject::{self, Argument, Outcome};
use common::proc::{another, descriptors, field, named};
use common::traffic::Connection;
use common::{ALL, BINARY, Daemon, children, eventually, is_root, title};
use daemon_utils::sandbox::landlock_version;
use echo_daemon::workers::regions::Region;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;

use Argument::{Number, Text};

/// A daemon with one TCP client, and a process of every kind by its name.
struct Everybody {
    daemon: Daemon,
    processes: Vec<(&'static str, i32)>,
    client: Connection,
}

impl Everybody {
    fn start() -> Self {
        let daemon = Daemon::start(ALL);
        let main = daemon.pid();
        let mut client = Connection::open(daemon.endpoint("tcp")).unwrap();
        client.ping(b"hello").unwrap();
        let one = |name| (name, named(main, name)[0]);
        let mut processes: Vec<_> = ["logger", "tcp", "udp", "dhcp 0", "keeper", "api"].map(one).to_vec();
        processes.push(("client", children(named(main, "tcp")[0])[0]));
        Self { daemon, processes, client }
    }

    #[track_caller]
    fn pid(&self, name: &str) -> i32 {
        self.processes.iter().find(|(known, _)| *known == name).unwrap().1
    }

    /// Whether all of them serve as before.
    fn check(mut self) {
        for (name, pid) in &self.processes {
            assert!(title(*pid).is_some_and(|title| title.starts_with("echo-daemon: ")), "{name} has ended");
        }
        self.client.ping(b"again").unwrap();
        self.daemon.run_ok(&["leases", "list"]);
        self.daemon.run_ok(&["stop"]);
    }
}

fn can(test: &str) -> bool {
    is_root(test) && inject::is_possible(test)
}

/// Whether this kernel has Landlock of this version.
fn has_landlock(version: i64, test: &str) -> bool {
    let found = landlock_version().unwrap_or(0);
    if found < version {
        eprintln!("skipped: {test}: needs Landlock {version}, this kernel has {found}");
    }
    found >= version
}

const fn number(value: i32) -> Argument<'static> {
    Number(value as i64)
}

fn open(path: &str) -> [Argument<'_>; 4] {
    [number(libc::AT_FDCWD), Text(path), number(libc::O_RDONLY), Number(0)]
}

fn socket(family: i32, kind: i32) -> [Argument<'static>; 3] {
    [number(family), number(kind), Number(0)]
}

#[test]
fn calls_are_put_into_a_process_that_may_do_everything() {
    if !can("calls_are_put_into_a_process_that_may_do_everything") {
        return;
    }
    let sleep = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = i32::try_from(sleep.id()).unwrap();
    let _guard = Kill(sleep);
    eventually("sleep", || (title(pid)? == "sleep 60" && common::state(pid)? == 'S').then_some(()));
    let opened = inject::call(pid, libc::SYS_openat, &open("/etc/passwd"));
    assert!(matches!(opened, Outcome::Returned(3..)), "{opened:?}");
    let missing = inject::call(pid, libc::SYS_openat, &open("/etc/no such file"));
    assert_eq!(missing, Outcome::Failed(Errno::ENOENT));
    let netlink = inject::call(pid, libc::SYS_socket, &socket(libc::AF_NETLINK, libc::SOCK_RAW));
    assert!(matches!(netlink, Outcome::Returned(4..)), "{netlink:?}");
    assert_eq!(inject::call(pid, libc::SYS_getpid, &[]), Outcome::Returned(pid.into()));
    eventually("sleep as before", || (common::state(pid)? == 'S').then_some(()));
}

#[test]
fn every_process_shows_its_sandbox() {
    if !is_root("every_process_shows_its_sandbox") {
        return;
    }
    let all = Everybody::start();
    for (name, pid) in &all.processes {
        assert_eq!((field(*pid, "NoNewPrivs"), field(*pid, "Seccomp")), ("1".into(), "2".into()), "{name}");
        // prctl(2): who is not dumpable belongs to root in /proc.
        assert_eq!(fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(), 0, "{name}");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let hard = |what: &str| {
            let line = limits.lines().find(|line| line.starts_with(what)).unwrap();
            line[what.len()..].split_ascii_whitespace().nth(1).unwrap().to_owned()
        };
        let none = |what: &str| hard(what) == "0";
        assert!(none("Max core file size"), "{name}: {limits}");
        assert!(none("Max locked memory") && none("Max msgqueue size"), "{name}: {limits}");
        assert!(hard("Max open files").parse::<u64>().unwrap() < 1000, "{name}: {limits}");
        assert!(hard("Max data size").parse::<u64>().is_ok(), "{name}: {limits}");
        assert_eq!(none("Max processes"), ["udp", "keeper"].contains(name), "{name}: {limits}");
        assert_eq!(none("Max file size"), ["tcp", "client", "udp"].contains(name), "{name}: {limits}");
    }
}

#[test]
fn no_process_opens_a_foreign_file() {
    const TEST: &str = "no_process_opens_a_foreign_file";
    if !can(TEST) || !has_landlock(1, TEST) {
        return;
    }
    let all = Everybody::start();
    // Everybody may read the first; the second is root's, whose uid the logger has.
    for path in ["/etc/passwd", "/etc/shadow", "/"] {
        for (name, pid) in &all.processes {
            let refused = match *name {
                "tcp" | "client" | "udp" => Errno::ENOSYS,
                _ => Errno::EACCES,
            };
            let outcome = inject::call(*pid, libc::SYS_openat, &open(path));
            assert_eq!(outcome, Outcome::Failed(refused), "{path} by {name}");
        }
    }
    let at = |path: &str| all.daemon.folder.path().join(path).display().to_string();
    // What is its own is open; what is another's is not.
    for (name, path, open_to_it) in [
        ("logger", "log/echo-daemon.log", true),
        ("logger", "state/leases.db", false),
        ("logger", "config.yaml", false),
        ("dhcp 0", "state/leases.db", true),
        ("keeper", "state/leases.db", true),
        ("api", "state/leases.db", true),
        ("dhcp 0", "log", false),
        ("keeper", "config.yaml", false),
        ("api", "config.yaml", false),
    ] {
        let outcome = inject::call(all.pid(name), libc::SYS_openat, &open(&at(path)));
        match outcome {
            Outcome::Returned(_) if open_to_it => {}
            Outcome::Failed(Errno::EACCES) if !open_to_it => {}
            _ => panic!("{path} by {name}: {outcome:?}"),
        }
    }
    // api may look at /proc, the others not.
    let stat = format!("/proc/{}/stat", all.daemon.pid());
    let by = |name: &str| inject::call(all.pid(name), libc::SYS_openat, &open(&stat));
    assert!(matches!(by("api"), Outcome::Returned(_)));
    assert_eq!(by("dhcp 0"), Outcome::Failed(Errno::EACCES));
    // A folder of the log holds files, nothing else, and no file leaves it.
    let logger = all.pid("logger");
    let path = at("log/folder");
    let made = inject::call(
        logger,
        libc::SYS_mkdirat,
        &[number(libc::AT_FDCWD), Text(&path), Number(0o700), Number(0)],
    );
    assert_eq!(made, Outcome::Failed(Errno::EACCES));
    let (from, to) = (at("log/echo-daemon.log"), at("taken"));
    let cwd = number(libc::AT_FDCWD);
    let moved = inject::call(logger, libc::SYS_renameat2, &[cwd, Text(&from), cwd, Text(&to), Number(0)]);
    assert!(matches!(moved, Outcome::Failed(Errno::EACCES | Errno::EXDEV)), "{moved:?}");
    all.check();
}

#[test]
fn no_process_opens_a_socket_or_runs_foreign_code() {
    if !can("no_process_opens_a_socket_or_runs_foreign_code") {
        return;
    }
    let all = Everybody::start();
    let page = [
        Number(0),
        Number(4096),
        number(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC),
        number(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
        Number(-1),
        Number(0),
    ];
    let thread = number(libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND);
    let namespace = [number(libc::CLONE_NEWUSER | libc::SIGCHLD), Number(0)];
    let attach = [number(libc::SOL_SOCKET), Number(libc::SO_ATTACH_FILTER.into())];
    for (name, pid) in &all.processes {
        let refused = |what: &str, call, arguments: &[Argument<'_>]| {
            let outcome = inject::call(*pid, call, arguments);
            assert_eq!(outcome, Outcome::Failed(Errno::ENOSYS), "{what} by {name}");
        };
        for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
            for kind in [libc::SOCK_RAW, libc::SOCK_DGRAM, libc::SOCK_STREAM] {
                refused("socket", libc::SYS_socket, &socket(family, kind));
            }
        }
        refused("memory that code can be put into", libc::SYS_mmap, &page);
        refused("a namespace", libc::SYS_clone, &namespace);
        refused("a call that is not looked into", libc::SYS_clone3, &[Number(0), Number(0)]);
        refused("a filter", libc::SYS_setsockopt, &[&[Number(3)], &attach[..]].concat());
        refused("io_uring", libc::SYS_io_uring_setup, &[Number(1), Number(0)]);
        refused("a device", libc::SYS_mknodat, &[number(libc::AT_FDCWD), Text("/dev/x")]);
        refused("a title of its own", libc::SYS_prctl, &[number(libc::PR_SET_DUMPABLE), Number(1)]);
        refused("typing for the terminal", libc::SYS_ioctl, &[Number(0), Number(0x5412)]);
        // As abort(3) does, but to another.
        refused("signals", libc::SYS_tgkill, &[Number(1), Number(1), number(libc::SIGKILL)]);
        if *name != "tcp" && *name != "client" {
            refused("kill", libc::SYS_kill, &[Number(1), Number(0)]);
            let fork = inject::call(*pid, libc::SYS_clone, &[number(libc::SIGCHLD), Number(0)]);
            assert_eq!(fork, Outcome::Failed(Errno::ENOSYS), "fork by {name}");
        }
        if !["logger", "api", "dhcp 0"].contains(name) {
            refused("a thread", libc::SYS_clone, &[thread, Number(0)]);
        }
    }
    all.check();
}

/// Where the shared memory begins in a process, and how many bytes of it are there.
fn shared_memory(pid: i32) -> (u64, u64) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut ranges = maps.lines().filter(|line| line.contains("/memfd:echo-daemon")).map(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap())
    });
    let (start, end) = ranges.next().unwrap();
    (start, ranges.map(|(start, end)| end - start).sum::<u64>() + end - start)
}

#[test]
fn who_has_nothing_to_do_with_leases_does_not_share_their_memory() {
    if !is_root("who_has_nothing_to_do_with_leases_does_not_share_their_memory") {
        return;
    }
    let all = Everybody::start();
    let (start, whole) = shared_memory(all.pid("dhcp 0"));
    let leases = [Region::Offers, Region::Probes, Region::Rates, Region::Quarantine];
    let leases: u64 = leases.iter().map(|region| region.words() as u64 * 8).sum();
    for (name, pid) in &all.processes {
        let (at, shared) = shared_memory(*pid);
        assert_eq!(at, start, "{name}");
        if matches!(*name, "logger" | "tcp" | "client" | "udp") {
            assert!(shared + leases <= whole, "{name}: {shared} of {whole}");
        } else {
            assert_eq!(shared, whole, "{name}");
        }
        // The descriptor, by which it could be mapped again, is main's alone.
        assert!(descriptors(*pid).iter().all(|(_, file)| !file.contains("memfd:echo-daemon")), "{name}");
    }
    all.check();
}

#[test]
fn tcp_signals_its_own_clients_alone() {
    const TEST: &str = "tcp_signals_its_own_clients_alone";
    if !can(TEST) || !has_landlock(6, TEST) {
        return;
    }
    let all = Everybody::start();
    let (tcp, client) = (all.pid("tcp"), all.pid("client"));
    let kill = |from, to: i32| inject::call(from, libc::SYS_kill, &[Number(to.into()), Number(0)]);
    assert_eq!(kill(tcp, client), Outcome::Returned(0));
    // The same user.
    for name in ["udp", "dhcp 0", "api"] {
        assert_eq!(kill(tcp, all.pid(name)), Outcome::Failed(Errno::EPERM), "{name} by tcp");
        assert_eq!(kill(client, all.pid(name)), Outcome::Failed(Errno::EPERM), "{name} by its client");
    }
    all.check();
}

#[test]
fn what_only_an_intruder_would_call_kills_the_process_and_service_goes_on() {
    if !can("what_only_an_intruder_would_call_kills_the_process_and_service_goes_on") {
        return;
    }
    let mut all = Everybody::start();
    let main = all.daemon.pid();
    let killed = Outcome::Killed(Signal::SIGSYS);
    // The client first: it would outlive its worker, and be another's.
    let client = all.pid("client");
    let program = [Text("/bin/true"), Number(0), Number(0)];
    assert_eq!(inject::call(client, libc::SYS_execve, &program), killed);
    assert!(all.client.ping(b"gone").is_err());
    all.daemon.wait_log(&["TCP_CLIENT_DISCONNECTED", "SIGSYS"]);
    for (name, pid) in all.processes.iter().filter(|(name, _)| *name != "client") {
        let outcome = match *name {
            "logger" => inject::call(*pid, libc::SYS_execve, &program),
            "tcp" => inject::call(*pid, libc::SYS_ptrace, &[number(16), Number(main.into())]),
            "udp" => inject::call(*pid, libc::SYS_bpf, &[]),
            "dhcp 0" => inject::call(*pid, libc::SYS_mount, &[Text("/"), Text("/mnt")]),
            "keeper" => inject::call(*pid, libc::SYS_setresuid, &[Number(0), Number(0), Number(0)]),
            _ => inject::call(*pid, libc::SYS_unshare, &[number(libc::CLONE_NEWNS)]),
        };
        assert_eq!(outcome, killed, "{name}");
        another(main, name, &[*pid]);
        all.daemon.wait_log(&["WORKER_DIED", name, "SIGSYS"]);
    }
    eventually("service of all", || all.daemon.run(&["probe"]).status.success().then_some(()));
}

/// The child of a start that looks at the lease file, which may be of anybody's making.
#[test]
fn check_of_the_lease_file_is_confined_too() {
    const TEST: &str = "check_of_the_lease_file_is_confined_too";
    if !can(TEST) || !has_landlock(1, TEST) {
        return;
    }
    let daemon = Daemon::start(ALL);
    daemon.run_ok(&["stop"]);
    // It waits for whoever has the file.
    let other = rusqlite::Connection::open(daemon.leases()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut start = Command::new(BINARY);
    start.arg("-c").arg(&daemon.config).arg("start").stdout(Stdio::null()).stderr(Stdio::piped());
    let start = start.spawn().unwrap();
    let parent = i32::try_from(start.id()).unwrap();
    let check = eventually("the check", || {
        children(parent).into_iter().find(|child| field(*child, "Seccomp") == "2")
    });
    assert_ne!(field(check, "Uid").split_whitespace().next(), Some("0"));
    for path in ["/etc/passwd", "/etc/shadow"] {
        let outcome = inject::call(check, libc::SYS_openat, &open(path));
        assert_eq!(outcome, Outcome::Failed(Errno::EACCES), "{path}");
    }
    let outcome = inject::call(check, libc::SYS_socket, &socket(libc::AF_INET, libc::SOCK_STREAM));
    assert_eq!(outcome, Outcome::Failed(Errno::ENOSYS));
    let program = [Text("/bin/true"), Number(0), Number(0)];
    assert_eq!(inject::call(check, libc::SYS_execve, &program), Outcome::Killed(Signal::SIGSYS));
    let refused = start.wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(common::text(&refused).contains("SIGSYS"), "{}", common::text(&refused));
    other.execute_batch("ROLLBACK").unwrap();
    daemon.run_ok(&["start"]);
}

/// With syslog the logger has sockets, of the kinds that it needs.
#[test]
fn logger_has_sockets_for_syslog_alone() {
    if !can("logger_has_sockets_for_syslog_alone") {
        return;
    }
    let daemon = Daemon::prepare("");
    // The section stands in BASE.
    let base = common::BASE
        .replace("log_level: DEBUG}", "log_level: DEBUG, syslog: {enabled: true, address: /no/such/socket}}");
    assert!(base != common::BASE);
    fs::write(&daemon.config, base + ALL).unwrap();
    daemon.run_ok(&["start"]);
    let logger = named(daemon.pid(), "logger")[0];
    let open = |family, kind| inject::call(logger, libc::SYS_socket, &socket(family, kind));
    for (family, kind) in [
        (libc::AF_UNIX, libc::SOCK_DGRAM),
        (libc::AF_UNIX, libc::SOCK_STREAM),
        (libc::AF_INET, libc::SOCK_DGRAM),
    ] {
        assert!(matches!(open(family, kind), Outcome::Returned(_)), "{family} {kind}");
    }
    for (family, kind) in [
        (libc::AF_INET, libc::SOCK_STREAM),
        (libc::AF_INET, libc::SOCK_RAW),
        (libc::AF_INET6, libc::SOCK_STREAM),
        (libc::AF_NETLINK, libc::SOCK_RAW),
        (libc::AF_PACKET, libc::SOCK_DGRAM),
    ] {
        assert_eq!(open(family, kind), Outcome::Failed(Errno::ENOSYS), "{family} {kind}");
    }
}

#[test]
fn kernel_that_lacks_something_is_warned_of_and_the_rest_applies() {
    const TEST: &str = "kernel_that_lacks_something_is_warned_of_and_the_rest_applies";
    if !is_root(TEST) || !common::has("strace", TEST) {
        return;
    }
    for (call, error, warning, seccomp) in [
        ("landlock_create_ruleset", "EOPNOTSUPP", "this kernel has no Landlock", "2"),
        ("seccomp", "ENOSYS", "this kernel has no seccomp filters", "0"),
    ] {
        let daemon = Daemon::prepare(ALL);
        let trace = daemon.folder.path().join("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o"]).arg(&trace);
        strace.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error={error}")]);
        strace.arg(BINARY).arg("-c").arg(&daemon.config).arg("start");
        let said = daemon.folder.path().join("said");
        strace.stdin(Stdio::null()).stderr(fs::File::create(&said).unwrap());
        let _guard = Kill(strace.spawn().unwrap());
        daemon.wait_log(&["DAEMON_READY"]);
        let said = eventually("the warning", || {
            fs::read_to_string(&said).ok().filter(|said| said.contains(warning))
        });
        assert_eq!(said.matches("warning").count(), 1, "{said}");
        daemon.wait_log(&["DAEMON_WARNING", warning]);
        let main = daemon.pid();
        for name in ["logger", "tcp", "udp", "dhcp 0", "keeper", "api"] {
            let pid = named(main, name)[0];
            assert_eq!(
                (field(pid, "NoNewPrivs"), field(pid, "Seccomp")),
                ("1".into(), seccomp.into()),
                "{name}"
            );
        }
        daemon.run_ok(&["probe"]);
        daemon.run_ok(&["stop"]);
    }
}

/// A folder of the log that a reload names and that is not there yet is made, and rotation goes on in it.
#[test]
fn new_log_folder_is_made_by_a_reload() {
    let daemon = Daemon::start(ALL);
    let base = common::BASE.replace("log/echo-daemon.log", "other/place.log");
    fs::write(&daemon.config, base.clone() + ALL).unwrap();
    daemon.run_ok(&["reload"]);
    let there = |path: &str| daemon.folder.path().join(path);
    let written = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains("CONFIG_RELOADED"));
    eventually("a line in the new place", || written(&there("other/place.log")).then_some(()));
    fs::rename(there("other/place.log"), there("other/aside")).unwrap();
    daemon.signal(Signal::SIGUSR1);
    eventually("a new file", || {
        fs::read_to_string(there("other/place.log")).ok().filter(|text| text.contains("LOG_REOPENED"))
    });
}

/// The logger may use the folder that was there at its birth; where another one has taken its place, another logger does.
#[test]
fn log_folder_that_was_replaced_is_used_after_reopening() {
    let daemon = Daemon::start(ALL);
    let there = |path: &str| daemon.folder.path().join(path);
    let old = named(daemon.pid(), "logger");
    fs::rename(there("log"), there("old")).unwrap();
    daemon.signal(Signal::SIGUSR1);
    another(daemon.pid(), "logger", &old);
    daemon.wait_log(&["WORKER_DIED", "logger", "another folder"]);
    let new = daemon.worker("logger");
    daemon.signal(Signal::SIGUSR1);
    daemon.wait_log(&["LOG_REOPENED"]);
    assert_eq!(daemon.worker("logger"), new, "the same folder keeps its logger");
}

/// Ends a process of the test's own.
struct Kill(Child);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
