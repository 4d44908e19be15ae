//! `/v1/leases` on the real binary: what is leased is seen at once, page by page and by every filter; what is ended and imported
//! over the API is what the commands would have done.

mod common;

use std::net::Ipv4Addr;

use common::dhcp::Client;
use common::http::{ask, get, over_tcp, post};
use common::lab::{self, LOOPBACK, dhcp_port};
use common::{Daemon, eventually};
use dhcproto::v4::{DhcpOption, MessageType};
use rusqlite::Connection;
use serde_json::{Value, json};

fn ips(page: &Value) -> Vec<String> {
    page["leases"].as_array().unwrap().iter().map(|lease| lease["ip"].as_str().unwrap().to_owned()).collect()
}

/// Leases an address to a client that sends these options, too.
fn lease_with(client: &Client, options: &[DhcpOption]) -> Ipv4Addr {
    let offer = client.ask(&client.message(MessageType::Discover, options)).unwrap();
    let mut wish = options.to_vec();
    wish.push(DhcpOption::RequestedIpAddress(offer.yiaddr()));
    wish.push(DhcpOption::ServerIdentifier(lab::server_id(&offer).unwrap()));
    let ack = client.ask(&client.message(MessageType::Request, &wish)).unwrap();
    assert_eq!(ack.opts().msg_type(), Some(MessageType::Ack));
    ack.yiaddr()
}

#[test]
fn every_lease_is_seen_at_once_page_by_page_and_by_every_filter() {
    let daemon = Daemon::start(LOOPBACK);
    let port = dhcp_port(&daemon);
    assert_eq!(get(&daemon, "/v1/leases").is(200), json!({"leases": [], "next": null}));
    let leased: Vec<Ipv4Addr> = (0..25).map(|n| Client::new(n, port).lease()).collect();
    let all = get(&daemon, "/v1/leases").is(200);
    let mut sorted = leased.clone();
    sorted.sort();
    assert_eq!(ips(&all), sorted.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(all["next"], Value::Null);
    // Page by page, as the links say.
    let mut path = "/v1/leases?limit=7&subnet=lan".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = get(&daemon, &path);
        let page = answer.is(200);
        seen.extend(ips(&page));
        let Some(link) = answer.fields.get("link") else {
            assert_eq!(page["next"], Value::Null);
            break;
        };
        let target = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        assert!(target.contains("limit=7") && target.contains("subnet=lan"), "{link}");
        assert!(target.ends_with(&format!("after={}", page["next"].as_str().unwrap())), "{link}");
        target.clone_into(&mut path);
    }
    assert_eq!(seen, ips(&all));
    let count = |query: &str| ips(&get(&daemon, &format!("/v1/leases?{query}")).is(200)).len();
    assert_eq!(count("subnet=lan&pool=main&state=active"), 25);
    assert_eq!([count("subnet=other"), count("state=expired"), count("pool=x")], [0, 0, 0]);
    assert_eq!(count("mac=02:00:00:00:00:03"), 1);
    assert_eq!(count("mac=0200.0000.0003"), 1);
    assert_eq!(count(&format!("ip={}", leased[4])), 1);
    assert_eq!(count("ip=10.77.0.0/16"), 25);
    assert_eq!(count("ip=10.78.0.0/16"), 0);
    // The same on the keeper's side of the fold.
    eventually("everything is folded", || {
        let file = Connection::open(daemon.leases()).unwrap();
        let left: i64 = file
            .query_row(
                "SELECT max(seq) - (SELECT value FROM meta WHERE key = 'folded_to') FROM lease_log",
                [],
                |row| row.get(0),
            )
            .unwrap();
        (left == 0).then_some(())
    });
    assert_eq!(ips(&get(&daemon, "/v1/leases").is(200)), ips(&all));
}

