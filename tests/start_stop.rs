//! The daemon starts with everything serving, detached from its caller, under its names in `ps`, and stops with
//! nothing left, in the order of the design, whatever goes on meanwhile.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::proc::{all_gone, another, descriptors, family, field, named};
use common::traffic::Connection;
use common::{ALL, Daemon, ECHO, eventually, freeze, is_alive, signal, text, title};
use nix::sys::signal::Signal;

#[test]
fn start_returns_when_all_serve_and_stop_when_all_are_gone() {
    let daemon = Daemon::start(ECHO);
    let main = daemon.pid();
    assert_eq!(title(main).as_deref(), Some("echo-daemon: main"));
    let workers = common::children(main);
    assert!(!workers.is_empty());
    assert!(daemon.run_ok(&["stop"]).contains("stopped"));
    assert!(!is_alive(main) && workers.iter().all(|pid| !is_alive(*pid)));
    assert!(!daemon.pid_file().exists());
}

#[test]
fn every_process_has_its_name() {
    let daemon = Daemon::start(ALL);
    let client = Connection::open(daemon.endpoint("tcp")).unwrap();
    let peer = client.stream.local_addr().unwrap();
    let main = daemon.pid();
    let tcp = named(main, "tcp")[0];
    eventually("the client's process", || {
        let titles: Vec<_> = common::children(tcp).into_iter().filter_map(title).collect();
        (titles == [format!("echo-daemon: tcp {peer}")]).then_some(())
    });
    let mut titles: Vec<String> = common::children(main).into_iter().filter_map(title).collect();
    titles.sort();
    let wanted = ["api", "dhcp 0", "dhcp 1", "keeper", "logger", "tcp", "udp"];
    assert_eq!(titles, wanted.map(|name| format!("echo-daemon: {name}")));
    // The endings of `ps` show the same.
    let shown = common::sh("ps", &["-o", "args=", "-p", &main.to_string()]);
    assert_eq!(shown.trim_end(), "echo-daemon: main");
}

#[test]
fn main_is_detached_from_its_caller() {
    let daemon = Daemon::start(ECHO);
    let main = daemon.pid();
    let stat = fs::read_to_string(format!("/proc/{main}/stat")).unwrap();
    let fields: Vec<i64> = stat
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .skip(1)
        .map(|number| number.parse().unwrap_or_default())
        .collect();
    // From field 4 on: parent, group, session, terminal (proc_pid_stat(5)).
    let (parent, session, terminal) = (i32::try_from(fields[0]).unwrap(), fields[2], fields[3]);
    assert_ne!(session, i64::from(main), "a session leader can get a terminal");
    assert_ne!(
        session,
        i64::from(nix::unistd::getsid(None).unwrap().as_raw()),
        "not in a session of its own"
    );
    assert_eq!(terminal, 0, "has a terminal");
    assert!(parent == 1 || ancestors().contains(&parent), "parent is {parent}");
    assert_ne!(parent, std::process::id().cast_signed());
    assert_eq!(fs::read_link(format!("/proc/{main}/cwd")).unwrap().to_str(), Some("/"));
    assert_eq!(field(main, "Umask"), "0027");
    for pid in family(main) {
        let standard: Vec<_> = descriptors(pid).into_iter().filter(|(number, _)| *number <= 2).collect();
        assert_eq!(standard, [0, 1, 2].map(|number| (number, "/dev/null".to_owned())), "{:?}", title(pid));
    }
}

/// Of this process; a subreaper is among them.
fn ancestors() -> Vec<i32> {
    let parent = |pid: i32| field(pid, "PPid").parse::<i32>().unwrap();
    let first = nix::unistd::getppid().as_raw();
    std::iter::successors(Some(first), |pid| Some(parent(*pid)).filter(|pid| *pid > 1)).collect()
}

#[test]
fn start_tells_what_is_served_and_where() {
    let daemon = Daemon::prepare(ALL);
    let words = daemon.run_ok(&["start"]);
    let (tcp, udp) = (daemon.endpoint("tcp"), daemon.endpoint("udp"));
    assert!(words.contains(&format!("PID {}", daemon.pid())), "{words}");
    for part in [tcp.to_string(), udp.to_string(), format!("lo port {}", daemon.dhcp_port())] {
        assert!(words.contains(&part), "{part} in {words}");
    }
}

/// The events of a stop, in the order of the log.
const ORDER: [&str; 5] =
    ["DAEMON_STOPPING", "WORKER_STOPPED", "SOCKETS_CLOSED", "PID_FILE_REMOVED", "DAEMON_STOPPED"];

