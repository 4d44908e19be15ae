//! `leases show`, `release`, `history`, `export` and `import`, on a running and on a stopped daemon; and against traffic.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use common::dhcp::Client;
use common::lab::{self, LOOPBACK, dhcp_port};
use common::{BINARY, Daemon, eventually, text};
use dhcproto::v4::{DhcpOption, MessageType};
use serde_json::Value;

/// The words of a command that must fail with exit code 1.
#[track_caller]
fn refused(daemon: &Daemon, args: &[&str]) -> String {
    let output = daemon.run(args);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(output.stdout.is_empty(), "{}", text(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(daemon: &Daemon, args: &[&str]) -> Value {
    serde_json::from_str(&daemon.run_ok(args)).unwrap()
}

/// A file in the daemon's folder.
fn file(daemon: &Daemon, name: &str, content: &str) -> String {
    let path = daemon.folder.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn before_the_first_start_every_command_says_so() {
    let daemon = Daemon::prepare(LOOPBACK);
    let import = file(&daemon, "in.csv", "ip,mac,expires\n");
    for args in [
        &["leases", "list"][..],
        &["leases", "show", "10.77.0.100"],
        &["leases", "release", "10.77.0.100"],
        &["leases", "history"],
        &["leases", "export"],
        &["leases", "import", &import],
    ] {
        let said = refused(&daemon, args);
        assert!(said.contains("leases.db") && said.contains("hint: no daemon"), "{args:?}: {said}");
    }
    assert!(!daemon.folder.path().join("state").exists(), "nothing was made");
}

#[test]
fn show_tells_all_of_a_lease_and_exits_with_1_for_an_address_without_one() {
    let daemon = Daemon::start(LOOPBACK);
    let client = Client::new(7, dhcp_port(&daemon));
    let options = [
        DhcpOption::Hostname("print\u{1b}er".into()),
        DhcpOption::ClassIdentifier(b"PXE".to_vec()),
        DhcpOption::ClientIdentifier(vec![0, 1, 255]),
    ];
    let offer = client.ask(&client.message(MessageType::Discover, &options)).unwrap();
    let mut wish = options.to_vec();
    wish.push(DhcpOption::RequestedIpAddress(offer.yiaddr()));
    wish.push(DhcpOption::ServerIdentifier(lab::server_id(&offer).unwrap()));
    client.ask(&client.message(MessageType::Request, &wish)).unwrap();
    let address = offer.yiaddr().to_string();
    for _ in 0..2 {
        let shown = daemon.run_ok(&["leases", "show", &address]);
        for part in [
            &address,
            "mac           02:00:00:00:00:07",
            "client_id     00:01:ff",
            "print\\x1ber",
            "subnet        lan",
            "pool          main",
            "state         active",
            "time_left     ",
            "vendor_class  PXE",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let object = json(&daemon, &["leases", "show", &address, "--json"]);
        assert!(object["time_left_secs"].as_u64().unwrap() > 3000, "{object}");
        assert_eq!((&object["ip"], &object["declines"]), (&Value::from(address.as_str()), &Value::from(0)));
        assert!(refused(&daemon, &["leases", "show", "10.77.0.99"]).contains("10.77.0.99 was never leased"));
        daemon.run_ok(&["stop"]);
    }
}

#[test]
fn released_address_is_free_and_the_history_says_so() {
    let yaml = LOOPBACK.replace("10.77.0.100-10.77.0.199", "10.77.0.100-10.77.0.100");
    let daemon = Daemon::start(&yaml);
    let client = Client::new(1, dhcp_port(&daemon));
    let address = client.lease();
    let ip = address.to_string();
    let said = daemon.run_ok(&["leases", "release", &ip]);
    assert!(said.contains(&format!("released {ip}, leased to 02:00:00:00:00:01 until ")), "{said}");
    let again = refused(&daemon, &["leases", "release", &ip]);
    assert!(again.contains("leased to nobody: the lease of 02:00:00:00:00:01 is released since"), "{again}");
    assert!(refused(&daemon, &["leases", "release", "10.77.0.99"]).contains("never leased"));
    let other = Client::new(2, dhcp_port(&daemon));
    assert_eq!(other.lease(), address, "free for another");
    let nak = client.renew(address).unwrap();
    assert_eq!(lab::kind(&nak), MessageType::Nak);
    for _ in 0..2 {
        let held = json(&daemon, &["leases", "history", &ip, "--json"]);
        let held: Vec<(&str, &str)> = held
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["mac"].as_str().unwrap(), one["ended"].as_str().unwrap()))
            .collect();
        assert_eq!(held, [("02:00:00:00:00:01", "released"), ("02:00:00:00:00:02", "active")]);
        daemon.run_ok(&["stop"]);
    }
    // On the stopped one too; the next start knows it.
    daemon.run_ok(&["leases", "release", &ip]);
    daemon.run_ok(&["start"]);
    assert_eq!(json(&daemon, &["leases", "show", &ip, "--json"])["state"], "released");
}

#[test]
fn declined_address_is_free_after_its_rest_was_ended() {
    let yaml = LOOPBACK.replace("10.77.0.100-10.77.0.199", "10.77.0.100-10.77.0.100");
    let daemon = Daemon::start(&yaml);
    let client = Client::new(1, dhcp_port(&daemon));
    let address = client.lease();
    let offer = [DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(Ipv4Addr::LOCALHOST)];
    client.send(&client.message(MessageType::Decline, &offer));
    let ip = address.to_string();
    eventually("the rest", || {
        (json(&daemon, &["leases", "show", &ip, "--json"])["state"] == "declined").then_some(())
    });
    let said = daemon.run_ok(&["leases", "release", &ip]);
    assert!(said.contains(&format!("ended the rest of {ip} (declined)")), "{said}");
    assert_eq!(Client::new(2, dhcp_port(&daemon)).lease(), address);
}

#[test]
fn history_names_the_holder_at_a_time() {
    let daemon = Daemon::start(LOOPBACK);
    let import = "\
ip,mac,starts,expires
10.77.0.100,02:00:00:00:00:0a,2026-01-01T10:00:00Z,never
10.77.0.101,02:00:00:00:00:0b,2026-01-01T12:00:00Z,never
";
    daemon.run_ok(&["leases", "import", &file(&daemon, "in.csv", import)]);
    let again = daemon.run_ok(&[
        "leases",
        "import",
        &file(&daemon, "in.csv", "ip,expires,mac\n10.77.0.101,never,02000000000b"),
    ]);
    assert_eq!(again, "imported 0, updated 0, unchanged 1\n", "a start that is not told is as it was");
    let macs = |args: &[&str]| -> Vec<String> {
        let held = json(&daemon, &[&["leases", "history", "--json"], args].concat());
        held.as_array().unwrap().iter().map(|one| one["mac"].as_str().unwrap().to_owned()).collect()
    };
    let (a, b) = ("02:00:00:00:00:0a", "02:00:00:00:00:0b");
    assert_eq!(macs(&[]), [a, b]);
    assert_eq!(macs(&["10.77.0.100"]), [a]);
    assert_eq!(macs(&["--at", "2026-01-01T11:00Z"]), [a]);
    assert_eq!(macs(&["--at", "2026-01-01 12:00:00+00:00"]), [a, b]);
    assert_eq!(macs(&["--at", "2025-12-30"]), [""; 0]);
    assert_eq!(macs(&["--mac", "02:00:00:00:00:0B"]), [b]);
    assert_eq!(macs(&["10.77.0.100", "--mac", b]), [""; 0]);
    let mut command = daemon.command(&["leases", "history", "--at", "2026-01-01T11:00", "--csv"]);
    let local = command.env("TZ", "Europe/Berlin").output().unwrap();
    let local = String::from_utf8_lossy(&local.stdout).into_owned();
    assert!(
        local.contains(&format!("10.77.0.100,{a},,,lan,main,2026-01-01 11:00:00,never,active")),
        "{local}"
    );
    let wrong = daemon.run(&["leases", "history", "--at", "noon"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong).contains("2026-11-01T12:00"), "{}", text(&wrong));
}

#[test]
fn export_imports_into_an_empty_file_and_exports_the_same() {
    let from = Daemon::start(LOOPBACK);
    let port = dhcp_port(&from);
    for n in 1..30 {
        let client = Client::new(n, port);
        let address = client.lease();
        if n % 3 == 0 {
            client.release(address);
        }
    }
    eventually("the releases", || {
        (lab::count(&from, "SELECT count(*) FROM lease_list WHERE state = 'released'") == 9).then_some(())
    });
    for format in ["csv", "json"] {
        let to = Daemon::start(LOOPBACK);
        let out = from.folder.path().join(format!("out.{format}"));
        let out = out.to_str().unwrap();
        assert_eq!(from.run_ok(&["leases", "export", out]), "");
        assert_eq!(to.run_ok(&["leases", "import", out]), "imported 29, updated 0, unchanged 0\n");
        assert_eq!(to.run_ok(&["leases", "import", out]), "imported 0, updated 0, unchanged 29\n");
        let flag = format!("--{format}");
        assert_eq!(to.run_ok(&["leases", "export", &flag]), fs::read_to_string(out).unwrap());
        // In force at once: the client keeps it, nobody else gets it.
        let held = lab::query(&from, "SELECT ip FROM lease_list WHERE mac = '02:00:00:00:00:01'");
        assert_eq!(Client::new(1, dhcp_port(&to)).lease().to_string(), held[0][0]);
    }
}

#[test]
fn import_with_a_mistake_changes_nothing_and_tells_each_line() {
    let daemon = Daemon::start(LOOPBACK);
    let held = Client::new(1, dhcp_port(&daemon)).lease();
    let before = daemon.run_ok(&["leases", "export"]);
    let rows = "ip,mac,expires,hostname\n\
         10.77.0.120,02:00:00:00:01:01,2099-01-01T00:00:00Z,good\n\
         10.77.0.121,02:00:00:00:01:02,soon,\"two\nlines\"\n\
         10.77.0.300,02:00:00:00:01:03,never,\n\
         10.77.0.122,,never,\n\
         10.77.0.123,02:00:00:00:01:04,never\n";
    let said = refused(&daemon, &["leases", "import", &file(&daemon, "in.csv", rows)]);
    for part in [
        "line 3: expires \"soon\" is not a time",
        "line 5: ip \"10.77.0.300\" is not an IPv4 address",
        "line 6: neither mac nor client_id",
        "line 7: 3 cells under 4 heads",
        "nothing was imported",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("line 2"), "{said}");
    let rows = format!("ip,mac,expires\n{held},02:00:00:00:09:09,never\n192.0.2.1,02:00:00:00:01:03,never\n");
    let said = refused(&daemon, &["leases", "import", &file(&daemon, "in.csv", &rows)]);
    for part in
        [format!("hint: leases release {held}"), "line 3: 192.0.2.1 lies in no configured subnet".into()]
    {
        assert!(said.contains(&part), "{part} in {said}");
    }
    for (content, part) in [
        ("ip,mac,expires,hostnam\n", "unknown column \"hostnam\"; hint: hostname"),
        ("ip,mac\n", "there must be a header with ip, expires"),
        ("ip,ip,mac,expires\n", "ip stands there twice"),
        ("", "there must be a header"),
        ("[{\"ip\": 5}, 7, {\"ip\": \"10.77.0.1\", \"x\": 1}]", "entry 2: it is not an object"),
        ("[{]", "it is not an array of objects"),
        ("ip,mac,expires\n\0\u{1b}[2J,x,y\n", "line 2: ip \"\\x00\\x1b[2J\" is not"),
    ] {
        let said = refused(&daemon, &["leases", "import", &file(&daemon, "in", content)]);
        assert!(said.contains(part), "{part} in {said}");
        assert!(!said.contains('\u{1b}'), "{said}");
    }
    let many = (0..500).map(|n| format!("10.99.0.{n},x,never")).collect::<Vec<_>>().join("\n");
    let said =
        refused(&daemon, &["leases", "import", &file(&daemon, "in", &format!("ip,mac,expires\n{many}"))]);
    assert!(said.lines().count() < 30 && said.contains("… and 480 more"), "{said}");
    assert_eq!(daemon.run_ok(&["leases", "export"]), before);
}

#[test]
fn lease_file_of_kea_is_imported() {
    let daemon = Daemon::start(LOOPBACK);
    let kea = "\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
10.77.0.150,02:00:00:00:00:05,,3600,4070908800,1,0,0,,0,,0
10.77.0.151,02:00:00:00:00:06,01:02,3600,946684800,1,0,0,old.example.org,0,,0
10.77.0.152,02:00:00:00:00:07,,4294967295,1767225600,1,0,0,,0,,0
";
    // The first one begins in the future.
    let said = refused(&daemon, &["leases", "import", &file(&daemon, "kea-leases4.csv", kea)]);
    assert!(said.contains("line 2: starts lies in the future"), "{said}");
    let kea = kea.replace("3600,4070908800", "2000000000,3767225600");
    let said = daemon.run_ok(&["leases", "import", &file(&daemon, "kea-leases4.csv", &kea)]);
    assert_eq!(said, "imported 3, updated 0, unchanged 0\n");
    let listed = daemon.run_ok(&["leases", "list", "--csv"]);
    assert!(
        listed.contains("10.77.0.151,02:00:00:00:00:06,01:02,old.example.org,lan,main,expired,"),
        "{listed}"
    );
    assert_eq!(Client::new(5, dhcp_port(&daemon)).lease(), Ipv4Addr::new(10, 77, 0, 150));
}

#[test]
fn files_beside_the_lease_file_stay_its_owners() {
    if !common::is_root("files_beside_the_lease_file_stay_its_owners") {
        return;
    }
    let daemon = Daemon::start(LOOPBACK);
    let ip = Client::new(1, dhcp_port(&daemon)).lease().to_string();
    daemon.run_ok(&["stop"]);
    let folder = daemon.leases().parent().unwrap().to_owned();
    for end in ["-wal", "-shm", "-lock"] {
        // After a clean stop none of them is needed.
        let _ = fs::remove_file(format!("{}{end}", daemon.leases().display()));
    }
    let owner = fs::metadata(daemon.leases()).unwrap().uid();
    assert_ne!(owner, 0);
    let good = file(&daemon, "in.csv", "ip,mac,expires\n10.77.0.120,02:00:00:00:01:01,never\n");
    for args in [&["leases", "release", &ip][..], &["leases", "import", &good]] {
        daemon.run_ok(args);
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            // The configuration in force is main's.
            if !entry.file_name().to_string_lossy().starts_with("leases.db") {
                continue;
            }
            assert_eq!(entry.metadata().unwrap().uid(), owner, "{:?} after {args:?}", entry.path());
        }
    }
    daemon.run_ok(&["start"]);
    assert_eq!(Client::new(2, dhcp_port(&daemon)).lease().octets()[..3], [10, 77, 0]);
}

/// The workers' user could have written whatever is in the file: SQLite does not read it as root.
#[test]
fn whoever_reads_the_lease_file_is_its_owner() {
    const TEST: &str = "whoever_reads_the_lease_file_is_its_owner";
    if !common::is_root(TEST) || !common::has("strace", TEST) {
        return;
    }
    let daemon = Daemon::start(LOOPBACK);
    let ip = Client::new(1, dhcp_port(&daemon)).lease().to_string();
    let export = daemon.folder.path().join("out.csv").display().to_string();
    let config = daemon.config.display().to_string();
    for args in [
        &["leases", "list"][..],
        &["leases", "show", &ip],
        &["leases", "history"],
        &["leases", "export", &export],
        &["config", "plan", &config],
        &["leases", "release", &ip],
    ] {
        let trace = daemon.folder.path().join("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=setresuid,openat", "-o"]).arg(&trace);
        strace.arg(BINARY).arg("-c").arg(&daemon.config).args(args);
        let output = strace.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        let trace = fs::read_to_string(trace).unwrap();
        let (as_root, as_owner) =
            trace.split_once("setresuid(").unwrap_or_else(|| panic!("{args:?}: {trace}"));
        assert!(as_owner.contains("leases.db"), "{args:?}: {trace}");
        // `export` looks whether there is a file before it makes another.
        let looks = usize::from(args.contains(&"export"));
        assert_eq!(as_root.matches("leases.db").count(), looks, "{args:?}: {trace}");
    }
    let said = refused(&daemon, &["leases", "export", "/no/such/folder/out.csv"]);
    assert!(said.contains("/no/such/folder/out.csv"), "{said}");
    daemon.run_ok(&["stop"]);
    // A file of root's in the workers' folder may be any file of root's that they have given its name to.
    chown(daemon.leases(), Some(0), Some(0)).unwrap();
    let said = refused(&daemon, &["leases", "list"]);
    assert!(said.contains("leases.db"), "{said}");
}

#[test]
fn reading_changes_no_file() {
    let daemon = Daemon::start(LOOPBACK);
    let ip = Client::new(1, dhcp_port(&daemon)).lease().to_string();
    daemon.run_ok(&["stop"]);
    let state = || {
        let folder = daemon.leases().parent().unwrap().to_owned();
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.is_file())
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect::<BTreeSet<_>>()
    };
    let before = state();
    for args in
        [&["leases", "show", &ip][..], &["leases", "history"], &["leases", "export"], &["leases", "list"]]
    {
        daemon.run_ok(args);
    }
    assert!(before == state());
}