#[test]
fn a_lease_is_told_as_the_command_tells_it_whatever_its_client_says() {
    let daemon = Daemon::prepare("");
    let base = common::BASE.replace("listen: null", "listen: \"127.0.0.1:0\"");
    std::fs::write(&daemon.config, format!("{base}{LOOPBACK}")).unwrap();
    daemon.run_ok(&["start"]);
    let client = Client::new(7, dhcp_port(&daemon));
    let hostile = "a\r\n\u{1b}[2J\"},{\u{202e}*";
    let options = [
        DhcpOption::Hostname(hostile.into()),
        DhcpOption::ClassIdentifier(b"PXE\0\xff".to_vec()),
        DhcpOption::ClientIdentifier(vec![0, 1, 255]),
    ];
    let ip = lease_with(&client, &options).to_string();
    let lease = get(&daemon, &format!("/v1/leases/{ip}")).is(200);
    let shown: Value = serde_json::from_str(&daemon.run_ok(&["leases", "show", &ip, "--json"])).unwrap();
    for (name, value) in lease.as_object().unwrap() {
        let by_the_clock = matches!(name.as_str(), "starts" | "expires" | "time_left_secs");
        assert!(by_the_clock || shown[name] == *value, "{name}: {value} and {}", shown[name]);
    }
    assert_eq!(lease["hostname"], "a\\x0d\\x0a\\x1b[2J\"},{\\xe2\\x80\\xae*");
    assert_eq!(lease["client_id"], "00:01:ff");
    assert!(lease["time_left_secs"].as_u64().unwrap() > 3000);
    let expires = lease["expires"].as_str().unwrap();
    assert!(expires.contains('T') && expires.ends_with('Z'), "{expires}");
    let listed = get(&daemon, "/v1/leases?client_id=0001ff&hostname=A*%5C%5C%5B2J*").is(200);
    assert_eq!(listed["leases"].as_array().unwrap().len(), 0, "the escapes are part of the name");
    let listed = get(&daemon, "/v1/leases?client_id=00-01-ff&hostname=a%5Cx0d*%5B2j*").is(200);
    assert_eq!(ips(&listed), [ip.as_str()]);
    // Reading is open to loopback, writing is not.
    let server = daemon.endpoint("api");
    assert_eq!(over_tcp(server, "/v1/leases", "").is(200)["leases"][0]["ip"], ip.as_str());
}

#[test]
fn what_is_asked_wrongly_is_refused_and_said() {
    let daemon = Daemon::start(LOOPBACK);
    for (path, said) in [
        ("/v1/leases?subnt=lan", "did you mean subnet?"),
        ("/v1/leases?limit=0", "from 1 to 1000"),
        ("/v1/leases?limit=1001", "from 1 to 1000"),
        ("/v1/leases?state=gone", "active, expired, released, declined, conflict"),
        ("/v1/leases?mac=00:1", "is not hex"),
        ("/v1/leases?ip=10.0.0.0/33", "neither an address nor a network"),
        ("/v1/leases?after=x", "not an IPv4 address"),
        ("/v1/leases?hostname=a&hostname=b", "stands twice"),
        ("/v1/leases/10.77.0", "not an IPv4 address"),
        ("/v1/leases/%ff", "not an IPv4 address"),
        ("/v1/leases/10.77.0.100?x=1", "\"x\" is unknown"),
        ("/v1/leases/10.77.0.100/history?at=yesterday", "is not a time"),
        ("/v1/leases/10.77.0.100/history?after=-1", "is not a whole number"),
    ] {
        let problem = get(&daemon, path).is_problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(said), "{path}: {problem}");
    }
    let unknown = get(&daemon, "/v1/leases/10.77.0.100").is_problem(404);
    assert!(unknown["detail"].as_str().unwrap().contains("10.77.0.100 was never leased"));
    assert!(ask(&daemon, "PUT", "/v1/leases").status == 405);
}

