//! Who may use the control API: over the control socket, over TCP with and without the token, from a web page; and what a
//! client that hangs takes from the others.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use common::proc::{all_gone, family};
use common::raw::{control, control_raw, request, socket_path, start_with_api, tcp, tcp_raw};
use common::{Daemon, ECHO, PATIENCE, children, eventually, is_root, text};

// --- who may -------------------------------------------------------------------------------------------

#[test]
fn control_socket_is_for_owner_and_group_only_and_goes_with_the_daemon() {
    let daemon = Daemon::start(ECHO);
    let data = fs::symlink_metadata(socket_path(&daemon)).unwrap();
    assert!(data.file_type().is_socket());
    assert_eq!(data.mode() & 0o7777 & !0o660, 0, "mode {:o}", data.mode());
    assert_eq!(data.uid(), nix::unistd::geteuid().as_raw());
    daemon.run_ok(&["stop"]);
    assert!(fs::symlink_metadata(socket_path(&daemon)).is_err());
}

#[test]
fn over_tcp_reading_is_open_to_loopback_and_writing_needs_the_token() {
    let daemon =
        start_with_api("{listen: \"127.0.0.1:0\", token_file: token}", Some("s3cret\nsecond line\n"));
    let server = daemon.endpoint("api");
    assert_ne!(server.port(), 0);
    assert_eq!(tcp(server, "GET", "/v1/status", "").json()["pid"], daemon.pid());
    assert_eq!(tcp(server, "GET", "/metrics", "").status, 200);
    for given in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer s3cre\r\n",
        "Authorization: Bearer s3cret2\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Basic s3cret\r\n",
        "Authorization: s3cret\r\n",
    ] {
        let refused = tcp(server, "POST", "/v1/reload", given);
        refused.is_problem(401);
        assert!(refused.fields["www-authenticate"].starts_with("Bearer"), "{refused:?}");
    }
    assert_eq!(daemon.status()["generation"], 1);
    let granted = tcp(server, "POST", "/v1/reload", "Authorization: Bearer s3cret\r\n");
    assert_eq!((granted.status, &granted.json()["applied"]), (200, &Value::Bool(true)), "{granted:?}");
    assert_eq!(daemon.status()["generation"], 2);
    // A reload takes a changed token into force, and keeps the port.
    fs::write(daemon.folder.path().join("token"), "other").unwrap();
    daemon.run_ok(&["reload"]);
    assert_eq!(daemon.endpoint("api"), server);
    tcp(server, "POST", "/v1/reload", "Authorization: Bearer s3cret\r\n").is_problem(401);
    assert_eq!(tcp(server, "POST", "/v1/reload", "Authorization: Bearer other\r\n").status, 200);
    let log = daemon.log();
    assert!(!log.contains("s3cret") && !log.contains("other\""), "the token is in the log");
}

/// Whether a process has these bytes in any memory that it can write.
fn remembers(pid: i32, bytes: &[u8]) -> bool {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines().filter(|line| line.contains(" rw-p")).any(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-')).unwrap();
        let [from, to] = [range.0, range.1].map(|at| u64::from_str_radix(at, 16).unwrap());
        let mut contents = vec![0; usize::try_from(to - from).unwrap()];
        // Pages that are in no memory cannot be read.
        let read = memory.read_at(&mut contents, from).unwrap_or(0);
        contents[..read].windows(bytes.len()).any(|window| window == bytes)
    })
}

#[test]
fn no_process_remembers_the_token() {
    const TOKEN: &str = "0f4e1d5a-a-word-that-stands-nowhere-else-7b21c9";
    if !is_root("no_process_remembers_the_token") {
        return;
    }
    let daemon = start_with_api("{listen: \"127.0.0.1:0\", token_file: token}", Some(TOKEN));
    let first = children(daemon.pid());
    daemon.run_ok(&["reload"]);
    all_gone(&first);
    let processes = family(daemon.pid());
    assert!(processes.len() > 3);
    for pid in processes {
        // What everybody has shows that the search finds things.
        assert!(remembers(pid, daemon.config.to_str().unwrap().as_bytes()), "{pid}");
        assert!(!remembers(pid, TOKEN.as_bytes()), "{:?}", common::title(pid));
    }
    let given = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(tcp(daemon.endpoint("api"), "POST", "/v1/reload", &given).status, 200);
}