/// Checks that the log ends in the order of the design; the part from `DAEMON_STOPPING` on.
#[track_caller]
fn check_order(daemon: &Daemon) -> String {
    let log = daemon.log();
    let stop = log.find(" DAEMON_STOPPING ").unwrap_or_else(|| panic!("no stop in {log}"));
    let start = log[..stop].rfind('\n').map_or(0, |end| end + 1);
    let log = &log[start..];
    let places =
        ORDER.map(|event| log.find(&format!(" {event} ")).unwrap_or_else(|| panic!("{event}: {log}")));
    assert!(places.is_sorted(), "{places:?} in {log}");
    assert!(log.rfind(" WORKER_STOPPED ").unwrap() < places[2], "a worker outlived the sockets: {log}");
    assert!(log.lines().last().unwrap().contains(" DAEMON_STOPPED "), "not the last line: {log}");
    log.to_owned()
}

#[test]
fn signals_take_the_tree_down_in_order() {
    for which in [Signal::SIGTERM, Signal::SIGINT] {
        let daemon = Daemon::start(ALL);
        let tree = family(daemon.pid());
        daemon.signal(which);
        all_gone(&tree);
        let log = check_order(&daemon);
        for name in ["tcp", "udp", "dhcp 0", "dhcp 1", "keeper", "api"] {
            let ended = log
                .lines()
                .filter(|line| line.contains(" WORKER_STOPPED "))
                .any(|line| line.contains(&format!(" {name} of generation 1 has ended (exit code 0)")));
            assert!(ended, "{name} in {log}");
        }
        assert!(log.contains(which.as_str()));
        assert!(!daemon.pid_file().exists() && !daemon.folder.path().join("run/control.sock").exists());
    }
}

#[test]
fn sigterm_during_fifty_transfers_ends_every_client() {
    let daemon = Daemon::start(ALL);
    let address = daemon.endpoint("tcp");
    let main = daemon.pid();
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut connection = Connection::open(address).unwrap();
        connection.ping(b"running").unwrap();
        streams.push(connection.stream);
    }
    let tree = family(main);
    assert!(tree.len() >= 50 + 8, "{tree:?}");
    let writers: Vec<_> = streams
        .iter()
        .map(|stream| {
            let (mut writer, mut reader) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
            let write = std::thread::spawn(move || while writer.write_all(&[7; 8192]).is_ok() {});
            let read = std::thread::spawn(move || {
                let (mut buffer, mut sum) = ([0; 8192], 0);
                while let Ok(length @ 1..) = reader.read(&mut buffer) {
                    assert!(buffer[..length].iter().all(|byte| *byte == 7));
                    sum += length;
                }
                sum
            });
            (write, read)
        })
        .collect();
    let started = Instant::now();
    daemon.signal(Signal::SIGTERM);
    all_gone(&tree);
    assert!(started.elapsed() < Duration::from_secs(15), "took {:?}", started.elapsed());
    for (write, read) in writers {
        write.join().unwrap();
        read.join().unwrap();
    }
    let log = check_order(&daemon);
    assert!(!log.contains("WORKER_KILLED"), "{log}");
}

#[test]
fn stop_during_a_reload_keeps_the_order_and_the_log() {
    let daemon = Daemon::start(ALL);
    // A stop may meet a reload anywhere: after its start, while workers are exchanged, at its end.
    for pause_ms in [0, 10, 30, 60, 90, 120, 160, 220] {
        if !daemon.pid_file().exists() {
            daemon.run_ok(&["start"]);
        }
        fs::write(daemon.folder.path().join("log/echo-daemon.log"), "").unwrap();
        daemon.signal(Signal::SIGUSR1);
        let main = daemon.pid();
        daemon.signal(Signal::SIGHUP);
        // Not a wait for something: each round looks at another moment.
        std::thread::sleep(Duration::from_millis(pause_ms));
        let tree = family(main);
        signal(main, Signal::SIGTERM);
        all_gone(&tree);
        check_order(&daemon);
        assert!(!daemon.pid_file().exists());
    }
}

#[test]
fn stop_while_the_loggers_are_exchanged_loses_no_line() {
    let daemon = Daemon::start(ALL);
    let main = daemon.pid();
    let (logger, udp) = (named(main, "logger")[0], named(main, "udp"));
    // The new generation takes over from all but this one.
    freeze(logger);
    daemon.signal(Signal::SIGHUP);
    all_gone(&udp);
    let tree = family(main);
    daemon.signal(Signal::SIGTERM);
    all_gone(&udp);
    signal(logger, Signal::SIGCONT);
    all_gone(&tree);
    check_order(&daemon);
}