#[test]
fn a_lease_ended_over_the_api_is_free_at_once_and_history_says_so() {
    let yaml = LOOPBACK.replace("10.77.0.100-10.77.0.199", "10.77.0.100-10.77.0.100");
    let daemon = Daemon::start(&yaml);
    let port = dhcp_port(&daemon);
    assert_eq!(ask(&daemon, "DELETE", "/v1/leases/10.77.0.100").status, 404);
    let client = Client::new(1, port);
    let ip = client.lease().to_string();
    let path = format!("/v1/leases/{ip}");
    let gone = ask(&daemon, "DELETE", &path);
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    let again = ask(&daemon, "DELETE", &path).is_problem(404);
    assert!(again["detail"].as_str().unwrap().contains("leased to nobody"), "{again}");
    assert_eq!(get(&daemon, &path).is(200)["state"], "released");
    let other = Client::new(2, port);
    assert_eq!(other.lease().to_string(), ip, "free for another");
    let nak = client.renew(ip.parse().unwrap()).unwrap();
    assert_eq!(lab::kind(&nak), MessageType::Nak);
    let history = get(&daemon, &format!("{path}/history")).is(200);
    let held: Vec<(&str, &str)> = history["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["mac"].as_str().unwrap(), one["ended"].as_str().unwrap()))
        .collect();
    assert_eq!(held, [("02:00:00:00:00:01", "released"), ("02:00:00:00:00:02", "active")]);
    let first = get(&daemon, &format!("{path}/history?limit=1")).is(200);
    assert_eq!(first["intervals"][0], history["intervals"][0]);
    let second = format!("{path}/history?limit=1&after={}", first["next"].as_str().unwrap());
    let second = get(&daemon, &second).is(200);
    assert_eq!(second["intervals"], json!([history["intervals"][1]]));
    let at = history["intervals"][1]["ends"].as_str().unwrap();
    assert_eq!(get(&daemon, &format!("{path}/history?at={at}")).is(200)["intervals"], json!([]));
}

#[test]
fn import_is_all_or_nothing_and_names_every_mistake() {
    let daemon = Daemon::start(LOOPBACK);
    let port = dhcp_port(&daemon);
    let taken = Client::new(9, port).lease().to_string();
    let good = json!({"ip": "10.77.0.50", "mac": "00:11:22:33:44:55", "hostname": "printer", "expires": "2037-12-01T12:00:00Z"});
    let bad = json!([
        good,
        {"ip": "10.77.0.51", "mac": "zz", "expires": "soon", "relay": 7},
        {"ip": "10.77.0.52", "mac": "00:11:22:33:44:56", "expirse": "never", "a/b": true},
        7,
    ]);
    let problem = post(&daemon, "/v1/leases", &bad).is_problem(422);
    let pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/1/mac", "/1/relay", "/1/expires", "/2/a~1b", "/2/expirse", "/3"], "{problem}");
    assert!(problem["errors"].to_string().contains("hint: expires"), "{problem}");
    // What the rules of the server refuse.
    let against = json!([good, {"ip": taken, "mac": "00:11:22:33:44:57", "expires": "never"}, {"ip": "10.99.0.1", "mac": "00:11:22:33:44:58", "expires": "never"}]);
    let problem = post(&daemon, "/v1/leases", &against).is_problem(422);
    let told = problem["errors"].to_string();
    assert!(
        told.contains("is leased to 02:00:00:00:00:09") && told.contains("no configured subnet"),
        "{told}"
    );
    assert_eq!(get(&daemon, "/v1/leases/10.77.0.50").status, 404, "nothing was imported");
    // One, then a list; written once only.
    let answer = post(&daemon, "/v1/leases", &good);
    let done = answer.is(201);
    assert_eq!(answer.fields["location"], "/v1/leases/10.77.0.50");
    assert_eq!((&done["new"], &done["leases"][0]["hostname"]), (&json!(1), &json!("printer")), "{done}");
    let exported: Value = serde_json::from_str(&daemon.run_ok(&["leases", "export", "--json"])).unwrap();
    let again = post(&daemon, "/v1/leases", &exported).is(201);
    assert_eq!(
        (&again["new"], &again["updated"], &again["unchanged"]),
        (&json!(0), &json!(0), &json!(2)),
        "{again}"
    );
    // A second lease of the same client on the same link is refused though only its row was loaded.
    let second = json!({"ip": "10.77.0.60", "mac": "00:11:22:33:44:55", "expires": "never"});
    let problem = post(&daemon, "/v1/leases", &second).is_problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "");
    assert!(
        problem["errors"][0]["detail"].as_str().unwrap().contains("active lease of 10.77.0.50"),
        "{problem}"
    );
    // The workers know it at once.
    let octets = [2, 0, 0, 0, 0, 77];
    let mut client = Client::new(77, port);
    client.mac = octets;
    let own = json!({"ip": "10.77.0.150", "mac": "02:00:00:00:00:4d", "expires": "2037-12-01T12:00:00Z"});
    post(&daemon, "/v1/leases", &own).is(201);
    assert_eq!(client.lease().to_string(), "10.77.0.150");
    for (body, status) in [(json!("x"), 400), (json!(7), 400), (Value::Null, 400)] {
        post(&daemon, "/v1/leases", &body).is_problem(status);
    }
}

#[test]
fn a_locked_lease_file_is_503_and_nothing_is_half_done() {
    let daemon = Daemon::start(LOOPBACK);
    let ip = Client::new(1, dhcp_port(&daemon)).lease().to_string();
    let path = format!("/v1/leases/{ip}");
    let mut file = Connection::open(daemon.leases()).unwrap();
    let lock = file.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let refused = ask(&daemon, "DELETE", &path);
    let problem = refused.is_problem(503);
    assert!(problem["detail"].as_str().unwrap().contains("locked"), "{problem}");
    assert!(refused.fields.contains_key("retry-after"), "{refused:?}");
    let good = json!({"ip": "10.77.0.50", "mac": "00:11:22:33:44:55", "expires": "never"});
    post(&daemon, "/v1/leases", &good).is_problem(503);
    // Reading goes on meanwhile.
    assert_eq!(get(&daemon, &path).is(200)["state"], "active");
    drop(lock);
    assert_eq!(get(&daemon, "/v1/leases/10.77.0.50").status, 404);
    assert_eq!(ask(&daemon, "DELETE", &path).status, 204);
}

#[test]
fn without_dhcp_there_are_no_leases() {
    let daemon = Daemon::start(common::ECHO);
    assert_eq!(get(&daemon, "/v1/leases").is(200), json!({"leases": [], "next": null}));
    get(&daemon, "/v1/leases/10.0.0.1").is_problem(404);
    assert_eq!(get(&daemon, "/v1/leases/10.0.0.1/history").is(200)["intervals"], json!([]));
    ask(&daemon, "DELETE", "/v1/leases/10.0.0.1").is_problem(409);
    get(&daemon, "/v1/explain?mac=00:11:22:33:44:55").is_problem(409);
}