#[test]
fn without_a_token_nobody_writes_over_tcp_and_an_empty_one_is_refused() {
    let daemon = start_with_api("{listen: \"127.0.0.1:0\"}", None);
    let server = daemon.endpoint("api");
    assert_eq!(tcp(server, "GET", "/v1/status", "").status, 200);
    for given in ["", "Authorization: Bearer \r\n", "Authorization: Bearer null\r\n"] {
        tcp(server, "POST", "/v1/reload", given).is_problem(401);
    }
    let config = fs::read_to_string(&daemon.config).unwrap();
    fs::write(&daemon.config, config.replace(":0\"}", ":0\", token_file: token}")).unwrap();
    for content in [None, Some("\n")] {
        if let Some(content) = content {
            fs::write(daemon.folder.path().join("token"), content).unwrap();
        }
        let refused = daemon.run(&["reload"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).contains("token file"), "{}", text(&refused));
    }
    tcp(server, "POST", "/v1/reload", "Authorization: Bearer \r\n").is_problem(401);
}

/// A request that `user` sends to the control socket; what comes back.
fn ask_as(daemon: &Daemon, user: u32, group: u32, groups: &str) -> String {
    let output = Command::new("setpriv")
        .args([&format!("--reuid={user}"), &format!("--regid={group}"), groups])
        .args(["curl", "-si", "http://localhost/v1/status", "--unix-socket"])
        .arg(socket_path(daemon))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    text(&output)
}

#[test]
fn the_control_socket_asks_who_connected_whatever_the_permissions_of_its_file() {
    let name = "the_control_socket_asks_who_connected_whatever_the_permissions_of_its_file";
    if !common::is_root(name) || !common::has("setpriv", name) || !common::has("curl", name) {
        return;
    }
    let daemon = Daemon::start(ECHO);
    // Somebody has opened it to all, and given it to a group; a reload takes note of the group.
    fs::set_permissions(socket_path(&daemon), fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(daemon.folder.path().join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(socket_path(&daemon), None, Some(4711)).unwrap();
    daemon.run_ok(&["reload"]);
    let stranger = ask_as(&daemon, 12345, 12345, "--clear-groups");
    assert!(stranger.starts_with("HTTP/1.1 403"), "{stranger}");
    assert!(ask_as(&daemon, 12345, 4711, "--clear-groups").starts_with("HTTP/1.1 200"));
    assert!(ask_as(&daemon, 12345, 12345, "--groups=4710,4711").starts_with("HTTP/1.1 200"));
    assert!(ask_as(&daemon, 0, 0, "--clear-groups").starts_with("HTTP/1.1 200"));
    daemon.wait_log(&["API_DENIED", "uid 12345"]);
    let counted = "security_events_total{event=\"api_peer_forbidden\"} 1";
    eventually("it is counted", || control(&daemon, "GET", "/metrics").body.contains(counted).then_some(()));
}

#[test]
fn what_changes_something_is_logged_with_who_asked() {
    let daemon = start_with_api("{listen: \"127.0.0.1:0\", token_file: token}", Some("s3cret"));
    control(&daemon, "POST", "/v1/reload");
    let pid = format!("pid {}", std::process::id());
    daemon.wait_log(&["API_REQUEST", "POST /v1/reload", &pid, "status=200"]);
    tcp(daemon.endpoint("api"), "POST", "/v1/nothing", "Authorization: Bearer s3cret\r\n").is_problem(404);
    daemon.wait_log(&["API_REQUEST", "POST /v1/nothing", "127.0.0.1:", "status=404"]);
}

#[test]
fn an_address_that_guesses_tokens_has_to_wait() {
    let daemon = start_with_api("{listen: \"127.0.0.1:0\", token_file: token}", Some("s3cret"));
    let server = daemon.endpoint("api");
    for _ in 0..10 {
        tcp(server, "POST", "/v1/reload", "Authorization: Bearer wrong\r\n").is_problem(401);
    }
    for token in ["wrong", "s3cret"] {
        let refused = tcp(server, "POST", "/v1/reload", &format!("Authorization: Bearer {token}\r\n"));
        refused.is_problem(429);
        let wait: u64 = refused.fields["retry-after"].parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(tcp(server, "GET", "/v1/status", "").status, 200, "reading is open to loopback");
    assert_eq!(control(&daemon, "POST", "/v1/reload").status, 200);
    daemon.wait_log(&["API_DENIED", "wrong token"]);
    assert!(daemon.log().matches("API_DENIED").count() < 5, "each guess has a line of its own");
    let counted = "security_events_total{event=\"api_token_wrong\"} 10";
    eventually("it is counted", || control(&daemon, "GET", "/metrics").body.contains(counted).then_some(()));
}

#[test]
fn no_web_page_reads_or_writes() {
    let daemon = start_with_api("{listen: \"127.0.0.1:0\", token_file: token}", Some("s3cret"));
    let server = daemon.endpoint("api");
    let ask = |host: &str, more: &str| {
        let head = format!("GET /v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n");
        tcp_raw(server, head.as_bytes())
    };
    let own = format!("127.0.0.1:{}", server.port());
    for host in [own.as_str(), "localhost", "[::1]:9167"] {
        assert_eq!(ask(host, "").status, 200, "{host}");
    }
    // A page whose own name has come to mean 127.0.0.1.
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:9167"] {
        ask(host, "").is_problem(421);
    }
    assert_eq!(ask("dhcp.example.org", "Authorization: Bearer s3cret\r\n").status, 200);
    for more in ["Origin: http://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        ask(&own, more).is_problem(403);
    }
    let own_page = ask(&own, &format!("Origin: http://{own}\r\n"));
    assert_eq!(own_page.status, 200);
    assert!(!own_page.fields.keys().any(|name| name.starts_with("access-control")), "{own_page:?}");
    assert_eq!(own_page.fields["x-content-type-options"], "nosniff");
    // The address of a request counts for more than its Host field.
    let absolute =
        b"GET http://evil.example/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tcp_raw(server, absolute).is_problem(421);
}

#[test]
fn every_refusal_is_a_problem_document() {
    let daemon = start_with_api("{listen: \"127.0.0.1:0\"}", None);
    let server = daemon.endpoint("api");
    for (status, bytes) in [
        (400, "GET /v1/status HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned()),
        (400, "GET /v1/status HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n".to_owned()),
        (400, "GET /v1/status HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n".to_owned()),
        (400, "GARBAGE\r\n\r\n".to_owned()),
        (400, "GET /v1/status HTTP/1.1\r\nHost x\r\n\r\n".to_owned()),
        (431, format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000))),
        (431, format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(100))),
        (400, request("GET", "/v1/config?a=b", "")),
        (400, request("GET", "/v1/config?%zz", "")),
        (404, request("GET", "/v1/../etc/passwd", "")),
        (405, request("PUT", "/v1/config", "")),
        (405, request("TRACE", "/metrics", "")),
    ] {
        for refused in [control_raw(&daemon, bytes.as_bytes()), tcp_raw(server, bytes.as_bytes())] {
            // Without a token writing is refused before anything else is looked at.
            if refused.status != 401 {
                refused.is_problem(status);
            }
            assert_eq!(refused.fields["x-content-type-options"], "nosniff", "{bytes:.80}");
        }
    }
    let options = control(&daemon, "OPTIONS", "/v1/config");
    assert_eq!((options.status, options.fields["allow"].as_str()), (204, "GET, HEAD, OPTIONS, PATCH"));
}