#[test]
fn stopped_worker_does_not_hold_the_stop_up() {
    let daemon = Daemon::prepare(ALL);
    daemon.run_ok(&["start", "--set", "daemon.shutdown_timeout=500ms"]);
    let main = daemon.pid();
    let mut client = Connection::open(daemon.endpoint("tcp")).unwrap();
    client.ping(b"hello").unwrap();
    let tcp = named(main, "tcp")[0];
    let victims = [named(main, "dhcp 0")[0], named(main, "api")[0], common::children(tcp)[0]];
    let tree = family(main);
    for pid in victims {
        freeze(pid);
    }
    assert!(daemon.run_ok(&["stop"]).contains("stopped"));
    all_gone(&tree);
    let log = check_order(&daemon);
    for name in ["dhcp 0", "api"] {
        let killed =
            log.lines().any(|l| l.contains("WORKER_KILLED") && l.contains(&format!("{name} did not")));
        assert!(killed, "{name}: {log}");
    }
}

#[test]
fn sigkill_of_main_leaves_no_process_and_the_next_start_succeeds() {
    let daemon = Daemon::start(ALL);
    let main = daemon.pid();
    let address = daemon.endpoint("tcp");
    // A client of a dead worker, one of an old generation, and one of the present.
    let mut clients = vec![Connection::open(address).unwrap()];
    clients[0].ping(b"hello").unwrap();
    let first = named(main, "tcp");
    signal(first[0], Signal::SIGKILL);
    another(main, "tcp", &first);
    for reloads in [0, 1] {
        if reloads > 0 {
            daemon.run_ok(&["reload"]);
        }
        let mut client = Connection::open(daemon.endpoint("tcp")).unwrap();
        client.ping(b"hello").unwrap();
        clients.push(client);
    }
    let tree = family(main);
    assert_eq!(tree.iter().filter(|pid| title(**pid).unwrap_or_default().contains(": tcp 127.")).count(), 3);
    signal(main, Signal::SIGKILL);
    all_gone(&tree);
    for mut client in clients {
        assert_eq!(client.stream.read(&mut [0; 8]).unwrap_or(0), 0, "still served");
    }
    assert_eq!(daemon.run(&["status"]).status.code(), Some(3));
    daemon.run_ok(&["start"]);
    assert_ne!(daemon.pid(), main);
    Connection::open(daemon.endpoint("tcp")).unwrap().ping(b"again").unwrap();
}

#[test]
fn stop_by_force_ends_a_main_that_does_not_listen() {
    let daemon = Daemon::start(ECHO);
    let main = daemon.pid();
    let tree = family(main);
    freeze(main);
    let refused = daemon.run(&["stop", "--timeout", "300ms"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(common::text(&refused).contains("hint: stop --force"), "{}", common::text(&refused));
    assert!(is_alive(main));
    daemon.run_ok(&["stop", "--force", "--timeout", "300ms"]);
    all_gone(&tree);
    daemon.run_ok(&["start"]);
}

#[test]
fn a_caller_that_goes_away_does_not_take_the_daemon_with_it() {
    let daemon = Daemon::prepare(ECHO);
    let caller = daemon.command(&["start"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut caller = caller.unwrap();
    eventually("PID file", || fs::metadata(daemon.pid_file()).ok().filter(|found| found.size() > 1));
    let _ = caller.kill();
    caller.wait().unwrap();
    daemon.wait_log(&["DAEMON_READY"]);
    Connection::open(daemon.endpoint("tcp")).unwrap().ping(b"hello").unwrap();
}

#[test]
fn start_right_after_main_was_killed_succeeds() {
    let daemon = Daemon::start(ALL);
    for _ in 0..5 {
        // Nobody waits for the end of main, nor for that of its workers, who hold the sockets.
        signal(daemon.pid(), Signal::SIGKILL);
        daemon.run_ok(&["start"]);
    }
}

#[test]
fn fifo_in_the_place_of_a_file_keeps_nobody_waiting() {
    let daemon = Daemon::prepare("");
    let token = daemon.folder.path().join("token");
    fs::write(&token, "secret\n").unwrap();
    let file = common::BASE.replace("api: {listen: null}", "api: {listen: null, token_file: token}");
    fs::write(&daemon.config, format!("{file}{ECHO}")).unwrap();
    daemon.run_ok(&["start"]);
    let fifo = |path: &std::path::Path| {
        fs::remove_file(path).unwrap();
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    };
    fifo(&token);
    let refused = daemon.run(&["reload"]);
    assert!(text(&refused).contains("it is no regular file"), "{}", text(&refused));
    let config = fs::read(&daemon.config).unwrap();
    fifo(&daemon.config);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_log(&["CONFIG_REFUSED", "this is no regular file"]);
    assert!(text(&daemon.run(&["check"])).contains("this is no regular file"));
    fs::remove_file(&daemon.config).unwrap();
    fs::write(&daemon.config, config).unwrap();
}