#[test]
fn release_and_import_race_with_clients_and_no_address_has_two_holders() {
    const CLIENTS: u32 = 6;
    let daemon = Daemon::start(&LOOPBACK.replace("  port: 0", "  port: 0\n  workers: 2"));
    let port = dhcp_port(&daemon);
    let over = AtomicBool::new(false);
    let imports = std::thread::scope(|scope| {
        let traffic: Vec<_> = (1..=CLIENTS)
            .map(|n| {
                let over = &over;
                scope.spawn(move || {
                    let client = Client::new(n, port);
                    let mut held = None;
                    while !over.load(Ordering::SeqCst) {
                        // A NAK sends it back to the beginning, as it does with any client.
                        let ack = if let Some(address) = held {
                            client.renew(address).unwrap()
                        } else {
                            let offer = client.discover().unwrap();
                            client.select(&offer).unwrap()
                        };
                        held = (lab::kind(&ack) == MessageType::Ack).then(|| ack.yiaddr());
                    }
                    held
                })
            })
            .collect();
        let mut imports = 0_u32;
        for round in 0..15_u32 {
            let leased = lab::query(
                &daemon,
                "SELECT ip FROM lease_list WHERE state = 'active' AND mac < '02:00:00:01'",
            );
            for ip in leased.iter().take(2) {
                // It may have been released meanwhile.
                daemon.run(&["leases", "release", &ip[0]]);
            }
            let row = |n| format!("10.77.0.{},02:00:00:01:{round:02x}:{n:02x},never", 100 + round * 5 + n);
            let rows = (0..5).map(row).collect::<Vec<_>>().join("\n");
            let path = file(&daemon, "in.csv", &format!("ip,mac,expires\n{rows}"));
            let output = daemon.run(&["leases", "import", &path]);
            match output.status.code() {
                Some(0) => imports += 5,
                // A client was faster: nothing of it is there.
                Some(1) => assert!(text(&output).contains("is leased to"), "{}", text(&output)),
                _ => panic!("{}", text(&output)),
            }
        }
        over.store(true, Ordering::SeqCst);
        let held: Vec<Option<Ipv4Addr>> = traffic.into_iter().map(|client| client.join().unwrap()).collect();
        // Who was released at the very end does not know it yet; whose renewal is acknowledged now holds it alone.
        let mut apart = BTreeSet::new();
        for (n, address) in (1..).zip(held) {
            let Some(address) = address else { continue };
            let ack = Client::new(n, port).renew(address).unwrap();
            if lab::kind(&ack) == MessageType::Ack {
                assert!(apart.insert(address), "{address} twice");
            }
        }
        assert!(!apart.is_empty(), "somebody is served");
        imports
    });
    assert!(imports > 0, "some went through");
    assert_eq!(
        u64::from(imports),
        lab::count(
            &daemon,
            "SELECT count(*) FROM lease_list WHERE state = 'active' AND mac >= '02:00:00:01'"
        )
    );
    daemon.run_ok(&["stop"]);
    // Whoever held an address at any time held it alone.
    let rows = json(&daemon, &["leases", "history", "--json"]);
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for row in rows.as_array().unwrap() {
        let (ip, starts, ends) =
            (row["ip"].as_str().unwrap(), row["starts"].as_str().unwrap(), row["ends"].as_str().unwrap());
        if let Some(before) = last.insert(ip, ends) {
            assert!(before <= starts, "{ip}: held until {before}, and from {starts}");
        }
        assert_ne!(row["ended"], "reassigned", "{row}");
    }
    assert!(rows.as_array().unwrap().iter().any(|row| row["ended"] == "released"), "some were released");
    let log = daemon.log();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn every_lease_that_a_client_was_told_of_survives_releases_of_others() {
    let daemon = Daemon::start(LOOPBACK);
    let port = dhcp_port(&daemon);
    let mut kept = BTreeMap::new();
    for n in 1..=20 {
        let address = Client::new(n, port).lease();
        if n % 2 == 0 {
            daemon.run_ok(&["leases", "release", &address.to_string()]);
        } else {
            kept.insert(n, address);
        }
    }
    for (n, address) in kept {
        let ack = Client::new(n, port).renew(address).unwrap();
        assert_eq!((lab::kind(&ack), ack.yiaddr()), (MessageType::Ack, address));
    }
}

#[test]
fn probe_counts_its_exchanges_and_leaves_no_lease() {
    let daemon = Daemon::start(LOOPBACK);
    let said = daemon.run_ok(&["probe", "--count", "25"]);
    assert!(said.contains("25 exchanges, 25 complete, 0 lost"), "{said}");
    for part in ["min", "median", "p99", "max", "discover", "request", "release"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    eventually("the releases", || {
        (lab::count(&daemon, "SELECT count(*) FROM lease_list WHERE state = 'active'") == 0).then_some(())
    });
    assert_eq!(lab::count(&daemon, "SELECT count(DISTINCT mac) FROM lease_log"), 25, "a client each time");
    let server = format!("127.0.0.1:{}", dhcp_port(&daemon));
    daemon.run_ok(&["stop"]);
    let output = daemon.run(&["probe", "--server", &server, "--count", "2", "--timeout", "100ms"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(
        said.contains("2 exchanges, 0 complete, 2 lost") && said.contains("2 times: no answer"),
        "{said}"
    );
}