#[test]
fn silent_connections_keep_no_client_out() {
    let daemon = start_with_api("{listen: \"127.0.0.1:0\"}", None);
    let server = daemon.endpoint("api");
    let started = Instant::now();
    let slow: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(server).unwrap();
            let half: &[u8] = match n % 4 {
                0 => b"",
                1 => b"GET /v1/sta",
                2 => b"POST /v1/config/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
                _ => b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
            };
            // The server may have ended it already.
            let _ = stream.write_all(half);
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(tcp(server, "GET", "/v1/status", "").status, 200);
        assert_eq!(control(&daemon, "GET", "/v1/status").status, 200);
    }
    // Had any of them waited for a place, it would have been for the 10 seconds that a head may take.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    drop(slow);
}

#[test]
fn a_connection_is_kept_for_more_requests_and_ended_when_it_is_idle() {
    let daemon = start_with_api("{listen: \"127.0.0.1:0\"}", None);
    let mut stream = TcpStream::connect(daemon.endpoint("api")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let more = "GET /v1/config HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3);
    stream.write_all(more.as_bytes()).unwrap();
    let mut all = String::new();
    // Without an end of the connection this would fail by its timeout.
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 3, "{all}");
}

#[test]
fn bodies_are_bounded() {
    let daemon = Daemon::start(ECHO);
    let patch = |more: &str, body: &str| {
        let head = request("PATCH", "/v1/config", &format!("Content-Type: application/json\r\n{more}"));
        control_raw(&daemon, format!("{head}{body}").as_bytes())
    };
    patch("Content-Length: 65537\r\n", "").is_problem(413);
    let chunk = format!("10000\r\n{}\r\n1\r\nx\r\n0\r\n\r\n", "x".repeat(0x10000));
    patch("Transfer-Encoding: chunked\r\n", &chunk).is_problem(413);
    patch("Content-Length: 2\r\nContent-Encoding: gzip\r\n", "{}").is_problem(415);
    let slow = patch("Content-Length: 10\r\n", "{");
    slow.is_problem(408);
    assert_eq!(daemon.status()["generation"], 1);
}
